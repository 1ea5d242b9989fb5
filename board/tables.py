"""Reading typed values out of TOML tables, with complaints that name the file and the key.

For the two readers that must do without third-party code, the boards and the lock process: complaints are
collected, so that one run shows them all; unknown keys are complained of where a table is read whole.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any


class Complaints:
    """What is wrong with one file, a line each: `file: key.path: what is wrong; write ...`."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines: list[str] = []

    def add(self, key: str, text: str) -> None:
        self.lines.append(f"{self.file}: {key}: {text}")

    def __str__(self) -> str:
        return "\n".join(self.lines)


class Table:
    """One TOML table at `path` ("outputs.relay1"). A getter complains of a bad value and returns the default."""

    def __init__(self, values: Any, path: str, complaints: Complaints) -> None:
        self._path = path
        self._complaints = complaints
        self._read: set[str] = set()
        self._values: dict[str, Any] = values if isinstance(values, dict) else {}
        self._usable = isinstance(values, dict)  # one complaint is enough for what is no table at all
        if not self._usable:
            complaints.add(path, f"is {_kind(values)}; write it as a table, [{path}]")

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def complain(self, key: str, text: str) -> None:
        if self._usable:
            self._complaints.add(f"{self._path}.{key}" if self._path else key, text)

    def table(self, key: str) -> "Table":
        """A table within; empty where it is left out."""
        self._read.add(key)
        return Table(self._values.get(key, {}), f"{self._path}.{key}" if self._path else key, self._complaints)

    def tables(self, key: str) -> "list[Table]":
        """An array of tables, [[key]]; empty where it is left out."""
        values = self._values.get(key, [])
        self._read.add(key)
        if not isinstance(values, list):
            self.complain(key, f"is {_kind(values)}; write each as [[{key}]]")
            return []
        return [Table(value, f"{key}[{n}]", self._complaints) for n, value in enumerate(values)]

    def text(self, key: str, default: str | None = None, *, among: Collection[str] = ()) -> str:
        value = self._take(key, default)
        if not isinstance(value, str) or not value:
            self._wrong(key, value, f"one of {_list(among)}" if among else "a text in quotes")
            return default or ""
        if among and value not in among:
            self._wrong(key, value, f"one of {_list(among)}")
            return default or value
        return value

    def integer(self, key: str, default: int | None = None, *, least: int, most: int) -> int:
        value = self._take(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            self._wrong(key, value, f"a whole number from {least} to {most}")
            return least if default is None else default
        return value

    def integers(self, key: str, *, least: int, most: int) -> tuple[int, ...]:
        value = self._take(key, None)
        if isinstance(value, list) and value:
            whole = [part for part in value if isinstance(part, int) and least <= part <= most]
            if len(whole) == len(value):
                return tuple(whole)
        self._wrong(key, value, f"a list of whole numbers from {least} to {most}")
        return ()

    def number(self, key: str, default: float, *, least: float, most: float) -> float:
        value = self._take(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
            self._wrong(key, value, f"a number from {least:g} to {most:g}")
            return default
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._take(key, default)
        if not isinstance(value, bool):
            self._wrong(key, value, "true or false")
            return default
        return value

    def finish(self) -> None:
        """Complain of every key that nobody asked for."""
        for key in self._values.keys() - self._read:
            self.complain(key, f"is not known here{_guess(key, self._read)}")

    def _take(self, key: str, default: object) -> object:
        self._read.add(key)
        return self._values.get(key, default)

    def _wrong(self, key: str, value: object, wanted: str) -> None:
        found = "is missing" if value is None else f"is {_kind(value)}"
        self.complain(key, f"{found}; write {wanted}")


def _guess(key: str, known: Collection[str]) -> str:
    from difflib import get_close_matches  # only where something is wrong: its import is felt at every start

    near = get_close_matches(key, known, 1)
    return f'; did you mean "{near[0]}"?' if near else f"; known are {_list(known)}"


def _list(words: Collection[str]) -> str:
    return ", ".join(f'"{word}"' for word in sorted(words))


def _kind(value: object) -> str:
    """The value as it stands, where it is short; never a table's content."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value[:60]}"'
        case int() | float():
            return str(value)[:60]
        case dict():
            return "a table"
        case list():
            return "a list"
        case _:
            return f"a {type(value).__name__}"
