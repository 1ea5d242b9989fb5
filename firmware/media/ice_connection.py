"""aioice's agent and TURN client as `ice` uses them: the stream's port is a candidate, torn STUN raises nothing.

What comes is sorted by its first octet (RFC 7983 section 7): aioice's reader asks for no magic cookie, and one
sound packet of 65536 would pass for a request. Whatever it stumbles over in what it reads is dropped here.

Imported late, as aioice is. Of aioice this uses, besides what is public, `get_component_candidates`, `check_start`,
`check_incoming`, `check_complete`, `check_state`, `query_consent`, `datagram_received`, `_query_consent_task`,
`_check_list`, `_nominated`, `_protocols`, `_local_candidates` and `TurnTransport._connect`;
tests/unit/media/test_ice.py holds it to them.
"""

import asyncio
import contextlib
import logging
import random
import socket
import struct
from typing import TYPE_CHECKING, Any, Final

from aioice import Candidate, Connection
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import CandidatePair, StunProtocol, server_reflexive_candidate
from aioice.stun import TransactionError
from aioice.turn import TurnClientTcpProtocol, TurnClientUdpProtocol, TurnTransport

from firmware.media.ice_servers import IceServers
from firmware.media.latch import Address
from firmware.sdp.keying import IceDescription

if TYPE_CHECKING:
    from firmware.media.ice import IceAgent

log = logging.getLogger(__name__)

GATHER_S = 0.5  # the visitor waits
PORT_FIRST_S: Final = 0.2  # before pairs of our other addresses, on which sound costs more
DIRECT_FIRST_S: Final = 0.8  # a check that a NAT swallowed is repeated after half a second
CONSENT_S, CONSENT_EVERY_S = 30.0, 5.0  # RFC 7675 section 5.1
CONSENT_REPEATS = 2  # 3.5 s in all: an answer takes its time where a narrow line's buffers are full
_ALLOCATION_S, _CHANNEL_S = 600, 500  # RFC 8656's own lifetime; a channel has the same, and is refreshed before
_MOST_PREFERRED = 65_535  # of our host candidates: the stream's own port, on which sound costs least
# aioice's reader stumbles over torn attributes in more ways than it says.
STUMBLES = (ValueError, struct.error, IndexError, KeyError, AssertionError, OverflowError, TypeError)


class Stun(StunProtocol):
    """A socket of ours, or a relay, for STUN; what else comes is the agent's."""

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        assert isinstance(data, bytes)
        if data[:1] > b"\x03":
            receiver = self.receiver
            assert isinstance(receiver, IceConnection)
            receiver.agent.carried(self, data, (addr[0], addr[1]))
            return
        with contextlib.suppress(*STUMBLES):
            super().datagram_received(data, addr)


class _TurnUdp(TurnClientUdpProtocol):
    def datagram_received(self, data: bytes | str, addr: tuple[str, int]) -> None:
        with contextlib.suppress(*STUMBLES):
            super().datagram_received(data, addr)


class _TurnTcp(TurnClientTcpProtocol):
    def datagram_received(self, data: bytes | str, addr: tuple[str, int]) -> None:
        with contextlib.suppress(*STUMBLES):
            super().datagram_received(data, addr)


TURN_CLIENTS = (_TurnUdp, _TurnTcp)


class _Port(asyncio.DatagramTransport):
    """The stream's port, as aioice sees it."""

    def __init__(self, agent: "IceAgent", protocol: Stun) -> None:
        super().__init__({"sockname": agent.local})
        self._agent = agent
        self._protocol = protocol

    def sendto(self, data: Any, addr: Any = None) -> None:
        with contextlib.suppress(OSError):
            self._agent.send(bytes(data), addr)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """The port itself is the stream's."""
        self._protocol.connection_lost(None)


