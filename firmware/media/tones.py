"""What the visitor and the far end hear from us: supervisory tones in the country's own cadence.

Frequencies and cadences stand in tones.txt, as ITU-T lists them, at E.180's -10 dBm0. `warning` and `confirm`
are short and end by themselves, the others repeat until stopped. Steps begin and end in ramps, so nothing
clicks. Pure: `TonePlayer` renders one frame after another, at whatever rate sound is mixed.
"""

import array
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from firmware.media.codec import FRAME_MS, NARROWBAND_HZ

# Full scale of G.711 is +3.14 dBm0 (G.711 section 4): a sine of -10 dBm0 peaks at 22 % of it.
_PEAK = int(32767 * 10 ** ((-10 - 3.14) / 20))
_RAMP_MS = 5


@dataclass(frozen=True, slots=True)
class Step:
    """`ms` of the sum of `hz` (each a whole number), as a whole modulated by `by_hz`; no frequency is a pause."""

    hz: tuple[int, ...]
    ms: int
    by_hz: int = 0


@dataclass(frozen=True, slots=True)
class Tone:
    steps: tuple[Step, ...]
    repeat: bool = True


TONES = ("ringback", "busy", "congestion", "warning", "confirm")
_WARNING = "1400 150/100/150"  # the frequency of E.180's warning tone
_CONFIRM = "{hz} 100/60/100/60/100"


def _countries() -> dict[str, tuple[str, ...]]:
    """The fields of each country, in the order of TONES, not yet read: one country is used of all."""
    found = {}
    for line in Path(__file__).with_name("tones.txt").read_text("utf-8").splitlines():
        code, *fields = (field.strip() for field in line.split("|"))
        if fields and not code.startswith("#"):
            found[code] = tuple(fields[: len(TONES)])
    return found


_COUNTRIES = _countries()
COUNTRIES = frozenset(_COUNTRIES)


def parse(text: str, *, repeat: bool = True) -> Tone:
    """`"400+450 400/200/400/2000"`, `"400*25 1000/4000"`: sound and pause in turn. ValueError for anything else."""
    pitch, cadence = text.split()
    carrier, _, by = pitch.partition("*")
    hz = tuple(int(each) for each in carrier.split("+"))
    by_hz = int(by or "0")
    lengths = [int(ms) for ms in cadence.split("/")]
    steps = [Step((), ms) if index % 2 else Step(hz, ms, by_hz) for index, ms in enumerate(lengths)]
    if not repeat and not steps[-1].hz:
        steps.pop()  # what ends by itself ends with its sound
    return Tone(tuple(steps), repeat)


@lru_cache(maxsize=32)
def tone(name: str, country: str) -> Tone:
    """The tone `name` (one of TONES) of `country` (ISO 3166, lower case). KeyError for others."""
    texts = _COUNTRIES[country]
    if name not in TONES:
        raise KeyError(name)
    text = texts[TONES.index(name)]
    if name == "warning":
        return parse(text or _WARNING, repeat=False)
    if name == "confirm":
        return parse(text or _CONFIRM.format(hz=texts[0].split()[0]), repeat=False)
    return parse(text)


@lru_cache(maxsize=16)
def render(step: Step, rate_hz: int = NARROWBAND_HZ) -> bytes:
    """The whole step as S16LE at `rate_hz`, faded in and out over 5 ms; 16 kB a second at 8 kHz."""
    samples = rate_hz * step.ms // 1000
    if not step.hz:
        return bytes(2 * samples)
    period = rate_hz // math.gcd(rate_hz, *step.hz, step.by_hz)
    scale = _PEAK / math.sqrt(len(step.hz))  # together -10 dBm0 of power
    if step.by_hz:
        scale *= math.sqrt(8 / 3)  # the power of a sine that is fully modulated
    wave = array.array("h")
    for index in range(min(period, samples)):
        angle = 2 * math.pi * index / rate_hz
        value = scale * sum(math.sin(hz * angle) for hz in step.hz)
        if step.by_hz:
            value *= (1 - math.cos(step.by_hz * angle)) / 2
        wave.append(round(value))
    sound = (wave * (samples // len(wave) + 1))[:samples] if wave else wave
    _fade(sound, rate_hz * _RAMP_MS // 1000)
    return sound.tobytes()


def _fade(sound: "array.array[int]", ramp: int) -> None:
    samples = len(sound)
    for index in range(min(ramp, samples // 2)):
        sound[index] = sound[index] * index // ramp
        sound[samples - 1 - index] = sound[samples - 1 - index] * index // ramp


class TonePlayer:
    """Renders a tone frame by frame; `frame` gives None once it has ended."""

    def __init__(self, tone: Tone, rate_hz: int = NARROWBAND_HZ) -> None:
        self.rate_hz = rate_hz
        self._frame_bytes = rate_hz * FRAME_MS // 1000 * 2
        # Rendered here and not by the audio thread, whose tick it would make late.
        sounds = [render(step, rate_hz) for step in tone.steps]
        self._steps: Iterator[bytes] | None = itertools.cycle(sounds) if tone.repeat else iter(sounds)
        self._rest = b""

    def stop(self) -> None:
        """End at the next frame, fading out what sounds now."""
        sound = array.array("h")
        sound.frombytes(self._rest[: 2 * (self.rate_hz * _RAMP_MS // 1000)])
        length = len(sound)
        for index in range(length):
            sound[index] = sound[index] * (length - index) // length
        self._steps = None
        self._rest = sound.tobytes()

    def frame(self) -> bytes | None:
        """The next 20 ms, S16LE at the player's rate."""
        rest, size = self._rest, self._frame_bytes
        while len(rest) < size:
            step = next(self._steps, None) if self._steps is not None else None
            if step is None:
                self._steps, self._rest = None, b""
                return rest + bytes(size - len(rest)) if rest else None
            rest += step
        self._rest = rest[size:]
        return rest[:size]
