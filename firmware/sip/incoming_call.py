"""INVITE as server: RFC 3261 sections 9.2, 13.3 and 15, RFC 3262, RFC 6337.

state    | input               | next     | what happens
---------|---------------------|----------|----------------------------------------------------
early    | ring                | early    | 1xx with our tag; said again every minute (13.3.1.1)
early    | ring with SDP, the peer knows 100rel | early | the same, repeated until its PRACK
early    | PRACK               | early    | 200; OfferAnswered or Reoffered for what it brings; 481 if unmatched
early    | no PRACK for 64*T1  | ended    | 504, CallEnded by the network
early    | accept              | answered | 2xx, repeated until its ACK
early    | accept, SDP without PRACK yet | early | the 2xx waits for the PRACK
early    | hangup              | ended    | final status, CallEnded by us
early    | CANCEL              | ended    | 200 to it, 487 to the INVITE, CallEnded by the peer
early    | BYE                 | ended    | the same
early    | Expires passed      | ended    | 487, CallEnded by the peer
answered | ACK                 | answered | CallAcknowledged
answered | ACK without the answer to our offer | ended | BYE, CallEnded by us
answered | BYE before the ACK  | ended    | 200; the 2xx is repeated no more
answered | hangup before the ACK | ended  | CallEnded by us; the BYE waits for the ACK or 64*T1 (15)
answered | no ACK for 64*T1    | ended    | BYE, CallEnded by the network
answered | (call.py)

Who requires 100rel gets every 1xx reliably. An offer of ours, where the INVITE has none, goes into a reliable 183
or the 2xx, never into a 1xx that may be lost. What a reliable 183 and its PRACK agreed is not said again in the
2xx.
"""

from firmware.sip.answers import answer, offer_of, reason_text
from firmware.sip.call import Call, Calls
from firmware.sip.dialog import Dialog
from firmware.sip.errors import LocalProtocolError
from firmware.sip.events import EndedBy, OfferAnswered, Reoffered
from firmware.sip.identity import Identity
from firmware.sip.message import Request
from firmware.sip.reliable import ReliableResponses
from firmware.sip.session import Session
from firmware.sip.timers import Alarm
from firmware.sip.transactions import Server


