"""What the core is told once, at its start: accounts, names and bounds."""

from dataclasses import dataclass, field

from firmware.sip.timers import Timers
from firmware.sip.uri import Uri


@dataclass(frozen=True, slots=True)
class Account:
    """One identity at one server. `registrar` defaults to the address's domain; `username` to its user part.

    `backups` stand in for the outbound proxy, or for the registrar where there is no outbound proxy, in order.
    With `outbound` (RFC 5626) and a proxy that speaks it, two of them are kept registered at once. `gruu` asks for
    a GRUU and uses it as Contact (RFC 5627): only for servers that route what comes back to it.
    """

    name: str
    address: Uri
    display_name: str = ""
    registrar: Uri | None = None
    outbound_proxy: Uri | None = None
    backups: tuple[Uri, ...] = ()
    username: str = ""
    password: str = field(default="", repr=False)
    expires_s: int = 600
    register: bool = True
    session_expires_s: int = 1800  # RFC 4028; 0: calls of this account ask for no session timer
    outbound: bool = True
    gruu: bool = False

    @property
    def server(self) -> Uri:
        """Where REGISTER goes: a URI without user part (RFC 3261 10.2)."""
        return _server(self.registrar or self.address)

    @property
    def hops(self) -> tuple[Uri, ...]:
        """The servers that requests go to first, the preferred one first."""
        return tuple(_server(uri) for uri in (self.outbound_proxy or self.server, *self.backups))


def _server(uri: Uri) -> Uri:
    return uri.replace(user=None, password=None, headers=())


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits between attempts to register (RFC 5626 4.5): half to the whole of min(longest, base * 2^failures).

    The RFC's own numbers (30 s doubling to 1800 s) suit a telephone. Behind a door somebody waits, and its PBX is
    often one box that reboots in a minute, so: 2.5 to 5 s after the first failure, then 5 to 10, 10 to 20, 20 to
    40, 40 to 80, and 60 to 120 s for good. Where another flow of the account is up, three times the base, as in
    the RFC. What that does to a registrar that 10 000 stations come back to is in tests/bench/bench_fleet.py.
    """

    base_s: float = 2.5
    longest_s: float = 120.0
    refused_s: float = 600.0  # a wrong password does not mend itself, and servers ban who insists
    failback_s: float = 60.0  # on a server that is not the best: half to the whole of this until the best is tried


STATION_NAMES = ("door", "portero")  # what users dial to call the station, and see when it calls them


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who registers at the station itself."""

    name: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class House:
    """The users of the house, and what its registrar grants. `domain` empty: whatever name they reach us by."""

    users: tuple[User, ...]
    domain: str = ""
    own_names: tuple[str, ...] = STATION_NAMES  # user parts by which the station itself is called
    max_bindings: int = 5  # of one user
    min_expires_s: int = 60
    max_expires_s: int = 3600

    @property
    def realm(self) -> str:
        return self.domain or "portero"


@dataclass(frozen=True, slots=True)
class Configuration:
    accounts: tuple[Account, ...] = ()
    user_agent: str = "portero"
    timers: Timers = field(default_factory=Timers)
    backoff: Backoff = field(default_factory=Backoff)
    instance: str = ""  # "urn:uuid:...", the same for ever: which device registers (RFC 5626 4.1)
    spread_s: float = 0.0  # the first REGISTER waits for a share of this that is the instance's own
    max_transactions: int = 1000  # of strangers; requests within our own dialogs do not count
    session_expires_s: int = 1800  # the same for calls without an account
    redirect_to: tuple[Uri, ...] = ()  # where a 3xx may lead besides its own host; without user part: a whole host
    transfers: bool = False  # the station decides on REFER; False: refused
    max_calls: int = 32  # incoming calls that may wait for an answer or be up at once
    house: House | None = None
