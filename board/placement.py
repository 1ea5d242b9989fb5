"""Where a board's functions stand: one line each, on pins that bear them, with relays that stay off at power-on.

Between power-on and the first program a pin has only its chip's own pull. A relay whose active level that is would
open the door at every start, whatever the software does: it is refused here, not explained afterwards.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from board.chips import KNOWN, RASPBERRY_PI, Chip
from board.tables import Complaints, Table

_EARLY = re.compile(r"gpio=(\d{1,3}(?:-\d{1,3})?(?:,\d{1,3}(?:-\d{1,3})?)*)=([a-z0-9,]+)", re.ASCII)
COMPATIBLE = Path("/proc/device-tree/compatible")


@dataclass(frozen=True, slots=True)
class Place:
    """One function's line. `key` is its table in board.toml."""

    key: str
    chip: str
    line: int
    active_low: bool
    role: Literal["input", "relay", "light"]
    pull: str = "none"


@dataclass(frozen=True, slots=True)
class Reserved:
    """Lines that something else of the board uses."""

    name: str
    chip: str
    lines: tuple[int, ...]
    why: str


def machine(file: Path = COMPATIBLE) -> frozenset[str]:
    """What the machine is by its device tree ("brcm,bcm2711"); empty where it has none."""
    try:
        return frozenset(part.decode(errors="replace") for part in file.read_bytes().split(b"\0") if part)
    except OSError:
        return frozenset()


def chip_labels(table: Table, compatible: Collection[str]) -> dict[str, str]:
    """[chips]: a name for a chip whose label differs by machine -> its label on this one, or the first of them."""
    labels = {}
    for name in table:
        by_machine = table.table(name)
        known = {part: by_machine.text(part) for part in by_machine}
        if not known:
            table.complain(name, 'has no label; write "brcm,bcm2711" = "pinctrl-bcm2711", a line for each machine')
            continue
        here = [label for part, label in known.items() if part in compatible]
        labels[name] = here[0] if here else next(iter(known.values()))
    return labels


def reservations(table: Table, chips: Mapping[str, str]) -> tuple[Reserved, ...]:
    """[reserved.uart] and its like."""
    found = []
    for name in table:
        each = table.table(name)
        chip = each.text("chip")
        found.append(
            Reserved(name, chips.get(chip, chip), each.integers("lines", least=0, most=511), each.text("why"))
        )
        each.finish()
    return tuple(found)


def check(places: Collection[Place], reserved: Collection[Reserved], complaints: Complaints) -> None:
    owners: dict[tuple[str, int], str] = {}
    for place in places:
        owner = owners.setdefault((place.chip, place.line), place.key)
        if owner != place.key:
            complaints.add(
                f"{place.key}.line", f'is line {place.line} of "{place.chip}", which {owner} has already'
            )
        for other in reserved:
            if place.chip == other.chip and place.line in other.lines:
                complaints.add(
                    f"{place.key}.line",
                    f'is line {place.line} of "{place.chip}", which [reserved.{other.name}] keeps ({other.why}); '
                    "write a free line, or take that table out if nothing of the kind is connected",
                )
        chip = KNOWN.get(place.chip)
        if chip is not None:
            _check_chip(place, chip, complaints)


def _check_chip(place: Place, chip: Chip, complaints: Complaints) -> None:
    name = chip.line_name(place.line)
    key = f"{place.key}.line"
    if place.line in chip.taken:
        complaints.add(key, f"is {name}, which {chip.taken[place.line]}; write another line")
        return
    if place.line not in chip.header:
        complaints.add(
            key, f'is {name} of "{place.chip}", which reaches no terminal; write one of {spans(chip.header)}'
        )
        return
    if place.role == "relay":
        _check_relay(place, chip, complaints)
    if place.role == "input" and place.pull == "down" and place.line in chip.fixed_up:
        complaints.add(
            f"{place.key}.pull",
            f'is "down", but the board pulls {name} up with 1.8 kOhm; write "up" or another line',
        )


def _check_relay(place: Place, chip: Chip, complaints: Complaints) -> None:
    pull = chip.boot_pull(place.line)
    if pull != ("down" if place.active_low else "up"):
        return
    calm = chip.pulled_up if place.active_low else chip.pulled_down
    better = spans((calm & chip.header.keys()) - chip.taken.keys() - chip.fixed_up)
    better = f"one of {better}" if better else "another line of a chip that does not"
    level = "low" if place.active_low else "high"
    other = "false and a relay board for the high" if place.active_low else "true and a relay board for the low"
    complaints.add(
        f"{place.key}.line",
        f"is {chip.line_name(place.line)}, which the chip holds {level} from power-on until the lock process runs: "
        f"a relay that is active at that level opens the door at every start; write {better}, or "
        f"active_low = {other} level",
    )


def check_boot_loader(text: str, places: Collection[Place], complaints: Complaints) -> None:
    """What a Pi's config.txt does to the board's lines before Linux runs: `gpio=17,22-27=op,dl`."""
    by_line = {place.line: place for place in places if KNOWN.get(place.chip) is RASPBERRY_PI}
    for number, line in enumerate(text.splitlines(), 1):
        setting = _EARLY.fullmatch(line.strip())
        if setting is None:
            continue
        options = setting[2].split(",")
        for place in (by_line[pin] for pin in _pins(setting[1]) if pin in by_line):
            where = f"line {number}: gpio={place.line}"
            if place.role == "input" and "op" in options:
                complaints.add(
                    where, f"drives {place.key}, which its contact shorts; write gpio={place.line}=ip,pu"
                )
            elif place.role == "relay" and "op" in options:
                if ("dh" in options) != place.active_low:
                    calm = "dh" if place.active_low else "dl"
                    complaints.add(
                        where, f"switches {place.key} on at every start; write gpio={place.line}=op,{calm}"
                    )
            elif place.role == "relay" and ("pd" if place.active_low else "pu") in options:
                pull = "pu" if place.active_low else "pd"
                complaints.add(where, f"pulls {place.key} on at every start; write gpio={place.line}=ip,{pull}")


def _pins(text: str) -> list[int]:
    pins: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        pins += range(int(first), int(last or first) + 1)
    return pins


def spans(numbers: Collection[int]) -> str:
    """ "0 to 2, 4" of 0, 1, 2, 4."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]} to {part[-1]}" for part in parts)
