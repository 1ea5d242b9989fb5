"""What both kinds of call share once there is a dialog: RFC 3261 sections 12.2, 14 and 15, RFC 3311, RFC 4028.

    state    | input                     | next     | what happens
    ---------|---------------------------|----------|----------------------------------------------
    early    | (outgoing_call.py, incoming_call.py)
    early    | UPDATE with an offer      | early    | Reoffered, for that dialog
    answered | hangup                    | ended    | BYE, CallEnded by us
    answered | BYE                       | ended    | 200, CallEnded by the peer
    answered | re-INVITE, UPDATE         | answered | Reoffered; an UPDATE without an offer gets its 200 at once
    answered | the same, one waits       | answered | 500 with Retry-After (14.2)
    answered | the same, our offer is out | answered | 491
    answered | the same, interval too short | answered | 422
    answered | answer_offer              | answered | 2xx; to a re-INVITE repeated until its ACK
    answered | reject_offer              | answered | that status; the session stays as it was
    answered | CANCEL of the re-INVITE   | answered | 200, and 487 to the re-INVITE
    answered | reoffer                   | answered | re-INVITE (modification.py)
    answered | reoffer, another is open  | answered | OfferRefused, and OfferDue when the way is free
    answered | no ACK for 64*T1          | ended    | BYE, CallEnded by the network
    answered | session nearly expired    | ended    | BYE, CallEnded by the network
    answered | INFO                      | answered | 200 and InfoReceived, or 415
    answered | REFER                     | answered | 603, or TransferAsked (transfer.py)
    answered | our INFO gets 481 or nothing | ended | BYE, CallEnded (12.2.1.2)
    ended    | any request               | ended    | 481

`CallEnded` goes out with our BYE, not with the answer to it: the session ends at once (15.1.1).
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

from firmware.sip.accepted_invite import AcceptedInvite
from firmware.sip.answers import (
    INFO_BODIES,
    TEXT,
    answer,
    offer_of,
    reason_text,
    refused_method,
    unreadable,
    unsupported,
)
from firmware.sip.dialog import Dialog, DialogKey
from firmware.sip.dialog_info import DialogState, Direction, State, ending
from firmware.sip.errors import LocalProtocolError
from firmware.sip.events import (
    CallAcknowledged,
    CallEnded,
    EndedBy,
    InfoReceived,
    NetworkChanged,
    OfferDue,
    OfferRefused,
    Reoffered,
)
from firmware.sip.identity import Identity, contact_of
from firmware.sip.message import Message, Request
from firmware.sip.modification import Modification
from firmware.sip.own_requests import OwnRequests
from firmware.sip.session import Session
from firmware.sip.session_timer import LEAST_S, SessionTimer
from firmware.sip.stack import Stack
from firmware.sip.transactions import Server
from firmware.sip.transfer import Transfer
from firmware.sip.types import Flow, Transport
from firmware.sip.uri import NameAddr


class Calls:
    """The calls of one core, by number and by dialog."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.by_number: dict[int, Call] = {}
        self.by_dialog: dict[DialogKey, tuple[Call, Session]] = {}
        self.last_number = 0
        self.watcher: Callable[[DialogState, float], None] | None = None  # hears what others may see (notifier.py)

    def new_number(self) -> int:
        self.last_number += 1
        return self.last_number

    def network_changed(self) -> None:
        """Our address may be another one; what is to be said of it is the station's affair."""
        for call in self.by_number.values():
            if call.flow is not None and not call.flow.reliable:
                call.flow = None  # bound to an address that may be gone
            self.stack.emit(NetworkChanged(call.number))

    def flow_closed(self, flow: Flow) -> None:
        for call in self.by_number.values():
            if call.flow is not None and flow.reliable and call.flow.number == flow.number:
                call.flow = None


