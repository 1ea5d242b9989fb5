"""What a phone needs to know of the server it registers at: a Kamailio, or a station with users of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class SipServer(Protocol):
    @property
    def uri(self) -> str: ...

    @property
    def users(self) -> Mapping[str, str]:
        """Passwords by user."""


@dataclass(frozen=True, slots=True)
class HouseRegistrar:
    """A station that its users register at, under kamailio.DOMAIN."""

    uri: str
    users: Mapping[str, str]
