"""Whom ICE asks for candidates: apart from `ice`, since every engine knows it and few need an agent."""

from dataclasses import dataclass
from typing import Literal

from firmware.media.latch import Address


@dataclass(frozen=True, slots=True)
class IceServers:
    """Whom to ask for candidates beyond our own network; none of them is asked where it is empty."""

    stun: Address | None = None
    turn: Address | None = None
    turn_username: str = ""
    turn_password: str = ""
    turn_transport: Literal["udp", "tcp", "tls"] = "udp"
