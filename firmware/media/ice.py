"""ICE of one stream (RFC 8445): our candidates, the checks, and the pair that media then takes. aioice's agent.

Its host candidate is the stream's own port: STUN arrives there on the control socket, which the kernel sorts out
for the event loop (see `net.rtp_port`), and what is agreed on is an address for the stream's own sockets, so that
sound costs what it costs without ICE. Only a relayed pair (TURN, RFC 8656) is another way: a `Wire`.

    new        gather            candidates for our description; a server that is silent costs GATHER_S
    gathered   start             checks towards the peer's candidates, as far as they are known; more may come
    checking   a pair nominated  `on_path` with it; again when the peer nominates another
    checking   none in CHECK_S   `on_failed`
    connected  no consent        `on_failed` (RFC 7675)
    any        start, new names  the same candidates towards another peer: a fork of the call, or its restart

Loop thread only, but for `Relay.send`. Of aioice this uses, besides what is public, `get_component_candidates`,
`check_complete`, `data_received`, `_protocols` and `_nominated`; tests/unit/media/test_ice.py holds it to them.
"""

import asyncio
import contextlib
import functools
import logging
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from firmware.media.dtls import is_handshake
from firmware.media.ice_servers import IceServers
from firmware.media.latch import Address
from firmware.sdp.keying import IceDescription

if TYPE_CHECKING:
    from aioice import Connection

log = logging.getLogger(__name__)

GATHER_S = 0.5  # the visitor waits
DIRECT_FIRST_S: Final = 0.8  # a check that a NAT swallowed is repeated after half a second
CHECK_S = 15.0
_MOST_RECEIVED: Final = 256  # datagrams of a relay that wait for the tick
_MOST_UNSENT: Final = 256
_closing: "set[asyncio.Task[None]]" = set()


