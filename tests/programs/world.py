"""The world in which random programs run: three cores, a hostile peer, a network that does what it is told.

Datagrams between the cores wait in `flying` until the program delivers, loses or repeats them; connections keep
order and lose nothing. The peer at 10.0.0.66 hears everything sent to it at once. The clock is virtual.

`World.step` counts what a program's length is measured in: API calls, messages delivered or lost, alarms rung.
After each of them, and once more when everything has been left alone for long enough, the invariants hold:

    1. nothing raises, whatever arrives
    2. a call begins, is answered at most once, and ends in exactly one CallEnded, after which nothing is told of it
    3. every 2xx to an INVITE of ours is acknowledged in the same instant, each repeat too
    4. one leg of a call is answered: whatever else said 2xx gets BYE
    5. CSeq rises within a dialog, requests of one dialog differ, a repeat is the same to the octet
    6. an INVITE gets one final status
    7. counts stay within the configured bounds
    8. no alarm is due at once again, and nobody sends more than its timers and what it was sent account for
    9. no subscription outlives what was granted; each of its NOTIFYs has the next version, the last is the last
    10. left alone, everything ends: no call, dialog, transaction, alarm or pending request outlives its timers
"""

import heapq
import re
from collections import defaultdict, deque
from dataclasses import dataclass, field

from firmware.sip.actions import CloseFlow, OpenFlow, Resolve, Send
from firmware.sip.configuration import Account, Configuration, House, User
from firmware.sip.events import (
    CallAnswered,
    CallEnded,
    Event,
    IncomingCall,
    OfferAnswered,
    OfferRefused,
    RegistrationChanged,
    TextDelivered,
)
from firmware.sip.types import Flow
from firmware.sip.uri import Uri
from tests.support.sip_link import Link, Node

HOSTS = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
HOSTILE = "10.0.0.66"
MAX_TRANSACTIONS = 24
MAX_CALLS = 6
LONG_S = 400.0  # after this all timers of a world left alone have rung: 64*T1 a few times over, and registrations
_MOST_FLYING = 64

_head = re.compile(rb"([^ ]+) ([^ \r]+)")
_call_id = re.compile(rb"\r\n(?:Call-ID|i): ([^\r]*)", re.IGNORECASE)
_cseq = re.compile(rb"\r\nCSeq: (\d{1,15}) ([^\r]*)", re.IGNORECASE)
_tag = {
    name: re.compile(rb"\r\n(?:" + name + b"|" + name[:1] + rb"): [^\r]*?;\s*tag=([^;\r]*)", re.IGNORECASE)
    for name in (b"From", b"To")
}
_branch = re.compile(rb"\r\n(?:Via|v): [^\r,]*?branch=([^;,\r]*)", re.IGNORECASE)
_expires = re.compile(rb"\r\nExpires: (\d+)", re.IGNORECASE)
_version = re.compile(rb"<dialog-info [^>]*version=\"(\d+)\"")
_tcp_contact = re.compile(rb"\r\n(?:Contact|m|Record-Route): [^\r]*transport=tcp", re.IGNORECASE)


class Broken(AssertionError):
    """An invariant does not hold."""


def must(condition: object, what: str) -> None:
    if not condition:
        raise Broken(what)


@dataclass(frozen=True, slots=True)
class Read:
    """What the invariants need of a message, by regular expressions: not by the code under test."""

    data: bytes
    method: str  # of the CSeq
    status: int  # 0 for a request
    call_id: str
    cseq: int
    from_tag: str
    to_tag: str
    branch: str


