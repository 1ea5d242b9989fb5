"""The station itself, and what it remembers: [station], [store]."""

from typing import Annotated

from msgspec import Meta

from firmware.config import forms
from firmware.config.sections.base import Section, says


class Station(Section, frozen=True, kw_only=True):
    """The station itself."""

    name: Annotated[str, forms.SOME_TEXT, says("Name of this door, as shown to people.", "Calle Mayor 5")] = (
        "Portero"
    )
    board: Annotated[
        str,
        forms.SOME_TEXT,
        says("Board the station runs on: a folder of board/, or a path of a board.toml.", "simulated"),
    ] = "simulated"
    country: Annotated[
        str,
        forms.COUNTRY,
        says("Country whose tones (ringback, busy) the visitor hears, ISO 3166 in small letters.", "es"),
    ] = "es"
    state_dir: Annotated[
        str, forms.ABSOLUTE_PATH, says("Folder of what outlives a restart: the event store and the lock's journal.")
    ] = "/var/lib/portero"
    run_dir: Annotated[str, forms.ABSOLUTE_PATH, says("Folder of the sockets of `doorctl` and `portero-door`.")] = (
        "/run/portero"
    )


class StoreSection(Section, frozen=True, kw_only=True):
    """The store of events behind `doorctl events` and `doorctl why`."""

    max_events: Annotated[int, Meta(ge=1000, le=10_000_000), says("Events kept; the oldest go first.")] = 50_000
