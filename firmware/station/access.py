"""Who may open a door: codes, how they are read key by key, and the lock-out after wrong ones.

Pure: digits, facts about the leg and `now` go in, decisions come out. A decision rests on evidence only: the leg
(one that we dialled, or one that came in), whether it was answered, the code, the door that the pressed button
may open, and the lock-out. A From header is no evidence.

How keys become a code. A code is complete when it can be nothing else: it equals a code and no longer code begins
with it; or `#` was pressed; or as many keys came as the longest code has; or no key came for `digit_timeout_s`.
The buffer as a whole is compared, so a code hidden in a longer run of digits does not open. After a wrong code the
keys that follow without a pause belong to no attempt, but count as further wrong ones, so that endless digits end
in the lock-out and never at the door. `*` starts afresh. Where some code contains `#` or `*`, that key is a digit.

    state     event                                   next      decision
    idle      digit                                   reading   -
    reading   digit, complete, right                  idle      Grant, or Refuse by policy or lock-out
    reading   digit / # / timeout, complete, wrong    spoilt    Refuse, counts; the last one locks
    reading   timeout or #, shorter than any code     idle      Refuse, does not count
    reading   *                                       idle      -
    spoilt    digit                                   spoilt    every run as long as a code: Refuse, counts
    spoilt    pause of 1 s, # or *                    idle      -

Who is locked out. Wrong codes are counted by source: the target that the door dialled, whichever of its phones
answered. `wrong_codes` within `window_s` lock that source for `lockout_s`, doubled with each lock-out that follows
within twice the last one's time, up to `max_lockout_s`; nobody else notices. When SOURCES_TOGETHER sources are
locked at once, somebody tries with many phones: then the whole station is locked, for `lockout_s` and never
doubled, so that even they keep nobody out for long. Calls that came in open nothing, and so count for nothing.
"""

import hmac
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

SOURCES_TOGETHER = 3  # locked at once, and the station is; one phone is one source, whatever it types
MOST_OPENINGS = 20  # of one leg: more are refused, since each is told and kept
CAME_IN = "the call came in; only a call from the door may open it"
PAUSE_S = 1.0  # people who mistype begin again after more than this; a dialler that tries all codes does not


@dataclass(frozen=True, slots=True)
class Code:
    """A door's code. `name` says in the log which one it was; the digits never leave this module."""

    door: str
    name: str
    digits: str

    def __repr__(self) -> str:
        return f"Code(door={self.door!r}, name={self.name!r})"


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits of `[access]` and `[calls]`; times in seconds."""

    wrong_codes: int = 5
    window_s: float = 60.0
    lockout_s: float = 30.0
    max_lockout_s: float = 3600.0
    digit_timeout_s: float = 3.0
    unlock_while_ringing: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    door: str
    code_name: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """`door` is empty where the code belongs to none. `wrong_codes` > 0: it counted, as that many-th of its source.
    `locked_s` > 0: it began a lock-out of its source that long, `station_locked_s`: one of the whole station."""

    reason: str
    door: str = ""
    code_name: str = ""
    locked_s: float = 0.0
    station_locked_s: float = 0.0
    wrong_codes: int = 0


Decision = Grant | Refuse


@dataclass(slots=True)
class _Source:
    wrong: deque[float] = field(default_factory=deque)
    until: float = -math.inf
    duration_s: float = 0.0


class Lockout:
    """Wrong codes by source, and who is locked out for them. What it knows is what `count_wrong` was told: after a
    restart, tell it again."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._sources: dict[str, _Source] = {}  # as many as there are targets in the configuration
        self._station_until = -math.inf

    def remaining_s(self, source: str, now: float) -> float:
        """For how long no code of this source is accepted."""
        known = self._sources.get(source)
        until = self._station_until if known is None else max(known.until, self._station_until)
        return max(0.0, until - now)

    def longest_s(self, now: float) -> float:
        """Of any source."""
        return max([0.0, self._station_until - now, *(each.until - now for each in self._sources.values())])

    def count_wrong(self, source: str, now: float) -> tuple[int, float, float]:
        """Count one; returns (wrong codes of the source in the window, seconds of the lock-out of the source that
        this one began or 0, the same of the whole station)."""
        policy = self._policy
        known = self._sources.setdefault(source, _Source())
        while known.wrong and now - known.wrong[0] > policy.window_s:
            known.wrong.popleft()
        known.wrong.append(now)
        count = len(known.wrong)
        if count < policy.wrong_codes:
            return count, 0.0, 0.0
        calm = now - known.until > max(policy.window_s, 2 * known.duration_s)
        known.duration_s = policy.lockout_s if calm or not known.duration_s else 2 * known.duration_s
        known.duration_s = min(known.duration_s, policy.max_lockout_s)
        known.until = now + known.duration_s
        known.wrong.clear()
        if sum(each.until > now for each in self._sources.values()) < SOURCES_TOGETHER:
            return count, known.duration_s, 0.0
        self._station_until = now + policy.lockout_s
        return count, known.duration_s, policy.lockout_s


