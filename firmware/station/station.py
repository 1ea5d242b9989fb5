"""The station: buttons, visits, codes and doors on one side, the SIP endpoint, the media engine and the lock
process on the other. What to do is decided by the pure machines (`visit`, `access`); this module carries it out on
the event loop's thread, publishes what happened, and answers `doorctl`.

Nothing here waits: a press becomes an INVITE within the same call.
"""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from ipaddress import ip_address

from firmware.config import Button, Config
from firmware.media import events as media_events
from firmware.media.engine import Engine
from firmware.net.door_client import DoorClient
from firmware.net.sip_endpoint import SipEndpoint
from firmware.sdp.errors import OutOfTurn, SdpError
from firmware.sip import events as sip_events
from firmware.sip.errors import ProtocolError
from firmware.sip.info_dtmf import read_key, write_key
from firmware.station import events
from firmware.station.access import Decision, Grant, Lockout, Policy
from firmware.station.buttons import Buttons
from firmware.station.contacts import Contacts
from firmware.station.doors import Doors
from firmware.station.events import EventStream, Evidence, PressAction, Record
from firmware.station.faults import Faults
from firmware.station.house import House, HouseEvent
from firmware.station.incoming import INCOMING, Incoming
from firmware.station.leg import Leg, sends_sound
from firmware.station.legs import Legs
from firmware.station.lights import Lights
from firmware.station.news import News
from firmware.station.overview import Overview
from firmware.station.ration import Ration
from firmware.station.status import ControlError
from firmware.station.transfers import Transfers
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
from firmware.station.visits import Visits

log = logging.getLogger(__name__)

