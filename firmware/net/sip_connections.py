"""All connections of one endpoint: those it makes, one a target and account, and those made to it, bounded.

RFC 3261 section 18, RFC 5626 (flows), RFC 7118 (WebSockets). What is said on them is the owner's affair.
"""

import asyncio
import logging
import secrets
import ssl
from collections.abc import Callable, Container, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from firmware.net.sip_connection import Connection, Owner
from firmware.net.sip_tcp import StreamConnection, TlsArrival
from firmware.net.sip_tls import HANDSHAKE_S, ServerIdentity, TlsContexts, TlsError, TlsSettings, check_peer, words
from firmware.net.source_address import family_of, is_wildcard, source_towards
from firmware.sip.types import SECURE, Flow, Target, Transport

log = logging.getLogger(__name__)

MAX_INBOUND = 64  # connections of nobody in particular; a station's servers are a few
MAX_INBOUND_PER_HOST = 16
MAX_ARRIVING = 32  # in the middle of a TLS or WebSocket handshake
CONNECT_S = 4.0  # a SYN that is swallowed must not hold up the next target; TLS and the upgrade as long again


@dataclass(frozen=True, slots=True)
class AccountTransport:
    """How one account's server is reached, beyond its address."""

    tls: TlsSettings = field(default_factory=TlsSettings)
    websocket_path: str = "/ws"  # Asterisk's; the others take any


@dataclass(frozen=True, slots=True)
class _Key:
    """What a connection may be used again for. `proved` is the name that its certificate was checked for, "" where
    no name was: one address can have many names, and who proved to be one of them is not the others."""

    target: Target
    how: AccountTransport
    proved: str

    @classmethod
    def of(cls, target: Target, how: AccountTransport) -> "_Key":
        pinned_or_plain = target.transport not in SECURE or how.tls.fingerprint
        return cls(target, how, "" if pinned_or_plain else (target.name or target.host).lower().rstrip("."))

    @property
    def as_domain(self) -> "_Key":
        """Who typed an address typed no domain there; the account's own is as good a proof."""
        domain = self.how.tls.domain
        return replace(self, proved=domain.lower()) if domain and family_of(self.proved) is not None else self


