"""Non-INVITE server transaction: RFC 3261 17.2.2 (figure 8) as amended by RFC 4320.

    state      | input      | next       | steps
    -----------|------------|------------|--------------
    trying     | start      | trying     | deliver
    trying     | send 1xx   | proceeding | send
    trying     | send final | completed  | send, start J
    proceeding | request    | proceeding | send
    proceeding | send 1xx   | proceeding | send
    proceeding | send final | completed  | send, start J
    completed  | request    | completed  | send
    completed  | timer J    | terminated |

Timer J is 64*T1, or 0 on reliable transports. Repeats in `trying` are absorbed. A 408 is refused
by the layer above: the client's own Timer F has fired by then (RFC 4320 section 4.2).
"""

from firmware.sip.message import Request, Response
from firmware.sip.timers import Timers
from firmware.sip.transaction import Table, Transaction

TABLE: Table = {
    ("trying", "start"): ("trying", ("deliver",)),
    ("trying", "send 1xx"): ("proceeding", ("send",)),
    ("trying", "send final"): ("completed", ("send", "start J")),
    ("proceeding", "request"): ("proceeding", ("send",)),
    ("proceeding", "send 1xx"): ("proceeding", ("send",)),
    ("proceeding", "send final"): ("completed", ("send", "start J")),
    ("completed", "request"): ("completed", ("send",)),
    ("completed", "timer J"): ("terminated", ()),
}


class ServerTransaction(Transaction):
    table = TABLE

    def __init__(self, request: Request, timers: Timers, *, reliable: bool) -> None:
        super().__init__("trying", timers, reliable=reliable)
        self.request = request
        self._last: bytes | None = None

    @property
    def answered(self) -> bool:
        return self.state == "completed"

    def duration_s(self, timer: str) -> float | None:
        return 0 if self.reliable else self.timers.transaction_s

    def bytes_of(self, step: str, message: Request | Response | None) -> bytes | None:
        if isinstance(message, Response):
            self._last = bytes(message)
        return self._last
