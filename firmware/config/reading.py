"""From the parsed TOML to the types of `sections/`, reporting every fault instead of the first.

A value that is wrong is replaced by a stand-in of its type and its path remembered, so that the rest of the file
can be read and checked in the same pass; stand-ins never leave this package: a file with faults gives no Config.
"""

import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo, fields

from firmware.config.forms import Form
from firmware.config.problems import Path, nearest
from firmware.config.secret import Secret

Report = Callable[[Path, str, str], None]  # path, what is wrong, what to write


class Wrong(Exception):
    """A value that cannot be used: what is wrong with it, what to write instead."""

    def __init__(self, what: str, write: str) -> None:
        super().__init__(what)
        self.what = what
        self.write = write


class Reader:
    """Builds Structs from tables. `report` gets each fault; `wrong` holds the paths of the stand-ins."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.wrong: set[Path] = set()

    def table(self, kind: type[Any], table: dict[str, object], path: Path) -> Any:
        """An instance of the Struct `kind`."""
        known = {info.encode_name: info for info in fields(kind)}
        for key in table:
            if key not in known:
                self._report((*path, key), *_unknown(key, known, path))
        values: dict[str, object] = {}
        for key, info in known.items():
            if key in table:
                values[info.name] = self.value(info.type, table[key], (*path, key), _example(info))
            elif info.required:
                self.wrong.add((*path, key))
                self._report((*path, key), "is missing", f"write {key} = {_example(info) or '...'}")
                values[info.name] = self._stand_in(info.type, (*path, key))
        return kind(**values)

    def value(self, annotation: Any, value: object, path: Path, example: str = "") -> Any:
        """`value` as the annotated type, or a stand-in after reporting what is wrong with it."""
        try:
            return self._value(annotation, value, path, example)
        except Wrong as wrong:
            self.wrong.add(path)
            self._report(path, wrong.what, wrong.write)
            return self._stand_in(annotation, path)

    def _value(self, annotation: Any, value: object, path: Path, example: str) -> Any:
        base, extras = unwrap(annotation)
        if isinstance(base, type) and issubclass(base, msgspec.Struct):
            if not isinstance(value, dict):
                raise Wrong(f"is {spoken(value)}, not a table", f"write [{path[-1]}] and its keys below it")
            return self.table(base, value, path)
        if get_origin(base) is tuple:
            return self._list(base, value, path, example)
        result = _scalar(base, value, path, example)
        for extra in extras:
            if isinstance(extra, msgspec.Meta):
                _within(extra, value, path)
            elif isinstance(extra, Form):
                text = result.reveal() if isinstance(result, Secret) else result
                if complaint := extra.complain(text):
                    raise Wrong(complaint[0], f"write {complaint[1]}")
        return result

    def _list(self, base: Any, value: object, path: Path, example: str) -> tuple[Any, ...]:
        items = get_args(base)
        element, _ = unwrap(items[0])
        of_tables = isinstance(element, type) and issubclass(element, msgspec.Struct)
        if not isinstance(value, list):
            header = "".join(f"{part}." for part in path[:-1] if isinstance(part, str)) + str(path[-1])
            if of_tables:
                raise Wrong("is not a list of tables", f"write [[{header}]] with two brackets")
            wrapped = f"[{literal(value)}]" if isinstance(value, str) else example
            raise Wrong(f"is {spoken(value)}, not a list", f"write {path[-1]} = {wrapped}")
        if Ellipsis not in items:
            if len(value) != len(items):
                raise Wrong(f"has {len(value)} entries, not {len(items)}", f"write {path[-1]} = {example}")
            return tuple(
                self.value(item, entry, (*path, i))
                for i, (item, entry) in enumerate(zip(items, value, strict=True))
            )
        return tuple(self.value(items[0], entry, (*path, i)) for i, entry in enumerate(value))

    def _stand_in(self, annotation: Any, path: Path) -> Any:
        base, _ = unwrap(annotation)
        if isinstance(base, type) and issubclass(base, msgspec.Struct):
            muted = Reader(lambda *_: None)
            instance = muted.table(base, {}, path)
            self.wrong |= muted.wrong
            return instance
        if get_origin(base) is tuple:
            return () if Ellipsis in get_args(base) else tuple(0 for _ in get_args(base))
        if get_origin(base) is Literal:
            return get_args(base)[0]
        return base("") if base is Secret else base()


def unwrap(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """(type without Annotated and None, the annotations)."""
    extras: tuple[Any, ...] = ()
    if get_origin(annotation) is Annotated:
        annotation, *rest = get_args(annotation)
        extras = tuple(rest)
    if get_origin(annotation) in (typing.Union, types.UnionType):
        (annotation,) = (kind for kind in get_args(annotation) if kind is not type(None))
    return annotation, extras


def literal(value: object) -> str:
    """`value` as it is written in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(literal(entry) for entry in value) + "]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def spoken(value: object) -> str:
    """What kind of value this is, in words; nothing of the value itself, which may be a secret."""
    if isinstance(value, bool):
        return "true or false"
    for kind, words in (
        (str, "a text"),
        (int, "a number"),
        (float, "a number"),
        (list, "a list"),
        (dict, "a table"),
    ):
        if isinstance(value, kind):
            return words
    return "a date or time"


