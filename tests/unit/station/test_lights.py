"""What a light shows: it rings, somebody talks, the door is open."""

import pytest

from firmware.config import LightSection
from firmware.station import events
from firmware.station.events import Event, EventStream
from firmware.station.lights import Lights


class Lamp:
    def __init__(self) -> None:
        self.shows: list[object] = []

    def steady(self, on: bool) -> None:
        self.shows.append("on" if on else "off")

    def blink(self, period_s: float) -> None:
        self.shows.append(period_s)

    def close(self) -> None:
        self.shows.append("closed")


RING = events.ButtonPressed(press=1, button="flat", source="gpio", edge_s=1.0)
ANSWER = events.LegAnswered(press=1, leg="1.1")
ON = events.RelayOn(press=1, door="street", pulse_ms=3000)
OFF = events.RelayOff(press=1, door="street", on_ms=3000, reason="pulse ended")
END = events.PressEnded(press=1, outcome="answered", reason="")


class Panel:
    def __init__(self, *sections: LightSection) -> None:
        self.lights = Lights(sections)
        self.stream = EventStream()
        self.stream.subscribe(self.lights.take)
        self.lamps = {section.output: Lamp() for section in sections}
        for name, lamp in self.lamps.items():
            self.lights.opened(name, lamp)

    def happens(self, *what: Event) -> None:
        for event in what:
            self.stream.publish(event)


def test_a_visit_from_the_press_to_its_end_is_seen() -> None:
    panel = Panel(LightSection(output="light1"))
    panel.happens(RING, ANSWER, ON, OFF, END)
    assert panel.lamps["light1"].shows == ["off", 1.0, "on", 0.25, "on", "off"]


def test_a_light_that_is_to_be_found_in_the_dark_is_on_between_visits() -> None:
    panel = Panel(LightSection(output="light1", idle="on"))
    panel.happens(RING, END)
    assert panel.lamps["light1"].shows == ["on", 1.0, "on"]


def test_a_buttons_light_shows_its_visits_alone_and_a_common_one_all() -> None:
    panel = Panel(
        LightSection(output="light1", button="flat"),
        LightSection(output="light2", button="shop"),
        LightSection(output="light3"),
    )
    panel.happens(RING, ON, OFF, END)
    assert [lamp.shows for lamp in panel.lamps.values()] == [
        ["off", 1.0, 0.25, 1.0, "off"],
        ["off"],
        ["off", 1.0, 0.25, 1.0, "off"],
    ]


def test_a_visit_that_takes_the_place_of_another_takes_the_light_along() -> None:
    panel = Panel(LightSection(output="light1", button="flat"), LightSection(output="light2", button="shop"))
    panel.happens(RING, events.ButtonPressed(press=2, button="shop", source="gpio", edge_s=2.0))
    panel.happens(ANSWER, END)  # what the first visit still tells
    assert [lamp.shows for lamp in panel.lamps.values()] == [["off", 1.0, "off"], ["off", 1.0]]


@pytest.mark.parametrize("action", ["ignore", "extend", "cancel"])
def test_a_press_that_rings_nobody_anew_changes_nothing(action: str) -> None:
    panel = Panel(LightSection(output="light1"))
    panel.happens(RING, ANSWER)
    panel.happens(events.ButtonPressed(press=1, button="flat", source="gpio", edge_s=2.0, action=action))  # type: ignore[arg-type]
    assert panel.lamps["light1"].shows == ["off", 1.0, "on"]


def test_a_lock_process_that_is_lost_has_released_its_doors() -> None:
    panel = Panel(LightSection(output="light1"))
    panel.happens(ON, events.DoorProcess(connected=False, reason="ended"))
    assert panel.lamps["light1"].shows == ["off", 0.25, "off"]


def test_a_light_that_is_opened_again_shows_what_is_going_on() -> None:
    panel = Panel(LightSection(output="light1"))
    panel.happens(RING)
    again = Lamp()
    panel.lights.opened("light1", again)
    assert again.shows == [1.0]
    panel.happens(END)
    assert again.shows == [1.0, "off"]
