"""The header fields of one message (RFC 3261 section 7.3): ordered lines of text, and what was read from them.

A typed value is read when it is first asked for and kept until its field changes, so that a message costs what
its reader uses. Which types there are is `message.py`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from firmware.sip.abnf import split_list, token
from firmware.sip.errors import LocalProtocolError
from firmware.sip.headers import CANONICAL, LIST_FIELDS, canonical_name

_T = TypeVar("_T")
_MISSING = object()


class Headers:
    """Header fields in order, names without regard to case and with compact forms expanded; values are text."""

    __slots__ = ("_fields", "_typed")

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields: list[tuple[str, str]] = []
        self._typed: dict[str, Any] = {}
        for name, value in fields:
            self.add(name, value)

    @classmethod
    def received(cls, fields: list[tuple[str, str]]) -> Headers:
        """Take `fields` over as they are: names canonical already, values one line each."""
        headers = cls.__new__(cls)
        headers._fields = fields
        headers._typed = {}
        return headers

    def get(self, name: str) -> str | None:
        """The first line's value of field `name`, or None."""
        name = CANONICAL.get(name) or canonical_name(name)
        for key, value in self._fields:
            if key == name:
                return value
        return None

    def get_all(self, name: str) -> list[str]:
        """The value of every line of field `name`, lists unsplit."""
        name = CANONICAL.get(name) or canonical_name(name)
        return [value for key, value in self._fields if key == name]

    def values(self, name: str) -> list[str]:
        """Every value of field `name`, comma-separated lists split where the field is one."""
        name = CANONICAL.get(name) or canonical_name(name)
        lines = [value for key, value in self._fields if key == name]
        if name not in LIST_FIELDS:
            return lines
        return [item for line in lines for item in split_list(line)]

    def add(self, name: str, value: str) -> None:
        """Append a line. LocalProtocolError if it would break into two."""
        name = CANONICAL.get(name) or canonical_name(name)
        self._check(name, value)
        self._typed.pop(name, None)
        self._fields.append((name, value))

    def prepend(self, name: str, value: str) -> None:
        """Put a line before all others of its name (Via, Record-Route), or first of all."""
        name = canonical_name(name)
        self._check(name, value)
        self._typed.pop(name, None)
        at = next((index for index, (key, _) in enumerate(self._fields) if key == name), 0)
        self._fields.insert(at, (name, value))

    def set(self, name: str, value: str) -> None:
        """Make `value` the only line of field `name`, in the first one's place."""
        name = canonical_name(name)
        self._check(name, value)
        self._typed.pop(name, None)
        fields: list[tuple[str, str]] = []
        placed = False
        for field in self._fields:
            if field[0] != name:
                fields.append(field)
            elif not placed:
                fields.append((name, value))
                placed = True
        if not placed:
            fields.append((name, value))
        self._fields = fields

    def remove(self, name: str) -> None:
        """Drop every line of field `name`; none is no error."""
        name = canonical_name(name)
        self._typed.pop(name, None)
        self._fields = [field for field in self._fields if field[0] != name]

    def copy(self) -> Headers:
        return Headers.received(list(self._fields))

    def typed(self, name: str, read: Callable[[list[str]], _T]) -> _T:
        """`read(lines of field name)`, kept until the field changes. `name` is canonical."""
        value: _T = self._typed.get(name, _MISSING)
        if value is _MISSING:
            value = self._typed[name] = read([text for key, text in self._fields if key == name])
        return value

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._fields == other._fields

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Headers({[name for name, _ in self._fields]})"  # values may be secrets

    @staticmethod
    def _check(name: str, value: str) -> None:
        if not token.fullmatch(name):
            raise LocalProtocolError(f"not a header name: {name!r}")
        if "\r" in value or "\n" in value:
            raise LocalProtocolError(f"line break in the header field {name}")
