"""What is fuzzed: functions of octets that return if all is well, and raise where something is wrong.

`seeds` gives each target something to begin with: the suites beside the checkout where they are there, messages of
our own, random programs. A target must be fast and forget everything between two calls.
"""

import contextlib
from collections.abc import Callable, Iterator

from firmware.rtp.h264 import Depacketizer, Packetizer, split_annex_b
from firmware.rtp.packet import RtpPacket
from firmware.sdp.description import SessionDescription
from firmware.sdp.errors import SdpError
from firmware.sdp.offer_answer import LocalMedia, OfferAnswer
from firmware.sip.configuration import Account, Configuration, House, User
from firmware.sip.digest import DigestClient, DigestServer
from firmware.sip.errors import RemoteProtocolError
from firmware.sip.message import (
    Message,
    Request,
    Response,
    check_request,
    check_response,
    parse_message,
    response_to,
)
from firmware.sip.stream import Keepalive, StreamFramer
from firmware.sip.uri import Uri
from tests.fuzz import media_targets
from tests.fuzz.media_targets import BREAK
from tests.programs.opcodes import SIZE, program_of, run
from tests.support.damaged_sip import SAMPLES
from tests.support.door_invite import DOOR_INVITE, SDP
from tests.support.media import PPS, SPS
from tests.support.sip_link import Bench
from tests.support.suites import SUITES

_PROPERTIES = [name for name in vars(Message) if isinstance(getattr(Message, name), property)]
_SERVER = DigestServer("r", lambda size: bytes(size))
_LOCAL = LocalMedia(host="192.0.2.1", audio_port=4000, video_port=4002)


def parser(data: bytes) -> None:
    """A datagram is read or refused, and what was read can be used, answered and written."""
    try:
        message = parse_message(data)
    except RemoteProtocolError as error:
        if error.request is not None:
            parse_message(response_to(error.request, error.status).serialize())
        return
    for name in _PROPERTIES:
        with contextlib.suppress(RemoteProtocolError):
            getattr(message, name)
    again = parse_message(message.serialize())
    assert again.start_line() == message.start_line()
    assert again.body == message.body
    try:
        if isinstance(message, Response):
            check_response(message)
        else:
            check_request(message)
            assert str(message.uri)
    except RemoteProtocolError:
        return
    if isinstance(message, Request):
        assert parse_message(response_to(message, 400, to_tag="t").serialize()).status == 400


def stream(data: bytes) -> None:
    """Slices of any size frame the same messages, within bounds."""
    if not data:
        return
    size, data = 1 + data[0], data[1:]
    assert _framed(data, size) == _framed(data, len(data) or 1)


def _framed(data: bytes, size: int) -> tuple[list[bytes], bool]:
    framer = StreamFramer()
    messages: list[bytes] = []
    try:
        for at in range(0, len(data), size):
            for message in framer.feed(data[at : at + size]):
                if not isinstance(message, Keepalive):
                    messages.append(message.serialize())
            assert framer.buffered <= 200_000
    except RemoteProtocolError:
        return messages, True
    return messages, framer.broken is not None


def sdp(data: bytes) -> None:
    """A description is read or refused; what was read survives our writing; an offer is answered or refused."""
    try:
        description = SessionDescription.parse(data)
    except SdpError:
        return
    SessionDescription.parse(bytes(str(description), "utf-8", "surrogateescape"))
    machine = OfferAnswer(1)
    try:
        machine.receive_offer(data)
        answer, _ = machine.create_answer(_LOCAL)
    except SdpError:
        pass
    else:
        assert len(SessionDescription.parse(answer).media) == len(description.media)
    machine = OfferAnswer(1)
    machine.create_offer(_LOCAL)
    with contextlib.suppress(SdpError):
        machine.receive_answer(data)


