"""The ALSA driver on a card with a clock: PulseAudio's null sinks, the speaker heard by the microphone."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.audio.alsa import AlsaAudio
from drivers.audio.base import AudioError
from tests.support.media import heard, tone_frames
from tests.support.pulse import PulseCard
from tests.support.sound import level_db

pytestmark = pytest.mark.integration
RATE_HZ = 16_000


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PulseCard]:
    card = PulseCard(tmp_path)
    for name, value in card.environment.items():
        monkeypatch.setenv(name, value)
    card.start()
    yield card
    card.stop()


def alsa() -> AlsaAudio:
    return AlsaAudio(rate_hz=RATE_HZ, capture_pcm="door_mic", playback_pcm="door_spk")


def exchange(audio: AlsaAudio, frames: int, hz: float) -> list[bytes]:
    captured = []
    for frame in tone_frames(hz, frames, rate_hz=RATE_HZ):
        captured.append(audio.read())
        audio.write(frame)
    return captured


def test_the_microphone_hears_the_speaker_at_its_level_and_without_gaps(card: PulseCard) -> None:
    audio = alsa()
    audio.start()
    captured = exchange(audio, 150, 1000)
    audio.stop()
    middle = heard(captured[75:], RATE_HZ)
    assert level_db(middle, 1000) == pytest.approx(-12.04, abs=0.5)
    quiet = sum(1 for frame in captured[75:] if level_db(heard([frame], RATE_HZ), 1000) < -20)
    assert quiet <= 5 * audio.restarts  # this machine may stall for once; the driver does not


def test_a_program_that_was_held_up_begins_both_directions_anew_and_says_so(card: PulseCard) -> None:
    audio = alsa()
    audio.start()
    exchange(audio, 50, 1000)
    before = audio.restarts
    time.sleep(0.5)  # the load of a machine that has something else to do
    captured = exchange(audio, 150, 1000)
    assert audio.restarts > before
    assert level_db(heard(captured[75:], RATE_HZ), 1000) > -15
    audio.stop()


def test_a_pcm_that_is_not_there_is_an_error(card: PulseCard) -> None:
    card.stop()
    with pytest.raises(AudioError, match="door_mic"):
        alsa().start()
