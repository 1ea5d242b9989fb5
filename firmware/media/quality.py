"""How one leg sounds, second by second: the numbers behind `doorctl call --stats` and its plot.

Counters of the stream go in once a second; shares of that second and an opinion score (`rtp.quality`) come out,
five minutes of them are kept.
"""

from collections import deque

from firmware.rtp.quality import mos

_SECONDS = 300
_OVER = 5  # seconds that a score is taken over: one lost packet is no bad call
# From mouth to ear besides the network and the jitter buffer: a packet is spoken, a frame waits at each sound card.
_FIXED_MS = 20 + 20 + 20


class Quality:
    """`mos` is of the last seconds, `worst` the lowest of the call."""

    def __init__(self) -> None:
        self.mos = self.worst = 0.0
        self._before = (0.0, 0.0, 0, 0)
        self._recent: deque[tuple[float, float]] = deque(maxlen=_OVER)
        self._kept: deque[tuple[float, float, float, float]] = deque(maxlen=_SECONDS)

    def note(
        self,
        *,
        played_s: float,
        concealed_s: float,
        lost: int,
        received: int,
        jitter_ms: float,
        buffer_ms: float,
        round_trip_ms: float,
    ) -> None:
        """Totals since the call began, and what jitter, buffer and round trip are now."""
        was_played, was_concealed, was_lost, was_received = self._before
        if played_s < was_played or received < was_received:  # another codec, another buffer
            was_played = was_concealed = 0.0
            was_lost = was_received = 0
        self._before = played_s, concealed_s, lost, received
        played, concealed = played_s - was_played, concealed_s - was_concealed
        missed = max(0, lost - was_lost)
        self._recent.append((played, concealed))
        due = sum(played + concealed for played, concealed in self._recent)
        share = sum(concealed for _, concealed in self._recent) / due if due else 0.0
        self.mos = round(mos(share, round_trip_ms / 2 + buffer_ms + _FIXED_MS), 2)
        if len(self._recent) == _OVER:
            self.worst = min(self.worst or self.mos, self.mos)
        arrived = max(0, received - was_received)
        loss_percent = 100 * missed / (missed + arrived) if missed + arrived else 0.0
        self._kept.append((self.mos, loss_percent, jitter_ms, buffer_ms))

    def history(self) -> dict[str, list[float]]:
        names = ("mos", "loss_percent", "jitter_ms", "depth_ms")
        columns = zip(*self._kept, strict=True)
        return {name: [round(value, 2) for value in column] for name, column in zip(names, columns, strict=False)}
