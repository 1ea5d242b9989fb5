"""Session timers: RFC 4028. A call whose other end died without a word is noticed, and ended.

    state      | input                         | next       | what happens
    -----------|-------------------------------|------------|------------------------------------------------
    off        | agreed, we refresh            | refreshing | refresh is due at half of the interval
    off        | agreed, the peer refreshes    | watching   |
    refreshing | half of the interval          | refreshing | on_refresh
    refreshing | refresh failed                | refreshing | on_refresh again, an eighth of the interval later
    refreshing | agreed, we refresh            | refreshing | all times anew
    refreshing | agreed, the peer refreshes    | watching   | all times anew
    watching   | agreed, the peer refreshes    | watching   | all times anew
    watching   | agreed, we refresh            | refreshing | all times anew
    refreshing | nearly expired                | off        | on_expired: BYE
    watching   | nearly expired                | off        | on_expired: BYE
    refreshing | 2xx without Session-Expires   | off        |
    watching   | 2xx without Session-Expires   | off        |
    refreshing | stop                          | off        |
    watching   | stop                          | off        |

"Nearly expired" is min(32 s, a third of the interval) before the interval is over (section 10). No interval is
shorter than 90 s, whatever the peer says (section 4). The least interval that somebody on the way has asked for
by 422 is kept for the rest of the call. How a session is refreshed is the call's affair.
"""

import re
from collections.abc import Callable
from typing import Literal

from firmware.sip.message import Message, Request, Response
from firmware.sip.timers import Alarm, Schedule, nobody

LEAST_S = 90  # section 4
_interval = re.compile(r"\s*([0-9]{1,9})\s*(;.*)?", re.DOTALL)
_refresher = re.compile(r";\s*refresher\s*=\s*(uac|uas)\b", re.IGNORECASE)


def interval_of(message: Message) -> tuple[int, Literal["uac", "uas", ""]] | None:
    """Session-Expires: seconds, and who refreshes, if it says so. None where absent or unreadable."""
    match = _interval.fullmatch(message.headers.get("Session-Expires") or "")
    if match is None:
        return None
    refresher = _refresher.search(match[2] or "")
    who: Literal["uac", "uas", ""] = ""
    if refresher is not None:
        who = "uac" if refresher[1].lower() == "uac" else "uas"
    return int(match[1]), who


def least_of(message: Message) -> int:
    """Min-SE in seconds, 90 where absent."""
    match = _interval.fullmatch(message.headers.get("Min-SE") or "")
    return max(LEAST_S, int(match[1])) if match is not None else LEAST_S


def lengthened(request: Request, refusal: Response) -> bool:
    """Give `request` the interval that a 422 asks for; False if that would change nothing (section 7.4)."""
    asked, least_s = interval_of(request), least_of(refusal)
    if asked is None or least_s <= asked[0]:
        return False
    who = f";refresher={asked[1]}" if asked[1] else ""
    request.headers.set("Session-Expires", f"{least_s}{who}")
    request.headers.set("Min-SE", str(least_s))
    return True


class SessionTimer:
    """`wish_s` is the interval that we ask for; 0: none, and sessions do not expire by our doing."""

    def __init__(
        self,
        schedule: Schedule,
        wish_s: int,
        *,
        on_refresh: Callable[[float], None],
        on_expired: Callable[[float], None],
    ) -> None:
        self.state: Literal["off", "refreshing", "watching"] = "off"
        self.interval_s = 0
        self.least_s = LEAST_S
        self._schedule = schedule
        self._wish_s = wish_s
        self._on_refresh = on_refresh
        self._on_expired = on_expired
        self._refresh: Alarm | None = None
        self._expiry: Alarm | None = None

    # --- as client ------------------------------------------------------------------------------------------

    def ask(self) -> tuple[tuple[str, str], ...]:
        """The header fields of an INVITE or UPDATE of ours; who refreshes keeps doing so (section 7.4)."""
        wanted_s = max(self.interval_s or self._wish_s, self.least_s)
        if not self._wish_s:
            return ()
        who = {"off": "", "refreshing": ";refresher=uac", "watching": ";refresher=uas"}[self.state]
        fields = [("Session-Expires", f"{wanted_s}{who}")]
        if self.least_s > LEAST_S:
            fields.append(("Min-SE", str(self.least_s)))
        return tuple(fields)

    def accepted(self, request: Request, response: Response, now: float) -> None:
        """A 2xx to our request, in the form in which it was accepted."""
        self.least_s = max(self.least_s, least_of(request))
        agreed = interval_of(response)
        if agreed is None:
            self.stop()
        else:
            self._agreed(agreed[0], agreed[1] != "uas", now)

    def failed(self, now: float) -> None:
        """Our refresh was refused; the session lasts until it expires."""
        if self.state == "refreshing" and (self._refresh is None or not self._refresh.active):
            self._refresh = self._schedule.set(now + self.interval_s / 8, self._due)

    # --- as server ------------------------------------------------------------------------------------------

    @staticmethod
    def too_short(request: Request) -> bool:
        """Whether a request is to be refused with 422; who knows nothing of timers is not (section 9)."""
        asked = interval_of(request)
        return asked is not None and asked[0] < LEAST_S and "timer" in request.supported

    def answer(self, request: Request, now: float) -> tuple[tuple[str, str], ...]:
        """The header fields of our 2xx to an INVITE or UPDATE; the timer runs as they say."""
        asked = interval_of(request)
        if asked is None:
            self.stop()
            return ()
        self.least_s = max(self.least_s, least_of(request))
        interval_s, who = max(asked[0], LEAST_S), asked[1] or "uac"
        knows_timers = "timer" in request.supported
        if not knows_timers:
            who = "uas"  # a proxy asked in the peer's place
        self._agreed(interval_s, who == "uas", now)
        fields = (("Session-Expires", f"{interval_s};refresher={who}"),)
        return (*fields, ("Require", "timer")) if who == "uac" else fields

    # --- time -----------------------------------------------------------------------------------------------

    def stop(self) -> None:
        self.state = "off"
        for alarm in (self._refresh, self._expiry):
            if alarm is not None:
                alarm.cancel()

    def close(self) -> None:
        """Stop for good: the call is over, and nothing of it is held."""
        self.stop()
        self._on_refresh = self._on_expired = nobody

    def _agreed(self, interval_s: int, ours: bool, now: float) -> None:
        self.stop()
        self.interval_s = max(interval_s, LEAST_S)
        self.state = "refreshing" if ours else "watching"
        if ours:
            self._refresh = self._schedule.set(now + self.interval_s / 2, self._due)
        margin_s = min(32.0, self.interval_s / 3)
        self._expiry = self._schedule.set(now + self.interval_s - margin_s, self._expire)

    def _due(self, now: float) -> None:
        self._on_refresh(now)

    def _expire(self, now: float) -> None:
        self.stop()
        self._on_expired(now)
