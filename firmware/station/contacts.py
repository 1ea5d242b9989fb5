"""Door contacts: a door that opens, closes, or is left standing open.

`door-opened` says whether the station had released the strike just before; a door that a key or the handle inside
opens is no alarm here, but it can be told apart. A door open for longer than its `held_open_s` is a fault until it
is shut.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from firmware.config import Door
from firmware.station import events
from firmware.station.events import Record
from firmware.station.faults import Faults

UNLOCKED_S = 10.0  # from the end of a pulse: strikes of some kinds stay free until the door has been opened once


@dataclass(slots=True)
class _Contact:
    door: Door
    opened_s: float | None = None  # since when it stands open
    unlocked_until_s: float = float("-inf")
    timer: asyncio.TimerHandle | None = None


class Contacts:
    """The doors that have a contact. Subscribe `take` to the stream. Times are monotonic seconds."""

    def __init__(
        self, doors: tuple[Door, ...], faults: Faults, loop: asyncio.AbstractEventLoop, now: Callable[[], float]
    ) -> None:
        self._contacts = {door.name: _Contact(door) for door in doors if door.contact is not None}
        self._faults = faults
        self._loop = loop
        self._now = now

    def found(self, door: str, is_open: bool) -> None:
        """How the door stands when its line is opened."""
        if is_open != (self._contacts[door].opened_s is not None):
            self.changed(door, is_open, self._now())

    def changed(self, door: str, is_open: bool, edge_s: float) -> None:
        contact = self._contacts[door]
        if contact.timer is not None:
            contact.timer.cancel()
            contact.timer = None
        if is_open:
            contact.opened_s = edge_s
            unlocked = edge_s <= contact.unlocked_until_s
            self._faults.stream.publish(events.DoorOpened(door=door, unlocked=unlocked))
            if contact.door.held_open_s:
                self._watch(contact)
        else:
            opened_s, contact.opened_s = contact.opened_s, None
            open_s = round(edge_s - opened_s, 1) if opened_s is not None else 0.0
            self._faults.stream.publish(events.DoorClosed(door=door, open_s=open_s))
            self._faults.clear(f"door {door}")

    def take(self, record: Record) -> None:
        match record.event:
            case events.RelayOn() as event if event.door in self._contacts:
                self._contacts[event.door].unlocked_until_s = float("inf")
            case events.RelayOff() as event if event.door in self._contacts:
                self._contacts[event.door].unlocked_until_s = record.monotonic_s + UNLOCKED_S

    def close(self) -> None:
        for contact in self._contacts.values():
            if contact.timer is not None:
                contact.timer.cancel()

    def _watch(self, contact: _Contact) -> None:
        seconds = contact.door.held_open_s
        contact.timer = self._loop.call_later(seconds, partial(self._tell_held, contact.door.name, seconds))

    def _tell_held(self, door: str, seconds: float) -> None:
        what = f"has stood open for {seconds:g} s"
        self._faults.set(f"door {door}", what, "shut it; if it is shut, see to its contact")
