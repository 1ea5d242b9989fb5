"""The one stream of events: everything that happens at the station, as plain data.

Each event is a frozen dataclass; `EventStream.publish` numbers it, stamps it with the monotonic and the
wall clock, and hands the `Record` to every subscriber (store, journal, control socket, web, `doorctl why`).
Subscribers are called on the event loop's thread and must not block; one that raises is dropped from the
stream and the fault is published in its place. Events never carry a digit, a code or a password.

`press` numbers one visit from the button's edge to the last relay or call event; `leg` names one call to or
from one party and is unique within the life of the store (`"12.1"`: press 12, first leg).
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

log = logging.getLogger(__name__)

Media = Literal["audio", "video"]
PressAction = Literal["ring", "ignore", "extend", "cancel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events. `kind` is the name under which an event is stored, filtered and shown."""

    kind: ClassVar[str] = "event"


# --- the press and its ring plan ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ButtonPressed(Event):
    """A button went down. `edge_s` is the edge's own monotonic time stamp (kernel's where there is one)."""

    kind: ClassVar[str] = "button-pressed"
    press: int
    button: str
    source: str  # "gpio", "doorctl", "demo"
    edge_s: float
    action: PressAction = "ring"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStarted(Event):
    kind: ClassVar[str] = "stage-started"
    press: int
    stage: int  # from 1
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageEnded(Event):
    """A stage rang without an answer; `reason` says why the next one starts ("all legs failed", "time")."""

    kind: ClassVar[str] = "stage-ended"
    press: int
    stage: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PressEnded(Event):
    kind: ClassVar[str] = "press-ended"
    press: int
    outcome: Literal["answered", "unanswered", "cancelled", "failed"]
    reason: str
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorSound(Event):
    """What the visitor hears from now on: "ringback", "early-media", "busy", "warning", "call", "silence" ..."""

    kind: ClassVar[str] = "door-sound"
    press: int
    sound: str


# --- legs --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class InviteSent(Event):
    kind: ClassVar[str] = "invite-sent"
    press: int
    leg: str
    target: str
    account: str = ""  # empty: straight to the target, no server
    call: int = 0  # the SIP core's number, from 1 with each start of the station: doorctl sip --call
    phone: str = ""  # where the phone of a user of the house is


