"""What is broken now: each fault is told once when it begins or changes, and once when it is mended."""

from firmware.station import events
from firmware.station.events import EventStream


class Faults:
    """Faults by the place they are at, on their way into `stream`."""

    def __init__(self, stream: EventStream) -> None:
        self.stream = stream
        self._open: dict[str, events.Fault] = {}

    def set(self, where: str, what: str, remedy: str) -> None:
        fault = events.Fault(where=where, what=what, remedy=remedy)
        if self._open.get(where) != fault:
            self._open[where] = fault
            self.stream.publish(fault)

    def unexpected(self, error: Exception) -> None:
        """A bug of ours; the station goes on ringing."""
        self.set("program", f"{type(error).__name__}: {error}", "see the journal; restart if calls fail")

    def clear(self, where: str) -> None:
        if self._open.pop(where, None) is not None:
            self.stream.publish(events.FaultCleared(where=where))
