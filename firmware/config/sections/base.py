"""What all tables of the configuration are made with: their base, and how a key says what it means."""

from typing import Literal

from msgspec import Meta, Struct

SoundCodec = Literal["opus", "G722", "PCMA", "PCMU", "L16"]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all tables."""


def says(description: str, *examples: object) -> Meta:
    """What a key means, and an example for the documentation."""
    return Meta(description=description, examples=list(examples))
