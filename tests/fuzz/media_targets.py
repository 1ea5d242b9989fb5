"""What is fuzzed of the media's side: all that arrives on an RTP port, and what a TURN server says.

Each target is a function of octets as those of `targets`, which lists them; `seeds` says what each begins with.
"""

import asyncio
import contextlib
import socket
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from typing import Any, cast

from firmware.media.audio import AudioStream
from firmware.media.ice import IceAgent
from firmware.media.ice_servers import IceServers
from firmware.media.srtp import Srtp
from firmware.media.video import VideoStream
from firmware.net import stun as sip_stun
from firmware.net.rtp_port import RtpPort
from firmware.rtp.packet import RtpError, RtpPacket, pack_rtp, parse_rtp
from firmware.rtp.reception import ReportBlock
from firmware.rtp.rtcp import (
    Bye,
    FullIntraRequest,
    GenericNack,
    MaximumBitRate,
    PictureLossIndication,
    ReceiverEstimate,
    ReceiverReport,
    ReportScheduler,
    Sdes,
    SenderReport,
    pack_rtcp,
    parse_rtcp,
)
from firmware.rtp.telephone_event import DIGITS, Receiver
from firmware.sdp.crypto import SrtpKeys
from firmware.sdp.keying import Fingerprint
from tests.support.media import audio, until, video
from tests.support.suites import SUITES

BREAK = b"\n--\n"  # between the datagrams of one input
PHONE, STRANGER = ("192.0.2.2", 5000), ("192.0.2.3", 6000)
_SUITE = "AES_CM_128_HMAC_SHA1_80"
_KEYS, _THEIR_KEYS = SrtpKeys(_SUITE, bytes(30), bytes([1]) * 30), SrtpKeys(_SUITE, bytes([1]) * 30, bytes(30))
_BLOCK = ReportBlock(7, 12, -3, 65_600, 33, 0x12345678, 65_536)


class _Socket:
    family = socket.AF_INET

    def sendto(self, data: bytes, to: tuple[str, int]) -> None:
        assert data
        assert to[1]

    def getsockname(self) -> tuple[str, int]:
        return ("192.0.2.1", 4000)


class _Port:
    """A stream's port that no kernel knows of."""

    host, port, control = "192.0.2.1", 4000, None
    media = rtcp = _Socket()

    def select_control(self, payload_types: tuple[int, ...]) -> None:
        assert all(0 <= each < 128 for each in payload_types)

    def close(self) -> None:
        pass


def _port() -> RtpPort:
    return cast(RtpPort, _Port())


def rtp(data: bytes) -> None:
    """Packets, a stranger's among them, at plain streams with RTCP on the same port: each tick has its frame."""
    sound = AudioStream(_port(), lambda _: None, lambda *_: None, "cname")
    sound.connect(replace(audio(PHONE[1], host=PHONE[0]), rtcp_mux=True))
    sound.set_audio(talk=True, listen=True)
    picture = VideoStream(_port(), lambda _: None, "cname", lambda: None, lambda unit, _: None)
    picture.connect(replace(video(PHONE[1], host=PHONE[0], direction="sendrecv"), rtcp_mux=True))
    now = 100.0
    for piece in data.split(BREAK)[:40]:
        source = STRANGER if piece[-1:] == b"!" else PHONE
        for stream in (sound, picture):
            with stream.lock:
                if not stream._goes_on(piece, source, now):
                    stream._arrived(piece, source, now)
        now += 0.02
        frame = sound.play(now)
        assert frame is None or len(frame) == 320
        sound.send(bytes(320), {}, now)
        sound.tick_report(now)
    assert not sound._send_errors
    for stream in (sound, picture):
        stream.statistics()
        stream.close()


