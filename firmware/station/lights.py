"""What the lights at the buttons show, from the stream of events alone: it rings, somebody talks, the door is open.

    nothing going on    off, or on where the light is to be found in the dark (`idle`)
    rings               blinks, once a second
    somebody talks      on
    the door is open    blinks fast, four times a second, as long as the strike is released

A light with a button shows that button's visits, one without shows all.
"""

from dataclasses import dataclass
from typing import Literal

from drivers.gpio.base import Light
from firmware.config import LightSection
from firmware.station import events
from firmware.station.events import Record

Look = Literal["idle", "ringing", "talking", "open"]
RINGING_PERIOD_S = 1.0
OPEN_PERIOD_S = 0.25


@dataclass(slots=True)
class _Shown:
    section: LightSection
    light: Light | None = None
    look: Look = "idle"


class Lights:
    """Subscribe `take` to the stream. `opened(name, light)`: a light that can be switched from now on."""

    def __init__(self, sections: tuple[LightSection, ...]) -> None:
        self._shown = {section.output: _Shown(section) for section in sections}
        self._press = 0  # the visit that is at the door, and its button
        self._button = ""
        self._look: Look = "idle"
        self._open: set[str] = set()  # doors whose strike is released

    def opened(self, name: str, light: Light) -> None:
        shown = self._shown[name]
        shown.light = light
        _show(shown, light)

    def take(self, record: Record) -> None:
        match record.event:
            case events.ButtonPressed() as event if event.action == "ring":
                self._press, self._button, self._look = event.press, event.button, "ringing"
            case events.LegAnswered() as event if event.press == self._press:
                self._look = "talking"
            case events.PressEnded() as event if event.press == self._press:
                self._look = "idle"
            case events.RelayOn() as event:
                self._open.add(event.door)
            case events.RelayOff() as event:
                self._open.discard(event.door)
            case events.DoorProcess():
                self._open.clear()
            case _:
                return
        for shown in self._shown.values():
            self._refresh(shown)

    def _refresh(self, shown: _Shown) -> None:
        mine = shown.section.button in (None, self._button)
        look: Look = "idle"
        if mine:
            look = "open" if self._open else self._look
        if look == shown.look:
            return
        shown.look = look
        if shown.light is not None:
            _show(shown, shown.light)


def _show(shown: _Shown, light: Light) -> None:
    match shown.look:
        case "idle":
            light.steady(shown.section.idle == "on")
        case "ringing":
            light.blink(RINGING_PERIOD_S)
        case "talking":
            light.steady(True)
        case "open":
            light.blink(OPEN_PERIOD_S)
