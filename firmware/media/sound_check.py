"""A sound check: what is played into the niche, and what the recording of it says. Pure, S16LE mono.

Sweeps ("chirps") of a quarter of a second, which no voice and no car resembles, tell delay, level and distortion;
something like speech then tells what the echo canceller leaves of it. A recording is as long as what was played,
and its n-th frame was captured when the n-th was written.
"""

import array
import audioop
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from firmware.media.canceller import EchoCanceller
from firmware.media.levels import SILENT_DB, level_db

FRAME_MS = 20
RISING_DB = (-36.0, -30.0, -24.0, -18.0, -12.0, -6.0, 0.0)  # of the chirps' peaks
EVEN_DB = (-15.0, -15.0, -15.0)
LEAD_MS = 600  # of silence, for the street's noise
CHIRP_MS = 250
_STEP_MS = 700  # from chirp to chirp
_MOST_DELAY_MS = 400
_FROM_HZ, _TO_HZ = 300, 3400
SPEECH_MS = 4000
_SPEECH_DB = -20.0
_LEARNT_MS = 2000  # of it, the canceller has to learn

_LIKE = 0.25  # a recording that is like the chirp; noise reaches a tenth
_CLIPS = 32_600
_STEP_TOLERANCE_DB = 1.5
_LIKE_TOLERANCE = 0.1
DELAY_SPREAD_MS = 5.0


@dataclass(frozen=True, slots=True)
class Heard:
    """A chirp of `played_db` as recorded: `level_db` of its part that is the chirp's, and how `like` (0 to 1)."""

    played_db: float
    level_db: float
    delay_ms: float
    like: float
    clipped: bool


@dataclass(frozen=True, slots=True)
class Recording:
    """`noise_db` before anything is played, `dead`: nothing but zeros; the chirps that were heard, as played."""

    noise_db: float
    dead: bool
    clipped: bool
    chirps: tuple[Heard, ...]

    @property
    def delay_ms(self) -> float | None:
        return _median(chirp.delay_ms for chirp in self.chirps) if self.chirps else None

    @property
    def delay_spread_ms(self) -> float:
        delays = [chirp.delay_ms for chirp in self.chirps]
        return max(delays) - min(delays) if delays else 0.0

    @property
    def coupling_db(self) -> float | None:
        """What comes back, against what was played; of the chirps that are undistorted."""
        linear = linear_part(self.chirps)
        return _median(chirp.level_db - chirp.played_db for chirp in linear) if linear else None


def chirps(peaks_db: tuple[float, ...], rate_hz: int) -> bytes:
    """Silence, then a chirp for each of `peaks_db` (of full scale), each with silence after it."""
    sound = bytearray(_bytes(LEAD_MS, rate_hz))
    pause = bytes(_bytes(_STEP_MS - CHIRP_MS, rate_hz))
    for peak_db in peaks_db:
        sound += audioop.mul(_chirp(rate_hz), 2, 10 ** (peak_db / 20)) + pause
    return bytes(sound)


@lru_cache(maxsize=2)
def _chirp(rate_hz: int) -> bytes:
    """At full scale, with ramps of 10 ms."""
    count = rate_hz * CHIRP_MS // 1000
    ramp = rate_hz // 100
    slope = (_TO_HZ - _FROM_HZ) / 2 / count
    samples = array.array("h")
    for n in range(count):
        fade = min(1.0, n / ramp, (count - n) / ramp)
        samples.append(round(32_767 * fade * math.sin(2 * math.pi * (_FROM_HZ + slope * n) * n / rate_hz)))
    return samples.tobytes()


