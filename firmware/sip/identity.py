"""An account at run time: who we say we are, through which server our requests go, how we prove it.

RFC 3261 8.1.1 (From, preloaded Route), 8.1.1.8 (Contact), 22 (authentication; arithmetic in digest.py), RFC 3608
(Service-Route), RFC 5626 (`ob`), RFC 5627 (GRUU). registration.py fills in what the registrar says.
"""

from collections.abc import Callable
from dataclasses import dataclass

from firmware.sip.configuration import Account
from firmware.sip.digest import DigestClient
from firmware.sip.types import SECURE, Flow, Target, Transport
from firmware.sip.uri import NameAddr, Uri


@dataclass(frozen=True, slots=True)
class Registered:
    """Where we are registered: the server as configured, the flow to it, what it told us.

    `learned` is our address as the registrar sees it, where it differs from the flow's."""

    hop: Uri
    target: Target
    flow: Flow
    learned: tuple[str, int] | None = None
    outbound: bool = False  # it sends what comes for us down this flow
    service_route: tuple[NameAddr, ...] = ()
    gruu: Uri | None = None


class Identity:
    def __init__(self, account: Account, random: Callable[[int], bytes]) -> None:
        self.account = account
        self.registered: dict[int, Registered] = {}  # by reg-id
        self.on_suspicion: Callable[[Target, float], None] = lambda target, now: None
        username = account.username or account.address.user or ""
        self.digest = DigestClient(username if account.password else "", account.password, random)

    @property
    def best(self) -> Registered | None:
        return self.registered[min(self.registered)] if self.registered else None

    @property
    def flow(self) -> Flow | None:
        """Over which the registrar answered last."""
        return self.best.flow if self.best is not None else None

    @property
    def next_hop(self) -> Uri:
        """Every request of the account goes through its own server, wherever its Request-URI points."""
        best = self.best
        if self.account.outbound_proxy is None and best is not None and best.service_route:
            return best.service_route[0].uri
        return self.account.hops[0]

    @property
    def hops(self) -> tuple[Uri, ...]:
        """`next_hop` and what stands in for it."""
        return (self.next_hop, *self.account.hops[1:])

    @property
    def first(self) -> tuple[Uri, Target] | None:
        """The server we are registered with: calls go where it is known that somebody answers, and from where
        calls to us will come."""
        best = self.best
        if best is None or best.hop not in self.hops:
            return None
        return best.hop, best.target

    def suspect(self, target: Target, now: float) -> None:
        """A request of ours got no answer there; if that is where we are registered, we had better see."""
        self.on_suspicion(target, now)

    def routes(self, hop: Uri | None = None) -> tuple[NameAddr, ...]:
        """The preloaded Route of a request outside dialogs that goes to `hop` first."""
        best = self.best
        service = best.service_route if best is not None else ()
        proxy = self.proxy_route(hop if hop is not None else self.next_hop)
        if proxy and service and _same_place(proxy[0].uri, service[0].uri):
            return service  # the proxy put itself in
        return (*proxy, *service)

    def proxy_route(self, hop: Uri) -> tuple[NameAddr, ...]:
        if self.account.outbound_proxy is None:
            return ()
        return (NameAddr("", hop if hop.has_parameter("lr") else hop.with_parameter("lr", None)),)

    def contact(self, flow: Flow, transport: Transport) -> NameAddr:
        """For calls: our GRUU if we have one, else our address on that flow.

        It is the public one. A temporary GRUU is for callers who hide who they are (RFC 5627 3.1.2); a door says
        who rings, in From, and whoever wants to call it back may. So registration.py does not keep temp-gruu."""
        known = next((each for each in self.registered.values() if each.flow.target == flow.target), self.best)
        if known is not None and known.gruu is not None:
            return NameAddr("", known.gruu)
        ours = self.address(flow, transport, known.learned if known is not None else None)
        if known is not None and known.outbound:
            return NameAddr("", ours.uri.with_parameter("ob", None))  # later requests by the same flow (4.3)
        return ours

    def is_called(self, uri: Uri) -> bool:
        """Whether a Request-URI means this account: our Contact or address of record, or the GRUU as it was given
        out, where the server does not put our Contact in its place (RFC 5627 6.1)."""
        gruus = (each.gruu for each in self.registered.values() if each.gruu is not None)
        return uri.user == self.account.address.user or any(gruu.matches(uri) for gruu in gruus)

    def address(self, flow: Flow, transport: Transport, learned: tuple[str, int] | None) -> NameAddr:
        """For registrations: where we are."""
        host, port = learned if learned is not None else flow.advertised
        sips = self.next_hop.scheme == "sips" or self.account.address.scheme == "sips"
        return contact(self.account.address.user or "", host, port, transport, sips=sips)


def _same_place(one: Uri, other: Uri) -> bool:
    return (one.host.lower(), one.port, one.scheme) == (other.host.lower(), other.port, other.scheme)


def contact_of(identity: Identity | None, flow: Flow, transport: Transport) -> NameAddr:
    """The Contact of a dialog, with an account or without."""
    if identity is not None:
        return identity.contact(flow, transport)
    return contact("portero", *flow.advertised, transport)


def contact(user: str, host: str, port: int, transport: Transport, *, sips: bool = False) -> NameAddr:
    """Our Contact (8.1.1.8). `sips` where the peer used it: it must come back the same way (RFC 5630 5.1.1.1)."""
    uri = Uri("sips" if sips and transport in SECURE else "sip", user=user or None, host=host, port=port or None)
    if transport in ("ws", "wss"):
        uri = uri.with_parameter("transport", "ws")  # the one value of RFC 7118 section 5.2, secure or not
    elif transport != "udp" and uri.scheme == "sip":
        uri = uri.with_parameter("transport", transport)
    return NameAddr("", uri)