MOST_KEYS = 32
_DEVICE_REMEDY = {
    "audio": "check that the sound card is plugged in and is the one board.toml names; it is tried again",
    "announcements": "correct the file, or take it away; a tone sounds in its place",
    "canceller": "install what is missing, or choose another by audio.canceller of configuration or board.toml",
    "camera": "check the camera's cable and board.toml; calls go on without a picture and it is tried again",
}
BY_HAND = "*call"  # name of a plan that no button can have
EARLY_DIALOG_OVER, OK = 199, 200
NOT_ACCEPTABLE, REQUEST_PENDING = 488, 491


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
        self._ration = Ration()
        self._phone = phone
        self._engine = engine
        self.faults = Faults(stream)
        self.house = House(config, self.faults, phone, loop)
        self.buttons = Buttons(config.buttons, self.faults, self._pressed_by_hand, loop)
        self.contacts = Contacts(config.doors, self.faults, loop, loop.time)
        self.lights = Lights(config.lights)
        self.doors = Doors(config, self.faults, door, loop, self._opened, self._not_opened)
        self._loop = loop
        self._now = loop.time
        access, calls = config.access, config.calls
        policy = Policy(
            access.wrong_codes,
            access.window_s,
            access.lockout_s,
            access.max_lockout_s,
            calls.dtmf_timeout_s,
            calls.unlock_while_ringing,
        )
        self._lockout = Lockout(policy)
        limits = Limits(
            calls.talk_limit_s, calls.warning_s, calls.hangup_after_unlock_s, engine.announcements.seconds
        )
        self._visits = Visits(limits, first_press)
        self._transfers = Transfers(config, self._publish, phone)
        self._legs = Legs(
            config,
            self.faults,
            phone,
            engine,
            self.house,
            self._transfers,
            policy,
            self._lockout,
            self._media_event,
            self._now,
        )
        self._incoming = Incoming(config, stream, phone, self._legs, self._visits, self._carry_out, self._now)
        self._sounding: str | None = None  # leg whose early sound the visitor hears
        self._news = News(self.faults, phone, self.house, self._legs, self._now)
        self.overview = Overview(config)
        for take in (self.overview.take, self.contacts.take, self.lights.take):
            stream.subscribe(take)
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False

    # --- what the house does -------------------------------------------------------------------------------

    def pressed(self, button: str, source: str, edge_s: float, *, hammered: bool = False) -> int:
        """The button went down at `edge_s` (monotonic seconds). Returns the number of the press. `hammered`: it
        belongs to the press before, and asks for nothing else."""
        now = self._now()
        plan = self._plan(self._button(button))
        active = self._visits.in_use
        if active is not None and active.plan.name == INCOMING:
            # Who stands at the door comes before who looked in.
            active.cancel("a button was pressed", now)
            self._carry_out(active)
        elif active is not None:
            if active.phase == "talking" or active.plan.name == plan.name:
                action = "ignore" if hammered else active.press_again(now)
                self._tell_press(active.press, button, source, edge_s, action)
                self._carry_out(active)
                return active.press
            # Another flat's button while one rings: the visitor corrects himself.
            active.cancel("another button was pressed", now)
            self._carry_out(active)
        visit = self._new_visit(plan)
        self._tell_press(visit.press, button, source, edge_s, "ring")
        if not plan.stages:
            self.faults.set(f"button {button}", "has no ring plan", f"give buttons.{button} at least one stage")
        self._visits.active = visit
        visit.begin(now)
        self._carry_out(visit)
        return visit.press

    def _pressed_by_hand(self, button: str, edge_s: float, hammered: bool) -> None:
        self.pressed(button, "gpio", edge_s, hammered=hammered)

    def remember_refusals(self, records: Iterable[Record], wall_s: float) -> None:
        """Wrong codes of earlier runs, oldest first: a restart lets nobody out of a lock-out. `wall_s` is now."""
        now = self._now()
        for record in records:
            event = record.event
            if isinstance(event, events.AccessRefused) and event.wrong_codes:
                # A clock that was set back meanwhile makes none of them later than now.
                self._lockout.count_wrong(event.evidence.party, now - max(0.0, wall_s - record.wall_s))

    def stop(self, reason: str) -> None:
        """Ends what is going on; the SIP endpoint says good-bye afterwards."""
        self._stopping = True
        self._publish(events.StationStopping(reason=reason))
        now = self._now()
        for visit in tuple(self._visits.by_press.values()):
            visit.cancel("station stops", now)
            self._carry_out(visit)
        self._engine.play(None)
        self.buttons.close()
        self.contacts.close()
        self.house.stop()
        if self._timer is not None:
            self._timer.cancel()

    # --- SIP -----------------------------------------------------------------------------------------------

    def sip_event(self, event: sip_events.Event) -> None:
        if isinstance(event, sip_events.RegistrationChanged):
            self._news.registration(event)
            return
        if isinstance(event, sip_events.IncomingCall):
            self._incoming.take(event)
            self._arm()
            return
        if isinstance(event, sip_events.TextReceived | sip_events.TextDelivered | sip_events.CheckSync):
            self._news.take(event)
            return
        if isinstance(event, sip_events.WatcherChanged):
            self._news.watcher(event)
            return
        if isinstance(event, HouseEvent):
            self.house.take(event)
            return
        leg = self._legs.by_call.get(getattr(event, "call", 0))
        if leg is None:
            return
        visit = self._visits.by_press[leg.press]
        now = self._now()
        match event:
            case sip_events.InviteSent():
                self._legs.signalled(leg, event.flow.transport)
                self._publish(
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
                self._transfers.progress(leg.name, event.status)
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
                self._transfers.progress(leg.name, OK)
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
                    self._incoming.acknowledged(leg)
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
                self._transfers.asked(leg, visit, event)
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
            self._legs.no_ports(error)
        if leg.moved and leg.media.gathers:
            self._legs.after_gathering(leg, partial(self._tell_address, leg))
        elif leg.moved:
            self._tell_address(leg)
        elif leg.reader.answered:
            self._phone.refresh(leg.call)

    def _tell_address(self, leg: Leg) -> None:
        """Offer the address that media has moved to, as soon as the call lets us."""
        if leg.moved and leg.reader.answered and not leg.media.gathers:
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

    def _leg_over(self, leg: Leg, visit: Visit, by: str, status: int, reason: str) -> None:
        if self._incoming.over(leg, visit, status, reason):
            return
        self._transfers.over(leg.name, status, reason)
        if self._sounding == leg.name:
            self._sounding = None
        statistics = self._legs.forget(leg.name)
        visit.leg_ended(leg.name, by, status, reason, statistics, self._now())  # type: ignore[arg-type]  # same words
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
        if event.content_type == "application/trickle-ice-sdpfrag":
            leg.trickled(event.body)
            return
        found = read_key(event.content_type, event.body)
        if found is not None:
            leg.media.digit_from_info(found.key, found.held_ms / 1000)

    # --- media ---------------------------------------------------------------------------------------------

    def _media_event(self, leg: Leg, event: media_events.MediaEvent) -> None:
        if leg.name not in self._legs.by_name:
            return
        visit = self._visits.by_press[leg.press]
        if visit.phase == "new":
            return  # of a caller who is being refused
        match event:
            case media_events.RtpStarted():
                self._publish(
                    events.RtpStarted(press=leg.press, leg=leg.name, media=event.media, direction=event.direction)
                )
            case media_events.SoundHeard():
                visit.leg_sounds(leg.name)
                self._carry_out(visit)
            case media_events.Digit():
                self._publish(events.DigitReceived(press=leg.press, leg=leg.name, source=event.source))
                self._decided(leg, leg.reader.digit(event.digit, self._now()))
                self._arm()
            case media_events.DigitRefused():
                self._publish(events.DigitRefused(press=leg.press, leg=leg.name, source=event.source))
            case media_events.MediaLost():
                self._publish(
                    events.MediaLost(
                        press=leg.press, leg=leg.name, media=event.media, silent_s=round(event.silent_s, 1)
                    )
                )

            case media_events.TransportFailed():
                self._publish(events.MediaFailed(press=leg.press, leg=leg.name, media=event.media, why=event.why))
                # A picture less is no reason to end a call; while it rings, the answer may bring another way.
                if event.media == "audio" and leg.reader.answered:
                    self._unusable(leg, visit, event.why)

    def media_fault(self, fault: media_events.MediaFault) -> None:
        """Something of sound or picture failed, or works again; calls go on with what is left."""
        if fault.what:
            self.faults.set(fault.where, fault.what, _DEVICE_REMEDY[fault.where])
        else:
            self.faults.clear(fault.where)

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
        self._publish(
            events.AccessRefused(
                press=leg.press,
                door=decision.door,
                reason=decision.reason,
                evidence=evidence,
                wrong_codes=decision.wrong_codes,
            )
        )
        if decision.locked_s:
            locked = events.AccessLocked(
                lockout_s=decision.locked_s, wrong_codes=decision.wrong_codes, source=leg.party
            )
            self._publish(locked)
        if decision.station_locked_s:
            self._publish(
                events.AccessLocked(lockout_s=decision.station_locked_s, wrong_codes=decision.wrong_codes)
            )
        leg.media.play("wrong-code")

    def _opened(self, press: int) -> None:
        for leg in self._legs.of(press):
            leg.media.play("door-opened")
        visit = self._visits.by_press.get(press)
        if visit is None or visit is self._visits.active:
            self._engine.announce("door-opened")
            self._publish(events.DoorSound(press=press, sound="door-opened"))
        if visit is not None:
            visit.unlocked(self._now())
            self._carry_out(visit)

    def _not_opened(self, press: int) -> None:
        for leg in self._legs.of(press):
            leg.media.play("out-of-order")

    # --- doorctl -------------------------------------------------------------------------------------------

    def status(self) -> dict[str, object]:
        now = self._now()
        status = self.overview.status(now, self._lockout.longest_s(now))
        return replace(status, users=self.house.status(), sip=self._phone.counts()).as_dict()

    def press(self, button: str, source: str = "doorctl") -> dict[str, object]:
        """A press by hand of the technician; without a name, the first button."""
        if not button and self._config.buttons:
            button = self._config.buttons[0].name
        press = self.pressed(button, source, self._now())
        return {"press": press, "button": button}

    def call(self, target: str) -> dict[str, object]:
        """Calls a target from the door, as if a button with just this target were pressed."""
        if self._visits.in_use is not None:
            raise ControlError("the door is in a call; end it first with: doorctl hangup")
        user = self.house.user(target)
        if user is not None and not self.house.phones(user):
            raise ControlError(f"{user} is not registered; doorctl status shows who is")
        try:
            if user is None:
                self._legs.resolve(target, None)
        except (ProtocolError, ValueError) as error:
            raise ControlError(f'"{target}" cannot be called: {error}') from error
        plan = Plan(BY_HAND, (Stage((target,), 60.0),), doors=tuple(d.name for d in self._config.doors))
        visit = self._visits.active = self._new_visit(plan)
        visit.begin(self._now())
        self._carry_out(visit)
        return {"press": visit.press, "target": target}

    def quality(self) -> dict[str, object]:
        """How every leg of now sounds and looks, in numbers."""
        return {"legs": [leg.quality() for leg in self._legs.by_name.values()]}

    def message(self, target: str, text: str) -> dict[str, object]:
        """Sends a short text to a target, to each phone of a user; `text-delivered` tells whether it arrived."""
        return self._news.send(target, text)

    def hangup(self) -> dict[str, object]:
        visit = self._visits.in_use
        if visit is None:
            raise ControlError("there is no call to end")
        visit.cancel("ended by doorctl", self._now())
        self._carry_out(visit)
        return {"press": visit.press}

    def keys(self, digits: str) -> dict[str, object]:
        """Presses keys at the phone of who talks with the door, the way the account says."""
        visit = self._visits.in_use
        name = visit.talking_leg if visit is not None else None
        if visit is None or name is None:
            raise ControlError("nobody talks with the door")
        if not 0 < len(digits) <= MOST_KEYS:
            raise ControlError(f"1 to {MOST_KEYS} keys can be pressed at once")
        leg = self._legs.by_name[name]
        way = leg.keys_out
        try:
            if way == "info" or way == "info-dtmf":
                bodies = [write_key(key, way) for key in digits]
                for content_type, body in bodies:
                    self._phone.info(leg.call, content_type, body)
                leg.media.note_sent(digits)
            else:
                leg.media.send_digits(digits, way)
        except ValueError as error:
            raise ControlError(f"the keys cannot be pressed: {error}") from error
        self._stream.publish(events.KeysSent(press=visit.press, leg=name, keys=len(digits)))
        return {"press": visit.press, "leg": name, "keys": len(digits)}

    async def unlock(self, door: str, user: str) -> dict[str, object]:
        """Opens a door by word of a local user; waits until the lock process said yes or no."""
        active = self._visits.active
        return await self.doors.unlock(door, user, active.press if active is not None else 0)

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

    def _tell_press(self, press: int, button: str, source: str, edge_s: float, action: PressAction) -> None:
        self._publish(events.ButtonPressed(press=press, button=button, source=source, edge_s=edge_s, action=action))

    def _carry_out(self, visit: Visit) -> None:
        while actions := visit.take_actions():  # a leg that cannot start at once has consequences of its own
            for action in actions:
                try:
                    self._do(visit, action)
                except Exception as error:  # one action's bug must not keep the other phones from ringing
                    log.exception("%s of press %d failed", type(action).__name__, visit.press)
                    self.faults.unexpected(error)
                    if isinstance(action, StartLeg):
                        self._legs.not_started(visit, action.leg, error)
        self._arm()

    def _do(self, visit: Visit, action: Action) -> None:
        match action:
            case Publish():
                self._publish(action.event)
            case StartLeg():
                self._legs.start(visit, action)
            case EndLeg():
                leg = self._legs.by_name.get(action.leg)
                if leg is not None and not leg.call:  # its candidates are being gathered still
                    self._legs.not_started(visit, leg.name, ValueError("given up"))
                elif leg is not None:
                    self._phone.hangup(leg.call, reason=action.reason)
                    leg.close()  # its transaction may go on for 32 s; ports and keys are not to
            case Talk():
                self._legs.by_name[action.leg].set_audio(talk=True, listen=True)
            case Sound():
                self._sound(visit, action.tone)
            case Warn():
                self._engine.play("warning")
                self._legs.by_name[action.leg].media.play("warning")
            case Ended():
                self._forget(visit)

    def _forget(self, visit: Visit) -> None:
        self._visits.forget(visit)
        self._ration.forget(visit.press)

    def _new_visit(self, plan: Plan) -> Visit:
        """Of visits that wait for their last answers, the oldest give way: the SIP core ends their calls alone."""
        for old in self._visits.overdue():
            for leg in self._legs.of(old.press):
                if self._sounding == leg.name:
                    self._sounding = None
                self._legs.forget(leg.name)
                self._transfers.over(leg.name)
            self._forget(old)
        return self._visits.new(plan)

    def _publish(self, event: events.Event) -> None:
        for told in self._ration.take(event):
            self._stream.publish(told)

    def _sound(self, visit: Visit, tone: str | None) -> None:
        if self._visits.active is not visit:
            return  # a newer visit has the loudspeaker
        if self._sounding is not None:
            self._legs.by_name[self._sounding].set_audio(talk=False, listen=False)
            self._sounding = None
        if tone is not None and tone.startswith("early:"):
            self._sounding = tone.removeprefix("early:")
            self._legs.by_name[self._sounding].set_audio(talk=False, listen=True)
            tone = None
        self._engine.play(tone)

    def _arm(self) -> None:
        """One timer for all visits and half-typed codes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadlines = [visit.next_deadline() for visit in self._visits.by_press.values()]
        deadlines += [leg.reader.next_deadline() for leg in self._legs.by_name.values()]
        deadlines.append(self._incoming.next_deadline())
        soonest = min((time for time in deadlines if time is not None), default=None)
        if soonest is not None and not self._stopping:
            self._timer = self._loop.call_at(soonest, self._timer_fired)

    def _timer_fired(self) -> None:
        now = self._now()
        for leg in tuple(self._legs.by_name.values()):
            self._decided(leg, leg.reader.handle_timer(now))
        self._incoming.handle_timer(now)
        for visit in tuple(self._visits.by_press.values()):
            visit.handle_timer(now)
            self._carry_out(visit)
        self._arm()
