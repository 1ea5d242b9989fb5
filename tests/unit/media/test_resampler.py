"""Rate conversion keeps level and length, with and without the library that does it well."""

import pytest

from firmware.media import resampler as module
from firmware.media.resampler import Resampler
from tests.support.media import heard, tone_frames
from tests.support.sound import level_db

RATES = [(8000, 8000), (16000, 8000), (8000, 16000), (48000, 8000), (8000, 48000), (48000, 16000), (16000, 48000)]


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
@pytest.mark.parametrize("library", [True, False])
def test_every_frame_has_its_full_length_and_the_level_stays(
    from_hz: int, to_hz: int, library: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not library:
        monkeypatch.setattr(module, "load", lambda name: None)
    resampler = Resampler(from_hz, to_hz)
    frames = [resampler.convert(frame) for frame in tone_frames(1000, 10, rate_hz=from_hz)]
    assert {len(frame) for frame in frames} == {to_hz // 50 * 2}
    assert level_db(heard(frames[1:], to_hz), 1000) == pytest.approx(-12.04, abs=0.6)


@pytest.mark.parametrize("from_hz", [16_000, 48_000])
def test_what_the_lower_rate_cannot_carry_does_not_fold_into_it(from_hz: int) -> None:
    resampler = Resampler(from_hz, 8000)
    frames = [resampler.convert(frame) for frame in tone_frames(5000, 10, rate_hz=from_hz)]
    assert level_db(heard(frames[1:], 8000), 3000) < -60


def test_going_up_mirrors_nothing() -> None:
    resampler = Resampler(8000, 16_000)
    frames = [resampler.convert(frame) for frame in tone_frames(2500, 10)]
    assert level_db(heard(frames[1:], 16_000), 5500) < -60
