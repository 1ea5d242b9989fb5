"""A peer of a SIP endpoint on bare loopback sockets, for messages whose Via names ports and hosts of the RFCs.

Answers go to the source address and the port that the topmost Via names (RFC 3261 18.2.2), so the peer has an
address of 127/8 of its own and listens on all the ports that those messages name. What it sends to the endpoint is
handled in the order of sending: the answer to a ping tells that everything before has been dealt with.
"""

import asyncio
import itertools
import os
import socket
from collections.abc import Callable

from firmware.sip.message import Request, Response, parse_message

PORTS = (5060, 5061, 5050, 5070, 6050, 19823)
_hosts = itertools.count(1)
_pings = itertools.count(1)

Message = Request | Response


def own_host() -> str:
    """An address of this machine that no other process's tests use."""
    number = next(_hosts)
    return f"127.{100 + os.getpid() % 100}.{os.getpid() // 100 % 256}.{1 + number % 250}"


class UdpPeer:
    def __init__(self, towards: tuple[str, int]) -> None:
        self.towards = towards
        self.heard: list[Message] = []
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._sockets: list[socket.socket] = []
        host = own_host()
        for port in PORTS:
            own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            own.setblocking(False)
            own.bind((host, port))
            self._sockets.append(own)
            self._loop.add_reader(own.fileno(), self._readable, own)

    def close(self) -> None:
        for own in self._sockets:
            self._loop.remove_reader(own.fileno())
            own.close()

    def send(self, data: bytes) -> None:
        self._sockets[0].sendto(data, self.towards)

    async def settled(self) -> None:
        """All that was sent before has been handled."""
        token = f"settled{next(_pings)}"
        self.send(ping(token, "UDP"))
        await self.until(lambda: any(message.headers.get("Call-ID") == token for message in self.heard))
        self.heard = [message for message in self.heard if message.headers.get("Call-ID") != token]

    async def final(self) -> Response:
        """The first final response."""
        await self.until(lambda: finals(self.heard))
        return finals(self.heard)[0]

    async def until(self, condition: Callable[[], object], timeout_s: float = 15.0) -> None:
        """Wait for what was heard to make `condition` true."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def _readable(self, own: socket.socket) -> None:
        while True:
            try:
                data = own.recv(65536)
            except BlockingIOError:
                return
            self.heard.append(parse_message(data))
            self._news.set()


def finals(messages: list[Message]) -> list[Response]:
    return [message for message in messages if isinstance(message, Response) and message.status >= 200]


def ping(token: str, transport: str) -> bytes:
    return (
        "OPTIONS sip:door@127.0.0.1 SIP/2.0\r\n"
        f"Via: SIP/2.0/{transport} 127.0.0.1:5060;branch=z9hG4bK{token};rport\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:ping@127.0.0.1>;tag={token}\r\nTo: <sip:door@127.0.0.1>\r\n"
        f"Call-ID: {token}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ).encode()