def srtp(data: bytes) -> None:
    """Without the key nothing passes, in either form; at a stream it has no effect."""
    seal = Srtp(_KEYS)
    for piece in data.split(BREAK)[:20]:
        assert seal.open(piece) == seal.open_rtcp(piece) == b""
    control: list[bytes] = []
    digits: list[str] = []
    stream = AudioStream(_port(), lambda _: None, lambda digit, *_: digits.append(digit), "cname")
    stream.on_control = lambda datagram, _: control.append(datagram)
    stream.connect(replace(audio(PHONE[1], host=PHONE[0]), rtcp_mux=True, keys=_KEYS))
    for piece in data.split(BREAK)[:20]:
        with stream.lock:
            stream._arrived(piece, PHONE, 100.0)
    assert all(each[0] < 64 for each in control)
    assert not digits
    assert not stream.latch.locked
    assert stream.statistics()["audio_received"] == 0
    stream.close()


def rtcp(data: bytes) -> None:
    """What is read can be written and is the same again; it upsets no report of ours."""
    try:
        packets = parse_rtcp(data)
    except RtpError:
        return
    for packet in packets:
        if isinstance(packet, GenericNack):  # numbers may be named twice, which writing leaves out
            parse_rtcp(pack_rtcp(packet))
        else:
            assert parse_rtcp(pack_rtcp(packet))[0]._replace() is not None
    scheduler = ReportScheduler(7, "cname", lambda: 0.5, 0.0, wall_offset_s=1.7e9)
    scheduler.received(packets, len(data), 1.0)
    assert scheduler.deadline > 0
    assert parse_rtcp(scheduler.report(5.0, None, ()))


def event(data: bytes) -> None:
    """Any sequence of packets gives digits of the sixteen, none twice for one timestamp."""
    receiver = Receiver()
    pressed: list[tuple[int, int]] = []
    for piece in data.split(BREAK)[:60]:
        try:
            packet = parse_rtp(piece)
        except RtpError:
            packet = RtpPacket(101, bool(piece[:1] > b"\x80"), 1, int.from_bytes(piece[1:5], "big"), 7, piece[5:])
        digit = receiver.receive(packet)
        if digit is not None:
            assert digit in DIGITS
            assert (packet.ssrc, packet.timestamp) not in pressed[-200:]
            pressed.append((packet.ssrc, packet.timestamp))
    assert len(receiver._seen) <= 256


def stun(data: bytes) -> None:
    """Our own reader, and aioice's as it stands at the stream's port and at a TURN server's."""
    with contextlib.suppress(sip_stun.StunError):
        sip_stun.parse(data)
    _run(_hears(data))


async def _hears(data: bytes) -> None:
    from firmware.media.ice_connection import TURN_CLIENTS

    agent = IceAgent(
        ("192.0.2.1", 4000),
        IceServers(),
        send=lambda datagram, to: None,
        on_path=lambda path: None,
        on_handshake=lambda datagram: None,
        on_failed=lambda why: None,
    )
    await agent.gather()
    for piece in data.split(BREAK)[:10]:
        agent.receive(piece, STRANGER)
    for protocol in TURN_CLIENTS:
        client = protocol(("192.0.2.9", 3478), "u", "p", 600, 500)
        client.connection_made(_Server())
        client.receiver = agent._next.port if agent._next is not None else None
        for piece in data.split(BREAK)[:10]:
            if hasattr(client, "data_received"):
                client.data_received(piece)
                assert len(getattr(client, "buffer", b"")) < 70_000
            else:
                client.datagram_received(piece, ("192.0.2.9", 3478))
    await agent.close()


class _Server(asyncio.Transport):
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.9", 3478)


def dtls(data: bytes) -> None:
    """A handshake that hears this ends without keys, or goes on waiting; nothing raises but HandshakeError."""
    _run(_shakes(data))


