"""Whether a board's lines can be had: chips by label, each line free, ours, or somebody's. Requests nothing."""

import functools
import importlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.access import User
from drivers.access import check as check_access
from drivers.findings import Finding

OURS = "portero"  # a consumer of that name, or one that begins so, is the station or the lock process itself


@dataclass(frozen=True, slots=True)
class Wanted:
    """A line that the board names at `where`, for a process that runs as `user`."""

    where: str
    chip: str
    line: int
    user: User


OpenChip = Callable[[Path], Any]  # gpiod.Chip, or what looks like one


def check(
    wanted: Iterable[Wanted], devices: Path = Path("/dev"), open_chip: OpenChip | None = None
) -> Iterator[Finding]:
    if open_chip is None:
        try:
            gpiod: Any = importlib.import_module("gpiod")
        except ImportError as error:
            yield Finding("gpio.driver", f"gpiod cannot be loaded: {error}", "install gpiod 2 (PyPI gpiod)")
            return
        open_chip = functools.partial(_open, gpiod)
    chips, refused = _chips(devices, open_chip)
    try:
        seen: set[tuple[Path, str]] = set()
        for each in wanted:
            if each.chip not in chips:
                yield _missing(each, chips, refused)
                continue
            path, chip = chips[each.chip]
            if (path, each.user.name) not in seen:
                seen.add((path, each.user.name))
                yield from check_access(each.where, path, each.user)
            yield _line(each, chip)
    finally:
        for _, chip in chips.values():
            chip.close()


def _chips(devices: Path, open_chip: OpenChip) -> tuple[dict[str, tuple[Path, Any]], list[str]]:
    """Those that can be opened, by label, and what keeps the others from it."""
    found: dict[str, tuple[Path, Any]] = {}
    refused = []
    for path in sorted(devices.glob("gpiochip*")):
        try:
            chip = open_chip(path)
        except OSError as error:
            refused.append(f"{path} ({error.strerror or error})")
            continue
        label = chip.get_info().label
        if label in found:
            chip.close()
        else:
            found[label] = (path, chip)
    return found, refused


def _missing(each: Wanted, chips: Iterable[str], refused: list[str]) -> Finding:
    there = ", ".join((*(f'"{label}"' for label in chips), *refused)) or "none"
    remedy = "write the label of a chip that is there, or load the driver of this one (dmesg says what failed)"
    return Finding(each.where, f'there is no chip "{each.chip}"; present: {there}', remedy)


def _line(each: Wanted, chip: Any) -> Finding:
    place = f'line {each.line} of "{each.chip}"'
    lines = chip.get_info().num_lines
    if each.line >= lines:
        return Finding(each.where, f"there is no {place}", f"write one of 0 to {lines - 1}")
    info = chip.get_line_info(each.line)
    if not info.used:
        return Finding(each.where, f"{place} is free")
    if info.consumer.startswith(OURS):
        return Finding(each.where, f"{place} is held by {info.consumer}, as it should be")
    return Finding(
        each.where,
        f'{place} is taken by "{info.consumer or "an unnamed user"}"',
        "end that program, or disable what of the device tree uses the line, or wire to another line",
    )


def _open(gpiod: Any, path: Path) -> Any:
    return gpiod.Chip(str(path))
