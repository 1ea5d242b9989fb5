"""A SIP endpoint under test with what it told, and waiting for conditions on an event loop."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

from firmware.net.sip_endpoint import SipEndpoint
from firmware.sip.configuration import Account, Configuration, House
from firmware.sip.core import Core

SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n"


async def until(condition: Callable[[], object], what: str, timeout_s: float = 15.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain: {what}"
        await asyncio.sleep(0.002)
    return value


class Phone:
    """`options` are SipEndpoint's."""

    def __init__(
        self,
        *listen: tuple[str, int],
        accounts: tuple[Account, ...] = (),
        seed: int = 1,
        options: dict[str, Any] | None = None,
        house: House | None = None,
    ) -> None:
        self.events: list[Any] = []
        self.core = Core(Configuration(accounts, house=house), random=random.Random(seed).randbytes)
        self.endpoint = SipEndpoint(
            self.core, listen=listen or [("127.0.0.1", 0)], on_event=self.events.append, **(options or {})
        )

    async def __aenter__(self) -> "Phone":
        await self.endpoint.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.endpoint.stop(0.0)

    def port(self, transport: str = "udp") -> int:
        return next(port for kind, _, port in self.endpoint.listeners if kind == transport)

    def told(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def event(self, kind: type, timeout_s: float = 15.0) -> Any:
        await until(lambda: self.told(kind), f"{kind.__name__}, got {self.events}", timeout_s)
        return self.told(kind)[0]
