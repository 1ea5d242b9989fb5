"""Why did it not ring, why did the door stay shut? One press as a timeline, and the step that failed.

Pure: `explain` takes the records of one press and looks for each step that a visit has (edge, INVITE, ringing,
answer, sound both ways, keys, grant, relay on, read back, off, BYE). What is missing or failed is named in the
visit's own order, so the first is most often the cause of the rest. A visit that is still going on lacks its last
steps without having failed. Standard library only: `doorctl` imports it.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

from firmware.diagnostics.wording import describe, refusal, sound_or_picture, status
from firmware.event_json import kind_of, press_of
from firmware.station import events
from firmware.station.events import Event, Record

StepName = Literal[
    "edge",
    "invite",
    "ringing",
    "answer",
    "media",
    "digits",
    "code",
    "relay-on",
    "relay-read-back",
    "relay-off",
    "bye",
]

EventType = TypeVar("EventType", bound=Event)

CLOCK_SLACK_S = 10.0  # an edge's own time stamp further off than this comes from another clock
SLOW_INVITE_MS = 500.0
EARLY_RELEASE = 0.9  # part of the pulse that a relay must have been on


@dataclass(frozen=True, slots=True)
class Step:
    """One line: milliseconds since the edge, the leg and whom it calls (empty for the station), what happened."""

    ms: float
    kind: str
    leg: str
    party: str
    text: str


@dataclass(frozen=True, slots=True)
class Failure:
    step: StepName
    text: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """A press explained. `time` is the edge in Unix seconds; `failed` the first step that failed, empty for none;
    `ongoing` says that the visit has no end yet; `notes` are what went wrong without harm to the visit."""

    press: int
    button: str
    source: str
    time: float
    ongoing: bool
    verdict: str
    failed: StepName | Literal[""]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]
    steps: tuple[Step, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Timeline":
        """The inverse of `as_dict`. Raises KeyError or TypeError for anything else."""
        values = {**data}
        values["failures"] = tuple(Failure(**failure) for failure in data["failures"])
        values["notes"] = tuple(data["notes"])
        values["steps"] = tuple(Step(**step) for step in data["steps"])
        return cls(**values)


def explain(records: Sequence[Record], *, running: bool = True) -> Timeline:
    """The timeline of one press from all its records. `running`: the station that wrote them still runs, so what is
    missing at the end may yet come. Raises ValueError where there are no records."""
    if not records:
        raise ValueError("no records")
    visit = _Visit(sorted(records, key=lambda record: record.seq), running)
    failures = tuple(visit.failures())
    return Timeline(
        press=visit.press,
        button=visit.edge.button if visit.edge else "",
        source=visit.edge.source if visit.edge else "",
        time=visit.wall_s,
        ongoing=visit.ongoing,
        verdict=_verdict(visit, failures),
        failed=failures[0].step if failures else "",
        failures=failures,
        notes=tuple(visit.notes()),
        steps=tuple(visit.steps()),
    )


def render(timeline: Timeline) -> str:
    """The timeline as text for a terminal, in local time."""
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(timeline.time))
    what = f", button {timeline.button} ({timeline.source})" if timeline.button else ""
    lines = [f"Press {timeline.press}{what}, {moment}", ""]
    leg_width = max((len(step.leg) for step in timeline.steps), default=0)
    party_width = max((len(step.party) for step in timeline.steps), default=0)
    for step in timeline.steps:
        line = f"{step.ms:10.1f} ms  {step.leg:{leg_width}}  {step.party:{party_width}}  {step.text}"
        lines.append(line.rstrip())
    lines += ["", timeline.verdict]
    lines += [f"Also: {failure.text}" for failure in timeline.failures[1:]]
    lines += [f"Note: {note}" for note in timeline.notes]
    return "\n".join(lines)


class _Visit:
    """The records of one press, by what they say about it."""

    def __init__(self, records: Sequence[Record], running: bool) -> None:
        self.records = records
        self.events = [record.event for record in records]
        self.edge = self.first(events.ButtonPressed)
        self.press = next((press for press in map(press_of, self.events) if press), 0)
        begin = records[0]
        self.begin_s, self.wall_s = begin.monotonic_s, begin.wall_s
        if self.edge is not None:
            begin = next(record for record in records if record.event is self.edge)
            own_clock = 0 <= begin.monotonic_s - self.edge.edge_s <= CLOCK_SLACK_S
            self.begin_s = self.edge.edge_s if own_clock else begin.monotonic_s
            self.wall_s = begin.wall_s - (begin.monotonic_s - self.begin_s)
        self.invited = [event.leg for event in self._all(events.InviteSent)]
        self.parties = {event.leg: event.target for event in self._all(events.InviteSent)}
        self.parties |= {event.leg: event.caller for event in self._all(events.IncomingCall)}
        self.tried = {event.leg for event in self._all(events.LegTrying)}
        self.rang = {event.leg for event in self._all(events.LegRinging)}
        self.failed = {event.leg: event for event in self._all(events.LegFailed)}
        self.answered = self.first(events.LegAnswered)
        self.end = self.first(events.PressEnded)
        self.ongoing = running and not self._over()

    def _all(self, kind: type[EventType]) -> list[EventType]:
        return [event for event in self.events if isinstance(event, kind)]

    def first(self, kind: type[EventType]) -> EventType | None:
        return next((event for event in self.events if isinstance(event, kind)), None)

    def _over(self) -> bool:
        talked = {event.leg for event in self._all(events.LegAnswered)}
        hung_up = {event.leg for event in self._all(events.LegEnded)}
        released = len(self._all(events.RelayOff)) >= len(self._all(events.RelayOn))
        return (self.end is not None or self._only_the_relay()) and talked <= hung_up and released

    def _ms(self, record: Record) -> float:
        return round((record.monotonic_s - self.begin_s) * 1000, 1)

    def ms_of(self, kind: type[Event]) -> float | None:
        """When the first event of a kind came."""
        return next((self._ms(record) for record in self.records if isinstance(record.event, kind)), None)

    # --- the steps -----------------------------------------------------------------------------------------

    def steps(self) -> Iterator[Step]:
        for record in self.records:
            leg = getattr(record.event, "leg", "")
            ms = 0.0 if record.event is self.edge else self._ms(record)
            yield Step(ms, kind_of(record.event), leg, self.parties.get(leg, ""), self._text(record.event))

    def _text(self, event: Event) -> str:
        if isinstance(event, events.ButtonPressed) and event is not self.edge:
            return f"pressed again: {event.action}"
        return describe(event)

    # --- what failed, in the visit's own order -------------------------------------------------------------

    def failures(self) -> Iterator[Failure]:
        yield from self._ringing()
        if self.answered is not None:
            yield from self._sound(self.answered.leg)
        yield from self._door()
        if self.answered is not None:
            yield from self._hanging_up(self.answered.leg)

    def _ringing(self) -> Iterator[Failure]:
        if self.answered is not None or self.first(events.IncomingCall) is not None or self._only_the_relay():
            return
        if not self.invited:
            if not self.ongoing:
                yield Failure("invite", f"Nothing rang: no INVITE was sent{self._why_no_invite()}.")
            return
        if self.ongoing:
            return
        fates = "; ".join(self._fate(leg) for leg in self.invited)
        rang = ", ".join(self.parties[leg] for leg in self.invited if leg in self.rang)
        if self.end is not None and self.end.outcome == "cancelled":
            yield Failure("answer", f"Nobody had answered when the ringing was ended: {self.end.reason} ({fates}).")
        elif self.end is None:
            yield Failure("answer", f"The station stopped while it rang ({fates}).")
        elif not rang:
            yield Failure("ringing", f"No phone rang: {fates}.")
        elif all(leg in self.failed for leg in self.invited):
            yield Failure("answer", f"Nobody answered: {fates}.")
        else:
            yield Failure("answer", f"Nobody answered within {self._ringing_s():.0f} s: {fates}.")

    def _only_the_relay(self) -> bool:
        """A door opened by doorctl or a request-to-exit button, with no visit round it."""
        return self.edge is None and not self.invited and bool(self._all(events.AccessGranted))

    def _why_no_invite(self) -> str:
        reasons = [f"{event.leg}: {status(event)}" for event in self.failed.values()]
        if self.end is not None and self.end.reason:
            reasons.insert(0, self.end.reason)
        return f" ({'; '.join(reasons)})" if reasons else ""

    def _fate(self, leg: str) -> str:
        party = self.parties[leg]
        if leg in self.failed:
            return f"{party}: {status(self.failed[leg])}" + (" after ringing" if leg in self.rang else "")
        if leg in self.rang:
            return f"{party} rang"
        return f"{party}: 100 Trying, then nothing" if leg in self.tried else f"{party} answered nothing"

    def _ringing_s(self) -> float:
        end = next((record for record in self.records if record.event is self.end), self.records[-1])
        return end.monotonic_s - self.begin_s

    def _sound(self, leg: str) -> Iterator[Failure]:
        if self.ongoing:
            return
        party = self.parties.get(leg, leg)
        flows = {
            event.direction for event in self._all(events.RtpStarted) if event.leg == leg and event.media == "audio"
        }
        if "sent" not in flows:
            yield Failure("media", f"{party} answered, but no sound was sent there.")
        if "received" not in flows:
            yield Failure(
                "media",
                f"{party} answered, but no sound came from there: a firewall or NAT keeps its RTP from the "
                "station, or its microphone is off.",
            )
        for failed in self._all(events.MediaFailed):
            yield Failure("media", f"No {sound_or_picture(failed.media)} with {party}: {failed.why}.")
        for lost in self._all(events.MediaLost):
            yield Failure(
                "media", f"The {sound_or_picture(lost.media)} from {party} stopped for {lost.silent_s:.1f} s."
            )

    def _door(self) -> Iterator[Failure]:
        grants = [index for index, event in enumerate(self.events) if isinstance(event, events.AccessGranted)]
        if grants:
            grant = self.events[grants[-1]]
            assert isinstance(grant, events.AccessGranted)
            yield from self._relay(grant.door, self.events[grants[-1] :])
        elif refusals := self._all(events.AccessRefused):
            yield Failure("code", f"The relay was not switched: {refusal(refusals[-1])}.")
        elif returned := len(self._all(events.DigitRefused)):
            came = "a key" if returned == 1 else f"{returned} keys"
            yield Failure(
                "code",
                f"The relay was not switched: {came} came back that had gone out from the door. Somebody may have "
                "played a code at its microphone.",
            )
        elif self.answered is not None and not self.ongoing:
            party = self.parties.get(self.answered.leg, self.answered.leg)
            keys = len(self._all(events.DigitReceived))
            if keys:
                came = "one key came" if keys == 1 else f"{keys} keys came"
                yield Failure("code", f"The relay was not switched: {came} from {party}, but no complete code.")
            else:
                yield Failure(
                    "digits",
                    f"The relay was not switched: no key came from {party}. If a code was typed, set the phone's "
                    "DTMF to RFC 4733 (also called RFC 2833) or SIP INFO.",
                )

    def _relay(self, door: str, after: Sequence[Event]) -> Iterator[Failure]:
        """What became of a grant."""
        refused = next((e for e in after if isinstance(e, events.DoorRefused) and e.door in (door, "")), None)
        on = next((e for e in after if isinstance(e, events.RelayOn) and e.door == door), None)
        off = next((e for e in after if isinstance(e, events.RelayOff) and e.door == door), None)
        levels = {e.expected: e.active for e in after if isinstance(e, events.RelayReadBack) and e.door == door}
        if refused is not None:
            yield Failure("relay-on", f"The relay was not switched: {refused.reason}.")
            return
        if on is None:
            if not self.ongoing:
                yield Failure(
                    "relay-on", "The relay was not switched: portero-door did not answer; see its journal."
                )
            return
        if levels.get(True) is False:
            yield Failure(
                "relay-read-back",
                f"The relay of {door} was switched, but its line reads off: check relay and wiring.",
            )
        elif True not in levels and not self.ongoing:
            yield Failure("relay-read-back", f"The relay of {door} was switched, but its line was not read back.")
        if off is None:
            if not self.ongoing:
                yield Failure(
                    "relay-off", f"No release of the relay of {door} is recorded; see portero-door's journal."
                )
        elif off.on_ms < EARLY_RELEASE * on.pulse_ms:
            yield Failure(
                "relay-off",
                f"The relay of {door} was released after {off.on_ms} of {on.pulse_ms} ms: {off.reason}.",
            )
        if levels.get(False) is True:
            yield Failure(
                "relay-off",
                f"The relay of {door} is stuck: its line still reads on after the release. Check it now.",
            )

    def _hanging_up(self, leg: str) -> Iterator[Failure]:
        ended = next((event for event in self._all(events.LegEnded) if event.leg == leg), None)
        if ended is None:
            if not self.ongoing:
                yield Failure("bye", "No BYE is recorded: the station was stopped or cut off during the call.")
        elif ended.by == "network":
            yield Failure(
                "bye", f"The call was cut after {ended.duration_s:.1f} s: {ended.reason or 'no reason given'}."
            )

    # --- what went wrong without harm ----------------------------------------------------------------------

    def notes(self) -> Iterator[str]:
        invite_ms = self.ms_of(events.InviteSent)
        if self.edge is not None and invite_ms is not None and invite_ms > SLOW_INVITE_MS:
            yield f"the first INVITE left {invite_ms:.0f} ms after the edge"
        if self.answered is not None:
            for leg, failure in self.failed.items():
                yield f"{self.parties.get(leg, leg)} could not be reached: {status(failure)}"
        if any(isinstance(event, events.AccessGranted) for event in self.events):
            for refused in self._all(events.AccessRefused):
                yield refusal(refused)


def _verdict(visit: _Visit, failures: Sequence[Failure]) -> str:
    if failures:
        return failures[0].text
    opened = visit.ms_of(events.RelayOn)
    if visit.ongoing:
        state = "the call is on" if visit.answered is not None else "it rings"
        return "Still going on: " + ("the door was opened." if opened is not None else f"{state}.")
    relay = visit.first(events.RelayOn)
    if relay is None or opened is None:
        return "All steps seen."
    return f"All steps seen: the relay of {relay.door} was switched {opened / 1000:.1f} s after the press."
