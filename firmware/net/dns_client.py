"""Questions to name servers, for a station that cannot wait: NAPTR, SRV, AAAA, A (RFC 1035, 2308, 8767).

All name servers are asked, 0.2 s apart, the one that answered last first; the first usable answer counts, and
after 2 s nobody is waited for any more. Answers are kept for their TTL, "there is none" for a minute at most, and
what is over its TTL serves on while no server answers: a dead resolver must not make a door mute. /etc/hosts comes
first. Messages are dnspython's, imported with the first question; the sockets are ours, since its resolver asks
one server after the other and hears no ICMP. No search list, no DNSSEC, no iteration.
"""

import asyncio
import contextlib
import logging
import socket
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from firmware.net.source_address import family_of

if TYPE_CHECKING:  # 5 MB that a station whose servers are addresses never needs
    from dns.message import QueryMessage

log = logging.getLogger(__name__)

QUERY_S = 2.0
NEXT_SERVER_S = 0.2
REPEAT_S = 0.7
STALE_WAIT_S = 0.4  # with an old answer at hand, a new one is waited for no longer
SILENT_S = 30.0  # nobody answered: the old answer serves so long unasked (RFC 8767 5, failure recheck timer)
FAILED_S = 4.0  # nobody answered, and there is no old answer: no longer than the soonest retry to register
MAX_SERVERS = 3  # as resolv.conf(5)
MAX_ENTRIES = 512
_SHORTEST_S, _LONGEST_S = 5.0, 86_400.0  # a press makes several calls: TTL 0 must not mean several questions
_LONGEST_NEGATIVE_S = 60.0  # an installer corrects a zone and looks at the station
_SYSTEM_S = 60.0
_PAYLOAD = 1232  # octets by UDP, as agreed on the DNS flag day of 2020

Kind = Literal["NAPTR", "SRV", "AAAA", "A"]


class NoAnswer(Exception):
    """No name server gave a usable answer, and none is remembered; the text says why."""


@dataclass(frozen=True, slots=True)
class Naptr:
    order: int
    preference: int
    flags: str  # small letters
    service: str  # capitals, such as SIP+D2U
    replacement: str  # without the final dot


@dataclass(frozen=True, slots=True)
class Srv:
    priority: int
    weight: int
    port: int
    target: str  # without the final dot; "" says that the service is not there


Record = Naptr | Srv | str  # AAAA and A: the address as text


@dataclass(frozen=True, slots=True)
class _Entry:
    records: tuple[Record, ...]
    fresh_until: float


