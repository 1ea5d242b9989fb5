"""An input of the simulated chip, and what the kernel does for a real one: debouncing, time stamps, a descriptor.

The level comes over a pipe from whoever drives the line (`SimulatedChip.drive`), with the time of each change. A
thread stands for the kernel: as its software debouncer does (gpiolib-cdev.c), it waits until the level has rested
for the debounce time and then tells it, if it is another than was told before.
"""

import contextlib
import errno
import os
import select
import struct
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from drivers.gpio.base import Edge
from drivers.gpio.simulated import LEVEL

if TYPE_CHECKING:
    from drivers.gpio.simulated import SimulatedChip

_EDGE = struct.Struct("=?d")  # active, seconds
_MOST_EDGES = 64
_QUIT = b"q" * LEVEL.size


class SimulatedInput:
    """One requested input. Made by `SimulatedChip.request_input`, `hand` being the pipe that its level comes over.
    OSError where that cannot be made."""

    def __init__(
        self, chip: "SimulatedChip", line: int, hand: Path, *, high: bool, active_low: bool, debounce_ms: int
    ) -> None:
        self._chip = chip
        self._line = line
        self._path = hand
        self._active = not active_low
        self._debounce_ns = debounce_ms * 1_000_000
        self._rests = high  # the level as it was told last
        self._closed = False
        hand.unlink(missing_ok=True)
        os.mkfifo(hand, 0o600)
        self._hand = os.open(hand, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # its own writer: it never ends
        self._fd, self._told = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name=f"gpio-{line}", daemon=True)
        self._thread.start()

    @property
    def fd(self) -> int:
        return self._fd

    def edges(self) -> list[Edge]:
        self._check_open()
        try:
            data = os.read(self._fd, _EDGE.size * _MOST_EDGES)
        except BlockingIOError:
            return []
        return [Edge(active, at_s) for active, at_s in _EDGE.iter_unpack(data)]

    def read(self) -> bool:
        self._check_open()
        return self._rests == self._active

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._path.unlink(missing_ok=True)
        os.write(self._hand, _QUIT)
        self._thread.join()
        for fd in (self._hand, self._fd, self._told):
            os.close(fd)
        self._chip.release(self._line)

    def _check_open(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "the line is closed")

    def _run(self) -> None:
        level, due_ns = self._rests, 0  # due_ns: when the level has rested long enough; 0: nothing moved
        poller = select.poll()
        poller.register(self._hand, select.POLLIN)
        while True:
            # Rounded up, and never negative: that would be for ever.
            poller.poll(max(0.0, (due_ns - time.monotonic_ns()) / 1e6 + 0.5) if due_ns else None)
            now_ns = time.monotonic_ns()  # before reading: what was driven until now is in the pipe
            while message := self._heard():
                if message == _QUIT:
                    return
                high, at_ns = LEVEL.unpack(message)
                if due_ns and at_ns >= due_ns:
                    self._settle(level, due_ns)
                    due_ns = 0
                if high != level:
                    level, due_ns = high, at_ns + self._debounce_ns
            if due_ns and now_ns >= due_ns:
                self._settle(level, due_ns)
                due_ns = 0

    def _heard(self) -> bytes:
        try:
            return os.read(self._hand, LEVEL.size)
        except BlockingIOError:
            return b""

    def _settle(self, level: bool, at_ns: int) -> None:
        if level == self._rests:
            return
        self._rests = level
        with contextlib.suppress(BlockingIOError):  # nobody reads: as the kernel, forget some of it
            os.write(self._told, _EDGE.pack(level == self._active, at_ns / 1e9))
