"""The transport of one stream where it is more than its sockets: ICE finds the way, DTLS makes the keys.

Made with the stream when it is offered (or answered) so; `gather` first, then `local` for the description, then
`follow` with each agreement. The handshake begins at once on an agreed address, or when ICE has found the way;
until it is through, the stream sends nothing and believes nothing. What comes before the answer is kept: a phone
may begin the handshake before its answer has been read here.

    idle        follow, with ICE     checking; ICE is told the peer's names and candidates
    idle        follow, no ICE       shaking hands
    checking    a way is found       shaking hands; the stream goes that way
    checking    none                 `on_failed`
    shaking     keys                 sealed: the stream flows
    shaking     no keys              `on_failed`
    sealed      another fingerprint  idle, and from there (a fork of the call, or another phone after a transfer)
    any         follow, no DTLS      the stream is as the agreement says; ICE goes on where that has it
    any         moved                `gather`, and the next description, restart ICE; the keys stay
    any         renew                the next description restarts ICE, with the candidates that there are

Loop thread only.
"""

import asyncio
import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from firmware.media import srtp
from firmware.media.dtls import Dtls, HandshakeError, is_handshake, own_fingerprint
from firmware.media.ice import IceAgent, PairWire, Path
from firmware.media.ice_servers import IceServers
from firmware.media.latch import Address
from firmware.media.stream import RtpStream
from firmware.net.network_watch import other_addresses
from firmware.sdp.agreement import AgreedMedia
from firmware.sdp.keying import Fingerprint, IceDescription

_MOST_EARLY: Final = 8  # datagrams of a handshake that came before the answer


@dataclass(frozen=True, slots=True)
class LocalTransport:
    """What our description says of one stream."""

    fingerprint: Fingerprint | None = None
    ice: IceDescription | None = None


