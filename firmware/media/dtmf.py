"""DTMF as sound (ITU-T Q.23, Q.24): which key sounds in a stream, and the key tones that we send.

For phones and gateways that agreed on no telephone-events, and for hearing what the street plays into our own
microphone. Each block of 12.75 ms is correlated with the eight frequencies by `audioop.findfactor`, in C and
without numpy: 8 or 16 calls, some 12 us for a frame of 20 ms that is not silent. What makes two sines a key are
the tests that ITU-T Q.24 and ETSI ES 201 235-3 ask for: level, twist, how far they stand above their neighbours,
and that there is next to nothing else, which is what keeps speech from being a key. Pure.
"""

import array
import audioop
import math
from dataclasses import dataclass
from functools import lru_cache

from firmware.media.tones import Step, Tone

LOW_HZ = (697, 770, 852, 941)
HIGH_HZ = (1209, 1336, 1477, 1633)
KEYS = "123A456B789C*0#D"

_BLOCK_US = 12_750  # 102 samples at 8 kHz: the eight frequencies fall between the zeros of each other best
_REFERENCE = 32_000
_FULL_SCALE_DBM0 = 3.14  # of a sine (G.711 section 4)


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """When a block is a key. Ratios in dB; twist is high over low group, `reverse_twist_db` low over high."""

    least_dbm0: float = -42.0  # each of the two
    twist_db: float = 4.0
    reverse_twist_db: float = 8.0
    above_group_db: float = 8.0
    share: float = 0.822  # of the block's energy that is in the two: -0.85 dB
    blocks_to_start: int = 2
    misses_to_end: int = 3


ORDINARY = Sensitivity()


class Detector:
    """Feed it a stream; `feed` returns the keys that began in what it was fed."""

    def __init__(self, rate_hz: int = 8000, sensitivity: Sensitivity = ORDINARY) -> None:
        self.rate_hz = rate_hz
        self._bytes = rate_hz * _BLOCK_US // 1_000_000 * 2
        self._references = _references(rate_hz)
        least_peak = 32768 * 10 ** ((sensitivity.least_dbm0 - _FULL_SCALE_DBM0) / 20)
        self._least = least_peak**2 / 2
        self._least_rms = int(least_peak)  # two sines at the least level
        self._twist = 10 ** (sensitivity.twist_db / 10)
        self._reverse = 10 ** (sensitivity.reverse_twist_db / 10)
        self._above = 10 ** (sensitivity.above_group_db / 10)
        self._share = sensitivity.share
        self._to_start, self._to_end = sensitivity.blocks_to_start, sensitivity.misses_to_end
        self._rest = b""
        self._candidate = ""
        self._hits = self._misses = 0
        self.key = ""  # what sounds now

    def feed(self, pcm: bytes) -> str:
        """`pcm` is S16LE of any length."""
        size = self._bytes
        rest = self._rest + pcm
        started = ""
        at = 0
        while len(rest) - at >= size:
            started += self._follow(self._block(rest[at : at + size]))
            at += size
        self._rest = rest[at:]
        return started

    def skip(self) -> None:
        """Something was lost: what comes next does not join what came before, and a key may go on."""
        self._rest = b""

    def _follow(self, key: str) -> str:
        if key == self.key:
            self._misses = 0
        elif self.key:
            self._misses += 1
            if self._misses >= self._to_end:
                self.key = ""
        if key != self._candidate:
            self._candidate, self._hits = key, 0
        self._hits += 1
        if key and key != self.key and self._hits == self._to_start:
            self.key, self._misses = key, 0
            return key
        return ""

    def _block(self, block: bytes) -> str:
        """The key of one block, or nothing."""
        rms = audioop.rms(block, 2)
        if rms < self._least_rms:
            return ""
        scale = _REFERENCE**2 / 2
        low = _powers(block, self._references[:4])
        row = low.index(max(low))
        low_power = low[row] * scale
        if low_power < self._least or low_power * (1 + self._twist) < self._share * rms * rms:
            return ""  # the high tone may not be so loud that the two were enough: half of the work for most speech
        high = _powers(block, self._references[4:])
        column = high.index(max(high))
        high_power = high[column] * scale
        if (
            high_power < self._least
            or high_power > low_power * self._twist
            or low_power > high_power * self._reverse
            or low_power + high_power < self._share * rms * rms
        ):
            return ""
        for index in range(4):
            if index != row and low[index] * self._above > low[row]:
                return ""
            if index != column and high[index] * self._above > high[column]:
                return ""
        return KEYS[4 * row + column]


def _powers(block: bytes, references: tuple[tuple[bytes, bytes], ...]) -> list[float]:
    factor = audioop.findfactor
    return [factor(block, cosine) ** 2 + factor(block, sine) ** 2 for cosine, sine in references]


@lru_cache(maxsize=4)
def _references(rate_hz: int) -> tuple[tuple[bytes, bytes], ...]:
    """A block of cosine and of sine of each frequency, S16LE."""
    samples = rate_hz * _BLOCK_US // 1_000_000
    turns = [2 * math.pi * hz / rate_hz for hz in (*LOW_HZ, *HIGH_HZ)]
    return tuple(
        (
            array.array("h", (round(_REFERENCE * math.cos(turn * n)) for n in range(samples))).tobytes(),
            array.array("h", (round(_REFERENCE * math.sin(turn * n)) for n in range(samples))).tobytes(),
        )
        for turn in turns
    )


def keys_as_tone(keys: str, *, tone_ms: int = 100, gap_ms: int = 100) -> Tone:
    """The sound of `keys` one after another (Q.24: at least 40 ms each and 40 ms apart). ValueError for others."""
    steps: list[Step] = []
    for key in keys.upper():
        row, column = divmod(KEYS.index(key), 4)
        steps += Step((LOW_HZ[row], HIGH_HZ[column]), tone_ms), Step((), gap_ms)
    return Tone(tuple(steps), repeat=False)
