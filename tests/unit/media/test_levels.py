"""Levels of a hands-free door, frame by frame."""

import array
import itertools
import math
import random

import pytest

from firmware.media.levels import (
    ComfortNoise,
    Ducker,
    HowlGuard,
    Limiter,
    NoiseLevel,
    SpeakerVolume,
    factor,
    level_db,
    ramped,
)
from tests.support.media import heard, tone_frames
from tests.support.sound import level_db as tone_db

SILENCE = bytes(640)


def noise_frames(db: float, frames: int, seed: int = 1) -> list[bytes]:
    source = random.Random(seed)
    rms = 32768 * 10 ** (db / 20)
    return [
        array.array("h", (max(-32768, min(32767, round(source.gauss(0, rms)))) for _ in range(320))).tobytes()
        for _ in range(frames)
    ]


def peak(frame: bytes) -> int:
    return max(abs(sample) for sample in array.array("h", frame))


def test_levels_are_of_a_full_scale_square() -> None:
    assert level_db(array.array("h", [32767, -32768] * 160).tobytes()) == pytest.approx(0, abs=0.01)
    assert level_db(tone_frames(1000, 1, peak=32767, rate_hz=16_000)[0]) == pytest.approx(-3.01, abs=0.05)
    assert level_db(SILENCE) == -96


def test_a_gain_that_changes_does_not_click() -> None:
    frame = tone_frames(50, 1, peak=10_000, rate_hz=16_000)[0]
    changed = array.array("h", ramped(frame, 0.2, 1.0))
    steps = [abs(b - a) for a, b in itertools.pairwise(changed)]
    assert max(steps) < 1200  # a jump from a fifth to all would be 8000
    assert ramped(frame, 1.0, 1.0) is frame


# --- street noise ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("db", [-60, -45, -30])
def test_the_streets_noise_is_found_under_speech(db: float) -> None:
    level = NoiseLevel()
    speech = noise_frames(-20, 20)
    street = noise_frames(db, 200)
    for at, frame in enumerate(street):
        level.update(speech[at % 20] if at % 50 < 25 else frame)  # half a second of speech, half of pause
    assert level.db == pytest.approx(db, abs=3)


def test_a_street_that_falls_quiet_is_noticed_at_once_and_one_that_grows_loud_within_seconds() -> None:
    level = NoiseLevel()
    for frame in noise_frames(-30, 200):
        level.update(frame)
    for frame in noise_frames(-60, 75):
        level.update(frame)
    assert level.db < -55
    for frame in noise_frames(-30, 150):
        level.update(frame)
    assert level.db > -34


# --- the speaker -----------------------------------------------------------------------------------------------


def settled(volume: SpeakerVolume, noise_db: float, *, night: bool = False) -> float:
    for _ in range(500):
        gain_db = volume.update(noise_db, night=night)
    return gain_db


def test_the_speaker_grows_louder_with_the_street_up_to_its_bound() -> None:
    volume = SpeakerVolume(base_db=-3, boost_db=9, night_most_db=0)
    gains = [settled(volume, noise_db) for noise_db in (-70, -55, -50, -45, -30)]
    assert gains == pytest.approx([-3, -3, 0, 3, 6])


def test_at_night_the_speaker_is_never_louder_than_the_cap_however_loud_the_street() -> None:
    volume = SpeakerVolume(base_db=-3, boost_db=9, night_most_db=-6)
    assert settled(volume, -30, night=True) == pytest.approx(-6)
    assert settled(volume, -30, night=False) == pytest.approx(6)
    quiet = SpeakerVolume(base_db=-12, boost_db=9, night_most_db=-6)
    assert settled(quiet, -70, night=True) == pytest.approx(-12)


def test_the_calibrations_correction_shifts_all() -> None:
    volume = SpeakerVolume(base_db=0, boost_db=6, night_most_db=-6, correction_db=-4)
    assert settled(volume, -30) == pytest.approx(2)
    assert settled(volume, -30, night=True) == pytest.approx(-10)


def test_the_volume_moves_slowly() -> None:
    volume = SpeakerVolume(base_db=0, boost_db=12, night_most_db=0)
    assert volume.update(-20, night=False) == pytest.approx(1.2)


def test_no_peak_passes_the_ceiling_and_quiet_sound_is_not_touched() -> None:
    limiter = Limiter(ceiling_db=-6)
    for frame in tone_frames(440, 20, peak=30_000, rate_hz=16_000):
        assert peak(limiter.process(frame, 2.0)) <= 32768 * factor(-6) + 1
    quiet = tone_frames(440, 200, peak=1000, rate_hz=16_000)
    out = [limiter.process(frame, 2.0) for frame in quiet]
    assert peak(out[-1]) == pytest.approx(2000, abs=2)
    assert peak(out[0]) < 1000  # comes back slowly


