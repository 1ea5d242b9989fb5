"""Concealment on sound like speech and on tones: nearer to what was lost than silence or the last frame again."""

import cmath
import itertools
import math
import random
from array import array

import pytest

from firmware.rtp.concealment import Concealer

FRAME = 160


def speechlike(rate_hz: int, seconds: float) -> "array[int]":
    """Voiced: a gliding pitch, its harmonics under two slowly moving formants, in syllables, a little noise."""
    chance = random.Random(4)
    phase = 0.0
    samples = array("h")
    for n in range(int(rate_hz * seconds)):
        t = n / rate_hz
        pitch_hz = 120 + 15 * math.sin(2 * math.pi * 0.7 * t) + 4 * math.sin(2 * math.pi * 1.5 * t)
        phase += 2 * math.pi * pitch_hz / rate_hz
        first_hz = 550 + 200 * math.sin(2 * math.pi * 1.1 * t)
        second_hz = 1500 + 400 * math.sin(2 * math.pi * 0.7 * t)
        sound = 0.0
        for harmonic in range(1, 18):
            f = harmonic * pitch_hz
            gain = math.exp(-(((f - first_hz) / 220) ** 2)) + 0.4 * math.exp(-(((f - second_hz) / 300) ** 2)) + 0.03
            sound += gain * math.sin(harmonic * phase)
        envelope = 0.25 + 0.75 * math.sin(math.pi * 1.9 * t) ** 2
        samples.append(int(max(-32000, min(32000, 4500 * envelope * sound + chance.gauss(0, 40)))))
    return samples


def tone(rate_hz: int, seconds: float) -> "array[int]":
    return array(
        "h", [int(9000 * math.sin(2 * math.pi * 425 * n / rate_hz)) for n in range(int(rate_hz * seconds))]
    )


def frames_of(samples: "array[int]", size: int) -> list[bytes]:
    return [samples[at : at + size].tobytes() for at in range(0, len(samples) - size + 1, size)]


def lossy(count: int, share: float) -> list[bool]:
    chance = random.Random(11)
    return [n > 5 and chance.random() < share for n in range(count)]


def conceal(frames: list[bytes], lost: list[bool], rate_hz: int) -> list[bytes]:
    concealer = Concealer(rate_hz)
    size = rate_hz // 50
    return [concealer.lost(size) if gone else concealer.good(f) for f, gone in zip(frames, lost, strict=True)]


def silence(frames: list[bytes], lost: list[bool]) -> list[bytes]:
    return [bytes(len(f)) if gone else f for f, gone in zip(frames, lost, strict=True)]


def repeat(frames: list[bytes], lost: list[bool]) -> list[bytes]:
    played: list[bytes] = []
    for f, gone in zip(frames, lost, strict=True):
        played.append(played[-1] if gone else f)
    return played


def signal_to_noise_db(frames: list[bytes], played: list[bytes], lost: list[bool]) -> float:
    """Over the lost frames and the one after each, where the seam is."""
    signal = noise = 0.0
    for n, (original, heard) in enumerate(zip(frames, played, strict=True)):
        if lost[n] or (n and lost[n - 1]):
            for a, b in zip(array("h", original), array("h", heard), strict=True):
                signal += a * a
                noise += (a - b) ** 2
    return 10 * math.log10(signal / max(noise, 1.0))


def spectrum_db(samples: "array[int]", bins: int = 32) -> list[float]:
    size = len(samples)
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / size) for n in range(size)]
    values = []
    for k in range(1, bins + 1):
        step = cmath.exp(-2j * math.pi * k * 2 / size)
        total: complex = 0j
        turn: complex = 1 + 0j
        for sample, weight in zip(samples, window, strict=True):
            total += sample * weight * turn
            turn *= step
        values.append(10 * math.log10(abs(total) ** 2 / size + 100))
    return values


def log_spectral_distance_db(frames: list[bytes], played: list[bytes], lost: list[bool]) -> float:
    distances = []
    for n in range(1, len(frames) - 1):
        if lost[n]:
            # With half of either neighbour: seams are heard as clicks and are seen as spread spectrum.
            a = spectrum_db(array("h", b"".join(frames[n - 1 : n + 2]))[80:400])
            b = spectrum_db(array("h", b"".join(played[n - 1 : n + 2]))[80:400])
            distances.append(math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / len(a)))
    return sum(distances) / len(distances)


