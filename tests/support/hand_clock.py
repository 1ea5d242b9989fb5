"""An event loop's timers, turned by hand: what calls `call_later` and reads `time` under a test's own clock."""

from collections.abc import Callable


class Timer:
    def __init__(self, when_s: float, callback: Callable[[], object]) -> None:
        self.when_s = when_s
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class HandClock:
    """Give it where an `asyncio.AbstractEventLoop` is asked for."""

    def __init__(self, now_s: float = 100.0) -> None:
        self.now_s = now_s
        self._timers: list[Timer] = []

    def time(self) -> float:
        return self.now_s

    def call_later(self, delay_s: float, callback: Callable[..., object], *arguments: object) -> Timer:
        timer = Timer(self.now_s + delay_s, lambda: callback(*arguments))
        self._timers.append(timer)
        return timer

    @property
    def waiting(self) -> list[float]:
        """When the timers come due that nobody cancelled."""
        return sorted(timer.when_s for timer in self._timers if not timer.cancelled)

    def wait(self, seconds: float) -> None:
        """Let so much time pass, each timer coming due at its own moment."""
        until_s = self.now_s + seconds
        while due := [timer for timer in self._timers if not timer.cancelled and timer.when_s <= until_s]:
            timer = min(due, key=lambda timer: timer.when_s)
            self._timers.remove(timer)
            self.now_s = timer.when_s
            timer.callback()
        self.now_s = until_s
