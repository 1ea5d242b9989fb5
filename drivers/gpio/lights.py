"""Lights on gpiozero's LED, blinking by the event loop's timers: no thread for a lamp."""

import asyncio
from collections.abc import Callable

from gpiozero import LED, GPIOZeroError

from drivers.gpio.base import GpioError
from drivers.gpio.gpiod_factory import GpiodFactory, pin_name


class LineLight:
    """One output of `factory`, off at first. GpioError if there is no such line, or it is taken.

    `on_lost` hears of a chip that fails; it may close the light at once.
    """

    def __init__(
        self,
        factory: GpiodFactory,
        chip: str,
        line: int,
        *,
        active_low: bool,
        on_lost: Callable[[OSError], None],
    ) -> None:
        self._loop: asyncio.AbstractEventLoop = factory.loop
        self._on_lost = on_lost
        self._timer: asyncio.TimerHandle | None = None
        try:
            self._led = LED(pin_name(chip, line), active_high=not active_low, pin_factory=factory)
        except (GPIOZeroError, OSError) as error:
            raise GpioError(f'chip "{chip}", line {line}: {error}') from error

    def steady(self, on: bool) -> None:
        self._stop()
        self._set(on)

    def blink(self, period_s: float) -> None:
        self._stop()
        self._turn(True, period_s / 2)

    def close(self) -> None:
        self._stop()
        self._led.close()  # which puts it back to off, as it began

    def _turn(self, on: bool, half_s: float) -> None:
        if self._set(on):
            self._timer = self._loop.call_later(half_s, self._turn, not on, half_s)

    def _set(self, on: bool) -> bool:
        try:
            self._led.value = on
        except OSError as error:
            self._on_lost(error)
            return False
        return True

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