@dataclass(frozen=True, slots=True, kw_only=True)
class LegTrying(Event):
    kind: ClassVar[str] = "leg-trying"  # 100
    press: int
    leg: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LegRinging(Event):
    kind: ClassVar[str] = "leg-ringing"  # 180, 183 ...
    press: int
    leg: str
    status: int
    early_media: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LegAnswered(Event):
    kind: ClassVar[str] = "leg-answered"
    press: int
    leg: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LegCancelled(Event):
    """We gave the leg up: `reason` is what its peer was told."""

    kind: ClassVar[str] = "leg-cancelled"
    press: int
    leg: str
    reason: str
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LegFailed(Event):
    """The leg ended without an answer. `status` is the SIP status, 0 where nothing answered at all."""

    kind: ClassVar[str] = "leg-failed"
    press: int
    leg: str
    status: int
    reason: str
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LegEnded(Event):
    """An answered leg ended. `by` is "us" or "peer"; `statistics` is `media`'s summary, plain values."""

    kind: ClassVar[str] = "leg-ended"
    press: int
    leg: str
    by: Literal["us", "peer", "network"]
    reason: str
    duration_s: float
    statistics: dict[str, float | int | str] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RtpStarted(Event):
    kind: ClassVar[str] = "rtp-started"
    press: int
    leg: str
    media: Media
    direction: Literal["sent", "received"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLost(Event):
    """Nothing was received for `silent_s` on a stream that should carry sound."""

    kind: ClassVar[str] = "media-lost"
    press: int
    leg: str
    media: Media
    silent_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFailed(Event):
    """The way of a stream (ICE) or its keys (DTLS) did not come about, or broke."""

    kind: ClassVar[str] = "media-failed"
    press: int
    leg: str
    media: Media
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingCall(Event):
    kind: ClassVar[str] = "incoming-call"
    press: int
    leg: str
    caller: str  # From, as claimed
    source: str  # transport and address it came from
    proven: str  # how the caller proved itself; empty: it did not
    call: int = 0  # as in InviteSent


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingRefused(Event):
    kind: ClassVar[str] = "incoming-refused"
    caller: str
    source: str
    status: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferAsked(Event):
    """Who talks on `leg` wants to hand the door on; `successor` is the leg that is called, empty: refused."""

    kind: ClassVar[str] = "transfer-asked"
    press: int
    leg: str
    target: str
    successor: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextReceived(Event):
    kind: ClassVar[str] = "text-received"
    sender: str  # what it says of itself; proves nothing
    source: str
    account: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelivered(Event):
    """A text of ours arrived (2xx), or why not."""

    kind: ClassVar[str] = "text-delivered"
    target: str
    status: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSync(Event):
    """The server asks the station to fetch its configuration."""

    kind: ClassVar[str] = "check-sync"
    source: str
    account: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WatcherChanged(Event):
    """A phone or PBX sees from now on whether the door rings or talks (BLF), or no longer, and why not.

    `proven` says how it showed that it may."""

    kind: ClassVar[str] = "watcher-changed"
    watcher: str
    proven: str
    active: bool
    reason: str = ""


# --- access and the relay ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitReceived(Event):
    """A key was pressed at the other end; which one is not recorded."""

    kind: ClassVar[str] = "digit-received"
    press: int
    leg: str
    source: Literal["rtp", "info", "inband"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitRefused(Event):
    """A key came that had gone out from the door just before: played at its microphone, or sent by itself."""

    kind: ClassVar[str] = "digit-refused"
    press: int
    leg: str
    source: Literal["rtp", "info", "inband"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysSent(Event):
    """Keys were pressed at the far end; which ones is not recorded."""

    kind: ClassVar[str] = "keys-sent"
    press: int
    leg: str
    keys: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Why an opening was asked for: what `portero-door` and the log keep."""

    by: str  # "code", "doorctl", "rex" ...
    press: int = 0
    leg: str = ""
    party: str = ""  # the target we dialled, or the caller and how it proved itself
    direction: Literal["outgoing", "incoming", "none"] = "none"
    code_name: str = ""  # the code's name in the configuration, never its digits
    user: str = ""  # local user of doorctl


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessGranted(Event):
    kind: ClassVar[str] = "access-granted"
    press: int
    door: str
    evidence: Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRefused(Event):
    kind: ClassVar[str] = "access-refused"
    press: int
    door: str  # empty where no door is meant, as with a wrong code
    reason: str
    evidence: Evidence
    wrong_codes: int = 0  # it counts as a wrong code, as that many-th of the party's


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessLocked(Event):
    """Too many wrong codes of `source`, a party that the door dialled: none of its codes is accepted for
    `lockout_s` seconds; none at all where `source` is empty."""

    kind: ClassVar[str] = "access-locked"
    lockout_s: float
    wrong_codes: int
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsLeftOut(Event):
    """So many of a kind came that the others are only counted. Of one leg or one press: the number stands in
    `left_out` of the event that ends it. Of strangers (no press): another of these tells it as `count`."""

    kind: ClassVar[str] = "events-left-out"
    of: str  # their kind
    press: int = 0
    leg: str = ""
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOn(Event):
    kind: ClassVar[str] = "relay-on"
    press: int
    door: str
    pulse_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayReadBack(Event):
    """The line's level as read back from the chip after switching it."""

    kind: ClassVar[str] = "relay-read-back"
    press: int
    door: str
    active: bool
    expected: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOff(Event):
    kind: ClassVar[str] = "relay-off"
    press: int
    door: str
    on_ms: int
    reason: str  # "pulse ended", "client lost", "stopping" ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorRefused(Event):
    """portero-door refused a pulse or could not be reached."""

    kind: ClassVar[str] = "door-refused"
    press: int
    door: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorOpened(Event):
    """The door's contact says that it was opened. `unlocked`: the station had released its strike, at most 10 s
    before; else it was a key, the handle inside, or force."""

    kind: ClassVar[str] = "door-opened"
    door: str
    unlocked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorClosed(Event):
    kind: ClassVar[str] = "door-closed"
    door: str
    open_s: float  # for so long it stood open


# --- the station itself ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StationStarted(Event):
    kind: ClassVar[str] = "station-started"
    version: str
    board: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StationStopping(Event):
    kind: ClassVar[str] = "station-stopping"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationChanged(Event):
    kind: ClassVar[str] = "registration-changed"
    account: str
    state: Literal["registering", "registered", "failed", "unregistered"]
    status: int
    reason: str
    retry_s: float = 0.0
    expires_s: float = 0.0
    server: str = ""  # where, as "10.0.0.2:5060 (udp)"; another server is another `registered`


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRegistered(Event):
    """A phone of a user of the house can be rung from now on."""

    kind: ClassVar[str] = "user-registered"
    user: str
    contact: str
    source: str  # transport and address it registered from
    agent: str  # what it calls itself
    expires_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UserUnregistered(Event):
    kind: ClassVar[str] = "user-unregistered"
    user: str
    contact: str
    reason: str  # "unregistered", "expired", "connection closed", "moved", "too many phones"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRefused(Event):
    """Somebody claimed to be a user of the house and did not prove it, or wanted what is not his. `locked_s`: the
    address he came from is not heard for so long."""

    kind: ClassVar[str] = "user-refused"
    user: str  # as claimed
    source: str
    request: str
    status: int
    reason: str
    locked_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorProcess(Event):
    """portero-door came or went. Without it no door opens."""

    kind: ClassVar[str] = "door-process"
    connected: bool
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault(Event):
    """Something the station needs is broken; `remedy` tells a technician what to do. `where` clears it."""

    kind: ClassVar[str] = "fault"
    where: str  # "account pbx", "door process", "camera", "store" ...
    what: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultCleared(Event):
    kind: ClassVar[str] = "fault-cleared"
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundChecked(Event):
    """A technician tried speaker, microphone and canceller, or had them calibrated. `wrong`: in words."""

    kind: ClassVar[str] = "sound-checked"
    action: str  # "loop", "calibrate"
    works: bool
    wrong: str = ""
    margin_db: float = 0.0  # by so much the far end's own voice comes back quieter; 0: not measured


@dataclass(frozen=True, slots=True)
class Record:
    """An event with its number and times. `monotonic_s` orders, `wall_s` (Unix seconds) is for people."""

    seq: int
    monotonic_s: float
    wall_s: float
    event: Event


class EventStream:
    """Numbers, stamps and hands on events. `first_seq` continues the store's numbering over restarts."""

    def __init__(
        self,
        first_seq: int = 1,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._next = first_seq
        self._monotonic = monotonic
        self._wall = wall
        self._subscribers: list[Callable[[Record], None]] = []

    def subscribe(self, subscriber: Callable[[Record], None]) -> Callable[[], None]:
        """Call `subscriber` with every record from now on; returns the function that ends it."""
        self._subscribers.append(subscriber)
        return lambda: self._drop(subscriber)

    def publish(self, event: Event) -> Record:
        record = Record(self._next, self._monotonic(), self._wall(), event)
        self._next += 1
        for subscriber in tuple(self._subscribers):
            try:
                subscriber(record)
            except Exception:
                # A reader's bug must neither stop the door nor be repeated with every event.
                log.exception("event subscriber %r failed and is dropped", subscriber)
                self._drop(subscriber)
                self.publish(Fault(where="events", what=f"{subscriber!r} failed", remedy="see the journal"))
        return record

    def _drop(self, subscriber: Callable[[Record], None]) -> None:
        if subscriber in self._subscribers:
            self._subscribers.remove(subscriber)
