"""Who is a user of the house: digest (RFC 3261 22, RFC 8760) and a guard against guessing, for registrar and proxy.

A source (one IPv4 address, one IPv6 /64) that was wrong five times within five minutes is not listened to for a
while, twice as long each further time; what counts is on a nonce that was given to that very address, so that
nobody can have another's locked. Only the source is locked, never a user: a phone that is registered from its
address and port stays heard, or anybody who knows a name could keep its owner out. An unknown user gets the
same challenges as a known one. Nothing of a password comes back.

RFC 8760 has a client pass over challenges that it does not know; libre before 2.0 gives up instead ("Function not
implemented"). Such a phone, and any that comes again without credentials after a challenge, is asked for MD5 alone.
"""

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from firmware.sip.configuration import House
from firmware.sip.digest import DigestServer
from firmware.sip.events import UserRefused
from firmware.sip.location import Location
from firmware.sip.message import Request, Response
from firmware.sip.status import REASON_PHRASES
from firmware.sip.types import Flow

WRONG_MOST, WRONG_WITHIN_S = 5, 300.0
LOCK_S, LOCK_LONGEST_S = 30.0, 3600.0
_SOURCES_MOST = 1024
_WRONG = "wrong user name or password"
_MD5 = ("MD5",)
_Phone = tuple[str, str]  # address and user
_knows_md5_only = re.compile(r"baresip v[01]\.")


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a request gets instead of what it asked for."""

    status: int
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def phrase(self) -> str:
        return self.reason or REASON_PHRASES.get(self.status, "")


@dataclass(slots=True)
class _Source:
    wrong: list[float] = field(default_factory=list)
    locks: int = 0
    until: float = 0.0


class Gate:
    """`tell` gets an event for each wrong password and each lock."""

    def __init__(
        self,
        house: House,
        location: Location,
        random: Callable[[int], bytes],
        tell: Callable[[UserRefused], None],
    ) -> None:
        self._house = house
        self._location = location
        self._tell = tell
        self._passwords = {user.name: user.password for user in house.users}
        self._user_agent = DigestServer(house.realm, random)
        self._proxy = DigestServer(house.realm, random, proxy=True)
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._challenged: OrderedDict[_Phone, str] = OrderedDict()  # and the Call-ID, until credentials come
        self._md5_only: OrderedDict[_Phone, str] = OrderedDict()

    def prove(
        self, request: Request, flow: Flow, now: float, *, claimed: str, proxy: bool = False
    ) -> str | Refusal:
        """The user who sent `request`, by its credentials; or the challenge, or the refusal. `claimed` is who it
        says that it is: From, or To of a REGISTER."""
        locked_s = self._locked_s(flow, now)
        registered = any(binding.came_from(flow) for binding in self._location.of(claimed, now))
        if locked_s and not registered:
            return Refusal(503, "Too many wrong passwords", (("Retry-After", str(int(locked_s) + 1)),))
        server = self._proxy if proxy else self._user_agent
        if "Authorization" in request.headers:
            self._challenged.pop((flow.remote[0], claimed), None)

        def password(given: str) -> str | None:
            # A phone that is heard from a locked address is heard for its own user, or it could try the others'.
            return self._password(given) if not locked_s or self._name(given) == claimed else None

        verdict = server.verify(request, password, now, source=flow.remote[0])
        if verdict.user:
            return self._name(verdict.user)
        if verdict.reason == _WRONG:
            self._wrong(request, flow, claimed, now)
        response = Response(server.status)
        md5_only = self._takes_md5_only(request, flow, claimed)
        algorithms = _MD5 if md5_only else None
        server.challenge(response, now, stale=verdict.stale, algorithms=algorithms, source=flow.remote[0])
        return Refusal(server.status, "", tuple(response.headers))

    def _takes_md5_only(self, request: Request, flow: Flow, claimed: str) -> bool:
        """Whether to ask this phone for MD5 alone; remembers that it was challenged."""
        who = (flow.remote[0], claimed)
        if who not in self._md5_only and "Authorization" not in request.headers:
            if self._challenged.get(who) == request.call_id or _knows_md5_only.match(
                request.headers.get("User-Agent") or ""
            ):
                _remember(self._md5_only, who, "")
            else:
                _remember(self._challenged, who, request.call_id)
        return who in self._md5_only

    def _name(self, given: str) -> str:
        """Phones send the user alone, or user@domain."""
        name, _, domain = given.partition("@")
        return name if not domain or domain.lower() in (self._house.domain.lower(), self._house.realm) else given

    def _password(self, given: str) -> str | None:
        return self._passwords.get(self._name(given))

    # --- guessing -------------------------------------------------------------------------------------------

    def _locked_s(self, flow: Flow, now: float) -> float:
        source = self._sources.get(_network(flow.remote[0]))
        return 0.0 if source is None else max(0.0, source.until - now)

    def _wrong(self, request: Request, flow: Flow, claimed: str, now: float) -> None:
        key = _network(flow.remote[0])
        source = self._sources.setdefault(key, _Source())
        self._sources.move_to_end(key)
        while len(self._sources) > _SOURCES_MOST:
            self._sources.popitem(last=False)
        if source.locks and now - source.until > LOCK_LONGEST_S:
            source.locks = 0
        source.wrong = [when for when in source.wrong if now - when < WRONG_WITHIN_S] + [now]
        locked_s = 0.0
        if len(source.wrong) >= WRONG_MOST:
            locked_s = min(LOCK_S * 2 ** min(source.locks, 16), LOCK_LONGEST_S)
            source.locks += 1
            source.until = now + locked_s
            source.wrong.clear()
        reason = "wrong password" if claimed in self._passwords else "no such user"
        self._tell(UserRefused(claimed[:64], flow, request.method, 503 if locked_s else 401, reason, locked_s))

    def __len__(self) -> int:
        return len(self._sources)


def _remember(known: OrderedDict[_Phone, str], who: _Phone, what: str) -> None:
    known[who] = what
    known.move_to_end(who)
    while len(known) > _SOURCES_MOST:
        known.popitem(last=False)


def _network(host: str) -> str:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    return host if address.version == 4 else str(ip_network((address, 64), strict=False))
