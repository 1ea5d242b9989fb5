"""What both kinds of call share once there is a dialog: RFC 3261 sections 12.2, 14 and 15.

    state    | input                     | next     | what happens
    ---------|---------------------------|----------|----------------------------------------------
    early    | (outgoing_call.py, incoming_call.py)
    answered | hangup                    | ended    | BYE, CallEnded by us
    answered | BYE                       | ended    | 200, CallEnded by the peer
    answered | re-INVITE                 | answered | Reoffered
    answered | re-INVITE, one waits      | answered | 500 with Retry-After (14.2)
    answered | re-INVITE, our offer is out | answered | 491
    answered | answer_offer              | answered | 2xx, repeated until its ACK
    answered | reject_offer              | answered | that status; the session stays as it was
    answered | CANCEL of the re-INVITE   | answered | 200, and 487 to the re-INVITE
    answered | no ACK for 64*T1          | ended    | BYE, CallEnded by the network
    answered | INFO                      | answered | 200 and InfoReceived, or 415
    answered | our INFO gets 481 or nothing | ended | BYE, CallEnded (12.2.1.2)
    ended    | any request               | ended    | 481, by core.py: the dialog is gone

`CallEnded` goes out with our BYE, not with the answer to it: the session ends at once (15.1.1).
"""

from typing import Literal

from firmware.sip.accepted_invite import AcceptedInvite
from firmware.sip.answers import INFO_BODIES, answer, offer_of, reason_text, refused_method, unsupported
from firmware.sip.dialog import Dialog, DialogKey
from firmware.sip.errors import LocalProtocolError
from firmware.sip.events import CallAcknowledged, CallEnded, EndedBy, InfoReceived, Reoffered
from firmware.sip.identity import Identity, contact
from firmware.sip.message import Request, Response
from firmware.sip.outgoing_request import OutgoingRequest
from firmware.sip.stack import Stack
from firmware.sip.transactions import Server
from firmware.sip.types import Flow, Transport
from firmware.sip.uri import NameAddr