class Relay:
    """The way through a TURN server, as a stream's `Wire`. `send` may be called on any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: "Connection") -> None:
        self.inbox: deque[tuple[bytes, float]] = deque(maxlen=_MOST_RECEIVED)
        self._loop = loop
        self._connection = connection
        self._unsent: deque[bytes] = deque(maxlen=_MOST_UNSENT)
        self._wake = asyncio.Event()
        self._task = loop.create_task(self._run())

    def send(self, datagram: bytes) -> None:
        asleep = not self._unsent
        self._unsent.append(datagram)
        if asleep:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._wake.set)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._unsent:
                with contextlib.suppress(OSError):  # ConnectionError: it is over, and somebody else says so
                    await self._connection.send(self._unsent.popleft())

    def close(self) -> None:
        self._task.cancel()


Path = Address | Relay


class IceAgent:
    """`send` writes to an address from the stream's port. `receive` gets what of STUN arrives there."""

    def __init__(
        self,
        local: Address,
        servers: IceServers,
        *,
        send: Callable[[bytes, Address], None],
        on_path: Callable[[Path], None],
        on_handshake: Callable[[bytes], None],
        on_failed: Callable[[str], None],
    ) -> None:
        """`local` is the port's own address. `on_handshake` gets what of DTLS comes over a relay."""
        self._local = local
        self._servers = servers
        self._send = send
        self._on_path = on_path
        self._on_handshake = on_handshake
        self._on_failed = on_failed
        self._connection: Any = None
        self._description: IceDescription | None = None
        self._remote: IceDescription | None = None
        self._path: tuple[Any, Address] | None = None
        self._relay: Relay | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def description(self) -> IceDescription | None:
        """Ours, once `gather` is through."""
        return self._description

    async def gather(self) -> IceDescription:
        connection = self._connection = _connection_class()(self)
        await connection.gather_candidates()
        found = tuple(candidate.to_sdp() for candidate in connection.local_candidates)
        self._description = IceDescription(connection.local_username, connection.local_password, found)
        return self._description

    def start(self, remote: IceDescription, *, controlling: bool) -> None:
        """Begin checks, or go on with candidates that were not known before. `gather` is through."""
        assert self._description is not None
        if self._closed:
            return
        before, self._remote = self._remote, remote
        if before is not None and (before.ufrag, before.pwd) == (remote.ufrag, remote.pwd):
            self.add(
                [each for each in remote.candidates if each not in before.candidates], complete=not remote.more
            )
            return
        if before is not None:
            self._connection = self._connection.towards_another()
        connection = self._connection
        connection.ice_controlling = controlling or remote.lite
        connection.remote_is_lite = remote.lite
        connection.remote_username, connection.remote_password = remote.ufrag, remote.pwd
        self._go(self._check(connection, remote))

    def add(self, candidates: "list[str] | tuple[str, ...]", *, complete: bool) -> None:
        """More candidates of the peer."""
        if self._connection is not None and not self._closed:
            self._go(_add(self._connection, candidates, complete=complete))

    def receive(self, data: bytes, source: Address) -> None:
        """A STUN message came to the port from there."""
        if self._connection is not None and not self._closed:
            self._connection.received(data, source)

    def stop(self) -> None:
        """Close in the background."""
        task = asyncio.get_running_loop().create_task(self.close())
        _closing.add(task)
        task.add_done_callback(_closing.discard)

    async def close(self) -> None:
        self._closed = True
        if self._relay is not None:
            self._relay.close()
        for task in tuple(self._tasks):
            task.cancel()
        if self._connection is not None:
            await self._connection.close()

    # --- what the connection tells -------------------------------------------------------------------------

    async def _check(self, connection: Any, remote: IceDescription) -> None:
        await _add(connection, remote.candidates, complete=not remote.more)
        try:
            async with asyncio.timeout(CHECK_S):
                await connection.connect()
        except TimeoutError:
            self._fail(connection, "no way to the peer was found in time (ICE)")
        except ConnectionError:
            self._fail(connection, "no way to the peer was found (ICE)")
        else:
            self._nominated(connection)
            await connection.get_event()
            self._fail(connection, "the peer gives no consent any more (ICE)")

    def _nominated(self, connection: Any) -> None:
        pair = connection._nominated.get(1)
        if pair is None or connection is not self._connection or self._closed:
            return
        path = (pair.protocol, pair.remote_addr)
        if path == self._path:
            return
        self._path = path
        if pair.local_candidate.type != "relay":
            self._on_path(pair.remote_addr)
            return
        if self._relay is not None:
            self._relay.close()
        self._relay = Relay(asyncio.get_running_loop(), connection)
        self._on_path(self._relay)

    def _carried(self, data: bytes) -> None:
        """A datagram that is no STUN came over the relay."""
        if is_handshake(data):
            self._on_handshake(data)
        elif self._relay is not None:
            self._relay.inbox.append((data, time.monotonic()))

    def _fail(self, connection: Any, why: str) -> None:
        if connection is self._connection and not self._closed:
            self._on_failed(why)

    def _go(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("ICE: %s", task.exception())


async def _add(connection: Any, candidates: "list[str] | tuple[str, ...]", *, complete: bool) -> None:
    from aioice import Candidate

    for text in candidates:
        try:
            candidate = Candidate.from_sdp(text)
        except ValueError:
            continue
        if candidate.component == 1 and candidate.transport.lower() == "udp":
            with contextlib.suppress(ValueError):  # after the end of candidates
                await connection.add_remote_candidate(candidate)
    if complete:
        with contextlib.suppress(ValueError):
            await connection.add_remote_candidate(None)


class _Port(asyncio.DatagramTransport):
    """The stream's port, as aioice sees it."""

    def __init__(self, agent: IceAgent) -> None:
        super().__init__({"sockname": agent._local})
        self._agent = agent
        self.protocol: Any = None

    def sendto(self, data: Any, addr: Any = None) -> None:
        with contextlib.suppress(OSError):
            self._agent._send(bytes(data), addr)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """The port itself is the stream's."""
        if self.protocol is not None:
            self.protocol.connection_lost(None)


def _relayed(pair: Any) -> bool:
    return "relay" in (pair.local_candidate.type, pair.remote_candidate.type)


@functools.cache
def _connection_class() -> Any:
    """Our connection, on aioice's: made late, since aioice is imported late."""
    from aioice import Candidate, Connection
    from aioice.candidate import candidate_foundation, candidate_priority
    from aioice.ice import StunProtocol, server_reflexive_candidate

    class OfAgent(Connection):
        def __init__(self, agent: IceAgent, names: tuple[str, str] | None = None) -> None:
            servers = agent._servers
            username, password = names or (None, None)
            super().__init__(
                ice_controlling=True,
                turn_server=servers.turn,
                turn_username=servers.turn_username or None,
                turn_password=servers.turn_password or None,
                turn_ssl=servers.turn_transport == "tls",
                turn_transport="udp" if servers.turn_transport == "udp" else "tcp",
                local_username=username,
                local_password=password,
            )
            self._agent = agent
            self._host: Any = None
            self._triggered: list[Any] = []
            self._direct_over = asyncio.Event()

        async def get_component_candidates(
            self,
            component: int,
            addresses: list[str],
            timeout: float = GATHER_S,  # noqa: ASYNC109 — aioice's
        ) -> list[Any]:
            """The stream's port, what STUN says of it, and a relay; in place of every address of the machine."""
            host, port = self._agent._local
            protocol = self._host = StunProtocol(self)
            transport = _Port(self._agent)
            transport.protocol = protocol
            protocol.connection_made(transport)
            protocol.local_candidate = Candidate(
                foundation=candidate_foundation("host", "udp", host),
                component=component,
                transport="udp",
                priority=candidate_priority(component, "host"),
                host=host,
                port=port,
                type="host",
            )
            self._protocols.append(protocol)
            relayed = asyncio.ensure_future(super().get_component_candidates(component, [], timeout=timeout))  # type: ignore[arg-type]
            candidates = [protocol.local_candidate]
            if self._agent._servers.stun is not None and ":" not in host:
                try:
                    async with asyncio.timeout(timeout):
                        reflexive, _ = await server_reflexive_candidate(protocol, self._agent._servers.stun)
                except Exception as error:  # noqa: BLE001 — one way less
                    log.warning("STUN server: %s", str(error) or "no answer in time")
                else:
                    if (reflexive.host, reflexive.port) != (host, port):
                        candidates.append(reflexive)
            found = await relayed
            if self._agent._servers.turn is not None and not found:
                log.warning("TURN server: no relay in time")
            return candidates + found

        def towards_another(self) -> "OfAgent":
            """The same candidates for another peer. What was checked with the first is given up."""
            other = OfAgent(self._agent, (self.local_username, self.local_password))
            other._host = self._host
            other._protocols, self._protocols = self._protocols, []
            for protocol in other._protocols:
                protocol.receiver = other
            other._local_candidates = self.local_candidates
            other._local_candidates_start = other._local_candidates_end = True
            asyncio.ensure_future(self.close())  # noqa: RUF006 — it holds nothing any more
            return other

        def received(self, data: bytes, source: Address) -> None:
            if self._host is not None:
                # aioice's reader stumbles over torn attributes in more ways than it says.
                with contextlib.suppress(ValueError, struct.error, IndexError, KeyError):
                    self._host.datagram_received(data, source)

        def data_received(self, data: bytes, component: int) -> None:
            self._agent._carried(data)

        async def check_start(self, pair: Any) -> None:
            """A check. The first that succeeds is the way that is taken (aioice nominates at once), so one over a
            relay waits a moment for those without: a relay costs delay, and whoever runs it."""
            if self.ice_controlling and _relayed(pair):
                self.check_state(pair, pair.State.IN_PROGRESS)
                if self._direct_may_do():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._direct_over.wait(), DIRECT_FIRST_S)
                if self._nominated:
                    self.check_state(pair, pair.State.FAILED)
                    self.check_complete(pair)
                    return
            await super().check_start(pair)

        def _direct_may_do(self) -> bool:
            ended = ("SUCCEEDED", "FAILED")
            waiting = any(pair.state.name not in ended and not _relayed(pair) for pair in self._check_list)
            return waiting and not self._nominated

        def check_incoming(self, message: Any, addr: Address, protocol: Any) -> None:
            super().check_incoming(message, addr, protocol)
            # RFC 8445 7.3.1.4: the peer's NAT is open now, and a check that was lost at it need not wait for its
            # time to be repeated. Once a pair: the peer repeats its own until it hears from us.
            pair = next((each for each in self._check_list if each.remote_addr == addr), None)
            if pair is None or pair.protocol is not protocol or pair in self._triggered or _relayed(pair):
                return
            if pair.state is pair.State.IN_PROGRESS and pair.task is not None:
                self._triggered.append(pair)
                pair.task.cancel()
                pair.task = None
                self.check_start_task(pair)

        def check_complete(self, pair: Any) -> None:
            super().check_complete(pair)
            if not self._direct_may_do():
                self._direct_over.set()
            self._agent._nominated(self)

    return OfAgent
