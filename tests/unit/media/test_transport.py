"""What a stream goes over: sealed or plain, by its own sockets or by a wire, RTCP beside RTP or on its port."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware.media.audio import AudioStream
from firmware.media.codec import NARROWBAND_HZ, frame_bytes
from firmware.media.engine import Engine
from firmware.media.srtp import Srtp
from firmware.media.video import VideoStream
from firmware.net.rtp_port import RtpPort
from firmware.rtp.packet import pack_rtp, parse_rtp
from firmware.rtp.rtcp import PictureLossIndication, ReceiverReport, pack_rtcp, parse_rtcp
from firmware.sdp.agreement import AgreedMedia
from firmware.sdp.crypto import SrtpKeys
from tests.support.media import ManualAudio, Peer, agreement, audio, until, video

SUITE = "AES_CM_128_HMAC_SHA1_80"
DOOR, PHONE = bytes(range(30)), bytes(range(50, 80))
KEYS, THEIR_KEYS = SrtpKeys(SUITE, DOOR, PHONE), SrtpKeys(SUITE, PHONE, DOOR)

SILENCE = bytes(frame_bytes(NARROWBAND_HZ))


class Line:
    """A wire, as ICE would make one: what is sent is kept, what arrives is put in by the test."""

    def __init__(self) -> None:
        self.inbox: deque[tuple[bytes, float]] = deque(maxlen=512)
        self.sent: list[bytes] = []

    def send(self, datagram: bytes) -> None:
        self.sent.append(datagram)


class Bench:
    """A stream against a phone's sockets, the tick turned by hand; `seal` is the phone's end of the encryption."""

    def __init__(self, phone: Peer) -> None:
        self.digits: list[str] = []
        self.stream = AudioStream(
            RtpPort("127.0.0.1", control=True),
            lambda _: None,
            lambda digit, way, at_s: self.digits.append(digit),
            "cname",
        )
        self.stream.set_audio(talk=True, listen=True)
        self.phone = phone
        self.seal = Srtp(THEIR_KEYS)
        self.now = time.monotonic()
        self.sequence = 5

    def agreed(self, keys: SrtpKeys | None = KEYS) -> AgreedMedia:
        return replace(audio(self.phone.port), keys=keys, remote_rtcp_port=self.phone.rtcp_port)

    def sound(self, payload_type: int = 0, payload: bytes = bytes(160)) -> bytes:
        self.sequence += 1
        return pack_rtp(payload_type, False, self.sequence, self.sequence * 160, 0x77, payload)

    def hear(self, datagram: bytes) -> None:
        """What the phone sends, read by the tick."""
        self.phone.rtp.sendto(datagram, ("127.0.0.1", self.stream.port.port))
        self.stream.read_media(self.now, time.time() - self.now)

    def say(self) -> bytes:
        """What the phone gets of the next tick."""
        self.stream.send(SILENCE, {}, self.now)
        return self.phone.rtp.recv(2048)

    def count(self, name: str) -> object:
        return self.stream.statistics()[f"audio_{name}"]


@pytest.fixture
def phone() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def bench(phone: Peer) -> Iterator[Bench]:
    made = Bench(phone)
    yield made
    made.stream.close()


def test_with_keys_nothing_leaves_unencrypted_and_nothing_plain_is_heard(bench: Bench) -> None:
    bench.stream.connect(bench.agreed())
    sent = bench.say()
    assert parse_rtp(bench.seal.open(sent)).payload == bytes([0xFF] * 160)
    bench.hear(bench.sound())
    assert bench.count("received") == 0
    for _ in range(3):
        bench.hear(bench.seal.protect(bench.sound()))
    assert (bench.count("received"), bench.count("forged"), bench.count("srtp")) == (3, 1, SUITE)
    bench.stream.tick_report(bench.now)
    report = bench.phone.rtcp.recv(2048)
    assert parse_rtcp(bench.seal.open_rtcp(report))


def test_a_replayed_key_presses_nothing(bench: Bench) -> None:
    bench.stream.connect(bench.agreed())
    pressed = bench.seal.protect(bench.sound(101, b"\x05\x0a\x00\xa0"))
    for _ in range(3):
        bench.phone.rtp.sendto(pressed, ("127.0.0.1", bench.stream.port.port))
        bench.stream.read_control()
    assert bench.digits == ["5"]
    assert bench.count("replayed") == 2
    bench.phone.rtp.sendto(bench.sound(101, b"\x06\x0a\x00\xa0"), ("127.0.0.1", bench.stream.port.port))
    bench.stream.read_control()
    assert bench.digits == ["5"]  # nor is one that is not encrypted


def test_new_keys_of_a_reinvite_and_an_agreement_without_any(bench: Bench) -> None:
    bench.stream.connect(bench.agreed())
    before = parse_rtp(bench.seal.open(bench.say()))
    bench.stream.connect(bench.agreed(SrtpKeys(SUITE, PHONE, DOOR)))
    bench.seal.rekey(SrtpKeys(SUITE, DOOR, PHONE))
    after = parse_rtp(bench.seal.open(bench.say()))
    assert (after.ssrc, after.sequence) == (before.ssrc, before.sequence + 1 & 0xFFFF)
    bench.hear(bench.seal.protect(bench.sound()))
    assert bench.count("received") == 1
    bench.stream.connect(bench.agreed(None))
    assert parse_rtp(bench.say()).payload == bytes([0xFF] * 160)


def test_while_a_handshake_goes_on_nothing_passes_and_its_own_packets_reach_it(bench: Bench) -> None:
    shaken: list[bytes] = []
    bench.stream.on_control = lambda data, _: shaken.append(data)
    bench.stream.seal(None)
    bench.stream.connect(bench.agreed(None))
    bench.stream.send(SILENCE, {}, bench.now)
    bench.hear(bench.sound())
    hello = b"\x16\xfe\xff" + bytes(20)
    bench.phone.rtp.sendto(hello, ("127.0.0.1", bench.stream.port.port))
    bench.stream.read_control()
    assert shaken == [hello]
    assert (bench.count("sent"), bench.count("received")) == (0, 0)
    bench.stream.seal(KEYS)
    bench.stream.connect(bench.agreed(None))  # an agreement without keys of its own takes these not away
    assert parse_rtp(bench.seal.open(bench.say()))


def test_rtcp_goes_to_rtp_s_port_and_is_taken_there_once_that_is_agreed(bench: Bench) -> None:
    report = pack_rtcp(ReceiverReport(0x77))
    bench.stream.connect(replace(bench.agreed(None), rtcp_mux=True))
    bench.say()
    bench.stream.tick_report(bench.now)
    assert parse_rtcp(bench.phone.rtp.recv(2048))
    bench.hear(bench.sound())
    bench.hear(report)
    assert (bench.count("received"), bench.count("unknown"), bench.count("malformed")) == (1, 0, 0)
    bench.stream.connect(bench.agreed(None))
    bench.hear(report)
    assert bench.count("malformed") == 1


def test_a_keyframe_is_asked_for_over_a_wire_and_through_the_encryption() -> None:
    asked: list[bool] = []
    stream = VideoStream(RtpPort("127.0.0.1"), lambda _: None, "cname", lambda: asked.append(True))
    line, seal = Line(), Srtp(THEIR_KEYS)
    stream.seal(KEYS)
    stream.connect(video(9))
    stream.go_over(line)
    stream.send([(b"\x65picture", True)], 1000)
    assert parse_rtp(seal.open(line.sent[0])).payload == b"\x65picture"
    wanted = pack_rtcp(ReceiverReport(0x77)) + pack_rtcp(PictureLossIndication(0x77, stream.ssrc))
    line.inbox.append((seal.protect_rtcp(wanted), time.monotonic()))
    stream.drain()
    assert asked == [True]
    stream.close()


def test_the_tick_takes_what_a_wire_brings_until_the_leg_ends() -> None:
    async def test() -> None:
        card, line = ManualAudio(), Line()
        engine = Engine(audio=lambda: card, call_soon=asyncio.get_running_loop().call_soon_threadsafe)
        leg = engine.open_leg("1.1", "127.0.0.1", lambda _: None)
        (stream,) = engine._tick.audio
        leg.connect(agreement(audio(9, host="0.0.0.0")), talk=True, listen=True)
        engine.go_over(stream, line)
        leg.connect(agreement(audio(9, host="192.0.2.1")), talk=True, listen=True)
        line.inbox.extend((pack_rtp(0, False, n, n * 160, 0x77, bytes(160)), time.monotonic()) for n in range(100))

        def received() -> bool:
            card.step()
            return leg.statistics()["audio_received"] == 100

        await until(received, "all that the wire brought")
        assert parse_rtp(line.sent[0]).ssrc == stream.ssrc
        leg.close()
        assert not engine._tick.wired
        card.run_free()
        engine.close()

    asyncio.run(test())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=2048), head=st.sampled_from([b"", b"\x80\x00", b"\x80\xc8", b"\x80\x65", b"\x16\xfe"])
)
def test_whatever_comes_at_an_encrypted_stream_has_no_effect(bench: Bench, data: bytes, head: bytes) -> None:
    bench.stream.connect(replace(bench.agreed(), rtcp_mux=True))
    bench.phone.rtp.sendto(head + data, ("127.0.0.1", bench.stream.port.port))
    bench.stream.read_media(bench.now, time.time() - bench.now)
    bench.stream.read_control()
    assert (bench.count("received"), bench.digits, bench.stream.latch.locked) == (0, [], False)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(again=st.lists(st.integers(0, 11), max_size=30), pressed=st.integers(1, 10))
def test_whatever_of_a_call_is_played_back_has_no_effect(phone: Peer, again: list[int], pressed: int) -> None:
    """Sound, a key and reports of the phone's, sealed by it, and then any of them once more in any order."""
    made = Bench(phone)
    stream, where = made.stream, ("127.0.0.1", phone.port)
    stream.connect(replace(made.agreed(), rtcp_mux=True))
    recorded = [made.seal.protect(made.sound()) for _ in range(10)]
    recorded.insert(pressed, made.seal.protect(made.sound(101, b"\x05\x0a\x00\xa0")))
    recorded.append(made.seal.protect_rtcp(pack_rtcp(ReceiverReport(0x77))))
    for datagram in (*recorded, *(recorded[each] for each in again)):
        with stream.lock:
            stream._arrived(datagram, where, made.now)
    assert made.digits == ["5"]
    assert (made.count("received"), made.count("replayed"), made.count("forged")) == (11, len(again), 0)
    stream.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    strangers=st.lists(
        st.tuples(
            st.sampled_from(["127.0.0.1", "127.0.0.9", "192.0.2.9"]),
            st.integers(1, 65_535),
            st.sampled_from([0x77, 0x78]),
            st.sampled_from([0, 101]),
            st.integers(0, 0xFFFF),
        ),
        max_size=60,
    )
)
def test_whatever_comes_from_elsewhere_in_a_plain_call_has_no_effect(
    phone: Peer, strangers: list[tuple[str, int, int, int, int]]
) -> None:
    made = Bench(phone)
    stream, where = made.stream, ("127.0.0.1", phone.port)
    stream.connect(made.agreed(None))
    with stream.lock:
        stream._arrived(made.sound(), where, made.now)
    refused = 0
    for host, port, ssrc, kind, number in strangers:
        if (host, port) == where:
            continue
        refused += 1
        with stream.lock:
            stream._arrived(
                pack_rtp(kind, False, number, number, ssrc, b"\x05\x0a\x00\xa0"), (host, port), made.now
            )
    assert (made.count("received"), made.count("refused"), made.digits) == (1, refused, [])
    assert (stream.latch.remote, stream._destination) == (where, where)
    stream.close()
