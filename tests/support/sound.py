"""What is heard: WAV files read, the strength of a tone in them, and its gaps. 16-bit mono throughout."""

import math
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sound:
    rate_hz: int
    samples: Sequence[int]

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate_hz

    def part(self, start_s: float, end_s: float | None = None) -> "Sound":
        """A part; negative times count from the end."""
        stop = len(self.samples) if end_s is None else round(end_s * self.rate_hz)
        return Sound(self.rate_hz, self.samples[round(start_s * self.rate_hz) : stop])


def read_wav(path: Path) -> Sound:
    """A 16-bit WAV, of two channels the left; also one being written, whose header does not know its length."""
    data = path.read_bytes()
    if len(data) < 44:
        return Sound(8000, array("h"))  # just made
    assert data[:4] == b"RIFF", path
    at = 12
    rate_hz = channels = 0
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if name == b"fmt ":
            encoding, channels, rate_hz = struct.unpack_from("<HHI", data, at)
            assert encoding == 1, f"{path}: encoding {encoding}"
        elif name == b"data":
            samples = array("h")
            samples.frombytes(data[at : at + (len(data) - at) // 2 * 2])
            return Sound(rate_hz, samples[::channels])
        at += size + size % 2
    return Sound(rate_hz or 8000, array("h"))


def level_db(sound: Sound, hz: float) -> float:
    """Peak level of the tone `hz` in dB of full scale (Goertzel over the whole sound); -120 for nothing."""
    count = len(sound.samples)
    if not count:
        return -120.0
    turn = 2 * math.pi * hz / sound.rate_hz
    factor = 2 * math.cos(turn)
    before = last = 0.0
    for sample in sound.samples:
        before, last = last, sample + factor * last - before
    power = before * before + last * last - factor * before * last
    amplitude = 2 * math.sqrt(max(power, 0.0)) / count
    return 20 * math.log10(max(amplitude / 32768, 1e-6))


def loudest_hz(sound: Sound, start_hz: int = 200, end_hz: int = 3600, step_hz: int = 10) -> int:
    """The frequency of the strongest tone within half a second from the middle."""
    middle = sound.part(sound.seconds / 2 - 0.25, sound.seconds / 2 + 0.25)
    return max(range(start_hz, end_hz, step_hz), key=lambda hz: level_db(middle, hz))


def first_heard_s(sound: Sound, hz: float, *, above_db: float = -40) -> float | None:
    """When the tone `hz` first stands above `above_db`, in steps of 20 ms; None: never."""
    step = sound.rate_hz // 50
    for at in range(0, len(sound.samples) - step, step):
        if level_db(Sound(sound.rate_hz, sound.samples[at : at + step]), hz) > above_db:
            return at / sound.rate_hz
    return None


def longest_gap_ms(sound: Sound, *, below_db: float = 12) -> float:
    """Longest time, in steps of 5 ms, whose level is `below_db` under the whole sound's."""
    block = sound.rate_hz // 200
    powers = [
        sum(sample * sample for sample in sound.samples[at : at + block])
        for at in range(0, len(sound.samples) - block + 1, block)
    ]
    assert powers, "nothing was heard at all"
    limit = sum(powers) / len(powers) / 10 ** (below_db / 10)
    longest = run = 0
    for power in powers:
        run = run + 1 if power <= limit else 0
        longest = max(longest, run)
    return longest * 5.0
