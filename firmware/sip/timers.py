"""The durations of RFC 3261 table 4 and RFC 6026, and the one schedule that keeps every alarm of a core.

No clock here: the shell asks for the earliest deadline and says when it has come.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True, slots=True)
class Timers:
    """Base durations in seconds; the lettered timers follow from them."""

    t1_s: float = 0.5  # round trip estimate
    t2_s: float = 4.0  # longest wait between repeats of a non-INVITE request or an INVITE response
    t4_s: float = 5.0  # how long a message stays in the network
    d_s: float = 32.0  # Timer D: wait for repeats of the response we have ACKed (unreliable transports)
    trying_s: float = 0.2  # an INVITE unanswered for so long gets a 100 (17.2.1)
    tcp_probe_s: float = 0.5  # a large request waits so long for a TCP connection before it goes by UDP
    next_target_s: float = 4.0  # 8*T1: silent for four transmissions, a server gets company (RFC 3263 4.3)
    ringing_repeat_s: float = 60.0  # unreliable 180 and 183 are repeated for proxies' Timer C (13.3.1.1)

    @property
    def transaction_s(self) -> float:
        """64*T1: Timers B, F, H, J, L, M and the wait for an ACK."""
        return 64 * self.t1_s


class Alarm:
    """One scheduled call. Cancelling twice, or after it rang, does nothing."""

    __slots__ = ("_ring", "when")

    def __init__(self, when: float, ring: Callable[[float], None]) -> None:
        self.when = when
        self._ring: Callable[[float], None] | None = ring

    def cancel(self) -> None:
        self._ring = None

    @property
    def active(self) -> bool:
        return self._ring is not None

    @property
    def rings(self) -> Callable[[float], None] | None:
        """What will be called; None once it was, or is not to be."""
        return self._ring

    def ring(self, now: float) -> None:
        ring, self._ring = self._ring, None
        if ring is not None:
            ring(now)


def nobody(now: float) -> None:
    """Rung for when whoever was to hear of it is gone: holds nothing of a call that is over."""


class Schedule:
    """Alarms in order of time, first set first rung among equals."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Alarm]] = []
        self._order = count()
        self._sweep_at = 1024
        self.on_ring: Callable[[Alarm], None] | None = None  # hears of each alarm just before it rings

    def set(self, when: float, ring: Callable[[float], None]) -> Alarm:
        alarm = Alarm(when, ring)
        heapq.heappush(self._heap, (when, next(self._order), alarm))
        if len(self._heap) > self._sweep_at:
            # Cancelled alarms lie in the heap until their time; a flood must not make that a leak.
            self._heap = [entry for entry in self._heap if entry[2].active]
            heapq.heapify(self._heap)
            self._sweep_at = max(1024, 2 * len(self._heap))
        return alarm

    def next_deadline(self) -> float | None:
        self._drop_cancelled()
        return self._heap[0][0] if self._heap else None

    def ring_due(self, now: float) -> None:
        """Ring what is due. An alarm set for `now` while ringing rings too."""
        while True:
            self._drop_cancelled()
            if not self._heap or self._heap[0][0] > now:
                return
            alarm = heapq.heappop(self._heap)[2]
            if self.on_ring is not None:
                self.on_ring(alarm)
            alarm.ring(now)

    def __len__(self) -> int:
        return sum(1 for _, _, alarm in self._heap if alarm.active)

    def _drop_cancelled(self) -> None:
        while self._heap and not self._heap[0][2].active:
            heapq.heappop(self._heap)
