"""The peer's side of a bench: a phone or a registrar on bare UDP sockets. It retransmits nothing itself.

Nothing of the program under test is used here, and times of arrival are the kernel's, so that neither its
mistakes nor the scheduling of this process are measured with it.
"""

import re
import secrets
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

_SO_TIMESTAMPNS = 35  # not in the socket module; the number is the same on all of Debian's machines
_TIMESPEC = struct.Struct("@ll")
_RTP = struct.Struct("!BBHII")
FRAME = bytes(0xFF if n % 20 < 10 else 0x90 for n in range(160))  # 20 ms of a 400 Hz square in PCMU


@dataclass(frozen=True, slots=True)
class Message:
    """A SIP message as it came: `at_s` is when it arrived, on the monotonic clock."""

    first: str
    fields: tuple[tuple[str, str], ...]
    body: bytes
    at_s: float
    source: tuple[str, int]

    def get(self, name: str) -> str:
        return next((value for key, value in self.fields if key == name), "")

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    @property
    def method(self) -> str:
        """The method, of a response the one it answers."""
        return (self.get("cseq").split() or [""])[-1]  # "" for a keep-alive

    @property
    def status(self) -> int:
        return int(self.first.split()[1]) if self.first.startswith("SIP/2.0") else 0


@dataclass(slots=True)
class Talk:
    """One confirmed dialog: what a request within it needs, and where the peer's sound goes."""

    target: str
    source: tuple[str, int]
    local: str
    remote: str
    call_id: str
    rtp: tuple[str, int] | None
    sequence: int = field(default=1000)


class Phone:
    def __init__(self, host: str = "127.0.0.1", user: str = "monitor") -> None:
        self._sip = stamped_socket(host)
        self.rtp, self._rtcp = _pair(host)
        self.host, self.port = self._sip.getsockname()
        self.uri = f"sip:{user}@{self.host}:{self.port}"
        self._early: deque[Message] = deque()  # arrived while another was waited for
        self._rtp_sequence, self._rtp_timestamp = 0, 0
        self._ssrc = secrets.randbits(32)

    def close(self) -> None:
        for each in (self._sip, self.rtp, self._rtcp):
            each.close()

    # --- SIP -----------------------------------------------------------------------------------------------

    def wait(self, method: str, timeout_s: float, *, status: int = 0) -> Message:
        """The next request of this method, or, with `status`, the next response to one of at least this status."""

        def wanted(message: Message) -> bool:
            if message.method != method:
                return False
            return message.status >= status if status else not message.status

        for message in self._early:
            if wanted(message):
                self._early.remove(message)
                return message
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            self._sip.settimeout(left_s)
            try:
                message = self._receive()
            except TimeoutError:
                break
            if wanted(message):
                return message
            if message.method == "OPTIONS" and not message.status:
                self.respond(message, 200, "OK")
            else:
                self._early.append(message)
        raise AssertionError(f"no {method} {status or 'request'} within {timeout_s:g} s")

    def forget(self) -> None:
        """Drop what arrived for calls that are over, retransmissions among them."""
        self._early.clear()

    def respond(self, request: Message, status: int, phrase: str, sdp: bytes = b"", *fields: str) -> None:
        to = request.get("to")
        if ";tag=" not in to and status > 100:
            to += f";tag={self._tag(request)}"
        lines = [f"SIP/2.0 {status} {phrase}"]
        lines += [f"Via: {via}" for via in request.all("via")]
        lines += [f"From: {request.get('from')}", f"To: {to}", f"Call-ID: {request.get('call-id')}"]
        lines += [f"CSeq: {request.get('cseq')}", f"Contact: <{self.uri}>", *fields]
        self._send(lines, sdp, request.source)

    def answer(self, invite: Message, sdp: bytes) -> Talk:
        """200 to the INVITE, and the ACK waited for."""
        self.respond(invite, 200, "OK", sdp)
        self.wait("ACK", 2)
        local = f"{invite.get('to')};tag={self._tag(invite)}"
        target = _bare(invite.get("contact"))
        return Talk(target, invite.source, local, invite.get("from"), invite.get("call-id"), rtp_of(invite.body))

    def hang_up(self, talk: Talk) -> None:
        talk.sequence += 1
        self._request(talk, "BYE")
        self.wait("BYE", 2, status=200)

    def sdp(self, codec: str = "8 PCMA", *, events: int | None = 101, video: bool = False) -> bytes:
        number, name = codec.split()
        host, port = self.rtp.getsockname()
        lines = ["v=0", f"o=- {port} 1 IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0"]
        lines += [f"m=audio {port} RTP/AVP {number} {events or ''}".rstrip(), f"a=rtpmap:{number} {name}/8000"]
        if events is not None:
            lines.append(f"a=rtpmap:{events} telephone-event/8000")
        if video:
            lines += [f"m=video {port} RTP/AVP 96", "a=rtpmap:96 H264/90000", "a=fmtp:96 packetization-mode=1"]
            lines.append("a=recvonly")
        return ("\r\n".join(lines) + "\r\n").encode()

    def _request(self, talk: Talk, method: str, sdp: bytes = b"") -> None:
        lines = [
            f"{method} {talk.target} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.host}:{self.port};branch=z9hG4bK{secrets.token_hex(8)};rport",
            "Max-Forwards: 70",
            f"From: {talk.local}",
            f"To: {talk.remote}",
            f"Call-ID: {talk.call_id}",
            f"CSeq: {talk.sequence} {method}",
            f"Contact: <{self.uri}>",
        ]
        self._send(lines, sdp, talk.source)

    def _send(self, lines: list[str], sdp: bytes, to: tuple[str, int]) -> None:
        if sdp:
            lines = [*lines, "Content-Type: application/sdp"]
        head = "\r\n".join([*lines, f"Content-Length: {len(sdp)}", "", ""])
        self._sip.sendto(head.encode() + sdp, to)

    def _receive(self) -> Message:
        data = b"\0"
        while data[:1] < b"\4":  # a registered station's STUN, of which this registrar knows nothing
            data, now_s, source = receive_stamped(self._sip)
        head, _, body = data.partition(b"\r\n\r\n")
        first, *rest = head.decode().split("\r\n")
        fields = tuple((name.strip().lower(), value.strip()) for name, _, value in (x.partition(":") for x in rest))
        return Message(first, fields, body, now_s, source)

    @staticmethod
    def _tag(request: Message) -> str:
        return f"t{abs(hash(request.get('call-id'))):x}"

    # --- RTP -----------------------------------------------------------------------------------------------

    def drain(self) -> int:
        """Take what came so far; how many packets that was."""
        self.rtp.setblocking(False)
        count = 0
        while True:
            try:
                self.rtp.recv(2048)
            except BlockingIOError:
                return count
            count += 1

    def wait_picture(self, timeout_s: float) -> None:
        """Until a whole picture has come: a packet of payload type 96 with marker."""
        self.rtp.settimeout(timeout_s)
        while self.rtp.recv(2048)[1] != 0x80 | 96:
            pass

    def send_sound(self, to: tuple[str, int], frame: bytes = FRAME, payload_type: int = 0) -> None:
        self._send_rtp(to, payload_type, self._rtp_timestamp, frame, marker=False)
        self._rtp_timestamp += len(frame)

    def start_digit(self, to: tuple[str, int], digit: str) -> None:
        """The first packet of a key (RFC 4733)."""
        self._rtp_timestamp += 1600
        self._event(to, digit, 160, end=False, marker=True)

    def end_digit(self, to: tuple[str, int], digit: str) -> None:
        for _ in range(3):
            self._event(to, digit, 800, end=True, marker=False)

    def _event(self, to: tuple[str, int], digit: str, duration: int, *, end: bool, marker: bool) -> None:
        payload = struct.pack("!BBH", "0123456789*#".index(digit), 0x8A if end else 0x0A, duration)
        self._send_rtp(to, 101, self._rtp_timestamp, payload, marker=marker)

    def _send_rtp(
        self, to: tuple[str, int], payload_type: int, timestamp: int, payload: bytes, *, marker: bool
    ) -> None:
        self._rtp_sequence += 1
        second = payload_type | (0x80 if marker else 0)
        sequence, timestamp = self._rtp_sequence & 0xFFFF, timestamp & 0xFFFFFFFF
        self.rtp.sendto(_RTP.pack(0x80, second, sequence, timestamp, self._ssrc) + payload, to)


