"""What the lock process needs of an output line, and nothing more.

A line is active or inactive; which level that is at the terminal, the request says. Requesting a line drives it
inactive in one step with the change of direction, so that a relay never sees a level nobody meant. The kernel
decides what a line does after its owner died without closing it: mainline lets go of it, the Raspberry Pi's own
kernels leave it as it was. So whoever starts next requests it before anything else.
"""

from typing import Protocol


class GpioError(Exception):
    """A chip or line cannot be used; the text says which and why."""


class OutputLine(Protocol):
    """A line that this process drives, alone. Every method returns at once; OSError when the chip fails."""

    def set(self, active: bool) -> None: ...

    def read(self) -> bool:
        """Whether the line is active now, read back from the chip and not from what was set."""

    def close(self) -> None:
        """Set it inactive and give it back. A second call does nothing."""


class OutputChip(Protocol):
    def request_output(self, line: int, *, active_low: bool) -> OutputLine:
        """Take the line and drive it inactive. GpioError if there is none, or another process has it."""

    def close(self) -> None:
        """Close all its lines, then the chip."""