@lru_cache(maxsize=2)
def speech(rate_hz: int) -> bytes:
    """SPEECH_MS of noise with the slope and the rhythm of speech, the same each time."""
    source = random.Random(11)
    low = 0.0
    samples = []
    for n in range(rate_hz * SPEECH_MS // 1000):
        low += 0.25 * (source.uniform(-1, 1) - low)
        syllable = max(0.0, math.sin(2 * math.pi * 2.5 * n / rate_hz))
        samples.append(low * syllable)
    level = math.sqrt(sum(sample * sample for sample in samples) / len(samples))
    scale = 32768 * 10 ** (_SPEECH_DB / 20) / level
    return array.array("h", (max(-32768, min(32767, round(scale * sample))) for sample in samples)).tobytes()


def examine(recording: bytes, peaks_db: tuple[float, ...], rate_hz: int) -> Recording:
    """What a recording of `chirps(peaks_db)` (or of more, behind it) says."""
    lead = recording[: _bytes(LEAD_MS, rate_hz)]
    # The first frames may come from before the card was ready.
    lead = lead[_bytes(200, rate_hz) :]
    heard = (_find(recording, at, peak_db, rate_hz) for at, peak_db in enumerate(peaks_db))
    return Recording(
        noise_db=level_db(lead),
        dead=audioop.max(recording, 2) <= 1,
        clipped=audioop.max(recording, 2) >= _CLIPS,
        chirps=tuple(chirp for chirp in heard if chirp is not None),
    )


def _find(recording: bytes, number: int, peak_db: float, rate_hz: int) -> Heard | None:
    """The chirp in its part of the recording; None where nothing there is like it."""
    start = _bytes(LEAD_MS + number * _STEP_MS, rate_hz)
    part = recording[start : start + _bytes(_MOST_DELAY_MS + CHIRP_MS, rate_hz)]
    chirp = _chirp(rate_hz)
    halved = rate_hz > 8000  # a quarter of the work, and the chirp ends at 3.4 kHz
    searched, wanted = part, chirp
    if halved:
        searched, wanted = audioop.tomono(part, 2, 0.5, 0.5), audioop.tomono(chirp, 2, 0.5, 0.5)
    if len(searched) < len(wanted) or not audioop.max(searched, 2):
        return None
    offset, factor = audioop.findfit(searched, wanted)
    found = searched[2 * offset : 2 * offset + len(wanted)]
    level = audioop.rms(found, 2)
    like = abs(factor) * audioop.rms(wanted, 2) / level if level else 0.0
    if like < _LIKE:
        return None
    searched_hz = rate_hz // 2 if halved else rate_hz
    played_db = level_db(chirp) + peak_db
    return Heard(
        played_db=played_db,
        level_db=20 * math.log10(level / 32768) if level else SILENT_DB,
        delay_ms=offset * 1000 / searched_hz,
        like=min(like, 1.0),
        clipped=audioop.max(part, 2) >= _CLIPS,
    )


def linear_part(chirps: tuple[Heard, ...]) -> tuple[Heard, ...]:
    """Those, from the quietest on, up to which what is heard grows as what is played, and stays like it."""
    linear: list[Heard] = []
    for chirp in sorted(chirps, key=lambda chirp: chirp.played_db):
        if linear:
            last = linear[-1]
            short_db = (chirp.played_db - last.played_db) - (chirp.level_db - last.level_db)
            unlike = max(other.like for other in linear) - chirp.like
            # Short of the step: something holds it back. Quiet chirps lie in the noise, and grow by less as well.
            in_noise = last.like < 0.7
            if chirp.clipped or unlike > _LIKE_TOLERANCE or (short_db > _STEP_TOLERANCE_DB and not in_noise):
                break
        elif chirp.clipped:
            break
        linear.append(chirp)
    return tuple(linear)


def margin_db(canceller: EchoCanceller, played: bytes, recorded: bytes, rate_hz: int) -> float:
    """By how much what is left of the echo is below what was played, once `canceller` has learnt. Street noise
    (what is left between two syllables) does not count; what is far below it cannot be told."""
    size = _bytes(FRAME_MS, rate_hz)
    left = [
        canceller.process(recorded[at : at + size], played[at : at + size])
        for at in range(0, min(len(played), len(recorded)) - size + 1, size)
    ]
    tail = (SPEECH_MS - _LEARNT_MS) // FRAME_MS
    powers = sorted(audioop.rms(frame, 2) ** 2 for frame in left[-tail:])
    quiet = powers[: tail // 10]
    noise = sum(quiet) / len(quiet)
    power = max(sum(powers) / tail - noise, noise / 4, 1)
    return level_db(played[-tail * size :]) - 10 * math.log10(power / 32768**2)


def _median(values: Iterable[float]) -> float:
    """The upper one where there are two; the statistics module costs a start 10 ms."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def _bytes(milliseconds: int, rate_hz: int) -> int:
    return milliseconds * rate_hz // 1000 * 2
