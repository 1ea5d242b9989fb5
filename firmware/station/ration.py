"""How much is told of what others can cause at will: the store keeps presses, not chatter. Pure."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from firmware.station import events
from firmware.station.events import Event

MOST_NEWS, NEWS_WINDOW_S = 20, 60.0
MOST_A_DAY, DAY_S = 500, 86_400.0  # of 50 000 events: a stranger who never tires takes a hundred days
MOST_OF_A_KIND = 30  # of one leg, or of one press: a call of a peer in order has fewer


class Bound:
    """At most `most` of a kind within NEWS_WINDOW_S, and MOST_A_DAY. What goes beyond is said to be left out when
    that begins, and counted when there is room again."""

    def __init__(self, most: int = MOST_NEWS) -> None:
        self._windows: tuple[tuple[int, float, deque[float]], ...] = (
            (most, NEWS_WINDOW_S, deque()),
            (MOST_A_DAY, DAY_S, deque()),
        )
        self._left_out = 0

    def full(self, now: float) -> bool:
        """Whether there is no room for one more."""
        for _, window_s, taken_at in self._windows:
            while taken_at and now - taken_at[0] > window_s:
                taken_at.popleft()
        return any(len(taken_at) >= most for most, _, taken_at in self._windows)

    def take(self, now: float) -> None:
        """Note one."""
        for _, _, taken_at in self._windows:
            taken_at.append(now)

    def tell(self, event: Event, publish: Callable[[Event], object], now: float) -> None:
        """Publish it if there is room."""
        if self.full(now):
            if not self._left_out:
                publish(events.EventsLeftOut(of=event.kind))
            self._left_out += 1
            return
        if self._left_out:
            count, self._left_out = self._left_out, 0
            publish(events.EventsLeftOut(of=event.kind, count=count))
        self.take(now)
        publish(event)


Chatter = (
    events.ButtonPressed
    | events.DoorSound
    | events.LegTrying
    | events.LegRinging
    | events.RtpStarted
    | events.MediaLost
    | events.MediaFailed
    | events.TransferAsked
    | events.DigitReceived
    | events.DigitRefused
    | events.AccessRefused
)
End = events.LegEnded | events.LegFailed | events.LegCancelled | events.PressEnded


class Ration:
    """Of what a hostile phone (or visitor) can repeat without end, the first MOST_OF_A_KIND of each kind, leg and
    press are told; then one event says that the others are counted, and the end of the leg or press how many they
    were. Refusals that count as wrong codes are all told: the lock-out bounds them."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, str], dict[str, int]] = {}

    def take(self, event: Event) -> list[Event]:
        """What is told in the place of `event`."""
        if isinstance(event, End):
            leg = "" if isinstance(event, events.PressEnded) else event.leg
            counts = self._counts.pop((event.press, leg), {})
            left_out = {kind: count - MOST_OF_A_KIND for kind, count in counts.items() if count > MOST_OF_A_KIND}
            return [replace(event, left_out=left_out) if left_out else event]
        if not isinstance(event, Chatter) or (isinstance(event, events.AccessRefused) and event.wrong_codes):
            return [event]
        leg = event.evidence.leg if isinstance(event, events.AccessRefused) else getattr(event, "leg", "")
        counts = self._counts.setdefault((event.press, leg), {})
        count = counts[event.kind] = counts.get(event.kind, 0) + 1
        if count <= MOST_OF_A_KIND:
            return [event]
        if count == MOST_OF_A_KIND + 1:
            return [events.EventsLeftOut(press=event.press, leg=leg, of=event.kind)]
        return []

    def forget(self, press: int) -> None:
        """The visit is over."""
        for key in [key for key in self._counts if key[0] == press]:
            del self._counts[key]
