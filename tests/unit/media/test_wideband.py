"""Streams whose codec is no telephone's: their clocks and rates, and the bus that follows them."""

import audioop
import itertools
import struct
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from firmware.media.audio import AudioStream
from firmware.media.codec import AudioCodec, codec, frame_bytes
from firmware.media.events import MediaEvent
from firmware.media.tick import Tick
from firmware.media.tones import TonePlayer, parse
from firmware.net.rtp_port import RtpPort
from firmware.rtp.packet import RtpPacket, pack_rtp
from firmware.rtp.telephone_event import DIGITS
from tests.support.media import Peer, audio, heard, tone_frames
from tests.support.sound import level_db, longest_gap_ms

STILL = {rate_hz: bytes(frame_bytes(rate_hz)) for rate_hz in (8000, 16_000)}


class Bench:
    """A tick with streams, a sound card that is the test, and a phone for each stream."""

    def __init__(self) -> None:
        self.tick = Tick()
        self.events: list[MediaEvent] = []
        self.digits: list[str] = []
        self.played: list[bytes] = []
        self.phones: list[Phone] = []
        self._clock = itertools.count(1)

    def leg(self, name: str, **agreed: object) -> "Phone":
        port = RtpPort("127.0.0.1", control=False)
        stream = AudioStream(port, self.events.append, lambda digit, *_: self.digits.append(digit), "cname")
        self.tick.sockets.add(port.media.fileno(), stream.read_media)
        phone = Phone(stream, name)
        stream.connect(audio(phone.peer.port, codec=name, **agreed))  # type: ignore[arg-type]
        stream.set_audio(talk=True, listen=True)
        self.tick.audio = (*self.tick.audio, stream)
        self.phones.append(phone)
        return phone

    def run(self, microphone: bytes) -> None:
        self.tick.run(microphone, self.played.append)

    def close(self) -> None:
        for phone in self.phones:
            phone.stream.close()
            phone.peer.close()
        self.tick.sockets.close()


