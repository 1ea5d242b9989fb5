"""Lines of a real chip, through the kernel's GPIO character device, version 2 (libgpiod v2, its Python package).

The thin layer that the lock process and the gpiozero pin factory share. Direction, polarity, level, bias, debounce
time and edges go to the kernel in one request, so nothing is driven for a moment that nobody meant; the kernel
debounces, and stamps edges with the monotonic clock. A chip is found by its label: gpiochip numbers change from one
kernel to the next. Standard library and gpiod only, for the lock process imports this.
"""

import contextlib
import errno
import os
from datetime import timedelta
from pathlib import Path

import gpiod
from gpiod.line import Bias, Clock, Direction, Value
from gpiod.line import Edge as Edges

from drivers.gpio.base import Edge, GpioError, Pull

EVENT_BUFFER = 64  # edges that the kernel keeps for us; then it drops the oldest
_DEVICES = Path("/dev")
_BIAS = {"up": Bias.PULL_UP, "down": Bias.PULL_DOWN, "none": Bias.DISABLED}
_RISING = gpiod.EdgeEvent.Type.RISING_EDGE


def labels(devices: Path = _DEVICES) -> dict[str, Path]:
    """The chips of this machine that this process may open, by label."""
    found: dict[str, Path] = {}
    for path in sorted(devices.glob("gpiochip*")):
        with contextlib.suppress(OSError), gpiod.Chip(str(path)) as chip:
            found.setdefault(chip.get_info().label, path)
    return found


class KernelChip:
    """The chip of this label. GpioError if there is none, or it may not be opened. `consumer` is what others see as
    the owner of the lines that are requested (gpioinfo)."""

    def __init__(self, label: str, consumer: str, devices: Path = _DEVICES) -> None:
        self._label = label
        self._consumer = consumer
        self._chip = _open(label, devices)
        self._lines: list[KernelOutput | KernelInput] = []

    def request_output(self, line: int, *, active_low: bool) -> "KernelOutput":
        settings = gpiod.LineSettings(
            direction=Direction.OUTPUT, active_low=active_low, output_value=Value.INACTIVE
        )
        requested = KernelOutput(self._request(line, settings), line, f"{self._chip.path} {line} {active_low:d}")
        self._lines.append(requested)
        return requested

    def request_input(self, line: int, *, active_low: bool, pull: Pull, debounce_ms: int) -> "KernelInput":
        settings = gpiod.LineSettings(
            direction=Direction.INPUT,
            active_low=active_low,
            bias=_BIAS[pull],
            debounce_period=timedelta(milliseconds=debounce_ms),
            edge_detection=Edges.BOTH,
            event_clock=Clock.MONOTONIC,
        )
        requested = KernelInput(self._request(line, settings), line)
        self._lines.append(requested)
        return requested

    def close(self) -> None:
        """Close all its lines, then the chip. OSError where one of them could not be set inactive first."""
        failed: list[OSError] = []
        for line in self._lines:
            try:
                line.close()
            except OSError as error:
                failed.append(error)
        self._lines.clear()
        self._chip.close()
        if failed:
            raise failed[0]

    def _request(self, line: int, settings: gpiod.LineSettings) -> gpiod.LineRequest:
        lines = self._chip.get_info().num_lines
        if not 0 <= line < lines:
            raise GpioError(f'chip "{self._label}" has no line {line}; write one of 0 to {lines - 1}')
        try:
            return self._chip.request_lines({line: settings}, self._consumer, EVENT_BUFFER)
        except (OSError, ValueError, NotImplementedError) as error:  # the latter are gpiod's EINVAL, EOPNOTSUPP
            raise GpioError(f'chip "{self._label}", line {line}: {self._reason(line, error)}') from error

    def _reason(self, line: int, error: Exception) -> str:
        if not isinstance(error, OSError) or error.errno != errno.EBUSY:
            return f"the chip refuses it: {error}"
        holder = ""
        with contextlib.suppress(OSError):
            holder = self._chip.get_line_info(line).consumer
        return (
            f'taken by "{holder or "an unnamed user"}" already; end that program, or disable what of the device '
            "tree uses the line (gpioinfo shows all), or wire to another line"
        )


class KernelOutput:
    """One requested output. Made by `KernelChip.request_output`."""

    def __init__(self, request: gpiod.LineRequest, line: int, place: str) -> None:
        self._request = request
        self._line = line
        self.place = place

    def set(self, active: bool) -> None:
        _check_open(self._request)
        self._request.set_value(self._line, Value.ACTIVE if active else Value.INACTIVE)

    def read(self) -> bool:
        _check_open(self._request)
        return bool(self._request.get_value(self._line))

    def close(self) -> None:
        if not self._request:
            return
        try:
            self.set(False)
        finally:
            self._request.release()


class KernelInput:
    """One requested input. Made by `KernelChip.request_input`."""

    def __init__(self, request: gpiod.LineRequest, line: int) -> None:
        self._request = request
        self._line = line
        os.set_blocking(request.fd, False)

    @property
    def fd(self) -> int:
        return self._request.fd

    def edges(self) -> list[Edge]:
        _check_open(self._request)
        try:
            told = self._request.read_edge_events(EVENT_BUFFER)
        except BlockingIOError:
            return []
        return [Edge(event.event_type is _RISING, event.timestamp_ns / 1e9) for event in told]

    def read(self) -> bool:
        _check_open(self._request)
        return bool(self._request.get_value(self._line))

    def close(self) -> None:
        self._request.release()


def _check_open(request: gpiod.LineRequest) -> None:
    if not request:
        raise OSError(errno.EBADF, "the line is closed")


def _open(label: str, devices: Path) -> gpiod.Chip:
    """Several chips of one label (two expanders of a kind): the first by its device's name."""
    others: list[str] = []
    refused: list[str] = []
    for path in sorted(devices.glob("gpiochip*")):
        try:
            chip = gpiod.Chip(str(path))
        except OSError as error:  # gone meanwhile, or not ours to open
            refused.append(f"{path}: {error.strerror or error}")
            continue
        found = chip.get_info().label
        if found == label:
            return chip
        others.append(f'"{found}"')
        chip.close()
    if refused:
        remedy = "; let this user into the group of /dev/gpiochip*"
    elif others:
        remedy = "; correct it in board.toml, or load the driver of that chip"
    else:
        remedy = "; is this the right board, and its driver loaded?"
    known = ", ".join(others) or "no chips"
    raise GpioError(f'there is no chip "{label}"; there is {", ".join((known, *refused))}{remedy}')
