"""Where the users of the house can be reached now: the bindings that they registered (RFC 3261 10, RFC 5626).

A location service of a few dozen phones as plain data: who, at which Contact, over which flow, until when. Rules of
REGISTER are registrar.py's. Times are seconds of the core's clock; a binding that was restored from a file has no
flow, and is reached at the address from which it was registered.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from firmware.sip.types import DEFAULT_PORT, Flow
from firmware.sip.uri import NameAddr, Uri


@dataclass(frozen=True, slots=True)
class Binding:
    """One phone of a user. `source` is the address its REGISTER came from, `path` the proxies it came through."""

    user: str
    contact: NameAddr  # without q and expires
    expires_at: float
    expires_s: int  # as granted
    call_id: str
    cseq: int
    transport: str
    source: tuple[str, int]
    flow: Flow | None = None
    q: float = 1.0
    path: tuple[NameAddr, ...] = ()
    instance: str = ""
    reg_id: int = 0
    agent: str = ""

    @property
    def uri(self) -> Uri:
        """The Request-URI of what is sent to it (16.6)."""
        return self.contact.uri.replace(headers=())

    @property
    def next_hop(self) -> Uri:
        """Where requests to it go first.

        Over a connection: where that came from, for a phone's listening port is often closed to us. By datagram to
        its Contact; where that names another host than the one we heard, a NAT is between, which lets only answers
        to the port it chose come back. With reg-id the flow alone counts (RFC 5626 5.3).
        """
        if self.path:
            return self.path[0].uri
        uri = self.uri
        if self.transport == "udp" and not self.reg_id and same_host(uri.host, self.source[0]):
            return Uri("sip", host=uri.host, port=uri.port or DEFAULT_PORT)
        host, port = self.source
        return address_uri(host, port, self.transport)

    def came_from(self, flow: Flow) -> bool:
        """Whether what arrives on `flow` comes from this phone: its connection, or its address and port."""
        if self.flow is not None and flow.reliable:
            return self.flow.reliable and self.flow.number == flow.number
        return self.transport == flow.transport and self.source == flow.remote


class Location:
    """The bindings of all users, in the order in which they were first made."""

    def __init__(self) -> None:
        self._bindings: dict[str, tuple[Binding, ...]] = {}

    def of(self, user: str, now: float) -> tuple[Binding, ...]:
        """The live ones of a user, the preferred first (q)."""
        live = [binding for binding in self._bindings.get(user, ()) if binding.expires_at > now]
        return tuple(sorted(live, key=lambda binding: -binding.q))

    def replace(self, user: str, bindings: tuple[Binding, ...]) -> None:
        if bindings:
            self._bindings[user] = bindings
        else:
            self._bindings.pop(user, None)

    def stored(self, user: str) -> tuple[Binding, ...]:
        """All of a user, an expired one that nobody has taken out yet too."""
        return self._bindings.get(user, ())

    def at(self, uri: Uri, now: float) -> Binding | None:
        """The live binding whose Contact is this one: user, host and port name it."""
        return next(
            (binding for binding in self if binding.expires_at > now and same_contact(binding.uri, uri)), None
        )

    def behind(self, flow: Flow, now: float) -> Binding | None:
        """The live binding that this flow comes from."""
        return next((binding for binding in self if binding.expires_at > now and binding.came_from(flow)), None)

    def next_expiry(self) -> float | None:
        return min((binding.expires_at for binding in self), default=None)

    def __iter__(self) -> Iterator[Binding]:
        return (binding for bindings in tuple(self._bindings.values()) for binding in bindings)

    def __len__(self) -> int:
        return sum(len(bindings) for bindings in self._bindings.values())


def address_uri(host: str, port: int, transport: str) -> Uri:
    """The URI of an address, as a next hop."""
    uri = Uri("sip", host=host, port=port)
    return uri if transport == "udp" else uri.with_parameter("transport", transport)


def same_contact(one: Uri, other: Uri) -> bool:
    """Phones add and drop parameters of their Contact between requests; user, host and port name it well enough."""
    return (
        (one.user or "") == (other.user or "")
        and same_host(one.host, other.host)
        and (one.port or DEFAULT_PORT) == (other.port or DEFAULT_PORT)
    )


def same_host(one: str, other: str) -> bool:
    if one.lower() == other.lower():
        return True
    try:
        return ip_address(one) == ip_address(other)  # one IPv6 address has many spellings
    except ValueError:
        return False
