"""INVITE server transaction: RFC 3261 17.2.1 with the Accepted state of RFC 6026 section 8.5 (figure 5).

    state      | input        | next       | steps
    -----------|--------------|------------|-----------------------------------
    proceeding | start        | proceeding | start 100, deliver
    proceeding | INVITE       | proceeding | send
    proceeding | timer 100    | proceeding | send 100
    proceeding | send 1xx     | proceeding | stop 100, send
    proceeding | send 2xx     | accepted   | stop 100, send, start L
    proceeding | send 3xx-6xx | completed  | stop 100, send, start G, start H
    accepted   | ACK          | accepted   | deliver
    accepted   | send 2xx     | accepted   | send
    accepted   | timer L      | terminated |
    completed  | INVITE       | completed  | send
    completed  | timer G      | completed  | send, start G
    completed  | ACK          | confirmed  | stop G, stop H, start I
    completed  | timer H      | terminated | timeout
    confirmed  | timer I      | terminated |

Timer 100 (200 ms) sends a 100 where the user has said nothing yet; G starts at T1, doubles up to T2, and does
not exist on reliable transports; H and L are 64*T1; I is T4, or 0 on reliable transports. A 2xx is repeated by
the call (13.3.1.4), over any transport, through "send 2xx". Repeats of the INVITE in `accepted` and
`confirmed` are absorbed. A transport error ends nothing here (RFC 6026 section 7.1): the peer repeats.
"""

from firmware.sip.message import Request, Response, response_to
from firmware.sip.timers import Timers
from firmware.sip.transaction import Table, Transaction

TABLE: Table = {
    ("proceeding", "start"): ("proceeding", ("start 100", "deliver")),
    ("proceeding", "INVITE"): ("proceeding", ("send",)),
    ("proceeding", "timer 100"): ("proceeding", ("send 100",)),
    ("proceeding", "send 1xx"): ("proceeding", ("stop 100", "send")),
    ("proceeding", "send 2xx"): ("accepted", ("stop 100", "send", "start L")),
    ("proceeding", "send 3xx-6xx"): ("completed", ("stop 100", "send", "start G", "start H")),
    ("accepted", "ACK"): ("accepted", ("deliver",)),
    ("accepted", "send 2xx"): ("accepted", ("send",)),
    ("accepted", "timer L"): ("terminated", ()),
    ("completed", "INVITE"): ("completed", ("send",)),
    ("completed", "timer G"): ("completed", ("send", "start G")),
    ("completed", "ACK"): ("confirmed", ("stop G", "stop H", "start I")),
    ("completed", "timer H"): ("terminated", ("timeout",)),
    ("confirmed", "timer I"): ("terminated", ()),
}


class InviteServerTransaction(Transaction):
    table = TABLE

    def __init__(self, request: Request, timers: Timers, *, reliable: bool) -> None:
        super().__init__("proceeding", timers, reliable=reliable)
        self.request = request
        self.response: Response | None = None
        self._last: bytes | None = None
        self._retransmit_s = timers.t1_s

    @property
    def answered(self) -> bool:
        """A final response was sent."""
        return self.state != "proceeding"

    def duration_s(self, timer: str) -> float | None:
        if timer == "100":
            return self.timers.trying_s
        if timer == "G":
            after_s, self._retransmit_s = self._retransmit_s, min(2 * self._retransmit_s, self.timers.t2_s)
            return None if self.reliable else after_s
        if timer == "I":
            return 0 if self.reliable else self.timers.t4_s
        return self.timers.transaction_s

    def bytes_of(self, step: str, message: Request | Response | None) -> bytes | None:
        if step == "send 100":
            self._last = bytes(response_to(self.request, 100))
        elif isinstance(message, Response):
            self.response = message
            self._last = bytes(message)
        return self._last
