"""What a rig's parts can do, whatever they are made of: the seams between the tests and a rig.

Buttons and contacts are labgrid's DigitalOutputProtocol; power, reset, console and commands are its protocols too.
Times are seconds of this machine's monotonic clock.
"""

import abc
import threading
import time
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Edge:
    at_s: float
    active: bool


@dataclass(frozen=True, slots=True)
class Pulse:
    """From one edge to the next; `ended` is false where the line was still active when it was looked at."""

    began_s: float
    seconds: float
    ended: bool = True


class Trace:
    """Every edge that a line ever had, safe to write on one thread and read on another."""

    def __init__(self) -> None:
        self._edges: list[Edge] = []
        self._writing = threading.Lock()

    @property
    def active(self) -> bool:
        with self._writing:
            return bool(self._edges) and self._edges[-1].active

    def note(self, active: bool, at_s: float) -> None:
        """The level is known to be this; no edge where it was so before."""
        with self._writing:
            if active != (bool(self._edges) and self._edges[-1].active):
                self._edges.append(Edge(at_s, active))

    def pulses(self, since_s: float = float("-inf")) -> list[Pulse]:
        """The times that the line was active since then, a running one up to now."""
        with self._writing:
            edges = list(self._edges)
        now = time.monotonic()
        found: list[Pulse] = []
        for edge, following in zip_longest(edges, edges[1:]):
            end_s = following.at_s if following else now
            if edge.active and end_s > since_s:
                found.append(Pulse(edge.at_s, end_s - edge.at_s, following is not None))
        return found


class LineSenseProtocol(abc.ABC):
    """A contact that the rig watches, such as the one that switches the lock."""

    trace: Trace

    @abc.abstractmethod
    def get(self) -> bool:
        """Whether it is closed now."""


class EarProtocol(abc.ABC):
    """Hears what the visitor hears."""

    @abc.abstractmethod
    def record(self, file: Path, seconds: float) -> Path:
        """A WAV file of what comes out of the door's speaker from now on."""


class MouthProtocol(abc.ABC):
    """Speaks as the visitor does."""

    @abc.abstractmethod
    def play(self, file: Path) -> None:
        """Begin to play a WAV file before the door's microphone; returns at once."""

    @abc.abstractmethod
    def stop(self) -> None: ...


class CableProtocol(abc.ABC):
    """The network cable."""

    @abc.abstractmethod
    def plug(self, plugged: bool) -> None: ...
