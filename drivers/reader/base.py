"""Readers of cards and tags, and keypads, as the station is to see them.

Whatever the wire (Wiegand's two lines, RS-485, SPI), a reader says that a credential was shown and when, and a
keypad that a key went down. Neither decides anything. Callbacks come on the event loop's thread, hand over and
return; of several set, the last counts.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

Verdict = Literal["granted", "refused"]
KEYS = "0123456789*#"


class ReaderError(Exception):
    """A reader or keypad cannot be opened, or sends what cannot be a credential; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A card or tag as its reader sent it, shown at `at_s` (seconds of `time.monotonic`).

    `number` has `bits` significant bits, most significant first: of Wiegand the frame without its parity bits,
    which the driver has checked; of RFID the UID. Two cards may have one number at different lengths, so both tell
    one from the other. It is a key to the house: it stands in no log, hence not in the `repr`.
    """

    number: int = field(repr=False)
    bits: int
    at_s: float

    def __post_init__(self) -> None:
        if self.bits < 1 or not 0 <= self.number < 1 << self.bits:
            raise ReaderError(f"a credential of {self.bits} bits does not fit into them")


class Reader(Protocol):
    """A card or tag reader."""

    def on_credential(self, callback: Callable[[Credential], None]) -> None:
        """Called once for each time that one is shown, not again while it is held there."""

    def signal(self, verdict: Verdict) -> None:
        """Let the reader's light and beeper say what came of it. Returns at once."""

    def close(self) -> None: ...


class Keypad(Protocol):
    """A keypad: each key as it goes down, one of KEYS, with its time (seconds of `time.monotonic`)."""

    def on_key(self, callback: Callable[[str, float], None]) -> None: ...

    def signal(self, verdict: Verdict) -> None:
        """As a reader's."""

    def close(self) -> None: ...