def _pair(host: str) -> tuple[socket.socket, socket.socket]:
    """RTP's socket, and RTCP's at the port above: peers send there, and it must not be another phone's."""
    while True:
        rtp, rtcp = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        rtp.bind((host, 0))
        try:
            rtcp.bind((host, rtp.getsockname()[1] + 1))
        except OSError:
            rtp.close()
            rtcp.close()
        else:
            return rtp, rtcp


class Talker(threading.Thread):
    """Sends a frame each 20 ms to `talk` until stopped, and counts what comes back unless somebody else listens."""

    def __init__(self, phone: Phone, talk: Talk, payload_type: int = 0, *, listens: bool = True) -> None:
        super().__init__(daemon=True)
        assert talk.rtp is not None
        self._phone, self._to, self._payload_type, self._listens = phone, talk.rtp, payload_type, listens
        self._stopping = threading.Event()
        self.received = 0

    def run(self) -> None:
        next_s = time.monotonic()
        while not self._stopping.wait(max(0.0, next_s - time.monotonic())):
            next_s += 0.02
            self._phone.send_sound(self._to, payload_type=self._payload_type)
            if self._listens:
                self.received += self._phone.drain()

    def stop(self) -> None:
        self._stopping.set()
        self.join(1)


def answering(phone: Phone, method: str, stop: Callable[[], bool]) -> None:
    """Answer every request of `method` 200 until `stop()`: a registrar, for REGISTER."""
    while not stop():
        try:
            request = phone.wait(method, 0.2)
        except AssertionError:
            continue
        phone.respond(request, 200, "OK", b"", f"Expires: {request.get('expires') or 600}")


def rtp_of(sdp: bytes) -> tuple[str, int] | None:
    """Address of the audio stream."""
    text = sdp.decode()
    host, port = re.search(r"c=IN IP4 (\S+)", text), re.search(r"m=audio (\d+)", text)
    return (host[1], int(port[1])) if host and port and int(port[1]) else None


def _bare(contact: str) -> str:
    match = re.search(r"<([^>]+)>", contact)
    return match[1] if match else contact.partition(";")[0]


def stamps(sock: socket.socket) -> None:
    """From now on the kernel notes when each datagram came."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def receive_stamped(sock: socket.socket) -> tuple[bytes, float, tuple[str, int]]:
    """A datagram of such a socket, when it came on the monotonic clock, and its source."""
    data, ancillary, _, source = sock.recvmsg(65536, 64)
    at_s = time.monotonic()
    for level, kind, value in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(value)
            at_s = seconds + nanoseconds / 1e9 - _wall_clock_ahead_s()
    return data, at_s, source


def _wall_clock_ahead_s() -> float:
    """Of the monotonic clock. Whoever is stopped between reading the one and the other reads both again."""
    while True:
        before_s, wall_s, after_s = time.monotonic(), time.time(), time.monotonic()
        if after_s - before_s < 50e-6:
            return wall_s - (before_s + after_s) / 2


def stamped_socket(host: str) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stamps(made)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    made.bind((host, 0))
    return made
