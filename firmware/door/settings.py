"""What the lock process takes from the station's TOML file: its folders, its board, its doors.

It reads its own part with the standard library and judges nothing else: a mistake among buttons or accounts is
the station's to complain of and keeps no relay from being released. Even of a file that is no TOML at all, what
names the board and the folders is found, since a relay may be on from before.
"""

import re
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from board.tables import Complaints, Table
from firmware.door.lock import MIN_PULSE_MS, Door

LONGEST_PULSE_MS = 60_000


class SettingsError(Exception):
    """The file cannot be used; the text has a line for each problem, with file and key."""


class Settings:
    """A station file as the lock sees it: read first, its doors judged later, once the relays are released.

    `data` is what stands in it, where that has been read already; else SettingsError if it cannot be read at all.
    """

    def __init__(self, file: Path, data: bytes | None = None) -> None:
        self.file = file
        self._complaints = Complaints(file)
        try:
            self.data = file.read_bytes() if data is None else data
        except OSError as error:
            raise SettingsError(f"{file}: {error.strerror}") from error
        text = self.data.decode(errors="replace")
        try:
            self._values: dict[str, Any] = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            self._complaints.lines.append(f"{file}: {error}")
            self._values = {"station": _salvage(text)}
        station = Table(self._values, "", self._complaints).table("station")
        self.board = station.text("board", "simulated")
        self.run_dir = Path(station.text("run_dir", "/run/portero"))
        self.state_dir = Path(station.text("state_dir", "/var/lib/portero"))

    @property
    def places(self) -> tuple[str, Path, Path]:
        return self.board, self.run_dir, self.state_dir

    @property
    def spoilt(self) -> str:
        """The first thing that is wrong with the file as a whole or with [station]; empty where nothing is. A file
        that was cut off may be good TOML, or nothing at all."""
        if self._complaints.lines:
            return self._complaints.lines[0]
        if not self._values.get("buttons") and not self._values.get("doors"):
            return f"{self.file}: has neither [[buttons]] nor [[doors]]: it may be cut off"
        return ""

    def tamper(self, inputs: Collection[str]) -> str:
        """The input of the station's cover among those of the board; empty where none is configured. A name that
        is none of them is a complaint for `doors` to raise."""
        access = Table(self._values, "", self._complaints).table("access")
        if "tamper" not in access:
            return ""
        name = access.text("tamper")
        if name and name not in inputs:
            known = ", ".join(f'"{other}"' for other in inputs) or "none"
            access.complain("tamper", f'is "{name}", which is no input of the board; it has: {known}')
            return ""
        return name

    def doors(self, outputs: Collection[str]) -> dict[Door, str]:
        """The doors, each with the name of its output among the board's `outputs`. SettingsError if not."""
        relays: dict[str, str] = {}
        doors: dict[Door, str] = {}
        for n, table in enumerate(Table(self._values, "", self._complaints).tables("doors")):
            name = table.text("name")
            if any(door.name == name for door in doors):
                table.complain("name", f'is "{name}", as that of a door before; give each its own')
            relay = table.text("relay", among=outputs) if outputs else table.text("relay")
            if not outputs:
                table.complain("relay", "the board has no outputs; write them in its board.toml")
            owner = relays.setdefault(relay, f"doors[{n}]")
            if owner != f"doors[{n}]" and relay:
                table.complain("relay", f'is "{relay}", which {owner} has already')
            max_pulse_ms = table.integer("max_pulse_ms", 10_000, least=MIN_PULSE_MS, most=LONGEST_PULSE_MS)
            pulse_ms = table.integer("pulse_ms", 3000, least=MIN_PULSE_MS, most=LONGEST_PULSE_MS)
            if pulse_ms > max_pulse_ms:
                table.complain("pulse_ms", f"is {pulse_ms}, more than max_pulse_ms, {max_pulse_ms}")
            doors[Door(name, pulse_ms, max_pulse_ms)] = relay
        if self._complaints.lines:
            raise SettingsError(str(self._complaints))
        return doors


def _salvage(text: str) -> dict[str, str]:
    """Board and folders out of a file with a mistake in it, as far as they stand on lines of their own."""
    found = re.findall(r"""^\s*(board|run_dir|state_dir)\s*=\s*["']([^"']+)["']""", text, re.MULTILINE)
    return dict(reversed(found))  # the first of each, which is [station]'s
