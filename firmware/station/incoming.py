"""Calls to the station: who may come in, and when his call is one.

A caller is let in by what it proved, never by its From header: the password of a user of the house, the flow that
an account is registered over, or its own address. A datagram's address can be made up, so nothing is sent to it
but our 2xx until the ACK, which carries the tag of that 2xx (RFC 3261 13.2.2.4), shows that somebody reads there.
Until then such a call is no visit: it neither keeps the door from ringing nor fills the store.

    waiting  ACK                                  let in: IncomingCall is told, sound and picture flow
    waiting  ACK, the door is in use meanwhile    hung up
    waiting  ended, or MOST_WAITING later ones    forgotten, told as refused

Who may call and finds the door in use hears why before the 486, where there are words for it: 183 with sound and
without a picture (RFC 3960), reliably if his phone can (RFC 3262). One at a time, and never by his own word for his
address: sound is more than an answer.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from firmware.config import Config
from firmware.net.sip_endpoint import SipEndpoint
from firmware.sdp.errors import SdpError
from firmware.sip import events as sip_events
from firmware.sip.uri import Uri
from firmware.station import events
from firmware.station.events import EventStream
from firmware.station.house import proven_caller
from firmware.station.leg import Leg
from firmware.station.legs import Legs
from firmware.station.ration import Bound
from firmware.station.visit import Plan, Visit
from firmware.station.visits import Visits

INCOMING = "*incoming"  # name of a plan that no button can have
MOST_WAITING = 4  # calls without an ACK yet: each holds media ports
DECLINE, NO_SUCH_CALL, BUSY_HERE, FORBIDDEN, NOT_ACCEPTABLE = 603, 481, 486, 403, 488
SERVER_ERROR, UNAVAILABLE = 500, 503
SESSION_PROGRESS = 183
IN_USE, DOOR_IN_USE = "in-use", "the door is in use"
EARLY_S = 0.5  # until the caller's phone plays what comes, and after the last word
BUSY = f'SIP;cause={BUSY_HERE};text="Busy Here"'


@dataclass(frozen=True, slots=True)
class _Waiting:
    leg: Leg
    caller: str
    source: str
    proven: str
    speaks_s: float | None = None  # when words begin, for who is to be refused
    ends_s: float | None = None  # when he is


class Incoming:
    """`carry_out` does what a visit wants done."""

    def __init__(
        self,
        config: Config,
        stream: EventStream,
        phone: SipEndpoint,
        legs: Legs,
        visits: Visits,
        carry_out: Callable[[Visit], None],
        now: Callable[[], float],
    ) -> None:
        self._config = config
        self._stream = stream
        self._phone = phone
        self._legs = legs
        self._visits = visits
        self._carry_out = carry_out
        self._now = now
        self._waiting: dict[int, _Waiting] = {}  # by call
        self._let_in = Bound()
        self._refused = Bound()

    def take(self, event: sip_events.IncomingCall) -> None:
        caller, source = str(event.caller.uri), source_of(event)
        status, reason, proven = self._judge(event)
        if not status:
            try:
                leg = self._accept(event, caller)
            except SdpError as error:
                status, reason = NOT_ACCEPTABLE, str(error)
            except OSError as error:
                status, reason = SERVER_ERROR, f"no media port: {error}"
            else:
                self._waiting[event.call] = _Waiting(leg, caller, source, proven)
                while len(self._waiting) > MOST_WAITING:
                    self._drop(next(iter(self._waiting)), "later calls came before its ACK")
                return
        if status == BUSY_HERE and self._say_why(event, caller, source, proven):
            return
        self._phone.hangup(event.call, status=status)
        self._tell_refused(caller, source, status, reason)

    def next_deadline(self) -> float | None:
        times = [time for waiting in self._waiting.values() for time in (waiting.speaks_s, waiting.ends_s)]
        return min((time for time in times if time is not None), default=None)

    def handle_timer(self, now: float) -> None:
        for call, waiting in tuple(self._waiting.items()):
            if waiting.speaks_s is not None and now >= waiting.speaks_s:
                self._waiting[call] = replace(waiting, speaks_s=None)
                waiting.leg.media.play(IN_USE)
            elif waiting.ends_s is not None and now >= waiting.ends_s:
                self._drop(call, DOOR_IN_USE)

    def _say_why(self, event: sip_events.IncomingCall, caller: str, source: str, proven: str) -> bool:
        """Early sound for who is refused because the door is in use. False where there is none."""
        words_s = self._visits.limits.announcement_s.get(IN_USE, 0.0)
        made_up = event.source.transport == "udp" and not event.account and not event.user
        if not words_s or made_up or not event.sdp or any(other.ends_s for other in self._waiting.values()):
            return False
        visit = self._visits.new(Plan(INCOMING, ()))
        name = f"{visit.press}.1"
        try:
            leg = self._legs.open(
                name, visit, caller, event.account, event.source.local[0], "incoming", video=False
            )
            leg.call = event.call
            answer = leg.answer(event.sdp)
        except (OSError, SdpError):
            self._legs.forget(name)
            self._visits.forget(visit)
            return False
        self._legs.by_call[event.call] = leg
        self._phone.ring(event.call, status=SESSION_PROGRESS, sdp=answer)
        begins_s = self._now() + EARLY_S
        self._waiting[event.call] = _Waiting(leg, caller, source, proven, begins_s, begins_s + words_s + EARLY_S)
        return True

    def acknowledged(self, leg: Leg) -> None:
        """An ACK of the leg's 2xx has come."""
        waiting = self._waiting.get(leg.call)
        if waiting is None:
            return
        visit = self._visits.by_press[leg.press]
        begins = visit.plan.name == INCOMING
        if begins and self._visits.in_use is not None:
            self._drop(leg.call, "the door came into use before its ACK")
            return
        del self._waiting[leg.call]
        now = self._now()
        self._let_in.take(now)
        self._stream.publish(
            events.IncomingCall(
                press=visit.press,
                leg=leg.name,
                caller=waiting.caller,
                source=waiting.source,
                proven=waiting.proven,
                call=leg.call,
            )
        )
        leg.reader.answered = True
        if begins:
            self._visits.active = visit
            visit.begin_answered(leg.name, waiting.caller, now)
        else:
            visit.leg_answered(leg.name, now)
        self._carry_out(visit)

    def over(self, leg: Leg, visit: Visit, status: int, reason: str) -> bool:
        """The leg's call is over. True where it never became a visit's, and nothing is left of it."""
        waiting = self._waiting.pop(leg.call, None)
        if waiting is None or visit.plan.name != INCOMING:
            return False
        self._forget(waiting, status, reason)
        return True

    def _judge(self, event: sip_events.IncomingCall) -> tuple[int, str, str]:
        """(0, "", how the caller proved itself) to let it in, else (status, reason, "" or how it did)."""
        incoming = self._config.calls.incoming
        if incoming.policy != "auto-answer":
            return FORBIDDEN, "calls to the station are refused (calls.incoming.policy)", ""
        proven = proven_caller(event, incoming.from_)
        if not proven:
            addresses = [Uri.parse(text) for text in incoming.from_ if ":" in text]  # the others are names of users
            allowed = next((uri for uri in addresses if _same_user(uri, event.caller.uri)), None)
            if allowed is None:
                return FORBIDDEN, "the caller is not in calls.incoming.from", ""
            if event.account:
                proven = f"through the server of account {event.account}"
            elif event.source.remote[0] == allowed.host:
                proven = f"from its own address {allowed.host}"
            else:
                return FORBIDDEN, "the caller did not prove who it is: a From header is no proof", ""
        if event.replaces:
            if self._config.calls.transfer != "accept":
                return DECLINE, "nobody may take over a call (calls.transfer)", ""
            if event.replaces not in self._legs.by_call:
                return NO_SUCH_CALL, "the call to take over is gone", ""
        elif self._visits.in_use is not None:
            return BUSY_HERE, DOOR_IN_USE, proven
        if self._let_in.full(self._now()):
            return UNAVAILABLE, "too many calls to the station within a minute", ""
        return 0, "", proven

    def _accept(self, event: sip_events.IncomingCall, caller: str) -> Leg:
        """Answer 2xx; media wait for its ACK. SdpError, OSError where that cannot be."""
        before = self._legs.by_call.get(event.replaces)
        visit = self._visits.by_press[before.press] if before is not None else self._visits.new(Plan(INCOMING, ()))
        name = visit.successor(caller, calls=False) if before is not None else f"{visit.press}.1"
        if name is None:
            raise SdpError("somebody is taking over this call already, or too many have")
        try:
            leg = self._legs.open(name, visit, caller, event.account, event.source.local[0], "incoming")
            leg.call, leg.towards = event.call, event.source.remote[0]
            leg.await_acknowledgement()
            self._legs.signalled(leg, event.source.transport)
            self._legs.by_call[event.call] = leg
            if leg.prepare_for(event.sdp) if event.sdp else leg.prepare():
                self._legs.after_gathering(leg, partial(self._answer_late, event, leg))
            else:
                self._answer(event, leg)
        except (OSError, SdpError):
            self._legs.forget(name)
            if before is None:
                self._visits.forget(visit)
            else:
                visit.leg_ended(name, "us", NOT_ACCEPTABLE, "no media", {}, self._now())
            raise
        return leg

    def _answer(self, event: sip_events.IncomingCall, leg: Leg) -> None:
        """Without an offer ours goes into the 200, and the ACK brings the answer."""
        self._phone.accept(event.call, leg.answer(event.sdp) if event.sdp else leg.offer())

    def _answer_late(self, event: sip_events.IncomingCall, leg: Leg) -> None:
        try:
            self._answer(event, leg)
        except SdpError as error:
            self._drop(event.call, str(error), status=NOT_ACCEPTABLE)

    def _drop(self, call: int, reason: str, *, status: int = 0) -> None:
        """`status` where it has no final answer yet."""
        waiting = self._waiting.pop(call)
        self._phone.hangup(call, status=status or BUSY_HERE, reason=BUSY)
        visit = self._visits.by_press[waiting.leg.press]
        if visit.plan.name == INCOMING:
            self._forget(waiting, status or BUSY_HERE, reason)
        else:
            visit.leg_ended(
                waiting.leg.name,
                "us",
                status or BUSY_HERE,
                reason,
                self._legs.forget(waiting.leg.name),
                self._now(),
            )
            self._carry_out(visit)

    def _forget(self, waiting: _Waiting, status: int, reason: str) -> None:
        self._legs.forget(waiting.leg.name)
        self._visits.forget(self._visits.by_press[waiting.leg.press])
        self._tell_refused(waiting.caller, waiting.source, status, reason)

    def _tell_refused(self, caller: str, source: str, status: int, reason: str) -> None:
        # Bounded, or whoever reaches our port could push every press out of the store.
        refused = events.IncomingRefused(caller=caller, source=source, status=status, reason=reason)
        self._refused.tell(refused, self._stream.publish, self._now())


def source_of(event: sip_events.IncomingCall | sip_events.TextReceived | sip_events.CheckSync) -> str:
    """Transport and address that a request came from, for people."""
    return f"{event.source.transport}:{event.source.remote[0]}:{event.source.remote[1]}"


def _same_user(allowed: Uri, caller: Uri) -> bool:
    return allowed.user == caller.user and allowed.host.lower() == caller.host.lower()
