"""One visit: from the press of a button (or an operator's call, or a call that came in) to its last event.

Pure: what happens at the legs and `now` go in; what is to be done and what is to be told come out, in order. The
visit knows the ring plan, the limits and whose turn it is; it knows no SIP message, no SDP and no sound device.

    phase    event                                      next     what is done
    new      begin, the plan rings nobody               closing  Sound out-of-order
    new      begin                                      ringing  first stage: StartLeg each target, Sound ringback
    ringing  leg rings with early sound, sound arrives  ringing  Sound follows that leg
    ringing  leg answered                               talking  Talk; EndLeg the others: completed elsewhere
    ringing  leg failed, others ring                    ringing  -
    ringing  last leg of the stage failed               ringing  next stage at once; after the last: closing
    ringing  stage's time is up                         ringing  EndLeg its legs, next stage; or closing
    ringing  ring limit                                 closing  EndLeg all, Sound no-answer
    ringing  pressed again: ignore / extend / cancel    ringing / ringing with all times new / closing
    talking  a leg answered late                        talking  EndLeg it
    talking  successor (transfer, Replaces)             talking  StartLeg the new party; the old one talks on
    talking  the successor answered                     talking  Talk; EndLeg the old one
    talking  the old one left while the new one rings   ringing  Sound please-wait; the talk limit runs on
    talking  warning time                               talking  Warn
    talking  talk limit, time after the unlock          closing  EndLeg
    talking  leg ended                                  closing  -
    closing  tone's time is up and no leg left          done     Ended

A leg that is given up stays until its end is reported, so that a visit never forgets a call that is still there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from firmware.station import events
from firmware.station.events import Event

COMPLETED_ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'  # RFC 3326 2; peers.md: no missed-call entry
END_TONE_S = 3.0
MOST_SUCCESSORS = 8  # in one visit: more is somebody's game
_BUSY = {486, 600, 603}

Phase = Literal["new", "ringing", "talking", "closing", "done"]


@dataclass(frozen=True, slots=True)
class Stage:
    targets: tuple[str, ...]
    seconds: float
    auto_answer: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Whom a button rings. `doors` are those its parties may open."""

    name: str
    stages: tuple[Stage, ...]
    doors: tuple[str, ...] = ()
    ring_limit_s: float = 60.0
    second_press: Literal["ignore", "extend", "cancel"] = "ignore"


@dataclass(frozen=True, slots=True)
class Limits:
    talk_limit_s: float = 180.0
    warning_s: float = 10.0
    hangup_after_unlock_s: float = 5.0  # 0: the call goes on
    announcement_s: Mapping[str, float] = field(default_factory=dict)  # by name: those that are spoken


@dataclass(frozen=True, slots=True)
class StartLeg:
    leg: str
    target: str
    auto_answer: bool = False


@dataclass(frozen=True, slots=True)
class EndLeg:
    """`reason` is a Reason header's value; empty: none is sent."""

    leg: str
    reason: str


@dataclass(frozen=True, slots=True)
class Talk:
    leg: str


@dataclass(frozen=True, slots=True)
class Sound:
    """What the visitor hears: a tone or an announcement by name, `early:<leg>` for that leg's own sound, None for
    silence."""

    tone: str | None


@dataclass(frozen=True, slots=True)
class Warn:
    """The call is about to end: both sides hear it."""

    leg: str


