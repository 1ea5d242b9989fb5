"""The one JSON form of events: in the store, on the control socket and from `doorctl --json`.

A record is a flat object: `seq`, `time` (Unix seconds), `monotonic_s`, `kind`, and the event's own fields. Reading
it back gives the typed event; a kind or shape that this version does not know (a store that a newer version wrote)
gives an `UnknownEvent` that carries it along. Standard library only, for `doorctl` starts with it.
"""

import dataclasses
import functools
import json
import math
import typing
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, ClassVar, Literal, get_args, get_origin

from firmware.station import events
from firmware.station.events import Event, Record

Json = dict[str, Any]

MOST_TEXT = 1500  # characters: a text message, an address; nobody reads on


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownEvent(Event):
    """An event of another version: its kind as `name`, its fields as they were."""

    kind: ClassVar[str] = "unknown"
    name: str
    press: int = 0
    fields: Json = field(default_factory=dict)


def kind_of(event: Event) -> str:
    return event.name if isinstance(event, UnknownEvent) else event.kind


def press_of(event: Event) -> int:
    """The press that the event belongs to, 0 for none."""
    press = getattr(event, "press", 0)
    return press if isinstance(press, int) else 0


def fields_of(event: Event) -> Json:
    """The event's own fields as plain JSON values, texts cut at MOST_TEXT: a peer may fill a header with 64 kB."""
    if isinstance(event, UnknownEvent):
        return event.fields
    fields: Json = _cut(dataclasses.asdict(event))
    return fields


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= MOST_TEXT else f"{value[:MOST_TEXT]}..."
    if isinstance(value, dict):
        return {key: _cut(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_cut, value))
    return value


def to_json(record: Record) -> Json:
    return {
        "seq": record.seq,
        "time": record.wall_s,
        "monotonic_s": record.monotonic_s,
        "kind": kind_of(record.event),
        **fields_of(record.event),
    }


def from_json(data: Json) -> Record:
    """The inverse of `to_json`. Raises ValueError where `data` is no record at all."""
    rest = dict(data)
    try:
        seq, wall_s = int(rest.pop("seq")), float(rest.pop("time"))
        monotonic_s, kind = float(rest.pop("monotonic_s")), str(rest.pop("kind"))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not an event record: {error!r}") from None
    return Record(seq, monotonic_s, wall_s, event_from(kind, rest))


def event_from(kind: str, fields: Json) -> Event:
    """The event of a kind with these fields; an UnknownEvent where they do not fit."""
    known = _classes().get(kind)
    if known is not None:
        try:
            event = _build(known, fields)
            assert isinstance(event, Event)
        except (KeyError, TypeError, ValueError):
            pass
        else:
            return event
    press = fields.get("press", 0)
    return UnknownEvent(name=kind, press=press if isinstance(press, int) else 0, fields=fields)


def dumps(value: object) -> str:
    """One line of JSON that is UTF-8. What JSON does not have (infinity, a path, half a surrogate pair out of some
    peer's header) is written in another way rather than refused."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"), default=str)
    return text if text.isascii() else text.encode(errors="replace").decode()


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


@functools.cache
def _classes() -> dict[str, type[Event]]:
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)]
    return {kind.kind: kind for kind in kinds if kind is not Event}


@functools.cache
def _types(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Field -> (type, whether it has to be there)."""
    hints = typing.get_type_hints(kind)
    missing = dataclasses.MISSING
    return {
        item.name: (hints[item.name], item.default is missing and item.default_factory is missing)
        for item in dataclasses.fields(kind)
    }


def _build(kind: Any, values: Json) -> Any:
    """Fields that this version does not know are left out: a newer version may have added them."""
    if not isinstance(values, dict):
        raise TypeError
    result = {}
    for name, (annotation, required) in _types(kind).items():
        if name in values:
            result[name] = _value(annotation, values[name])
        elif required:
            raise KeyError(name)
    return kind(**result)


def _value(annotation: Any, value: Any) -> Any:
    origin = get_origin(annotation)
    if origin is Literal:
        if value not in get_args(annotation):
            raise ValueError
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError
        return tuple(_value(get_args(annotation)[0], item) for item in value)
    if origin in (UnionType, typing.Union):
        if value is None:
            return None
        return _value(next(kind for kind in get_args(annotation) if kind is not type(None)), value)
    if dataclasses.is_dataclass(annotation):
        return _build(annotation, value)
    expected = origin or annotation
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        raise TypeError
    return value
