"""The asyncio shell round `firmware.sip.core.Core`: its sockets, its one timer, its names.

What the core wants sent by UDP leaves the socket before the call that caused it returns; what it has to tell is
told from the event loop, never from within a command. Names are found by resolver.py. Nothing that arrives can
end the loop.
"""

import asyncio
import errno
import itertools
import logging
import os
import random
import secrets
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Literal

from firmware.net import stun
from firmware.net.dns_client import DnsClient, NoAnswer
from firmware.net.resolver import Resolver
from firmware.net.sip_addresses import UdpSockets
from firmware.net.sip_connection import Connection
from firmware.net.sip_connections import AccountTransport, Connections
from firmware.net.sip_keepalive import DatagramKeepalive
from firmware.net.sip_tls import ServerIdentity, TlsError
from firmware.net.sip_udp import UdpSocket
from firmware.net.source_address import source_towards
from firmware.sip.actions import CloseFlow, OpenFlow, Resolve, Send
from firmware.sip.core import Core
from firmware.sip.errors import RemoteProtocolError
from firmware.sip.events import Event
from firmware.sip.location import Binding
from firmware.sip.message import Request, Response
from firmware.sip.types import Flow, Target, Transport
from firmware.sip.uri import Uri

log = logging.getLogger(__name__)

TRANSPORTS: tuple[Transport, ...] = ("udp", "tcp", "tls", "ws", "wss")  # that we speak, the preferred first
_DATAGRAMS_PER_WAKEUP = 64
_TOO_LONG = os.strerror(errno.EMSGSIZE)  # says nothing of who did not get it

Trace = Callable[[Literal["sent", "received"], Flow, bytes], None]