@dataclass(frozen=True, slots=True)
class Publish:
    event: Event


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing of this visit is left."""


Action = StartLeg | EndLeg | Talk | Sound | Warn | Publish | Ended


@dataclass(slots=True)
class _Leg:
    target: str
    state: Literal["calling", "ringing", "talking", "given up"] = "calling"
    early_sound: bool = False  # the peer said that it will send sound before the answer
    answered_s: float = 0.0


@dataclass(slots=True)
class Visit:
    """`press` numbers the visit. Feed it, then drain `take_actions()` and arm `next_deadline()`."""

    press: int
    plan: Plan
    limits: Limits
    phase: Phase = "new"
    outcome: str = ""
    _legs: dict[str, _Leg] = field(default_factory=dict)
    _actions: list[Action] = field(default_factory=list)
    _stage: int = -1
    _numbered: int = 0
    _sound: str | None = None
    _successor: str = ""  # the leg that is to take the talking one's place
    _successors: int = 0
    _worst_status: int = 0
    _stage_ends: float | None = None
    _ring_ends: float | None = None
    _warns: float | None = None
    _talk_ends: float | None = None
    _talk_end_reason: str = ""
    _tone_ends: float | None = None

    # --- what may be asked ---------------------------------------------------------------------------------

    @property
    def talking_leg(self) -> str | None:
        return next((name for name, leg in self._legs.items() if leg.state == "talking"), None)

    def has_leg(self, leg: str) -> bool:
        return leg in self._legs

    def target(self, leg: str) -> str:
        return self._legs[leg].target

    def legs(self) -> Mapping[str, str]:
        """Leg names and their states, for status."""
        return {name: leg.state for name, leg in self._legs.items()}

    def take_actions(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions

    def next_deadline(self) -> float | None:
        times = (self._stage_ends, self._ring_ends, self._warns, self._talk_ends, self._tone_ends)
        return min((time for time in times if time is not None), default=None)

    # --- what happens --------------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        if not self.plan.stages:
            self._close("failed", "no ring plan", "out-of-order", now)
            return
        self.phase = "ringing"
        self._ring_ends = now + self.plan.ring_limit_s
        self._next_stage(now)

    def begin_answered(self, leg: str, caller: str, now: float) -> None:
        """A call that came in and was let in: no ringing, the leg talks at once."""
        self._legs[leg] = _Leg(caller)
        self.phase = "ringing"
        self.leg_answered(leg, now)

    def press_again(self, now: float) -> Literal["ignore", "extend", "cancel"]:
        """The same button once more; returns what it did."""
        if self.phase != "ringing" or self.plan.second_press == "ignore":
            return "ignore"
        if self.plan.second_press == "extend":
            self._ring_ends = now + self.plan.ring_limit_s
            self._stage_ends = now + self.plan.stages[self._stage].seconds
            return "extend"
        self.cancel("pressed again", now)
        return "cancel"

    def cancel(self, reason: str, now: float) -> None:
        """Somebody at the station's side ends the visit: second press, another button, an operator, the stop."""
        if self.phase in ("ringing", "talking"):
            self._close("cancelled" if self.phase == "ringing" else "answered", reason, None, now)

    def successor(self, target: str, *, calls: bool) -> str | None:
        """A new leg that takes the place of who talks with the door, once it is answered; its name. None unless
        somebody talks, nobody is on his way already, and few have been. `calls`: we call him; else he calls us."""
        if self.phase != "talking" or self._successor in self._legs or self._successors >= MOST_SUCCESSORS:
            return None
        self._successors += 1
        self._numbered += 1
        name = self._successor = f"{self.press}.{self._numbered}"
        self._legs[name] = _Leg(target)
        if calls:
            self._actions.append(StartLeg(name, target))
        return name

    def split(self, leg: str) -> str:
        """One more leg to the same target, for whom has several phones; returns its name."""
        self._numbered += 1
        name = f"{self.press}.{self._numbered}"
        self._legs[name] = _Leg(self._legs[leg].target)
        return name

    def leg_trying(self, leg: str) -> None:
        if leg in self._legs and self._legs[leg].state != "given up":
            self._tell(events.LegTrying(press=self.press, leg=leg))

    def leg_ringing(self, leg: str, status: int, *, early_sound: bool, early_media: bool, now: float) -> None:
        """A provisional response. `early_sound`: its SDP says that sound will come; `early_media`: it had SDP."""
        state = self._legs.get(leg)
        if state is None or state.state == "given up":
            return
        state.state = "ringing"
        state.early_sound = early_sound
        self._tell(events.LegRinging(press=self.press, leg=leg, status=status, early_media=early_media))

    def leg_sounds(self, leg: str) -> None:
        """The first sound of a leg that is not silence. Only now may it replace the ringback: a peer that promises
        early sound and sends silence must not leave the visitor in it."""
        state = self._legs.get(leg)
        early_plays = self._sound is not None and self._sound.startswith("early:")
        if self.phase == "ringing" and state is not None and state.early_sound and not early_plays:
            self._play(f"early:{leg}")

    def leg_answered(self, leg: str, now: float) -> None:
        state = self._legs.get(leg)
        if state is None or state.state == "given up":
            return
        if leg == self._successor:
            self._successor = ""  # who talks may hand the door on in his turn
            if self.phase == "talking":
                self._hand_over(leg, state, now)
                return
        if self.phase != "ringing":
            self._give_up(leg, COMPLETED_ELSEWHERE)
            return
        state.state, state.answered_s = "talking", now
        self.phase = "talking"
        self._stage_ends = self._ring_ends = None
        self._tell(events.LegAnswered(press=self.press, leg=leg))
        self._sound = None
        self._actions.append(Sound(None))
        self._actions.append(Talk(leg))
        self._tell(events.DoorSound(press=self.press, sound="call"))
        for other in tuple(self._legs):
            if other != leg:
                self._give_up(other, COMPLETED_ELSEWHERE)
        if self._talk_ends is not None:
            return  # handed on: the limit runs from the first answer
        self._talk_ends, self._talk_end_reason = now + self.limits.talk_limit_s, "talk limit"
        if 0 < self.limits.warning_s < self.limits.talk_limit_s:
            self._warns = self._talk_ends - self.limits.warning_s

    def _hand_over(self, leg: str, state: _Leg, now: float) -> None:
        before = self.talking_leg
        state.state, state.answered_s = "talking", now
        self._tell(events.LegAnswered(press=self.press, leg=leg))
        self._actions.append(Talk(leg))
        if before is not None:
            self._give_up(before, "")

    def leg_silent(self, leg: str) -> None:
        """The leg's sound before its answer is over, though it may still ring elsewhere."""
        if self.phase == "ringing" and self._sound == f"early:{leg}":
            self._play("ringback")

    def unlocked(self, now: float) -> None:
        """The relay went on for this visit."""
        if self.phase == "talking" and self.limits.hangup_after_unlock_s:
            ends = now + self.limits.hangup_after_unlock_s
            if self._talk_ends is None or ends < self._talk_ends:
                self._talk_ends, self._talk_end_reason = ends, "unlocked"
                self._warns = None

    def leg_ended(
        self,
        leg: str,
        by: Literal["us", "peer", "network"],
        status: int,
        reason: str,
        statistics: dict[str, float | int | str],
        now: float,
    ) -> None:
        """The leg's call is over, whoever ended it. Comes exactly once for each leg."""
        state = self._legs.pop(leg, None)
        if state is None:
            return
        if state.answered_s:
            self._tell(
                events.LegEnded(
                    press=self.press,
                    leg=leg,
                    by=by,
                    reason=reason,
                    duration_s=round(now - state.answered_s, 3),
                    statistics=statistics,
                )
            )
            if self.phase == "talking" and state.state == "talking":
                if self._successor in self._legs:
                    self.phase, self._ring_ends = "ringing", now + self.plan.ring_limit_s
                    self._play("please-wait")
                else:
                    sound = "out-of-order" if by == "network" else self._spoken("call-ended")
                    self._close("answered", reason or f"ended by {by}", sound, now)
        elif state.state != "given up":
            self._tell(events.LegFailed(press=self.press, leg=leg, status=status, reason=reason))
            self._worst_status = status
            if self._sound == f"early:{leg}":
                self._play("ringback")
            if self.phase == "ringing" and not self._ringing_legs():
                if leg == self._successor:
                    self._close("answered", "handed on, and nobody there", "no-answer", now)
                else:
                    self._stage_over("all legs failed", now)
        self._finish_if_empty()

    def handle_timer(self, now: float) -> None:
        if self._warns is not None and now >= self._warns:
            self._warns = None
            leg = self.talking_leg
            if leg:
                self._actions.append(Warn(leg))
                self._tell(events.DoorSound(press=self.press, sound="warning"))
        if self._talk_ends is not None and now >= self._talk_ends:
            self._close("answered", self._talk_end_reason, self._spoken("call-ended"), now)
        if self._ring_ends is not None and now >= self._ring_ends:
            self._tell(events.StageEnded(press=self.press, stage=self._stage + 1, reason="ring limit"))
            self._close("unanswered", "ring limit", "no-answer", now)
        elif self._stage_ends is not None and now >= self._stage_ends:
            for leg in self._ringing_legs():
                self._give_up(leg, "")
            self._stage_over("nobody answered in time", now)
        if self._tone_ends is not None and now >= self._tone_ends:
            self._tone_ends = None
            self._play(None)
            self._finish_if_empty()

    # --- how it is done ------------------------------------------------------------------------------------

    def _ringing_legs(self) -> Sequence[str]:
        return [name for name, leg in self._legs.items() if leg.state in ("calling", "ringing")]

    def _next_stage(self, now: float) -> None:
        self._stage += 1
        stage = self.plan.stages[self._stage]
        self._stage_ends = now + stage.seconds
        self._tell(events.StageStarted(press=self.press, stage=self._stage + 1, targets=stage.targets))
        for target in stage.targets:
            self._numbered += 1
            name = f"{self.press}.{self._numbered}"
            self._legs[name] = _Leg(target)
            self._actions.append(StartLeg(name, target, stage.auto_answer))
        # After the INVITEs: a sound card that takes its time to open must not hold them back.
        if self._sound != "ringback":
            self._play("ringback")

    def _stage_over(self, reason: str, now: float) -> None:
        self._tell(events.StageEnded(press=self.press, stage=self._stage + 1, reason=reason))
        if self._stage + 1 < len(self.plan.stages):
            self._next_stage(now)
        elif reason == "all legs failed":
            tone = "busy" if self._worst_status in _BUSY else "unreachable"
            self._close("failed", reason, tone, now)
        else:
            self._close("unanswered", reason, "no-answer", now)

    def _give_up(self, leg: str, reason: str) -> None:
        state = self._legs[leg]
        if state.state == "given up":
            return
        answered = state.state == "talking"
        state.state = "given up"
        self._actions.append(EndLeg(leg, reason))
        if not answered:
            text = reason.partition('text="')[2].rstrip('"') or "given up"
            self._tell(events.LegCancelled(press=self.press, leg=leg, reason=text))

    def _close(
        self,
        outcome: Literal["answered", "unanswered", "cancelled", "failed"],
        reason: str,
        tone: str | None,
        now: float,
    ) -> None:
        self.phase, self.outcome = "closing", outcome
        self._stage_ends = self._ring_ends = self._warns = self._talk_ends = None
        for leg in tuple(self._legs):
            self._give_up(leg, "")
        self._play(tone)
        self._tone_ends = now + max(END_TONE_S, self.limits.announcement_s.get(tone, 0.0)) if tone else None
        self._tell(events.PressEnded(press=self.press, outcome=outcome, reason=reason))
        self._finish_if_empty()

    def _spoken(self, name: str) -> str | None:
        """For what is no failure: said where there are words for it, silence where a tone would stand in."""
        return name if self.limits.announcement_s.get(name) else None

    def _finish_if_empty(self) -> None:
        if self.phase == "closing" and not self._legs and self._tone_ends is None:
            self.phase = "done"
            self._actions.append(Ended())

    def _play(self, sound: str | None) -> None:
        self._sound = sound
        self._actions.append(Sound(sound))
        name = "early-media" if sound and sound.startswith("early:") else sound or "silence"
        self._tell(events.DoorSound(press=self.press, sound=name))

    def _tell(self, event: Event) -> None:
        self._actions.append(Publish(event))
