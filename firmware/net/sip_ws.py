"""A WebSocket that carries SIP, from either end (RFC 7118, RFC 6455): one message a frame, text or binary.

The protocol is the `websockets` library's part without sockets. Asterisk and JsSIP keep WebSockets alive with CRLF
in frames as if they were TCP (JsSIP#744); those are swallowed, and a ping gets its pong. Loaded with the first
account or listener that wants it.
"""

import logging
import ssl
from collections.abc import Callable, Sequence

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response as HttpResponse
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol
from websockets.uri import WebSocketURI

from firmware.net.sip_connection import Connection, Owner
from firmware.sip.stream import Keepalive
from firmware.sip.types import Transport

UPGRADE_S = 10.0  # a browser that has connected asks for the upgrade at once
BROWSER_PING_S = 20.0  # below the 30 s of the proxies in front of houses; browsers answer by themselves
MAX_MESSAGE = 131_072  # octets: the head's and the body's limits of a stream
SUBPROTOCOL = Subprotocol("sip")

_log = logging.getLogger("portero.websockets")
_log.setLevel(logging.WARNING)  # the library tells of each connection otherwise


class WebSocketConnection(Connection):
    _protocol: ClientProtocol | ServerProtocol

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
        self._answers_pings = True  # RFC 6455 section 5.5.2 leaves no choice
        self._parts: list[bytes] = []  # of a message in several frames

    def send(self, data: bytes) -> None:
        if self._protocol.state is not State.OPEN:
            return
        # Text is what every browser's stack expects; a body that is no UTF-8 has to be binary.
        try:
            data.decode()
        except UnicodeDecodeError:
            self._protocol.send_binary(data)
        else:
            self._protocol.send_text(data)
        self._transmit()

    def close(self) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(1001)  # "going away", RFC 6455 section 7.4.1
            self._transmit()
        super().close()

    def _read(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if not isinstance(event, Frame):
                self._upgrade(event)
            elif event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                if event.data:  # empty ones count for no limit, and may be sent for ever
                    self._parts.append(bytes(event.data))
                if event.fin:
                    whole, self._parts = b"".join(self._parts), []
                    self._frame(whole)
        self._transmit()

    def _upgrade(self, event: HttpRequest | HttpResponse) -> None:
        raise NotImplementedError

    def _frame(self, data: bytes) -> None:
        if not data.strip(b"\r\n\0 "):
            if data == Keepalive.PING.value:
                self._protocol.send_text(Keepalive.PONG.value)
            return
        self.last_message_s = self._loop.time()
        self._owner.received_whole(self, data)

    def _send_ping(self) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"")
            self._transmit()

    def _transmit(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._write(data)
            elif self._transport is not None:
                self._reason = self._failure()
                self._transport.close()

    def _failure(self) -> str:
        failed = self._protocol.handshake_exc or self._protocol.parser_exc
        if failed is not None:
            return f"WebSocket: {failed}"
        closed = self._protocol.close_rcvd
        if closed is not None and closed.reason:
            return f"closed by the peer: {closed.reason[:80]}"
        return "closed by the peer"


class WebSocketClient(WebSocketConnection):
    """`host` as typed, `port` as resolved; both go into the request's Host, `path` into its first line."""

    def __init__(
        self,
        owner: Owner,
        number: int,
        transport: Transport,
        advertised: tuple[str, int],
        *,
        host: str,
        port: int,
        path: str,
        check: Callable[[ssl.SSLObject], None] | None = None,
    ) -> None:
        super().__init__(owner, number, transport, advertised, outbound=True, check=check)
        path, _, query = path.partition("?")
        uri = WebSocketURI(transport == "wss", host, port, path or "/", query)
        client = ClientProtocol(uri, subprotocols=[SUBPROTOCOL], max_size=MAX_MESSAGE, logger=_log)
        client.send_request(client.connect())  # leaves with the connection's first octets
        self._protocol = client

    def _begin(self) -> None:
        self._transmit()

    def _upgrade(self, event: HttpRequest | HttpResponse) -> None:
        if self._protocol.handshake_exc is not None:
            return  # `_transmit` closes, and says why
        if self._protocol.subprotocol != SUBPROTOCOL:
            self.drop("WebSocket: the server does not speak the subprotocol sip")
            return
        self._ready()


class WebSocketArrival(WebSocketConnection):
    """One made to our listener. `origins` are the pages it may come from; empty: any, and programs without one."""

    def __init__(
        self,
        owner: Owner,
        number: int,
        transport: Transport,
        advertised: tuple[str, int],
        *,
        origins: Sequence[str] = (),
    ) -> None:
        super().__init__(owner, number, transport, advertised, outbound=False)
        self._protocol = ServerProtocol(
            origins=[Origin(origin) for origin in origins] or None,
            subprotocols=[SUBPROTOCOL],
            max_size=MAX_MESSAGE,
            logger=_log,
        )

    def _ping_every_s(self) -> float:
        return BROWSER_PING_S

    def _begin(self) -> None:
        self._ping = self._loop.call_later(UPGRADE_S, self.drop, "no WebSocket handshake")

    def _upgrade(self, event: HttpRequest | HttpResponse) -> None:
        assert isinstance(self._protocol, ServerProtocol)
        assert isinstance(event, HttpRequest)
        response = self._protocol.accept(event)
        self._protocol.send_response(response)
        self._transmit()
        if response.status_code == 101:
            if self._ping is not None:
                self._ping.cancel()
            self._ready()
