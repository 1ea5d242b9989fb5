"""A TCP or TLS connection that carries SIP: messages framed by their length, CRLF pings (RFC 3261 18.3, RFC 5626
4.4.1). What TLS adds is over when the connection is made; see sip_tls.py.
"""

import asyncio
import ssl
from collections.abc import Callable

from firmware.net.sip_connection import Connection, Owner
from firmware.sip.errors import RemoteProtocolError
from firmware.sip.stream import Keepalive, StreamFramer
from firmware.sip.types import Transport


class StreamConnection(Connection):
    def __init__(
        self,
        owner: Owner,
        number: int,
        transport: Transport,
        advertised: tuple[str, int],
        *,
        outbound: bool,
        check: Callable[[ssl.SSLObject], None] | None = None,
    ) -> None:
        super().__init__(owner, number, transport, advertised, outbound=outbound, check=check)
        self._framer = StreamFramer()

    def send(self, data: bytes) -> None:
        self._write(data)

    def _read(self, data: bytes) -> None:
        if not self._told:
            return  # refused: what it says does not matter any more
        try:
            found = self._framer.feed(data)
        except RemoteProtocolError as error:
            self._owner.garbage(self, error)
            return
        for item in found:
            if item is Keepalive.PING:
                self._write(Keepalive.PONG.value)
            elif item is Keepalive.PONG:
                self._answers_pings = True
            else:
                self._message(item)
        if self._framer.broken is not None:
            self._owner.garbage(self, self._framer.broken)

    def _send_ping(self) -> None:
        self._write(Keepalive.PING.value)


class TlsArrival(asyncio.Protocol):
    """A connection to a TLS listener before its handshake: nothing is read until `begin` takes the transport."""

    def __init__(self, begin: Callable[[asyncio.Transport], None]) -> None:
        self._begin = begin

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        self._begin(transport)