def read(data: bytes) -> Read | None:
    """None where the essentials are not there, as after damage."""
    head, call_id, cseq = _head.match(data), _call_id.search(data), _cseq.search(data)
    branch = _branch.search(data)
    if head is None or call_id is None or cseq is None or branch is None:
        return None
    is_response = head[1] == b"SIP/2.0"
    if is_response and not head[2].isdigit():
        return None
    from_tag, to_tag = _tag[b"From"].search(data), _tag[b"To"].search(data)
    return Read(
        data,
        (cseq[2] if is_response else head[1]).decode("latin-1"),
        int(head[2]) if is_response else 0,
        call_id[1].decode("latin-1"),
        int(cseq[1]),
        from_tag[1].decode("latin-1") if from_tag else "",
        to_tag[1].decode("latin-1") if to_tag else "",
        branch[1].decode("latin-1"),
    )


@dataclass
class Seen:
    """What one core has sent and told."""

    calls: dict[int, str] = field(default_factory=dict)  # live: "out" or "in"
    ended: set[int] = field(default_factory=set)
    answered: set[int] = field(default_factory=set)
    last_number: int = 0
    offers: dict[int, int] = field(default_factory=lambda: defaultdict(int))  # made later in a call, without an end
    texts: set[int] = field(default_factory=set)  # sent, of which nothing was heard yet
    invites: dict[str, tuple[str, float]] = field(default_factory=dict)  # branch -> Call-ID, when first sent
    refused: set[str] = field(default_factory=set)  # branches
    acks: dict[tuple[str, str, int], int] = field(default_factory=lambda: defaultdict(int))
    byes: set[tuple[str, str]] = field(default_factory=set)  # Call-ID, their tag
    won: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # Call-ID -> tags acknowledged
    cseq: dict[tuple[str, str, str], tuple[int, bytes]] = field(
        default_factory=dict
    )  # dialog -> highest, its bytes
    finals: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)  # INVITE's branch, source
    granted: dict[tuple[str, str], float] = field(default_factory=dict)  # subscription -> until when
    grants: set[str] = field(default_factory=set)  # branches of the SUBSCRIBEs that were granted
    versions: dict[tuple[str, str], int] = field(default_factory=dict)  # subscription -> last version told
    over: set[tuple[str, str]] = field(default_factory=set)  # subscriptions with a last NOTIFY
    sent: int = 0


