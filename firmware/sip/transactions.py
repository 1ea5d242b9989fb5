"""The transaction layer: finds the machine a message belongs to, runs its timers, does its outputs.

RFC 3261 17.1.3 (responses by branch and CSeq method), 17.2.3 (requests by branch, sent-by and method, with the
RFC 2543 fallback where the branch lacks the magic cookie), 8.2.2.2 (merged requests), 18.4 and RFC 3263 4.3
(transport errors). It decides nothing about what a message means; its users do.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from firmware.sip.client_invite import InviteClientTransaction
from firmware.sip.client_request import ClientTransaction
from firmware.sip.errors import LocalProtocolError
from firmware.sip.message import Request, Response
from firmware.sip.server_invite import InviteServerTransaction
from firmware.sip.server_request import ServerTransaction
from firmware.sip.timers import Alarm, Schedule, Timers
from firmware.sip.transaction import (
    Deliver,
    Output,
    StartTimer,
    StopTimer,
    Terminated,
    TimedOut,
    Transmit,
    response_input,
)
from firmware.sip.types import Flow

MAGIC_COOKIE = "z9hG4bK"

ClientKey = tuple[str, str]
ServerKey = tuple[str | int, ...]


class ClientUser(Protocol):
    """Who sent a request."""

    def received(self, response: Response, now: float) -> None: ...

    def timed_out(self, now: float) -> None: ...

    def failed(self, reason: str, now: float) -> None: ...


class ServerUser(Protocol):
    """Who answers an INVITE; other requests are answered once and forgotten."""

    def acknowledged(self, ack: Request, now: float) -> None: ...

    def unacknowledged(self, now: float) -> None: ...


class ResponseWay(Protocol):
    """Takes a server transaction's responses to the peer once their connection is gone (18.2.2)."""

    def send(self, data: bytes) -> None: ...


@dataclass(slots=True, eq=False)
class Client:
    """A running client transaction."""

    machine: InviteClientTransaction | ClientTransaction
    flow: Flow
    key: ClientKey
    user: ClientUser
    alarms: dict[str, Alarm] = field(default_factory=dict)

    @property
    def request(self) -> Request:
        return self.machine.request


@dataclass(slots=True, eq=False)
class Server:
    """A running server transaction. `stranger`: opened by a request outside all our dialogs."""

    machine: InviteServerTransaction | ServerTransaction
    flow: Flow
    key: ServerKey
    stranger: bool
    merge_key: ServerKey | None
    user: ServerUser | None = None
    way_back: ResponseWay | None = None  # in place of `flow`, whose connection is gone
    alarms: dict[str, Alarm] = field(default_factory=dict)

    @property
    def request(self) -> Request:
        return self.machine.request

    @property
    def answered(self) -> bool:
        return self.machine.answered or self.machine.state == "terminated"