class SipEndpoint:
    """Listens by UDP and TCP on each (host, port) of `listen`; port 0 is the kernel's choice, the same for both.

    `listen_also` adds listeners of TLS and WebSockets: (transport, host, port), for TLS with `identity`, and for
    pages from `origins` if there are any. `accounts` says how each account's server is trusted.
    `on_event` is called on the loop's thread with each event of the core, in order; `trace` with each message.
    `name_servers` are (address, port); without any, the system's.
    """

    def __init__(
        self,
        core: Core,
        *,
        listen: Sequence[tuple[str, int]],
        on_event: Callable[[Event], None],
        trace: Trace | None = None,
        name_servers: Sequence[tuple[str, int]] = (),
        listen_also: Sequence[tuple[Transport, str, int]] = (),
        identity: ServerIdentity | None = None,
        origins: Sequence[str] = (),
        accounts: Mapping[str, AccountTransport] | None = None,
    ) -> None:
        self._core = core
        self._listen = tuple(listen)
        self._on_event = on_event
        self._trace = trace
        self._loop: asyncio.AbstractEventLoop
        self._numbers = itertools.count(1)
        self._udp = UdpSockets()
        self._listen_also = tuple(listen_also)
        self._connections = Connections(
            self,
            self._numbers,
            accounts=accounts or {},
            needed=lambda: core.needed_flows,
            identity=identity,
            origins=origins,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._dns = DnsClient((lambda: name_servers) if name_servers else None)
        self._resolver = Resolver(
            self._dns,
            transports=TRANSPORTS,
            families=self._udp.families,
            random=random.random,
        )
        self._registered: tuple[tuple[Flow, bool], ...] = ()
        self._keepalive = DatagramKeepalive(
            send=self._send_octets, failed=self._flow_failed, moved=self._flow_moved, random=secrets.token_bytes
        )
        self._pulse: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None
        self._telling = False
        self._stopped: asyncio.Future[None] | None = None
        self._closed = True

    # --- life -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bind, listen, and start the core. OSError if an address is taken, TlsError without a usable key."""
        self._loop = asyncio.get_running_loop()
        self._closed = False
        try:
            for host, port in self._listen:
                await self._bind(host, port)
            for transport, host, port in self._listen_also:
                await self._connections.listen(transport, host, port)
        except (OSError, TlsError):
            self._close()
            raise
        for udp in self._udp:
            self._loop.add_reader(udp.fileno(), self._readable, udp)
        self._core.start(self._loop.time())
        self._flush()

    async def stop(self, timeout_s: float) -> None:
        """Hang up, un-register, wait for the answers up to `timeout_s`, close everything."""
        if self._closed:
            return
        self._stopped = self._loop.create_future()
        self._core.stop(self._loop.time())
        self._flush()
        try:
            async with asyncio.timeout(timeout_s):
                await self._stopped
        except TimeoutError:
            log.info("peers did not answer our good-bye within %g s", timeout_s)
        self._tell()
        self._close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._connections.closed()

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where we listen, by UDP and TCP alike."""
        return tuple((udp.host, udp.port) for udp in self._udp)

    @property
    def listeners(self) -> tuple[tuple[Transport, str, int], ...]:
        """(transport, host, port) of all that is listened on."""
        found: list[tuple[Transport, str, int]] = [("udp", udp.host, udp.port) for udp in self._udp]
        return (*found, *self._connections.listeners)

    async def _bind(self, host: str, port: int) -> None:
        # With port 0 the kernel chooses for UDP; TCP may be taken there, so a few choices are tried.
        for attempt in itertools.count(1):
            udp = UdpSocket(host, port, next(self._numbers))
            try:
                await self._connections.listen("tcp", udp.host, udp.port)
            except OSError:
                udp.close()
                if port or attempt == 16:
                    raise
                continue
            self._udp.add(udp)
            return

    def _close(self) -> None:
        self._closed = True
        self._dns.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._pulse is not None:
            self._pulse.cancel()
        for task in self._tasks:
            task.cancel()
        self._connections.close()
        for udp in self._udp:
            self._loop.remove_reader(udp.fileno())
            udp.close()

    # --- commands, as the core's ----------------------------------------------------------------------------

    def invite(
        self,
        target: Uri,
        sdp: bytes,
        *,
        account: str | None = None,
        display_name: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        binding: Binding | None = None,
    ) -> int:
        try:
            return self._core.invite(
                target,
                sdp,
                self._loop.time(),
                account=account,
                display_name=display_name,
                headers=headers,
                binding=binding,
            )
        finally:
            self._flush()

    def fall_back(self, call: int, offers: Sequence[bytes]) -> None:
        self._core.fall_back(call, offers, self._loop.time())

    def hangup(self, call: int, *, status: int = 0, reason: str = "") -> None:
        self._core.hangup(call, self._loop.time(), status=status, reason=reason)
        self._flush()

    def ring(self, call: int, *, status: int = 180, sdp: bytes = b"") -> None:
        self._core.ring(call, self._loop.time(), status=status, sdp=sdp)
        self._flush()

    def accept(self, call: int, sdp: bytes) -> None:
        self._core.accept(call, sdp, self._loop.time())
        self._flush()

    def answer_offer(self, call: int, sdp: bytes, *, dialog: str = "") -> None:
        self._core.answer_offer(call, sdp, self._loop.time(), dialog=dialog)
        self._flush()

    def reject_offer(self, call: int, status: int, *, dialog: str = "") -> None:
        self._core.reject_offer(call, status, self._loop.time(), dialog=dialog)
        self._flush()

    def reoffer(self, call: int, sdp: bytes) -> None:
        self._core.reoffer(call, sdp, self._loop.time())
        self._flush()

    def refresh(self, call: int) -> None:
        self._core.refresh(call, self._loop.time())
        self._flush()

    def accept_transfer(self, call: int) -> None:
        self._core.accept_transfer(call, self._loop.time())
        self._flush()

    def refuse_transfer(self, call: int, status: int) -> None:
        self._core.refuse_transfer(call, status, self._loop.time())
        self._flush()

    def transfer_progress(self, call: int, status: int, reason: str) -> None:
        self._core.transfer_progress(call, status, reason, self._loop.time())
        self._flush()

    def message(self, target: Uri, text: str, *, account: str | None = None, binding: Binding | None = None) -> int:
        try:
            return self._core.message(target, text, self._loop.time(), account=account, binding=binding)
        finally:
            self._flush()

    def info(self, call: int, content_type: str, body: bytes) -> None:
        self._core.info(call, content_type, body, self._loop.time())
        self._flush()

    def counts(self) -> dict[str, int]:
        """Sizes of what could grow; `dropped` is messages that nobody wanted, since the start."""
        return {**self._core.counts(), "connections": len(self._connections)}

    def bindings(self, user: str) -> tuple[Binding, ...]:
        """Where a user of the house can be reached now."""
        return self._core.bindings(user, self._loop.time())

    def restore_bindings(self, bindings: Sequence[Binding], now: float) -> None:
        """Before `start`; `now` is the loop's time."""
        self._core.restore_bindings(bindings, now)

    def network_changed(self, what: str) -> None:
        """An address, a link or a route came or went (network_watch.py)."""
        log.info("the network changed: %s", what)
        self._udp.forget_routes()
        self._resolver.network_changed()
        self._connections.drop_moved()
        self._guarded(self._core.network_changed, self._loop.time())

    def local_host_towards(self, uri_or_host: str) -> str:
        """Our address as a peer at `uri_or_host` would see it, for SDP. Never waits."""
        return self._udp.local_host_towards(uri_or_host)

    # --- doing what the core wants --------------------------------------------------------------------------

    def _flush(self) -> None:
        """Do the core's actions now; tell its events from the loop."""
        self._act()
        if not self._telling:
            self._telling = True
            self._loop.call_soon(self._tell)

    def _act(self) -> None:
        while actions := self._core.take_actions():
            for action in actions:
                try:
                    self._do(action)
                except Exception:  # one action's bug must not take the others' bytes with it
                    log.exception("%s failed", type(action).__name__)
        deadline = self._core.next_deadline()
        if deadline != self._deadline and not self._closed:
            self._deadline = deadline
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(deadline, self._on_timer) if deadline is not None else None
        if (registered := self._core.registered_flows) != self._registered:
            self._registered = registered
            self._keep(registered)

    def _tell(self) -> None:
        self._telling = True  # commands given by a listener join this round
        try:
            while (event := self._core.next_event()) is not None:
                try:
                    self._on_event(event)
                except Exception:  # the listener's bug must not stop the protocol
                    log.exception("listener failed on %s", type(event).__name__)
                self._act()
        finally:
            self._telling = False
        if self._stopped is not None and not self._stopped.done() and self._core.stopped:
            self._stopped.set_result(None)

    def _do(self, action: Send | Resolve | OpenFlow | CloseFlow) -> None:
        if isinstance(action, Send):
            self._send(action.flow, action.data)
        elif isinstance(action, OpenFlow):
            self._open(action.token, action.target, action.account)
        elif isinstance(action, Resolve):
            self._resolve(action.token, action.uri)
        else:
            connection = self._connections.get(action.flow.number)
            if connection is not None:
                connection.close()

    def _send(self, flow: Flow, data: bytes) -> None:
        if self._trace is not None:
            self._trace("sent", flow, data)
        if flow.reliable:
            connection = self._connections.get(flow.number)
            if connection is None or not connection.open:
                self._core.flow_closed(flow, "connection closed", self._loop.time())
            else:
                connection.send(data)
            return
        udp = self._udp.get(flow.number)
        error = udp.send(flow, data) if udp is not None else "socket closed"
        if error:
            self._core.send_failed(flow, error, self._loop.time())

    def _open(self, token: int, target: Target, account: str) -> None:
        now = self._loop.time()
        self._udp.refresh_routes(now)
        udp = self._udp.towards(target.host)
        if udp is None:
            self._core.flow_failed(token, "no address of ours of that family", now)
        elif target.transport == "udp":
            try:
                flow = udp.flow_to(target.host, target.port)
            except OSError as error:
                self._core.flow_failed(token, error.strerror or str(error), now)
            else:
                self._core.flow_opened(token, flow, now)
        else:
            port = udp.port if target.transport == "tcp" else self._port_of(target, udp)
            local = None if udp.wildcard else (udp.host, 0)
            known = self._connections.open(target, account, port, local, partial(self._opened, token))
            if known is not None:
                self._core.flow_opened(token, known, now)

    def _opened(self, token: int, flow: Flow | None, error: str) -> None:
        if flow is not None:
            self._guarded(self._core.flow_opened, token, flow, self._loop.time())
        else:
            self._guarded(self._core.flow_failed, token, error, self._loop.time())

    def _port_of(self, target: Target, udp: UdpSocket) -> int:
        """Where this target's transport reaches a listener of ours; 0: nowhere."""
        try:
            ours = source_towards(target.host) if udp.wildcard else udp.host
        except OSError:
            return 0
        return self._connections.port_of(target.transport, ours)

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- names ----------------------------------------------------------------------------------------------

    def _resolve(self, token: int, uri: Uri) -> None:
        if known := self._resolver.known(uri, self._loop.time()):
            self._core.resolved(token, known, "", self._loop.time())
        else:
            self._run(self._look_up(token, uri))

    async def _look_up(self, token: int, uri: Uri) -> None:
        error = ""
        targets: tuple[Target, ...] = ()
        try:
            targets = await self._resolver.targets(uri, self._loop.time())
        except NoAnswer as failed:
            error = str(failed)
        except Exception:  # a bug here must not leave a call without an end
            log.exception("looking up %s failed", uri.host)
            error = "the look-up failed"
        if targets:
            self._udp.note_name(uri.host, [target.host for target in targets])
        self._core.resolved(token, targets, error, self._loop.time())
        self._act()
        self._tell()

    # --- what arrives ---------------------------------------------------------------------------------------

    def _on_timer(self) -> None:
        self._timer = None
        self._deadline = None
        self._guarded(self._core.handle_timer, self._loop.time())

    def _readable(self, udp: UdpSocket) -> None:
        now = self._loop.time()
        self._udp.refresh_routes(now)
        for flow, error in udp.errors():
            self._guarded(self._core.send_failed, flow, error, now)
            if error != _TOO_LONG:
                self._keepalive.refused(flow, error)
        for data, flow in udp.receive(_DATAGRAMS_PER_WAKEUP):
            if not data.strip(b"\r\n\0 "):
                continue  # keep-alives of phones behind NAT
            if stun.is_stun(data):
                self._keepalive.received(data, flow, self._loop.time())
                self._arm_pulse()
                continue
            if self._trace is not None:
                self._trace("received", flow, data)
            self._guarded(self._core.receive, data, flow, self._loop.time())
            if self._closed:
                return

    # --- keep-alives ----------------------------------------------------------------------------------------

    def _keep(self, registered: tuple[tuple[Flow, bool], ...]) -> None:
        for flow, outbound in registered:
            if outbound and (connection := self._connections.get(flow.number)) is not None:
                connection.expects_pong()
        self._keepalive.keep((flow for flow, _ in registered if not flow.reliable), self._loop.time())
        self._arm_pulse()

    def _arm_pulse(self) -> None:
        if self._pulse is not None:
            self._pulse.cancel()
        deadline = self._keepalive.next_deadline()
        closed = self._closed or deadline is None
        self._pulse = None if closed or deadline is None else self._loop.call_at(deadline, self._on_pulse)

    def _on_pulse(self) -> None:
        self._keepalive.handle_timer(self._loop.time())
        self._arm_pulse()

    def _send_octets(self, flow: Flow, data: bytes) -> None:
        udp = self._udp.get(flow.number)
        if udp is not None:
            udp.send(flow, data)  # what ICMP says of it comes back as an error of the socket

    def _flow_failed(self, flow: Flow, why: str) -> None:
        log.info("flow to %s: %s", flow.target, why)
        self._guarded(self._core.flow_closed, flow, why, self._loop.time())

    def _flow_moved(self, flow: Flow) -> None:
        log.info("flow to %s: our address there has changed", flow.target)
        self._guarded(self._core.flow_moved, flow, self._loop.time())

    def _guarded(self, handle: Callable[..., None], *arguments: object) -> None:
        """Call into the core, then do and tell what came of it, whatever goes wrong."""
        try:
            handle(*arguments)
        except Exception:  # a bug in one message's handling must not silence the station
            log.exception("%s failed", getattr(handle, "__name__", "handler"))
        self._act()
        self._tell()

    # --- connections (sip_connection.Owner) -----------------------------------------------------------------

    def connected(self, connection: Connection) -> None:
        self._connections.add(connection)
        if self._closed:
            connection.drop("stopping")

    def received(self, connection: Connection, message: Request | Response) -> None:
        if self._trace is not None:
            self._trace("received", connection.flow, message.serialize())
        self._guarded(self._core.receive_message, message, connection.flow, self._loop.time())

    def received_whole(self, connection: Connection, data: bytes) -> None:
        if self._trace is not None:
            self._trace("received", connection.flow, data)
        self._guarded(self._core.receive, data, connection.flow, self._loop.time())

    def garbage(self, connection: Connection, error: RemoteProtocolError) -> None:
        self._guarded(self._core.receive_garbage, connection.flow, error, self._loop.time())

    def disconnected(self, connection: Connection, reason: str) -> None:
        self._connections.remove(connection)
        if connection.outbound and not self._closed:
            log.info("flow to %s: %s", connection.flow.target, reason)
        if not self._closed:
            self._guarded(self._core.flow_closed, connection.flow, reason, self._loop.time())
