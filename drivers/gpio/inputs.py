"""Buttons on gpiozero devices: press and release, each with the time of its edge, debounced.

The first edge counts at once, because a visitor's press must not wait for contacts to come to rest; edges within
the debounce time of the one before are bounce, and if the contacts rest in the other state afterwards, that is
told then, with the time of the last edge. A pin factory that debounces in the kernel (and so also swallows
glitches) leaves nothing for this to do. gpiozero is imported with the first button.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from drivers.gpio.base import GpioError

if TYPE_CHECKING:
    import gpiozero

log = logging.getLogger(__name__)


class ButtonInput:
    """A pressed-or-not input over a `gpiozero.DigitalInputDevice`, which it closes.

    Callbacks get the edge's time (seconds of `time.monotonic`) and come on gpiozero's thread, or a timer's: they
    hand over and return. One that raises is logged and does not stop the next.
    """

    def __init__(self, device: "gpiozero.DigitalInputDevice", debounce_ms: int) -> None:
        self._device = device
        self._debounce_s = debounce_ms / 1000
        self._lock = threading.Lock()
        self._on_press: Callable[[float], None] | None = None
        self._on_release: Callable[[float], None] | None = None
        self._told = bool(device.is_active)
        self._last_edge_s = float("-inf")
        self._settling: threading.Timer | None = None
        device.when_activated = self._activated
        device.when_deactivated = self._deactivated

    def on_press(self, callback: Callable[[float], None]) -> None:
        self._on_press = callback

    def on_release(self, callback: Callable[[float], None]) -> None:
        self._on_release = callback

    @property
    def pressed(self) -> bool:
        return bool(self._device.is_active)

    def close(self) -> None:
        self._device.close()
        with self._lock:
            self._on_press = self._on_release = None
            if self._settling is not None:
                self._settling.cancel()

    def _activated(self) -> None:
        self._edge(True, self._device.active_time)

    def _deactivated(self) -> None:
        self._edge(False, self._device.inactive_time)

    def _edge(self, active: bool, age_s: float | None) -> None:
        """gpiozero tells how long the state has lasted by the edge's own stamp, not when the edge was."""
        edge_s = time.monotonic() - (age_s or 0.0)
        with self._lock:
            quiet_s = edge_s - self._last_edge_s
            self._last_edge_s = edge_s
            if quiet_s < self._debounce_s:
                if self._settling is None:
                    self._settle_in(self._debounce_s)
                return
            if active == self._told:
                return
            self._told = active
        self._tell(active, edge_s)

    def _settle_in(self, seconds: float) -> None:
        self._settling = threading.Timer(seconds, self._settle)
        self._settling.daemon = True
        self._settling.start()

    def _settle(self) -> None:
        """The contacts bounced: once they rest, tell the state they rest in if it is not the one told."""
        with self._lock:
            self._settling = None
            if self._device.closed:
                return
            rest_s = self._last_edge_s + self._debounce_s - time.monotonic()
            if rest_s > 0:
                self._settle_in(rest_s)
                return
            active = bool(self._device.is_active)
            if active == self._told:
                return
            self._told = active
            edge_s = self._last_edge_s
        self._tell(active, edge_s)

    def _tell(self, active: bool, edge_s: float) -> None:
        callback = self._on_press if active else self._on_release
        if callback is None:
            return
        try:
            callback(edge_s)
        except Exception:
            log.exception("button callback failed")


class Inputs:
    """The input lines of one gpiozero pin factory, which it closes with them."""

    def __init__(self, factory: "gpiozero.Factory") -> None:
        self._factory = factory
        self._buttons: list[ButtonInput] = []

    def button(
        self, line: int, *, active_low: bool, pull: Literal["up", "down", "none"], debounce_ms: int
    ) -> ButtonInput:
        """GpioError if there is no such line, or it is taken, or cannot be pulled so."""
        from gpiozero import DigitalInputDevice, GPIOZeroError

        try:
            device = DigitalInputDevice(
                line,
                pull_up={"up": True, "down": False, "none": None}[pull],
                active_state=not active_low if pull == "none" else None,
                pin_factory=self._factory,
            )
        except GPIOZeroError as error:
            raise GpioError(f"input line {line}: {error}") from error
        button = ButtonInput(device, debounce_ms)
        self._buttons.append(button)
        return button

    def close(self) -> None:
        for button in self._buttons:
            button.close()
        self._buttons.clear()
        self._factory.close()
