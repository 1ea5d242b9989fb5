"""One request of ours until its final answer, over as many transactions as that takes.

RFC 3261 8.1.3 and 22, RFC 3263 4.3.

    state     | input                      | next      | what happens
    ----------|----------------------------|-----------|--------------------------------------------
    searching | flow                       | waiting   | sent; over 1300 bytes by TCP where it is taken
    searching | no flow left               | done      | user.unreachable
    waiting   | 1xx                        | waiting   | user.provisional
    waiting   | final, restart known       | waiting   | amended and sent again, CSeq + 1, new branch
    waiting   | final                      | done      | user.final
    waiting   | timeout, transport error   | searching | next target; user.unreachable without one
    done      | 2xx to INVITE              | done      | user.final: every fork and every repeat

What can be mended and sent again stands in one table, `_RESTARTS`; whoever made the request never learns of it.
Which dialog a response belongs to, and what it means, is the user's affair.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol

from firmware.sip.client_invite import within_transaction
from firmware.sip.flow_search import FlowSearch
from firmware.sip.headers import Via
from firmware.sip.identity import Identity
from firmware.sip.message import Request, Response
from firmware.sip.stack import Stack
from firmware.sip.transactions import Client
from firmware.sip.types import Flow, Transport
from firmware.sip.uri import Uri

LARGEST_DATAGRAM = 1300  # bytes; beyond, a congestion-controlled transport where there is one (18.1.1)
_MOST_RESTARTS = 8


class RequestUser(Protocol):
    def sent(self, flow: Flow, now: float) -> None:
        """The request left, once per attempt."""

    def provisional(self, response: Response, now: float) -> None: ...

    def final(self, response: Response, now: float) -> None: ...

    def unreachable(self, status: int, reason: str, now: float) -> None:
        """Nobody answered: 408 or 503, and what failed."""


class OutgoingRequest:
    """`request` is complete but for Via and what `prepare` adds once the flow is known (Contact)."""

    def __init__(
        self,
        stack: Stack,
        request: Request,
        next_hop: Uri,
        user: RequestUser,
        *,
        identity: Identity | None,
        next_cseq: Callable[[], int],
        prepare: Callable[[Request, Flow, Transport], None] | None = None,
        hint: Flow | None = None,
    ) -> None:
        self.request = request
        self.client: Client | None = None
        self.cancelled = False  # no restart, no further target: the caller has lost interest
        self.in_flight = False  # sent, and no final response yet
        self.done = False
        self.failure = ""  # why a challenge could not be met
        self._stack = stack
        self._user = user
        self._exchange = identity.digest.exchange() if identity is not None else None
        self._next_cseq = next_cseq
        self._prepare = prepare
        self._restarts = 0
        self._unreachable_status = 503
        self._search = FlowSearch(
            stack,
            next_hop,
            on_flow=self._send,
            on_exhausted=self._exhausted,
            hint=hint,
            account=identity.account.name if identity is not None else "",
        )

    def start(self, now: float) -> None:
        self._stack.pending_requests += 1
        self._search.next(now)

    def cancel(self, now: float, reason: str = "") -> None:
        """Send the CANCEL of an INVITE that has had a provisional answer (9.1)."""
        assert self.client is not None
        cancel = within_transaction(self.client.request, "CANCEL")
        cancel.headers.add("User-Agent", self._stack.configuration.user_agent)
        if reason:
            cancel.headers.add("Reason", reason)
        self._stack.transactions.request(cancel, self.client.flow, _Unheard(), now)

    def give_up(self, now: float) -> None:
        """Wait no longer for a final response."""
        self._finish()
        self._search.cancel()
        if self.client is not None:
            self._stack.transactions.abandon(self.client, now)

    # --- flows ----------------------------------------------------------------------------------------------

    def _send(self, flow: Flow, now: float) -> None:
        request = Request(self.request.method, self.request.uri, self.request.headers.copy(), self.request.body)
        intended = self._search.target.transport if self._search.target is not None else flow.transport
        if self._prepare is not None:
            self._prepare(request, flow, intended)
        if self._exchange is not None:
            self._exchange.authorize(request)
        request.headers.prepend("Via", str(our_via(flow, self._stack.branch())))
        large = not flow.reliable and len(bytes(request)) > LARGEST_DATAGRAM
        if large and self._search.prefer_tcp(flow, now):
            return
        self.in_flight = True
        self.client = self._stack.transactions.request(request, flow, self, now)
        self._user.sent(flow, now)

    def _exhausted(self, reason: str, now: float) -> None:
        self._finish()
        self._user.unreachable(self._unreachable_status, reason, now)

    def _finish(self) -> None:
        if not self.done:
            self.done = True
            self._stack.pending_requests -= 1

    # --- answers (ClientUser) -------------------------------------------------------------------------------

    def received(self, response: Response, now: float) -> None:
        if response.status < 200:
            self._user.provisional(response, now)
            return
        self.in_flight = False
        restart = self._RESTARTS.get(response.status)
        if restart is not None and not self.cancelled and not self.done and self._restarts < _MOST_RESTARTS:
            self._restarts += 1
            if restart(self, response, now):
                return
        self._finish()
        self._user.final(response, now)

    def timed_out(self, now: float) -> None:
        self._next_target(408, "no answer", now)

    def failed(self, reason: str, now: float) -> None:
        self._next_target(503, reason, now)

    def _next_target(self, status: int, reason: str, now: float) -> None:
        self.in_flight = False
        self._unreachable_status = status
        self._search.error = f"{self._search.target}: {reason}"
        if self.cancelled:
            self._exhausted(self._search.error, now)
        else:
            self._search.next(now)

    # --- restarts: each says whether it sent the request again ------------------------------------------------

    def _authenticate(self, response: Response, now: float) -> bool:
        if self._exchange is None:
            self.failure = "credentials wanted, none configured"
            return False
        if not self._exchange.challenged(response):
            self.failure = self._exchange.failure
            return False
        self._again(now)
        return True

    def _lengthen(self, response: Response, now: float) -> bool:
        """423: the registrar's least expiry is longer than we asked for (10.2.8)."""
        asked, least = self.request.expires, response.min_expires
        if asked is None or not asked or least is None or least <= asked:
            return False
        self.request.headers.set("Expires", str(least))
        self._again(now)
        return True

    def _elsewhere(self, response: Response, now: float) -> bool:
        """503: this server is out of service, the next may not be (RFC 3263 4.3)."""
        if not self._search.has_next:
            return False
        self._next_target(503, f"503 {response.reason_phrase}", now)
        return True

    _RESTARTS: ClassVar[Mapping[int, Callable[["OutgoingRequest", Response, float], bool]]] = {
        401: _authenticate,
        407: _authenticate,
        423: _lengthen,
        503: _elsewhere,
    }

    def _again(self, now: float) -> None:
        assert self.client is not None
        self.request.headers.set("CSeq", f"{self._next_cseq()} {self.request.method}")
        self._send(self.client.flow, now)


def our_via(flow: Flow, branch: str) -> Via:
    """Our Via for a request on this flow; `rport` always, so that the answer comes back here (RFC 3581)."""
    host, port = flow.advertised
    return Via(flow.transport.upper(), host, port or None, (("rport", None), ("branch", branch)))


class _Unheard:
    """The user of a CANCEL: only the INVITE's own final response counts."""

    def received(self, response: Response, now: float) -> None:
        pass

    def timed_out(self, now: float) -> None:
        pass

    def failed(self, reason: str, now: float) -> None:
        pass
