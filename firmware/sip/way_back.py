"""Responses whose connection is gone: RFC 3261 18.2.2, over TCP.

    state   | input        | next    | what happens
    --------|--------------|---------|--------------------------------------------------------
    closed  | send         | opening | OpenFlow to where the request came from, by its Via
    opening | send         | opening | replaces what waits: a later response makes an earlier moot
    opening | opened       | open    | what waits is sent; the transaction goes on over the new flow
    opening | not opened   | closed  | what waits is dropped: the peer's own timers end the transaction

The address is the Via's `received`, or its host where that is one; the port is the Via's own, for the peer listens
there, and the port of the lost connection was nobody's. A name in the Via is not looked up: `received` is always
there when the two differ. TLS and WebSocket peers are reached over connections of their own making only.
"""

from ipaddress import ip_address

from firmware.sip.stack import Stack
from firmware.sip.transactions import Server
from firmware.sip.types import DEFAULT_PORT, Flow, Target


class WayBack:
    def __init__(self, stack: Stack, server: Server) -> None:
        self._stack = stack
        self._server = server
        self._waits: bytes | None = None

    def send(self, data: bytes) -> None:
        opening = self._waits is not None
        self._waits = data
        target = self._target()
        if target is None:
            self._waits = None
        elif not opening:
            self._stack.open_flow(target, self)

    def _target(self) -> Target | None:
        if self._server.flow.transport != "tcp":
            return None
        via = self._server.request.top_via
        host = via.received or via.host
        try:
            ip_address(host)
        except ValueError:
            return None
        return Target("tcp", host, via.port or DEFAULT_PORT)

    # --- answers of the shell (FlowUser) ----------------------------------------------------------------------

    def resolved(self, token: int, targets: tuple[Target, ...], error: str, now: float) -> None:
        pass

    def opened(self, token: int, flow: Flow, now: float) -> None:
        data, self._waits = self._waits, None
        self._server.flow, self._server.way_back = flow, None
        if data is not None:
            self._stack.send(flow, data)

    def not_opened(self, token: int, error: str, now: float) -> None:
        self._waits = None