class DnsClient:
    """`servers` gives (address, port) of the name servers each time; by default those of /etc/resolv.conf."""

    def __init__(
        self,
        servers: Callable[[], Sequence[tuple[str, int]]] | None = None,
        *,
        hosts: Path = Path("/etc/hosts"),
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._servers = servers or ResolvConf()
        self._hosts = HostsFile(hosts)
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._cache: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._silent: dict[tuple[str, str], tuple[float, str]] = {}  # not asked again before; why
        self._running: dict[tuple[str, str], asyncio.Task[_Entry]] = {}
        self._last_good: tuple[str, int] | None = None

    def close(self) -> None:
        for task in self._running.values():
            task.cancel()

    def network_changed(self) -> None:
        """Another network may have other servers: ask again what nobody answered or nobody knew."""
        self._silent.clear()
        self._last_good = None
        for key in [key for key, entry in self._cache.items() if not entry.records]:
            del self._cache[key]

    def pinned(self, name: str) -> tuple[str, ...]:
        """The addresses that /etc/hosts gives a name."""
        return self._hosts.addresses(name)

    def known(self, name: str, kind: Kind) -> tuple[Record, ...] | None:
        """What is remembered and fresh; None if that has to be asked."""
        entry = self._cache.get((name.lower(), kind))
        return entry.records if entry is not None and self._clock() < entry.fresh_until else None

    async def query(self, name: str, kind: Kind) -> tuple[Record, ...]:
        """The records; () if the servers say that there are none. NoAnswer if they say nothing."""
        return await self._remembered((name.lower(), kind), lambda: self._ask(name, kind))

    async def addresses(self, name: str) -> tuple[str, ...]:
        """As the system finds them, for what is not in the DNS: single words, mDNS. NoAnswer if it does not."""
        records = await self._remembered((name.lower(), "system"), lambda: self._ask_system(name))
        return tuple(record for record in records if isinstance(record, str))

    @property
    def has_servers(self) -> bool:
        return bool(self._servers())

    # --- memory ---------------------------------------------------------------------------------------------

    async def _remembered(self, key: tuple[str, str], ask: Callable[[], Any]) -> tuple[Record, ...]:
        now = self._clock()
        entry = self._cache.get(key)
        if entry is not None and now < entry.fresh_until:
            return entry.records
        silent = self._silent.get(key)
        if silent is not None and now < silent[0]:
            if entry is not None:
                return entry.records
            raise NoAnswer(silent[1])
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.get_running_loop().create_task(self._learn(key, ask))
            task.add_done_callback(lambda done: self._finished(key, done))
        if entry is None:
            return (await asyncio.shield(task)).records
        # An old answer is at hand: the new one may come later, for the next who asks.
        await asyncio.wait({task}, timeout=STALE_WAIT_S)
        if task.done() and not task.cancelled() and task.exception() is None:
            return task.result().records
        log.warning("%s: no name server answers in time; what was known before is used", key[0])
        return entry.records

    async def _learn(self, key: tuple[str, str], ask: Callable[[], Any]) -> _Entry:
        try:
            records, ttl_s = await ask()
        except NoAnswer as failed:
            while len(self._silent) >= MAX_ENTRIES:
                del self._silent[next(iter(self._silent))]
            wait_s = SILENT_S if key in self._cache else FAILED_S
            self._silent[key] = (self._clock() + wait_s, str(failed))
            raise
        longest_s = _LONGEST_S if records else _LONGEST_NEGATIVE_S
        entry = _Entry(records, self._clock() + min(max(ttl_s, _SHORTEST_S), longest_s))
        self._cache[key] = entry
        self._cache.move_to_end(key)
        self._silent.pop(key, None)
        while len(self._cache) > MAX_ENTRIES:
            self._cache.popitem(last=False)
        return entry

    def _finished(self, key: tuple[str, str], task: "asyncio.Task[_Entry]") -> None:
        self._running.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever waits has it; nobody may

    # --- asking ---------------------------------------------------------------------------------------------

    async def _ask_system(self, name: str) -> tuple[tuple[Record, ...], float]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(QUERY_S):
                found = await loop.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
        except TimeoutError:
            raise NoAnswer("the resolver does not answer") from None
        except UnicodeError:
            raise NoAnswer("not a host name") from None
        except OSError as failed:
            raise NoAnswer(failed.strerror or str(failed)) from None
        literals = dict.fromkeys(sockaddr[0] for *_, sockaddr in found if isinstance(sockaddr[0], str))
        return tuple(literals), _SYSTEM_S

    async def _ask(self, name: str, kind: Kind) -> tuple[tuple[Record, ...], float]:
        servers = list(self._servers())[:MAX_SERVERS]
        if self._last_good in servers:
            servers.sort(key=lambda server: server != self._last_good)
        if not servers:
            raise NoAnswer("no name server is configured")
        try:
            question = _question(name, kind)
        except ValueError as error:
            raise NoAnswer(str(error)) from None
        tasks = [
            asyncio.create_task(self._ask_one(server, index * NEXT_SERVER_S, question))
            for index, server in enumerate(servers)
        ]
        failures = []
        try:
            async with asyncio.timeout(QUERY_S):
                for done in asyncio.as_completed(tasks):
                    try:
                        server, response = await done
                    except (NoAnswer, OSError) as failed:
                        failures.append(str(failed))
                        continue
                    self._last_good = server
                    return _records(response, kind)
        except TimeoutError:
            failures.append("no name server answers")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        raise NoAnswer(failures[-1])

    async def _ask_one(
        self, server: tuple[str, int], after_s: float, question: "QueryMessage"
    ) -> tuple[tuple[str, int], "QueryMessage"]:
        await asyncio.sleep(after_s)
        import dns.flags
        import dns.rcode

        data = question.to_wire()
        response = await _by_udp(server, data, question)
        if response.flags & dns.flags.TC:
            response = await _by_tcp(server, data, question)
        if response.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise NoAnswer(f"name server {server[0]} says {dns.rcode.to_text(response.rcode())}")
        return server, response


class _Datagrams(asyncio.DatagramProtocol):
    """Puts what arrives, or ICMP's error, into a queue of one."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[bytes | Exception] = asyncio.Queue(8)

    def datagram_received(self, data: bytes, address: object) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self.arrived.put_nowait(data)

    def error_received(self, error: Exception) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self.arrived.put_nowait(error)


async def _by_udp(server: tuple[str, int], data: bytes, question: "QueryMessage") -> "QueryMessage":
    """Ask until the caller has waited long enough. OSError where ICMP says that nobody is there."""
    loop = asyncio.get_running_loop()
    # Connected, from a port of its own for each question: nobody else's datagram gets in (RFC 5452).
    transport, arrivals = await loop.create_datagram_endpoint(_Datagrams, remote_addr=server)
    try:
        while True:
            transport.sendto(data)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPEAT_S):
                    while True:
                        arrived = await arrivals.arrived.get()
                        if isinstance(arrived, Exception):
                            raise arrived
                        response = _response(arrived, question)
                        if response is not None:
                            return response
    finally:
        transport.close()


async def _by_tcp(server: tuple[str, int], data: bytes, question: "QueryMessage") -> "QueryMessage":
    """What did not fit into a datagram (RFC 7766)."""
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(len(data).to_bytes(2, "big") + data)
        size = int.from_bytes(await reader.readexactly(2), "big")
        response = _response(await reader.readexactly(size), question)
    except EOFError as error:
        raise NoAnswer(f"name server {server[0]} closed the connection") from error
    finally:
        writer.close()
    if response is None:
        raise NoAnswer(f"name server {server[0]} answers something else")
    return response


def _question(name: str, kind: Kind) -> "QueryMessage":
    import dns.exception
    import dns.message
    import dns.name

    try:
        question = dns.message.make_query(dns.name.from_text(name), kind)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise ValueError(f"not a host name: {error}") from error
    question.use_edns(0, payload=_PAYLOAD)
    return question


def _response(data: bytes, question: "QueryMessage") -> "QueryMessage | None":
    """The message, if it is a response to that question."""
    import dns.exception
    import dns.message

    try:
        response = dns.message.from_wire(data, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        return None
    return response if isinstance(response, dns.message.QueryMessage) and question.is_response(response) else None


def _records(response: "QueryMessage", kind: Kind) -> tuple[tuple[Record, ...], float]:
    """The records of that kind and for how long they are good, CNAMEs followed (RFC 2308 for "there are none")."""
    import dns.exception

    try:
        chain = response.resolve_chaining()
    except dns.exception.DNSException as error:
        raise NoAnswer(f"the name server's answer makes no sense: {error}") from error
    found = [_record(data, kind) for data in chain.answer or ()]
    return tuple(found), float(chain.minimum_ttl)


def _record(data: Any, kind: Kind) -> Record:
    if kind == "SRV":
        return Srv(data.priority, data.weight, data.port, _name(data.target))
    if kind == "NAPTR":
        flags, service = data.flags.decode("ascii", "replace"), data.service.decode("ascii", "replace")
        return Naptr(data.order, data.preference, flags.lower(), service.upper(), _name(data.replacement))
    return str(data.address)


def _name(name: Any) -> str:
    return str(name.to_text(omit_final_dot=True)) if len(name.labels) > 1 else ""


# --- the system's files ----------------------------------------------------------------------------------------


class HostsFile:
    """hosts(5), read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._names: dict[str, tuple[str, ...]] = {}

    def addresses(self, name: str) -> tuple[str, ...]:
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            names: dict[str, tuple[str, ...]] = {}
            for words in _lines(self._path):
                if family_of(words[0]) is not None:
                    for alias in words[1:]:
                        key = alias.lower().rstrip(".")
                        names[key] = (*names.get(key, ()), words[0])
            self._names = names
        return self._names.get(name.lower().rstrip("."), ())


class ResolvConf:
    """The name servers of resolv.conf(5), read again when it changes (DHCP, another network)."""

    def __init__(self, path: Path = Path("/etc/resolv.conf")) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._servers: tuple[tuple[str, int], ...] = ()

    def __call__(self) -> tuple[tuple[str, int], ...]:
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            self._servers = tuple(
                (words[1], 53)
                for words in _lines(self._path)
                if words[0] == "nameserver" and len(words) > 1 and family_of(words[1]) is not None
            )
        return self._servers


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _lines(path: Path) -> list[list[str]]:
    """The words of each line that has some, comments left out."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return []
    lines = (line.split("#")[0].split(";")[0].split() for line in text.splitlines())
    return [words for words in lines if words]
