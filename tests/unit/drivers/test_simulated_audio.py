import array
import itertools
import os
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from drivers.audio.base import AudioError
from drivers.audio.simulated import TONE_PEAK, SimulatedAudio, WavWriter


class Clock:
    """A clock that stands still but for sleeps, each of which may oversleep."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.oversleep_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now_s += seconds + self.oversleep_s


def device(clock: Clock, *arguments: object, **options: object) -> SimulatedAudio:
    audio = SimulatedAudio(*arguments, **options, clock=clock, sleep=clock.sleep)  # type: ignore[arg-type]
    audio.start()
    return audio


def samples(frame: bytes) -> array.array:
    return array.array("h", frame)


def wav(path: Path) -> bytes:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
        return file.readframes(file.getnframes())


def write_wav(path: Path, data: bytes, rate_hz: int = 8000, channels: int = 1, width: int = 2) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate_hz, 0, "NONE", ""))
        file.writeframes(data)


def test_frames_come_on_an_absolute_schedule_that_does_not_drift() -> None:
    clock = Clock()
    audio = device(clock)
    clock.oversleep_s = 0.003
    for _ in range(500):
        audio.read()
    assert clock.now_s == pytest.approx(1000 + 500 * 0.020 + 0.003)
    assert audio.overruns == 0


def test_a_late_reader_gets_what_the_buffer_keeps_without_waiting_and_loses_the_rest() -> None:
    clock = Clock()
    audio = device(clock, 440)
    clock.now_s += 1.0  # fifty frames are there, ten are kept
    before = clock.now_s
    for _ in range(10):
        audio.read()
    assert clock.now_s == before
    assert audio.overruns == 40
    audio.read()
    assert clock.now_s == pytest.approx(before + 0.020)


def test_the_tone_is_continuous_over_frames_and_the_loop() -> None:
    clock = Clock()
    audio = device(clock, 440)
    heard = samples(b"".join(audio.read() for _ in range(100)))
    assert len(heard) == 16_000
    assert max(heard) == pytest.approx(TONE_PEAK, abs=2)
    crossings = sum(a < 0 <= b for a, b in itertools.pairwise(heard))
    assert crossings in (879, 880)
    steepest = max(abs(a - b) for a, b in itertools.pairwise(heard))
    assert steepest < TONE_PEAK * 2 * 3.15 * 440 / 8000


def test_without_a_microphone_there_is_silence_of_the_right_length() -> None:
    assert device(Clock(), rate_hz=16_000).read() == bytes(640)


def test_a_microphone_file_is_looped_sample_by_sample(tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    write_wav(path, array.array("h", range(100)).tobytes())
    audio = device(Clock(), path)
    heard = samples(b"".join(audio.read() for _ in range(5)))
    assert list(heard) == [n % 100 for n in range(800)]


@pytest.mark.parametrize(
    ("rate_hz", "channels", "width"), [(16_000, 1, 2), (8000, 2, 2), (8000, 1, 1), (44_100, 2, 4)]
)
def test_a_microphone_file_of_another_shape_is_converted(
    tmp_path: Path, rate_hz: int, channels: int, width: int
) -> None:
    path = tmp_path / "other.wav"
    quarter = {1: b"\xa0", 2: b"\x00\x20", 4: b"\x00\x00\x00\x20"}[width]  # a quarter of full scale
    write_wav(path, quarter * channels * rate_hz, rate_hz, channels, width)
    heard = samples(device(Clock(), path).read())
    assert len(heard) == 160
    assert all(abs(sample - 8192) <= 1 for sample in heard[20:])


@pytest.mark.parametrize("content", [None, b"", b"RIFFxxxxWAVE", b"no sound at all"])
def test_a_microphone_file_that_is_none_is_named_in_the_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError, match=str(path)):
        device(Clock(), path)


def test_the_speaker_file_holds_what_was_heard_in_step_with_the_reads(tmp_path: Path) -> None:
    path = tmp_path / "heard.wav"
    audio = device(Clock(), None, path)
    loud = b"\x10\x20" * 160
    for tick in range(50):
        audio.read()
        if tick != 20:  # one frame comes too late
            audio.write(loud)
    audio.stop()
    heard = wav(path)
    frames = [heard[n : n + 320] for n in range(0, len(heard), 320)]
    # The first period had nothing to play; what is written after read n is played in period n + 1.
    assert [frame == loud for frame in frames] == [n not in (0, 21) for n in range(50)]
    assert audio.underruns == 2


def test_frames_beyond_the_speakers_buffer_are_dropped_not_queued_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "heard.wav"
    audio = device(Clock(), None, path)
    for _ in range(100):
        audio.write(b"\x10\x20" * 160)
    for _ in range(20):
        audio.read()
    audio.stop()
    assert wav(path) == b"\x10\x20" * 1600 + bytes(3200)


def test_each_start_begins_the_speaker_file_anew(tmp_path: Path) -> None:
    path = tmp_path / "heard.wav"
    audio = device(Clock(), None, path)
    for _ in range(20):
        audio.read()
    audio.stop()
    audio.start()
    audio.read()
    audio.stop()
    assert len(wav(path)) == 320


def test_the_room_gives_the_speaker_back_later_and_quieter(tmp_path: Path) -> None:
    audio = device(Clock(), echo_gain=0.5, echo_delay_ms=50)
    audio.write(array.array("h", [1000] * 160).tobytes())
    heard = samples(b"".join(audio.read() for _ in range(6)))
    assert list(heard) == [0] * 400 + [500] * 160 + [0] * 400


def test_a_speaker_file_in_no_folder_is_named_in_the_error(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "heard.wav"
    with pytest.raises(AudioError, match=str(path)):
        device(Clock(), None, path)


def test_a_full_disk_ends_the_recording_and_not_the_sound() -> None:
    audio = device(Clock(), 440, Path("/dev/full"))
    for _ in range(100):
        assert len(audio.read()) == 320
        audio.write(bytes(320))
    audio.stop()


def test_the_file_of_a_killed_process_is_a_valid_one(tmp_path: Path) -> None:
    path = tmp_path / "heard.wav"
    code = (
        "import os, sys, pathlib; from drivers.audio.simulated import WavWriter\n"
        "writer = WavWriter(pathlib.Path(sys.argv[1]), 8000)\n"
        "for _ in range(97): writer.write(b'\\x10\\x20' * 160)\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, path], env={**os.environ, "PYTHONPATH": "."})
    assert done.returncode == -9
    heard = wav(path)
    assert heard == b"\x10\x20" * 160 * 90
    assert path.stat().st_size == 44 + len(heard)


def test_closing_a_writer_twice_is_harmless(tmp_path: Path) -> None:
    writer = WavWriter(tmp_path / "a.wav", 8000)
    writer.write(bytes(320))
    writer.close()
    writer.close()
    writer.write(bytes(320))
    assert len(wav(tmp_path / "a.wav")) == 320
