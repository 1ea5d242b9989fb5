"""What the lock does: the relays' state machine, without a clock, a line or a socket. PURE.

Commands, readings of the lines and `now` (monotonic seconds) go in; actions come out, in the order they are to
be done. Every `Switch` is answered by `line_read` or `line_failed` for that door before anything else goes in.
One machine a door:

    state      input           next       what is done
    ---------  --------------  ---------  --------------------------------------------------------------
    releasing  reads inactive  released   the end of a pulse is told and journalled; a fault is cleared
    releasing  reads active    stuck      fault
    releasing  line fails      stuck      fault
    released   pulse           switching  on; accepted, line-on, grant journalled
    released   bad pulse       released   refused: unknown door, length, age
    switching  reads active    open       read-back told
    switching  reads inactive  releasing  fault; off
    switching  line fails      releasing  fault; off
    open       pulse           open       refused: already open
    open       time            releasing  off: the pulse's bound
    open       client lost     releasing  off
    open       stop            releasing  off
    stuck      pulse           stuck      refused: the relay does not release
    stuck      time            releasing  off again, each second
    stuck      stop            releasing  off again

A door begins in `releasing`: the line was requested inactive and is believed once it has been read. A second
pulse while one is on is refused, not added: what was granted is then what is journalled, one pulse, one on, one
off, one bound, and nobody keeps a door open by asking again and again. After `stop` every pulse is refused, and
so is each while `tamper` says that the station's cover is off.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from firmware.door.protocol import PulseRequest

State = Literal["releasing", "released", "switching", "open", "stuck"]

MIN_PULSE_MS = 50  # shorter ones move no strike and wear the relay
RELEASE_LEAD_S = 0.001  # a timer is late, never early: aimed this much before the bound, the pulse stays within
STALE_S = 1.0  # a request that waited longer (a stopped process, a full socket) must not open a door any more
RETRY_S = 1.0

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Door:
    """`pulse_ms` where a request names no length; `max_pulse_ms` bounds every pulse, whoever asks."""

    name: str
    pulse_ms: int
    max_pulse_ms: int


@dataclass(frozen=True, slots=True)
class Switch:
    """Set the door's relay, read it back, and say what was read."""

    door: str
    active: bool


@dataclass(frozen=True, slots=True)
class Tell:
    """A message to one client."""

    client: int
    message: Message


@dataclass(frozen=True, slots=True)
class TellAll:
    """A message to every client; `request` in it is the `owner`'s number and means nothing to the others."""

    owner: int | None
    message: Message


@dataclass(frozen=True, slots=True)
class Record:
    """An entry for the journal; `client` is whose request it was."""

    client: int | None
    entry: Message


Action = Switch | Tell | TellAll | Record


@dataclass(slots=True)
class _Pulse:
    client: int
    request: int
    pulse_ms: int
    on_s: float
    until_s: float
    ended: str = ""  # why, once it is to end


@dataclass(slots=True)
class _Relay:
    door: Door
    state: State = "releasing"
    pulse: _Pulse | None = None
    retry_s: float = 0.0