async def _shakes(data: bytes) -> None:
    from firmware.media.dtls import Dtls, HandshakeError

    sent: list[bytes] = []
    end = Dtls("server", (Fingerprint("sha-256", ":".join(["AB"] * 32)),), sent.append)
    task = asyncio.ensure_future(end.handshake())
    for piece in data.split(BREAK)[:6]:
        end.receive(piece)
        for _ in range(3):
            await asyncio.sleep(0)
    if task.done():
        with contextlib.suppress(HandshakeError):
            raise AssertionError(f"keys of {task.result()} came of nothing")
    else:
        task.cancel()
    await end.close()


def _run(work: Coroutine[Any, Any, None]) -> None:
    """On a loop whose own complaints count."""

    async def listened() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
        await work

    wrong: list[dict[str, Any]] = []
    asyncio.run(listened())
    assert not wrong, wrong


TARGETS = {"rtp": rtp, "srtp": srtp, "rtcp": rtcp, "event": event, "stun": stun, "dtls": dtls}


def seeds(target: str) -> Iterator[bytes]:
    sound = [pack_rtp(0, number == 0, number, 160 * number, 7, bytes([number]) * 160) for number in range(6)]
    keys = [pack_rtp(101, not number, 9 + number, 999, 7, bytes((5, 10, 0, 160 + number))) for number in range(3)]
    report = pack_rtcp(SenderReport(1, 2**63, 3, 4, 5, (_BLOCK,))) + pack_rtcp(Sdes(((1, ((1, b"d@p"),)),)))
    feedback = (
        PictureLossIndication(1, 2),
        FullIntraRequest(1, ((2, 3), (4, 5))),
        GenericNack(1, 2, (5, 7, 900)),
        MaximumBitRate(1, ((2, 300_000, 40),)),
        ReceiverEstimate(1, 300_000, (2, 3)),
        Bye((1,), b"over"),
    )
    reports = [report, *(pack_rtcp(ReceiverReport(1, (_BLOCK,))) + pack_rtcp(each) for each in feedback)]
    if target == "rtp":
        noise = pack_rtp(13, False, 9, 9, 7, b"8")
        yield BREAK.join((*sound[:3], *keys, reports[1], *sound[3:], sound[0] + b"!", noise))
        yield BREAK.join(pack_rtp(96, True, n, n, 7, b"\x65" + bytes(9)) for n in range(4))
    elif target == "srtp":
        other = Srtp(replace(_THEIR_KEYS, send=bytes([9]) * 30))
        yield BREAK.join((*sound[:2], *keys, *reports, b"\x16\xfe\xff", b"\0\1\0\0"))
        yield BREAK.join(other.protect(each) for each in (*sound, *keys))
    elif target == "rtcp":
        yield from reports
    elif target == "event":
        yield BREAK.join((*keys, pack_rtp(101, True, 40, 5000, 7, b"\x0b\x8a\xff\xff")))
        yield BREAK.join((*keys, *keys, pack_rtp(101, False, 40, 999 + 0xFFFF, 7, b"\x05\x0a\x00\xa0")))
    elif target == "stun":
        yield sip_stun.binding_request(bytes(12), change_ip=True)
        yield sip_stun.binding_response(bytes(12), PHONE)
        yield b"\x40\x00\x00\x04abcd" + BREAK + sip_stun.binding_request(bytes(12))
        yield from _recorded("aioice-stun-bin")
    elif target == "dtls":
        yield from (b"\x16\xfe\xff" + bytes(10), b"\x14\xfe\xfd\0\0" + bytes(9))
        yield _client_hello()


def _client_hello() -> bytes:
    """The first flight of a client of ours."""
    sent: list[bytes] = []

    async def begins() -> None:
        from firmware.media.dtls import Dtls

        end = Dtls("client", (Fingerprint("sha-256", ":".join(["AB"] * 32)),), sent.append)
        task = asyncio.ensure_future(end.handshake())
        await until(lambda: sent, "the first flight")
        task.cancel()
        await end.close()

    asyncio.run(begins())
    return BREAK.join(sent[:2])


def _recorded(suite: str) -> Iterator[bytes]:
    yield from (path.read_bytes() for path in sorted((SUITES / suite).glob("*.bin")))
