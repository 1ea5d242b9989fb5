"""INVITE client transaction: RFC 3261 17.1.1 with the Accepted state of RFC 6026 section 8.4 (figure 2).

    state      | input           | next       | steps
    -----------|-----------------|------------|------------------------------------
    calling    | start           | calling    | send, start A, start B
    calling    | timer A         | calling    | send, start A
    calling    | timer B         | terminated | timeout
    calling    | 1xx             | proceeding | stop A, stop B, deliver
    calling    | 2xx             | accepted   | stop A, stop B, start M, deliver
    calling    | 3xx-6xx         | completed  | stop A, stop B, ack, start D, deliver
    calling    | transport error | terminated | fail
    calling    | abandon         | terminated |
    proceeding | 1xx             | proceeding | deliver
    proceeding | 2xx             | accepted   | start M, deliver
    proceeding | 3xx-6xx         | completed  | ack, start D, deliver
    proceeding | transport error | terminated | fail
    proceeding | abandon         | terminated |
    completed  | 3xx-6xx         | completed  | ack
    completed  | timer D         | terminated |
    accepted   | 2xx             | accepted   | deliver
    accepted   | timer M         | terminated |

Timer A starts at T1 and doubles, and does not exist on reliable transports; B and M are 64*T1; D is 32 s, or
0 on reliable transports. Timer B ends only `calling`: a phone may ring for as long as it likes. "abandon" is
64*T1 after a CANCEL without a final response (9.1). "transport error" in `proceeding` is a lost connection, on
which no final response can come any more. The ACK to a 2xx is the dialog's affair, not this machine's.
"""

from firmware.sip.message import Request, Response
from firmware.sip.timers import Timers
from firmware.sip.transaction import Table, Transaction

TABLE: Table = {
    ("calling", "start"): ("calling", ("send", "start A", "start B")),
    ("calling", "timer A"): ("calling", ("send", "start A")),
    ("calling", "timer B"): ("terminated", ("timeout",)),
    ("calling", "1xx"): ("proceeding", ("stop A", "stop B", "deliver")),
    ("calling", "2xx"): ("accepted", ("stop A", "stop B", "start M", "deliver")),
    ("calling", "3xx-6xx"): ("completed", ("stop A", "stop B", "ack", "start D", "deliver")),
    ("calling", "transport error"): ("terminated", ("fail",)),
    ("calling", "abandon"): ("terminated", ()),
    ("proceeding", "1xx"): ("proceeding", ("deliver",)),
    ("proceeding", "2xx"): ("accepted", ("start M", "deliver")),
    ("proceeding", "3xx-6xx"): ("completed", ("ack", "start D", "deliver")),
    ("proceeding", "transport error"): ("terminated", ("fail",)),
    ("proceeding", "abandon"): ("terminated", ()),
    ("completed", "3xx-6xx"): ("completed", ("ack",)),
    ("completed", "timer D"): ("terminated", ()),
    ("accepted", "2xx"): ("accepted", ("deliver",)),
    ("accepted", "timer M"): ("terminated", ()),
}


class InviteClientTransaction(Transaction):
    table = TABLE

    def __init__(self, request: Request, timers: Timers, *, reliable: bool) -> None:
        super().__init__("calling", timers, reliable=reliable)
        self.request = request
        self.data = bytes(request)
        self._retransmit_s = timers.t1_s
        self._ack: bytes | None = None

    def duration_s(self, timer: str) -> float | None:
        if timer == "A":
            after_s, self._retransmit_s = self._retransmit_s, 2 * self._retransmit_s
            return None if self.reliable else after_s
        if timer == "D":
            return 0 if self.reliable else self.timers.d_s
        return self.timers.transaction_s

    def bytes_of(self, step: str, message: Request | Response | None) -> bytes | None:
        if step == "send":
            return self.data
        if self._ack is None:
            assert message is not None
            self._ack = bytes(ack_to_refusal(self.request, message))
        return self._ack


def ack_to_refusal(invite: Request, response: Request | Response) -> Request:
    """The ACK to a 3xx-6xx: hop by hop, with the INVITE's branch (17.1.1.3)."""
    ack = within_transaction(invite, "ACK")
    to = response.headers.get("To")
    if to is not None:
        ack.headers.set("To", to)
    return ack


def within_transaction(invite: Request, method: str) -> Request:
    """An ACK or CANCEL for exactly this INVITE: its URI, top Via, Route, CSeq number (9.1, 17.1.1.3).

    Credentials go along: a proxy that asked for them must be able to let these pass (22.1)."""
    request = Request(method, invite.uri)
    headers = request.headers
    headers.add("Via", str(invite.top_via))
    headers.add("Max-Forwards", "70")
    for name in ("From", "To", "Call-ID"):
        value = invite.headers.get(name)
        if value is not None:
            headers.add(name, value)
    headers.add("CSeq", f"{invite.cseq.number} {method}")
    for name in ("Route", "Authorization", "Proxy-Authorization"):
        for value in invite.headers.get_all(name):
            headers.add(name, value)
    return request
