"""A gpiozero pin factory on our own lines: any chip by its label, on any Linux machine.

gpiozero's lgpio factory wants a Raspberry Pi, debounces in user space, and drives an active-low output low for a
moment before its first value. Here an output's direction and level are one request, an input is requested once,
with its resistor, debounce time and edges, and edges come over the request's descriptor on the asyncio loop, with
the kernel's own stamps: gpiozero's callbacks run on the loop's thread. A pin is named "label:line"
("pinctrl-bcm2711:17"), its level is what stands at the terminal; which level is active, the device says.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from inspect import ismethod
from time import monotonic
from typing import Any
from weakref import WeakMethod

from gpiozero import Factory, Pin, PinInfo, PinInvalidFunction, PinInvalidPin, PinInvalidPull, PinSetInput

from drivers.gpio.base import Chip, InputLine, OutputLine, Pull

log = logging.getLogger(__name__)

_PULLS: dict[str, Pull] = {"up": "up", "down": "down", "floating": "none"}


def pin_name(chip: str, line: int) -> str:
    """The pin's name of a line, for gpiozero's devices."""
    return f"{chip}:{line}"


class GpiodFactory(Factory):  # type: ignore[misc]  # gpiozero ships no types
    """Pins of the chips that `open_chip` opens by label, each when its first pin is asked for.

    `on_lost` hears of a pin whose chip failed or went away; it tells nothing any more until its device is closed
    and made anew. GpioError comes from where a device is made.
    """

    def __init__(
        self,
        open_chip: Callable[[str], Chip],
        loop: asyncio.AbstractEventLoop,
        on_lost: Callable[[str, OSError], None] | None = None,
    ) -> None:
        super().__init__()
        self.loop = loop
        self.on_lost = on_lost
        self._open_chip = open_chip
        self._chips: dict[str, Chip] = {}
        self._pins: dict[str, GpiodPin] = {}

    def pin(self, name: str) -> "GpiodPin":
        if name not in self._pins:
            label, line = _split(name)
            self._pins[name] = GpiodPin(self, label, line)
        return self._pins[name]

    def chip(self, label: str) -> Chip:
        if label not in self._chips:
            self._chips[label] = self._open_chip(label)
        return self._chips[label]

    def forget(self, pin: "GpiodPin") -> None:
        """A pin was closed. With the last of a chip that goes too: it may be another when it is wanted again."""
        self._pins.pop(pin.info.name, None)
        if all(other.label != pin.label for other in self._pins.values()):
            chip = self._chips.pop(pin.label, None)
            if chip is not None:
                chip.close()

    def ticks(self) -> float:
        return monotonic()

    def ticks_diff(self, later: float, earlier: float) -> float:
        return later - earlier

    def close(self) -> None:
        for pin in tuple(self._pins.values()):
            pin.close()

    def _get_board_info(self) -> "_Board":
        return _Board()


class _Board:
    """What gpiozero asks of a board to keep two devices off one pin: the pin of a name."""

    def find_pin(self, name: str) -> Iterator[tuple[None, PinInfo]]:
        yield None, _info(*_split(name))


class GpiodPin(Pin):  # type: ignore[misc]  # as above
    """One line as gpiozero sees it. An input is requested when it is first read or watched, an output at once.

    A closed output goes back to the level it began with.
    """

    def __init__(self, factory: GpiodFactory, label: str, line: int) -> None:
        self.label = label
        self._factory = factory
        self._line_number = line
        self._info = _info(label, line)
        self._function = "input"
        self._pull = "floating"
        self._bounce: float | None = None
        self._edges = "none"
        self._when_changed: Callable[[], Callable[[float, int], None] | None] = lambda: None
        self._input: InputLine | None = None
        self._output: OutputLine | None = None
        self._begins_high = False

    def __repr__(self) -> str:
        return f"<GpiodPin {self._info.name}>"

    def close(self) -> None:
        try:
            self._give_back()
        except OSError as error:
            log.warning("%s: %s", self._info.name, error)
        self._factory.forget(self)

    def output_with_state(self, state: object) -> None:
        self._give_back()
        self._begins_high = bool(state)
        # Inactive is the level it begins with: the one step of the request, and where it returns to.
        chip = self._factory.chip(self.label)
        self._output = chip.request_output(self._line_number, active_low=self._begins_high)
        self._function = "output"

    def input_with_pull(self, pull: str) -> None:
        self._set_function("input")
        self._set_pull(pull)

    def _get_info(self) -> PinInfo:
        return self._info

    def _get_function(self) -> str:
        return self._function

    def _set_function(self, value: str) -> None:
        if value not in ("input", "output"):
            raise PinInvalidFunction(f'{self!r} has no function "{value}"; it has "input" and "output"')
        if value == self._function:
            return
        if value == "output":
            self.output_with_state(self._get_state())
        else:
            self._give_back()
            self._function = value

    def _get_state(self) -> int:
        if self._output is not None:
            return int(self._output.read() != self._begins_high)
        return int(self._requested().read())

    def _set_state(self, value: object) -> None:
        if self._output is None:
            raise PinSetInput(f"{self!r} is an input; its level comes from outside")
        if value not in (0, 1):
            raise PinInvalidFunction(f"{self!r} is low (0) or high (1), not {value}: it has no PWM")
        self._output.set(bool(value) != self._begins_high)

    def _get_pull(self) -> str:
        return self._pull

    def _set_pull(self, value: str) -> None:
        if value not in _PULLS:
            raise PinInvalidPull(f'{self!r} cannot be pulled "{value}"; write one of {", ".join(_PULLS)}')
        self._pull = value
        self._request_anew()

    def _get_frequency(self) -> None:
        return None

    def _set_frequency(self, value: float | None) -> None:
        if value is not None:
            super()._set_frequency(value)

    def _get_bounce(self) -> float | None:
        return self._bounce

    def _set_bounce(self, value: float | None) -> None:
        self._bounce = value
        self._request_anew()

    def _get_edges(self) -> str:
        return self._edges

    def _set_edges(self, value: str) -> None:
        self._edges = value
        self._requested()

    def _get_when_changed(self) -> Callable[[float, int], None] | None:
        return self._when_changed()

    def _set_when_changed(self, value: Callable[[float, int], None] | None) -> None:
        # Not held: a device that nobody has any more is to go, and its pin with it.
        self._when_changed = WeakMethod(value) if ismethod(value) else lambda: value

    def _requested(self) -> InputLine:
        if self._input is None:
            chip = self._factory.chip(self.label)
            debounce_ms = round((self._bounce or 0) * 1000)
            self._input = chip.request_input(
                self._line_number, active_low=False, pull=_PULLS[self._pull], debounce_ms=debounce_ms
            )
            self._factory.loop.add_reader(self._input.fd, self._readable)
        return self._input

    def _request_anew(self) -> None:
        if self._input is not None:
            self._give_back()
            self._requested()

    def _give_back(self) -> None:
        if self._input is not None:
            self._factory.loop.remove_reader(self._input.fd)
            self._input.close()
        output, self._input, self._output = self._output, None, None
        if output is not None:
            output.close()

    def _readable(self) -> None:
        line = self._requested()
        try:
            edges = line.edges()
        except OSError as error:
            self._factory.loop.remove_reader(line.fd)
            if self._factory.on_lost is not None:
                self._factory.on_lost(self._info.name, error)
            return
        for edge in edges:
            callback = self._when_changed()
            if callback is not None and self._edges in ("both", "rising" if edge.active else "falling"):
                try:
                    callback(edge.at_s, int(edge.active))
                except Exception:  # a callback's bug must not hide the release after its press
                    log.exception("%s: callback failed", self._info.name)


def _split(name: Any) -> tuple[str, int]:
    label, _, line = str(name).rpartition(":")
    if not label or not line.isdecimal():
        raise PinInvalidPin(f'{name!r} is no pin; write the chip\'s label and the line, as "pinctrl-bcm2711:17"')
    return label, int(line)


def _info(label: str, line: int) -> PinInfo:
    name = pin_name(label, line)
    return PinInfo(
        number=line, name=name, names=frozenset((name,)), pull="", row=1, col=1, interfaces=frozenset(("gpio",))
    )
