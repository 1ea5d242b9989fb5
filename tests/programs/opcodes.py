"""Programs: three octets an instruction, which op and two operands, so that any octets are a program and any part
of one is again a program. `run` carries one out, `shrink` finds the smallest part of a failing one that fails.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from firmware.sip.digest import DigestClient
from firmware.sip.errors import LocalProtocolError
from firmware.sip.message import Request, parse_message
from firmware.sip.types import Flow
from firmware.sip.uri import Uri
from tests.programs.world import HOSTILE, HOSTS, World
from tests.support.damaged_sip import DIRT

SIZE = 3
SDP = b"v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n"
LARGE = SDP + b"a=x:" + b"x" * 1400 + b"\r\n"
PAUSES_S = (0.0, 0.001, 0.1, 0.5, 1.0, 4.0, 12.0, 33.0)
STATUSES = (100, 180, 180, 183, 183, 199, 200, 200, 200, 202, 302, 401, 407, 415, 422, 423, 480, 481, 486, 487, 488)
STATUSES += (491, 500, 503, 503, 600, 603, 606)
METHODS = ("BYE", "INVITE", "INFO", "OPTIONS", "UPDATE", "PRACK", "NOTIFY", "REFER", "MESSAGE", "SUBSCRIBE", "ACK")
METHODS += ("REGISTER", "PUBLISH", "WHISTLE", "CANCEL")


@dataclass
class Dialog:
    """A dialog as the hostile peer remembers it."""

    host: str
    call_id: str
    ours: str
    theirs: str
    cseq: int


class Machine:
    """One program under way."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.dialogs: deque[Dialog] = deque(maxlen=6)
        self.invites: deque[tuple[str, bytes]] = deque(maxlen=6)  # of the hostile peer: host, octets
        self.subscriptions: deque[Dialog] = deque(maxlen=6)
        self.challenge = b""
        self.count = 0

    def execute(self, op: int, a: int, b: int) -> None:
        OPS[op % len(OPS)](self, a, b)
        self.world.settle()
        self.learn()

    def learn(self) -> None:
        """Remember the dialogs that answers to our INVITEs, and INVITEs to us, make."""
        while self.world.answers:
            node, answer = self.world.answers.popleft()
            if answer.status in (401, 407):
                self.challenge = answer.data
            if answer.method == "SUBSCRIBE" and answer.status == 200:
                dialog = Dialog(node.host, answer.call_id, answer.from_tag, answer.to_tag, answer.cseq)
                if all(each.theirs != dialog.theirs for each in self.subscriptions):
                    self.subscriptions.append(dialog)
            if answer.method == "INVITE" and 100 < answer.status < 300 and answer.to_tag:
                known = any((d.call_id, d.theirs) == (answer.call_id, answer.to_tag) for d in self.dialogs)
                if not known:
                    self.dialogs.append(
                        Dialog(node.host, answer.call_id, answer.from_tag, answer.to_tag, answer.cseq)
                    )

    # --- the station's side of each core --------------------------------------------------------------------

    def call(self, a: int, b: int) -> None:
        node = self.world.nodes[HOSTS[a % 3]]
        targets = (
            *(f"sip:bell@{host}" for host in HOSTS),
            f"sip:bell@{HOSTS[(a + 1) % 3]};transport=tcp",
            f"sip:mon@{HOSTILE}",
            "sip:mon@hostile.test",
            "sip:mon@nowhere.test",
            "sip:mon@10.0.0.99",
        )
        target = targets[b % 8]
        seen = self.world.seen[node.host]
        if len(seen.calls) >= 6 or target == f"sip:bell@{node.host}":
            return
        self.world.steps += 1
        sdp = (SDP, b"", LARGE, SDP)[b // 8 % 4]
        account = "pbx" if a % 3 == 0 and b & 64 else None
        number = node.core.invite(Uri.parse(target), sdp, self.world.now, account=account)
        seen.calls[number] = "out"
        seen.last_number = max(seen.last_number, number)

    def establish(self, a: int, b: int) -> None:
        """A whole call between two cores, or with the hostile peer: what goes wrong later has something to hit."""
        caller, callee = HOSTS[a % 3], HOSTS[(a + 1 + b % 2) % 3]
        self.world.steps += 1
        if b & 4:
            self.count += 1
            invite = self.request(caller, "INVITE", f"e{self.count}@x", "e", "", 1, body=SDP)
            self.world.from_hostile(self.world.nodes[caller], invite)
            self._accept_last(caller)
            self.learn()
            dialog = self.dialogs[-1] if self.dialogs else None
            if dialog is not None and dialog.call_id == f"e{self.count}@x":
                ack = self.request(caller, "ACK", dialog.call_id, "e", dialog.theirs, 1)
                self.world.from_hostile(self.world.nodes[caller], ack)
            return
        seen = self.world.seen[caller]
        if len(seen.calls) >= 6:
            return
        where = ";transport=tcp" if b & 8 else ""
        node = self.world.nodes[caller]
        number = node.core.invite(Uri.parse(f"sip:bell@{callee}{where}"), (SDP, b"")[b // 16 % 2], self.world.now)
        seen.calls[number] = "out"
        seen.last_number = max(seen.last_number, number)
        self._flow()
        self._accept_last(callee)
        self._flow()

    def _flow(self) -> None:
        self.world.settle()
        for _each in range(len(self.world.flying) + 4):
            self.world.deliver(0)

    def _accept_last(self, host: str) -> None:
        coming = [number for number, direction in self.world.seen[host].calls.items() if direction == "in"]
        if coming:
            self.world.nodes[host].core.accept(coming[-1], SDP, self.world.now)
            self.world.settle()

    def _some_call(self, a: int, kind: str = "") -> tuple[str, int]:
        host = HOSTS[a % 3]
        seen = self.world.seen[host]
        live = [number for number, direction in seen.calls.items() if direction == kind or not kind]
        if a & 128 and seen.last_number:
            return host, 1 + a // 3 % seen.last_number  # any that ever was
        return host, live[a // 3 % len(live)] if live else 0

    def ring(self, a: int, b: int) -> None:
        host, number = self._some_call(a, "in")
        if number:
            self.world.steps += 1
            status = (180, 183, 182, 181)[b % 4]
            self.world.nodes[host].core.ring(number, self.world.now, status=status, sdp=(b"", SDP)[b // 4 % 2])

    def accept(self, a: int, _: int) -> None:
        host, number = self._some_call(a, "in")
        if number:
            self.world.steps += 1
            self.world.nodes[host].core.accept(number, SDP, self.world.now)

    def hangup(self, a: int, b: int) -> None:
        host, number = self._some_call(a)
        if number:
            self.world.steps += 1
            self.world.nodes[host].core.hangup(number, self.world.now, status=(0, 486, 603, 480)[b % 4])

    def answer_offer(self, a: int, b: int) -> None:
        host, number = self._some_call(a)
        if number:
            self.world.steps += 1
            core = self.world.nodes[host].core
            if b & 1:
                core.reject_offer(number, 488, self.world.now)
            else:
                core.answer_offer(number, SDP, self.world.now)

    def info(self, a: int, _: int) -> None:
        host, number = self._some_call(a)
        if number:
            self.world.steps += 1
            self.world.nodes[host].core.info(number, "application/dtmf-relay", b"Signal=1\r\n", self.world.now)

    def reoffer(self, a: int, b: int) -> None:
        host, number = self._some_call(a)
        if number:
            self.world.steps += 1
            core = self.world.nodes[host].core
            if b & 1:
                core.refresh(number, self.world.now)
                return
            try:
                core.reoffer(number, SDP.replace(b"4000", b"%d" % (4000 + b)), self.world.now)
            except LocalProtocolError:
                return  # there is no dialog yet in which an offer could be made
            self.world.seen[host].offers[number] += 1

    def transfer(self, a: int, b: int) -> None:
        host, number = self._some_call(a)
        if number:
            self.world.steps += 1
            core = self.world.nodes[host].core
            if b % 4 == 0:
                core.accept_transfer(number, self.world.now)
            elif b % 4 == 1:
                core.refuse_transfer(number, 603, self.world.now)
            else:
                core.transfer_progress(number, (100, 180, 200, 486)[b // 4 % 4], "", self.world.now)

    def text(self, a: int, b: int) -> None:
        host = HOSTS[a % 3]
        self.world.steps += 1
        target = Uri.parse((f"sip:mon@{HOSTILE}", f"sip:bell@{HOSTS[(a + 1) % 3]}", "sip:x@nowhere.test")[b % 3])
        number = self.world.nodes[host].core.message(target, "The door is open.", self.world.now)
        self.world.seen[host].texts.add(number)

    def register_in(self, a: int, b: int) -> None:
        """A REGISTER at the core that keeps a house, with credentials for the last challenge, good or bad."""
        host = HOSTS[2]
        self.count += 1
        uri = f"sip:{host}"
        extra = f"Expires: {(0, 1, 60, 99999)[b % 4]}\r\n"
        if b & 4:
            extra += self.credentials("REGISTER", uri, ("right", "wrong")[b // 8 % 2])
        data = self.request(host, "REGISTER", f"r{a % 3}@x", f"t{a % 4}", "", self.count, extra=extra)
        data = data.replace(f"sip:door@{host} SIP".encode(), f"{uri} SIP".encode(), 1)
        data = data.replace(f"<sip:mon@{HOSTILE}>;tag".encode(), f"<sip:ana@{host}>;tag".encode())
        data = data.replace(f"<sip:door@{host}>".encode(), f"<sip:ana@{host}>".encode())
        self.world.from_hostile(self.world.nodes[host], data)

    def subscribe_in(self, a: int, b: int) -> None:
        """SUBSCRIBE at the core whose server the hostile peer may be, or as a user at the one that keeps a house;
        the first, or one more in a dialog that the first made."""
        self.count += 1
        known = self.subscriptions[a % len(self.subscriptions)] if b & 1 and self.subscriptions else None
        host = known.host if known is not None else HOSTS[a % 2 * 2]
        extra = f"Event: {('dialog', 'dialog', 'dialog', 'presence')[b // 2 % 4]}\r\n"
        extra += ("", "Expires: 0\r\n", "Expires: 1\r\n", "Expires: 5\r\n", "Expires: 40\r\n")[b // 8 % 5]
        if known is not None:
            known.cseq += (1, 1, 2, 0)[a // 8 % 4]
            data = self.request(host, "SUBSCRIBE", known.call_id, known.ours, known.theirs, known.cseq, extra=extra)
        else:
            extra += self.credentials("SUBSCRIBE", f"sip:door@{host}", "right")
            data = self.request(host, "SUBSCRIBE", f"w{a % 16}@x", f"w{self.count}", "", 1 + a, extra=extra)
        if host == HOSTS[2]:
            data = data.replace(f"<sip:mon@{HOSTILE}>;tag".encode(), f"<sip:ana@{host}>;tag".encode())
        self.world.from_hostile(self.world.nodes[host], data)

    def credentials(self, method: str, uri: str, password: str) -> str:
        """The header lines of a user's credentials for the last challenge."""
        digest = DigestClient("ana", password, lambda size: bytes(size)).exchange()
        request = Request(method, Uri.parse(uri))
        if not self.challenge or not digest.challenged(parse_message(self.challenge)):
            return ""
        digest.authorize(request)
        names = ("Authorization", "Proxy-Authorization")
        return "".join(f"{name}: {value}\r\n" for name in names for value in request.headers.get_all(name))

    # --- network and time -----------------------------------------------------------------------------------

    def deliver_all(self, a: int, _: int) -> None:
        for _each in range(min(len(self.world.flying), 1 + a % 24)):
            self.world.deliver(0)

    def deliver(self, a: int, _: int) -> None:
        self.world.deliver(a)

    def repeat(self, a: int, _: int) -> None:
        self.world.deliver(a, keep=True)

    def lose(self, a: int, _: int) -> None:
        self.world.lose(a)

    def advance(self, a: int, b: int) -> None:
        self.world.advance(PAUSES_S[a % 8], deliver=bool(b & 3))

    def icmp(self, a: int, b: int) -> None:
        node = self.world.nodes[HOSTS[a % 3]]
        remote = (*HOSTS, HOSTILE)[b % 4]
        self.world.steps += 1
        node.core.send_failed(
            Flow("udp", (node.host, 5060), (remote, 5060), (node.host, 5060), 1),
            "connection refused",
            self.world.now,
        )

    def tcp(self, a: int, b: int) -> None:
        if b & 1:
            for number in tuple(self.world._connections)[: 1 + a % 2]:
                self.world.steps += 1
                self.world.close(number)
                self.world._forget_connection(number)
        else:
            self.world.tcp[HOSTS[a % 3]] = ("accept", "refuse", "ignore")[b // 2 % 3]

    # --- the hostile peer -----------------------------------------------------------------------------------

    def request(
        self,
        host: str,
        method: str,
        call_id: str,
        ours: str,
        theirs: str,
        cseq: int,
        *,
        branch: str = "",
        extra: str = "",
        body: bytes = b"",
    ) -> bytes:
        self.count += 1
        to_tag = f";tag={theirs}" if theirs else ""
        kind = "Content-Type: application/sdp\r\n" if body else ""
        text = (
            f"{method} sip:door@{host} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {HOSTILE};branch={branch or f'z9hG4bKh{self.count}'}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:mon@{HOSTILE}>;tag={ours}\r\nTo: <sip:door@{host}>{to_tag}\r\n"
            f"Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:mon@{HOSTILE}>\r\n"
            f"{extra}{kind}Content-Length: {len(body)}\r\n\r\n"
        )
        return text.encode() + body

    def invite_in(self, a: int, b: int) -> None:
        host = HOSTS[a % 3]
        if b & 1 and self.invites:
            host, data = self.invites[a % len(self.invites)]
            if b & 2:  # by another way: the same request with another branch
                self.count += 1
                data = data.replace(b"branch=z9hG4bK", b"branch=z9hG4bKm%d" % self.count, 1)
            self.world.from_hostile(self.world.nodes[host], data)
            return
        extras = (
            "",
            "",
            "Supported: 100rel, timer\r\n",
            "Require: 100rel\r\n",
            "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n",
            "Supported: timer\r\nSession-Expires: 1\r\n",
            "Expires: 2\r\n",
            "Require: nothing-has-this\r\n",
            "Accept: text/plain\r\n",
        )
        self.count += 1
        data = self.request(
            host,
            "INVITE",
            f"h{self.count}@x",
            f"t{a % 4}",
            "",
            1 + a,
            extra=extras[b // 4 % 9],
            body=b"" if b & 128 else SDP,
        )
        self.invites.append((host, data))
        self.world.from_hostile(self.world.nodes[host], data)

    def cancel_in(self, a: int, _: int) -> None:
        if self.invites:
            host, data = self.invites[a % len(self.invites)]
            head = data.partition(b"\r\n\r\n")[0].replace(b"INVITE", b"CANCEL")
            lines = [line for line in head.split(b"\r\n") if not line.startswith((b"Content", b"Require"))]
            self.world.from_hostile(self.world.nodes[host], b"\r\n".join([*lines, b"", b""]))

    def in_dialog(self, a: int, b: int) -> None:
        if not self.dialogs:
            return
        dialog = self.dialogs[a % len(self.dialogs)]
        method = METHODS[b % len(METHODS)]
        cseq = dialog.cseq + (1, 1, 1, 0, -1, 5, 1_000_000)[a // 8 % 7]
        if method in ("ACK", "CANCEL"):
            cseq = dialog.cseq
        elif 0 < cseq < 2**30:
            dialog.cseq = max(dialog.cseq, cseq)
        body = SDP if method in ("INVITE", "UPDATE") and b & 64 else b""
        extra = ("", "RAck: 1 1 INVITE\r\n", "Refer-To: <sip:x@10.0.0.66>\r\n", "Event: refer\r\n")[b // 64]
        if method == "INFO" and b & 32:
            extra += "Content-Type: application/dtmf-relay\r\n"
        theirs = dialog.theirs if b < 240 else "wrong"
        self.world.from_hostile(
            self.world.nodes[dialog.host],
            self.request(
                dialog.host, method, dialog.call_id, dialog.ours, theirs, max(0, cseq), extra=extra, body=body
            ),
        )

    def stranger(self, a: int, b: int) -> None:
        host = HOSTS[a % 3]
        self.count += 1
        method = METHODS[b % len(METHODS)]
        data = self.request(
            host, method, f"s{self.count}@x", "s", "x" if b & 128 else "", a, extra="Event: message-summary\r\n"
        )
        self.world.from_hostile(self.world.nodes[host], data)

    def respond(self, a: int, b: int) -> None:
        if not self.world.heard:
            return
        node, request = self.world.heard[a % len(self.world.heard)]
        if request.method == "ACK":
            return
        status = STATUSES[b % len(STATUSES)]
        tag = f"p{a // 10 % 3}"
        if request.to_tag:
            tag = request.to_tag
        elif status < 300 and request.method == "INVITE" and status > 100:
            known = any((d.call_id, d.theirs) == (request.call_id, request.from_tag) for d in self.dialogs)
            if not known:
                self.dialogs.append(Dialog(node.host, request.call_id, tag, request.from_tag, 100))
        lines = []
        for line in request.data.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
            name = line.partition(b":")[0].lower()
            if name in (b"via", b"v", b"from", b"f", b"call-id", b"i", b"cseq", b"record-route"):
                lines.append(line)
            elif name in (b"to", b"t"):
                lines.append(line if request.to_tag or status == 100 else line + b";tag=" + tag.encode())
        extra = {
            401: b'WWW-Authenticate: Digest realm="r", nonce="n%d", qop="auth"' % (a % 5),
            407: b'Proxy-Authenticate: Digest realm="r", nonce="n%d", algorithm=SHA-256' % (a % 5),
            302: b"Contact: <sip:elsewhere@10.0.0.2>",
            422: b"Min-SE: 120",
            423: b"Min-Expires: 90",
            503: (b"Retry-After: 1", b"Server: x")[a % 2],
        }.get(status, b"Contact: <sip:mon@10.0.0.66>;expires=60")
        lines.append(extra)
        if 100 < status < 200 and b & 128:
            lines += [b"Require: 100rel", b"RSeq: %d" % (1 + a % 3)]
        if status == 200 and b & 128:
            lines.append(b"Session-Expires: 90;refresher=" + (b"uas", b"uac")[a % 2])
        body = SDP if 100 < status < 300 and request.method == "INVITE" and b & 64 else b""
        if body:
            lines.append(b"Content-Type: application/sdp")
        head = b"SIP/2.0 %d Because\r\n" % status + b"\r\n".join(lines)
        self.world.from_hostile(node, head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def damage(self, a: int, b: int) -> None:
        """Something lately sent, damaged, to anybody."""
        if not self.world.history:
            return
        chance = random.Random(a << 8 | b)
        data = bytearray(self.world.history[a % len(self.world.history)])
        for _ in range(1 + b % 3):
            at = chance.randrange(len(data) + 1)
            kind = chance.randrange(4)
            if kind == 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            elif kind == 1:
                data[at:at] = chance.choice(DIRT)
            elif kind == 2:
                del data[at : at + chance.randrange(1, 40)]
            else:
                data[at : at + chance.randrange(1, 12)] = chance.choice(DIRT)
        self.world.damaged(self.world.nodes[HOSTS[b % 3]], bytes(data))

    def replay(self, a: int, b: int) -> None:
        """Something lately sent, once more, to anybody: from the hostile peer's address."""
        if self.world.history:
            data = self.world.history[a % len(self.world.history)]
            self.world.from_hostile(self.world.nodes[HOSTS[b % 3]], data)


Op = Callable[[Machine, int, int], None]

# An op stands here as often as it should come.
OPS: tuple[Op, ...] = (
    *(Machine.call,) * 3,
    *(Machine.establish,) * 4,
    *(Machine.ring,) * 2,
    *(Machine.accept,) * 2,
    Machine.hangup,
    *(Machine.answer_offer,) * 3,
    Machine.info,
    *(Machine.reoffer,) * 3,
    Machine.transfer,
    Machine.text,
    *(Machine.deliver_all,) * 4,
    *(Machine.deliver,) * 3,
    *(Machine.repeat,) * 1,
    *(Machine.lose,) * 2,
    *(Machine.advance,) * 3,
    Machine.icmp,
    Machine.tcp,
    *(Machine.invite_in,) * 2,
    Machine.cancel_in,
    *(Machine.in_dialog,) * 6,
    Machine.stranger,
    *(Machine.register_in,) * 2,
    *(Machine.subscribe_in,) * 2,
    *(Machine.respond,) * 4,
    Machine.damage,
    Machine.replay,
)


@dataclass(frozen=True)
class Outcome:
    steps: int
    failure: BaseException | None


def program_of(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length * SIZE)


def run(program: bytes, seed: int = 1) -> Outcome:
    machine = Machine(seed)
    try:
        for at in range(0, len(program) - SIZE + 1, SIZE):
            machine.execute(*program[at : at + SIZE])
        machine.world.finish()
    except Exception as failure:  # noqa: BLE001  # whatever it is, it is what was looked for
        return Outcome(machine.world.steps, failure)
    return Outcome(machine.world.steps, None)


def shrink(program: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """Delta debugging: take out ever smaller runs of instructions while what is left still fails."""
    code = [program[at : at + SIZE] for at in range(0, len(program) - SIZE + 1, SIZE)]
    size = len(code) // 2
    while size >= 1:
        at = 0
        while at < len(code):
            shorter = code[:at] + code[at + size :]
            if shorter and fails(b"".join(shorter)):
                code = shorter
            else:
                at += size
        size //= 2
    return b"".join(code)


def listing(program: bytes) -> str:
    """A program to read, one instruction a line."""
    lines = []
    for at in range(0, len(program) - SIZE + 1, SIZE):
        op, a, b = program[at : at + SIZE]
        lines.append(f"    {OPS[op % len(OPS)].__name__}({a}, {b})")
    return "\n".join(lines)
