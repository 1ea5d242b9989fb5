"""ICE of one stream (RFC 8445): our candidates, the checks, and the pair that media then takes. aioice's agent.

Its first host candidate is the stream's own port: STUN arrives there on the control socket, which the kernel sorts
out for the event loop (see `net.rtp_port`), and what is agreed on is an address for the stream's own sockets, so
that sound costs what it costs without ICE. A pair of another address of ours, or of a relay (TURN, RFC 8656), is
another way: a `Wire`.

    new        gather               candidates for our description; a server that is silent costs GATHER_S
    gathered   start                checks towards the peer's candidates, as far as they are known; more may come
    checking   a pair nominated     `on_path` with it; again when the peer nominates another
    checking   none in CHECK_S      `on_failed`
    connected  no consent           `on_failed` (RFC 7675)
    any        start, another peer  the same candidates and names towards it: a fork of the call
    any        renew                new names; with another port of ours, `gather` comes next (RFC 8445 section 2.4)
    renewed    start, for these     checks anew; the pair of before is used until one is nominated
    renewed    start, for the old   as if nothing had been renewed: the answer to an earlier offer
    renewed    keep                 the names of before: what was to carry the new ones was not sent

Loop thread only, but for `PairWire.send`.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from firmware.media.dtls import is_handshake
from firmware.media.ice_servers import IceServers
from firmware.media.latch import Address
from firmware.sdp.keying import IceDescription

if TYPE_CHECKING:
    from aioice.ice import CandidatePair, StunProtocol

    from firmware.media.ice_connection import IceConnection

log = logging.getLogger(__name__)

CHECK_S = 15.0
_MOST_RECEIVED: Final = 256  # datagrams of a wire that wait for the tick
_MOST_UNSENT: Final = 256
_closing: "set[asyncio.Task[None]]" = set()


class PairWire:
    """The way over a pair that is not of the stream's own port, as a stream's `Wire`. `send` may be called on any
    thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pair: "CandidatePair") -> None:
        self.inbox: deque[tuple[bytes, float]] = deque(maxlen=_MOST_RECEIVED)
        self._loop = loop
        self._protocol = pair.protocol
        self._remote: Address = pair.remote_addr
        self._unsent: deque[bytes] = deque(maxlen=_MOST_UNSENT)
        self._closed = False

    def send(self, datagram: bytes) -> None:
        asleep = not self._unsent
        self._unsent.append(datagram)
        if asleep:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        while self._unsent and not self._closed:
            self._protocol.transport.sendto(self._unsent.popleft(), self._remote)

    def brought(self, protocol: "StunProtocol", data: bytes, source: Address) -> None:
        """A datagram came; of strangers nothing is taken."""
        if protocol is self._protocol and source == self._remote:
            self.inbox.append((data, time.monotonic()))

    def close(self) -> None:
        self._closed = True


Path = Address | PairWire