class Transport:
    """`on_way` is told that the stream can be connected anew, now that there is a way; `go_over` takes it there
    where that is not the stream's own port."""

    def __init__(
        self,
        stream: RtpStream,
        loop: asyncio.AbstractEventLoop,
        *,
        ice: IceServers | None,
        on_way: Callable[[], None],
        go_over: Callable[[RtpStream, PairWire], None],
        on_failed: Callable[[str], None],
    ) -> None:
        """`ice`: None for a stream without it."""
        self._stream = stream
        self._loop = loop
        self._thread = threading.get_ident()
        self._on_way = on_way
        self._go_over = go_over
        self._on_failed = on_failed
        self._ice = ice
        self._agent: IceAgent | None = None
        self._others: tuple[str, ...] = ()  # addresses of ours beside the stream's
        self._early: deque[bytes] = deque(maxlen=_MOST_EARLY)
        self._dtls: Dtls | None = None
        self._shaking: asyncio.Task[None] | None = None
        self._peer: tuple[Fingerprint, ...] | None = None  # whose handshake it is
        self._way = asyncio.Event()
        self._closed = False
        stream.on_control = self._arrived

    async def gather(self) -> None:
        """Find candidates, where ICE is wanted: at most `ice.GATHER_S`; with the first call, load what it takes."""
        await asyncio.to_thread(own_fingerprint)  # libraries of half a second on a small board: not on the loop
        if self._ice is None:
            return
        port = self._stream.port
        self._others = await asyncio.to_thread(_prepare_ice, port.host)
        if self._agent is not None:
            await self._agent.gather()
            return
        self._agent = IceAgent(
            (port.host, port.port),
            self._ice,
            send=self._stream.send_past,
            others=self._beside,
            on_path=self._found,
            on_handshake=self._handshake_arrived,
            on_failed=self._failed,
        )
        await self._agent.gather()

    def _beside(self) -> Iterator[socket.socket]:
        """A socket at each other address of ours, of the number that the stream's port has."""
        for host in self._others:
            with contextlib.suppress(OSError):  # taken there, or gone
                yield self._stream.port.beside(host)

    @property
    def gathers(self) -> bool:
        """`gather` is still to come, or under way: the stream has moved."""
        return self._agent is not None and self._agent.gathers

    def moved(self) -> None:
        """The stream has another port."""
        if self._agent is not None:
            self._agent.renew((self._stream.port.host, self._stream.port.port))

    def renew(self) -> None:
        """The peer restarts ICE: our next description has other names, too (RFC 8839 section 4.4.3)."""
        if self._agent is not None:
            self._agent.renew()

    def keep(self) -> None:
        """That description was not sent."""
        if self._agent is not None and not self._agent.gathers:
            self._agent.keep()

    @property
    def local(self) -> LocalTransport:
        return LocalTransport(own_fingerprint(), self._agent.description if self._agent is not None else None)

    def follow(self, agreed: AgreedMedia | None) -> None:
        """Do what it takes for this agreement; before the stream itself follows it."""
        if self._closed or agreed is None:
            return
        if agreed.ice is not None and self._agent is not None:
            self._agent.start(agreed.ice, controlling=agreed.controlling, ours=agreed.own_ufrag)
        if agreed.dtls is None:
            self._end_handshake()
            if self._peer is not None:
                self._peer = None
                self._stream.unseal()
            return
        if agreed.dtls.fingerprints == self._peer:  # RFC 8842 section 3.1: the association goes on
            return
        self._end_handshake()
        self._peer = agreed.dtls.fingerprints
        self._stream.seal(None)
        self._dtls = Dtls(agreed.dtls.role, agreed.dtls.fingerprints, self._send)
        while self._early:
            self._dtls.receive(self._early.popleft())
        self._shaking = self._loop.create_task(self._shake_hands(self._dtls, wait=agreed.ice is not None))

    def add_candidates(self, candidates: tuple[str, ...], *, complete: bool) -> None:
        if self._agent is not None:
            self._agent.add(candidates, complete=complete)

    def close(self) -> None:
        """The stream closes. What there is to say goodbye to is done in the background."""
        if self._closed:
            return
        self._closed = True
        self._stream.on_control = None
        self._end_handshake()
        if self._agent is not None:
            self._agent.stop()

    # --- what comes, from any thread -----------------------------------------------------------------------

    def _arrived(self, data: bytes, source: Address) -> None:
        if threading.get_ident() == self._thread:
            self._take(data, source)
        else:
            self._loop.call_soon_threadsafe(self._take, data, source)

    def _take(self, data: bytes, source: Address) -> None:
        if self._closed:
            return
        if is_handshake(data):
            self._handshake_arrived(data)
        elif self._agent is not None:
            self._agent.receive(data, source)

    def _handshake_arrived(self, data: bytes) -> None:
        if self._dtls is not None:
            self._dtls.receive(data)
        else:
            self._early.append(data)

    # --- the way and the keys ------------------------------------------------------------------------------

    def _found(self, path: Path) -> None:
        if isinstance(path, PairWire):
            self._go_over(self._stream, path)
        else:
            self._stream.go_to(path)
        self._way.set()
        self._on_way()

    def _send(self, data: bytes) -> None:
        self._stream.send_past(data)

    async def _shake_hands(self, dtls: Dtls, *, wait: bool) -> None:
        if wait:
            await self._way.wait()
        try:
            keys = await dtls.handshake()
        except HandshakeError as error:
            self._failed(str(error))
        else:
            self._stream.seal(keys)

    def _end_handshake(self) -> None:
        dtls, self._dtls = self._dtls, None
        if self._shaking is not None:
            self._shaking.cancel()
            self._shaking = None
        if dtls is not None:
            dtls.stop()

    def _failed(self, why: str) -> None:
        if not self._closed:
            self._on_failed(why)


def prepare() -> None:
    """Load what DTLS and ICE take, and make our certificate: a second or more on a small board. On any thread."""
    import firmware.media.ice_connection  # noqa: F401

    own_fingerprint()
    srtp.prepare()


def _prepare_ice(host: str) -> tuple[str, ...]:
    """Import what ICE takes, which is long, and look for our other addresses."""
    import firmware.media.ice_connection  # noqa: F401

    return other_addresses(host)