def digest(data: bytes) -> None:
    """Challenges and credentials of any spelling are met, passed over or refused."""
    head = b"SIP/2.0 401 No\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\n"
    head += b"Call-ID: 1\r\nCSeq: 1 REGISTER\r\n"
    fields = data.replace(b"\r", b" ").split(b"\n")
    challenge = b"".join(b"WWW-Authenticate: " + field + b"\r\n" for field in fields)
    exchange = DigestClient("u", "p", lambda size: bytes(size)).exchange()
    with contextlib.suppress(RemoteProtocolError):
        response = parse_message(head + challenge + b"\r\n")
        assert isinstance(response, Response)
        if exchange.challenged(response):
            request = Request("REGISTER", Uri.parse("sip:b"))
            exchange.authorize(request)
            parse_message(request.serialize())
    credentials = b"".join(b"Authorization: " + field + b"\r\n" for field in fields)
    with contextlib.suppress(RemoteProtocolError):
        register = parse_message(b"REGISTER sip:b SIP/2.0\r\n" + head.split(b"\r\n", 1)[1] + credentials + b"\r\n")
        assert isinstance(register, Request)
        assert not _SERVER.verify(register, lambda user: "secret", 1.0).user


def core(data: bytes) -> None:
    """Datagrams at a core in mid-life: their placeholders name its own dialogs. Nothing raises, all of it ends."""
    account = Account("pbx", Uri.parse("sip:door@10.0.0.2"), username="door", password="p")
    house = House((User("ana", "right"),), max_expires_s=300)
    bench = Bench(Configuration((account,), max_transactions=20, house=house))
    bench.core.start(bench.now)
    number = bench.core.invite(Uri.parse("sip:mon@10.0.0.2"), SDP, bench.now, account="pbx")
    requests = [message for message in bench.sent() if isinstance(message, Request)]
    invite = requests[-1]
    live = {
        b"@BRANCH": (invite.top_via.branch or "").encode(),
        b"@REGISTER": (requests[0].top_via.branch or "").encode(),
        b"@CALL": invite.call_id.encode(),
        b"@TAG": (invite.from_.tag or "").encode(),
    }
    for piece in data.split(BREAK)[:12]:
        if piece.startswith(b"+"):
            bench.advance(min(40.0, float(len(piece))))
        elif piece.startswith(b"!"):
            bench.core.hangup(number, bench.now)
        else:
            for name, value in live.items():
                piece = piece.replace(name, value)
            bench.core.receive(piece, bench.flow, bench.now)
        bench.sent()
        while (event := bench.core.next_event()) is not None:
            call = getattr(event, "call", 0)
            if type(event).__name__ == "IncomingCall":
                bench.core.accept(call, SDP, bench.now)
        assert bench.core.counts()["strangers"] <= 43
    bench.core.stop(bench.now)
    for _ in range(4):
        bench.advance(100.0)
        bench.sent()
    left = {name: count for name, count in bench.core.counts().items() if count and name != "dropped"}
    assert not left, left


def h264(data: bytes) -> None:
    """A camera's octets leave in legal packets; a peer's packets, apart by BREAK, are put together or dropped."""
    for mode in (0, 1):
        depacketizer = Depacketizer()
        payloads = Packetizer(mode).packets(data)
        for number, (payload, marker) in enumerate(payloads):
            kind = payload[0] & 0x1F
            assert 1 <= kind <= 23 or (kind == 28 and mode == 1)
            assert mode == 0 or len(payload) <= 1200
            assert marker == (number == len(payloads) - 1)
            depacketizer.receive(RtpPacket(96, marker, number, 1, 1, payload))
        assert not depacketizer.damaged
    depacketizer = Depacketizer()
    for number, payload in enumerate(data.split(BREAK)):
        marker, timestamp = bool(payload[:1] > b"\xc0"), len(payload) // 20
        unit = depacketizer.receive(RtpPacket(96, marker, number, timestamp, 1, payload))
        assert unit is None or split_annex_b(unit)


def program(data: bytes) -> None:
    """Octets are a program of tests/programs, coverage says which are worth keeping."""
    outcome = run(data[: 150 * SIZE])
    if outcome.failure is not None:
        raise outcome.failure


TARGETS: dict[str, Callable[[bytes], None]] = {
    "parser": parser,
    "stream": stream,
    "sdp": sdp,
    "digest": digest,
    "core": core,
    "h264": h264,
    "program": program,
    **media_targets.TARGETS,
}