class CodeReader:
    """Reads the keys of one leg. `source` is whose wrong codes are counted together; `doors` are those that this
    leg's button may open; `answered` and `outgoing` are facts about the leg that the station keeps up to date."""

    def __init__(
        self,
        codes: Sequence[Code],
        policy: Policy,
        lockout: Lockout,
        *,
        source: str,
        doors: Sequence[str],
        outgoing: bool,
        answered: bool = False,
    ) -> None:
        self._codes = tuple(codes)
        self._policy = policy
        self._lockout = lockout
        self._source = source
        self._doors = frozenset(doors)
        self._outgoing = outgoing
        self.answered = answered
        lengths = [len(code.digits) for code in self._codes] or [4]
        self._shortest, self._longest = min(lengths), max(lengths)
        keys = "".join(code.digits for code in self._codes)
        self._hash_ends, self._star_clears = "#" not in keys, "*" not in keys
        self._over = False
        self._openings = 0
        self._buffer = ""
        self._state: Literal["idle", "reading", "spoilt"] = "idle"
        self._last = 0.0

    def close(self) -> None:
        """The leg is given up: what was typed and what is still to come opens nothing."""
        self._over = True
        self._clear()

    def next_deadline(self) -> float | None:
        if self._state == "reading":
            return self._last + self._policy.digit_timeout_s
        return None

    def handle_timer(self, now: float) -> Decision | None:
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return None
        return self._decide(now, spoils=False)

    def digit(self, key: str, now: float) -> Decision | None:
        """One key, as RFC 4733 event or INFO reported it: `0`-`9`, `*`, `#`, `A`-`D`."""
        if self._over:
            return None
        overdue = self.handle_timer(now)  # a key that comes late must not be glued to the ones before
        if self._state == "spoilt" and now - self._last >= PAUSE_S:
            self._clear()
        self._last = now
        if key == "*" and self._star_clears:
            self._clear()
            return overdue
        if key == "#" and self._hash_ends:
            if self._state == "spoilt":
                self._clear()
            if self._state != "reading":
                return overdue
            return self._decide(now, spoils=False)
        self._buffer += key
        if self._state == "spoilt":
            if len(self._buffer) < self._longest:
                return overdue
            self._buffer = ""
            return self._refuse_wrong(now)
        self._state = "reading"
        exact = any(hmac.compare_digest(code.digits, self._buffer) for code in self._codes)
        longer = any(
            len(code.digits) > len(self._buffer) and code.digits.startswith(self._buffer) for code in self._codes
        )
        if (exact and not longer) or len(self._buffer) >= self._longest:
            return self._decide(now, spoils=True)
        return overdue

    def _clear(self) -> None:
        self._buffer, self._state = "", "idle"

    def _decide(self, now: float, *, spoils: bool) -> Decision:
        typed = self._buffer
        self._clear()
        matching = [code for code in self._codes if hmac.compare_digest(code.digits, typed)]
        if not matching:
            if len(typed) < self._shortest:
                return Refuse(reason="incomplete code")
            if spoils:
                self._state = "spoilt"
            return self._refuse_wrong(now)
        allowed = [code for code in matching if code.door in self._doors]
        code = (allowed or matching)[0]
        remaining = self._lockout.remaining_s(self._source, now)
        if remaining and self._outgoing:
            # Neither door nor name: a locked station must not tell a right code from a wrong one.
            return Refuse(reason=f"locked for {remaining:.0f} s after wrong codes")
        refused = ""
        if not self._outgoing:
            refused = CAME_IN
        elif not self.answered and not self._policy.unlock_while_ringing:
            refused = "code before the answer"
        elif not allowed:
            # Counted like a wrong one: who is not locked for it would have learnt that it is right elsewhere.
            counted = self._refuse_wrong(now)
            reason = f"this button does not open that door; {counted.reason}"
            return replace(counted, reason=reason, door=code.door, code_name=code.name)
        elif self._openings >= MOST_OPENINGS:
            refused = f"opened {self._openings} times in this call already"
        if refused:
            return Refuse(reason=refused, door=code.door, code_name=code.name)
        self._openings += 1
        return Grant(code.door, code.name)

    def _refuse_wrong(self, now: float) -> Refuse:
        if not self._outgoing:
            return Refuse(reason=CAME_IN)
        remaining = self._lockout.remaining_s(self._source, now)
        if remaining:
            return Refuse(reason=f"locked for {remaining:.0f} s after wrong codes")
        count, locked_s, station_locked_s = self._lockout.count_wrong(self._source, now)
        return Refuse(
            reason=f"wrong code, {count} of {self._policy.wrong_codes}",
            locked_s=locked_s,
            station_locked_s=station_locked_s,
            wrong_codes=count,
        )
