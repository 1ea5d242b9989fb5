"""From a SIP URI to the servers to try, best first: RFC 3263 section 4, RFC 2782, RFC 7118 section 9.

    the URI has              | transport            | asked
    -------------------------|----------------------|--------------------------------------------------
    an address, no `transport` | UDP; TLS for sips  | nothing
    a port, no `transport`   | UDP; TLS for sips    | AAAA, A
    `transport`, no port     | that one             | SRV of it; AAAA, A without one
    neither                  | NAPTR's of what we speak, best order and preference first | its SRV
    neither, and no NAPTR    | each with an SRV     | SRV of each; AAAA, A and UDP (TLS) without any

The station does not ask in turn, as the RFC tells it, but all at once: one round trip instead of four while
somebody stands at the door, and a home router that swallows NAPTR costs nothing more. Names in /etc/hosts are
addresses and nothing else; single words and .local are the system's. Between servers of one SRV priority chance
decides by weight; addresses that no route leads to come last. Whom to stick to is flow_search.py's affair.
"""

import asyncio
import ipaddress
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from socket import AddressFamily
from typing import Literal, TypeVar, cast

from firmware.net.dns_client import DnsClient, Kind, Naptr, NoAnswer, Record, Srv
from firmware.net.source_address import family_of, source_towards
from firmware.sip.types import Target, Transport
from firmware.sip.uri import Uri

log = logging.getLogger(__name__)

RESOLVE_S = 3.0
KNOWN_S = 5.0  # the shortest TTL that the DNS client knows
MAX_KNOWN = 64
MAX_TARGETS = 16
_MAX_SRV = 8  # targets of one service; more is somebody's mistake

_SERVICES = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls", "SIP+D2W": "ws", "SIPS+D2W": "wss"}
_SRV_NAMES = {"udp": "_sip._udp.", "tcp": "_sip._tcp.", "tls": "_sips._tcp."}  # RFC 7118 names none for ws, wss
_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}
_SECURE = {"tcp": "tls", "ws": "wss"}

T = TypeVar("T")