_ANSWERS = (
    b"SIP/2.0 183 Session Progress\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=@BRANCH\r\nFrom: <sip:a@b>;tag=@TAG\r\n"
    b"To: <sip:c@d>;tag=x\r\nCall-ID: @CALL\r\nCSeq: 1 INVITE\r\nRequire: 100rel\r\nRSeq: 7\r\n"
    b"Contact: <sip:c@10.0.0.2>\r\nContent-Length: 0\r\n\r\n",
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=@BRANCH\r\nFrom: <sip:a@b>;tag=@TAG\r\n"
    b"To: <sip:c@d>;tag=x\r\nCall-ID: @CALL\r\nCSeq: 1 INVITE\r\nSession-Expires: 90;refresher=uas\r\n"
    b"Record-Route: <sip:10.0.0.2;lr>\r\nContact: <sip:c@10.0.0.2>\r\nContent-Length: 0\r\n\r\n",
    b"SIP/2.0 401 No\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=@REGISTER\r\nFrom: <sip:a@b>;tag=1\r\n"
    b"To: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\n"
    b'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"\r\n\r\n',
    b"INFO sip:door@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKi\r\nFrom: <sip:c@d>;tag=x\r\n"
    b"To: <sip:a@b>;tag=@TAG\r\nCall-ID: @CALL\r\nCSeq: 9 INFO\r\nMax-Forwards: 70\r\n"
    b"Content-Type: application/dtmf-relay\r\nContent-Length: 10\r\n\r\nSignal=1\r\n",
    b"UPDATE sip:door@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKu\r\nFrom: <sip:c@d>;tag=x\r\n"
    b"To: <sip:a@b>;tag=@TAG\r\nCall-ID: @CALL\r\nCSeq: 10 UPDATE\r\nMax-Forwards: 70\r\nSupported: timer\r\n"
    b"Session-Expires: 100\r\nContact: <sip:c@10.0.0.2>\r\nContent-Length: 0\r\n\r\n",
    b"REFER sip:door@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKr\r\nFrom: <sip:c@d>;tag=x\r\n"
    b"To: <sip:a@b>;tag=@TAG\r\nCall-ID: @CALL\r\nCSeq: 11 REFER\r\nMax-Forwards: 70\r\n"
    b"Refer-To: <sip:e@f?Replaces=1%3Bto-tag%3D2%3Bfrom-tag%3D3>\r\nContact: <sip:c@10.0.0.2>\r\n\r\n",
    b"REGISTER sip:10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKg\r\nFrom: <sip:ana@10.0.0.1>;tag=x"
    b"\r\n"
    b"To: <sip:ana@10.0.0.1>\r\nCall-ID: r\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 70\r\n"
    b"Contact: <sip:ana@10.0.0.2>;expires=60\r\n\r\n",
)


def seeds(target: str) -> Iterator[bytes]:
    if target in media_targets.TARGETS:
        yield from media_targets.seeds(target)
        return
    if target == "program":
        yield from (program_of(seed, 120) for seed in range(40))
        return
    if target == "digest":
        yield b'Digest realm="r", nonce="n", qop="auth,auth-int", algorithm=SHA-256, opaque="o", stale=true'
        yield b'Digest username="u", realm="r", nonce="n", uri="sip:b", response="0", qop=auth, nc=00000001'
        yield b'Digest realm="r", nonce="n"\nDigest realm="s", nonce="m", algorithm=MD5-sess, Basic realm="x"'
        return
    if target == "h264":
        start = b"\0\0\0\1"
        yield start + start.join((SPS, PPS, b"\x06\x05\x01\x80", b"\x65\x88" + b"\x55" * 3000, b"\x41\x9a"))
        yield BREAK.join((SPS, PPS, b"\x7c\x85\x88" + b"\x55" * 30, b"\x7c\x45\x55", b"\x78\0\2\x67\x42\0\1\x68"))
        return
    if target == "sdp":
        yield SDP
        yield from _files("webrtc-sdp")
        return
    messages = [*SAMPLES, DOOR_INVITE, *_files("rfc4475"), *_files("rfc5118")]
    if target == "stream":
        yield from (bytes([at % 256]) + message + b"\r\n\r\n" + DOOR_INVITE for at, message in enumerate(messages))
    elif target == "core":
        yield from messages
        yield from _ANSWERS
        yield BREAK.join(_ANSWERS)
        yield BREAK.join((_ANSWERS[0], b"+" * 30, _ANSWERS[1], *_ANSWERS[3:], b"!", _ANSWERS[1]))
    else:
        yield from messages


def _files(suite: str) -> Iterator[bytes]:
    folder = SUITES / suite
    if folder.is_dir():
        files = sorted(file for file in folder.rglob("*") if file.is_file() and file.suffix != ".json")
        yield from (file.read_bytes() for file in files)