class Lock:
    def __init__(self, doors: Iterable[Door]) -> None:
        self._relays = {door.name: _Relay(door) for door in doors}
        self._actions: list[Action] = []
        self._faults: dict[str, Message] = {}
        self._stopping = False
        self._tampered = ""

    def tamper(self, what: str) -> None:
        """The station's cover is off, or nobody can tell: no pulse is granted until `what` is empty again. One that
        is on ends in its time."""
        if what == self._tampered:
            return
        self._tampered = what
        if what:
            self.report_fault("tamper", what, "close the station's cover; no door opens before")
        else:
            self.clear_fault("tamper")

    def pulse(self, client: int, asked: PulseRequest, now: float) -> None:
        """A client asks for a door; granted or refused at once."""
        relay = self._relays.get(asked.door)
        pulse_ms = asked.pulse_ms if asked.pulse_ms is not None or relay is None else relay.door.pulse_ms
        reason = self._objection(relay, asked, pulse_ms, now)
        if relay is None or pulse_ms is None or reason:
            self.refuse(client, asked.request, reason, now, door=asked.door, evidence=asked.evidence)
            return
        relay.state = "switching"
        relay.pulse = _Pulse(client, asked.request, pulse_ms, now, now + pulse_ms / 1000 - RELEASE_LEAD_S)
        about = {"request": asked.request, "door": asked.door, "pulse_ms": pulse_ms, "at_s": now}
        self._actions += (
            Switch(asked.door, True),
            Tell(client, {"event": "accepted", **about}),
            TellAll(client, {"event": "line-on", **about}),
            Record(client, {"kind": "granted", **about, "evidence": asked.evidence}),
        )

    def refuse(
        self,
        client: int,
        request: int | None,
        reason: str,
        now: float,
        *,
        door: str = "",
        evidence: Message | None = None,
    ) -> None:
        """Say no to a request, here or for the shell (malformed, too many), and journal it."""
        about = {"request": request, "door": door, "reason": reason, "at_s": now}
        self._actions += (
            Tell(client, {"event": "refused", **about}),
            Record(client, {"kind": "refused", **about, "evidence": evidence or {}}),
        )

    def line_read(self, name: str, active: bool, now: float) -> None:
        """The line of door `name` was switched as asked, and reads `active`."""
        relay = self._relays[name]
        expected = relay.state == "switching"
        if relay.pulse is not None:
            self._tell_pulse(relay.pulse, name, "read-back", now, active=active, expected=expected)
        if expected and active:
            relay.state = "open"
            self._clear(name)
        elif expected:
            self._fault(name, "the relay's line reads inactive after it was switched on")
            self._release(relay, "relay did not switch")
        elif active:
            self._stick(relay, "the relay's line reads active after it was switched off", now)
        else:
            self._released(relay, now)

    def line_failed(self, name: str, error: str, now: float) -> None:
        """Switching or reading the line of door `name` failed."""
        relay = self._relays[name]
        if relay.state == "switching":
            self._fault(name, f"the relay's line cannot be switched on: {error}")
            self._release(relay, "relay did not switch")
        else:
            self._stick(relay, f"the relay's line cannot be switched off: {error}", now)

    def lose_client(self, client: int) -> None:
        """A client is gone: what it opened is released. Who asked must be there to see what happens."""
        for relay in self._relays.values():
            if relay.state == "open" and relay.pulse is not None and relay.pulse.client == client:
                self._release(relay, "client lost")

    def handle_timer(self, now: float) -> None:
        for relay in self._relays.values():
            if relay.state == "open" and relay.pulse is not None and now >= relay.pulse.until_s:
                self._release(relay, "pulse ended")
            elif relay.state == "stuck" and now >= relay.retry_s:
                self._switch_off(relay)

    def stop(self) -> None:
        """Release all, grant nothing any more."""
        self._stopping = True
        for relay in self._relays.values():
            if relay.state == "open":
                self._release(relay, "stopping")
            elif relay.state == "stuck":
                self._switch_off(relay)

    def report_fault(self, where: str, what: str, remedy: str) -> None:
        """Something beside the relays is wrong (the journal): told to all, kept for who connects later."""
        fault = {"event": "fault", "where": where, "what": what, "remedy": remedy}
        if self._faults.get(where) != fault:
            self._faults[where] = fault
            self._actions += (TellAll(None, fault), Record(None, {"kind": "fault", "where": where, "what": what}))

    def clear_fault(self, where: str) -> None:
        if self._faults.pop(where, None) is not None:
            self._actions += (
                TellAll(None, {"event": "fault-cleared", "where": where}),
                Record(None, {"kind": "fault-cleared", "where": where}),
            )

    def take_actions(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions

    def next_deadline(self) -> float | None:
        """When `handle_timer` has something to do."""
        times = [relay.pulse.until_s for relay in self._relays.values() if relay.state == "open" and relay.pulse]
        times += [relay.retry_s for relay in self._relays.values() if relay.state == "stuck"]
        return min(times, default=None)

    def state(self, name: str) -> State:
        return self._relays[name].state

    def status(self, now: float) -> Message:
        """What a client is told at its start and when it asks."""
        return {
            "doors": [
                {
                    "name": relay.door.name,
                    "state": relay.state,
                    "pulse_ms": relay.door.pulse_ms,
                    "max_pulse_ms": relay.door.max_pulse_ms,
                    "on_ms": round((now - relay.pulse.on_s) * 1000) if relay.pulse is not None else 0,
                }
                for relay in self._relays.values()
            ],
            "faults": [
                {"where": fault["where"], "what": fault["what"], "remedy": fault["remedy"]}
                for fault in self._faults.values()
            ],
        }

    def _objection(self, relay: _Relay | None, asked: PulseRequest, pulse_ms: int | None, now: float) -> str:
        """Why this pulse is not granted; empty when it is."""
        if self._stopping:
            return "portero-door is stopping"
        if self._tampered:
            return f"tamper: {self._tampered}"
        if relay is None or pulse_ms is None:
            return f"there is no door of that name; there are: {', '.join(self._relays) or 'none'}"
        if not MIN_PULSE_MS <= pulse_ms <= relay.door.max_pulse_ms:
            return f"pulse_ms is {pulse_ms}; this door takes {MIN_PULSE_MS} to {relay.door.max_pulse_ms}"
        age_s = now - asked.sent_s
        if age_s > STALE_S:
            return f"the request is {age_s:.1f} s old"
        if age_s < -STALE_S:
            return "the request is from the future: sent_s is not this machine's monotonic clock"
        match relay.state:
            case "released":
                return ""
            case "stuck":
                return "the relay does not release"
            case _:
                return "already open"

    def _release(self, relay: _Relay, reason: str) -> None:
        if relay.pulse is not None:
            relay.pulse.ended = reason
        self._switch_off(relay)

    def _switch_off(self, relay: _Relay) -> None:
        relay.state = "releasing"
        self._actions.append(Switch(relay.door.name, False))

    def _stick(self, relay: _Relay, what: str, now: float) -> None:
        relay.state = "stuck"
        relay.retry_s = now + RETRY_S
        self._fault(relay.door.name, what)

    def _released(self, relay: _Relay, now: float) -> None:
        was_stuck = relay.retry_s > 0
        relay.state = "released"
        relay.retry_s = 0.0
        pulse, relay.pulse = relay.pulse, None
        if was_stuck:
            self._clear(relay.door.name)
        if pulse is not None:
            name, on_ms = relay.door.name, round((now - pulse.on_s) * 1000)
            self._tell_pulse(pulse, name, "line-off", now, on_ms=on_ms, reason=pulse.ended)
            entry = {"kind": "released", "request": pulse.request, "door": name, "on_ms": on_ms, "at_s": now}
            self._actions.append(Record(pulse.client, {**entry, "reason": pulse.ended}))

    def _tell_pulse(self, pulse: _Pulse, name: str, event: str, now: float, **more: object) -> None:
        message = {"event": event, "request": pulse.request, "door": name, **more, "at_s": now}
        self._actions.append(TellAll(pulse.client, message))

    def _fault(self, name: str, what: str) -> None:
        self.report_fault(f"relay of {name}", what, "check the board's wiring and its [outputs], then restart")

    def _clear(self, name: str) -> None:
        self.clear_fault(f"relay of {name}")
