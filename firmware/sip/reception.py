"""Where a request that arrives goes: to its transaction, its dialog, the house, or to a stranger's answer.

RFC 3261 8.2, 9.2, 12.2.2 and 16.3. Strangers are answered within bounds: beyond `max_transactions` each repeat gets
the same answer anew, and nothing is remembered of it (8.2.7).
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from firmware.sip.answers import (
    EVENTS,
    METHODS,
    SDP,
    accepts,
    answer,
    offer_of,
    refused_method,
    unreadable,
    unsupported,
)
from firmware.sip.call import Call, Calls
from firmware.sip.dialog_info import CONTENT_TYPE as DIALOG_INFO
from firmware.sip.events import CheckSync, TextReceived
from firmware.sip.events import IncomingCall as IncomingCallEvent
from firmware.sip.identity import Identity
from firmware.sip.incoming_call import IncomingCall
from firmware.sip.message import Request, Response, response_to
from firmware.sip.replaces import replaced
from firmware.sip.session_timer import LEAST_S, SessionTimer
from firmware.sip.stack import Stack
from firmware.sip.text_message import text_of
from firmware.sip.types import Flow

if TYPE_CHECKING:
    from firmware.sip.house import HouseServer
    from firmware.sip.notifier import Notifier

_BUSY_RETRY_S = "10"


def event_package(request: Request) -> str:
    return (request.headers.get("Event") or "").partition(";")[0].strip().lower()


def takes_sdp(request: Request) -> bool:
    """Whether the caller of an INVITE could read our answer, alone or among other parts."""
    return accepts(request, SDP) or any(
        value.strip().lower().startswith("multipart/") for value in request.headers.values("Accept")
    )


class Reception:
    def __init__(
        self, stack: Stack, calls: Calls, identities: Mapping[str, Identity], random: Callable[[int], bytes]
    ) -> None:
        self.stopping = False  # no call is let in any more
        self.dropped = 0  # strays, and what was over the bounds
        self.house: HouseServer | None = None
        self.notifier: Notifier | None = None  # from the first subscription on
        self._stack = stack
        self._calls = calls
        self._identities = identities
        self._tag_key = random(16)
        house = stack.configuration.house
        if house is not None:
            from firmware.sip import house as home  # most stations have a PBX and need not carry it

            self.house = home.HouseServer(stack, house, random, self._stateless_tag)

    def receive(self, request: Request, flow: Flow, now: float) -> None:
        """A request that can be read, its Via completed; the answer goes to `flow`."""
        transactions = self._stack.transactions
        server = transactions.find_server(request)
        if server is not None:
            transactions.receive_again(server, request, now)
            return
        key = (request.call_id, request.to.tag or "", request.from_.tag or "")
        found = self._calls.by_dialog.get(key)
        if request.method == "ACK":
            if found is not None:
                found[0].receive_ack(request, now)
            elif self.house is None or not self.house.acknowledge(request, flow, now):
                self.dropped += 1
            return
        if request.method == "CANCEL":
            self._cancel(request, flow, now)
            return
        watched = self.notifier.find(key) if self.notifier is not None else None
        if found is not None or watched is not None:
            if len(transactions) - transactions.strangers >= 2 * self._stack.configuration.max_transactions:
                self.dropped += 1  # whoever knows our tags and floods us gets silence
                return
            server = transactions.open_server(request, flow, now, stranger=False)
            if found is not None:
                found[0].receive(server, found[1], now)
            elif watched is not None:
                watched.receive(server, now)
            return
        if self.house is not None and self.house.receive(request, flow, now):
            return
        status, headers = self._policy(request)
        identity = self._identity_behind(request, flow)
        user = ""
        if status == 0 and self.house is not None and identity is None:
            caller = self.house.caller(request, flow, now)
            if isinstance(caller, str):
                user = caller
            else:
                status, headers = caller.status, caller.headers
        if status == 0 and request.method == "SUBSCRIBE":
            if user or identity is not None:
                self._receive_subscribe(request, flow, now, identity, user)
                return
            status = 403  # a stranger need not know whether somebody is at the door
        if status == 0:
            self._receive_invite(request, flow, now, identity, user)
        elif transactions.strangers < self._stack.configuration.max_transactions:
            server = transactions.open_server(request, flow, now, stranger=True)
            transactions.respond(server, self._answer(request, status, headers), now)
            if status == 200:
                self._note_news(request, flow)
        else:
            # A stateless user agent server gives the same answer to each repeat (8.2.7).
            self._stack.send(flow, bytes(self._answer(request, status, headers)))

    def _policy(self, request: Request) -> tuple[int, tuple[tuple[str, str], ...]]:
        """What a request outside all dialogs gets (8.2); 0 for an INVITE that the station must decide on, and for a
        SUBSCRIBE that is granted to who may."""
        method = request.method
        transactions = self._stack.transactions
        if method == "SUBSCRIBE" and event_package(request) != EVENTS:
            return 489, ()
        if method not in METHODS:
            return refused_method(method), ()
        if request.uri.scheme not in ("sip", "sips"):
            return 416, ()
        if request.max_forwards == 0 and method != "OPTIONS":
            return 483, ()
        if request.to.tag is not None:
            return 481, ()
        if transactions.merged(request):
            return 482, ()
        missing = unsupported(request)
        if missing:
            return 420, (("Unsupported", ", ".join(missing)),)
        if method == "OPTIONS":
            return 200, ()
        if method == "NOTIFY":
            # Unsolicited message-summary and check-sync of PBXs: to refuse them brings them back for ever.
            return (200 if request.headers.get("Event") else 489), ()
        if method == "MESSAGE":
            return (200 if text_of(request) is not None else 415), ()
        if method == "REFER":
            return 403, ()  # nobody outside a call sends us anywhere
        if method == "SUBSCRIBE":
            return self._subscribe_policy(request)
        if method != "INVITE":
            return 481, ()
        if unreadable(request):
            return 415, ()
        if SessionTimer.too_short(request):
            return 422, (("Min-SE", str(LEAST_S)),)
        if "Replaces" in request.headers and isinstance(found := replaced(request, self._calls), int):
            return found, ()
        if not takes_sdp(request):
            return 406, ()
        incoming = sum(isinstance(call, IncomingCall) for call in self._calls.by_number.values())
        if (
            self.stopping
            or incoming >= self._stack.configuration.max_calls
            or transactions.strangers >= self._stack.configuration.max_transactions
        ):
            return 503, (("Retry-After", _BUSY_RETRY_S),)
        return 0, ()

    def _subscribe_policy(self, request: Request) -> tuple[int, tuple[tuple[str, str], ...]]:
        if not accepts(request, DIALOG_INFO):
            return 406, ()
        if not request.contacts:
            return 400, ()  # nobody to notify
        strangers = self._stack.transactions.strangers
        if self.stopping or strangers >= self._stack.configuration.max_transactions:
            return 503, (("Retry-After", _BUSY_RETRY_S),)
        return 0, ()

    def _receive_subscribe(
        self, request: Request, flow: Flow, now: float, identity: Identity | None, user: str
    ) -> None:
        if self.notifier is None:
            from firmware.sip import notifier  # few doors are watched

            self.notifier = notifier.Notifier(self._stack, self._calls)
        server = self._stack.transactions.open_server(request, flow, now, stranger=True)
        self.notifier.subscribe(server, identity, user, now)

    def _receive_invite(
        self, request: Request, flow: Flow, now: float, identity: Identity | None, user: str
    ) -> None:
        server = self._stack.transactions.open_server(request, flow, now, stranger=True)
        replaces = replaced(request, self._calls) if "Replaces" in request.headers else None
        call = IncomingCall(self._calls, identity, server, now)
        self._stack.emit(
            IncomingCallEvent(
                call.number,
                request.uri,
                request.from_,
                request.to,
                flow,
                identity.account.name if identity is not None else "",
                offer_of(request),
                tuple(request.headers),
                user,
                replaces.number if isinstance(replaces, Call) else 0,
            )
        )

    def _note_news(self, request: Request, flow: Flow) -> None:
        """Tell of a request outside all dialogs that has been answered and says something."""
        if request.method not in ("MESSAGE", "NOTIFY"):
            return
        identity = self._identity_behind(request, flow)
        account = identity.account.name if identity is not None else ""
        if request.method == "MESSAGE":
            self._stack.emit(TextReceived(request.from_, flow, account, text_of(request) or ""))
        elif event_package(request) == "check-sync":
            self._stack.emit(CheckSync(flow, account))

    def _cancel(self, request: Request, flow: Flow, now: float) -> None:
        transactions = self._stack.transactions
        invite = transactions.find_invite(request)
        if invite is None:
            self._stack.send(flow, bytes(self._answer(request, 481)))
            return
        call = next((call for call in self._calls.by_number.values() if call.serves(invite)), None)
        tag = call.local_tag if call is not None else self._stateless_tag(request)
        server = transactions.open_server(request, flow, now, stranger=invite.stranger)
        transactions.respond(server, response_to(request, 200, to_tag=tag), now)
        if call is not None and not invite.answered:
            call.cancelled(invite, request, now)
        elif self.house is not None:
            self.house.cancel(invite, request, now)

    # --- helpers --------------------------------------------------------------------------------------------

    def _answer(self, request: Request, status: int, headers: tuple[tuple[str, str], ...] = ()) -> Response:
        return answer(self._stack, request, status, to_tag=self._stateless_tag(request), headers=headers)

    def _stateless_tag(self, request: Request) -> str:
        """The same for each repeat of a request, and nothing else can be told from it (8.2.7)."""
        what = f"{request.top_via.branch} {request.call_id}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(what, key=self._tag_key, digest_size=8).hexdigest()

    def _identity_behind(self, request: Request, flow: Flow) -> Identity | None:
        """The account over whose registered flow a request came; the called user decides between several."""
        behind = [
            identity
            for identity in self._identities.values()
            if any(_same_flow(registered.flow, flow) for registered in identity.registered.values())
        ]
        for identity in behind:
            if identity.is_called(request.uri):
                return identity
        return behind[0] if behind else None


def _same_flow(known: Flow, flow: Flow) -> bool:
    """Whether a request came on the flow that we registered over: the very connection, since only its server has
    shown who it is; by UDP from the server's address and port. Another connection from that address is anybody's
    who lives there."""
    if known.reliable:
        return known.number == flow.number
    return flow.transport == "udp" and known.remote == flow.remote
