"""What kind of NAT the station sits behind, found with a STUN server of two addresses (RFC 5780), and what that
means for calls to phone apps, in words for a technician.

Two questions, each on a socket of its own so that neither opens holes for the other. Mapping: does the NAT give a
socket one address, whatever it talks to (section 4.3)? Filtering: whom does it let answer (section 4.4)? The tests
are generators that ask and are sent the answer; `NatDiscovery` keeps their time, `discover` gives it sockets.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from firmware.net import stun
from firmware.net.source_address import family_of, source_towards

Address = tuple[str, int]
Behaviour = Literal["", "endpoint-independent", "address-dependent", "address-and-port-dependent"]
Turn = Literal["", "not needed", "for some phones", "needed"]

DEFAULT_PORT = 3478
REPEATS_S = (0.25, 0.5, 0.75)  # the last is how long the third one's answer is waited for
_RESOLVE_S = 3.0


class NatError(Exception):
    """The question cannot be put. The text names what is wrong and the remedy."""


@dataclass(frozen=True, slots=True)
class Nat:
    """What was found. `mapped` is how the Internet sees us, None where nobody answered; a behaviour is empty where
    it could not be told. `nat`: our own address is another one."""

    server: str
    local: Address
    mapped: Address | None = None
    nat: bool = False
    mapping: Behaviour = ""
    filtering: Behaviour = ""

    @property
    def turn(self) -> Turn:
        """Whether calls to an app somewhere on the Internet need a relay."""
        if self.mapped is None:
            return "needed"
        if self.nat and self.mapping != "endpoint-independent":
            return "needed" if self.mapping else ""
        # A symmetric NAT at the other end changes its port, not its host: who filters by host lets it in.
        return (
            "not needed" if self.filtering in ("endpoint-independent", "address-dependent") else "for some phones"
        )

    def words(self) -> list[str]:
        """Sentences: what is there, what it means, what to do."""
        if self.mapped is None:
            return [
                f"No answer from {self.server}: UDP to it is blocked, or nobody answers there.",
                "If another STUN server does not answer either, sound and picture leave this network only through "
                "a TURN server over TCP.",
            ]
        seen = f"{_host(self.mapped)} port {self.mapped[1]}"
        words = [f"The Internet sees the station as {seen}; its own address is {_host(self.local)}."]
        if not self.nat:
            words.append("There is no NAT on the way.")
        else:
            words.append(_MAPPING[self.mapping])
        words.append(_FILTERING[self.filtering])
        words.append(_TURN[self.turn])
        return words


_MAPPING: dict[Behaviour, str] = {
    "": "The server cannot tell more about the NAT: it has no second address (RFC 5780). Ask another one.",
    "endpoint-independent": "The NAT keeps one address for a socket, whoever it talks to: that is the good kind.",
    "address-dependent": "The NAT gives a socket another address for each host it talks to (symmetric).",
    "address-and-port-dependent": "The NAT gives a socket another address for each peer it talks to (symmetric).",
}
_FILTERING: dict[Behaviour, str] = {
    "": "Whom it lets in could not be told.",
    "endpoint-independent": "Anybody may send to an address that is open.",
    "address-dependent": "Only hosts that the station has sent to may send to it.",
    "address-and-port-dependent": "Only who was sent to, from that very port, may send to the station.",
}
_TURN: dict[Turn, str] = {
    "": "Whether calls to phone apps need TURN cannot be told from this.",
    "not needed": "Calls to phone apps need no TURN server.",
    "for some phones": (
        "Calls to most phone apps need no TURN server; to apps behind a symmetric NAT, as mobile networks have, "
        "they do. Configure one to be sure."
    ),
    "needed": (
        "Calls to phone apps need a TURN server, unless the app is in this network or has a public address. "
        "Configure one, or have the router forward the media ports."
    ),
}


def _host(address: Address) -> str:
    return f"[{address[0]}]" if ":" in address[0] else address[0]


# --- the tests -----------------------------------------------------------------------------------------------


class Ask(NamedTuple):
    """A Binding request to `server`. The answer counts only when it comes from `answers`."""

    server: Address
    answers: Address
    change_ip: bool = False
    change_port: bool = False


_Test = Generator[Ask, stun.StunMessage | None, Behaviour]


class _Found:
    """What the tests learn beside their answer."""

    mapped: Address | None = None


def _mapping(server: Address, local: Address, found: _Found) -> _Test:
    """RFC 5780 section 4.3. From a public address the answer is the good one without further tests."""
    first = yield Ask(server, server)
    if first is None or first.mapped is None:
        return ""
    found.mapped = first.mapped
    if first.mapped == local:
        return "endpoint-independent"
    if first.other is None or first.other[0] == server[0]:
        return ""
    other = (first.other[0], server[1])
    second = yield Ask(other, other)
    if second is None or second.mapped is None:
        return ""
    if second.mapped == first.mapped:
        return "endpoint-independent"
    third = yield Ask(first.other, first.other)
    if third is None or third.mapped is None:
        return ""
    return "address-dependent" if third.mapped == second.mapped else "address-and-port-dependent"


def _filtering(server: Address) -> _Test:
    """RFC 5780 section 4.4."""
    first = yield Ask(server, server)
    if first is None or first.other is None or first.other[0] == server[0]:
        return ""
    if (yield Ask(server, first.other, change_ip=True, change_port=True)) is not None:
        return "endpoint-independent"
    if (yield Ask(server, (server[0], first.other[1]), change_port=True)) is not None:
        return "address-dependent"
    return "address-and-port-dependent"


class _Asking:
    """One test with its socket: the request that waits, and when it is repeated."""

    def __init__(self, test: _Test, send: Callable[[bytes, Address], None], random: Callable[[int], bytes]) -> None:
        self.result: Behaviour | None = None  # None: not known yet
        self.next_s = 0.0
        self._test = test
        self._send = send
        self._random = random
        self._ask: Ask | None = None
        self._transaction = b""
        self._sent = 0

    def start(self, now: float) -> None:
        self._ask = next(self._test)
        self._begin(now)

    def _begin(self, now: float) -> None:
        self._transaction = self._random(stun.TRANSACTION_BYTES)
        self._sent = 0
        self._request(now)

    def _request(self, now: float) -> None:
        ask = self._ask
        assert ask is not None
        self.next_s = now + REPEATS_S[self._sent]
        self._sent += 1
        request = stun.binding_request(self._transaction, change_ip=ask.change_ip, change_port=ask.change_port)
        self._send(request, ask.server)

    def handle_timer(self, now: float) -> None:
        if self.result is not None or now < self.next_s:
            return
        if self._sent < len(REPEATS_S):
            self._request(now)
        else:
            self._go_on(None, now)

    def receive(self, data: bytes, source: Address, now: float) -> None:
        if self.result is not None or self._ask is None or source != self._ask.answers:
            return
        try:
            message = stun.parse(data)
        except stun.StunError:
            return
        if message.kind == "response" and message.transaction == self._transaction:
            self._go_on(message, now)
        elif message.kind == "error" and message.transaction == self._transaction:
            self._go_on(None, now)

    def _go_on(self, answer: stun.StunMessage | None, now: float) -> None:
        try:
            self._ask = self._test.send(answer)
        except StopIteration as stop:
            self.result = stop.value
        else:
            self._begin(now)


class NatDiscovery:
    """Both tests at `server` (an address), from sockets on `local`'s host; pure.

    `send(socket, data, address)`: `socket` is 0 or 1, of two that are bound to the ports of `locals_`.
    """

    def __init__(
        self,
        server: Address,
        locals_: tuple[Address, Address],
        send: Callable[[int, bytes, Address], None],
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._server = server
        self._local = locals_[0]
        self._found = _Found()
        self._tests = (
            _Asking(_mapping(server, locals_[0], self._found), lambda data, to: send(0, data, to), random),
            _Asking(_filtering(server), lambda data, to: send(1, data, to), random),
        )

    def start(self, now: float) -> None:
        for test in self._tests:
            test.start(now)

    def receive(self, number: int, data: bytes, source: Address, now: float) -> None:
        self._tests[number].receive(data, source, now)

    def handle_timer(self, now: float) -> None:
        for test in self._tests:
            test.handle_timer(now)

    def next_deadline(self) -> float | None:
        """None: all is known."""
        return min((test.next_s for test in self._tests if test.result is None), default=None)

    def result(self, name: str = "") -> Nat:
        mapping, filtering = (test.result or "" for test in self._tests)
        mapped = self._found.mapped
        return Nat(
            server=name or f"{_host(self._server)}:{self._server[1]}",
            local=self._local,
            mapped=mapped,
            nat=mapped is not None and mapped != self._local,
            mapping=mapping if mapped is not None else "",
            filtering=filtering if mapped is not None else "",
        )


# --- the sockets ---------------------------------------------------------------------------------------------


class _Socket(asyncio.DatagramProtocol):
    def __init__(self, receive: Callable[[bytes, Address], None]) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._receive(data, addr[:2])

    def error_received(self, exc: Exception) -> None:
        """ICMP: like no answer; the time for that runs already."""


async def discover(server: str) -> Nat:
    """Ask `server` (host, or host:port). At most eight seconds. NatError where the name or the network is wrong."""
    host, port = split(server)
    loop = asyncio.get_running_loop()
    address = await _resolve(host, port)
    try:
        local = source_towards(*address)
    except OSError as error:
        raise NatError(f"{server} cannot be reached from here: {error.strerror or error}") from None
    wake = asyncio.Event()
    transports: list[asyncio.DatagramTransport] = []
    machine: NatDiscovery | None = None

    def received(number: int) -> Callable[[bytes, Address], None]:
        def receive(data: bytes, source: Address) -> None:
            if machine is not None:
                machine.receive(number, data, source, loop.time())
                wake.set()

        return receive

    try:
        for number in range(2):
            transport, _ = await loop.create_datagram_endpoint(
                lambda number=number: _Socket(received(number)),  # type: ignore[misc]
                local_addr=(local, 0),
            )
            transports.append(transport)
        ports = [transport.get_extra_info("sockname")[1] for transport in transports]
        machine = NatDiscovery(
            address,
            ((local, ports[0]), (local, ports[1])),
            lambda number, data, to: transports[number].sendto(data, to),
        )
        machine.start(loop.time())
        while (deadline := machine.next_deadline()) is not None:
            wake.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await wake.wait()
            except TimeoutError:
                machine.handle_timer(loop.time())
        return machine.result(server)
    except OSError as error:
        raise NatError(f"no socket towards {server}: {error.strerror or error}") from None
    finally:
        for transport in transports:
            transport.close()


def split(server: str) -> tuple[str, int]:
    """Host and port of `host`, `host:port`, `[v6]:port`. NatError for what is neither."""
    text = server.strip()
    host, port = text, str(DEFAULT_PORT)
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest[1:] if rest.startswith(":") else port if not rest else "x"
    elif text.count(":") == 1:
        host, port = text.split(":")
    if not host or any(mark in host for mark in " /@") or not port.isascii() or not port.isdigit():
        raise NatError(f"{server!r} is no STUN server; write stun.example.org or 192.0.2.1:3478")
    if not 0 < int(port) < 65536:
        raise NatError(f"{server}: a port is between 1 and 65535")
    return host, int(port)


async def _resolve(host: str, port: int) -> Address:
    if family_of(host) is not None:
        return host, port
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_RESOLVE_S):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise NatError(f"{host}: no such name ({getattr(error, 'strerror', None) or error})") from None
    # IPv4 first: that is where NATs are.
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    address = found[0][4]
    return str(address[0]), port
