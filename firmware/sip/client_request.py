"""Non-INVITE client transaction: RFC 3261 17.1.2 (figure 6), with RFC 4320's advice left to the servers.

    state      | input           | next       | steps
    -----------|-----------------|------------|-------------------------------
    trying     | start           | trying     | send, start E, start F
    trying     | timer E         | trying     | send, start E
    trying     | timer F         | terminated | timeout
    trying     | 1xx             | proceeding | deliver
    trying     | final           | completed  | stop E, stop F, start K, deliver
    trying     | transport error | terminated | fail
    trying     | abandon         | terminated |
    proceeding | timer E         | proceeding | send, start E
    proceeding | timer F         | terminated | timeout
    proceeding | 1xx             | proceeding | deliver
    proceeding | final           | completed  | stop E, stop F, start K, deliver
    proceeding | transport error | terminated | fail
    proceeding | abandon         | terminated |
    completed  | timer K         | terminated |

Timer E starts at T1, doubles up to T2, is T2 in `proceeding`, and does not exist on reliable transports; F is
64*T1; K is T4, or 0 on reliable transports. CANCEL and BYE are ordinary requests here. "abandon" is our own: the
same request was answered by another server.
"""

from firmware.sip.message import Request, Response
from firmware.sip.timers import Timers
from firmware.sip.transaction import Table, Transaction

TABLE: Table = {
    ("trying", "start"): ("trying", ("send", "start E", "start F")),
    ("trying", "timer E"): ("trying", ("send", "start E")),
    ("trying", "timer F"): ("terminated", ("timeout",)),
    ("trying", "1xx"): ("proceeding", ("deliver",)),
    ("trying", "final"): ("completed", ("stop E", "stop F", "start K", "deliver")),
    ("trying", "transport error"): ("terminated", ("fail",)),
    ("trying", "abandon"): ("terminated", ()),
    ("proceeding", "timer E"): ("proceeding", ("send", "start E")),
    ("proceeding", "timer F"): ("terminated", ("timeout",)),
    ("proceeding", "1xx"): ("proceeding", ("deliver",)),
    ("proceeding", "final"): ("completed", ("stop E", "stop F", "start K", "deliver")),
    ("proceeding", "transport error"): ("terminated", ("fail",)),
    ("proceeding", "abandon"): ("terminated", ()),
    ("completed", "timer K"): ("terminated", ()),
}


class ClientTransaction(Transaction):
    table = TABLE

    def __init__(self, request: Request, timers: Timers, *, reliable: bool) -> None:
        super().__init__("trying", timers, reliable=reliable)
        self.request = request
        self.data = bytes(request)
        self._retransmit_s = timers.t1_s

    def duration_s(self, timer: str) -> float | None:
        if timer == "E":
            if self.reliable:
                return None
            after_s = self.timers.t2_s if self.state == "proceeding" else self._retransmit_s
            self._retransmit_s = min(2 * self._retransmit_s, self.timers.t2_s)
            return after_s
        if timer == "K":
            return 0 if self.reliable else self.timers.t4_s
        return self.timers.transaction_s

    def bytes_of(self, step: str, message: Request | Response | None) -> bytes | None:
        return self.data