class Call:
    owns_call_id = False  # who does waits longer when two offers meet (14.1)

    def __init__(self, calls: Calls, number: int, identity: Identity | None) -> None:
        self.number = number
        self.state: Literal["early", "answered", "ended"] = "early"
        self.session: Session | None = None  # the one that was answered
        self.flow: Flow | None = None  # on which the peer was heard
        self.stack = calls.stack
        self.identity = identity
        self.requests = OwnRequests(self)
        self.transfer: Transfer | None = None
        self.shown: DialogState | None = None  # what others may see of the call; None: nothing
        self.timer = SessionTimer(
            calls.stack.schedule,
            (identity.account if identity is not None else calls.stack.configuration).session_expires_s,
            on_refresh=self._refresh,
            on_expired=self._expired_session,
        )
        self._calls = calls
        self._stack = calls.stack
        self._dialogs: list[DialogKey] = []
        self._accepted: AcceptedInvite | None = None  # our 2xx waits for its ACK
        self._peer_allows: frozenset[str] = frozenset()
        self._offer_wanted = False  # the station had to wait for its turn
        self._refresh_wanted = False

    def _enter(self) -> None:
        self._calls.by_number[self.number] = self

    def show(self, state: State, now: float, event: str = "", code: int = 0) -> None:
        """Let others see the call in `state`."""
        direction: Direction = "initiator" if self.owns_call_id else "recipient"
        shown = DialogState(str(self.number), direction, state, event, code)
        if shown != self.shown:
            self.shown = shown
            if self._calls.watcher is not None:
                self._calls.watcher(shown, now)

    @property
    def dialog(self) -> Dialog | None:
        return self.session.dialog if self.session is not None else None

    # --- commands -------------------------------------------------------------------------------------------

    def hangup(self, now: float, status: int, reason: str) -> None:
        raise NotImplementedError

    def answer_offer(self, sdp: bytes, now: float, dialog: str = "") -> None:
        session = self._session_named(dialog)
        if session is None or session.waiting is None:
            return  # taken back by a CANCEL or a BYE that the station has not heard of yet
        server, session.waiting = session.waiting, None
        session.dialog.refresh(server.request)
        if server.request.method == "INVITE":
            self._accept(server, session, sdp, now)
            return
        session.step("we answer")
        session.local_sdp = sdp
        if server.request.method == "UPDATE":
            self._respond_update(server, session, now, sdp=sdp)
        else:
            self._respond(server, 200, now, sdp=sdp)
        self.settled(now)

    def reject_offer(self, status: int, now: float, dialog: str = "") -> None:
        if not 300 <= status < 700:
            raise LocalProtocolError(f"an offer is not rejected with {status}")
        session = self._session_named(dialog)
        if session is not None and session.waiting is not None:
            server, session.waiting = session.waiting, None
            session.step("we refuse")
            self._respond(server, status, now)
            self.settled(now)

    def reoffer(self, sdp: bytes, now: float, dialog: str = "") -> None:
        """Offer anew: re-INVITE, or UPDATE in the early dialog named."""
        session = self._session_named(dialog)
        if self.state != "answered" or session is None:
            if session is None or not session.at_rest or "UPDATE" not in self._peer_allows:
                raise LocalProtocolError("no offer can be made in this call yet")
            Modification(self, session, "UPDATE", sdp).start(now)
        elif session.modification is not None and session.modification.pausing:
            session.modification.resume(sdp, now)
        elif self._at_rest(session):
            Modification(self, session, "INVITE", sdp).start(now)
        else:
            self._offer_wanted = True
            self._stack.emit(OfferRefused(self.number, 491, "another offer is open", again=True))

    def refresh(self, now: float) -> None:
        """Say once more who and where we are; the session stays as it is."""
        if self.state == "answered":
            self._refresh_wanted = True
            self.settled(now)

    def info(self, content_type: str, body: bytes, now: float) -> None:
        if self.dialog is not None and self.state == "answered":
            self.requests.info(content_type, body, now)

    # --- requests of the peer within a dialog ---------------------------------------------------------------

    def receive(self, server: Server, session: Session, now: float) -> None:
        request = server.request
        missing = unsupported(request)
        if not session.dialog.in_order(request):
            self._respond(server, 500, now, reason="CSeq out of order")
        elif missing and request.method != "BYE":
            self._respond(server, 420, now, headers=(("Unsupported", ", ".join(missing)),))
        elif request.method == "BYE":
            self._respond(server, 200, now)
            self.receive_bye(session, request, now)
        elif self.state == "ended":
            self._respond(server, 481, now)
        else:
            receive = self._RECEIVERS.get(request.method, Call._receive_other)
            receive(self, server, session, now)

    def receive_bye(self, session: Session, bye: Request, now: float) -> None:
        self.end("peer", 200, reason_text(bye.reason) or "BYE", now)

    def receive_ack(self, ack: Request, now: float) -> None:
        if self._accepted is not None:
            self._accepted.acknowledged(ack, now)

    def serves(self, server: Server) -> bool:
        """Whether this INVITE waits for our final response."""
        return self.session is not None and server is self.session.waiting

    def cancelled(self, server: Server, cancel: Request, now: float) -> None:
        """The peer takes back an INVITE that is not answered; its CANCEL has had its 200 (9.2)."""
        session = self.session
        if session is not None and server is session.waiting:
            session.waiting = None
            session.step("we refuse")
        self._respond(server, 487, now)

    def _receive_reinvite(self, server: Server, session: Session, now: float) -> None:
        self._receive_offer(server, session, now)

    def _receive_update(self, server: Server, session: Session, now: float) -> None:
        request = server.request
        if offer_of(request):
            self._receive_offer(server, session, now)
        elif self.timer.too_short(request):
            self._respond(server, 422, now, headers=(("Min-SE", str(LEAST_S)),))
        else:
            session.dialog.refresh(request)
            self.heard_of_peer(request)
            self._respond_update(server, session, now)

    def _receive_offer(self, server: Server, session: Session, now: float) -> None:
        """A re-INVITE, or an UPDATE with an offer."""
        request = server.request
        sdp = offer_of(request)
        status = self._collision(request, session)
        if status == 500:
            after_s = str(int(self._stack.between(0, 11)))
            self._respond(server, 500, now, reason="Offer in progress", headers=(("Retry-After", after_s),))
        elif status:
            self._respond(server, status, now)
        elif unreadable(request):
            self._respond(server, 415, now)
        elif self.timer.too_short(request):
            self._respond(server, 422, now, headers=(("Min-SE", str(LEAST_S)),))
        else:
            self.heard_of_peer(request)
            session.waiting = server
            if sdp:
                session.step("the peer offers")
            self._stack.emit(Reoffered(self.number, sdp, self._name_of(session)))

    def _collision(self, request: Request, session: Session) -> int:
        return session.collision(request, offers=bool(offer_of(request)))

    def _receive_prack(self, server: Server, session: Session, now: float) -> None:
        self._respond(server, 481, now)

    def _receive_info(self, server: Server, session: Session, now: float) -> None:
        request = server.request
        kind = request.content_type
        if kind not in INFO_BODIES and request.body:
            self._respond(server, 415, now)
            return
        self._respond(server, 200, now)
        if kind in INFO_BODIES:
            self._stack.emit(InfoReceived(self.number, kind, request.body))

    def _receive_refer(self, server: Server, session: Session, now: float) -> None:
        if self.state != "answered":
            self._respond(server, 603, now)
            return
        transfer = Transfer(self, server)
        if transfer.begin(now, busy=self.transfer is not None and not self.transfer.over):
            self.transfer = transfer

    def _receive_options(self, server: Server, session: Session, now: float) -> None:
        self._respond(server, 200, now)

    def _receive_notify(self, server: Server, session: Session, now: float) -> None:
        # NOTIFY of what we never subscribed to, SUBSCRIBE to what we do not serve.
        self._respond(server, 489, now)

    def _receive_message(self, server: Server, session: Session, now: float) -> None:
        # Text within a call: nobody at the door reads it.
        self._respond(server, 200 if server.request.content_type == TEXT else 415, now)

    def _receive_other(self, server: Server, session: Session, now: float) -> None:
        self._respond(server, refused_method(server.request.method), now)

    _RECEIVERS: ClassVar[Mapping[str, Callable[["Call", Server, Session, float], None]]] = {
        "INVITE": _receive_reinvite,
        "UPDATE": _receive_update,
        "PRACK": lambda self, server, session, now: self._receive_prack(server, session, now),
        "INFO": _receive_info,
        "REFER": _receive_refer,
        "OPTIONS": _receive_options,
        "NOTIFY": _receive_notify,
        "SUBSCRIBE": _receive_notify,
        "MESSAGE": _receive_message,
    }

    # --- a 2xx of ours --------------------------------------------------------------------------------------

    def _accept(self, server: Server, session: Session, sdp: bytes, now: float) -> None:
        if self._accepted is not None and self._accepted.waiting:
            self._accepted.stop()  # a newer INVITE says that the older 2xx arrived
        if session.offer == "theirs":
            session.step("we answer")
        elif sdp:
            session.step("we offer")
        if sdp:
            session.local_sdp = sdp
        response = answer(
            self._stack,
            server.request,
            200,
            to_tag=self.local_tag,
            contact=self.contact(server.flow),
            sdp=sdp,
            headers=self.timer.answer(server.request, now),
        )
        self._accepted = AcceptedInvite(
            self._stack,
            server,
            response,
            offered=session.offer == "ours",
            on_ack=self.acknowledged,
            on_silence=self.unacknowledged,
        )
        self._accepted.start(now)

    def acknowledged(self, ack: Request, now: float) -> None:
        sdp = b""
        if self._accepted is not None and self._accepted.offered and self.session is not None:
            sdp = offer_of(ack)  # in any other ACK a description means nothing
            self.session.step("the peer answers" if sdp else "our offer is refused")
        self._stack.emit(CallAcknowledged(self.number, sdp))
        self.settled(now)

    def unacknowledged(self, now: float) -> None:
        if self.dialog is not None and self.state == "answered":
            self.requests.bye(self.dialog, 'SIP;cause=408;text="ACK missing"', now)
            self.end("network", 408, "our answer was never acknowledged", now)

    def dialog_lost(self, by: EndedBy, status: int, reason: str, now: float) -> None:
        """The peer knows nothing of the call any more, or is gone (12.2.1.2)."""
        if self.dialog is not None and self.state == "answered":
            self.requests.bye(self.dialog, "", now)
            self.end(by, status, reason, now)

    # --- offers and refreshes of ours -----------------------------------------------------------------------

    def settled(self, now: float) -> None:
        """Something ended that others may have waited for."""
        session = self.session
        if self.state != "answered" or session is None or not self._at_rest(session):
            return
        if self._offer_wanted:
            self._offer_wanted = False
            self._stack.emit(OfferDue(self.number))
        if self._refresh_wanted:
            self._refresh_wanted = False
            by_update = "UPDATE" in self._peer_allows or not session.local_sdp
            Modification(self, session, "UPDATE" if by_update else "INVITE").start(now)

    def _at_rest(self, session: Session) -> bool:
        """Whether we may offer: no other offer is open, and our 2xx has had its ACK (14.1, RFC 5407 3.1.5)."""
        return session.at_rest and not (self._accepted is not None and self._accepted.waiting)

    def heard_of_peer(self, message: Message) -> None:
        """What a request or 2xx says that the peer can do."""
        if "Allow" in message.headers:
            self._peer_allows = message.allow

    def peer_has_no_update(self) -> None:
        self._peer_allows -= {"UPDATE"}

    def _refresh(self, now: float) -> None:
        self.refresh(now)

    def _expired_session(self, now: float) -> None:
        if self.dialog is not None and self.state == "answered":
            self.requests.bye(self.dialog, 'SIP;cause=408;text="Session expired"', now)
            self.end("network", 408, "the session was not refreshed", now)

    # --- shared by the kinds --------------------------------------------------------------------------------

    def end(self, by: EndedBy, status: int, reason: str, now: float) -> None:
        """The one place where a call ends; every later end says nothing."""
        if self.state == "ended":
            return
        answered = self.state == "answered"
        self.state = "ended"
        self.timer.close()
        self._offer_wanted = self._refresh_wanted = False
        self.requests.withdraw(now)
        for _, session in [self._calls.by_dialog[key] for key in self._dialogs]:
            self._close(session, now)
        self._calls.by_number.pop(self.number, None)
        if not self._lingers():
            self._forget()
        if self.shown is not None:
            self.show("terminated", now, *ending(self.shown.direction, by, status, answered=answered))
        self._stack.emit(CallEnded(self.number, by, status, reason))

    def _close(self, session: Session, now: float) -> None:
        """Nobody will answer in this dialog any more."""
        if session.waiting is not None:
            server, session.waiting = session.waiting, None
            self._respond(server, 487, now)
        if session.modification is not None:
            session.modification.stop(now)

    def _lingers(self) -> bool:
        """Whether the dialog is still needed after the end."""
        return False

    def _forget(self) -> None:
        if self._accepted is not None and self._accepted.waiting:
            self._accepted.stop()
        self._accepted = None  # it knows this call: neither is to wait for the search for cycles
        for key in self._dialogs:
            self._calls.by_dialog.pop(key, None)
        self._dialogs.clear()

    @property
    def local_tag(self) -> str | None:
        return self.dialog.local.tag if self.dialog is not None else None

    def _session_named(self, dialog: str) -> Session | None:
        return self.session

    def _name_of(self, session: Session) -> str:
        return ""

    def _add_session(self, session: Session) -> None:
        self._dialogs.append(session.dialog.key)
        self._calls.by_dialog[session.dialog.key] = (self, session)

    def _drop_session(self, session: Session, now: float) -> None:
        self._close(session, now)
        key = session.dialog.key
        if key in self._dialogs:
            self._dialogs.remove(key)
            self._calls.by_dialog.pop(key, None)

    def contact(self, flow: Flow, transport: Transport | None = None) -> NameAddr:
        return contact_of(self.identity, flow, transport or flow.transport)

    def _respond_update(self, server: Server, session: Session, now: float, *, sdp: bytes = b"") -> None:
        headers = () if session.dialog.early else self.timer.answer(server.request, now)
        self._respond(server, 200, now, sdp=sdp, contact=self.contact(server.flow), headers=headers)

    def _respond(
        self,
        server: Server,
        status: int,
        now: float,
        *,
        reason: str = "",
        sdp: bytes = b"",
        contact: NameAddr | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        response = answer(
            self._stack,
            server.request,
            status,
            reason,
            to_tag=self.local_tag,
            contact=contact,
            sdp=sdp,
            headers=headers,
        )
        self._stack.transactions.respond(server, response, now)

    def respond(self, server: Server, status: int, now: float, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self._respond(server, status, now, headers=headers)
