"""A street door to try echo cancellers on: two people talk by turns and at once, the speaker is heard by the
microphone through delay, room and distortion, and what came of it is measured.

The far end speaks alone for the first 12 s, the near end alone from 13 to 20 s, both from 21 to 32 s. Speech is
espeak-ng's where it is installed, else bursts of noise with speech's spectrum and rhythm. Needs numpy.
"""

import functools
import shutil
import subprocess
import wave
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np

RATE_HZ = 16_000
FRAME = RATE_HZ // 50
FAR_ALONE, NEAR_ALONE, BOTH = (0.0, 12.0), (13.0, 20.0), (21.0, 32.0)
LENGTH_S = 33
Signal = Any  # a numpy array of float64, full scale 1


@dataclass(frozen=True, slots=True)
class Scenario:
    """`delay_ms` from the write to the ear, `coupling_db` the echo against the near speech, room and defects."""

    name: str
    delay_ms: float = 40.0
    coupling_db: float = 0.0
    reverberation_s: float = 0.12
    clip: float = 0.0  # the speaker's limit as a part of the peak; 0: linear
    drift_ppm: float = 0.0
    jump_ms: float = 0.0  # every 6 s the alignment moves to and fro, as after xruns that nobody told
    plain: bool = True  # one that a canceller has to master


SCENARIOS = (
    Scenario("delay 40 ms"),
    Scenario("delay 120 ms", delay_ms=120),
    Scenario("echo 12 dB above the visitor", delay_ms=80, coupling_db=12),
    Scenario("room of 0.4 s", delay_ms=80, reverberation_s=0.4),
    Scenario("speaker clips", delay_ms=80, coupling_db=12, clip=0.4, plain=False),
    Scenario("clocks 100 ppm apart", delay_ms=80, drift_ppm=100, plain=False),
    Scenario("20 ms jumps", delay_ms=80, jump_ms=20, plain=False),
    Scenario("delay 300 ms", delay_ms=300, plain=False),
)


@dataclass(frozen=True, slots=True)
class Result:
    """dB. `erle`: echo taken away from 2 s on while the far end talks alone; `erle_first`: in the first 2;
    `near`: what became of the near speech's level, `near_both` while both talk; `echo_both`: echo gone then."""

    erle: float
    erle_first: float
    near: float
    near_both: float
    echo_both: float


def run(scenario: Scenario, process: Callable[[bytes, bytes], bytes], rate_hz: int = RATE_HZ) -> Result:
    """LENGTH_S through `process(captured, reference)`."""
    far, near, echo = _sounds(scenario)
    captured = near + echo + _noise()
    step = rate_hz // 50
    if rate_hz != RATE_HZ:
        far, near, echo, captured = (_at(signal, rate_hz) for signal in (far, near, echo, captured))
    out = b"".join(
        process(_pcm(captured[at : at + step]), _pcm(far[at : at + step]))
        for at in range(0, len(far) - step + 1, step)
    )
    return _measure(_signal(out), near, echo, captured, rate_hz)


def _measure(out: Signal, near: Signal, echo: Signal, captured: Signal, rate_hz: int) -> Result:
    def cut(signal: Signal, start_s: float, end_s: float) -> Signal:
        return signal[int(start_s * rate_hz) : int(end_s * rate_hz)]

    def loss_db(start_s: float, end_s: float) -> float:
        return _db(cut(echo, start_s, end_s)) - _db(cut(out, start_s, end_s))

    start, end = NEAR_ALONE
    near_alone = _db(cut(out, start + 1, end)) - _db(cut(captured, start + 1, end))
    # While both talk, spots of time and frequency where one is 10 dB above the other tell what became of each.
    # The canceller's own delay is below the resolution.
    of_near, of_echo, of_out = (_spectra(cut(signal, *BOTH), rate_hz) for signal in (near, echo, out))
    loud = 1e-7
    his = (of_near > 10 * of_echo) & (of_near > loud)
    its = (of_echo > 10 * of_near) & (of_echo > loud)
    return Result(
        erle=loss_db(2, FAR_ALONE[1]),
        erle_first=loss_db(0.3, 2),
        near=near_alone,
        near_both=float(10 * np.log10(of_out[his].sum() / of_near[his].sum())),
        echo_both=float(10 * np.log10(of_echo[its].sum() / of_out[its].sum())),
    )


