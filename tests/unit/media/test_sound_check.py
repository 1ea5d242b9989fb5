"""Sweeps and what recordings of them say."""

import array
import audioop
import random

import pytest

from firmware.media import sound_check
from firmware.media.canceller import NoCanceller
from firmware.media.levels import factor, level_db
from firmware.media.sound_check import EVEN_DB, RISING_DB, Heard, examine, linear_part

RATE_HZ = 16_000


def room(
    played: bytes,
    *,
    delay_ms: float = 60,
    gain_db: float = -10,
    noise_db: float = -70,
    speaker_peak: int = 32_768,
    rate_hz: int = RATE_HZ,
) -> bytes:
    """As the microphone hears it: limited by the speaker, late, quieter, with a reflection and noise."""
    limited = array.array("h", (max(-speaker_peak, min(speaker_peak - 1, s)) for s in array.array("h", played)))
    delay = round(delay_ms * rate_hz / 1000) * 2
    direct = (bytes(delay) + limited.tobytes())[: len(played)]
    reflected = (bytes(delay + 2 * 90) + limited.tobytes())[: len(played)]
    echo = audioop.add(direct, audioop.mul(reflected, 2, 0.4), 2)
    source = random.Random(5)
    rms = 32_768 * factor(noise_db)
    noise = array.array("h", (round(source.gauss(0, rms)) for _ in range(len(played) // 2))).tobytes()
    return audioop.add(audioop.mul(echo, 2, factor(gain_db)), noise, 2)


@pytest.mark.parametrize("rate_hz", [8000, 16_000])
@pytest.mark.parametrize("delay_ms", [0, 37, 120, 300])
def test_delay_and_level_are_found(rate_hz: int, delay_ms: float) -> None:
    recording = room(sound_check.chirps(EVEN_DB, rate_hz), delay_ms=delay_ms, rate_hz=rate_hz)
    found = examine(recording, EVEN_DB, rate_hz)
    assert len(found.chirps) == 3
    assert found.delay_ms == pytest.approx(delay_ms, abs=0.3)
    assert found.delay_spread_ms < 0.3
    assert found.coupling_db == pytest.approx(-10, abs=2)
    assert found.noise_db == pytest.approx(-70, abs=1.5)
    assert not found.clipped
    assert not found.dead


def test_a_quiet_speaker_in_a_loud_street_is_still_measured() -> None:
    recording = room(sound_check.chirps(EVEN_DB, RATE_HZ), gain_db=-18, noise_db=-38)
    found = examine(recording, EVEN_DB, RATE_HZ)
    assert found.delay_ms == pytest.approx(60, abs=0.5)


def test_a_street_without_a_speaker_is_not_taken_for_one() -> None:
    chirps = sound_check.chirps(EVEN_DB, RATE_HZ)
    assert examine(room(bytes(len(chirps)), noise_db=-20), EVEN_DB, RATE_HZ).chirps == ()


def test_a_microphone_of_zeros_is_dead() -> None:
    chirps = sound_check.chirps(EVEN_DB, RATE_HZ)
    found = examine(bytes(len(chirps)), EVEN_DB, RATE_HZ)
    assert found.dead
    assert found.delay_ms is None
    assert found.coupling_db is None


def test_the_level_at_which_the_speaker_distorts_is_found() -> None:
    rising = sound_check.chirps(RISING_DB, RATE_HZ)
    linear = linear_part(examine(room(rising), RISING_DB, RATE_HZ).chirps)
    assert len(linear) == len(RISING_DB)
    found = examine(room(rising, speaker_peak=round(32_768 * factor(-15))), RISING_DB, RATE_HZ)
    distorts_from = linear_part(found.chirps)[-1].played_db + 3
    assert -19 < distorts_from < -10


def test_a_microphone_that_clips_ends_what_is_undistorted() -> None:
    rising = sound_check.chirps(RISING_DB, RATE_HZ)
    found = examine(room(rising, gain_db=12), RISING_DB, RATE_HZ)
    assert found.clipped
    assert linear_part(found.chirps)[-1].played_db < -12


def test_chirps_that_come_out_of_the_noise_are_not_taken_for_distorted() -> None:
    chirps = tuple(
        Heard(played_db, level_db_, 60, like, False)
        for played_db, level_db_, like in ((-39, -60, 0.4), (-33, -57, 0.6), (-27, -52, 0.8), (-21, -46, 0.9))
    )
    assert linear_part(chirps) == chirps


def test_the_margin_is_what_the_canceller_leaves_and_noise_does_not_count() -> None:
    voice = bytes(2 * RATE_HZ * sound_check.LEAD_MS // 1000) + sound_check.speech(RATE_HZ)
    recorded = room(voice, gain_db=-14, noise_db=-42)
    assert sound_check.margin_db(NoCanceller(), voice, recorded, RATE_HZ) == pytest.approx(13.5, abs=2)
    assert level_db(sound_check.speech(RATE_HZ)) == pytest.approx(-20, abs=0.2)
