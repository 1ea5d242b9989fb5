"""What the core is told once, at its start: accounts, names and bounds."""

from dataclasses import dataclass, field

from firmware.sip.timers import Timers
from firmware.sip.uri import Uri


@dataclass(frozen=True, slots=True)
class Account:
    """One identity at one server. `registrar` defaults to the address's domain; `username` to its user part."""

    name: str
    address: Uri
    display_name: str = ""
    registrar: Uri | None = None
    outbound_proxy: Uri | None = None
    username: str = ""
    password: str = field(default="", repr=False)
    expires_s: int = 600
    register: bool = True
    session_expires_s: int = 1800  # RFC 4028; 0: calls of this account ask for no session timer

    @property
    def server(self) -> Uri:
        """Where REGISTER goes: a URI without user part (RFC 3261 10.2)."""
        found = self.registrar or self.address
        return found.replace(user=None, password=None, headers=())


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits between attempts to register (RFC 5626 4.5): half to the whole of min(longest, base * 2^failures)."""

    base_s: float = 30.0
    longest_s: float = 600.0
    refused_s: float = 600.0  # a wrong password does not mend itself, and servers ban who insists


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
    max_transactions: int = 1000  # of strangers; requests within our own dialogs do not count
    session_expires_s: int = 1800  # the same for calls without an account
    redirect_to: tuple[Uri, ...] = ()  # where a 3xx may lead besides its own host; without user part: a whole host
    transfers: bool = False  # the station decides on REFER; False: refused
    max_calls: int = 32  # incoming calls that may wait for an answer or be up at once
    house: House | None = None