def _spectra(signal: Signal, rate_hz: int) -> Signal:
    """Power by 64 ms and 15 Hz."""
    size = rate_hz * 64 // 1000
    blocks = signal[: len(signal) // size * size].reshape(-1, size) * np.hanning(size)
    return np.abs(np.fft.rfft(blocks, axis=1)) ** 2 / size


@functools.lru_cache(maxsize=8)
def _sounds(scenario: Scenario) -> tuple[Signal, Signal, Signal]:
    """(reference, near speech, echo), each LENGTH_S at full scale 1."""
    far_speech, near_speech = _speech("en", 145, 50), _speech("de", 170, 35)
    far, near = np.zeros(LENGTH_S * RATE_HZ), np.zeros(LENGTH_S * RATE_HZ)
    for span in (FAR_ALONE, BOTH):
        _lay(far, far_speech, *span)
    for span in (NEAR_ALONE, BOTH):
        _lay(near, near_speech, *span)
    far *= 0.1 / _rms(far_speech)
    near *= 0.04 / _rms(near_speech)
    heard = far
    if scenario.clip:
        limit = scenario.clip * np.abs(far).max()
        heard = np.clip(far, -limit, limit)
    if scenario.drift_ppm:
        at = np.arange(len(far)) * (1 - scenario.drift_ppm * 1e-6)
        heard = np.interp(at, np.arange(len(far)), heard)
    room, size = _room(scenario.reverberation_s), 2 * len(far)
    echo = np.fft.irfft(np.fft.rfft(heard, size) * np.fft.rfft(room, size), size)[: len(far)]
    delay = int(scenario.delay_ms * RATE_HZ / 1000)
    delayed = np.concatenate((np.zeros(delay), echo[: len(echo) - delay]))
    if scenario.jump_ms:
        jump = int(scenario.jump_ms * RATE_HZ / 1000)
        shifted = np.concatenate((np.zeros(jump), delayed[:-jump]))
        odd = np.arange(len(far)) // (6 * RATE_HZ) % 2 == 1
        delayed = np.where(odd, shifted, delayed)
    gain = 10 ** (scenario.coupling_db / 20) * 0.04 / _rms(delayed[: int(FAR_ALONE[1]) * RATE_HZ])
    return far, near, np.clip(delayed * gain, -1, 1)


@functools.lru_cache(maxsize=4)
def _speech(language: str, speed: int, pitch: int) -> Signal:
    text = {
        "en": "Good morning, this is the parcel service. I have a parcel for the second floor, may I come in? "
        "The lift is out of order, they say, so please tell me which stairs to take and where I may leave it.",
        "de": "Guten Tag, einen Augenblick bitte, ich komme gleich herunter und mache Ihnen auf. Nehmen Sie "
        "das Treppenhaus links, zweiter Stock, und lassen Sie die Tür hinter sich zufallen, vielen Dank.",
    }[language]
    if shutil.which("espeak-ng") is None:
        return _babble(speed)
    command = ["espeak-ng", "-v", language, "-s", str(speed), "-p", str(pitch), "--stdout", text]
    spoken = subprocess.run(command, capture_output=True, check=True).stdout
    with wave.open(BytesIO(spoken)) as file:
        rate_hz = file.getframerate()
    return _at(_signal(spoken[44 : len(spoken) - len(spoken) % 2]), RATE_HZ, rate_hz)


def _babble(seed: int) -> Signal:
    """Ten seconds of syllables: noise with speech's slope under an envelope of 4 Hz with pauses."""
    random = np.random.default_rng(seed)
    count = 10 * RATE_HZ
    spectrum = np.fft.rfft(random.standard_normal(count))
    hz = np.fft.rfftfreq(count, 1 / RATE_HZ)
    spectrum *= (hz > 120) / (1 + (hz / 500) ** 1.5)
    seconds = np.arange(count) / RATE_HZ
    envelope = np.clip(np.sin(2 * np.pi * 2 * seconds + seed), 0, 1) * (seconds % 3 < 2.2)
    sound = np.fft.irfft(spectrum, count) * envelope
    return sound / np.abs(sound).max()


def _lay(into: Signal, speech: Signal, start_s: float, end_s: float) -> None:
    start, end = int(start_s * RATE_HZ), int(end_s * RATE_HZ)
    into[start:end] = np.resize(speech, end - start)


@functools.lru_cache(maxsize=4)
def _room(reverberation_s: float) -> Signal:
    """A direct sound and noise that falls by 60 dB in `reverberation_s`."""
    count = int(reverberation_s * RATE_HZ)
    random = np.random.default_rng(7)
    tail = random.standard_normal(count) * 10 ** (-3 * np.arange(count) / count) * 0.1
    tail[0] = 1.0
    return tail


@functools.lru_cache(maxsize=1)
def _noise() -> Signal:
    return np.random.default_rng(3).standard_normal(LENGTH_S * RATE_HZ) * 0.0005


def _at(signal: Signal, rate_hz: int, from_hz: int = RATE_HZ) -> Signal:
    """Resampled by the spectrum."""
    count = len(signal) * rate_hz // from_hz
    spectrum = np.fft.rfft(signal)
    kept = np.zeros(count // 2 + 1, dtype=complex)
    shared = min(len(spectrum), len(kept))
    kept[:shared] = spectrum[:shared]
    return np.fft.irfft(kept, count) * (count / len(signal))


def _rms(signal: Signal) -> float:
    return float(np.sqrt(np.mean(signal**2)))


def _db(signal: Signal) -> float:
    return 10 * float(np.log10(np.mean(signal**2) + 1e-12))


def _pcm(signal: Signal) -> bytes:
    return np.clip(np.round(signal * 32768), -32768, 32767).astype("<i2").tobytes()


def _signal(pcm: bytes) -> Signal:
    return np.frombuffer(pcm, "<i2").astype(float) / 32768


def frames(scenario: Scenario, *, seconds: float) -> tuple[list[bytes], list[bytes]]:
    """The beginning as (captured, reference), in frames of 20 ms: the far end talks alone."""
    far, _, echo = _sounds(scenario)
    return tuple(  # type: ignore[return-value]
        [_pcm(signal[at : at + FRAME]) for at in range(0, int(seconds * RATE_HZ), FRAME)]
        for signal in (echo + _noise(), far)
    )


def babble(seed: int = 1, rate_hz: int = RATE_HZ) -> bytes:
    """Ten seconds of something like speech, S16LE."""
    return _pcm(_at(_babble(seed) * 0.5, rate_hz))


def level_db(pcm: bytes) -> float:
    """Power in dB of full scale."""
    return _db(_signal(pcm))
