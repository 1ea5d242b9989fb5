"""The UDP sockets of an endpoint, and which of them, and of our addresses, leads to a peer.

What a peer is told of us, in Via, Contact and SDP, must be the address that its answers can come to (RFC 3261
18.1.1): of several sockets the one that the kernel would send from, of a wildcard socket the address on the way.
Nothing here waits.
"""

import socket
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from firmware.net.sip_udp import UdpSocket
from firmware.net.source_address import family_of, source_towards
from firmware.sip.errors import RemoteProtocolError
from firmware.sip.uri import Uri

MAX_NAMES = 256
_ROUTES_FRESH_S = 30.0  # a DHCP lease or a cable may change our address

# Addresses of nobody (RFC 5737, RFC 3849), whose route is the default route; and what is left without one.
_NOWHERE = {socket.AF_INET: ("192.0.2.1", "127.0.0.1"), socket.AF_INET6: ("2001:db8::1", "::1")}


class UdpSockets:
    """By number, in the order in which they were bound."""

    def __init__(self) -> None:
        self._sockets: dict[int, UdpSocket] = {}
        self._names: OrderedDict[str, tuple[str, ...]] = OrderedDict()  # what names last led to
        self._routes_from_s = 0.0

    def __iter__(self) -> Iterator[UdpSocket]:
        return iter(self._sockets.values())

    def add(self, udp: UdpSocket) -> None:
        self._sockets[udp.number] = udp

    def get(self, number: int) -> UdpSocket | None:
        return self._sockets.get(number)

    def families(self) -> set[socket.AddressFamily]:
        return {udp.family for udp in self}

    def towards(self, host: str) -> UdpSocket | None:
        """The socket to use for an address: bound to what the kernel would send from, to all, or at all."""
        family = family_of(host)
        candidates = [udp for udp in self if udp.family == family]
        if len(candidates) > 1:
            try:
                source = source_towards(host)
            except OSError:
                source = ""
            candidates.sort(key=lambda udp: (udp.host != source, not udp.wildcard))
        return candidates[0] if candidates else None

    def forget_routes(self) -> None:
        for udp in self:
            udp.forget_routes()

    def refresh_routes(self, now: float) -> None:
        """Forget them if they were asked for long ago."""
        if now - self._routes_from_s > _ROUTES_FRESH_S:
            self._routes_from_s = now
            self.forget_routes()

    def note_name(self, name: str, hosts: Sequence[str]) -> None:
        """A look-up of `name` led to these addresses."""
        self._names[name.lower()] = tuple(hosts)
        self._names.move_to_end(name.lower())
        while len(self._names) > MAX_NAMES:
            self._names.popitem(last=False)

    def local_host_towards(self, uri_or_host: str) -> str:
        """Our address as a peer at `uri_or_host` would see it, for SDP. An unknown name gets the address of the
        default route."""
        host = uri_or_host
        if uri_or_host.lower().startswith(("sip:", "sips:")):
            try:
                uri = Uri.parse(uri_or_host)
                host = uri.parameter("maddr") or uri.host
            except RemoteProtocolError:
                host = ""
        host = host.strip("[]")
        for each in self._names.get(host.lower(), (host,)):
            udp = self.towards(each)
            if udp is not None:
                break
        else:
            udp, each = next(iter(self)), ""
        if not udp.wildcard:
            return udp.host
        default, loopback = _NOWHERE[udp.family]
        try:
            return source_towards(each or default)
        except OSError:
            return loopback
