"""What every connection that carries SIP has in common, whatever is spoken on it: its flow, its bounds, its pulse.

TCP and TLS are sip_tcp.py, WebSockets are sip_ws.py. Everything a connection learns goes to its owner through five
calls; it decides only when it is not worth keeping: a reader too slow for what is sent, a peer that answered pings
and stopped (RFC 5626 section 4.4.1), octets that are no SIP.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Protocol

from firmware.net.sip_tls import TlsError, words
from firmware.net.source_address import literal
from firmware.sip.errors import RemoteProtocolError
from firmware.sip.message import Request, Response
from firmware.sip.types import SECURE, Flow, Transport

# A registrar that hangs is noticed within two of these, and a monitor of this house should ring again within ten
# seconds. RFC 5626's own two minutes are for a million phones at one server, its 10 s for one answer.
PING_S = 4.0
MAX_UNSENT = 262_144  # octets; a peer that lets more pile up is not reading
_USER_TIMEOUT_MS = {True: 4_000, False: 30_000}  # the kernel gives a peer up that acknowledges nothing (tcp(7))
_TCP_USER_TIMEOUT = 18


class Owner(Protocol):
    def connected(self, connection: "Connection") -> None: ...

    def received(self, connection: "Connection", message: Request | Response) -> None: ...

    def received_whole(self, connection: "Connection", data: bytes) -> None: ...

    def garbage(self, connection: "Connection", error: RemoteProtocolError) -> None: ...

    def disconnected(self, connection: "Connection", reason: str) -> None: ...


class Connection(asyncio.Protocol):
    """`advertised` is the address under which the peer reaches our listener of this transport; a host of "" is the
    connection's own, a port of 0 likewise. `check` judges the peer's certificate before anything is said."""

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
        self.outbound = outbound
        self.number = number
        self.flow: Flow  # from connected on
        self.last_message_s = 0.0  # loop time of the last whole message, 0 before: for the choice of whom to drop
        self.opened: asyncio.Future[str] = asyncio.get_running_loop().create_future()  # "", or why it never was
        self._owner = owner
        self._kind = transport
        self._advertised = advertised
        self._check = check
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._ping: asyncio.TimerHandle | None = None
        self._heard = True  # something since the last ping
        self._answers_pings = False
        self._told = False  # the owner knows of it
        self._early = b""  # what came with the end of a TLS handshake, before anybody said that it was over
        self._reason = "closed by the peer"

    @property
    def open(self) -> bool:
        return self._told and self._transport is not None and not self._transport.is_closing()

    def send(self, data: bytes) -> None:
        """Send one message; a connection that cannot take it is dropped, which its owner is told."""
        raise NotImplementedError

    def expects_pong(self) -> None:
        """The peer has promised to answer pings: silence is death, although it has answered none yet."""
        self._answers_pings = True

    def close(self) -> None:
        """Close after what is unsent."""
        # Python 3.11.2, Debian 12's, forgets at a second close of a TLS transport what `drop` would need.
        if self._transport is not None and not self._transport.is_closing():
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
        if not local or not remote:  # gone before it was here
            transport.abort()
            return
        sock = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, _USER_TIMEOUT_MS[self.outbound])
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self._kind in SECURE:
            try:
                self._trust(transport.get_extra_info("ssl_object"))
            except TlsError as error:
                self.drop(str(error))
                return
        host, port = self._advertised
        self.flow = Flow(
            self._kind,
            (literal(local), local[1]),
            (literal(remote), remote[1]),
            (host, port) if host else (literal(local), port or local[1]),
            self.number,
        )
        self._begin()
        if self._early:
            early, self._early = self._early, b""
            self._read(early)

    def _trust(self, peer: ssl.SSLObject | None) -> None:
        """TlsError unless this is TLS, and with whom it should be."""
        if peer is None:  # whoever asked for TLS and got less must not send a word
            raise TlsError("the connection is not encrypted")
        if self._check is not None:
            self._check(peer)
        elif self.outbound:
            raise TlsError("the certificate was not checked")

    def _begin(self) -> None:
        """The connection is there; the owner may be told at once."""
        self._ready()

    def _ready(self) -> None:
        self._told = True
        self._owner.connected(self)
        if not self.opened.done():
            self.opened.set_result("")
        interval_s = self._ping_every_s()
        if interval_s and self.open:
            self._ping = self._loop.call_later(interval_s, self._on_ping, interval_s)

    def _ping_every_s(self) -> float:
        """Seconds between our pings; 0 where the peer keeps the connection alive."""
        return PING_S if self.outbound else 0.0

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if self._transport is None:
            self._early += data
        else:
            self._read(data)

    def _read(self, data: bytes) -> None:
        raise NotImplementedError

    def eof_received(self) -> bool:
        return False  # nobody half-closes in SIP: close

    def connection_lost(self, error: Exception | None) -> None:
        if self._ping is not None:
            self._ping.cancel()
        self._transport = None
        reason = words(error) if error else self._reason
        if not self.opened.done():
            self.opened.set_result(reason)
        if self._told:
            self._owner.disconnected(self, reason)

    # --- for the kinds --------------------------------------------------------------------------------------

    def _message(self, message: Request | Response) -> None:
        self.last_message_s = self._loop.time()
        self._owner.received(self, message)

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(data)
        if transport.get_write_buffer_size() > MAX_UNSENT:
            self.drop("peer does not read")

    def _send_ping(self) -> None:
        raise NotImplementedError

    def _on_ping(self, interval_s: float) -> None:
        if self._answers_pings and not self._heard:
            self.drop("keep-alive unanswered")
            return
        self._heard = False
        self._send_ping()
        self._ping = self._loop.call_later(interval_s, self._on_ping, interval_s)
