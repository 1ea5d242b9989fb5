"""The station: buttons, visits, codes and doors on one side, the SIP endpoint, the media engine and the lock
process on the other. What to do is decided by the pure machines (`visit`, `access`); this module carries it out on
the event loop's thread, publishes what happened, and answers `doorctl`.

Nothing here waits: a press becomes an INVITE within the same call.
"""

import asyncio
import logging
import secrets
from collections import deque
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from typing import Literal

from firmware.config import Button, Config
from firmware.media import events as media_events
from firmware.media.engine import Engine
from firmware.net.door_client import DoorClient
from firmware.net.sip_endpoint import SipEndpoint
from firmware.sdp.errors import OutOfTurn, SdpError
from firmware.sip import events as sip_events
from firmware.sip.errors import ProtocolError
from firmware.sip.location import Binding
from firmware.sip.uri import Uri
from firmware.station import events
from firmware.station.access import Code, CodeReader, Decision, Grant, Lockout, Policy
from firmware.station.doors import Doors
from firmware.station.events import EventStream, Evidence, PressAction
from firmware.station.faults import Faults
from firmware.station.house import House, HouseEvent, describe_phone, proven_caller
from firmware.station.invitation import Headers, headers_for, may_be_handed_to, replaces_of
from firmware.station.leg import Leg, MediaSettings, digit_of_info, sends_sound
from firmware.station.overview import Overview
from firmware.station.status import ControlError
from firmware.station.visit import (
    Action,
    Ended,
    EndLeg,
    Limits,
    Plan,
    Publish,
    Sound,
    Stage,
    StartLeg,
    Talk,
    Visit,
    Warn,
)

log = logging.getLogger(__name__)

_DEVICE_REMEDY = {
    "audio": "check that the sound card is plugged in and is the one board.toml names; it is tried again",
    "camera": "check the camera's cable and board.toml; calls go on without a picture and it is tried again",
}
INCOMING, BY_HAND = "*incoming", "*call"  # names of plans that no button can have
MOST_NEWS, NEWS_WINDOW_S = (
    20,
    60.0,
)  # of what strangers can cause that is told: the store keeps presses, not chatter
EARLY_DIALOG_OVER, OK, DECLINE, NO_SUCH_CALL = 199, 200, 603, 481
BUSY_HERE, FORBIDDEN, NOT_ACCEPTABLE, REQUEST_PENDING, SERVER_ERROR = 486, 403, 488, 491, 500