class IceConnection(Connection):
    """One set of names of ours, with its candidates, towards one peer."""

    def __init__(self, agent: "IceAgent", names: tuple[str, str] | None = None) -> None:
        username, password = names or (None, None)
        super().__init__(ice_controlling=True, local_username=username, local_password=password)
        self.agent = agent
        self.port: Stun | None = None  # of the stream itself
        self.description: IceDescription | None = None  # once it has candidates
        self._triggered: list[CandidatePair] = []
        self._direct_over = asyncio.Event()

    async def gather(self) -> None:
        """Find candidates: the stream's port, our other addresses, what STUN says of the port, and a relay, in
        place of every address of the machine, which aioice would take."""
        await self.gather_candidates()
        self._describe(tuple(candidate.to_sdp() for candidate in self.local_candidates))

    def _describe(self, candidates: tuple[str, ...]) -> None:
        self.description = IceDescription(self.local_username, self.local_password, candidates)

    async def get_component_candidates(
        self,
        component: int,
        addresses: list[str],
        timeout: float = 0.0,  # noqa: ASYNC109 — aioice's
    ) -> list[Any]:
        servers = self.agent.servers
        self.port = Stun(self)
        self.port.connection_made(_Port(self.agent, self.port))
        self._protocols.append(self.port)
        candidates = [_host(self.port, self.agent.local, _MOST_PREFERRED)]
        for number, other in enumerate(self.agent.others(), 1):
            protocol = await self._beside(other)
            candidates.append(_host(protocol, other.getsockname()[:2], _MOST_PREFERRED - number))
        relayed = asyncio.ensure_future(self._relayed(servers.turn, servers)) if servers.turn is not None else None
        if servers.stun is not None and ":" not in self.agent.local[0]:
            candidates += await self._reflexive(self.port, servers.stun)
        if relayed is not None:
            candidates += await relayed
        return candidates

    async def _beside(self, other: socket.socket) -> Stun:
        """Another address of ours, on a socket of its own."""
        _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(lambda: Stun(self), sock=other)
        self._protocols.append(protocol)
        return protocol

    async def _reflexive(self, protocol: Stun, server: Address) -> list[Any]:
        try:
            async with asyncio.timeout(GATHER_S):
                found, _ = await server_reflexive_candidate(protocol, server)
        except Exception as error:  # noqa: BLE001 — one way less
            log.warning("STUN server: %s", str(error) or "no answer in time")
            return []
        return [] if (found.host, found.port) == self.agent.local else [found]

    async def _relayed(self, server: Address, servers: IceServers) -> list[Any]:
        try:
            async with asyncio.timeout(GATHER_S):
                transport, protocol = await _allocate(self, server, servers)
        except Exception as error:  # noqa: BLE001 — one way less
            log.warning("TURN server: %s", str(error) or "no relay in time")
            return []
        host, port = transport.get_extra_info("sockname")
        seen = transport.get_extra_info("related_address")
        protocol.local_candidate = Candidate(
            foundation=candidate_foundation("relay", "udp", host),
            component=1,
            transport="udp",
            priority=candidate_priority(1, "relay"),
            host=host,
            port=port,
            type="relay",
            related_address=seen[0],
            related_port=seen[1],
        )
        self._protocols.append(protocol)
        return [protocol.local_candidate]

    def describe_as(self, other: "IceConnection") -> None:
        """The candidates of `other`, which this one is to `take_over`."""
        assert other.description is not None
        self._describe(other.description.candidates)

    def towards_another(self) -> "IceConnection":
        """The same names and candidates for another peer. What was checked with the first is given up."""
        other = IceConnection(self.agent, (self.local_username, self.local_password))
        other.take_over(self)
        return other

    async def query_consent(self) -> None:
        """Ask every now and then whether the peer still wants what is sent; the end where it has not said so for
        CONSENT_S. In place of aioice's, which gives an answer half a second."""
        loop = asyncio.get_running_loop()
        heard_s = loop.time()
        while loop.time() - heard_s < CONSENT_S:
            await asyncio.sleep(CONSENT_EVERY_S * random.uniform(0.8, 1.2))
            pair = self.pair
            if pair is None or self.remote_password is None:
                continue
            request = self.build_request(pair, nominate=False)
            with contextlib.suppress(TransactionError):
                await pair.protocol.request(
                    request, pair.remote_addr, self.remote_password.encode(), retransmissions=CONSENT_REPEATS
                )
                heard_s = loop.time()
        self._query_consent_task = None  # `close` would wait for it
        await self.close()

    def take_over(self, before: "IceConnection") -> None:
        """The same candidates, for another peer or under new names; `before` holds none any more."""
        self.port = before.port
        self._protocols, before._protocols = before._protocols, []
        for protocol in self._protocols:
            protocol.receiver = self
        self._local_candidates = before.local_candidates
        self._local_candidates_start = self._local_candidates_end = True
        self.describe_as(before)

    def expects(self, data: bytes) -> bool:
        """Whether STUN that came to the stream's port is for this one: an answer to what it asked, or a check that
        begins with its name."""
        if self.port is None:
            return False
        return data[8:20] in self.port.transactions or f"{self.local_username}:".encode() in data

    async def check_start(self, pair: CandidatePair) -> None:
        """A check. The first that succeeds is the way that is taken (aioice nominates at once), so one over a
        relay waits a moment for those without: a relay costs delay, and whoever runs it."""
        wait_s = DIRECT_FIRST_S if _relayed(pair) else PORT_FIRST_S if pair.protocol is not self.port else 0.0
        if self.ice_controlling and wait_s:
            self.check_state(pair, CandidatePair.State.IN_PROGRESS)
            if self._direct_may_do():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._direct_over.wait(), wait_s)
            if self._nominated:
                self.check_state(pair, CandidatePair.State.FAILED)
                self.check_complete(pair)
                return
        await super().check_start(pair)

    def _direct_may_do(self) -> bool:
        ended = (CandidatePair.State.SUCCEEDED, CandidatePair.State.FAILED)
        waiting = any(pair.state not in ended and not _relayed(pair) for pair in self._check_list)
        return waiting and not self._nominated

    def check_incoming(self, message: Any, addr: Address, protocol: StunProtocol) -> None:
        super().check_incoming(message, addr, protocol)
        # RFC 8445 7.3.1.4: the peer's NAT is open now, and a check that was lost at it need not wait for its
        # time to be repeated. Once a pair: the peer repeats its own until it hears from us.
        pairs = (each for each in self._check_list if each.remote_addr == addr and each.protocol is protocol)
        pair = next(pairs, None)
        if pair is None or pair in self._triggered or _relayed(pair) or protocol is not self.port:
            return
        if pair.state is CandidatePair.State.IN_PROGRESS and pair.task is not None:
            self._triggered.append(pair)
            pair.task.cancel()
            pair.task = None
            self.check_start_task(pair)

    def check_complete(self, pair: CandidatePair) -> None:
        super().check_complete(pair)
        if not self._direct_may_do():
            self._direct_over.set()
        self.agent.nominated(self)

    @property
    def pair(self) -> CandidatePair | None:
        """What was nominated."""
        return self._nominated.get(1)