# --- howling ---------------------------------------------------------------------------------------------------


def loop(guarded: bool, gain_db: float = 4.0, frames: int = 500) -> list[bytes]:
    """A far end that returns all it gets, so that what the door sends comes back from its speaker into its
    microphone `gain_db` louder 100 ms later; what the loop carries, frame by frame."""
    guard = HowlGuard()
    carried = list(tone_frames(1200, 5, peak=300, rate_hz=16_000))
    for at in range(frames):
        microphone = ramped(carried[at], factor(gain_db), factor(gain_db))
        if guarded:
            gain = factor(guard.update(microphone, carried[at]))
            microphone = ramped(microphone, gain, gain)
        carried.append(microphone)
    assert guard.howls >= 1 or not guarded
    return carried


def test_a_loop_that_would_howl_is_broken() -> None:
    assert level_db(loop(guarded=False)[-1]) > -3
    guarded = loop(guarded=True)
    assert max(level_db(frame) for frame in guarded[250:]) < -25


def test_a_whistle_at_the_door_is_no_howl() -> None:
    guard = HowlGuard()
    for frame in tone_frames(1200, 300, rate_hz=16_000):
        assert guard.update(frame, SILENCE) == 0.0


def test_a_tone_that_the_far_end_plays_and_the_niche_returns_is_found_to_be_no_loops() -> None:
    guard = HowlGuard()
    gains = [guard.update(frame, frame) for frame in tone_frames(425, 250, rate_hz=16_000)]
    assert min(gains) == -30
    assert gains[120:] == [0.0] * 130
    assert guard.howls == 0


def test_our_own_ringback_is_no_howl() -> None:
    guard = HowlGuard()
    for frame in tone_frames(425, 100, rate_hz=16_000):
        assert guard.update(frame, frame, own=True) == 0.0


def test_two_who_shout_at_each_other_are_no_howl() -> None:
    guard = HowlGuard()
    for near, far in zip(noise_frames(-15, 200, 1), noise_frames(-15, 200, 2), strict=True):
        assert guard.update(near, far) == 0.0


def test_after_a_howl_the_microphone_comes_back() -> None:
    guard = HowlGuard()
    for frame in tone_frames(1200, 40, rate_hz=16_000):
        guard.update(frame, frame)
    assert guard.gain_db < -6
    for _ in range(250):
        guard.update(SILENCE, SILENCE)
    assert guard.gain_db == 0.0
    assert guard.howls == 1


# --- half-duplex -----------------------------------------------------------------------------------------------


def test_the_microphone_is_shut_while_the_far_end_talks_and_its_echo_lasts() -> None:
    ducker = Ducker(margin_db=6)
    assert [ducker.update(-30, -20) for _ in range(50)] == [-30] * 50
    after = [ducker.update(-60, -90) for _ in range(40)]
    assert after[:14] == [-30] * 14
    assert after[-1] == 0.0
    assert after.index(0.0) < 25


def test_who_talks_louder_than_the_echo_can_be_is_heard_at_once() -> None:
    ducker = Ducker(margin_db=20)
    for _ in range(50):
        ducker.update(-42, -20)  # echo, 20 dB below
    gains = [ducker.update(-25, -20) for _ in range(15)]
    assert gains[-1] == 0.0


def test_the_microphone_is_open_while_the_far_end_is_silent() -> None:
    ducker = Ducker()
    assert [ducker.update(-20, -70) for _ in range(50)] == [0.0] * 50


# --- comfort noise ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("noise_db", "expected_db"), [(-50, -65), (-30, -50), (-90, -72)])
def test_a_dead_line_hisses_a_little_below_the_street(noise_db: float, expected_db: float) -> None:
    comfort = ComfortNoise(640)
    out = b"".join(comfort.process(SILENCE, noise_db) for _ in range(100))
    assert level_db(out) == pytest.approx(expected_db, abs=1.5)
    assert len({out[at : at + 640] for at in range(0, len(out), 640)}) == 100


def test_what_is_loud_enough_is_left_alone() -> None:
    comfort = ComfortNoise(640)
    for frame in noise_frames(-50, 10):
        assert comfort.process(frame, -40) is frame


def test_comfort_noise_is_no_tone() -> None:
    comfort = ComfortNoise(640)
    out = heard([comfort.process(SILENCE, -50) for _ in range(100)], 16_000)
    assert max(tone_db(out, hz) for hz in range(50, 4000, 50)) < -68
    assert math.isfinite(level_db(SILENCE))
