"""One TCP connection that carries SIP (RFC 3261 section 18, RFC 5626 section 4.4.1): framing, pings, bounds.

Everything it learns goes to its owner through four calls; it decides only when the connection is not worth
keeping: a reader too slow for what is sent, a peer that answered pings and stopped, octets that are no SIP.
"""

import asyncio
import contextlib
import socket
from typing import Protocol

from firmware.net.source_address import literal
from firmware.sip.errors import RemoteProtocolError
from firmware.sip.message import Request, Response
from firmware.sip.stream import Keepalive, StreamFramer
from firmware.sip.types import Flow

PING_S = 25.0  # below the 30 s of the shortest NAT timers seen for TCP, and RFC 5626's own range
MAX_UNSENT = 262_144  # octets; a peer that lets more pile up is not reading
_USER_TIMEOUT_MS = 30_000  # the kernel gives a peer up that acknowledges nothing for so long (tcp(7))
_TCP_USER_TIMEOUT = 18


class Owner(Protocol):
    def connected(self, connection: "Connection") -> None: ...

    def received(self, connection: "Connection", message: Request | Response) -> None: ...

    def garbage(self, connection: "Connection", error: RemoteProtocolError) -> None: ...

    def disconnected(self, connection: "Connection", reason: str) -> None: ...


class Connection(asyncio.Protocol):
    """`advertised_port` is our listening port, 0 where there is none: then the connection's own."""

    def __init__(self, owner: Owner, number: int, advertised_port: int, *, outbound: bool) -> None:
        self.outbound = outbound
        self.number = number
        self.flow: Flow  # from connected on
        self.last_message_s = 0.0  # loop time of the last whole message, for the choice of whom to drop
        self._owner = owner
        self._advertised_port = advertised_port
        self._framer = StreamFramer()
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._ping: asyncio.TimerHandle | None = None
        self._heard = True  # something since the last ping
        self._answers_pings = False
        self._reason = "closed by the peer"

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, data: bytes) -> None:
        """Write; a connection that cannot take it is dropped, which its owner is told."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(data)
        if transport.get_write_buffer_size() > MAX_UNSENT:
            self.drop("peer does not read")

    def close(self) -> None:
        """Close after what is unsent."""
        if self._transport is not None:
            self._reason = "closed by us"
            self._transport.close()

    def drop(self, reason: str) -> None:
        """Close at once."""
        if self._transport is not None:
            self._reason = reason
            self._transport.abort()

    # --- asyncio's side -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        local, remote = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        sock = transport.get_extra_info("socket")
        if not local or not remote:  # gone before it was here
            transport.abort()
            return
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        host = literal(local)
        self.flow = Flow(
            "tcp",
            (host, local[1]),
            (literal(remote), remote[1]),
            (host, self._advertised_port or local[1]),
            self.number,
        )
        self.last_message_s = self._loop.time()
        if self.outbound:
            self._ping = self._loop.call_later(PING_S, self._send_ping)
        self._owner.connected(self)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        try:
            found = self._framer.feed(data)
        except RemoteProtocolError as error:
            self._owner.garbage(self, error)
            return
        for item in found:
            if item is Keepalive.PING:
                self.send(Keepalive.PONG.value)
            elif item is Keepalive.PONG:
                self._answers_pings = True
            else:
                self.last_message_s = self._loop.time()
                self._owner.received(self, item)
        if self._framer.broken is not None:
            self._owner.garbage(self, self._framer.broken)

    def eof_received(self) -> bool:
        return False  # nobody half-closes in SIP: close

    def connection_lost(self, error: Exception | None) -> None:
        if self._ping is not None:
            self._ping.cancel()
        self._transport = None
        if hasattr(self, "flow"):
            self._owner.disconnected(self, str(error) if error else self._reason)

    def _send_ping(self) -> None:
        if self._answers_pings and not self._heard:
            self.drop("keep-alive unanswered")
            return
        self._heard = False
        self.send(Keepalive.PING.value)
        self._ping = self._loop.call_later(PING_S, self._send_ping)
