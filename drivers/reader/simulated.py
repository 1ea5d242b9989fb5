"""A reader and a keypad without hardware, in memory: a test, or a demonstration, shows cards and presses keys."""

from collections.abc import Callable
from time import monotonic

from drivers.reader.base import KEYS, Credential, ReaderError, Verdict


class SimulatedReader:
    """`signals` is what the reader's light has said so far."""

    def __init__(self) -> None:
        self.signals: list[Verdict] = []
        self._callback: Callable[[Credential], None] | None = None
        self._held: tuple[int, int] | None = None

    def on_credential(self, callback: Callable[[Credential], None]) -> None:
        self._callback = callback

    def signal(self, verdict: Verdict) -> None:
        self.signals.append(verdict)

    def close(self) -> None:
        self._callback = None

    def show(self, number: int, bits: int) -> None:
        """Hold a card before the reader, until `take_away` or another card. ReaderError for one that cannot be."""
        credential = Credential(number, bits, monotonic())
        if self._held != (number, bits) and self._callback is not None:
            self._callback(credential)
        self._held = (number, bits)

    def take_away(self) -> None:
        self._held = None


class SimulatedKeypad:
    """`signals` as a reader's."""

    def __init__(self) -> None:
        self.signals: list[Verdict] = []
        self._callback: Callable[[str, float], None] | None = None

    def on_key(self, callback: Callable[[str, float], None]) -> None:
        self._callback = callback

    def signal(self, verdict: Verdict) -> None:
        self.signals.append(verdict)

    def close(self) -> None:
        self._callback = None

    def type(self, keys: str) -> None:
        """Press one key after another. ReaderError for a key that keypads do not have."""
        for key in keys:
            if key not in KEYS:
                raise ReaderError(f'a keypad has no key "{key}"; it has {KEYS}')
            if self._callback is not None:
                self._callback(key, monotonic())
