import threading
import time
from collections.abc import Iterator

import pytest

from drivers.gpio.base import GpioError
from drivers.gpio.inputs import ButtonInput
from drivers.gpio.simulated_inputs import SimulatedInputs

DEADLINE_S = 10.0


class Heard:
    """What a button told, in order, with a condition to wait on."""

    def __init__(self, button: ButtonInput) -> None:
        self.told: list[tuple[str, float]] = []
        self._changed = threading.Condition()
        button.on_press(lambda edge_s: self._add("press", edge_s))
        button.on_release(lambda edge_s: self._add("release", edge_s))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.told]

    def _add(self, name: str, edge_s: float) -> None:
        with self._changed:
            self.told.append((name, edge_s))
            self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.told) >= count, DEADLINE_S)


@pytest.fixture
def inputs() -> Iterator[SimulatedInputs]:
    opened = SimulatedInputs()
    yield opened
    opened.close()


def pull_up_button(inputs: SimulatedInputs, debounce_ms: int) -> tuple[ButtonInput, Heard]:
    button = inputs.button(17, active_low=True, pull="up", debounce_ms=debounce_ms)
    return button, Heard(button)


def test_a_press_and_a_release_are_told_with_the_time_of_their_edges(inputs: SimulatedInputs) -> None:
    button, heard = pull_up_button(inputs, 0)
    before_s = time.monotonic()
    inputs.drive(17, False)
    assert button.pressed
    inputs.drive(17, True)
    after_s = time.monotonic()
    assert not button.pressed
    (press, pressed_s), (release, released_s) = heard.told
    assert (press, release) == ("press", "release")
    assert before_s - 0.001 <= pressed_s <= released_s + 0.001 <= after_s + 0.001


@pytest.mark.parametrize(("active_low", "pull"), [(True, "none"), (False, "none"), (False, "down"), (True, "up")])
def test_every_wiring_of_a_button_presses(inputs: SimulatedInputs, active_low: bool, pull: str) -> None:
    inputs.drive(17, active_low)
    button = inputs.button(17, active_low=active_low, pull=pull, debounce_ms=0)  # type: ignore[arg-type]
    heard = Heard(button)
    inputs.drive(17, not active_low)
    inputs.drive(17, active_low)
    assert heard.names == ["press", "release"]


def test_bouncing_contacts_are_one_press_told_at_the_first_edge(inputs: SimulatedInputs) -> None:
    _, heard = pull_up_button(inputs, 60_000)
    for _ in range(5):
        inputs.drive(17, False)
        inputs.drive(17, True)
    inputs.drive(17, False)
    assert heard.names == ["press"]


def test_contacts_that_come_to_rest_released_are_told_released_afterwards(inputs: SimulatedInputs) -> None:
    _, heard = pull_up_button(inputs, 300)
    inputs.drive(17, False)
    inputs.drive(17, True)
    rested_s = time.monotonic()
    assert heard.names == ["press"]
    heard.wait_for(2)
    assert heard.names == ["press", "release"]
    (_, pressed_s), (_, released_s) = heard.told
    assert pressed_s <= released_s <= rested_s + 0.001  # the edge's time, not the time it was told


def test_a_press_after_the_contacts_rested_is_a_new_one(inputs: SimulatedInputs) -> None:
    _, heard = pull_up_button(inputs, 1)
    for count in (2, 4, 6):
        inputs.drive(17, False)
        inputs.drive(17, True)
        heard.wait_for(count)
        rested_s = time.monotonic() + 0.001
        while time.monotonic() <= rested_s:
            pass
    assert heard.names == ["press", "release"] * 3


def test_a_callback_that_raises_does_not_stop_the_next(
    inputs: SimulatedInputs, caplog: pytest.LogCaptureFixture
) -> None:
    button, heard = pull_up_button(inputs, 0)

    def broken(edge_s: float) -> None:
        raise RuntimeError("callback broke")

    button.on_press(broken)
    inputs.drive(17, False)
    inputs.drive(17, True)
    assert heard.names == ["release"]
    assert "callback broke" in caplog.text


def test_a_button_held_at_the_start_tells_its_release_first(inputs: SimulatedInputs) -> None:
    inputs.drive(17, False)
    button = inputs.button(17, active_low=True, pull="none", debounce_ms=0)
    heard = Heard(button)
    assert button.pressed
    inputs.drive(17, True)
    inputs.drive(17, False)
    assert heard.names == ["release", "press"]


def test_nothing_is_told_after_close(inputs: SimulatedInputs) -> None:
    button, heard = pull_up_button(inputs, 60_000)
    inputs.drive(17, False)
    inputs.drive(17, True)
    button.close()
    inputs.drive(17, False)
    assert heard.names == ["press"]


@pytest.mark.parametrize("line", [99, -1])
def test_a_line_that_is_not_there_is_refused(inputs: SimulatedInputs, line: int) -> None:
    with pytest.raises(GpioError, match=f"input line {line}: "):
        inputs.button(line, active_low=True, pull="up", debounce_ms=0)


def test_a_line_that_is_taken_is_refused(inputs: SimulatedInputs) -> None:
    pull_up_button(inputs, 0)
    with pytest.raises(GpioError, match="input line 17: "):
        pull_up_button(inputs, 0)
