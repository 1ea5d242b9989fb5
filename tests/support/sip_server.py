"""What a phone needs to know of the server it registers at: a Kamailio, or a station with users of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class SipServer(Protocol):
    def over(self, transport: str) -> str:
        """URI of the server by this transport, parameter and all."""

    @property
    def users(self) -> Mapping[str, str]:
        """Passwords by user."""


@dataclass(frozen=True, slots=True)
class HouseRegistrar:
    """A station that its users register at, under kamailio.DOMAIN: at `port`, by TLS the one above it."""

    host: str
    port: int
    users: Mapping[str, str]

    def over(self, transport: str) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"sip:{host}:{self.port + (transport == 'tls')};transport={transport}"
