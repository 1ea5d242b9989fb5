"""A 2xx to an INVITE until its ACK: RFC 3261 13.3.1.4.

    state     | input     | next         | what happens
    ----------|-----------|--------------|-------------------------------------
    idle      | start     | waiting      | 2xx sent
    waiting   | repeat    | waiting      | 2xx sent again after T1, doubling up to T2
    waiting   | ACK       | acknowledged | on_ack, once
    waiting   | 64*T1     | given up     | on_silence: the call must be ended by BYE
    waiting   | stop      | given up     | the peer's BYE came first

The user agent repeats, not the transaction, and over TCP as well: a proxy on the way may change to UDP.
"""

from collections.abc import Callable

from firmware.sip.message import Request, Response
from firmware.sip.stack import Stack
from firmware.sip.transactions import Server


class AcceptedInvite:
    """`offered`: the 2xx carries our offer, whose answer comes with the ACK."""

    def __init__(
        self,
        stack: Stack,
        server: Server,
        response: Response,
        *,
        offered: bool,
        on_ack: Callable[[Request, float], None],
        on_silence: Callable[[float], None],
    ) -> None:
        self.server = server
        self.cseq = server.request.cseq.number
        self.offered = offered
        self.waiting = True
        self._stack = stack
        self._response = response
        self._on_ack = on_ack
        self._on_silence = on_silence
        self._repeat_s = stack.timers.t1_s

    def start(self, now: float) -> None:
        self.server.user = self
        self._stack.transactions.respond(self.server, self._response, now)
        self._repeat = self._stack.schedule.set(now + self._repeat_s, self._again)
        self._limit = self._stack.schedule.set(now + self._stack.timers.transaction_s, self._give_up)

    def stop(self) -> None:
        self.waiting = False
        self._repeat.cancel()
        self._limit.cancel()

    def acknowledged(self, ack: Request, now: float) -> None:
        if self.waiting and ack.cseq.number == self.cseq:
            self.stop()
            self._on_ack(ack, now)

    def unacknowledged(self, now: float) -> None:
        """Timer H belongs to refusals."""

    def _again(self, now: float) -> None:
        self._stack.transactions.respond(self.server, self._response, now)
        self._repeat_s = min(2 * self._repeat_s, self._stack.timers.t2_s)
        self._repeat = self._stack.schedule.set(now + self._repeat_s, self._again)

    def _give_up(self, now: float) -> None:
        self.stop()
        self._on_silence(now)
