"""What the station says about itself when it is asked: plain data for `doorctl status`, the web page and MQTT.

`Status` is a moment's picture; `as_dict()` is its JSON shape, documented in docs/doorctl.md. Also here: the one
error with which the station answers a technician's command that it cannot carry out.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal


class ControlError(Exception):
    """What a technician asked for cannot be done; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountStatus:
    """A registration. `status` and `reason` are the last answer's; `since_s` is how long the state has lasted."""

    name: str
    address: str
    state: Literal["registering", "registered", "failed", "unregistered"]
    status: int = 0
    reason: str = ""
    expires_s: float = 0.0  # as granted
    server: str = ""  # where, while registered
    retry_s: float = 0.0  # until the next attempt after a failure, when the state began
    since_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneStatus:
    """A phone that a user of the house registered. `expires_s`: seconds until it has to come again."""

    contact: str
    source: str
    agent: str
    expires_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UserStatus:
    """A user of the house; without phones nobody rings."""

    name: str
    display_name: str
    phones: tuple[PhoneStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorStatus:
    """A door's relay line. `active` is None while the lock process is away and nobody knows. `open`: what its
    contact says; None where it has none, or has said nothing yet."""

    name: str
    active: bool | None
    open: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStatus:
    """One leg that rings or talks."""

    press: int
    leg: str
    party: str
    direction: Literal["outgoing", "incoming"]
    state: Literal["calling", "ringing", "talking"]
    since_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultStatus:
    """A fault that has not been cleared; `since` in Unix seconds."""

    where: str
    what: str
    remedy: str
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PressStatus:
    """The last press; `time` in Unix seconds; `outcome` is empty while it lasts."""

    press: int
    button: str
    source: str
    time: float
    outcome: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The station as a whole. `lock_process`: portero-door is connected. `listen`: addresses SIP listens on."""

    name: str
    version: str
    board: str
    uptime_s: float
    listen: tuple[str, ...]
    lock_process: bool
    locked_out_s: float = 0.0  # no code is accepted for so long
    accounts: tuple[AccountStatus, ...] = ()
    users: tuple[UserStatus, ...] = ()
    buttons: tuple[str, ...] = ()
    doors: tuple[DoorStatus, ...] = ()
    calls: tuple[CallStatus, ...] = ()
    faults: tuple[FaultStatus, ...] = ()
    last_press: PressStatus | None = None
    sip: Mapping[str, int] = field(default_factory=dict)  # sizes of what could grow, for whoever looks for a leak

    def as_dict(self) -> dict[str, object]:
        return asdict(self)