def test_three_percent_loss_in_speech_sounds_nearer_to_it_than_silence_or_the_last_frame_again() -> None:
    frames = frames_of(speechlike(8000, 16), FRAME)
    lost = lossy(len(frames), 0.03)
    ours, nothing, again = conceal(frames, lost, 8000), silence(frames, lost), repeat(frames, lost)
    assert signal_to_noise_db(frames, ours, lost) > signal_to_noise_db(frames, nothing, lost) + 3
    assert signal_to_noise_db(frames, ours, lost) > signal_to_noise_db(frames, again, lost) + 3
    distance = log_spectral_distance_db(frames, ours, lost)
    assert distance < log_spectral_distance_db(frames, nothing, lost) * 0.7
    assert distance < log_spectral_distance_db(frames, again, lost) * 0.9


def test_three_percent_loss_in_a_tone_is_next_to_inaudible() -> None:
    frames = frames_of(tone(8000, 10), FRAME)
    lost = lossy(len(frames), 0.03)
    ours = conceal(frames, lost, 8000)
    assert signal_to_noise_db(frames, ours, lost) > 12
    assert signal_to_noise_db(frames, ours, lost) > signal_to_noise_db(frames, repeat(frames, lost), lost) + 6


@pytest.mark.parametrize("rate_hz", [8000, 16000, 48000])
def test_every_gap_has_the_length_asked_for_at_every_rate(rate_hz: int) -> None:
    size = rate_hz // 50
    concealer = Concealer(rate_hz)
    for frame in frames_of(tone(rate_hz, 0.2), size):
        assert len(concealer.good(frame)) == 2 * size
    for samples in (size, size // 2, 1, 0, 3 * size, size):
        assert len(concealer.lost(samples)) == 2 * samples
    assert len(concealer.good(bytes(2 * size))) == 2 * size


def test_a_long_gap_fades_to_silence_within_60_ms_and_never_grows_louder() -> None:
    concealer = Concealer(8000)
    for frame in frames_of(tone(8000, 0.2), FRAME):
        concealer.good(frame)
    peaks = [max(abs(v) for v in array("h", concealer.lost(80))) for _ in range(10)]
    assert peaks[0] > 8000
    assert all(later <= earlier * 1.05 for earlier, later in itertools.pairwise(peaks))
    assert peaks[5] < 2000
    assert peaks[6:] == [0, 0, 0, 0]


def test_no_seam_of_a_gap_in_a_tone_is_steeper_than_the_tone() -> None:
    samples = tone(8000, 0.4)
    steepest = max(abs(b - a) for a, b in itertools.pairwise(samples))
    frames = frames_of(samples, FRAME)
    played = array("h", b"".join(conceal(frames, [n in (8, 13, 14) for n in range(len(frames))], 8000)))
    assert max(abs(b - a) for a, b in itertools.pairwise(played)) < steepest * 1.6


def test_a_jump_within_the_stream_is_joined_without_a_click() -> None:
    samples = tone(8000, 0.4)
    steepest = max(abs(b - a) for a, b in itertools.pairwise(samples))
    concealer = Concealer(8000)
    before = concealer.good(samples[:800].tobytes())
    after = concealer.good(samples[809 : 809 + FRAME].tobytes(), follows=False)
    last, first = array("h", before)[-1], array("h", after)[0]
    assert abs(first - last) < steepest * 1.6
    assert array("h", after)[40:] == samples[849 : 809 + FRAME]


def test_undisturbed_sound_passes_unchanged() -> None:
    frames = frames_of(speechlike(8000, 0.5), FRAME)
    concealer = Concealer(8000)
    assert [concealer.good(frame) for frame in frames] == frames


def test_a_gap_before_any_sound_is_silence() -> None:
    assert Concealer(8000).lost(FRAME) == bytes(2 * FRAME)


def test_sound_returns_in_full_after_a_gap_and_the_next_gap_is_concealed_anew() -> None:
    frames = frames_of(tone(8000, 1), FRAME)
    concealer = Concealer(8000)
    for frame in frames[:10]:
        concealer.good(frame)
    for _ in range(10):
        concealer.lost(FRAME)
    joined = concealer.good(frames[20])
    assert joined[-80:] == frames[20][-80:]
    for frame in frames[21:30]:
        assert concealer.good(frame) == frame
    assert max(array("h", concealer.lost(FRAME))) > 8000
