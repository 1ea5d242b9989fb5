"""The board's lines and what is wired to them: opens every input and light that the configuration names.

A chip that is not there, or goes away (an expander on a cable), is a fault and nothing more: the station goes on,
and the line is tried again until it is had. Names the drivers of contacts and lights, as app.py does those of the
others; relays are not here, they are the lock process's.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from board import Input, Output
from drivers.gpio.base import GpioError, Light
from drivers.gpio.chips import open_chip
from firmware.station.faults import Faults

if TYPE_CHECKING:
    from drivers.gpio.gpiod_factory import GpiodFactory

CONSUMER = "portero"  # who has the lines, in the words of gpioinfo
RETRY_S = 5.0
REMEDY = "the station goes on without it and tries again"


class _Device(Protocol):
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Wish:
    """A line that is to be open. `where` names it in faults."""

    where: str
    pin: str
    open: "Callable[[], _Device]"


class Wiring:
    """gpiozero is imported with the first line. All of it on the loop's thread."""

    def __init__(self, driver: str, run_dir: Path, faults: Faults, loop: asyncio.AbstractEventLoop) -> None:
        self._driver = driver
        self._run_dir = run_dir
        self._faults = faults
        self._loop = loop
        self._made: GpiodFactory | None = None
        self._open: dict[str, tuple[_Wish, _Device]] = {}
        self._retries: dict[str, asyncio.TimerHandle] = {}

    def contact(
        self, where: str, line: Input, found: Callable[[bool], None], changed: Callable[[bool, float], None]
    ) -> None:
        """Watch an input. `found(active)`: how it stands, each time it is opened; `changed(active, edge_s)`."""
        from drivers.gpio.inputs import Contact

        def opened() -> _Device:
            contact = Contact(
                self._factory(),
                line.chip,
                line.line,
                active_low=line.active_low,
                pull=line.pull,
                debounce_ms=line.debounce_ms,
                on_change=changed,
            )
            try:
                found(contact.active)
            except OSError:
                contact.close()
                raise
            return contact

        self._want(_Wish(where, f"{line.chip}:{line.line}", opened))

    def light(self, where: str, line: Output, opened: Callable[[Light], None]) -> None:
        """Have a light. `opened(light)` each time it is opened; a later one takes the place of the one before."""
        from drivers.gpio.lights import LineLight

        pin = f"{line.chip}:{line.line}"

        def make() -> _Device:
            light = LineLight(
                self._factory(),
                line.chip,
                line.line,
                active_low=line.active_low,
                on_lost=partial(self.lost, pin),
            )
            opened(light)
            return light

        self._want(_Wish(where, pin, make))

    def lost(self, pin: str, error: OSError) -> None:
        """The chip of an open line failed: all of its lines are given back, so that it is opened anew."""
        if pin not in self._open:
            return
        for other in [other for other in self._open if _chip(other) == _chip(pin)]:
            wish, device = self._open.pop(other)
            device.close()
            self._later(wish, f'chip "{_chip(pin)}": {error.strerror or error}')

    def close(self) -> None:
        for timer in self._retries.values():
            timer.cancel()
        for _, device in self._open.values():
            device.close()
        self._open.clear()

    def _factory(self) -> "GpiodFactory":
        if self._made is None:
            from drivers.gpio.gpiod_factory import GpiodFactory

            chip = partial(open_chip, self._driver, run_dir=self._run_dir, consumer=CONSUMER)
            self._made = GpiodFactory(chip, self._loop, self.lost)
        return self._made

    def _want(self, wish: _Wish) -> None:
        self._retries.pop(wish.pin, None)
        try:
            self._open[wish.pin] = (wish, wish.open())
        except (GpioError, OSError) as error:
            self._later(wish, str(error))
        else:
            self._faults.clear(wish.where)

    def _later(self, wish: _Wish, what: str) -> None:
        self._faults.set(wish.where, what, REMEDY)
        self._retries[wish.pin] = self._loop.call_later(RETRY_S, self._want, wish)


def _chip(pin: str) -> str:
    return pin.rpartition(":")[0]