class IncomingCall(Call):
    def __init__(self, calls: Calls, identity: Identity | None, server: Server, now: float) -> None:
        super().__init__(calls, calls.new_number(), identity)
        self.server = server
        self.flow = server.flow
        self.session = Session(Dialog.as_server(server.request, calls.stack.text()))
        if offer_of(server.request):
            self.session.step("the peer offers")
        self.heard_of_peer(server.request)
        self._enter()
        self._add_session(self.session)
        self._reliable = ReliableResponses(calls.stack, server, self._no_prack)
        self._accept_after_prack: bytes | None = None
        self._described = False  # a reliable 1xx has carried our description
        self._bye_after_ack: str | None = None
        self._repeat: Alarm | None = None
        self._expiry: Alarm | None = None
        expires_s = server.request.expires
        if expires_s:
            self._expiry = calls.stack.schedule.set(now + expires_s, self._expired)

    def ring(self, status: int, sdp: bytes, now: float) -> None:
        if not 100 < status < 200:
            raise LocalProtocolError(f"{status} is no ringing")
        if self.state != "early" or self._accept_after_prack is not None:
            return
        self.show("early", now)
        if self._repeat is not None:
            self._repeat.cancel()
        assert self.session is not None
        request = self.server.request
        required = "100rel" in request.require
        if self._described:
            sdp = b""  # said already
        if required or (sdp and "100rel" in request.supported):
            if sdp:
                self._described = True
                self.session.local_sdp = sdp
                self.session.step("we answer" if self.session.offer == "theirs" else "we offer")
            contact = self.contact(self.server.flow)
            response = answer(self._stack, request, status, to_tag=self.local_tag, contact=contact, sdp=sdp)
            self._reliable.send(response, now)
            return
        if self.session.offer != "theirs":
            sdp = b""
        self._respond(self.server, status, now, sdp=sdp, contact=self.contact(self.server.flow))
        self._repeat = self._stack.schedule.set(
            now + self._stack.timers.ringing_repeat_s, lambda when: self.ring(status, sdp, when)
        )

    def accept(self, sdp: bytes, now: float) -> None:
        if self.state != "early" or self._accept_after_prack is not None:
            return
        if self._reliable.unacknowledged_description:
            self._accept_after_prack = sdp
            return
        assert self.session is not None
        self.state = "answered"
        self.show("confirmed", now)
        self.session.dialog.early = False
        self._silence()
        self._accept(self.server, self.session, b"" if self._described else sdp, now)

    def hangup(self, now: float, status: int, reason: str) -> None:
        headers = (("Reason", reason),) if reason else ()
        if self.state == "early":
            self._respond(self.server, status if 300 <= status < 700 else 603, now, headers=headers)
            self.end("us", status or 603, reason_text(reason), now)
        elif self.state == "answered":
            assert self.dialog is not None
            if self._accepted is not None and self._accepted.waiting:
                self._bye_after_ack = reason
            else:
                self.requests.bye(self.dialog, reason, now)
            self.end("us", 200, reason_text(reason), now)

    def serves(self, server: Server) -> bool:
        return server is self.server or super().serves(server)

    def cancelled(self, server: Server, cancel: Request, now: float) -> None:
        super().cancelled(server, cancel, now)
        if server is self.server:
            self.end("peer", 487, reason_text(cancel.reason) or "cancelled", now)

    def receive_bye(self, session: Session, bye: Request, now: float) -> None:
        if self.state == "early":
            self._respond(self.server, 487, now)
        elif self._bye_after_ack is not None:
            self._bye_after_ack = None  # theirs came first
            self._forget()
        super().receive_bye(session, bye, now)

    def acknowledged(self, ack: Request, now: float) -> None:
        if self.state == "ended":
            self._late_bye(now)
            return
        accepted = self._accepted
        if accepted is not None and accepted.server is self.server and accepted.offered and not offer_of(ack):
            assert self.dialog is not None
            self.requests.bye(self.dialog, 'SIP;cause=488;text="ACK without answer"', now)
            self.end("us", 488, "the ACK brought no answer to our offer", now)
        else:
            super().acknowledged(ack, now)

    def unacknowledged(self, now: float) -> None:
        if self.state == "ended":
            self._late_bye(now)
        else:
            super().unacknowledged(now)

    def end(self, by: EndedBy, status: int, reason: str, now: float) -> None:
        self._silence()
        super().end(by, status, reason, now)

    # --- reliable provisional responses ---------------------------------------------------------------------

    def _receive_prack(self, server: Server, session: Session, now: float) -> None:
        acknowledged = self._reliable.acknowledge(server.request, now)
        if acknowledged is None:
            self._respond(server, 481, now)
            return
        sdp = offer_of(server.request)
        if acknowledged.body and session.offer == "ours":
            self._respond(server, 200, now)
            if not sdp:
                self._respond(self.server, 500, now, reason="PRACK Without Answer")
                self.end("us", 500, "the PRACK brought no answer to our offer", now)
                return
            session.step("the peer answers")
            self._stack.emit(OfferAnswered(self.number, sdp))
        elif sdp and session.at_rest:
            session.step("the peer offers")
            session.waiting = server
            self._stack.emit(Reoffered(self.number, sdp))
        else:
            self._respond(server, 200, now)
        if self._accept_after_prack is not None and not self._reliable.unacknowledged_description:
            answer_sdp, self._accept_after_prack = self._accept_after_prack, None
            self.accept(answer_sdp, now)

    def _no_prack(self, now: float) -> None:
        if self.state == "early":
            self._respond(self.server, 504, now)
            self.end("network", 504, "our provisional answer was never acknowledged", now)

    def _collision(self, request: Request, session: Session) -> int:
        if self.state == "early" and request.method == "INVITE":
            return 500
        return super()._collision(request, session)

    def _late_bye(self, now: float) -> None:
        if self._bye_after_ack is not None and self.dialog is not None:
            self.requests.bye(self.dialog, self._bye_after_ack, now)
            self._bye_after_ack = None
        self._forget()

    def _lingers(self) -> bool:
        """We may not send BYE before the ACK; until then the 2xx goes on."""
        return self._bye_after_ack is not None

    def _expired(self, now: float) -> None:
        if self.state == "early":
            self._respond(self.server, 487, now)
            self.end("peer", 487, "the INVITE expired", now)

    def _silence(self) -> None:
        self._reliable.stop()
        for alarm in (self._repeat, self._expiry):
            if alarm is not None:
                alarm.cancel()
