"""Lines without hardware: their levels stand in a small file, which outlives the process that drives them.

The file is what the kernel and the wire are to real lines. It keeps a line's level when its owner is killed, it
gives a line to one process at a time, and another process watches a line in it (`LineWatch`) as an oscilloscope
would, edges with their times included, or moves an input (`drive`) as a hand at its button would. Level bytes are
readable text: `.` never driven (the board's pull resistor has the line), `0` low, `1` high. Standard library alone:
the lock process imports this.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING

from drivers.gpio.base import GpioError, Pull

if TYPE_CHECKING:
    from drivers.gpio.simulated_inputs import SimulatedInput

LINES = 64
_UNDRIVEN, _LOW, _HIGH = b".01"
_EDGES = struct.Struct("=QQ")  # count of edges, monotonic nanoseconds of the last; native, the file is no exchange
_EDGES_AT = 128
_SIZE = _EDGES_AT + LINES * _EDGES.size
_EMPTY = (bytes((_UNDRIVEN,)) * LINES + b"\n").ljust(_EDGES_AT, b"\0")
LEVEL = struct.Struct("=?Q")  # high, monotonic nanoseconds
_FLOCK = struct.Struct("hhqqi")  # struct flock of fcntl(2), large file


def lines_file(label: str, run_dir: Path) -> Path:
    """Where the simulated chip of this label keeps its lines."""
    return run_dir / f"gpio-{label}.lines"


def hand_path(lines: Path, line: int) -> Path:
    """The pipe on which the owner of an input line of that file hears of its level."""
    return lines.with_name(f"{lines.name}.{line}")


class SimulatedChip:
    """The chip whose lines stand in `path`, which is made if it is not there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: dict[int, SimulatedLine | SimulatedInput] = {}
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise GpioError(f"simulated chip {path}: {error.strerror}") from error
        try:
            if os.fstat(self._fd).st_size < _SIZE:
                os.pwrite(self._fd, _EMPTY.ljust(_SIZE, b"\0"), 0)
            self._map = mmap.mmap(self._fd, _SIZE)
        except OSError as error:
            os.close(self._fd)
            raise GpioError(f"simulated chip {path}: {error.strerror}") from error

    @classmethod
    def of(cls, label: str, run_dir: Path) -> "SimulatedChip":
        return cls(lines_file(label, run_dir))

    def request_output(self, line: int, *, active_low: bool) -> "SimulatedLine":
        self._take(line)
        self._lines[line] = requested = SimulatedLine(self, self._map, line, active_low)
        return requested

    def request_input(self, line: int, *, active_low: bool, pull: Pull, debounce_ms: int) -> "SimulatedInput":
        from drivers.gpio.simulated_inputs import SimulatedInput  # it brings threads, which the lock does without

        self._take(line)
        high = self._map[line] == _HIGH or (self._map[line] == _UNDRIVEN and pull == "up")
        try:
            hand = hand_path(self._path, line)
            requested = SimulatedInput(self, line, hand, high=high, active_low=active_low, debounce_ms=debounce_ms)
        except OSError as error:
            self._lock(line, fcntl.F_UNLCK)
            raise GpioError(f"simulated chip {self._path}: line {line}: {error.strerror}") from error
        self._lines[line] = requested
        return requested

    def drive(self, line: int, high: bool) -> None:
        """Set an input's level as the wire to a button or a sensor would; its owner may be another process, or
        nobody yet."""
        stamp = LEVEL.pack(high, time.monotonic_ns())
        self._map[line] = _HIGH if high else _LOW
        with contextlib.suppress(OSError):  # nobody has requested it, or he has died since
            fd = os.open(hand_path(self._path, line), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(fd, stamp)
            finally:
                os.close(fd)

    def _take(self, line: int) -> None:
        if not 0 <= line < LINES:
            raise GpioError(f"simulated chip {self._path}: line {line} is not one of 0 to {LINES - 1}")
        if line in self._lines:
            raise GpioError(f"simulated chip {self._path}: line {line} is requested already")
        self._lock(line, fcntl.F_WRLCK)

    def close(self) -> None:
        for line in tuple(self._lines.values()):
            line.close()
        if self._fd >= 0:
            self._map.close()
            os.close(self._fd)
            self._fd = -1

    def release(self, line: int) -> None:
        """Give a closed line back, for another process to request."""
        if self._lines.pop(line, None) is not None:
            self._lock(line, fcntl.F_UNLCK)

    def _lock(self, line: int, kind: int) -> None:
        # A lock of the open file description, as the kernel's line handle is: it ends with the process, however
        # that ends, and not when a reader elsewhere in this process closes the file.
        request = _FLOCK.pack(kind, os.SEEK_SET, line, 1, 0)
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, request)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise GpioError(f"simulated chip {self._path}: another process has line {line}") from error
            raise GpioError(f"simulated chip {self._path}: line {line}: {error.strerror}") from error


class SimulatedLine:
    """One requested output. Made by `SimulatedChip.request_output`."""

    place = ""

    def __init__(self, chip: SimulatedChip, lines: mmap.mmap, line: int, active_low: bool) -> None:
        self._chip = chip
        self._map = lines
        self._line = line
        self._active = _LOW if active_low else _HIGH
        self._inactive = _HIGH if active_low else _LOW
        self._closed = False
        self.set(False)

    def set(self, active: bool) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "the line is closed")
        if active != (self._map[self._line] == self._active):
            at = _EDGES_AT + self._line * _EDGES.size
            count, _ = _EDGES.unpack_from(self._map, at)
            # Before the level: who sees that finds when it came.
            _EDGES.pack_into(self._map, at, count + 1, time.monotonic_ns())
        self._map[self._line] = self._active if active else self._inactive

    def read(self) -> bool:
        if self._closed:
            raise OSError(errno.EBADF, "the line is closed")
        return self._map[self._line] == self._active

    def close(self) -> None:
        if not self._closed:
            self.set(False)
            self._closed = True
            self._chip.release(self._line)


class LineWatch:
    """A look at a line from outside, without requesting it: from a test, a rig or a technician's tool.

    May be made before the chip's owner has started; the line is inactive until then.
    """

    def __init__(self, path: Path, line: int, *, active_low: bool = False) -> None:
        self._path = path
        self._line = line
        self._active = _LOW if active_low else _HIGH
        self._map: mmap.mmap | None = None

    @property
    def active(self) -> bool:
        lines = self._lines()
        return lines is not None and lines[self._line] == self._active

    @property
    def driven(self) -> bool:
        """Whether anybody has ever requested the line."""
        lines = self._lines()
        return lines is not None and lines[self._line] != _UNDRIVEN

    @property
    def edges(self) -> tuple[int, float]:
        """How often the line changed since the file was made, and when last (monotonic seconds, 0.0: never)."""
        lines = self._lines()
        if lines is None:
            return (0, 0.0)
        count, last_ns = _EDGES.unpack_from(lines, _EDGES_AT + self._line * _EDGES.size)
        return (count, last_ns / 1e9)

    def wait(self, active: bool, timeout_s: float) -> bool:
        """Poll each half millisecond until the line is in this state; False when the time is over before."""
        deadline_s = time.monotonic() + timeout_s
        while self.active != active:
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(0.0005)
        return True

    def close(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None

    def _lines(self) -> mmap.mmap | None:
        if self._map is None:
            try:
                with self._path.open("rb") as file:
                    if os.fstat(file.fileno()).st_size >= _SIZE:
                        self._map = mmap.mmap(file.fileno(), _SIZE, access=mmap.ACCESS_READ)
            except FileNotFoundError:
                return None
        return self._map
