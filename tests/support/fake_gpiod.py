"""gpiod's two classes that open something, over the simulated chip: for tests of what stands on gpiod.

Settings, values, events and errors are gpiod's own. Chips stand as empty files in a folder given as /dev; behind
each is a `SimulatedChip`, which debounces and stamps as the kernel does, so a test moves lines and looks at them
there. Only what the driver asks for exists.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import gpiod
import pytest
from gpiod.line import Direction, Value

from drivers.gpio.base import GpioError, InputLine, OutputLine
from drivers.gpio.simulated import SimulatedChip


@dataclass
class World:
    """The chips of one machine: label, number of lines, and the file of their levels, by device."""

    folder: Path
    chips: dict[str, tuple[str, int]]
    gone: set[str]  # labels of chips that were pulled out
    holders: dict[tuple[str, int], str]  # (label, line) -> who has it, others than us
    requests: list[tuple[str, int, gpiod.LineSettings]]  # everything that was asked of the kernel, in order
    opened: list[SimulatedChip]

    @property
    def devices(self) -> Path:
        return self.folder / "dev"

    def lines(self, label: str) -> Path:
        return self.folder / f"{label}.lines"


@contextmanager
def machine(folder: Path, chips: dict[str, int]) -> Iterator[World]:
    """A machine with these chips (label and number of lines), as /dev/gpiochip0, 1 ..."""
    named = {f"gpiochip{n}": (label, lines) for n, (label, lines) in enumerate(chips.items())}
    world = World(folder, named, set(), {}, [], [])
    world.devices.mkdir()
    for name in named:
        (world.devices / name).touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpiod, "Chip", lambda path: _Chip(world, Path(path)))
        yield world
    for chip in world.opened:
        chip.close()


class _Chip:
    def __init__(self, world: World, path: Path) -> None:
        path.open("rb").close()  # PermissionError, FileNotFoundError as the kernel's
        self._world = world
        self.path = str(path)
        self.label, self._lines = world.chips[path.name]
        if self.label in world.gone:
            raise OSError(errno.ENODEV, "No such device")
        self._simulated = SimulatedChip(world.lines(self.label))
        world.opened.append(self._simulated)

    def __enter__(self) -> "_Chip":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lines that were requested live on without their chip, as the kernel's do; only the folder knows them."""

    def get_info(self) -> SimpleNamespace:
        return SimpleNamespace(label=self.label, name="gpiochip", num_lines=self._lines)

    def get_line_info(self, line: int) -> SimpleNamespace:
        holder = self._world.holders.get((self.label, line), "")
        return SimpleNamespace(consumer=holder, used=bool(holder))

    def request_lines(
        self, config: dict[int, gpiod.LineSettings], consumer: str, event_buffer_size: int
    ) -> "_Request":
        ((line, settings),) = config.items()
        self._world.requests.append((self.label, line, settings))
        if (self.label, line) in self._world.holders:
            raise OSError(errno.EBUSY, "Device or resource busy")
        if settings.direction is Direction.OUTPUT and settings.edge_detection is not gpiod.line.Edge.NONE:
            raise ValueError(errno.EINVAL, "Invalid argument")
        try:
            taken = self._take(line, settings)
        except GpioError as error:
            raise OSError(errno.EBUSY, "Device or resource busy") from error
        self._world.holders[self.label, line] = consumer
        output = settings.direction is Direction.OUTPUT
        release = partial(self._simulated.release, line) if output else taken.close
        return _Request(self._world, self.label, line, taken, release)

    def _take(self, line: int, settings: gpiod.LineSettings) -> InputLine | OutputLine:
        if settings.direction is Direction.OUTPUT:
            assert settings.output_value is Value.INACTIVE, "the simulated chip begins inactive"
            return self._simulated.request_output(line, active_low=settings.active_low)
        pull = {gpiod.line.Bias.PULL_UP: "up", gpiod.line.Bias.PULL_DOWN: "down"}.get(settings.bias, "none")
        return self._simulated.request_input(
            line,
            active_low=settings.active_low,
            pull=pull,  # type: ignore[arg-type]
            debounce_ms=round(settings.debounce_period.total_seconds() * 1000),
        )


class _Request:
    """A `gpiod.LineRequest` of one line. Released, it leaves an output's level as it is, as PL061 does."""

    def __init__(
        self,
        world: World,
        label: str,
        line: int,
        taken: InputLine | OutputLine,
        release: Callable[[], None],
    ) -> None:
        self._release = release
        self._world = world
        self._label = label
        self._line = line
        self._taken: InputLine | OutputLine | None = taken

    def __bool__(self) -> bool:
        return self._taken is not None

    @property
    def fd(self) -> int:
        return self._there().fd

    def set_value(self, line: int, value: Value) -> None:
        self._there().set(bool(value))

    def get_value(self, line: int) -> Value:
        return Value.ACTIVE if self._there().read() else Value.INACTIVE

    def read_edge_events(self, max_events: int) -> list[gpiod.EdgeEvent]:
        told = self._there().edges()
        if not told:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return [gpiod.EdgeEvent(1 if edge.active else 2, round(edge.at_s * 1e9), self._line, 1, 1) for edge in told]

    def release(self) -> None:
        if self._taken is not None:
            self._release()
            self._taken = None
            del self._world.holders[self._label, self._line]

    def _there(self):
        if self._taken is None:
            raise gpiod.RequestReleasedError
        if self._label in self._world.gone:
            raise OSError(errno.ENODEV, "No such device")
        return self._taken
