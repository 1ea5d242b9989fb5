"""What the core tells the station, as frozen data. `call` is the number that `Core.invite` gave or that came
with `IncomingCall`; `dialog` is the remote tag, since one INVITE may ring several phones (RFC 3261 13.2.2)."""

from dataclasses import dataclass
from typing import Literal

from firmware.sip.location import Binding
from firmware.sip.types import Flow
from firmware.sip.uri import NameAddr, Uri

EndedBy = Literal["us", "peer", "network"]
RegistrationState = Literal["registering", "registered", "failed", "unregistered"]


@dataclass(frozen=True, slots=True)
class InviteSent:
    """The INVITE left for the first time."""

    call: int
    flow: Flow


@dataclass(frozen=True, slots=True)
class CallTrying:
    """100: somebody on the way works on it."""

    call: int


@dataclass(frozen=True, slots=True)
class CallProgress:
    """A provisional answer above 100. Repeats that say nothing new are left out. `final`: it came reliably
    (RFC 3262), so that its `sdp` is this dialog's answer for good, and no other follows. 199: it has ended."""

    call: int
    dialog: str
    status: int
    sdp: bytes
    final: bool = False


@dataclass(frozen=True, slots=True)
class CallAnswered:
    """The first 2xx to our INVITE; its ACK is on its way. Later forks are ended by the core, without an event."""

    call: int
    dialog: str
    sdp: bytes


@dataclass(frozen=True, slots=True)
class CallEnded:
    """Exactly once per call. `status` is the final SIP status where there was one, 200 for a BYE, 408 or 503 where
    the network failed; `reason` is the Reason header, the reason phrase, or what failed on the way."""

    call: int
    by: EndedBy
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """An INVITE from outside. `caller` is what it claims in From and proves nothing; `account` names the account
    over whose registered server it came, `user` the user of the house who proved himself by digest, both empty
    otherwise. `sdp` is empty where the offer is left to us. `replaces` is the call of ours whose place it wants to
    take (RFC 3891), 0: none."""

    call: int
    request_uri: Uri
    caller: NameAddr
    called: NameAddr
    source: Flow
    account: str
    sdp: bytes
    headers: tuple[tuple[str, str], ...]
    user: str = ""
    replaces: int = 0


@dataclass(frozen=True, slots=True)
class CallAcknowledged:
    """The ACK to our 2xx arrived. `sdp` is its body: the answer, where our 2xx carried the offer."""

    call: int
    sdp: bytes = b""


@dataclass(frozen=True, slots=True)
class Reoffered:
    """The peer offers anew (re-INVITE, UPDATE, PRACK). `sdp` empty: it asks for a fresh offer of ours. Answer with
    `answer_offer` or `reject_offer`. `dialog` names the early dialog of a call of ours that only rings."""

    call: int
    sdp: bytes
    dialog: str = ""


@dataclass(frozen=True, slots=True)
class OfferAnswered:
    """The answer to our own `reoffer`, or to the offer in our reliable 183. `sdp` may be missing, or nonsense."""

    call: int
    sdp: bytes


@dataclass(frozen=True, slots=True)
class OfferRefused:
    """Our own `reoffer` was refused: the session is as it was. `again`: it met another offer, and `OfferDue` will
    say when it may be made anew."""

    call: int
    status: int
    reason: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class OfferDue:
    """The way is free for the `reoffer` that had to wait, if it is still wanted."""

    call: int


@dataclass(frozen=True, slots=True)
class OfferReduced:
    """The peer refused our INVITE for its offer; it was sent again with the next of those of `fall_back`."""

    call: int
    status: int


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The session was refreshed with our last description; `sdp` is the peer's answer to that, empty where the
    refresh had none."""

    call: int
    sdp: bytes


@dataclass(frozen=True, slots=True)
class NetworkChanged:
    """Our address may be another one. Whom we talk with hears of it, so that his BYE finds us: by `refresh`, or by
    `reoffer` where the address of our media is another too. Told of a call that only rings as well."""

    call: int


@dataclass(frozen=True, slots=True)
class TransferAsked:
    """The peer wants us to call `target` in its stead (RFC 3515). Answer with `accept_transfer` or
    `refuse_transfer`. `referred_by` is what it says of itself and proves nothing."""

    call: int
    target: Uri
    referred_by: str


@dataclass(frozen=True, slots=True)
class InfoReceived:
    """INFO within a call, already answered 200."""

    call: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class TextReceived:
    """MESSAGE (RFC 3428), already answered. `sender` proves nothing; `account` as in `IncomingCall`."""

    sender: NameAddr
    source: Flow
    account: str
    text: str


@dataclass(frozen=True, slots=True)
class TextDelivered:
    """What became of `Core.message`: 2xx, or why it did not arrive."""

    message: int
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class CheckSync:
    """NOTIFY with Event: check-sync: the server wants us to fetch our configuration. It proves nothing."""

    source: Flow
    account: str


@dataclass(frozen=True, slots=True)
class WatcherChanged:
    """Somebody sees from now on whether the station rings or talks (RFC 4235), or no longer, and why. `user` and
    `account` as in `IncomingCall`: one of them is how it proved that it may."""

    watcher: Uri
    account: str
    user: str
    active: bool
    reason: str


@dataclass(frozen=True, slots=True)
class RegistrationChanged:
    """`status` and `reason` say why it failed; `retry_s` when the next try starts, `expires_s` for how long we are
    registered and `server` where, as "10.0.0.2:5060 (udp)". Another server is another `registered`."""

    account: str
    state: RegistrationState
    status: int = 0
    reason: str = ""
    retry_s: float = 0.0
    expires_s: float = 0.0
    server: str = ""


@dataclass(frozen=True, slots=True)
class UserRegistered:
    """A user of the house can be reached at a Contact. `again`: known already, its time begins anew."""

    binding: Binding
    again: bool


@dataclass(frozen=True, slots=True)
class UserUnregistered:
    binding: Binding
    reason: str


@dataclass(frozen=True, slots=True)
class UserRefused:
    """Somebody claimed to be a user and could not prove it, or asked for what is not his. `locked_s`: nothing more
    is heard from that address for so long."""

    user: str
    source: Flow
    method: str
    status: int
    reason: str
    locked_s: float


Event = (
    InviteSent
    | CallTrying
    | CallProgress
    | CallAnswered
    | CallEnded
    | IncomingCall
    | CallAcknowledged
    | Reoffered
    | OfferAnswered
    | OfferRefused
    | OfferDue
    | OfferReduced
    | Refreshed
    | NetworkChanged
    | TransferAsked
    | InfoReceived
    | TextReceived
    | TextDelivered
    | CheckSync
    | WatcherChanged
    | RegistrationChanged
    | UserRegistered
    | UserUnregistered
    | UserRefused
)
