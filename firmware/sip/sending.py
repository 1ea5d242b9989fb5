"""What a request of ours needs to leave on a flow: our Via, a length that the flow carries; and its CANCEL.

RFC 3261 8.1.1.7, 9.1 and 18.1.1, RFC 3581.
"""

from firmware.sip.client_invite import within_transaction
from firmware.sip.headers import Via
from firmware.sip.message import Request, Response
from firmware.sip.stack import Stack
from firmware.sip.transactions import Client
from firmware.sip.types import Flow

LARGEST_DATAGRAM = 1300  # bytes; beyond, a congestion-controlled transport where there is one (18.1.1)


def our_via(flow: Flow, branch: str) -> Via:
    """Our Via for a request on this flow; `rport` always, so that the answer comes back here (RFC 3581)."""
    host, port = flow.advertised
    return Via(flow.transport.upper(), host, port or None, (("rport", None), ("branch", branch)))


def fits_datagram(request: Request) -> bool:
    """Whether it is no larger than a datagram may be; written more shortly where that helps."""
    if len(bytes(request)) <= LARGEST_DATAGRAM:
        return True
    request.compact = True
    if len(bytes(request)) <= LARGEST_DATAGRAM:
        return True
    spared = []
    # Without Allow nothing is said of our methods (20.5), and a 405 would say it.
    for name in ("User-Agent", "Allow"):
        spared += [(name, value) for value in request.headers.get_all(name)]
        request.headers.remove(name)
        if len(bytes(request)) <= LARGEST_DATAGRAM:
            return True
    for name, value in spared:
        request.headers.add(name, value)
    return False


def send_cancel(stack: Stack, client: Client, reason: str, now: float) -> None:
    """Cancel an INVITE that has had a provisional answer; `reason` is the value of a Reason header, or ""."""
    cancel = within_transaction(client.request, "CANCEL")
    cancel.headers.add("User-Agent", stack.configuration.user_agent)
    if reason:
        cancel.headers.add("Reason", reason)
    stack.transactions.request(cancel, client.flow, _Unheard(), now)


class _Unheard:
    """The user of a CANCEL: only the INVITE's own final response counts."""

    def received(self, response: Response, now: float) -> None:
        pass

    def timed_out(self, now: float) -> None:
        pass

    def failed(self, reason: str, now: float) -> None:
        pass
