"""G.711 and rate conversion keep level and length."""

import pytest

from firmware.media.codec import CODECS, SILENCE, Resampler
from tests.support.media import heard, tone_frames
from tests.support.sound import level_db


@pytest.mark.parametrize("name", ["PCMU", "PCMA"])
def test_a_tone_survives_coding(name: str) -> None:
    codec = CODECS[name]
    frames = tone_frames(1000, 10)
    decoded = [codec.decode(codec.encode(frame)) for frame in frames]
    assert level_db(heard(decoded), 1000) == pytest.approx(level_db(heard(frames), 1000), abs=0.2)


@pytest.mark.parametrize("name", ["PCMU", "PCMA"])
def test_a_frame_of_silence_is_twenty_milliseconds_of_it(name: str) -> None:
    codec = CODECS[name]
    assert len(codec.silence) == 160
    assert codec.silence == codec.encode(SILENCE)


@pytest.mark.parametrize(
    ("from_hz", "to_hz"), [(8000, 8000), (16000, 8000), (8000, 16000), (48000, 8000), (8000, 48000)]
)
def test_every_frame_has_its_full_length_and_the_level_stays(from_hz: int, to_hz: int) -> None:
    resampler = Resampler(from_hz, to_hz)
    frames = [resampler.convert(frame) for frame in tone_frames(1000, 10, rate_hz=from_hz)]
    assert {len(frame) for frame in frames} == {to_hz // 50 * 2}
    assert level_db(heard(frames[1:], to_hz), 1000) == pytest.approx(-12.04, abs=0.6)
