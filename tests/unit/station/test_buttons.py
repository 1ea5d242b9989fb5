"""Hands at buttons: presses, hammering, and what stays down."""

import asyncio

import pytest

from firmware.config import Button, Stage
from firmware.station import events
from firmware.station.buttons import Buttons
from firmware.station.events import Event, EventStream
from firmware.station.faults import Faults
from tests.support.hand_clock import HandClock


class Panel:
    """Two buttons under a clock that the test turns."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.presses: list[tuple[str, float, bool]] = []
        self.told: list[Event] = []
        stream = EventStream()
        stream.subscribe(lambda record: self.told.append(record.event))
        stages = (Stage(ring=("101",)),)
        self.buttons = Buttons(
            (
                Button(name="flat", input="button1", stages=stages, stuck_s=30),
                Button(name="shop", input="button2", stages=stages, stuck_s=5),
            ),
            Faults(stream),
            lambda *what: self.presses.append(what),
            self.clock,  # type: ignore[arg-type]
        )

    def wait(self, seconds: float) -> None:
        self.clock.wait(seconds)

    def move(self, button: str, down: bool) -> None:
        self.buttons.changed(button, down, self.clock.now_s)


@pytest.fixture
def panel() -> Panel:
    return Panel()


def test_a_press_is_told_when_the_button_goes_down_and_not_when_it_comes_up(panel: Panel) -> None:
    panel.move("flat", True)
    panel.wait(0.2)
    panel.move("flat", False)
    assert panel.presses == [("flat", 100.0, False)]


def test_ten_presses_a_second_are_one_wish(panel: Panel) -> None:
    for _ in range(10):
        panel.move("flat", True)
        panel.wait(0.05)
        panel.move("flat", False)
        panel.wait(0.05)
    assert [hammered for _, _, hammered in panel.presses] == [False] + [True] * 9


def test_a_press_after_a_moment_is_a_wish_of_its_own(panel: Panel) -> None:
    for _ in range(2):
        panel.move("flat", True)
        panel.wait(0.1)
        panel.move("flat", False)
        panel.wait(0.5)
    assert [hammered for _, _, hammered in panel.presses] == [False, False]


def test_two_buttons_pressed_one_after_the_other_are_two_wishes(panel: Panel) -> None:
    panel.move("flat", True)
    panel.wait(0.1)
    panel.move("shop", True)
    assert [(button, hammered) for button, _, hammered in panel.presses] == [("flat", False), ("shop", False)]


def test_a_stuck_button_has_rung_once_and_is_a_fault_until_it_is_let_go(panel: Panel) -> None:
    panel.move("flat", True)
    panel.wait(29.9)
    assert panel.told == []
    panel.wait(0.2)
    (fault,) = panel.told
    assert isinstance(fault, events.Fault)
    assert (fault.where, fault.what) == ("button-stuck flat", "has been down for 30 s")
    panel.wait(3600)
    assert len(panel.told) == 1
    panel.move("flat", False)
    assert panel.told[1:] == [events.FaultCleared(where="button-stuck flat")]
    assert len(panel.presses) == 1


def test_each_button_has_its_own_time(panel: Panel) -> None:
    panel.move("shop", True)
    panel.wait(5.1)
    assert [event.where for event in panel.told if isinstance(event, events.Fault)] == ["button-stuck shop"]


def test_a_button_let_go_in_time_is_no_fault(panel: Panel) -> None:
    panel.move("flat", True)
    panel.wait(29)
    panel.move("flat", False)
    panel.wait(3600)
    assert panel.told == []


def test_a_button_that_is_down_at_the_start_rings_nobody_and_is_stuck_after_its_time(panel: Panel) -> None:
    panel.buttons.found("flat", True)
    panel.wait(31)
    assert panel.presses == []
    assert [type(event) for event in panel.told] == [events.Fault]
    panel.buttons.found("flat", False)  # its chip was away and came back: it is up by now
    assert [type(event) for event in panel.told] == [events.Fault, events.FaultCleared]


def test_nothing_is_told_after_the_end(panel: Panel) -> None:
    panel.move("flat", True)
    panel.buttons.close()
    panel.wait(60)
    assert panel.told == []


def test_the_timer_is_the_loops() -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        stream = EventStream()
        stream.subscribe(lambda _: told.set())
        button = Button(name="flat", input="button1", stuck_s=1)
        buttons = Buttons((button,), Faults(stream), lambda *_: None, loop)
        buttons.found("flat", True)
        await asyncio.wait_for(told.wait(), 10)

    asyncio.run(scene())
