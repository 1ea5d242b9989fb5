"""How much is told of what others can cause at will: the store keeps presses, not chatter. Pure."""

from collections import deque

MOST_NEWS, NEWS_WINDOW_S = 20, 60.0


class Bound:
    """At most `most` of a kind within `window_s`."""

    def __init__(self, most: int = MOST_NEWS, window_s: float = NEWS_WINDOW_S) -> None:
        self._most = most
        self._window_s = window_s
        self._told_at: deque[float] = deque()

    def full(self, now: float) -> bool:
        """Whether one more would not be told."""
        while self._told_at and now - self._told_at[0] > self._window_s:
            self._told_at.popleft()
        return len(self._told_at) >= self._most

    def take(self, now: float) -> bool:
        """Whether one more is told; notes it if so."""
        if self.full(now):
            return False
        self._told_at.append(now)
        return True