class Transactions:
    def __init__(
        self,
        timers: Timers,
        schedule: Schedule,
        send: Callable[[Flow, bytes], None],
        way_back: Callable[["Server"], ResponseWay],
    ) -> None:
        self._timers = timers
        self._schedule = schedule
        self._send = send
        self._way_back = way_back
        self._clients: dict[ClientKey, Client] = {}
        self._servers: dict[ServerKey, Server] = {}
        self._merge: dict[ServerKey, ServerKey] = {}
        self.strangers = 0

    def __len__(self) -> int:
        return len(self._clients) + len(self._servers)

    # --- client ---------------------------------------------------------------------------------------------

    def request(self, request: Request, flow: Flow, user: ClientUser, now: float) -> Client:
        """Send a request whose top Via carries a fresh branch, and repeat it as its method asks."""
        key = (request.top_via.branch or "", request.method)
        kind = InviteClientTransaction if request.method == "INVITE" else ClientTransaction
        client = Client(kind(request, self._timers, reliable=flow.reliable), flow, key, user)
        self._clients[key] = client
        self._run_client(client, client.machine.step("start"), now)
        return client

    def receive_response(self, response: Response, now: float) -> bool:
        """True if a transaction was waiting for it; a stray is dropped (RFC 6026 section 7.2)."""
        client = self._clients.get((response.top_via.branch or "", response.cseq.method))
        if client is None:
            return False
        name = response_input(response.status)
        if isinstance(client.machine, ClientTransaction) and name != "1xx":
            name = "final"
        self._run_client(client, client.machine.step(name, response), now)
        return True

    def abandon(self, client: Client, now: float) -> None:
        """Wait no longer: a cancelled INVITE without a final response (9.1), a request that another answered."""
        self._run_client(client, client.machine.step("abandon"), now)

    def transport_error(self, flow: Flow, reason: str, now: float) -> None:
        """A connection closed, or ICMP said that nobody is there.

        Over UDP only requests that nobody has answered yet fail: the error may be about anything else that was
        sent there, and a peer that has answered once may do so again."""
        for client in tuple(self._clients.values()):
            if client.flow.transport != flow.transport:
                continue
            if flow.reliable:
                hit = client.flow.number == flow.number
            else:
                hit = client.flow.remote == flow.remote and client.machine.state in ("calling", "trying")
            if hit:
                self._run_client(client, client.machine.step("transport error", reason=reason), now)
        if flow.reliable:
            for server in self._servers.values():
                if server.way_back is None and server.flow.reliable and server.flow.number == flow.number:
                    server.way_back = self._way_back(server)

    def _run_client(self, client: Client, outputs: list[Output], now: float) -> None:
        for output in outputs:
            if isinstance(output, Transmit):
                self._send(client.flow, output.data)
            elif isinstance(output, StartTimer):
                alarm = partial(self._client_timer, client, output.name)
                client.alarms[output.name] = self._schedule.set(now + output.after_s, alarm)
            elif isinstance(output, StopTimer):
                _stop(client.alarms, output.name)
            elif isinstance(output, Terminated):
                _stop_all(client.alarms)
                self._clients.pop(client.key, None)
            elif isinstance(output, Deliver):
                assert isinstance(output.message, Response)
                client.user.received(output.message, now)
            elif isinstance(output, TimedOut):
                client.user.timed_out(now)
            else:
                client.user.failed(output.reason, now)

    def _client_timer(self, client: Client, name: str, now: float) -> None:
        client.alarms.pop(name, None)
        self._run_client(client, client.machine.step(f"timer {name}"), now)

    # --- server ---------------------------------------------------------------------------------------------

    def find_server(self, request: Request) -> Server | None:
        """The transaction that a request, or the ACK to a refusal, belongs to."""
        return self._servers.get(server_key(request))

    def find_invite(self, cancel: Request) -> Server | None:
        """The INVITE that a CANCEL means (9.2)."""
        return self._servers.get(server_key(cancel, "INVITE"))

    def merged(self, request: Request) -> bool:
        """Whether the same request is being served already and came by another way (8.2.2.2)."""
        return request.to.tag is None and _merge_key(request) in self._merge

    def open_server(self, request: Request, flow: Flow, now: float, *, stranger: bool) -> Server:
        invite = request.method == "INVITE"
        kind = InviteServerTransaction if invite else ServerTransaction
        machine = kind(request, self._timers, reliable=flow.reliable)
        merge_key = _merge_key(request) if request.to.tag is None and request.method != "CANCEL" else None
        server = Server(machine, flow, server_key(request), stranger, merge_key)
        self._servers[server.key] = server
        if merge_key is not None:
            self._merge.setdefault(merge_key, server.key)
        self.strangers += stranger
        self._run_server(server, machine.step("start", request), now)
        return server

    def receive_again(self, server: Server, request: Request, now: float) -> None:
        """A repeat, or an ACK that carries its INVITE's branch."""
        if isinstance(server.machine, ServerTransaction):
            name = "request"
        elif request.method in ("INVITE", "ACK"):
            name = request.method
        else:
            return
        self._run_server(server, server.machine.step(name, request), now)

    def respond(self, server: Server, response: Response, now: float) -> None:
        name = response_input(response.status)
        if isinstance(server.machine, ServerTransaction):
            if response.status == 408:
                raise LocalProtocolError("a non-INVITE request is never answered 408 (RFC 4320)")
            name = "send 1xx" if name == "1xx" else "send final"
        else:
            name = f"send {name}"
        self._run_server(server, server.machine.step(name, response), now)

    def _run_server(self, server: Server, outputs: list[Output], now: float) -> None:
        for output in outputs:
            if isinstance(output, Transmit):
                if server.way_back is not None:
                    server.way_back.send(output.data)
                else:
                    self._send(server.flow, output.data)
            elif isinstance(output, StartTimer):
                alarm = partial(self._server_timer, server, output.name)
                server.alarms[output.name] = self._schedule.set(now + output.after_s, alarm)
            elif isinstance(output, StopTimer):
                _stop(server.alarms, output.name)
            elif isinstance(output, Terminated):
                self._forget_server(server)
            elif isinstance(output, Deliver):
                # The request that opened the transaction is with whoever opened it; an ACK is news.
                message = output.message
                if isinstance(message, Request) and message.method == "ACK" and server.user is not None:
                    server.user.acknowledged(message, now)
            elif isinstance(output, TimedOut) and server.user is not None:
                server.user.unacknowledged(now)

    def _server_timer(self, server: Server, name: str, now: float) -> None:
        server.alarms.pop(name, None)
        self._run_server(server, server.machine.step(f"timer {name}"), now)

    def _forget_server(self, server: Server) -> None:
        _stop_all(server.alarms)
        server.user = None  # which knows this transaction: neither is to wait for the search for cycles
        if self._servers.pop(server.key, None) is not None:
            self.strangers -= server.stranger
        if server.merge_key is not None and self._merge.get(server.merge_key) == server.key:
            del self._merge[server.merge_key]


def server_key(request: Request, method: str = "") -> ServerKey:
    """What identifies a server transaction (17.2.3). ACK counts as the INVITE it acknowledges."""
    method = method or ("INVITE" if request.method == "ACK" else request.method)
    via = request.top_via
    branch = via.branch or ""
    if branch.startswith(MAGIC_COOKIE) and len(branch) > len(MAGIC_COOKIE):
        return (branch, via.host.lower(), via.port or 0, method)
    # RFC 2543: the To tag is left out, since the ACK to a refusal has one and its INVITE has none.
    tag = request.from_.tag or ""
    return (str(request.uri), tag, request.call_id, request.cseq.number, str(via), method)


def _merge_key(request: Request) -> ServerKey:
    return (request.from_.tag or "", request.call_id, request.cseq.number, request.cseq.method)


def _stop(alarms: dict[str, Alarm], name: str) -> None:
    alarm = alarms.pop(name, None)
    if alarm is not None:
        alarm.cancel()


def _stop_all(alarms: dict[str, Alarm]) -> None:
    for alarm in alarms.values():
        alarm.cancel()
    alarms.clear()
