"""A key that the street played into our microphone does not count, whichever way it comes back."""

import audioop
import itertools

import pytest

from firmware.media.dtmf import KEYS, keys_as_tone
from firmware.media.replay_guard import WINDOW_S, ReplayGuard
from firmware.media.tones import TonePlayer
from tests.support.speech import missing, speech

SILENCE = bytes(320)


def frames(key: str, ms: int = 100, level: float = 1.0) -> list[bytes]:
    player = TonePlayer(keys_as_tone(key, tone_ms=ms, gap_ms=20))
    return [audioop.mul(frame, 2, level) for frame in iter(player.frame, None)]


class Door:
    """Turns the clock of a guard: what the microphone hears and the speaker plays, 20 ms at a time."""

    def __init__(self) -> None:
        self.guard = ReplayGuard()
        self.now = 1000.0

    def run(self, microphone: list[bytes], speaker: list[bytes] | None = None) -> None:
        for heard, played in itertools.zip_longest(microphone, speaker or [], fillvalue=SILENCE):
            self.now += 0.02
            self.guard.listen(heard, played, self.now)

    def quiet(self, seconds: float) -> None:
        self.run([SILENCE] * round(seconds * 50))

    def takes(self, key: str) -> bool:
        return not self.guard.refuses(key, self.now)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("level", [1.0, 0.1, 0.03])
@pytest.mark.parametrize("ms", [40, 100])
def test_a_key_that_the_microphone_has_just_heard_is_refused(key: str, level: float, ms: int) -> None:
    door = Door()
    door.run(frames(key, ms, level))
    door.quiet(0.3)
    assert not door.takes(key)


def test_other_keys_are_taken_and_so_is_the_same_one_later() -> None:
    door = Door()
    door.run(frames("5"))
    assert door.takes("6")
    door.quiet(WINDOW_S + 0.1)
    assert door.takes("5")


def test_an_audio_thread_that_got_no_processor_costs_nobody_a_key() -> None:
    door = Door()
    door.quiet(10)
    door.now += 0.5
    door.quiet(0.5)
    assert door.takes("5")


def test_a_key_is_heard_over_a_pause_of_the_audio_thread() -> None:
    """What its sound card kept meanwhile goes out without a gap, and is heard as one at the far end."""
    door = Door()
    door.quiet(10)
    first, *others = frames("5", 40)
    door.run([first])
    door.now += 0.5
    door.run(others)
    assert not door.takes("5")


def test_a_key_held_for_long_is_refused_until_well_after_its_end() -> None:
    door = Door()
    door.run(frames("5", 5000))
    door.quiet(WINDOW_S - 0.2)
    assert not door.takes("5")


def test_a_key_that_comes_before_the_street_plays_it_is_taken() -> None:
    door = Door()
    assert door.takes("5")
    door.run(frames("5"))
    assert not door.takes("5")


@pytest.mark.parametrize("room_ms", [0, 60, 200, 400])
def test_a_phone_that_sends_its_keys_as_sound_too_may_press_one_twice(room_ms: int) -> None:
    """Our speaker plays the first press, our microphone hears it: that is no street."""
    door = Door()
    assert door.takes("5")
    spoken = frames("5")
    door.run([SILENCE] * (room_ms // 20) + [audioop.mul(frame, 2, 0.5) for frame in spoken], spoken)
    assert door.takes("5")


def test_a_phone_that_sends_its_keys_as_sound_too_may_press_one_twice_at_once_after_the_answer() -> None:
    door = Door()
    door.quiet(0.2)
    spoken = frames("5", 60)
    door.run([SILENCE] * 3 + spoken, spoken)
    assert door.takes("5")


def test_a_tone_that_comes_back_through_the_speaker_excuses_no_further_one() -> None:
    """The far end's speakerphone returns what the street plays; the street goes on playing it."""
    door = Door()
    echo = [SILENCE] * 15 + [audioop.mul(frame, 2, 0.3) for frame in frames("5", 3000)]
    door.run(frames("5", 3000), echo)
    door.run(frames("5"), [audioop.mul(frame, 2, 0.3) for frame in frames("5")])
    door.quiet(0.2)
    assert not door.takes("5")


@pytest.mark.parametrize("started_s", [1, 2.9, 3.05, 10.13])
def test_bursts_that_go_on_while_their_echo_comes_back_are_refused_throughout(started_s: float) -> None:
    door = Door()
    burst = (frames("5", 100) + [SILENCE] * 4) * round(started_s * 5 + 1)
    door.run(burst[: round(started_s * 50)], [SILENCE] * 13 + burst[: round(started_s * 50) - 13])
    assert not door.takes("5")


@pytest.mark.parametrize("late_ms", [100, 400, 800])
def test_a_gateway_that_reports_a_key_after_its_sound_is_believed(late_ms: int) -> None:
    door = Door()
    door.quiet(30)
    sound = frames("5", late_ms)
    door.run([SILENCE] * 4 + [audioop.mul(frame, 2, 0.5) for frame in sound], sound)
    assert door.takes("5")


def test_a_code_played_at_the_microphone_key_by_key_is_refused_key_by_key() -> None:
    """Each comes back as a telephone-event a quarter of a second later, while the next one plays."""
    door = Door()
    taken = []
    due: list[tuple[float, str]] = []
    for key in "58231":
        due.append((door.now + 0.25, key))
        for frame in frames(key, 80):
            door.run([frame])
            while due and due[0][0] <= door.now:
                taken.append(door.takes(due.pop(0)[1]))
    door.quiet(0.3)
    taken += [door.takes(key) for _, key in due]
    assert taken == [False] * 5


def test_keys_of_our_own_are_not_taken_back() -> None:
    door = Door()
    door.guard.sent("12", door.now + 0.4)
    door.quiet(1.0)
    assert not door.takes("1")
    assert not door.takes("2")
    assert door.takes("3")
    door.quiet(WINDOW_S)
    assert door.takes("1")


@pytest.mark.skipif(bool(missing()), reason=missing())
def test_speech_at_the_door_hardly_ever_costs_a_key() -> None:
    door = Door()
    asked = refused = 0
    for said in speech(300):
        for at in range(0, len(said) - 320, 320):
            door.run([said[at : at + 320]])
            if at % 16_000 == 0:  # somebody presses all sixteen keys, once a second
                asked += 16
                refused += sum(not door.takes(key) for key in KEYS)
    assert refused / asked < 0.01


def test_what_nobody_asks_about_is_not_kept_for_ever() -> None:
    door = Door()
    door.run(frames("5"))
    door.quiet(60)
    assert door.takes("5")
    door.run(frames("7"))
    assert not door.takes("7")