def _scalar(base: Any, value: object, path: Path, example: str) -> Any:
    key = next(part for part in reversed(path) if isinstance(part, str))
    if get_origin(base) is Literal:
        choices = [str(choice) for choice in get_args(base)]
        if value in choices:
            return value
        guess = nearest(value, choices) if isinstance(value, str) else None
        shown = f'"{value}"' if isinstance(value, str) else spoken(value)
        options = " or ".join(f'"{choice}"' for choice in choices)
        raise Wrong(f"{shown} is none of {options}", f'write "{guess}"' if guess else f"write {options}")
    if base is Secret or base is str:
        if not isinstance(value, str):
            sample = '"' + ("..." if base is Secret else literal(value)) + '"'
            raise Wrong(f"is {spoken(value)}, not a text", f"write it in quotes: {key} = {sample}")
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
            raise Wrong("holds a line break or another control character", "write it on one line, without")
        return Secret(value) if base is Secret else value
    if base is bool:
        if not isinstance(value, bool):
            raise Wrong(
                f"is {spoken(value)}, not true or false", f"write {key} = true, or {key} = false, without quotes"
            )
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        sample = _number_in(value) or example or "10"
        raise Wrong(f"is {spoken(value)}, not a number", f"write {key} = {sample}")
    if base is int:
        if value != int(value) if abs(value) < 1e18 else True:
            raise Wrong(
                f"{value} is not a whole number", f"write {key} = {round(value) if abs(value) < 1e18 else 1}"
            )
        return int(value)
    if value != value or abs(value) > 1e12:
        raise Wrong(f"{value} is not a usable number", f"write {key} = {example or '10'}")
    return float(value)


def _number_in(value: object) -> str:
    """The number that a text like "30s" or "30" was meant to be."""
    if not isinstance(value, str):
        return ""
    digits = value.strip().rstrip(" smin.")
    return digits if digits.isascii() and digits.isdigit() else ""


def _within(meta: msgspec.Meta, value: object, path: Path) -> None:
    if not isinstance(value, int | float):
        return
    key = next(part for part in reversed(path) if isinstance(part, str))
    if meta.gt is not None and value <= meta.gt:
        raise Wrong(
            f"{value} is not more than {literal(meta.gt)}", f"write {key} = a number above {literal(meta.gt)}"
        )
    if meta.ge is not None and value < meta.ge:
        raise Wrong(
            f"{literal(value)} is less than {literal(meta.ge)}", f"write {key} = {literal(meta.ge)} or more"
        )
    if meta.le is not None and value > meta.le:
        raise Wrong(
            f"{literal(value)} is more than {literal(meta.le)}", f"write {key} = {literal(meta.le)} or less"
        )


def _unknown(key: str, known: dict[str, FieldInfo], path: Path) -> tuple[str, str]:
    guess = nearest(key, known)
    if guess is None and key.rstrip("s") + "s" in known:
        guess = key.rstrip("s") + "s"
    if guess is not None:
        return "is not a key of this table", f"did you mean {guess}?"
    return "is not a key of this table", "known here: " + ", ".join(known)


def _example(info: FieldInfo) -> str:
    _, extras = unwrap(info.type)
    for extra in extras:
        if isinstance(extra, msgspec.Meta) and extra.examples:
            return literal(extra.examples[0])
    if info.default is not msgspec.NODEFAULT and info.default is not None:
        return literal(info.default)
    return ""
