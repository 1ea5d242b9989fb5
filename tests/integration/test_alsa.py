"""The ALSA driver on a card with a clock: PulseAudio's null sinks, the speaker heard by the microphone."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from drivers.audio.alsa import AlsaAudio
from drivers.audio.base import AudioError
from firmware.media.events import MediaFault
from firmware.media.sound_card import SoundCard
from tests.support.media import heard, tone_frames
from tests.support.pulse import PulseCard
from tests.support.sound import level_db

pytestmark = [pytest.mark.integration, pytest.mark.sound]  # PulseAudio stalls as well
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


@contextmanager
def started() -> Iterator[AlsaAudio]:
    audio = alsa()
    audio.start()
    try:
        yield audio
    finally:
        audio.stop()


def exchange(audio: AlsaAudio, frames: int, hz: float) -> list[bytes]:
    captured = []
    for frame in tone_frames(hz, frames, rate_hz=RATE_HZ):
        captured.append(audio.read())
        audio.write(frame)
    return captured


def test_the_microphone_hears_the_speaker_at_its_level(card: PulseCard) -> None:
    with started() as audio:
        captured = exchange(audio, 150, 1000)
    levels_db = [level_db(heard([frame], RATE_HZ), 1000) for frame in captured[75:]]
    # This machine, or PulseAudio's loop on it, may stall for once; the driver does not.
    assert statistics.median(levels_db) == pytest.approx(-12.04, abs=0.5)
    assert sum(level > -13 for level in levels_db) > 50


def test_a_program_that_was_held_up_begins_both_directions_anew_and_says_so(card: PulseCard) -> None:
    with started() as audio:
        exchange(audio, 50, 1000)
        before = audio.restarts
        time.sleep(0.5)  # the load of a machine that has something else to do
        captured = exchange(audio, 150, 1000)
    assert audio.restarts > before
    assert level_db(heard(captured[75:], RATE_HZ), 1000) > -15


def test_a_card_that_is_pulled_out_and_put_back_is_found_again(card: PulseCard) -> None:
    faults: list[MediaFault] = []
    sound = SoundCard(alsa, faults.append)
    sound.start()
    try:
        _goes_and_comes(card, sound, faults)
    finally:
        sound.stop()
        card.unplug()
        card.plug()


def _goes_and_comes(card: PulseCard, sound: SoundCard, faults: list[MediaFault]) -> None:
    tone = tone_frames(1000, 50)

    def talk(over: Callable[[], object], limit_s: float) -> list[bytes]:
        end_s = time.monotonic() + limit_s
        captured: list[bytes] = []
        while not over():
            assert time.monotonic() < end_s, faults
            captured.append(sound.read())
            sound.write(tone[len(captured) % 50])
        return captured[-25:]

    ends_s = time.monotonic() + 1
    talk(lambda: time.monotonic() > ends_s, 5)
    assert faults == []
    before = sound.restarts
    card.unplug()
    talk(lambda: len(faults) > 1, 10)
    assert all("door_mic" in fault.what or "door_spk" in fault.what for fault in faults)
    card.plug()
    heard_again = talk(lambda: not sound.fault, 30)
    assert faults[-1] == MediaFault("audio", "")
    assert sound.restarts != before
    assert level_db(heard(heard_again), 1000) > -20


def test_a_pcm_that_is_not_there_is_an_error(card: PulseCard) -> None:
    card.stop()
    with pytest.raises(AudioError, match="door_mic"):
        alsa().start()