class IceAgent:
    """`send` writes to an address from the stream's port. `receive` gets what of STUN arrives there."""

    def __init__(
        self,
        local: Address,
        servers: IceServers,
        *,
        send: Callable[[bytes, Address], None],
        others: Callable[[], Iterable[socket.socket]] = tuple,
        on_path: Callable[[Path], None],
        on_handshake: Callable[[bytes], None],
        on_failed: Callable[[str], None],
    ) -> None:
        """`local` is the port's own address; `others` opens sockets at other addresses of ours, which are the
        agent's from then on. `on_handshake` gets what of DTLS comes by another way than the port."""
        self.local = local
        self.servers = servers
        self.send = send
        self.others = others
        self._on_path = on_path
        self._on_handshake = on_handshake
        self._on_failed = on_failed
        self._connection: IceConnection | None = None  # that checks or is connected
        self._next: IceConnection | None = None  # whose names the peer is still to hear
        self._before: IceConnection | None = None  # that carries until the one after it does
        self._remote: IceDescription | None = None  # whom `_connection` is for
        self._path: tuple[Any, Address] | None = None
        self._wire: PairWire | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def description(self) -> IceDescription | None:
        """Ours, once `gather` is through."""
        for connection in (self._next, self._connection):
            if connection is not None and connection.description is not None:
                return connection.description
        return None

    @property
    def gathers(self) -> bool:
        """`gather` is still to come, or under way."""
        return self._next is not None and self._next.description is None

    async def gather(self) -> IceDescription | None:
        if self._next is None and self._connection is None:
            self.renew(self.local)
        connection = self._next
        if connection is not None and connection.description is None:
            try:
                await connection.gather()
            except BaseException:
                if connection is self._next:  # without it, then: nobody is to wait for it
                    self._next = None
                _discard(connection)
                raise
            if self._closed or connection is not self._next:
                await connection.close()
        return self.description

    def renew(self, local: Address | None = None) -> None:
        """Other names for the next description, as a restart asks for. `local`: the stream's port is that one now,
        and `gather` is next; else the candidates stay."""
        from firmware.media.ice_connection import IceConnection

        if self._closed or (local is None and (self._next is not None or self._connection is None)):
            return
        self.keep()
        self._next = IceConnection(self)
        if local is not None:
            self.local = local
        else:
            assert self._connection is not None
            self._next.describe_as(self._connection)

    def keep(self) -> None:
        """The new names have not been told to anybody: those of before stay."""
        connection, self._next = self._next, None
        if connection is not None and connection.description is not None:
            _discard(connection)  # one that gathers is closed when it is through

    def start(self, remote: IceDescription, *, controlling: bool, ours: str = "") -> None:
        """Begin checks, or go on with candidates that were not known before. `ours`: which of our names the peer
        has heard, the last told where empty. `gather` is through."""
        if self._closed:
            return
        following = self._next
        if following is not None and ours in ("", following.local_username):
            self._next = None
            before, self._connection = self._connection, following
            if before is not None and following.port is None:
                following.take_over(before)
                _discard(before)
            elif before is not None:
                self._let_go()
                self._before = before
        elif self._connection is None or ours not in ("", self._connection.local_username):
            return
        elif self._remote is not None:
            if (self._remote.ufrag, self._remote.pwd) == (remote.ufrag, remote.pwd):
                self.add(
                    [each for each in remote.candidates if each not in self._remote.candidates],
                    complete=not remote.more,
                )
                self._remote = remote
                return
            before, self._connection = self._connection, self._connection.towards_another()
            _discard(before)
        connection, self._remote = self._connection, remote
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
        known = [each for each in (self._next, self._connection, self._before) if each is not None]
        if self._closed or not known:
            return
        chosen = next((each for each in known if each.expects(data)), known[-1])
        if chosen.port is not None:
            chosen.port.datagram_received(data, source)

    def stop(self) -> None:
        """Close in the background."""
        _discard(self)

    async def close(self) -> None:
        self._closed = True
        if self._wire is not None:
            self._wire.close()
        for task in tuple(self._tasks):
            task.cancel()
        for connection in (self._next, self._connection, self._before):
            if connection is not None:
                await connection.close()

    # --- what the connections tell -------------------------------------------------------------------------

    async def _check(self, connection: "IceConnection", remote: IceDescription) -> None:
        await _add(connection, remote.candidates, complete=not remote.more)
        try:
            async with asyncio.timeout(CHECK_S):
                await connection.connect()
        except TimeoutError:
            self._fail(connection, "no way to the peer was found in time (ICE)")
        except ConnectionError:
            self._fail(connection, "no way to the peer was found (ICE)")
        else:
            self.nominated(connection)
            await connection.get_event()
            self._fail(connection, "the peer gives no consent any more (ICE)")

    def nominated(self, connection: "IceConnection") -> None:
        """A pair of this one may have been chosen."""
        pair = connection.pair
        if pair is None or connection is not self._connection or self._closed:
            return
        self._let_go()
        path = (pair.protocol, pair.remote_addr)
        if path == self._path:
            return
        self._path = path
        if self._wire is not None:
            self._wire.close()
        if pair.protocol is connection.port:
            self._wire = None
            self._on_path(pair.remote_addr)
        else:
            self._wire = PairWire(asyncio.get_running_loop(), pair)
            self._on_path(self._wire)

    def _let_go(self) -> None:
        before, self._before = self._before, None
        if before is not None:
            _discard(before)

    def carried(self, protocol: "StunProtocol", data: bytes, source: Address) -> None:
        """A datagram that is no STUN came by another way than the port."""
        if is_handshake(data):
            self._on_handshake(data)
        elif self._wire is not None:
            self._wire.brought(protocol, data, source)

    def _fail(self, connection: "IceConnection", why: str) -> None:
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


def _discard(what: "IceAgent | IceConnection") -> None:
    """Close it in the background."""
    task = asyncio.get_running_loop().create_task(what.close())
    _closing.add(task)
    task.add_done_callback(_closing.discard)


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
