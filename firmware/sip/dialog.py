"""A dialog: RFC 3261 section 12. What two user agents remember of each other between two requests.

    side | made from                | tags                    | route set                 | remote target
    -----|--------------------------|-------------------------|---------------------------|----------------
    UAC  | 1xx > 100 with tag, 2xx  | From ours, To theirs    | Record-Route, reversed    | its Contact
    UAS  | our 1xx with tag, 2xx    | To ours, From theirs    | Record-Route, as it came  | its Contact

A missing remote tag is an empty one (12.1.1, and many B2BUAs). A dialog is a value with a counter: it sends
nothing, and knows nothing of INVITE's usage, offers or media.
"""

from dataclasses import dataclass, field

from firmware.sip.message import Message, Request, Response
from firmware.sip.uri import NameAddr, Uri

DialogKey = tuple[str, str, str]  # Call-ID, our tag, their tag


@dataclass(slots=True, eq=False)
class Dialog:
    call_id: str
    local: NameAddr  # with our tag
    remote: NameAddr  # with their tag, if they gave one
    remote_target: Uri
    route_set: tuple[NameAddr, ...] = ()
    local_cseq: int = 0
    remote_cseq: int | None = None  # empty until the peer's first request
    early: bool = field(default=True)
    via: Uri | None = None  # where a peer without a route set is reached, if not at its Contact: behind NAT

    @classmethod
    def as_client(cls, request: Request, response: Response) -> "Dialog":
        """From our INVITE and a response to it (12.1.2)."""
        remote = response.to
        return cls(
            call_id=request.call_id,
            local=request.from_,
            remote=remote,
            remote_target=_contact(response) or request.uri,
            route_set=tuple(reversed(response.record_routes)),
            local_cseq=request.cseq.number,
            early=response.status < 200,
        )

    @classmethod
    def as_server(cls, request: Request, local_tag: str) -> "Dialog":
        """From the peer's INVITE and the tag we answer with (12.1.1)."""
        return cls(
            call_id=request.call_id,
            local=request.to.with_tag(local_tag),
            remote=request.from_,
            remote_target=_contact(request) or request.from_.uri,
            route_set=tuple(request.record_routes),
            remote_cseq=request.cseq.number,
        )

    @property
    def key(self) -> DialogKey:
        return (self.call_id, self.local.tag or "", self.remote.tag or "")

    def confirm(self, response: Response) -> None:
        """A 2xx turns an early dialog into a call: the route set is computed anew (13.2.2.4)."""
        self.early = False
        self.route_set = tuple(reversed(response.record_routes))
        self.refresh(response)

    def refresh(self, message: Message) -> None:
        """A target refresh request or its 2xx may name a new Contact (12.2); a route set never changes."""
        self.remote_target = _contact(message) or self.remote_target

    def in_order(self, request: Request) -> bool:
        """Whether the peer's request is not older than its last; remembers the number (12.2.2)."""
        number = request.cseq.number
        if self.remote_cseq is not None and number < self.remote_cseq:
            return False
        self.remote_cseq = number
        return True

    def next_cseq(self) -> int:
        self.local_cseq += 1
        return self.local_cseq

    def request(self, method: str, cseq: int | None = None) -> Request:
        """A request within the dialog (12.2.1.1), without Via and Contact. ACK names its INVITE's `cseq`."""
        uri = self.remote_target.replace(headers=())
        routes = self.route_set
        if routes and not routes[0].uri.has_parameter("lr"):
            # A strict router wants itself in the Request-URI, and the target at the end (12.2.1.1, 16.12.1.2).
            routes = (*routes[1:], NameAddr("", uri))
            uri = self.route_set[0].uri.without_parameter("method").replace(headers=())
        request = Request(method, uri)
        headers = request.headers
        headers.add("Max-Forwards", "70")
        for route in routes:
            headers.add("Route", str(route))
        headers.add("From", str(self.local))
        headers.add("To", str(self.remote))
        headers.add("Call-ID", self.call_id)
        headers.add("CSeq", f"{self.next_cseq() if cseq is None else cseq} {method}")
        return request

    @property
    def next_hop(self) -> Uri:
        """Where a request of this dialog goes first (8.1.2): the first route, strict or loose, or the target."""
        return self.route_set[0].uri if self.route_set else self.via or self.remote_target


def _contact(message: Message) -> Uri | None:
    """The URI of the (first) Contact, if it is one that we can send a request to."""
    contacts = message.contacts
    return contacts[0].uri if contacts and contacts[0].uri.scheme in ("sip", "sips") else None