class World(Link):
    def __init__(self, seed: int) -> None:
        super().__init__(seed, delay_s=(0.001, 0.02))
        self.steps = 0
        self.flying: deque[tuple[Node, bytes, Flow]] = deque()
        self.heard: deque[tuple[Node, Read]] = deque(maxlen=10)  # requests, by the hostile peer
        self.answers: deque[tuple[Node, Read]] = deque(maxlen=10)  # responses, by the same
        self.history: deque[bytes] = deque(maxlen=24)  # anything lately sent by anybody
        self.seen: dict[str, Seen] = {}
        self.names["hostile.test"] = HOSTILE
        self._core_of: dict[int, Node] = {}
        registrar = Account(
            "pbx",
            Uri.parse("sip:door@hostile.test"),
            username="door",
            password="secret",
            expires_s=60,
        )
        for number, host in enumerate(HOSTS):
            accounts = (registrar,) if number == 0 else ()
            house = (
                House((User("ana", "right"), User("ben", "right")), min_expires_s=1, max_expires_s=300)
                if number == 2
                else None
            )
            configuration = Configuration(
                accounts=accounts, max_transactions=MAX_TRANSACTIONS, max_calls=MAX_CALLS, house=house
            )
            node = self.add(f"core{number}", host, configuration)
            self.seen[host] = Seen()
            node.core.start(self.now)
        self.settle()

    # --- the shell, with invariants -------------------------------------------------------------------------

    def settle(self) -> None:
        busy = True
        while busy:
            busy = False
            for node in self.nodes.values():
                for action in node.core.take_actions():
                    busy = True
                    if not isinstance(action, Send | Resolve | OpenFlow | CloseFlow):
                        raise Broken(f"{node.name} wants {action}, which this world cannot do")
                    self._do(node, action)
                while (event := node.core.next_event()) is not None:
                    busy = True
                    self._told(node, event)

    def _send(self, node: Node, flow: Flow, data: bytes) -> None:
        seen = self.seen[node.host]
        seen.sent += 1
        must(seen.sent < 100_000, f"{node.name} sends without end")
        message = read(data)
        if message is None:
            # Refusals of damaged requests copy what was there; what begins with us is whole.
            must(data.startswith(b"SIP/2.0 "), f"{node.name} sent a request that cannot be read: {data[:200]!r}")
        elif message.status:
            if not flow.reliable:  # over a connection a transaction forgets at once
                self._check_response(node, seen, message)
        else:
            self._check_request(node, seen, message)
        self.history.append(data)
        if flow.reliable:
            ends = self._connections.get(flow.number)
            if ends is None:
                node.core.flow_closed(flow, "connection closed", self.now)
                return
            other, arrival = ends[2:] if ends[0] is node else ends[:2]
            self.flying.append((other, data, arrival))
        elif flow.remote[0] == HOSTILE:
            if message is not None:
                (self.answers if message.status else self.heard).append((node, message))
            return
        else:
            peer = self.nodes.get(flow.remote[0])
            if peer is None or flow.remote[1] != 5060:
                return
            arrival = Flow("udp", (peer.host, 5060), (node.host, 5060), (peer.host, 5060), 1)
            self.flying.append((peer, data, arrival))
        while len(self.flying) > _MOST_FLYING:
            self.lose(0)

    def _check_request(self, node: Node, seen: Seen, message: Read) -> None:
        if message.method == "ACK":
            seen.acks[message.call_id, message.to_tag, message.cseq] += 1
            if message.branch not in seen.invites:  # not the ACK to a refusal, which is within the transaction
                seen.won[message.call_id].add(message.to_tag)
            return
        if message.method == "CANCEL":
            must(message.branch in seen.invites, f"{node.name} cancels what it never sent")
            return
        if message.method == "INVITE" and message.branch not in seen.invites:
            seen.invites[message.branch] = (message.call_id, self.now)
        if message.method == "BYE":
            seen.byes.add((message.call_id, message.to_tag))
        dialog = (message.call_id, message.from_tag, message.to_tag)
        number, known = seen.cseq.get(dialog, (0, {}))
        before = known.get(message.cseq)
        if before is None and message.method == "NOTIFY":
            self._check_notify(node, seen, message)
        if before is None:
            must(message.cseq > number, f"{node.name} sent CSeq {message.cseq} {message.method} after {number}")
            known[message.cseq] = message
            seen.cseq[dialog] = (message.cseq, known)
        else:
            # A repeat; or by another server or transport, and then with another Via (RFC 3263 4.3).
            same = message.data == before.data or message.branch != before.branch
            must(
                message.method == before.method and same,
                f"{node.name} sent two requests with CSeq {message.cseq} in one dialog",
            )

    def _check_notify(self, node: Node, seen: Seen, message: Read) -> None:
        version = _version.search(message.data)
        if version is None:
            return  # REFER's
        subscription = (message.call_id, message.from_tag)
        told = seen.versions.get(subscription, -1)
        if int(version[1]) == told and b"uthorization: Digest" in message.data:
            return  # the one before again, now with credentials
        must(subscription not in seen.over, f"{node.name} sent a NOTIFY after the last one")
        must(int(version[1]) == told + 1, f"{node.name} told version {version[1].decode()} after {told}")
        seen.versions[subscription] = told + 1
        if b"\r\nSubscription-State: terminated" in message.data:
            seen.over.add(subscription)

    def _check_response(self, node: Node, seen: Seen, message: Read) -> None:
        granted = message.method == "SUBSCRIBE" and message.status == 200 and message.branch not in seen.grants
        if granted and (expires := _expires.search(message.data)):
            seen.grants.add(message.branch)
            seen.granted[message.call_id, message.to_tag] = self.now + int(expires[1])
        if message.method != "INVITE" or message.status < 200:
            return
        key = (message.branch, message.call_id + message.from_tag + str(message.cseq))
        before = seen.finals.get(key)
        if before is not None and before[0] == message.status:
            return
        # A transaction remembers for T4 after its ACK at least. What is refused for being too much, unreadable or
        # misplaced is refused without memory.
        memoryless = (400, 481, 482, 503, 505)
        if before is not None and before[0] not in memoryless and message.status not in memoryless:
            must(self.now - before[1] >= 5.0, f"{node.name} answered an INVITE {before[0]}, then {message.status}")
        seen.finals[key] = (message.status, self.now)

    def _told(self, node: Node, event: Event) -> None:
        if isinstance(event, RegistrationChanged):
            return
        seen = self.seen[node.host]
        if isinstance(event, TextDelivered):
            must(event.message in seen.texts, f"{node.name} told twice, or of nothing: {event}")
            seen.texts.discard(event.message)
        number = getattr(event, "call", None)
        if number is None:
            return
        if isinstance(event, IncomingCall):
            must(number not in seen.calls and number not in seen.ended, f"{node.name} began call {number} twice")
            seen.calls[number] = "in"
            seen.last_number = max(seen.last_number, number)
        must(number not in seen.ended, f"{node.name} told {event} after the end of the call")
        must(number in seen.calls, f"{node.name} told {event} of a call that nobody began")
        if isinstance(event, CallAnswered):
            must(number not in seen.answered, f"{node.name} told two answers to call {number}")
            seen.answered.add(number)
        elif isinstance(event, OfferAnswered | OfferRefused):
            must(seen.offers[number] > 0, f"{node.name} told of an offer that nobody made: {event}")
            seen.offers[number] -= 1
        elif isinstance(event, CallEnded):
            seen.ended.add(number)
            seen.answered.discard(number)
            del seen.calls[number]

    # --- what programs do -----------------------------------------------------------------------------------

    def deliver(self, index: int, *, keep: bool = False) -> None:
        """The message at `index` arrives; with `keep` it arrives again later."""
        if not self.flying:
            return
        index %= len(self.flying)
        node, data, flow = self.flying[index]
        if flow.reliable:  # a stream keeps its order and loses nothing
            index = next(i for i, (_, _, other) in enumerate(self.flying) if other.number == flow.number)
            node, data, flow = self.flying[index]
            keep = False
        if not keep:
            del self.flying[index]
        self.arrive(node, data, flow)

    def lose(self, index: int) -> None:
        if self.flying:
            index %= len(self.flying)
            self.steps += 1
            _, _, flow = self.flying[index]
            if flow.reliable:
                self.close(flow.number)
                self._forget_connection(flow.number)
            else:
                del self.flying[index]
            self.settle()

    def _forget_connection(self, number: int) -> None:
        self.flying = deque(entry for entry in self.flying if entry[2].number != number or not entry[2].reliable)

    def from_hostile(self, node: Node, data: bytes) -> None:
        self.history.append(data)
        self.arrive(node, data, Flow("udp", (node.host, 5060), (HOSTILE, 5060), (node.host, 5060), 1))

    def damaged(self, node: Node, data: bytes) -> None:
        """Octets of which nothing is promised but that they break nothing."""
        self.steps += 1
        message = read(data)
        if message is not None and message.method == "INVITE" and message.status >= 300:
            self.seen[node.host].refused.add(message.branch)  # it may be whole enough
        node.core.receive(data, Flow("udp", (node.host, 5060), (HOSTILE, 5060), (node.host, 5060), 1), self.now)
        self.settle()
        self._check_bounds(node)

    def arrive(self, node: Node, data: bytes, flow: Flow) -> None:
        self.steps += 1
        seen = self.seen[node.host]
        message = read(data) if data.startswith(b"SIP/2.0") else None
        dropped = node.core.dropped
        acknowledged = 0
        key = ("", "", 0)
        if message is not None:
            key = (message.call_id, message.to_tag, message.cseq)
            acknowledged = seen.acks[key]
        sent = seen.sent
        node.core.receive(data, flow, self.now)
        self.settle()
        must(seen.sent - sent <= 40, f"{node.name} answered one message with {seen.sent - sent}")
        if (
            message is not None
            and message.method == "INVITE"
            and 200 <= message.status < 300
            and message.branch not in seen.refused  # who refused first may not accept any more
            and node.core.dropped == dropped
            and not _tcp_contact.search(data)
            and (invite := seen.invites.get(message.branch)) is not None
            and invite[0] == message.call_id
        ):
            must(seen.acks[key] > acknowledged, f"{node.name} did not acknowledge {data[:300]!r}")
        if message is not None and message.method == "INVITE" and message.status >= 300:
            seen.refused.add(message.branch)
        self._check_bounds(node)

    def advance(self, seconds: float, *, deliver: bool) -> None:
        """Turn the clock; each alarm at its own time. With `deliver` what is flying arrives as it is sent."""
        until = self.now + seconds
        alarms = 0
        while True:
            while deliver and self.flying:
                self.deliver(0)
            deadlines = [due for node in self.nodes.values() if (due := node.core.next_deadline()) is not None]
            if self._queue:
                deadlines.append(self._queue[0][0])
            soonest = min(deadlines, default=until)
            if soonest >= until:
                break
            self.now = max(self.now, soonest)
            alarms += 1
            must(alarms < 200 + 100 * seconds, "a storm of timers")
            self._turn()
        self.now = until
        self._turn()

    def _connect(self, node: Node, action: OpenFlow) -> None:
        if self.tcp.get(action.target.host) == "ignore":  # the shell gives up on a SYN that nobody answers
            self.at(self.now + 4.0, lambda: node.core.flow_failed(action.token, "no answer to TCP", self.now))
        else:
            super()._connect(node, action)

    def _turn(self) -> None:
        while self._queue and self._queue[0][0] <= self.now:
            self.steps += 1
            heapq.heappop(self._queue)[2]()
            self.settle()
        for node in self.nodes.values():
            due = node.core.next_deadline()
            if due is None or due > self.now:
                continue
            self.steps += 1
            node.core.handle_timer(self.now)
            self.settle()
            after = node.core.next_deadline()
            must(after is None or after > self.now, f"{node.name} has an alarm that is due at once again")
            self._check_bounds(node)

    def _check_bounds(self, node: Node) -> None:
        counts = node.core.counts()
        seen = self.seen[node.host]
        # A registered phone's REGISTER has as much room again beyond what strangers may fill.
        must(counts["strangers"] <= 2 * MAX_TRANSACTIONS + 3, f"{node.name}: {counts}")
        incoming = sum(kind == "in" for kind in self.seen[node.host].calls.values())
        must(incoming <= MAX_CALLS, f"{node.name} has {incoming} incoming calls")
        running = sum(until >= self.now for until in seen.granted.values())
        must(counts["subscriptions"] <= running, f"{node.name}: {counts}, {running} granted and not over")
        must(
            counts["calls"] == len(self.seen[node.host].calls),
            f"{node.name}: {counts}, {self.seen[node.host].calls}",
        )

    def finish(self) -> None:
        """Leave everything alone, hang up, wait; nothing may be left."""
        for node in self.nodes.values():
            node.core.stop(self.now)
            self.settle()
        self.advance(LONG_S, deliver=False)
        for node in self.nodes.values():
            seen = self.seen[node.host]
            must(not seen.texts, f"{node.name} never told what became of texts {sorted(seen.texts)}")
            must(not seen.calls, f"{node.name}: calls {sorted(seen.calls)} never ended")
            left = {name: count for name, count in node.core.counts().items() if count and name != "dropped"}
            must(not left, f"{node.name} still has {left} after {LONG_S:g} s")
            must(node.core.stopped, f"{node.name} never stopped")
            for call_id, tags in seen.won.items():
                others = [tag for tag in tags if (call_id, tag) not in seen.byes]
                must(len(others) <= 1, f"{node.name}: {call_id} was answered by {others} and only one was refused")
