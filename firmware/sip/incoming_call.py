"""INVITE as server: RFC 3261 sections 9.2, 13.3 and 15.

state    | input               | next     | what happens
---------|---------------------|----------|----------------------------------------------------
early    | ring                | early    | 1xx with our tag; said again every minute (13.3.1.1)
early    | accept              | answered | 2xx, repeated until its ACK
early    | hangup              | ended    | final status, CallEnded by us
early    | CANCEL              | ended    | 200 to it, 487 to the INVITE, CallEnded by the peer
early    | BYE                 | ended    | the same
early    | Expires passed      | ended    | 487, CallEnded by the peer
answered | ACK                 | answered | CallAcknowledged
answered | BYE before the ACK  | ended    | 200; the 2xx is repeated no more
answered | hangup before the ACK | ended  | CallEnded by us; the BYE waits for the ACK or 64*T1 (15)
answered | no ACK for 64*T1    | ended    | BYE, CallEnded by the network
answered | (call.py)
"""

from firmware.sip.answers import reason_text
from firmware.sip.call import Call, Calls
from firmware.sip.dialog import Dialog
from firmware.sip.errors import LocalProtocolError
from firmware.sip.events import EndedBy
from firmware.sip.identity import Identity
from firmware.sip.message import Request
from firmware.sip.timers import Alarm
from firmware.sip.transactions import Server


class IncomingCall(Call):
    def __init__(self, calls: Calls, identity: Identity | None, server: Server, now: float) -> None:
        super().__init__(calls, calls.new_number(), identity)
        self.server = server
        self.flow = server.flow
        self.dialog = Dialog.as_server(server.request, calls.stack.text())
        self._enter()
        self._add_dialog(self.dialog)
        self._bye_after_ack: str | None = None
        self._repeat: Alarm | None = None
        self._expiry: Alarm | None = None
        expires_s = server.request.expires
        if expires_s:
            self._expiry = calls.stack.schedule.set(now + expires_s, self._expired)

    def ring(self, status: int, sdp: bytes, now: float) -> None:
        if not 100 < status < 200:
            raise LocalProtocolError(f"{status} is no ringing")
        if self.state != "early":
            return
        self._respond(self.server, status, now, sdp=sdp, contact=self._contact(self.server.flow))
        if self._repeat is not None:
            self._repeat.cancel()
        self._repeat = self._stack.schedule.set(
            now + self._stack.timers.ringing_repeat_s, lambda when: self.ring(status, sdp, when)
        )

    def accept(self, sdp: bytes, now: float) -> None:
        if self.state != "early":
            return
        assert self.dialog is not None
        self.state = "answered"
        self.dialog.early = False
        self._silence()
        self._accept(self.server, sdp, now)

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
                self._bye(self.dialog, reason, now)
            self.end("us", 200, reason_text(reason), now)

    def serves(self, server: Server) -> bool:
        return server is self.server or super().serves(server)

    def cancelled(self, server: Server, cancel: Request, now: float) -> None:
        super().cancelled(server, cancel, now)
        if server is self.server:
            self.end("peer", 487, reason_text(cancel.reason) or "cancelled", now)

    def receive_bye(self, dialog: Dialog, bye: Request, now: float) -> None:
        if self.state == "early":
            self._respond(self.server, 487, now)
        elif self._bye_after_ack is not None:
            self._bye_after_ack = None  # theirs came first
            self._forget()
        super().receive_bye(dialog, bye, now)

    def acknowledged(self, ack: Request, now: float) -> None:
        if self.state == "ended":
            self._late_bye(now)
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

    def _late_bye(self, now: float) -> None:
        if self._bye_after_ack is not None and self.dialog is not None:
            self._bye(self.dialog, self._bye_after_ack, now)
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
        for alarm in (self._repeat, self._expiry):
            if alarm is not None:
                alarm.cancel()
