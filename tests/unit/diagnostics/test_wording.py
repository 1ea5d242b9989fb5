"""Every kind of event has words of its own."""

import dataclasses
import typing
from typing import Any, Literal, get_args, get_origin

import pytest

from firmware.diagnostics.wording import describe
from firmware.station import events
from firmware.station.events import Event

KINDS = [
    kind
    for kind in vars(events).values()
    if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
]


def sample(annotation: Any) -> Any:
    if get_origin(annotation) is Literal:
        return get_args(annotation)[0]
    if annotation in (str, int, float, bool):
        return annotation(1)
    if get_origin(annotation) is tuple:
        return ("a", "b")
    if get_origin(annotation) is dict:
        return {}
    return build(annotation)


def build(kind: Any) -> Any:
    hints = typing.get_type_hints(kind)
    return kind(**{field.name: sample(hints[field.name]) for field in dataclasses.fields(kind)})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_each_kind_is_described_in_words_and_not_as_raw_fields(kind: type[Event]) -> None:
    text = describe(build(kind))
    assert text
    assert "=" not in text, "no case in firmware/diagnostics/wording.py"
    assert "{" not in text
