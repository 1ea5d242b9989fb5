"""The sound card that always works: what the tick gets while the device does not."""

import pytest

from firmware.media.codec import NARROWBAND_HZ, frame_bytes
from firmware.media.events import MediaFault
from firmware.media.sound_card import SoundCard
from tests.support.media import ManualAudio, heard, tone_frames
from tests.support.sound import level_db

FRAME_BYTES = frame_bytes(NARROWBAND_HZ)
SILENCE = bytes(FRAME_BYTES)


class Bench:
    """A sound card on a virtual clock."""

    def __init__(self, device: ManualAudio | None = None) -> None:
        self.now = 100.0
        self.faults: list[MediaFault] = []
        self.device = device or ManualAudio()
        self.made = 0
        self.card = SoundCard(self.make, self.faults.append, clock=lambda: self.now, sleep=self.sleep)

    def make(self) -> ManualAudio:
        self.made += 1
        return self.device

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def read(self, frames: int = 1) -> list[bytes]:
        self.device.step(frames)
        return [self.card.read() for _ in range(frames)]


@pytest.mark.parametrize("rate_hz", [8000, 16000, 48000])
def test_a_card_of_any_rate_gives_and_takes_frames_of_the_bus(rate_hz: int) -> None:
    bench = Bench(ManualAudio(rate_hz))
    bench.card.start()
    captured = []
    for frame in tone_frames(1000, 20, rate_hz=rate_hz):
        bench.device.frame = frame
        captured += bench.read()
    for frame in tone_frames(500, 20):
        bench.card.write(frame)
    assert {len(frame) for frame in captured} == {FRAME_BYTES}
    assert level_db(heard(captured[1:]), 1000) == pytest.approx(-12.04, abs=0.6)
    assert {len(frame) for frame in bench.device.played} == {rate_hz // 50 * 2}
    assert level_db(heard(bench.device.played[1:], rate_hz), 500) == pytest.approx(-12.04, abs=0.6)
    assert bench.faults == []


def test_a_missing_card_is_told_and_replaced_by_silence_on_time() -> None:
    bench = Bench()
    bench.device.start_error = OSError("no such device hw:7")
    bench.card.start()
    before = bench.now
    assert [bench.card.read() for _ in range(45)] == [SILENCE] * 45
    assert bench.now - before == pytest.approx(0.9)
    bench.card.write(SILENCE)
    assert bench.faults == [MediaFault("audio", "no such device hw:7")]


def test_a_card_that_comes_back_is_found_and_told() -> None:
    bench = Bench()
    bench.device.start_error = OSError("gone")
    bench.card.start()
    for _ in range(40):
        bench.card.read()
    bench.device.start_error = None
    bench.device.frame = tone_frames(1000, 1)[0]
    frames = []
    while bench.device.started == 0:
        frames += bench.read()
        assert bench.now < 110
    frames = bench.read(60)
    assert frames[-1] == bench.device.frame
    assert bench.faults == [MediaFault("audio", "gone"), MediaFault("audio", "")]
    assert bench.card.fault == ""
    made = bench.made
    bench.read(100)
    assert bench.made == made


def test_tries_to_open_grow_rarer() -> None:
    bench = Bench()
    bench.device.start_error = OSError("gone")
    bench.card.start()
    for _ in range(60 * 50):
        bench.card.read()
    assert 5 <= bench.made <= 8
    assert len(bench.faults) == 1


def test_a_microphone_that_breaks_leaves_the_speaker_playing() -> None:
    bench = Bench()
    bench.card.start()
    bench.read()
    bench.device.read_error = OSError("overrun")
    before = bench.now
    assert [bench.card.read() for _ in range(10)] == [SILENCE] * 10
    assert bench.now - before == pytest.approx(0.2)
    bench.card.write(tone_frames(500, 1)[0])
    assert bench.device.played == tone_frames(500, 1)
    assert bench.faults == [MediaFault("audio", "microphone: overrun")]


def test_a_speaker_that_breaks_leaves_the_microphone_heard() -> None:
    bench = Bench()
    bench.card.start()
    bench.device.write_error = OSError("unplugged")
    bench.device.frame = tone_frames(1000, 1)[0]
    bench.card.write(SILENCE)
    bench.card.write(SILENCE)
    assert bench.read(3) == [bench.device.frame] * 3
    assert bench.faults == [MediaFault("audio", "speaker: unplugged")]


def test_a_broken_card_is_opened_anew() -> None:
    bench = Bench()
    bench.card.start()
    bench.device.read_error = OSError("overrun")
    bench.card.read()
    bench.device.read_error = None
    for _ in range(60):
        bench.read()
    assert (bench.device.stopped, bench.device.started) == (1, 2)


def test_a_lost_alignment_is_told_whether_the_driver_or_the_card_began_anew() -> None:
    bench = Bench()
    seen = [bench.card.restarts]
    bench.card.start()
    seen.append(bench.card.restarts)
    bench.read(5)
    assert bench.card.restarts == seen[-1]
    bench.device.restarts += 1  # an xrun
    seen.append(bench.card.restarts)
    bench.device.read_error = OSError("unplugged")
    bench.card.read()
    bench.device.read_error = None
    bench.read(60)
    seen.append(bench.card.restarts)
    assert len(set(seen)) == 4


def test_frames_of_a_wrong_length_are_made_right() -> None:
    bench = Bench()
    bench.card.start()
    for frame in (b"", b"\x01\x02", bytes(1000)):
        bench.device.frame = frame
        assert len(bench.read()[0]) == FRAME_BYTES
