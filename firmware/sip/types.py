"""Where messages travel: a resolved target and an open flow to it (RFC 3263 section 4, RFC 5626 section 3.1).

Plain values that the core and the socket shell exchange. Hosts are IP literals without brackets; names exist
in URIs only.
"""

from dataclasses import dataclass, field
from typing import Literal

Transport = Literal["udp", "tcp", "tls", "ws", "wss"]

DEFAULT_PORT = 5060
DEFAULT_PORTS: dict[Transport, int] = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}
SECURED: dict[Transport, Transport] = {"tcp": "tls", "ws": "wss"}
SECURE: frozenset[Transport] = frozenset(SECURED.values())


@dataclass(frozen=True, slots=True)
class Target:
    """One address to try: what a next hop's URI resolves to.

    `name` is the domain that the URI named: what a TLS certificate has to be for. Two targets at one address are
    the same place whatever they are called."""

    transport: Transport
    host: str
    port: int
    name: str = field(default="", compare=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port} ({self.transport})"


@dataclass(frozen=True, slots=True)
class Flow:
    """A way to one remote address that is open now.

    `advertised` is (host, port) for Via and Contact: the address under which the peer reaches our listening
    socket. A WebSocket client is reached on its connection alone: its host ends in `.invalid` and its port is 0
    (RFC 7118 section 5.2). `number` is unique per connection, and per local socket for UDP.
    """

    transport: Transport
    local: tuple[str, int]
    remote: tuple[str, int]
    advertised: tuple[str, int]
    number: int

    @property
    def reliable(self) -> bool:
        return self.transport != "udp"

    @property
    def secure(self) -> bool:
        return self.transport in SECURE

    def leads_to(self, target: Target) -> bool:
        """Whether what is meant for `target` may go here. Servers write transport=ws, and some transport=tcp, into
        the Record-Route of what they got encrypted; the flow it came on is meant, not a new one beside it."""
        same = self.transport in (target.transport, SECURED.get(target.transport))
        return same and self.remote == (target.host, target.port)

    @property
    def target(self) -> Target:
        return Target(self.transport, self.remote[0], self.remote[1])
