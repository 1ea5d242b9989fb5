"""Tones: the country's cadence to the sample, the level of E.180, no clicks."""

import array
import itertools
import math
from pathlib import Path

import pytest

from firmware.media import tones
from firmware.media.codec import NARROWBAND_HZ, frame_bytes
from firmware.media.tones import COUNTRIES, TONES, Step, Tone, TonePlayer, parse, render, tone
from tests.support.media import heard
from tests.support.sound import Sound, level_db

TABLE = [
    [field.strip() for field in line.split("|")]
    for line in Path(tones.__file__).with_name("tones.txt").read_text("utf-8").splitlines()
    if "|" in line and not line.startswith("#")
]


def play(player: TonePlayer, frames: int) -> bytes:
    sound = b""
    for _ in range(frames):
        frame = player.frame()
        assert frame is not None
        assert len(frame) == frame_bytes(NARROWBAND_HZ)
        sound += frame
    return sound


def cut(sound: bytes, start_ms: int, end_ms: int) -> bytes:
    return sound[start_ms * NARROWBAND_HZ // 500 : end_ms * NARROWBAND_HZ // 500]


def test_every_country_has_every_tone() -> None:
    for country in COUNTRIES:
        for name in TONES:
            steps = tone(name, country).steps
            assert steps[0].hz
            assert all(step.ms > 0 for step in steps)


def rounds(player: TonePlayer, rate_hz: int, cadence: list[int]) -> Sound:
    """One round of a cadence as it sounds."""
    wanted = sum(cadence) * rate_hz // 1000
    samples = array.array("h")
    while len(samples) < wanted:
        frame = player.frame()
        assert frame is not None
        assert len(frame) == rate_hz // 50 * 2
        samples.frombytes(frame)
    return Sound(rate_hz, samples[:wanted])


def level_of(sound: Sound, start_ms: float, end_ms: float) -> float:
    """Mean power in dBm0."""
    part = sound.part(start_ms / 1000, end_ms / 1000).samples
    power = sum(sample * sample for sample in part) / len(part)
    return 10 * math.log10(max(power, 1e-3) / (32768**2 / 2)) + 3.14


@pytest.mark.parametrize("rate_hz", [8000, 16000])
@pytest.mark.parametrize("fields", TABLE, ids=lambda fields: fields[0])
def test_every_country_sounds_as_the_table_says(fields: list[str], rate_hz: int) -> None:
    """Its frequencies and no other stand out, at -10 dBm0, and pauses are silent where the cadence has them."""
    country, *texts = fields
    for name, text in zip(TONES[:3], texts[:3], strict=True):
        pitch, cadence_text = text.split()
        cadence = [int(ms) for ms in cadence_text.split("/")]
        carrier, _, modulated = pitch.partition("*")
        sound = rounds(TonePlayer(tone(name, country), rate_hz), rate_hz, cadence)
        at = 0
        for index, ms in enumerate(cadence):
            if index % 2:
                assert level_of(sound, at, at + ms) < -60, f"{name}: the pause at {at} ms"
            else:
                whole = at + 10, at + ms - 10
                assert level_of(sound, *whole) == pytest.approx(-10, abs=1), f"{name}: the sound at {at} ms"
                # Whole periods of every frequency, so that none leaks into another.
                cut_ms = (ms - 20) // 80 * 80 if modulated else (ms - 20) // 40 * 40
                part = sound.part(whole[0] / 1000, (whole[0] + max(cut_ms, 40)) / 1000)
                voices = [int(hz) for hz in carrier.split("+")]
                strongest = max(level_db(part, hz) for hz in voices)
                assert min(level_db(part, hz) for hz in voices) > strongest - 2, f"{name}: a voice is missing"
                assert max(level_db(part, hz) for hz in (250, 700, 1100, 1800)) < strongest - 12, name
            at += ms


def test_the_table_has_each_country_once_and_only_whole_lines() -> None:
    codes = [fields[0] for fields in TABLE]
    assert codes == sorted(set(codes))
    assert set(codes) == COUNTRIES
    assert all(len(fields) == 7 and fields[6] for fields in TABLE)


def test_a_modulated_tone_swells_and_fades_at_its_second_frequency() -> None:
    sound = Sound(8000, array.array("h", render(parse("400*25 1000/1000").steps[0], 8000)))
    for ebb in (120, 160, 800):
        assert level_of(sound, ebb - 2, ebb + 2) < level_of(sound, ebb + 18, ebb + 22) - 20
    assert level_of(sound, 100, 900) == pytest.approx(-10, abs=0.3)


def test_own_warning_and_confirmation_are_taken_where_the_table_has_them() -> None:
    assert tone("warning", "de").steps[0] == Step((425,), 240)
    assert tone("warning", "es").steps[0] == Step((1400,), 150)
    assert tone("confirm", "us").steps[0] == Step((350, 440), 100)
    assert tone("confirm", "es").steps[0] == Step((425,), 100)


def test_an_unknown_tone_or_country_is_refused() -> None:
    with pytest.raises(KeyError):
        tone("ringback", "xx")
    with pytest.raises(KeyError):
        tone("moo", "es")


@pytest.mark.parametrize(
    ("country", "name", "hz", "on_ms", "off_ms"),
    [
        ("es", "ringback", (425,), 1500, 3000),
        ("de", "busy", (425,), 480, 480),
        ("fr", "ringback", (440,), 1500, 3500),
        ("us", "ringback", (440, 480), 2000, 4000),
        ("us", "busy", (480, 620), 500, 500),
        ("cz", "congestion", (425,), 165, 165),
    ],
)
def test_a_tone_sounds_and_pauses_in_its_cadence(
    country: str, name: str, hz: tuple[int, ...], on_ms: int, off_ms: int
) -> None:
    sound = play(TonePlayer(tone(name, country)), (2 * (on_ms + off_ms)) // 20 + 1)
    for start in (0, on_ms + off_ms):
        middle = cut(sound, start + 5, start + 5 + (on_ms - 10) // 100 * 100)
        for frequency in hz:
            assert level_db(heard([middle]), frequency) == pytest.approx(-13.14 - 3.01 * (len(hz) - 1), abs=0.3)
        pause = cut(sound, start + on_ms, start + on_ms + off_ms)
        assert not any(pause)
        assert any(cut(sound, start + on_ms - 2, start + on_ms))
        assert any(cut(sound, start, start + 2))


def test_british_ringback_is_two_rings_and_a_pause() -> None:
    sound = play(TonePlayer(tone("ringback", "gb")), 160)
    loud = [any(cut(sound, at, at + 100)) for at in range(0, 3000, 100)]
    assert loud == [True] * 4 + [False] * 2 + [True] * 4 + [False] * 20


@pytest.mark.parametrize("name", ["warning", "confirm"])
def test_warning_and_confirmation_end_by_themselves(name: str) -> None:
    player = TonePlayer(tone(name, "es"))
    frames = 0
    while player.frame() is not None:
        frames += 1
        assert frames < 50
    assert 5 < frames < 40
    assert player.frame() is None


def test_nothing_clicks_at_the_ends_of_a_step() -> None:
    samples = array.array("h", render(Step((425,), 200)))
    assert abs(samples[0]) < 100
    assert abs(samples[-1]) < 300
    steepest = max(abs(b - a) for a, b in itertools.pairwise(samples))
    early = max(abs(b - a) for a, b in itertools.pairwise(samples[:9]))
    assert early < steepest / 3


def test_a_stopped_tone_fades_out_within_a_frame_and_ends() -> None:
    player = TonePlayer(tone("ringback", "es"))
    play(player, 10)
    player.stop()
    last = player.frame()
    assert last is not None
    samples = array.array("h", last)
    assert any(samples[:40])
    assert not any(samples[40:])
    assert max(abs(sample) for sample in samples[33:40]) < 1500
    assert player.frame() is None


def test_a_tone_stopped_before_it_began_is_silent() -> None:
    player = TonePlayer(tone("busy", "es"))
    player.stop()
    assert player.frame() is None


def test_steps_that_fill_no_whole_frame_are_joined_to_the_sample() -> None:
    player = TonePlayer(Tone((Step((), 7), Step((1000,), 6)), repeat=False))
    frame = player.frame()
    assert frame is not None
    assert not any(frame[: 7 * 16])
    assert any(frame[7 * 16 : 13 * 16])
    assert not any(frame[13 * 16 :])
    assert player.frame() is None
