"""Buttons, door contacts and tamper switches on gpiozero devices: active or not, each change with its edge's time.

Debouncing is the kernel's: what is told has rested, a glitch is not told at all.
"""

from collections.abc import Callable
from time import monotonic

from gpiozero import DigitalInputDevice, GPIOZeroError

from drivers.gpio.base import GpioError, Pull
from drivers.gpio.gpiod_factory import GpiodFactory, pin_name


class Contact:
    """One input of `factory`. `on_change` gets (active, edge's time by `time.monotonic`) on the loop's thread.

    GpioError if there is no such line, or it is taken, or the chip refuses it.
    """

    def __init__(
        self,
        factory: GpiodFactory,
        chip: str,
        line: int,
        *,
        active_low: bool,
        pull: Pull,
        debounce_ms: int,
        on_change: Callable[[bool, float], None],
    ) -> None:
        # To gpiozero, active is what the resistor does not hold; a contact that is closed at rest is the reverse.
        self._reversed = pull != "none" and active_low != (pull == "up")
        try:
            self._device = DigitalInputDevice(
                pin_name(chip, line),
                pull_up={"up": True, "down": False, "none": None}[pull],
                active_state=not active_low if pull == "none" else None,
                bounce_time=debounce_ms / 1000 or None,
                pin_factory=factory,
            )
        except (GPIOZeroError, OSError) as error:
            raise GpioError(f'chip "{chip}", line {line}: {error}') from error
        self._device.when_activated = lambda: on_change(not self._reversed, self._since(self._device.active_time))
        self._device.when_deactivated = lambda: on_change(self._reversed, self._since(self._device.inactive_time))

    @property
    def active(self) -> bool:
        """As the contacts rested last. OSError when the chip fails."""
        return bool(self._device.is_active) != self._reversed

    def close(self) -> None:
        self._device.close()

    @staticmethod
    def _since(age_s: float | None) -> float:
        """gpiozero tells for how long the state has lasted, by the edge's stamp, and not when the edge was."""
        return monotonic() - (age_s or 0.0)
