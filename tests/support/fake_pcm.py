"""A sound card's two PCMs without a card: ring buffers that a fake clock fills and empties, and what may go wrong.

They act as pyalsaaudio's do: capture stands still until its first read, playback until its first write; an
xrun is told once as -EPIPE, after which the PCM is prepared again; nothing blocks.
"""

import os
import select
from typing import Any

EPIPE = -32


class FakeCard:
    """`now` is the clock in seconds; waiting for the capture advances it."""

    def __init__(self, **info: object) -> None:
        self.now = 50.0
        self.info = info  # what a PCM of the bare card has instead of what was asked
        self.opened: list[str] = []
        self.refusal: Exception | None = None
        self.stuck = False
        self.capture: FakePcm | None = None
        self.playback: FakePcm | None = None

    def open_pcm(self, name: str, direction: str, rate_hz: int, period: int, periods: int) -> "FakePcm":
        self.opened.append(name)
        if self.refusal is not None:
            raise self.refusal
        pcm = FakePcm(self, direction, rate_hz, period, periods)
        if name.startswith("hw:"):
            pcm.parameters |= self.info
        setattr(self, direction, pcm)
        return pcm

    def clock(self) -> float:
        return self.now


class FakePcm:
    def __init__(self, card: FakeCard, direction: str, rate_hz: int, period: int, periods: int) -> None:
        self.card = card
        self.captures = direction == "capture"
        self.parameters: dict[str, object] = {
            "rate": rate_hz,
            "channels": 1,
            "format_name": "S16_LE",
            "period_size": period,
            "buffer_size": period * periods,
        }
        self.rate_hz = rate_hz
        self.period = period
        self.buffer = period * periods
        self.started_s: float | None = None
        self.moved = 0  # samples read or written since the start
        self.written = b""
        self.writes: list[int] = []  # samples of each
        self.starts = 0
        self.drops = 0
        self.closed = False
        self.failure: Exception | None = None
        self._reader, self._writer = os.pipe()
        os.write(self._writer, b"x")  # always ready: time is the card's

    def info(self) -> dict[str, Any]:
        return self.parameters

    def read(self) -> tuple[int, bytes]:
        self._check()
        if self.started_s is None:
            self._start()
        waiting = self._passed() - self.moved
        if waiting > self.buffer:
            self.started_s = None
            return EPIPE, b""
        count = min(waiting, self.period)
        if not count:
            return 0, b""
        first, self.moved = self.moved, self.moved + count
        return count, b"".join(((n + 1) % 1000).to_bytes(2, "little") for n in range(first, first + count))

    def write(self, data: bytes) -> int:
        self._check()
        if self.started_s is None:
            self._start()
        elif self._passed() > self.moved:
            self.started_s = None
            return EPIPE
        count = min(len(data) // 2, self.buffer - (self.moved - self._passed()))
        self.moved += count
        self.writes.append(count)
        self.written += data[: 2 * count]
        return count

    def queued(self) -> int:
        return self.moved - self._passed()

    def drop(self) -> None:
        self.drops += 1
        self.started_s = None

    def polldescriptors(self) -> list[tuple[int, int]]:
        return [(self._reader, select.POLLIN)]

    def polldescriptors_revents(self, ready: list[tuple[int, int]]) -> int:
        """Time passes to the end of the period."""
        assert self.started_s is not None, "polled before the first read: it would never come"
        if self.card.stuck:
            self.card.now += 0.1
            return 0
        missing = self.period - (self._passed() - self.moved)
        self.card.now += max(missing, 0) / self.rate_hz
        return select.POLLIN

    def close(self) -> None:
        self.closed = True
        os.close(self._reader)
        os.close(self._writer)

    def _start(self) -> None:
        self.started_s = self.card.now
        self.moved = 0
        self.starts += 1

    def _passed(self) -> int:
        if self.started_s is None or (self.card.stuck and not self.captures):
            return 0
        return round((self.card.now - self.started_s) * self.rate_hz)

    def _check(self) -> None:
        assert not self.closed
        if self.failure is not None:
            raise self.failure
