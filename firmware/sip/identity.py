"""An account at run time: who we say we are, through which server our requests go, how we prove it.

RFC 3261 8.1.1 (From, preloaded Route), 8.1.1.8 (Contact), 22 (authentication; arithmetic in digest.py).
"""

from collections.abc import Callable

from firmware.sip.configuration import Account
from firmware.sip.digest import DigestClient
from firmware.sip.types import SECURE, Flow, Transport
from firmware.sip.uri import NameAddr, Uri


class Identity:
    def __init__(self, account: Account, random: Callable[[int], bytes]) -> None:
        self.account = account
        self.flow: Flow | None = None  # over which the registrar answered last
        self.learned: tuple[str, int] | None = None  # our address as the registrar sees it, where it differs
        username = account.username or account.address.user or ""
        self.digest = DigestClient(username if account.password else "", account.password, random)

    @property
    def next_hop(self) -> Uri:
        """Every request of the account goes through its own server, wherever its Request-URI points."""
        return self.account.outbound_proxy or self.account.server

    def routes(self) -> tuple[NameAddr, ...]:
        proxy = self.account.outbound_proxy
        if proxy is None:
            return ()
        return (NameAddr("", proxy if proxy.has_parameter("lr") else proxy.with_parameter("lr", None)),)

    def contact(self, flow: Flow, transport: Transport) -> NameAddr:
        host, port = self.learned if self.learned is not None else flow.advertised
        sips = self.next_hop.scheme == "sips" or self.account.address.scheme == "sips"
        return contact(self.account.address.user or "", host, port, transport, sips=sips)


def contact(user: str, host: str, port: int, transport: Transport, *, sips: bool = False) -> NameAddr:
    """Our Contact (8.1.1.8). `sips` where the peer used it: it must come back the same way (RFC 5630 5.1.1.1)."""
    uri = Uri("sips" if sips and transport in SECURE else "sip", user=user or None, host=host, port=port or None)
    if transport in ("ws", "wss"):
        uri = uri.with_parameter("transport", "ws")  # the one value of RFC 7118 section 5.2, secure or not
    elif transport != "udp" and uri.scheme == "sip":
        uri = uri.with_parameter("transport", transport)
    return NameAddr("", uri)