class Phone:
    def __init__(self, stream: AudioStream, name: str) -> None:
        self.stream = stream
        self.peer = Peer()
        coder = codec(name)
        assert coder is not None
        self.coder: AudioCodec = coder
        self.number = {"PCMU": 0, "PCMA": 8, "G722": 9, "opus": 111, "L16": 112}[name]
        self.sequence, self.timestamp = 65_000, 2**32 - 3000

    def packet(self, payload: bytes, samples: int) -> RtpPacket:
        made = RtpPacket(self.number, False, self.sequence & 0xFFFF, self.timestamp & 0xFFFFFFFF, 7, payload)
        self.sequence += 1
        self.timestamp += samples
        return made

    def say(self, frame: bytes, *, lost: bool = False) -> None:
        """A frame at the codec's rate, 20 ms or longer, into the stream's socket."""
        packet = self.packet(self.coder.encode(frame), len(frame) * self.coder.clock_hz // self.coder.rate_hz // 2)
        if not lost:
            self.peer.rtp.sendto(pack_rtp(*packet), ("127.0.0.1", self.stream.port.port))

    def heard(self) -> bytes:
        return b"".join(self.coder.decode(packet.payload) for packet in self.peer.waiting())


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench()
    real = time.monotonic
    base = real()
    clock = itertools.count()
    monkeypatch.setattr("firmware.media.tick.time", _Clock(lambda: base + next(clock) * 0.02))
    yield made
    made.close()


class _Clock:
    """Each look is the next tick. Kernel stamps are ignored: wall clock and this one have nothing in common."""

    def __init__(self, monotonic: object) -> None:
        self.monotonic = monotonic

    def time(self) -> float:
        return 0.0


@pytest.mark.parametrize("name", ["G722", "opus", "L16"])
def test_a_wideband_call_both_ways(bench: Bench, name: str) -> None:
    phone = bench.leg(name)
    for spoken, told in zip(
        tone_frames(700, 60, rate_hz=16_000), tone_frames(5000, 60, rate_hz=16_000), strict=True
    ):
        phone.say(spoken)
        bench.run(told)
    there, here = heard([phone.heard()], 16_000), heard(bench.played, 16_000)
    assert level_db(there.part(0.2), 5000) == pytest.approx(-12, abs=3)
    assert level_db(here.part(0.2), 700) == pytest.approx(-12, abs=1)
    assert longest_gap_ms(here.part(0.2)) <= 10


@pytest.mark.parametrize(("name", "step"), [("G722", 160), ("opus", 960), ("L16", 320), ("PCMU", 160)])
def test_timestamps_run_with_the_codecs_clock(bench: Bench, name: str, step: int) -> None:
    phone = bench.leg(name)
    for _ in range(5):
        bench.run(STILL[16_000])
    stamps = [packet.timestamp for packet in phone.peer.waiting()]
    assert [(b - a) & 0xFFFFFFFF for a, b in itertools.pairwise(stamps)] == [step] * 4


def test_jitter_and_concealment_are_told_in_the_codecs_clock(bench: Bench) -> None:
    phone = bench.leg("opus")
    for number in range(100):
        phone.say(STILL[16_000], lost=number in (40, 60))
        bench.run(STILL[16_000])
    statistics = phone.stream.statistics()
    assert statistics["audio_codec"] == "opus"
    assert statistics["audio_lost"] == 2
    assert statistics["audio_concealed_ms"] == pytest.approx(40, abs=20)
    assert statistics["audio_played_ms"] == pytest.approx(1900, abs=60)


@pytest.mark.parametrize("name", ["G722", "opus"])
def test_a_lost_packet_leaves_no_hole(bench: Bench, name: str) -> None:
    phone = bench.leg(name)
    for number, spoken in enumerate(tone_frames(400, 80, rate_hz=16_000)):
        phone.say(spoken, lost=number == 50)
        bench.run(STILL[16_000])
    assert longest_gap_ms(heard(bench.played, 16_000).part(0.3)) < 20


def test_opus_packets_of_sixty_milliseconds_are_played_in_three_ticks(bench: Bench) -> None:
    from firmware.media.opus import _Encoder

    phone = bench.leg("opus")
    frames = tone_frames(700, 90, rate_hz=16_000)
    encoder = _Encoder(0, in_band_fec=False)
    for number in range(90):
        if number % 3 == 0:
            packet = phone.packet(encoder.encode(b"".join(frames[number : number + 3])), 2880)
            phone.peer.rtp.sendto(pack_rtp(*packet), ("127.0.0.1", phone.stream.port.port))
        bench.run(STILL[16_000])
    here = heard(bench.played, 16_000).part(0.5)
    assert level_db(here, 700) == pytest.approx(-12, abs=1)
    assert longest_gap_ms(here) <= 10


def test_a_telephone_and_a_wideband_leg_hear_the_same_microphone(bench: Bench) -> None:
    wide, narrow = bench.leg("opus"), bench.leg("PCMA")
    for told in tone_frames(1000, 60, rate_hz=16_000):
        bench.run(told)
    assert level_db(heard([wide.heard()], 16_000).part(0.2), 1000) == pytest.approx(-12, abs=1)
    assert level_db(heard([narrow.heard()], 8000).part(0.2), 1000) == pytest.approx(-12, abs=1)


def test_the_door_hears_legs_and_tones_of_both_rates(bench: Bench) -> None:
    wide, narrow = bench.leg("G722"), bench.leg("PCMU")
    bench.tick.play_tone(TonePlayer(parse("425 10000")))
    spoken = zip(tone_frames(5000, 60, rate_hz=16_000), tone_frames(1200, 60), strict=True)
    for high, low in spoken:
        wide.say(high)
        narrow.say(low)
        bench.run(STILL[16_000])
    assert {len(frame) for frame in bench.played} == {640}
    here = heard(bench.played, 16_000).part(0.3)
    assert level_db(here, 5000) == pytest.approx(-12, abs=3)
    assert level_db(here, 1200) == pytest.approx(-12, abs=1)
    assert level_db(here, 425) == pytest.approx(-13.1, abs=1)
    assert level_db(here, 16_000 / 2 - 1200) < -50  # no mirror image of the telephone


def test_the_bus_may_change_its_rate_in_mid_call(bench: Bench) -> None:
    phone = bench.leg("PCMU")
    for number, spoken in enumerate(tone_frames(1000, 60)):
        phone.say(spoken)
        bench.run(STILL[16_000 if 20 <= number < 40 else 8000])
    sizes = [len(frame) for frame in bench.played]
    assert sizes == [320] * 20 + [640] * 20 + [320] * 20
    assert level_db(heard(bench.played[22:40], 16_000), 1000) == pytest.approx(-12, abs=1)
    assert level_db(heard(bench.played[42:], 8000), 1000) == pytest.approx(-12, abs=1)


def test_a_codec_that_changes_in_mid_call_is_followed(bench: Bench) -> None:
    phone = bench.leg("PCMU")
    for _ in range(5):
        phone.say(STILL[8000])
        bench.run(STILL[8000])
    ssrc = phone.peer.waiting()[0].ssrc
    phone.stream.connect(audio(phone.peer.port, codec="opus"))
    assert phone.stream.rate_hz == 16_000
    bench.run(STILL[8000])  # a tick that began before
    bench.run(STILL[16_000])
    packets = phone.peer.waiting()
    assert {packet.payload_type for packet in packets} == {111}
    assert {packet.ssrc for packet in packets} == {ssrc}
    assert len(packets) == 2


def test_the_same_agreement_again_keeps_what_the_coder_remembers(bench: Bench) -> None:
    phone = bench.leg("opus", fmtp="useinbandfec=1")
    before = phone.stream._codec
    phone.stream.connect(audio(phone.peer.port, codec="opus", fmtp="useinbandfec=1"))
    assert phone.stream._codec is before
    phone.stream.connect(audio(phone.peer.port, codec="opus", bit_rate=16_000))
    assert phone.stream._codec is not before


def test_keys_have_the_clock_of_their_codec(bench: Bench) -> None:
    phone = bench.leg("opus", dtmf=102)
    phone.stream.press("5")
    for _ in range(12):
        bench.run(STILL[16_000])
    events = [packet for packet in phone.peer.waiting() if packet.payload_type == 102]
    assert {DIGITS[packet.payload[0]] for packet in events} == {"5"}
    assert [int.from_bytes(packet.payload[2:], "big") for packet in events[:3]] == [960, 1920, 2880]


@pytest.mark.parametrize(("number", "clock_hz"), [(101, 8000), (102, 48_000)])
def test_keys_beside_opus_are_taken_in_either_clock_however_long_they_are_held(
    bench: Bench, number: int, clock_hz: int
) -> None:
    phone = bench.leg("opus", dtmf=102)
    agreed = audio(phone.peer.port, codec="opus", dtmf=102)
    phone.stream.connect(replace(agreed, event_types=(101, 102)))
    step = clock_hz // 50
    for key, ticks in (("5", 5), ("5", 5), ("8", 200), ("#", 2)):
        began = phone.timestamp
        for tick in range(ticks + 2):  # the end is said three times
            whole = min(tick + 1, ticks) * step
            segment = (whole - 1) // 0xFFFF  # RFC 4733 2.5.1.3
            flags = 0x8A if tick >= ticks - 1 else 0x0A
            event = struct.pack("!BBH", DIGITS.index(key), flags, whole - segment * 0xFFFF)
            started = began + segment * 0xFFFF
            packet = RtpPacket(number, not tick, phone.sequence & 0xFFFF, started & 0xFFFFFFFF, 7, event)
            phone.sequence += 1
            phone.timestamp += 960
            phone.peer.rtp.sendto(pack_rtp(*packet), ("127.0.0.1", phone.stream.port.port))
            bench.run(STILL[16_000])
        for _ in range(5):
            phone.say(STILL[16_000])
            bench.run(STILL[16_000])
    assert bench.digits == ["5", "5", "8", "#"]


def test_rubbish_in_an_opus_call_breaks_nothing(bench: Bench) -> None:
    phone = bench.leg("opus")
    for number in range(60):
        payload = (b"", b"\xff", b"\xff\xff", bytes(1300), b"\x0b\xbf" + bytes(700))[number % 5]
        packet = phone.packet(payload, 960)
        phone.peer.rtp.sendto(pack_rtp(*packet), ("127.0.0.1", phone.stream.port.port))
        bench.run(STILL[16_000])
    assert {len(frame) for frame in bench.played} == {640}
    for spoken in tone_frames(700, 80, rate_hz=16_000):
        phone.say(spoken)
        bench.run(STILL[16_000])
    assert audioop.rms(b"".join(bench.played[-20:]), 2) > 4000
