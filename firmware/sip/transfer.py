"""REFER within a call, and what became of it: RFC 3515, RFC 4488, RFC 3892.

    state   | input                      | next    | what happens
    --------|----------------------------|---------|-----------------------------------------------------
    asked   | transfers are not allowed  | over    | 603
    asked   | another one is going on    | over    | 491
    asked   | no single Refer-To         | over    | 400
    asked   | a target that is no SIP URI | over   | 416
    asked   | refuse                     | over    | that status
    asked   | accept                     | going   | 202, NOTIFY 100
    asked   | accept, Refer-Sub: false   | going   | 202 with Refer-Sub: false, no NOTIFY ever
    going   | progress below 200         | going   | NOTIFY with that status line, one after the other
    going   | progress, final            | over    | NOTIFY with that status line, subscription terminated

Whom the station calls in the peer's stead, and whether, is the station's decision: nothing is called from here.
"""

from typing import TYPE_CHECKING, Literal

from firmware.sip.answers import add_contact
from firmware.sip.errors import RemoteProtocolError
from firmware.sip.events import TransferAsked
from firmware.sip.headers import split_addresses
from firmware.sip.message import Response
from firmware.sip.outgoing_request import OutgoingRequest
from firmware.sip.status import REASON_PHRASES
from firmware.sip.transactions import Server
from firmware.sip.types import Flow, Transport
from firmware.sip.uri import NameAddr

if TYPE_CHECKING:
    from firmware.sip.call import Call
    from firmware.sip.message import Request

_SUBSCRIPTION_S = 180


class Transfer:
    def __init__(self, call: "Call", server: Server) -> None:
        self.state: Literal["asked", "going", "over"] = "asked"
        self._call = call
        self._server = server
        self._silent = (server.request.headers.get("Refer-Sub") or "").strip().lower().startswith("false")

    @property
    def over(self) -> bool:
        return self.state == "over"

    def begin(self, now: float, *, busy: bool) -> bool:
        """False where it was refused without asking the station."""
        if not self._call.stack.configuration.transfers:
            return self._refused(603, now)
        if busy:
            return self._refused(491, now)
        request = self._server.request
        targets = [item for line in request.headers.get_all("Refer-To") for item in split_addresses(line)]
        if len(targets) != 1:
            return self._refused(400, now)
        try:
            target = NameAddr.parse(targets[0]).uri
        except RemoteProtocolError:
            return self._refused(400, now)
        if target.scheme != "sip" or (target.parameter("method") or "INVITE").upper() != "INVITE":
            return self._refused(416, now)
        referred_by = request.headers.get("Referred-By") or str(request.from_.uri)
        self._call.stack.emit(TransferAsked(self._call.number, target, referred_by))
        return True

    def accept(self, now: float) -> None:
        if self.state != "asked":
            return
        self.state = "going"
        contact = (("Contact", str(self._call.contact(self._server.flow))),)
        if self._silent:
            self._call.respond(self._server, 202, now, (*contact, ("Refer-Sub", "false")))
            return
        self._call.respond(self._server, 202, now, contact)
        self._notify(100, "Trying", now)

    def refuse(self, status: int, now: float) -> None:
        if self.state == "asked":
            self._refused(status, now)

    def progress(self, status: int, reason: str, now: float) -> None:
        """How the call to the target goes: its last status."""
        if self.state != "going":
            return
        if status >= 200:
            self.state = "over"
        if not self._silent:
            self._notify(status, reason, now)

    def _refused(self, status: int, now: float) -> bool:
        self.state = "over"
        self._call.respond(self._server, status, now)
        return False

    def _notify(self, status: int, reason: str, now: float) -> None:
        def send(when: float) -> None:
            call = self._call
            dialog = call.dialog
            if dialog is None or call.state != "answered":
                return  # the call that asked is over, and its subscription with it
            request = dialog.request("NOTIFY")
            headers = request.headers
            headers.add("Event", f"refer;id={self._server.request.cseq.number}")
            active = f"active;expires={_SUBSCRIPTION_S}"
            headers.add("Subscription-State", "terminated;reason=noresource" if status >= 200 else active)
            headers.add("Content-Type", "message/sipfrag;version=2.0")
            headers.add("User-Agent", call.stack.configuration.user_agent)
            phrase = reason or REASON_PHRASES.get(status, "")
            request.body = f"SIP/2.0 {status} {phrase}\r\n".encode()
            OutgoingRequest(
                call.stack,
                request,
                dialog.next_hop,
                self,
                identity=call.identity,
                next_cseq=dialog.next_cseq,
                prepare=self._prepare,
                hint=call.flow,
            ).start(when)

        self._call.requests.in_turn("NOTIFY", send, now)

    def _prepare(self, request: "Request", flow: Flow, transport: Transport) -> None:
        add_contact(request, self._call.contact(flow, transport))

    # --- what comes back to a NOTIFY (RequestUser) ------------------------------------------------------------

    def sent(self, flow: Flow, now: float) -> None:
        pass

    def provisional(self, response: Response, now: float) -> None:
        pass

    def final(self, response: Response, now: float) -> None:
        if response.status == 481:
            self._silent = True  # it does not want to hear more (RFC 6665 4.2.2)
        self._call.requests.turn_over("NOTIFY", now)

    def unreachable(self, status: int, reason: str, now: float) -> None:
        self._silent = True
        self._call.requests.turn_over("NOTIFY", now)