class Connections:
    """`accounts` says how each account's server is reached; `needed` numbers the connections that no stranger may
    push out; `identity` is what TLS listeners show."""

    def __init__(
        self,
        owner: Owner,
        numbers: Iterator[int],
        *,
        accounts: Mapping[str, AccountTransport],
        needed: Callable[[], Container[int]],
        identity: ServerIdentity | None = None,
        origins: Sequence[str] = (),
    ) -> None:
        self._owner = owner
        self._needed = needed
        self._numbers = numbers
        self._accounts = accounts
        self._identity = identity
        self._origins = tuple(origins)
        self._contexts = TlsContexts()
        self._listeners: list[tuple[Transport, str, int]] = []
        self._servers: list[asyncio.Server] = []
        self._all: dict[int, Connection] = {}
        self._made: dict[_Key, Connection] = {}
        self._connecting: dict[_Key, list[Callable[[Flow | None, str], None]]] = {}
        self._arriving: dict[int, Callable[[], None]] = {}  # what ends each
        self._tasks: set[asyncio.Task[None]] = set()

    # --- listening ------------------------------------------------------------------------------------------

    @property
    def listeners(self) -> tuple[tuple[Transport, str, int], ...]:
        return tuple(self._listeners)

    async def listen(self, transport: Transport, host: str, port: int) -> int:
        """Accept connections; the port, the kernel's choice for 0. OSError if taken, TlsError without a key."""
        if transport in SECURE:
            if self._identity is None:
                raise TlsError("a TLS listener needs a certificate")
            self._contexts.server(self._identity)  # what is wrong with it is told at the start
        if transport in ("ws", "wss"):
            import firmware.net.sip_ws  # noqa: F401  # not with the first browser
        index = len(self._listeners)
        server = await asyncio.get_running_loop().create_server(
            partial(self._arrive, transport, index), host, port, backlog=64
        )
        self._servers.append(server)
        self._listeners.append((transport, host, server.sockets[0].getsockname()[1]))
        return self._listeners[index][2]

    def _arrive(self, transport: Transport, index: int) -> asyncio.Protocol:
        connection = self._arrival(transport, ("", self._listeners[index][2]))
        if transport in SECURE:
            return TlsArrival(partial(self._secure, connection))
        if transport == "ws":
            self._expect(connection, partial(connection.drop, "too many at once"))
        return connection

    def _arrival(self, transport: Transport, advertised: tuple[str, int]) -> Connection:
        if transport in ("ws", "wss"):
            from firmware.net.sip_ws import WebSocketArrival

            return WebSocketArrival(self._owner, next(self._numbers), transport, advertised, origins=self._origins)
        return StreamConnection(self._owner, next(self._numbers), transport, advertised, outbound=False)

    def _secure(self, connection: Connection, raw: asyncio.Transport) -> None:
        self._expect(connection, raw.abort)
        self._run(self._shake_hands(connection, raw))

    async def _shake_hands(self, connection: Connection, raw: asyncio.Transport) -> None:
        assert self._identity is not None
        reason = ""
        try:
            context = self._contexts.server(self._identity)
            secured = await asyncio.get_running_loop().start_tls(
                raw, connection, context, server_side=True, ssl_handshake_timeout=HANDSHAKE_S
            )
        except TlsError as error:
            log.error("%s", error)
            reason = str(error)
        except OSError as error:  # ssl's errors are OSErrors
            log.debug("TLS with a client failed: %s", words(error))
            reason = words(error)
        else:
            if secured is not None and not secured.is_closing():
                connection.connection_made(secured)
                return
        raw.abort()
        if not connection.opened.done():
            connection.opened.set_result(reason or "closed in the middle of TLS")

    def _expect(self, connection: Connection, end: Callable[[], None]) -> None:
        """Count who has come and not yet said a word of SIP; the oldest go where there are too many."""
        self._arriving[connection.number] = end
        connection.opened.add_done_callback(lambda _: self._arriving.pop(connection.number, None))
        while len(self._arriving) > MAX_ARRIVING:
            self._arriving.pop(next(iter(self._arriving)))()

    # --- connecting -----------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._all)

    def get(self, number: int) -> Connection | None:
        return self._all.get(number)

    def open(
        self,
        target: Target,
        account: str,
        listening: int,
        local: tuple[str, int] | None,
        done: Callable[[Flow | None, str], None],
    ) -> Flow | None:
        """The open connection's flow; else one is made, and then `done(flow, "")` or `done(None, why)` is called.

        `listening` is our listener's port for Via and Contact, 0 where this transport has none. `local` is the
        address to connect from, None for the kernel's choice."""
        how = self._accounts.get(account, AccountTransport())
        key = _Key.of(target, how)
        known = self._made.get(key) or self._made.get(key.as_domain) or self._like(key)
        if known is not None and known.open:
            return known.flow
        waiting = self._connecting.setdefault(key, [])
        waiting.append(done)
        if len(waiting) == 1:
            self._run(self._connect(key, listening, local))
        return None

    def _like(self, key: _Key) -> Connection | None:
        """One that somebody made to us from that very address, or one of ours where nothing has to be proved."""
        if key.target.transport in SECURE:
            return None
        return next((each for each in self._all.values() if each.open and each.flow.target == key.target), None)

    async def _connect(self, key: _Key, listening: int, local: tuple[str, int] | None) -> None:
        error = ""
        connection: Connection | None = None
        try:
            connection = await self._dial(key, listening, local)
            async with asyncio.timeout(CONNECT_S):
                error = await connection.opened
        except TimeoutError:
            error = f"no answer to {_NAMES[key.target.transport]}"
            if connection is not None:
                connection.drop(error)
        except TlsError as failed:
            error = str(failed)
        except OSError as failed:
            error = words(failed)
        except Exception:  # a bug here must not leave a call without an end
            log.exception("connecting to %s failed", key.target)
            error = "connecting failed"
        if connection is not None and connection.open:
            self._made[key] = connection
        for done in self._connecting.pop(key, []):
            if connection is not None and connection.open:
                done(connection.flow, "")
            else:
                done(None, error or "connection closed")

    async def _dial(self, key: _Key, listening: int, local: tuple[str, int] | None) -> Connection:
        target, tls = key.target, key.how.tls
        context: ssl.SSLContext | None = None
        check: Callable[[ssl.SSLObject], None] | None = None
        name = target.name or target.host
        if target.transport in SECURE:
            context = self._contexts.client(tls)
            typed = (name, tls.domain) if family_of(name) is not None else (name,)  # see `_Key.as_domain`
            check = partial(check_peer, typed=typed, fingerprint=tls.fingerprint)
        number = next(self._numbers)

        def make() -> Connection:
            if target.transport in ("ws", "wss"):
                from firmware.net.sip_ws import WebSocketClient

                return WebSocketClient(
                    self._owner,
                    number,
                    target.transport,
                    # Nobody can connect to us by this name, and nobody shall try (RFC 7118 section 5.2).
                    (f"{secrets.token_hex(6)}.invalid", 0),
                    host=name.partition("%")[0],
                    port=target.port,
                    path=key.how.websocket_path,
                    check=check,
                )
            return StreamConnection(
                self._owner, number, target.transport, ("", listening), outbound=True, check=check
            )

        async with asyncio.timeout(CONNECT_S):
            _, connection = await asyncio.get_running_loop().create_connection(
                make,
                target.host,
                target.port,
                local_addr=local,
                ssl=context,
                server_hostname=name.partition("%")[0] if context is not None else None,
            )
        return connection

    # --- life -----------------------------------------------------------------------------------------------

    def add(self, connection: Connection) -> None:
        """It is open; too many that others have made push out one that never spoke, else the longest silent. What
        is needed (a registered phone's, a call's) neither counts nor goes: of those the core bounds the number."""
        self._all[connection.number] = connection
        if connection.outbound:
            return
        # Not those that are dropped and still here: of many that come at once, each pushes one out.
        inbound = [other for other in self._all.values() if not other.outbound and other.open]
        if len(inbound) <= MAX_INBOUND_PER_HOST:
            return
        needed = self._needed()
        inbound = [other for other in inbound if other.number not in needed]
        host = connection.flow.remote[0]
        same_host = [other for other in inbound if other.flow.remote[0] == host]
        crowd = (
            same_host if len(same_host) > MAX_INBOUND_PER_HOST else inbound if len(inbound) > MAX_INBOUND else []
        )
        if crowd:  # this one has yet to speak
            others = [other for other in crowd if other is not connection]
            min(others, key=lambda other: other.last_message_s).drop("too many connections")

    def drop_moved(self) -> None:
        """Give up those from an address that is ours no more, or is not the one for that peer: nothing that was
        sent on them would be answered."""
        for connection in tuple(self._all.values()):
            try:
                moved = source_towards(connection.flow.remote[0]) != connection.flow.local[0]
            except OSError:
                moved = True
            if moved and connection.outbound:
                connection.drop("our address changed")

    def remove(self, connection: Connection) -> None:
        self._all.pop(connection.number, None)
        for key in [key for key, made in self._made.items() if made is connection]:
            del self._made[key]

    def port_of(self, transport: Transport, host: str) -> int:
        """The port of our listener of this transport at `host`, one of our addresses; 0 where there is none."""
        family = family_of(host)
        for kind, listening, port in self._listeners:
            if kind == transport and (
                listening == host or (is_wildcard(listening) and family_of(listening) == family)
            ):
                return port
        return 0

    def close(self) -> None:
        """Stop listening and connecting; what is unsent still goes out."""
        for task in self._tasks:
            task.cancel()
        for server in self._servers:
            server.close()
        for end in tuple(self._arriving.values()):
            end()
        for connection in tuple(self._all.values()):
            connection.close()

    async def closed(self) -> None:
        """After `close`: drop what did not go."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in tuple(self._all.values()):  # the rest had nothing unsent
            connection.drop("stopping")
        await asyncio.sleep(0)

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


_NAMES: Mapping[Transport, str] = {"tcp": "TCP", "tls": "TLS", "ws": "the WebSocket", "wss": "the WebSocket"}
