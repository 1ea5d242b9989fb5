"""What the relay really did: the simulated line watched from outside, pulse by pulse."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from drivers.gpio.simulated import LineWatch


@dataclass(slots=True)
class Pulse:
    """Times of the monotonic clock; `off_s` is 0.0 while the relay is on."""

    on_s: float
    off_s: float = 0.0

    @property
    def ms(self) -> float:
        return ((self.off_s or time.monotonic()) - self.on_s) * 1000


class RelayWatcher:
    """Polls the line each millisecond in a thread of its own; edges are timed by the line's driver."""

    def __init__(self, file: Path, line: int) -> None:
        self._watch = LineWatch(file, line)
        self._pulses: list[Pulse] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay watcher", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(0.001):
            active = self._watch.active
            on = bool(self._pulses) and not self._pulses[-1].off_s
            if active and not on:
                self._pulses.append(Pulse(self._watch.edges[1]))
            elif on and not active:
                self._pulses[-1].off_s = self._watch.edges[1]

    @property
    def on(self) -> bool:
        return self._watch.active

    @property
    def pulses(self) -> list[Pulse]:
        """All pulses so far, finished or not."""
        return list(self._pulses)

    @property
    def edges(self) -> int:
        """Edges that the driver counted: none is missed by polling."""
        return self._watch.edges[0]

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(2)
        self._watch.close()
