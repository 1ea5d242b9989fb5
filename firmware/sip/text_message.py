"""Short texts outside calls: MESSAGE, RFC 3428. Monitors that show a line of text, and stations that send one.

Plain text only, alone or beside other parts. A text is kept short on the way in, and may not be long on the way
out: the RFC allows 1300 bytes for the whole request where the path may be UDP.
"""

from firmware.sip.answers import TEXT
from firmware.sip.bodies import find_part
from firmware.sip.errors import LocalProtocolError
from firmware.sip.events import TextDelivered
from firmware.sip.identity import Identity
from firmware.sip.location import Binding
from firmware.sip.message import Request, Response
from firmware.sip.outgoing_request import OutgoingRequest
from firmware.sip.stack import Stack
from firmware.sip.types import DEFAULT_PORT, Flow, Transport
from firmware.sip.uri import NameAddr, Uri

LONGEST_SENT = 800  # bytes
LONGEST_KEPT = 500  # characters


def text_of(request: Request) -> str | None:
    """The text of a MESSAGE, shortened; None where it has none that is understood: 415."""
    body = find_part(request.headers.get("Content-Type") or TEXT, request.body, TEXT)
    if not body and request.body:
        return None
    return body[: 4 * LONGEST_KEPT].decode("utf-8", "replace").strip()[:LONGEST_KEPT]


class Text:
    """One text of ours on its way."""

    def __init__(
        self,
        stack: Stack,
        number: int,
        target: Uri,
        identity: Identity | None,
        text: str,
        *,
        binding: Binding | None = None,
    ) -> None:
        body = text.encode("utf-8", "replace")
        if not body or len(body) > LONGEST_SENT:
            raise LocalProtocolError(f"a text has 1 to {LONGEST_SENT} bytes, this one {len(body)}")
        self._stack = stack
        self._number = number
        self._tag = stack.text()
        self._cseq = 1
        target = target.without_parameter("method").replace(headers=())
        request = Request("MESSAGE", target)
        headers = request.headers
        headers.add("Max-Forwards", "70")
        for route in binding.path if binding is not None else ():
            headers.add("Route", str(route))
        if identity is not None:
            for route in identity.routes():
                headers.add("Route", str(route))
            account = identity.account
            headers.add("From", str(NameAddr(account.display_name, account.address).with_tag(self._tag)))
        headers.add("To", str(NameAddr("", target)))
        headers.add("Call-ID", stack.text(16))
        headers.add("CSeq", "1 MESSAGE")
        headers.add("User-Agent", stack.configuration.user_agent)
        headers.add("Content-Type", "text/plain;charset=UTF-8")
        request.body = body
        self._request = OutgoingRequest(
            stack,
            request,
            binding.next_hop if binding else identity.next_hop if identity is not None else target,
            self,
            identity=identity,
            next_cseq=self._next_cseq,
            prepare=self._prepare,
            hint=binding.flow if binding is not None else None,
        )

    def start(self, now: float) -> None:
        self._request.start(now)

    def _next_cseq(self) -> int:
        self._cseq += 1
        return self._cseq

    def _prepare(self, request: Request, flow: Flow, transport: Transport) -> None:
        if "From" not in request.headers:
            host, port = flow.advertised
            uri = Uri("sip", user="portero", host=host, port=None if port == DEFAULT_PORT else port)
            request.headers.add("From", str(NameAddr("", uri).with_tag(self._tag)))

    # --- what comes back (RequestUser) ----------------------------------------------------------------------

    def sent(self, flow: Flow, now: float) -> None:
        pass

    def provisional(self, response: Response, now: float) -> None:
        pass

    def final(self, response: Response, now: float) -> None:
        self._stack.emit(TextDelivered(self._number, response.status, response.reason_phrase))

    def unreachable(self, status: int, reason: str, now: float) -> None:
        self._stack.emit(TextDelivered(self._number, status, reason))