class Station:
    """SIP events come to `sip_event`, the lock's to `doors.take`, presses to `pressed`; all on the loop thread."""

    def __init__(
        self,
        config: Config,
        stream: EventStream,
        phone: SipEndpoint,
        engine: Engine,
        door: DoorClient,
        *,
        first_press: int = 1,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._config = config
        self._stream = stream
        self._phone = phone
        self._engine = engine
        self._faults = Faults(stream)
        self.house = House(config, self._faults, phone, loop)
        self.doors = Doors(config, self._faults, door, loop, self._opened, self._not_opened)
        self._loop = loop
        self._now = loop.time
        self._next_press = first_press
        self._limits = Limits(config.calls.talk_limit_s, config.calls.warning_s, config.calls.hangup_after_unlock_s)
        self._media = MediaSettings(config.media.audio_codecs, config.media.video)
        access = config.access
        self._policy = Policy(
            access.wrong_codes,
            access.window_s,
            access.lockout_s,
            access.max_lockout_s,
            config.calls.dtmf_timeout_s,
            config.calls.unlock_while_ringing,
        )
        self._lockout = Lockout(self._policy)
        self._codes = tuple(
            Code(door_.name, code.name, code.digits.reveal())
            for door_ in config.doors
            for code in door_.codes
            if code.digits is not None
        )
        self._visits: dict[int, Visit] = {}
        self._active: Visit | None = None  # the one that the visitor hears
        self._legs: dict[str, Leg] = {}
        self._by_call: dict[int, Leg] = {}
        self._sounding: str | None = None  # leg whose early sound the visitor hears
        self._handed_on: dict[str, int] = {}  # leg that is to take over -> call that asked for it
        self._consulted: dict[str, Headers] = {}  # the same leg -> what its INVITE says of the call it continues
        self._news_at: deque[float] = deque()
        self._refused_at: deque[float] = deque()
        self._texts: dict[int, str] = {}  # texts of ours under way -> target
        self.overview = Overview(config)
        stream.subscribe(self.overview.take)
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False

    # --- what the house does -------------------------------------------------------------------------------

    def pressed(self, button: str, source: str, edge_s: float) -> int:
        """The button went down at `edge_s` (monotonic seconds). Returns the number of the press."""
        now = self._now()
        plan = self._plan(self._button(button))
        active = self._active if self._active is not None and self._active.phase in ("ringing", "talking") else None
        if active is not None:
            if active.phase == "talking" or active.plan.name == plan.name:
                self._tell_press(active.press, button, source, edge_s, active.press_again(now))
                self._carry_out(active)
                return active.press
            # Another flat's button while one rings: the visitor corrects himself.
            active.cancel("another button was pressed", now)
            self._carry_out(active)
        visit = self._new_visit(plan)
        self._tell_press(visit.press, button, source, edge_s, "ring")
        if not plan.stages:
            self._faults.set(f"button {button}", "has no ring plan", f"give buttons.{button} at least one stage")
            self._stream.publish(events.PressEnded(press=visit.press, outcome="failed", reason="no ring plan"))
            del self._visits[visit.press]
            return visit.press
        self._active = visit
        visit.begin(now)
        self._carry_out(visit)
        return visit.press

    def stop(self, reason: str) -> None:
        """Ends what is going on; the SIP endpoint says good-bye afterwards."""
        self._stopping = True
        self._stream.publish(events.StationStopping(reason=reason))
        now = self._now()
        for visit in tuple(self._visits.values()):
            visit.cancel("station stops", now)
            self._carry_out(visit)
        self._engine.play(None)
        self.house.stop()
        if self._timer is not None:
            self._timer.cancel()

    # --- SIP -----------------------------------------------------------------------------------------------

    def sip_event(self, event: sip_events.Event) -> None:
        if isinstance(event, sip_events.RegistrationChanged):
            self._registration(event)
            return
        if isinstance(event, sip_events.IncomingCall):
            self._incoming(event)
            return
        if isinstance(event, sip_events.TextReceived | sip_events.TextDelivered | sip_events.CheckSync):
            self._news(event)
            return
        if isinstance(event, HouseEvent):
            self.house.take(event)
            return
        leg = self._by_call.get(getattr(event, "call", 0))
        if leg is None:
            return
        visit = self._visits[leg.press]
        now = self._now()
        match event:
            case sip_events.InviteSent():
                self._stream.publish(
                    events.InviteSent(
                        press=leg.press,
                        leg=leg.name,
                        target=leg.party,
                        account=leg.account,
                        phone=leg.phone,
                        call=event.call,
                    )
                )
            case sip_events.CallTrying():
                visit.leg_trying(leg.name)
            case sip_events.CallProgress():
                if event.status == EARLY_DIALOG_OVER:
                    leg.fork_ended(event.dialog)
                    visit.leg_silent(leg.name)
                    self._carry_out(visit)
                    return
                agreement = leg.provisional(event.dialog, event.sdp, final=event.final)
                self._handing_on(leg, event.status, "")
                visit.leg_ringing(
                    leg.name,
                    event.status,
                    early_sound=sends_sound(agreement),
                    early_media=agreement is not None,
                    now=now,
                )
            case sip_events.CallAnswered():
                wrong = leg.answered(event.sdp, event.dialog)
                if wrong:
                    self._unusable(leg, visit, wrong)
                    return
                self._handing_on(leg, OK, "")
                leg.reader.answered = True
                self._tell_address(leg)
                visit.leg_answered(leg.name, now)
            case sip_events.CallEnded():
                self._leg_over(leg, visit, event.by, event.status, event.reason)
                return
            case sip_events.CallAcknowledged():
                wrong = leg.acknowledged(event.sdp)
                if wrong:
                    self._unusable(leg, visit, wrong)
                else:
                    self._tell_address(leg)
                return
            case sip_events.Reoffered():
                self._reoffered(leg, event.sdp, event.dialog)
            case sip_events.OfferReduced():
                leg.reduced()
            case sip_events.Refreshed():
                leg.refreshed(event.sdp)
            case sip_events.NetworkChanged():
                self._network_changed(leg)
            case sip_events.OfferAnswered():
                leg.offer_answered(event.sdp)
                self._tell_address(leg)
            case sip_events.OfferRefused():
                leg.offer_refused()
                leg.offer_due = event.again
            case sip_events.OfferDue():
                if leg.offer_due:
                    self._reoffer(leg)
            case sip_events.TransferAsked():
                self._transfer(leg, visit, event)
            case sip_events.InfoReceived():
                self._info(leg, event)
        self._carry_out(visit)

    def _network_changed(self, leg: Leg) -> None:
        """Media goes on from the address that we have now, and the peer hears of it."""
        host = self._phone.local_host_towards(leg.towards)
        if host != leg.host and ip_address(host).is_loopback:
            return  # there is no way to the peer now; the next change may bring one
        try:
            leg.move(host)
        except OSError as error:
            log.warning("leg %s: no media ports on %s: %s", leg.name, host, error)
        if leg.moved:
            self._tell_address(leg)
        elif leg.reader.answered:
            self._phone.refresh(leg.call)

    def _tell_address(self, leg: Leg) -> None:
        """Offer the address that media has moved to, as soon as the call lets us."""
        if leg.moved and leg.reader.answered:
            self._reoffer(leg)

    def _reoffer(self, leg: Leg) -> None:
        leg.offer_due = False
        with suppress(OutOfTurn):  # an offer of ours is out: its answer brings us back here
            self._phone.reoffer(leg.call, leg.offer())

    def _unusable(self, leg: Leg, visit: Visit, wrong: str) -> None:
        """There is no media that both sides could use."""
        log.warning("leg %s: %s", leg.name, wrong)
        self._phone.hangup(leg.call, reason=f'SIP;cause={NOT_ACCEPTABLE};text="Not Acceptable Here"')
        self._leg_over(leg, visit, "us", NOT_ACCEPTABLE, wrong)

    def _transfer(self, leg: Leg, visit: Visit, event: sip_events.TransferAsked) -> None:
        """Who talks with the door hands it on: only to whom the configuration names."""
        address = account.address if (account := self._config.account(leg.account or None)) is not None else ""
        domain = Uri.parse(address).host if address else ""
        target = may_be_handed_to(event.target, self._config.calls.transfer_to, domain)
        name = visit.successor(target, calls=True) if target is not None else None
        self._stream.publish(
            events.TransferAsked(
                press=leg.press, leg=leg.name, target=str(event.target), successor=name or "", by=event.referred_by
            )
        )
        if name is None:
            self._phone.refuse_transfer(leg.call, DECLINE)
            return
        self._phone.accept_transfer(leg.call)
        self._handed_on[name] = leg.call
        self._consulted[name] = replaces_of(event.target)

    def _handing_on(self, leg: Leg, status: int, reason: str) -> None:
        """Who handed the door on hears how the call to the other goes."""
        call = self._handed_on.get(leg.name)
        if call is None:
            return
        if status >= OK:
            del self._handed_on[leg.name]
        self._phone.transfer_progress(call, status, reason)

    def _leg_over(self, leg: Leg, visit: Visit, by: str, status: int, reason: str) -> None:
        self._handing_on(leg, status if status >= 300 else SERVER_ERROR, reason)
        self._by_call.pop(leg.call, None)
        self._legs.pop(leg.name, None)
        if self._sounding == leg.name:
            self._sounding = None
        statistics = leg.media.close()
        visit.leg_ended(leg.name, by, status, reason, statistics, self._now())  # type: ignore[arg-type]  # same words
        self._carry_out(visit)

    def _registration(self, event: sip_events.RegistrationChanged) -> None:
        self._stream.publish(
            events.RegistrationChanged(
                account=event.account,
                state=event.state,
                status=event.status,
                reason=event.reason,
                retry_s=event.retry_s,
                expires_s=event.expires_s,
                server=event.server,
            )
        )
        where = f"account {event.account}"
        if event.state == "failed":
            if event.status in (401, 403, 407):
                remedy = "check username and password of the account"
            elif "certificate" in event.reason:
                remedy = "check the server's certificate, and accounts.tls in the configuration"
            else:
                remedy = "check that the registrar is running and can be reached"
            what = f"not registered: {event.status or 'no answer'} {event.reason}".strip()
            self._faults.set(where, what, f"{remedy}; next try in {event.retry_s:.0f} s")
        elif event.state == "registered":
            self._faults.clear(where)

    def _news(self, event: sip_events.TextReceived | sip_events.TextDelivered | sip_events.CheckSync) -> None:
        """What needs no call. Strangers may write, too: what they write is bounded in length and number."""
        if isinstance(event, sip_events.TextDelivered):
            self._stream.publish(
                events.TextDelivered(
                    target=self._texts.pop(event.message, ""), status=event.status, reason=event.reason
                )
            )
            return
        if not _may_tell(self._news_at, self._now()):
            return
        source = f"{event.source.transport}:{event.source.remote[0]}:{event.source.remote[1]}"
        if isinstance(event, sip_events.CheckSync):
            self._stream.publish(events.CheckSync(source=source, account=event.account))
        else:
            self._stream.publish(
                events.TextReceived(
                    sender=str(event.sender.uri), source=source, account=event.account, text=event.text
                )
            )

    def _incoming(self, event: sip_events.IncomingCall) -> None:
        caller = str(event.caller.uri)
        source = f"{event.source.transport}:{event.source.remote[0]}:{event.source.remote[1]}"
        status, reason, proven = self._judge_caller(event)
        if not status:
            try:
                self._let_in(event, caller, source, proven)
            except SdpError as error:
                status, reason = NOT_ACCEPTABLE, str(error)
            except OSError as error:
                status, reason = SERVER_ERROR, f"no media port: {error}"
        if status:
            self._phone.hangup(event.call, status=status)
            if not _may_tell(self._refused_at, self._now()):
                return  # or whoever reaches our port could push every press out of the store
            self._stream.publish(events.IncomingRefused(caller=caller, source=source, status=status, reason=reason))

    def _judge_caller(self, event: sip_events.IncomingCall) -> tuple[int, str, str]:
        """(0, "", how the caller proved itself) to let it in, else (status, reason, "")."""
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
            if event.replaces not in self._by_call:
                return NO_SUCH_CALL, "the call to take over is gone", ""
        elif self._active is not None and self._active.phase in ("ringing", "talking"):
            return BUSY_HERE, "the door is in use", ""
        return 0, "", proven

    def _let_in(self, event: sip_events.IncomingCall, caller: str, source: str, proven: str) -> None:
        before = self._by_call.get(event.replaces)
        visit = self._visits[before.press] if before is not None else self._new_visit(Plan(INCOMING, ()))
        name = visit.successor(caller, calls=False) if before is not None else f"{visit.press}.1"
        if name is None:
            raise SdpError("somebody is taking over this call already")
        try:
            leg = self._open_leg(name, visit, caller, event.account, event.source.local[0], "incoming")
            leg.call, leg.towards = event.call, event.source.remote[0]
            # Without an offer ours goes into the 200, and the ACK brings the answer.
            answer = leg.answer(event.sdp) if event.sdp else leg.offer()
        except (OSError, SdpError):
            self._forget(name)
            if before is None:
                del self._visits[visit.press]
            else:
                visit.leg_ended(name, "us", NOT_ACCEPTABLE, "no media", {}, self._now())
            raise
        self._by_call[event.call] = leg
        self._active = visit
        self._stream.publish(
            events.IncomingCall(
                press=visit.press, leg=leg.name, caller=caller, source=source, proven=proven, call=event.call
            )
        )
        self._phone.accept(event.call, answer)
        leg.reader.answered = True
        if before is not None:
            visit.leg_answered(leg.name, self._now())
        else:
            visit.begin_answered(leg.name, caller, self._now())
        self._carry_out(visit)

    def _reoffered(self, leg: Leg, sdp: bytes, dialog: str) -> None:
        try:
            self._phone.answer_offer(leg.call, leg.answer(sdp, dialog) if sdp else leg.offer(), dialog=dialog)
        except OutOfTurn:
            self._phone.reject_offer(leg.call, REQUEST_PENDING, dialog=dialog)
        except SdpError as error:
            log.warning("leg %s: offer refused: %s", leg.name, error)
            self._phone.reject_offer(leg.call, NOT_ACCEPTABLE, dialog=dialog)

    def _info(self, leg: Leg, event: sip_events.InfoReceived) -> None:
        if event.content_type == "application/media_control+xml":
            leg.media.request_keyframe()  # RFC 5168
            return
        digit = digit_of_info(event.content_type, event.body)
        if digit is not None:
            leg.media.digit_from_info(digit)

    # --- media ---------------------------------------------------------------------------------------------

    def _media_event(self, leg: Leg, event: media_events.MediaEvent) -> None:
        if leg.name not in self._legs:
            return
        visit = self._visits[leg.press]
        match event:
            case media_events.RtpStarted():
                self._stream.publish(
                    events.RtpStarted(press=leg.press, leg=leg.name, media=event.media, direction=event.direction)
                )
            case media_events.SoundHeard():
                visit.leg_sounds(leg.name)
                self._carry_out(visit)
            case media_events.Digit():
                self._stream.publish(events.DigitReceived(press=leg.press, leg=leg.name, source=event.source))
                self._decided(leg, leg.reader.digit(event.digit, self._now()))
                self._arm()
            case media_events.MediaLost():
                self._stream.publish(
                    events.MediaLost(
                        press=leg.press, leg=leg.name, media=event.media, silent_s=round(event.silent_s, 1)
                    )
                )

    def media_fault(self, fault: media_events.MediaFault) -> None:
        """Sound card or camera failed, or works again; calls go on with what is left."""
        if fault.what:
            self._faults.set(fault.where, fault.what, _DEVICE_REMEDY[fault.where])
        else:
            self._faults.clear(fault.where)

    # --- codes and doors -----------------------------------------------------------------------------------

    def _decided(self, leg: Leg, decision: Decision | None) -> None:
        if decision is None:
            return
        evidence = Evidence(
            by="code",
            press=leg.press,
            leg=leg.name,
            party=leg.party,
            direction=leg.direction,
            code_name=decision.code_name,
        )
        if isinstance(decision, Grant):
            self.doors.open(decision.door, evidence)
            return
        self._stream.publish(
            events.AccessRefused(press=leg.press, door=decision.door, reason=decision.reason, evidence=evidence)
        )
        if decision.locked_s:
            self._stream.publish(events.AccessLocked(lockout_s=decision.locked_s, wrong_codes=decision.wrong_codes))
        leg.media.play("congestion")

    def _opened(self, press: int) -> None:
        for leg in self._legs_of(press):
            leg.media.play("confirm")
        visit = self._visits.get(press)
        if visit is not None:
            visit.unlocked(self._now())
            self._carry_out(visit)

    def _not_opened(self, press: int) -> None:
        for leg in self._legs_of(press):
            leg.media.play("congestion")

    def _legs_of(self, press: int) -> list[Leg]:
        return [leg for leg in self._legs.values() if leg.press == press]

    # --- doorctl -------------------------------------------------------------------------------------------

    def status(self) -> dict[str, object]:
        now = self._now()
        status = self.overview.status(now, self._lockout.remaining_s(now))
        return replace(status, users=self.house.status()).as_dict()

    def press(self, button: str, source: str = "doorctl") -> dict[str, object]:
        """A press by hand of the technician; without a name, the first button."""
        if not button and self._config.buttons:
            button = self._config.buttons[0].name
        press = self.pressed(button, source, self._now())
        return {"press": press, "button": button}

    def call(self, target: str) -> dict[str, object]:
        """Calls a target from the door, as if a button with just this target were pressed."""
        if self._active is not None and self._active.phase in ("ringing", "talking"):
            raise ControlError("the door is in a call; end it first with: doorctl hangup")
        user = self.house.user(target)
        if user is not None and not self.house.phones(user):
            raise ControlError(f"{user} is not registered; doorctl status shows who is")
        try:
            if user is None:
                self._resolve(target, None)
        except (ProtocolError, ValueError) as error:
            raise ControlError(f'"{target}" cannot be called: {error}') from error
        plan = Plan(BY_HAND, (Stage((target,), 60.0),), doors=tuple(d.name for d in self._config.doors))
        visit = self._new_visit(plan)
        self._active = visit
        visit.begin(self._now())
        self._carry_out(visit)
        return {"press": visit.press, "target": target}

    def message(self, target: str, text: str) -> dict[str, object]:
        """Sends a short text to a target, to each phone of a user; `text-delivered` tells whether it arrived."""
        user = self.house.user(target)
        phones = self.house.phones(user) if user is not None else ()
        if user is not None and not phones:
            raise ControlError(f"{user} is not registered; doorctl status shows who is")
        number = 0
        try:
            if user is None:
                uri, account, _ = self._resolve(target, None)
                number = self._phone.message(uri, text, account=account or None)
                self._texts[number] = target
            for phone in phones:
                number = self._phone.message(phone.uri, text, binding=phone)
                self._texts[number] = target
        except (ProtocolError, ValueError) as error:
            raise ControlError(f'no text can be sent to "{target}": {error}') from error
        return {"message": number, "target": target}

    def hangup(self) -> dict[str, object]:
        visit = self._active
        if visit is None or visit.phase not in ("ringing", "talking"):
            raise ControlError("there is no call to end")
        visit.cancel("ended by doorctl", self._now())
        self._carry_out(visit)
        return {"press": visit.press}

    async def unlock(self, door: str, user: str) -> dict[str, object]:
        """Opens a door by word of a local user; waits until the lock process said yes or no."""
        return await self.doors.unlock(door, user, self._active.press if self._active is not None else 0)

    # --- in common -----------------------------------------------------------------------------------------

    def _button(self, name: str) -> Button:
        button = self._config.button(name)
        if button is None:
            names = ", ".join(b.name for b in self._config.buttons) or "none"
            raise ControlError(f'there is no button "{name}"; configured: {names}')
        return button

    @staticmethod
    def _plan(button: Button) -> Plan:
        return Plan(
            name=button.name,
            stages=tuple(Stage(stage.ring, stage.seconds, stage.auto_answer) for stage in button.stages),
            doors=button.doors,
            ring_limit_s=button.ring_limit_s,
            second_press=button.second_press,
        )

    def _new_visit(self, plan: Plan) -> Visit:
        visit = Visit(self._next_press, plan, self._limits)
        self._next_press += 1
        self._visits[visit.press] = visit
        return visit

    def _tell_press(self, press: int, button: str, source: str, edge_s: float, action: PressAction) -> None:
        self._stream.publish(
            events.ButtonPressed(press=press, button=button, source=source, edge_s=edge_s, action=action)
        )

    def _carry_out(self, visit: Visit) -> None:
        while actions := visit.take_actions():  # a leg that cannot start at once has consequences of its own
            for action in actions:
                try:
                    self._do(visit, action)
                except Exception as error:  # one action's bug must not keep the other phones from ringing
                    log.exception("%s of press %d failed", type(action).__name__, visit.press)
                    self._unexpected(error)
                    if isinstance(action, StartLeg):
                        self._not_started(visit, action.leg, error)
        self._arm()

    def _unexpected(self, error: Exception) -> None:
        what = f"{type(error).__name__}: {error}"
        self._faults.set("program", what, "see the journal; restart if calls fail")

    def _do(self, visit: Visit, action: Action) -> None:
        match action:
            case Publish():
                self._stream.publish(action.event)
            case StartLeg():
                self._start_leg(visit, action)
            case EndLeg():
                leg = self._legs.get(action.leg)
                if leg is not None:
                    leg.set_audio(talk=False, listen=False)
                    self._phone.hangup(leg.call, reason=action.reason)
            case Talk():
                self._legs[action.leg].set_audio(talk=True, listen=True)
            case Sound():
                self._sound(visit, action.tone)
            case Warn():
                self._engine.play("warning")
                self._legs[action.leg].media.play("warning")
            case Ended():
                self._visits.pop(visit.press, None)
                if self._active is visit:
                    self._active = None

    def _sound(self, visit: Visit, tone: str | None) -> None:
        if self._active is not visit:
            return  # a newer visit has the loudspeaker
        if self._sounding is not None:
            self._legs[self._sounding].set_audio(talk=False, listen=False)
            self._sounding = None
        if tone is not None and tone.startswith("early:"):
            self._sounding = tone.removeprefix("early:")
            self._legs[self._sounding].set_audio(talk=False, listen=True)
            tone = None
        self._engine.play(tone)

    def _start_leg(self, visit: Visit, action: StartLeg) -> None:
        name, target, auto_answer = action.leg, action.target, action.auto_answer
        user = self.house.user(target)
        if user is None:
            self._invite(visit, name, target, None, auto_answer)
            return
        phones = self.house.phones(user)
        if not phones:
            self._not_started(visit, name, ValueError(f"{user} is not registered"))
            return
        names = [name, *(visit.split(name) for _ in phones[1:])]
        for each, binding in zip(names, phones, strict=True):
            try:
                self._invite(visit, each, target, binding, auto_answer)
            except Exception as error:  # nor his other phones
                log.exception("leg %s failed", each)
                self._unexpected(error)
                self._not_started(visit, each, error)

    def _invite(self, visit: Visit, name: str, target: str, binding: Binding | None, auto_answer: bool) -> None:
        """Call a target, or the phone that a user of the house registered with `binding`."""
        try:
            if binding is not None:
                uri, account, via = binding.uri, "", binding.next_hop
            else:
                uri, account, via = self._resolve(target, visit.plan.name)
            leg = self._open_leg(name, visit, target, account, self._phone.local_host_towards(str(via)))
        except (ProtocolError, ValueError, OSError) as error:
            self._faults.set(f"target {target}", f"cannot be called: {error}", "correct the target, or the network")
            self._not_started(visit, name, error)
            return
        leg.towards = str(via)
        leg.phone = describe_phone(binding) if binding is not None else ""
        button = self._config.button(visit.plan.name)
        try:
            leg.call = self._phone.invite(
                uri,
                leg.offer(),
                account=account or None,
                display_name=button.display_name if button is not None else None,
                headers=(
                    *headers_for(
                        uri, button, self._config.account(account) if account else None, auto_answer=auto_answer
                    ),
                    *self._consulted.pop(name, ()),
                ),
                binding=binding,
                fallback=leg.offer_without_picture(),
            )
        except (ProtocolError, ValueError, OSError) as error:
            self._not_started(visit, name, error)
            return
        self._by_call[leg.call] = leg
        self._faults.clear(f"target {target}")

    def _not_started(self, visit: Visit, name: str, error: Exception) -> None:
        """No call came of a leg that was to be."""
        leg = self._legs.get(name)
        if leg is not None and leg.call:
            self._phone.hangup(leg.call)  # which tells its end
            return
        self._forget(name)
        if (asked_by := self._handed_on.pop(name, None)) is not None:
            self._phone.transfer_progress(asked_by, SERVER_ERROR, "")
        visit.leg_ended(name, "us", 0, str(error), {}, self._now())

    def _forget(self, name: str) -> None:
        """Takes back a leg of which no call came."""
        leg = self._legs.pop(name, None)
        if leg is not None:
            leg.media.close()

    def _open_leg(
        self,
        name: str,
        visit: Visit,
        party: str,
        account: str,
        host: str,
        direction: Literal["outgoing", "incoming"] = "outgoing",
    ) -> Leg:
        reader = CodeReader(
            self._codes,
            self._policy,
            self._lockout,
            doors=visit.plan.doors,
            # Of the leg, not of its visit: who took a call over by Replaces has called us.
            outgoing=direction == "outgoing",
        )
        media = self._media
        through = next((each for each in self._config.accounts if each.name == account), None)
        if through is not None and not through.video:
            media = replace(media, video=False)
        leg = Leg(
            name,
            visit.press,
            party,
            account,
            host,
            self._engine,
            media,
            reader,
            secrets.randbits(62),
            self._media_event,
        )
        leg.direction = direction
        self._legs[name] = leg
        return leg

    def _resolve(self, target: str, button_name: str | None) -> tuple[Uri, str, Uri]:
        """(whom to call, account or "" for none, whom the packets go to first)."""
        if target.startswith(("sip:", "sips:")):
            uri = Uri.parse(target)
            return uri, "", uri
        button = self._config.button(button_name) if button_name else None
        account = self._config.account(button.account if button is not None else None)
        if account is None:
            raise ValueError("a number needs an account; add [[accounts]] or write a full sip: address")
        address = Uri.parse(account.address)
        uri = address.replace(user=target, password=None, parameters=(), headers=())
        via = account.outbound_proxy or account.registrar
        return uri, account.name, Uri.parse(via) if via else address

    def _arm(self) -> None:
        """One timer for all visits and half-typed codes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadlines = [visit.next_deadline() for visit in self._visits.values()]
        deadlines += [leg.reader.next_deadline() for leg in self._legs.values()]
        soonest = min((time for time in deadlines if time is not None), default=None)
        if soonest is not None and not self._stopping:
            self._timer = self._loop.call_at(soonest, self._timer_fired)

    def _timer_fired(self) -> None:
        now = self._now()
        for leg in tuple(self._legs.values()):
            self._decided(leg, leg.reader.handle_timer(now))
        for visit in tuple(self._visits.values()):
            visit.handle_timer(now)
            self._carry_out(visit)
        self._arm()


def _may_tell(told_at: deque[float], now: float) -> bool:
    """Whether one more of a kind is told; notes it if so."""
    while told_at and now - told_at[0] > NEWS_WINDOW_S:
        told_at.popleft()
    if len(told_at) >= MOST_NEWS:
        return False
    told_at.append(now)
    return True


def _same_user(allowed: Uri, caller: Uri) -> bool:
    return allowed.user == caller.user and allowed.host.lower() == caller.host.lower()
