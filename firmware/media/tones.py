"""What the visitor and the far end hear from us: supervisory tones in the country's own cadence.

Frequencies (Hz) and cadences (ms) are those that ITU-T E.180 Supplement 2 (Various tones used in national
networks) lists, at E.180's -10 dBm0. `warning` and `confirm` are short and end by themselves, the others
repeat until stopped. Steps begin and end in ramps, so nothing clicks. Pure: `TonePlayer` renders one frame
after another.
"""

import array
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from firmware.media.codec import BUS_HZ, FRAME_BYTES

# Full scale of G.711 is +3.14 dBm0 (G.711 section 4): a sine of -10 dBm0 peaks at 22 % of it.
_PEAK = int(32767 * 10 ** ((-10 - 3.14) / 20))
_RAMP_SAMPLES = BUS_HZ * 5 // 1000


@dataclass(frozen=True, slots=True)
class Step:
    """`ms` of the sum of `hz` (each a whole number); no frequency is a pause."""

    hz: tuple[int, ...]
    ms: int


@dataclass(frozen=True, slots=True)
class Tone:
    steps: tuple[Step, ...]
    repeat: bool = True


def _cadence(hz: tuple[int, ...], *ms: int, repeat: bool = True) -> Tone:
    """Sound and pause in turn."""
    return Tone(tuple(Step(() if index % 2 else hz, length) for index, length in enumerate(ms)), repeat)


@dataclass(frozen=True, slots=True)
class _Country:
    hz: tuple[int, ...]
    ringback: tuple[int, ...]
    busy: tuple[int, ...]
    congestion: tuple[int, ...]
    ringback_hz: tuple[int, ...] = ()  # where it differs from `hz`


_COUNTRIES = {
    "at": _Country((420,), (1000, 5000), (400, 400), (200, 200)),
    "be": _Country((425,), (1000, 3000), (500, 500), (167, 167)),
    "ch": _Country((425,), (1000, 4000), (500, 500), (200, 200)),
    "cz": _Country((425,), (1000, 4000), (330, 330), (165, 165)),
    "de": _Country((425,), (1000, 4000), (480, 480), (240, 240)),
    "dk": _Country((425,), (1000, 4000), (500, 500), (200, 200)),
    "es": _Country((425,), (1500, 3000), (200, 200), (200, 200, 200, 200, 200, 600)),
    "fi": _Country((425,), (1000, 4000), (300, 300), (200, 200)),
    "fr": _Country((440,), (1500, 3500), (500, 500), (250, 250)),
    "gb": _Country((400,), (400, 200, 400, 2000), (375, 375), (400, 350, 225, 525), ringback_hz=(400, 450)),
    "gr": _Country((425,), (1000, 4000), (300, 300), (200, 200)),
    "hu": _Country((425,), (1250, 3750), (300, 300), (300, 300)),
    "it": _Country((425,), (1000, 4000), (500, 500), (200, 200)),
    "nl": _Country((425,), (1000, 4000), (500, 500), (250, 250)),
    "no": _Country((425,), (1000, 4000), (500, 500), (200, 200)),
    "pl": _Country((425,), (1000, 4000), (500, 500), (500, 500)),
    "pt": _Country((425,), (1000, 5000), (500, 500), (200, 200)),
    "se": _Country((425,), (1000, 5000), (250, 250), (250, 750)),
    "us": _Country((480, 620), (2000, 4000), (500, 500), (250, 250), ringback_hz=(440, 480)),
}
COUNTRIES = frozenset(_COUNTRIES)
TONES = ("ringback", "busy", "congestion", "warning", "confirm")

_WARNING = _cadence((1400,), 150, 100, 150, 100, repeat=False)  # the frequency of E.180's warning tone


@lru_cache(maxsize=32)
def tone(name: str, country: str) -> Tone:
    """The tone `name` (one of TONES) of `country` (ISO 3166, lower case). KeyError for others."""
    plan = _COUNTRIES[country]
    ringing = plan.ringback_hz or plan.hz
    match name:
        case "ringback":
            return _cadence(ringing, *plan.ringback)
        case "busy":
            return _cadence(plan.hz, *plan.busy)
        case "congestion":
            return _cadence(plan.hz, *plan.congestion)
        case "warning":
            return _WARNING
        case "confirm":
            return _cadence(ringing, 100, 60, 100, 60, 100, 60, repeat=False)
    raise KeyError(name)


@lru_cache(maxsize=16)
def render(step: Step) -> bytes:
    """The whole step as S16LE at BUS_HZ, faded in and out over 5 ms. 16 kB a second, kept for next time."""
    samples = BUS_HZ * step.ms // 1000
    if not step.hz:
        return bytes(2 * samples)
    period = BUS_HZ // math.gcd(BUS_HZ, *step.hz)
    scale = _PEAK / len(step.hz)  # the sum's peak: two voices of -16 dBm0 each, together -13
    if len(step.hz) > 1:
        scale *= math.sqrt(2)  # back to -10 dBm0 of power
    wave = array.array("h")
    for index in range(period):
        angle = 2 * math.pi * index / BUS_HZ
        wave.append(round(scale * sum(math.sin(hz * angle) for hz in step.hz)))
    sound = (wave * (samples // period + 1))[:samples]
    _fade(sound, samples)
    return sound.tobytes()


def _fade(sound: "array.array[int]", samples: int) -> None:
    for index in range(min(_RAMP_SAMPLES, samples // 2)):
        sound[index] = sound[index] * index // _RAMP_SAMPLES
        sound[samples - 1 - index] = sound[samples - 1 - index] * index // _RAMP_SAMPLES


class TonePlayer:
    """Renders a tone frame by frame; `frame` gives None once it has ended."""

    def __init__(self, tone: Tone) -> None:
        self._steps: Iterator[bytes] | None = _sequence(tone)
        self._rest = b""

    def stop(self) -> None:
        """End at the next frame, fading out what sounds now."""
        sound = array.array("h")
        sound.frombytes(self._rest[: 2 * _RAMP_SAMPLES])
        length = len(sound)
        for index in range(length):
            sound[index] = sound[index] * (length - index) // length
        self._steps = None
        self._rest = sound.tobytes()

    def frame(self) -> bytes | None:
        """The next 20 ms, S16LE at BUS_HZ."""
        rest = self._rest
        while len(rest) < FRAME_BYTES:
            step = next(self._steps, None) if self._steps is not None else None
            if step is None:
                self._steps, self._rest = None, b""
                return rest + bytes(FRAME_BYTES - len(rest)) if rest else None
            rest += step
        self._rest = rest[FRAME_BYTES:]
        return rest[:FRAME_BYTES]


def _sequence(tone: Tone) -> Iterator[bytes]:
    while True:
        for step in tone.steps:
            yield render(step)
        if not tone.repeat:
            return
