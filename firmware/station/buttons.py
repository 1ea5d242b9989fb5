"""What the hands at the buttons do: a press, a press of the same impatient hand, a button that is stuck.

A button that stays down (chewing gum, a bent frame, somebody leaning on it) has rung once, when it went down;
after its `stuck_s` it is a fault, until it is let go. A press so soon after the one before is told, but means
nothing new: whoever hammers on a button wants one ring, also where a second press would end it.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from firmware.config import Button
from firmware.station.faults import Faults

HAMMERING_S = 0.5  # between two presses of one button, below which they are one wish


class Buttons:
    """`press(button, edge_s, hammered)` is called for each press. Times are monotonic seconds."""

    def __init__(
        self,
        buttons: tuple[Button, ...],
        faults: Faults,
        press: Callable[[str, float, bool], object],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._stuck_s = {button.name: button.stuck_s for button in buttons}
        self._faults = faults
        self._press = press
        self._loop = loop
        self._pressed_s: dict[str, float] = {}
        self._stuck: dict[str, asyncio.TimerHandle] = {}

    def found(self, button: str, down: bool) -> None:
        """How the button stands when its line is opened: one that is down already rings nobody."""
        self._watch(button, down)

    def changed(self, button: str, down: bool, edge_s: float) -> None:
        self._watch(button, down)
        if down:
            hammered = edge_s - self._pressed_s.get(button, float("-inf")) < HAMMERING_S
            self._pressed_s[button] = edge_s
            self._press(button, edge_s, hammered)

    def close(self) -> None:
        for timer in self._stuck.values():
            timer.cancel()
        self._stuck.clear()

    def _watch(self, button: str, down: bool) -> None:
        timer = self._stuck.pop(button, None)
        if timer is not None:
            timer.cancel()
        if down:
            seconds = self._stuck_s[button]
            self._stuck[button] = self._loop.call_later(seconds, partial(self._tell_stuck, button, seconds))
        else:
            self._faults.clear(_where(button))

    def _tell_stuck(self, button: str, seconds: float) -> None:
        what = f"has been down for {seconds:g} s"
        remedy = "free it; until it is let go it rings nobody again, other buttons do"
        self._faults.set(_where(button), what, remedy)


def _where(button: str) -> str:
    return f"button-stuck {button}"