def _relayed(pair: CandidatePair) -> bool:
    return "relay" in (pair.local_candidate.type, pair.remote_candidate.type)


def _host(protocol: Stun, address: Address, preference: int) -> Candidate:
    host, port = address
    protocol.local_candidate = Candidate(
        foundation=candidate_foundation("host", "udp", host)[:8],  # 32 octets would have to fit into an INVITE
        component=1,
        transport="udp",
        priority=candidate_priority(1, "host", preference),
        host=host,
        port=port,
        type="host",
    )
    return protocol.local_candidate


async def _allocate(connection: IceConnection, server: Address, servers: IceServers) -> tuple[TurnTransport, Stun]:
    """A relay at the TURN server (RFC 8656), as aioice's `create_turn_endpoint` makes it, with readers of ours."""
    loop = asyncio.get_running_loop()
    names = (servers.turn_username or None, servers.turn_password or None, _ALLOCATION_S, _CHANNEL_S)
    inner: asyncio.BaseTransport
    client: _TurnUdp | _TurnTcp
    if servers.turn_transport == "udp":
        inner, client = await loop.create_datagram_endpoint(lambda: _TurnUdp(server, *names), remote_addr=server)
    else:
        inner, client = await loop.create_connection(
            lambda: _TurnTcp(server, *names), *server, ssl=servers.turn_transport == "tls" or None
        )
    protocol = Stun(connection)
    transport = TurnTransport(client)
    try:
        await transport._connect(protocol)
    except BaseException:
        inner.close()
        raise
    return transport, protocol