class Calls:
    """The calls of one core, by number and by dialog."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.by_number: dict[int, Call] = {}
        self.by_dialog: dict[DialogKey, tuple[Call, Dialog]] = {}
        self.last_number = 0

    def new_number(self) -> int:
        self.last_number += 1
        return self.last_number

    def flow_closed(self, flow: Flow) -> None:
        for call in self.by_number.values():
            if call.flow is not None and flow.reliable and call.flow.number == flow.number:
                call.flow = None


class Call:
    def __init__(self, calls: Calls, number: int, identity: Identity | None) -> None:
        self.number = number
        self.state: Literal["early", "answered", "ended"] = "early"
        self.dialog: Dialog | None = None  # the one that was answered
        self.flow: Flow | None = None  # on which the peer was heard
        self._calls = calls
        self._stack = calls.stack
        self._identity = identity
        self._dialogs: list[DialogKey] = []
        self._reinvite: Server | None = None  # waits for the station's answer
        self._accepted: AcceptedInvite | None = None  # our 2xx waits for its ACK

    def _enter(self) -> None:
        self._calls.by_number[self.number] = self

    # --- commands -------------------------------------------------------------------------------------------

    def hangup(self, now: float, status: int, reason: str) -> None:
        raise NotImplementedError

    def answer_offer(self, sdp: bytes, now: float) -> None:
        server, self._reinvite = self._reinvite, None
        if server is None or self.dialog is None:
            return  # taken back by a CANCEL or a BYE that the station has not heard of yet
        self.dialog.refresh(server.request)
        self._accept(server, sdp, now)

    def reject_offer(self, status: int, now: float) -> None:
        if not 300 <= status < 700:
            raise LocalProtocolError(f"an offer is not rejected with {status}")
        server, self._reinvite = self._reinvite, None
        if server is not None:
            self._respond(server, status, now)

    def info(self, content_type: str, body: bytes, now: float) -> None:
        if self.dialog is None or self.state != "answered":
            return
        request = self.dialog.request("INFO")
        request.headers.add("Content-Type", content_type)
        request.body = body
        self._request(request, self.dialog, _Info(self), now)

    # --- requests of the peer within a dialog ---------------------------------------------------------------

    def receive(self, server: Server, dialog: Dialog, now: float) -> None:
        request = server.request
        missing = unsupported(request)
        if not dialog.in_order(request):
            self._respond(server, 500, now, reason="CSeq out of order")
        elif missing and request.method != "BYE":
            self._respond(server, 420, now, headers=(("Unsupported", ", ".join(missing)),))
        elif request.method == "BYE":
            self._respond(server, 200, now)
            self.receive_bye(dialog, request, now)
        elif request.method == "INVITE":
            self._receive_reinvite(server, now)
        elif request.method == "INFO":
            self._receive_info(server, now)
        elif request.method == "OPTIONS":
            self._respond(server, 200, now)
        elif request.method == "NOTIFY":
            self._respond(server, 489, now)
        else:
            self._respond(server, refused_method(request.method), now)

    def receive_bye(self, dialog: Dialog, bye: Request, now: float) -> None:
        self.end("peer", 200, reason_text(bye.reason) or "BYE", now)

    def receive_ack(self, ack: Request, now: float) -> None:
        if self._accepted is not None:
            self._accepted.acknowledged(ack, now)

    def serves(self, server: Server) -> bool:
        """Whether this INVITE waits for our final response."""
        return server is self._reinvite

    def cancelled(self, server: Server, cancel: Request, now: float) -> None:
        """The peer takes back an INVITE that is not answered; its CANCEL has had its 200 (9.2)."""
        if server is self._reinvite:
            self._reinvite = None
        self._respond(server, 487, now)

    def _receive_reinvite(self, server: Server, now: float) -> None:
        if self.state != "answered" or (
            self._accepted is not None and self._accepted.waiting and self._accepted.offered
        ):
            self._respond(server, 491, now)
        elif self._reinvite is not None:
            after_s = str(int(self._stack.between(0, 11)))
            self._respond(server, 500, now, reason="INVITE in progress", headers=(("Retry-After", after_s),))
        elif server.request.body and not offer_of(server.request):
            self._respond(server, 415, now)
        else:
            self._reinvite = server
            self._stack.emit(Reoffered(self.number, offer_of(server.request)))

    def _receive_info(self, server: Server, now: float) -> None:
        request = server.request
        kind = request.content_type
        if kind not in INFO_BODIES and request.body:
            self._respond(server, 415, now)
            return
        self._respond(server, 200, now)
        if kind in INFO_BODIES:
            self._stack.emit(InfoReceived(self.number, kind, request.body))

    # --- a 2xx of ours --------------------------------------------------------------------------------------

    def _accept(self, server: Server, sdp: bytes, now: float) -> None:
        if self._accepted is not None and self._accepted.waiting:
            self._accepted.stop()  # a newer INVITE says that the older 2xx arrived
        offered = not offer_of(server.request)
        response = answer(
            self._stack, server.request, 200, to_tag=self.local_tag, contact=self._contact(server.flow), sdp=sdp
        )
        self._accepted = AcceptedInvite(
            self._stack,
            server,
            response,
            offered=offered,
            on_ack=self.acknowledged,
            on_silence=self.unacknowledged,
        )
        self._accepted.start(now)

    def acknowledged(self, ack: Request, now: float) -> None:
        self._stack.emit(CallAcknowledged(self.number, offer_of(ack)))

    def unacknowledged(self, now: float) -> None:
        if self.dialog is not None and self.state == "answered":
            self._bye(self.dialog, 'SIP;cause=408;text="ACK missing"', now)
            self.end("network", 408, "our answer was never acknowledged", now)

    def dialog_lost(self, by: EndedBy, status: int, reason: str, now: float) -> None:
        """The peer knows nothing of the call any more, or is gone (12.2.1.2)."""
        if self.dialog is not None and self.state == "answered":
            self._bye(self.dialog, "", now)
            self.end(by, status, reason, now)

    # --- shared by the kinds --------------------------------------------------------------------------------

    def end(self, by: EndedBy, status: int, reason: str, now: float) -> None:
        """The one place where a call ends; every later end says nothing."""
        if self.state == "ended":
            return
        self.state = "ended"
        if self._reinvite is not None:
            self._respond(self._reinvite, 487, now)
            self._reinvite = None
        self._calls.by_number.pop(self.number, None)
        if not self._lingers():
            self._forget()
        self._stack.emit(CallEnded(self.number, by, status, reason))

    def _lingers(self) -> bool:
        """Whether the dialog is still needed after the end."""
        return False

    def _forget(self) -> None:
        if self._accepted is not None and self._accepted.waiting:
            self._accepted.stop()
        for key in self._dialogs:
            self._calls.by_dialog.pop(key, None)
        self._dialogs.clear()

    @property
    def local_tag(self) -> str | None:
        return self.dialog.local.tag if self.dialog is not None else None

    def _add_dialog(self, dialog: Dialog) -> None:
        self._dialogs.append(dialog.key)
        self._calls.by_dialog[dialog.key] = (self, dialog)

    def _drop_dialog(self, dialog: Dialog) -> None:
        if dialog.key in self._dialogs:
            self._dialogs.remove(dialog.key)
            self._calls.by_dialog.pop(dialog.key, None)

    def _contact(self, flow: Flow, transport: Transport | None = None) -> NameAddr:
        if self._identity is not None:
            return self._identity.contact(flow, transport or flow.transport)
        return contact("portero", *flow.advertised, transport or flow.transport)

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

    def _request(self, request: Request, dialog: Dialog, user: "_InDialog", now: float) -> None:
        request.headers.add("User-Agent", self._stack.configuration.user_agent)
        OutgoingRequest(
            self._stack,
            request,
            dialog.next_hop,
            user,
            identity=self._identity,
            next_cseq=dialog.next_cseq,
            hint=self.flow,
        ).start(now)

    def _bye(self, dialog: Dialog, reason: str, now: float) -> None:
        request = dialog.request("BYE")
        if reason:
            request.headers.add("Reason", reason)
        self._request(request, dialog, _InDialog(), now)


class _InDialog:
    """The user of a BYE: whatever comes back, the dialog is over."""

    def sent(self, flow: Flow, now: float) -> None:
        pass

    def provisional(self, response: Response, now: float) -> None:
        pass

    def final(self, response: Response, now: float) -> None:
        pass

    def unreachable(self, status: int, reason: str, now: float) -> None:
        pass


class _Info(_InDialog):
    def __init__(self, call: Call) -> None:
        self._call = call

    def final(self, response: Response, now: float) -> None:
        if response.status in (408, 481):
            self._lost("peer", response.status, response.reason_phrase, now)

    def unreachable(self, status: int, reason: str, now: float) -> None:
        self._lost("network", status, reason, now)

    def _lost(self, by: EndedBy, status: int, reason: str, now: float) -> None:
        self._call.dialog_lost(by, status, reason, now)