class Resolver:
    """`transports` are those we speak, the preferred first; `families` those we listen on.

    `random` gives numbers in [0, 1). `source` gives our address towards a literal, OSError without a route.
    """

    def __init__(
        self,
        dns: DnsClient,
        *,
        transports: Sequence[str],
        families: Callable[[], Iterable[AddressFamily]],
        random: Callable[[], float],
        source: Callable[[str], str] = source_towards,
    ) -> None:
        self._dns = dns
        self._transports = tuple(transports)
        self._families = families
        self._random = random
        self._source = source

        self._last: OrderedDict[tuple[str, str, int | None, str | None], tuple[float, tuple[Target, ...]]]
        self._last = OrderedDict()

    def known(self, uri: Uri, now: float) -> tuple[Target, ...]:
        """What `targets` found a moment ago, so that all calls of one press leave together; () if it did not."""
        until, targets = self._last.get(_key(uri), (now, ()))
        return targets if now < until else ()

    def network_changed(self) -> None:
        self._last.clear()
        self._dns.network_changed()

    async def targets(self, uri: Uri, now: float) -> tuple[Target, ...]:
        """All servers for a request to `uri`, in the order in which to try them. NoAnswer says why none."""
        targets = await self._targets(uri)
        self._last[_key(uri)] = (now + KNOWN_S, targets)
        self._last.move_to_end(_key(uri))
        while len(self._last) > MAX_KNOWN:
            self._last.popitem(last=False)
        return targets

    async def _targets(self, uri: Uri) -> tuple[Target, ...]:
        host = uri.parameter("maddr") or uri.host
        given = transport_of(uri)
        plain = given or ("tls" if uri.scheme == "sips" else "udp")
        if plain not in self._transports:
            raise NoAnswer(f"transport {plain} is not spoken here")
        try:
            async with asyncio.timeout(RESOLVE_S):
                found = await self._found(host, given, plain, uri)
        except TimeoutError:
            raise NoAnswer("the name servers do not answer") from None
        # The certificate has to name what the user typed, not what a DNS answer led to (RFC 5922 section 7.2).
        return tuple(
            Target(cast(Transport, transport), address, port, name=uri.host)
            for transport, address, port in tuple(dict.fromkeys(found))[:MAX_TARGETS]
        )

    async def _found(self, host: str, given: str | None, plain: str, uri: Uri) -> list[tuple[str, str, int]]:
        port = uri.port or _PORTS[plain]
        pinned = (host,) if family_of(host) is not None else self._dns.pinned(host)
        if pinned:
            return [(plain, address, port) for address in self._ordered(pinned)]
        if _is_local(host) or not self._dns.has_servers:
            return [(plain, address, port) for address in self._ordered(await self._dns.addresses(host))]
        if uri.port is not None:
            addresses = await self._addresses(host)
        else:
            # The addresses are asked now, and used if nothing better is there.
            served, direct = await asyncio.gather(
                _quiet(self._services(host, given, secure=uri.scheme == "sips")), _quiet(self._addresses(host))
            )
            if isinstance(served, NoAnswer):
                raise served
            if served is not None:
                return served
            if isinstance(direct, NoAnswer):
                raise direct
            addresses = direct
        if not addresses:
            raise NoAnswer("no such name, or it has no address")
        return [(plain, address, port) for address in addresses]

    # --- services -------------------------------------------------------------------------------------------

    async def _services(self, host: str, given: str | None, *, secure: bool) -> list[tuple[str, str, int]] | None:
        """By NAPTR or SRV; None where the domain has neither."""
        # Without NAPTR, _sips._tcp serves sips URIs and the others serve the rest.
        wanted = (given,) if given is not None else ("tls",) if secure else ("udp", "tcp")
        guesses = [
            (transport, _SRV_NAMES[transport] + host)
            for transport in self._transports
            if transport in wanted and transport in _SRV_NAMES
        ]
        questions = [self._answer(name, "SRV") for _, name in guesses]
        if given is None:
            naptr, *answers = await asyncio.gather(self._answer(host, "NAPTR"), *questions)
            chosen = self._chosen(naptr, secure=secure)
            if chosen:
                return await self._by_naptr(chosen)
        else:
            answers = await asyncio.gather(*questions)
        served = [
            (transport, record)
            for (transport, _), records in zip(guesses, answers, strict=True)
            for record in self._weighed(records)
        ]
        if not any(answers):
            return None
        return await self._at_targets(served)

    def _chosen(self, records: Iterable[Record], *, secure: bool) -> list[tuple[str, Naptr]]:
        """(transport, record) of the lowest order that has one we speak, the preferred first (RFC 3263 4.1)."""
        usable = [
            (transport, record)
            for record in records
            if isinstance(record, Naptr)
            and record.flags in ("s", "a")
            and record.replacement
            and (transport := _SERVICES.get(record.service)) in self._transports
            and transport is not None
            and (not secure or record.service.startswith("SIPS"))
        ]
        lowest = min((record.order for _, record in usable), default=0)
        return sorted(
            ((transport, record) for transport, record in usable if record.order == lowest),
            key=lambda choice: (choice[1].preference, self._transports.index(choice[0])),
        )

    async def _by_naptr(self, chosen: list[tuple[str, Naptr]]) -> list[tuple[str, str, int]]:
        async def one(transport: str, record: Naptr) -> list[tuple[str, str, int]]:
            if record.flags == "a":
                addresses = await _quiet(self._addresses(record.replacement))
                found = () if isinstance(addresses, NoAnswer) else addresses
                return [(transport, address, _PORTS[transport]) for address in found]
            records = self._weighed(await self._answer(record.replacement, "SRV"))
            return await self._at_targets([(transport, each) for each in records])

        found = await asyncio.gather(*(one(*choice) for choice in chosen))
        targets = [target for each in found for target in each]
        if not targets:
            raise NoAnswer("its NAPTR records lead nowhere")
        return targets

    async def _at_targets(self, served: list[tuple[str, Srv]]) -> list[tuple[str, str, int]]:
        served = [(transport, record) for transport, record in served if record.target]
        if not served:
            raise NoAnswer("the domain says that it has no such service")
        found = await asyncio.gather(*(_quiet(self._addresses(record.target)) for _, record in served))
        targets = [
            (transport, address, record.port)
            for (transport, record), addresses in zip(served, found, strict=True)
            if not isinstance(addresses, NoAnswer)
            for address in addresses
        ]
        if not targets:
            raise NoAnswer(f"its servers have no address ({served[0][1].target})")
        return targets

    def _weighed(self, records: Iterable[Record]) -> list[Srv]:
        """By priority; within one, drawn by weight, so that the load spreads as its owner wants (RFC 2782)."""
        left = sorted(
            (record for record in records if isinstance(record, Srv)),
            key=lambda record: (record.priority, record.weight != 0),
        )
        order: list[Srv] = []
        while left and len(order) < _MAX_SRV:
            same = [record for record in left if record.priority == left[0].priority]
            total = sum(record.weight for record in same)
            mark = self._random() * (total or len(same))
            for record in same:  # those of weight 0 come first in the list, and so have their small chance
                mark -= record.weight if total else 1
                if mark <= 0:
                    break
            order.append(record)
            left.remove(record)
        return order

    # --- addresses ------------------------------------------------------------------------------------------

    async def _addresses(self, host: str) -> tuple[str, ...]:
        """In the order in which to try them. NoAnswer only if neither family got an answer."""
        if family_of(host) is not None:
            return (host,)
        pinned = self._dns.pinned(host)
        if pinned:
            return self._ordered(pinned)
        families = set(self._families())
        kinds: list[Kind] = ["AAAA" if family == AddressFamily.AF_INET6 else "A" for family in families]
        found = await asyncio.gather(*(_quiet(self._dns.query(host, kind)) for kind in kinds))
        answers = [each for each in found if not isinstance(each, NoAnswer)]
        if not answers:
            raise next((each for each in found if isinstance(each, NoAnswer)), NoAnswer("no address of ours"))
        return self._ordered([record for answer in answers for record in answer if isinstance(record, str)])

    def _ordered(self, addresses: Iterable[str]) -> tuple[str, ...]:
        """Those of families we have; first what a route leads to, IPv6 before IPv4 where our own address there is
        worth as much (RFC 6724 rules 1, 2 and 5 in short)."""
        families = set(self._families())
        return tuple(sorted((each for each in addresses if family_of(each) in families), key=self._rank))

    def _rank(self, address: str) -> tuple[int, int]:
        try:
            ours = ipaddress.ip_address(self._source(address).partition("%")[0])
        except (OSError, ValueError):
            return 2, 0
        theirs = ipaddress.ip_address(address.partition("%")[0])
        matched = _scope(ours) == _scope(theirs) or ours.version == 4
        return (0 if matched else 1), (0 if theirs.version == 6 else 1)

    async def _answer(self, name: str, kind: Kind) -> tuple[Record, ...]:
        """Records; none too where nobody answers: the addresses will tell whether anybody is there at all."""
        try:
            return await self._dns.query(name, kind)
        except NoAnswer as failed:
            log.debug("%s %s: %s", name, kind, failed)
            return ()


async def _quiet(work: Awaitable[T]) -> T | NoAnswer:
    """The result, or the NoAnswer that it would raise: one name's silence must not take the others' answers."""
    try:
        return await work
    except NoAnswer as failed:
        return failed


def _key(uri: Uri) -> tuple[str, str, int | None, str | None]:
    return uri.scheme, (uri.parameter("maddr") or uri.host).lower(), uri.port, uri.transport


def transport_of(uri: Uri) -> str | None:
    """What the URI's `transport` asks for, sips raised to its secure kind; None without one."""
    named = (uri.transport or "").lower()
    if not named:
        return None
    return _SECURE.get(named, named) if uri.scheme == "sips" else named


def _is_local(host: str) -> bool:
    name = host.lower().rstrip(".")
    return "." not in name or name.endswith(".local")


def _scope(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Literal["link", "site", "loop", "global"]:
    if address.is_loopback:
        return "loop"
    if address.is_link_local:
        return "link"
    return "site" if address.version == 6 and address in _UNIQUE_LOCAL else "global"


_UNIQUE_LOCAL = ipaddress.ip_network("fc00::/7")
