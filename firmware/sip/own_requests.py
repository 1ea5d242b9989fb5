"""Our requests within a call's dialogs that are no offer: BYE, PRACK, INFO, and whatever must keep its order.

RFC 3261 12.2.1, RFC 3262 section 4, RFC 6086. Offers and refreshes are modification.py's.

    kind   | input                        | what happens
    -------|------------------------------|-----------------------------------------------------------
    BYE    | at once                      | sent; whatever comes back, there is nothing to be done about it
    PRACK  | at once                      | the same
    INFO   | none is under way            | sent
    INFO   | one is under way             | queued; sent when that one has its answer
    INFO   | 481, 408, or nobody answers  | the call is lost (12.2.1.2)
    any    | the call ends                | what waits is forgotten, what has not left stays here, but for BYE
"""

import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from firmware.sip.dialog import Dialog
from firmware.sip.message import Request, Response
from firmware.sip.outgoing_request import OutgoingRequest
from firmware.sip.reliable import rack_for
from firmware.sip.types import Flow

if TYPE_CHECKING:
    from firmware.sip.call import Call

_LONGEST_QUEUE = 32  # requests of one kind that wait for the one before; a finger on a key cannot make more


class OwnRequests:
    """Those of one call."""

    def __init__(self, call: "Call") -> None:
        self._owner = weakref.ref(call)  # a call that is over is to go at once, not when cycles are searched
        self._in_turn: dict[str, deque[Callable[[float], None]]] = {}
        self._under_way: list[OutgoingRequest] = []  # but for BYE

    @property
    def _call(self) -> "Call":
        call = self._owner()
        assert call is not None  # it owns us, and who asks us for anything asks through it
        return call

    def bye(self, dialog: Dialog, reason: str, now: float) -> None:
        """`reason` is the value of a Reason header, or ""."""
        request = dialog.request("BYE")
        if reason:
            request.headers.add("Reason", reason)
        self._send(request, dialog, _Unheeded(), now)

    def prack(self, dialog: Dialog, response: Response, now: float) -> None:
        """Acknowledge a reliable provisional response."""
        request = dialog.request("PRACK")
        request.headers.add("RAck", rack_for(response))
        self._send(request, dialog, _Unheeded(), now)

    def info(self, content_type: str, body: bytes, now: float) -> None:
        def send(when: float) -> None:
            dialog = self._call.dialog
            if dialog is None or self._call.state != "answered":
                return
            request = dialog.request("INFO")
            request.headers.add("Content-Type", content_type)
            request.body = body
            self._send(request, dialog, _Info(self._call), when)

        self.in_turn("INFO", send, now)

    def in_turn(self, kind: str, send: Callable[[float], None], now: float) -> None:
        """Send at once, or after the request of that kind that is under way: a storm of keys must neither overtake
        itself nor hold up anything else. `turn_over` ends a turn."""
        queue = self._in_turn.get(kind)
        if queue is None:
            self._in_turn[kind] = deque()
            send(now)
        elif len(queue) < _LONGEST_QUEUE:
            queue.append(send)

    def turn_over(self, kind: str, now: float) -> None:
        queue = self._in_turn.get(kind)
        if queue:
            queue.popleft()(now)
        else:
            self._in_turn.pop(kind, None)

    def withdraw(self, now: float) -> None:
        """The call is over: one that still looks for a way must not come after the BYE."""
        self._in_turn.clear()
        for request in self._under_way:
            request.withdraw(now)

    def _send(self, request: Request, dialog: Dialog, user: "_Unheeded", now: float) -> None:
        stack = self._call.stack
        request.headers.add("User-Agent", stack.configuration.user_agent)
        out = OutgoingRequest(
            stack,
            request,
            dialog.next_hop,
            user,
            identity=self._call.identity,
            next_cseq=dialog.next_cseq,
            hint=self._call.flow,
        )
        if request.method != "BYE":
            self._under_way = [*(each for each in self._under_way if not each.done), out]
        out.start(now)


class _Unheeded:
    """The user of a BYE or a PRACK: whatever comes back, there is nothing to be done about it."""

    def sent(self, flow: Flow, now: float) -> None:
        pass

    def provisional(self, response: Response, now: float) -> None:
        pass

    def final(self, response: Response, now: float) -> None:
        pass

    def unreachable(self, status: int, reason: str, now: float) -> None:
        pass


class _Info(_Unheeded):
    def __init__(self, call: "Call") -> None:
        self._call = call

    def final(self, response: Response, now: float) -> None:
        if response.status in (408, 481):
            self._call.dialog_lost("peer", response.status, response.reason_phrase, now)
        self._call.requests.turn_over("INFO", now)

    def unreachable(self, status: int, reason: str, now: float) -> None:
        self._call.dialog_lost("network", status, reason, now)
