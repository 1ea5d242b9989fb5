"""What all machines of one core share: its outbox, its events, its schedule, its randomness.

Also what was learned about the network: which addresses take no TCP, which have failed of late. No protocol here.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from firmware.sip.actions import Action, OpenFlow, Resolve, Send
from firmware.sip.configuration import Configuration
from firmware.sip.events import Event
from firmware.sip.timers import Schedule
from firmware.sip.transactions import MAGIC_COOKIE, ResponseWay, Server, Transactions
from firmware.sip.types import Flow, Target
from firmware.sip.uri import Uri

_NO_TCP_S = 3600.0  # an address that refused TCP is asked again after an hour
_NO_TCP_MOST = 256
_AVOID_S = 30.0  # a target that failed is tried after the others for so long
_AVOIDED_MOST = 256


class FlowUser(Protocol):
    """Who waits for the shell's answer to a Resolve or OpenFlow."""

    def resolved(self, token: int, targets: tuple[Target, ...], error: str, now: float) -> None: ...

    def opened(self, token: int, flow: Flow, now: float) -> None: ...

    def not_opened(self, token: int, error: str, now: float) -> None: ...


class Stack:
    def __init__(self, configuration: Configuration, random: Callable[[int], bytes]) -> None:
        self.configuration = configuration
        self.timers = configuration.timers
        self.schedule = Schedule()
        self.transactions = Transactions(self.timers, self.schedule, self.send, self._way_back)
        self.actions: list[Action] = []
        self.events: deque[Event] = deque()
        self.pending_requests = 0  # of ours, without a final response yet
        self._random = random
        self._next_token = 0
        self._waiting: dict[int, FlowUser] = {}
        self._no_tcp: dict[tuple[str, int], float] = {}
        self._avoided: dict[Target, float] = {}

    # --- randomness -----------------------------------------------------------------------------------------

    def text(self, size: int = 8) -> str:
        """`size` random bytes as hexadecimal digits: a tag, a part of a Call-ID."""
        return self._random(size).hex()

    def branch(self) -> str:
        return MAGIC_COOKIE + self.text()

    def between(self, low: float, high: float) -> float:
        """A uniformly distributed number."""
        return low + (high - low) * int.from_bytes(self._random(4), "big") / 2**32

    # --- outbox ---------------------------------------------------------------------------------------------

    def send(self, flow: Flow, data: bytes) -> None:
        self.actions.append(Send(flow, data))

    def _way_back(self, server: Server) -> ResponseWay:
        from firmware.sip.way_back import WayBack  # it needs this module

        return WayBack(self, server)

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def resolve(self, uri: Uri, user: FlowUser) -> int:
        token = self._token(user)
        self.actions.append(Resolve(token, uri))
        return token

    def open_flow(self, target: Target, user: FlowUser, account: str = "") -> int:
        token = self._token(user)
        self.actions.append(OpenFlow(token, target, account))
        return token

    def take_waiting(self, token: int) -> FlowUser | None:
        """Whoever asked with `token`; each answer counts once."""
        return self._waiting.pop(token, None)

    def _token(self, user: FlowUser) -> int:
        self._next_token += 1
        self._waiting[self._next_token] = user
        return self._next_token

    # --- what is known of the network -----------------------------------------------------------------------

    def note_tcp(self, target: Target, taken: bool, now: float) -> None:
        """Remember whether `target` takes TCP connections."""
        key = (target.host, target.port)
        self._no_tcp.pop(key, None)
        if not taken:
            while len(self._no_tcp) >= _NO_TCP_MOST:
                del self._no_tcp[next(iter(self._no_tcp))]
            self._no_tcp[key] = now + _NO_TCP_S

    def takes_tcp(self, target: Target, now: float) -> bool:
        """False where TCP was refused within the last hour."""
        return self._no_tcp.get((target.host, target.port), now) <= now

    def avoid(self, target: Target, now: float, for_s: float = _AVOID_S) -> None:
        """`target` did not answer, cannot be reached or is out of service: others first for a while."""
        self._avoided.pop(target, None)
        while len(self._avoided) >= _AVOIDED_MOST:
            del self._avoided[next(iter(self._avoided))]
        self._avoided[target] = now + for_s

    def heard(self, target: Target) -> None:
        """`target` answers."""
        self._avoided.pop(target, None)

    def avoided(self, target: Target, now: float) -> bool:
        return now < self._avoided.get(target, now)

    def forget_network(self) -> None:
        """What failed before may work in another network."""
        self._avoided.clear()
        self._no_tcp.clear()
