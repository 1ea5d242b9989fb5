"""What the station and the lock process need of lines, and nothing more.

A line is active or inactive; which level that is at the terminal, the request says. Requesting an output drives it
inactive in one step with the change of direction, so that a relay never sees a level nobody meant. The kernel
decides what a line does after its owner died without closing it: mainline lets go of it, the Raspberry Pi's own
kernels leave it as it was. So whoever starts next requests it before anything else.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

Pull = Literal["up", "down", "none"]


class GpioError(Exception):
    """A chip or line cannot be used; the text says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A line went `active` or inactive, at `at_s` (seconds of `time.monotonic`, the kernel's own stamp).

    With a debounce time that is when the contacts had rested for so long.
    """

    active: bool
    at_s: float


class OutputLine(Protocol):
    """A line that this process drives, alone. Every method returns at once; OSError when the chip fails."""

    place: str  # for release.py: device, number, 1 for active low; empty where there is no kernel to ask

    def set(self, active: bool) -> None: ...

    def read(self) -> bool:
        """Whether the line is active now, read back from the chip and not from what was set."""

    def close(self) -> None:
        """Set it inactive and give it back. A second call does nothing."""


class InputLine(Protocol):
    """A line that this process watches, alone. Nothing here blocks; OSError when the chip fails or is gone."""

    @property
    def fd(self) -> int:
        """Readable while `edges` has something to tell."""

    def edges(self) -> list[Edge]:
        """What happened since the last call, oldest first; empty for nothing. Of a flood the oldest are lost."""

    def read(self) -> bool:
        """Whether the line is active now; with a debounce time, as it last came to rest."""

    def close(self) -> None:
        """Give it back. A second call does nothing."""


class Light(Protocol):
    """A light at a button. A chip that fails is told to who opened the light, and raises nothing here."""

    def steady(self, on: bool) -> None: ...

    def blink(self, period_s: float) -> None:
        """On and off, half of the period each, until it is told otherwise."""

    def close(self) -> None:
        """Off."""


class OutputChip(Protocol):
    def request_output(self, line: int, *, active_low: bool) -> OutputLine:
        """Take the line and drive it inactive. GpioError if there is none, or somebody has it."""

    def close(self) -> None:
        """Close all its lines, then the chip."""


class Chip(OutputChip, Protocol):
    def request_input(self, line: int, *, active_low: bool, pull: Pull, debounce_ms: int) -> InputLine:
        """Take the line and watch it. Changes shorter than `debounce_ms` are not told. A chip without resistors
        of its own ignores `pull`. GpioError as for an output."""
