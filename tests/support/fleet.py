"""A town's door stations that get power back together, and one registrar that takes so many requests a second.

Virtual time, no sockets. A `Station` is a whole core of ours; `Naive` is the client that many devices are: it
registers as soon as it runs, repeats as RFC 3261 says, and tries again every 30 seconds.
"""

import heapq
import random
import uuid
from collections import Counter, deque
from collections.abc import Callable
from itertools import count

from firmware.sip.actions import OpenFlow, Send
from firmware.sip.configuration import Account, Configuration
from firmware.sip.core import Core
from firmware.sip.events import RegistrationChanged
from firmware.sip.message import Request, parse_message, response_to
from firmware.sip.types import Flow
from firmware.sip.uri import Uri

WAY_S = 0.01  # from a station to the registrar, or back
BOOT_S = 2.0  # two stations of one make and one power cut are ready within so much of each other
CHALLENGE = 'Digest realm="town", nonce="n", qop="auth", algorithm=SHA-256'


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (when, next(self._order), what))

    def run(self, until: float, done: Callable[[], bool]) -> None:
        while self._queue and self._queue[0][0] <= until and not done():
            self.now, _, what = heapq.heappop(self._queue)
            what()


class Registrar:
    """Takes `rate` requests a second and keeps `room` waiting; what comes on top is lost, as a datagram is.

    `from_s` is when it is up: its power was cut too."""

    def __init__(self, clock: Clock, rate: float, room: int, from_s: float = 0.0) -> None:
        self.clock = clock
        self.arrived: Counter[int] = Counter()  # requests in each second
        self.lost = 0
        self._rate, self._room, self._from_s = rate, room, from_s
        self._waiting: deque[Callable[[], None]] = deque()
        self._busy = False

    def receive(self, answer: Callable[[], None]) -> None:
        """A request arrives; `answer` is called when it has been worked off."""
        self.arrived[int(self.clock.now)] += 1
        if self.clock.now < self._from_s or len(self._waiting) >= self._room:
            self.lost += 1
            return
        self._waiting.append(answer)
        if not self._busy:
            self._busy = True
            self.clock.at(self.clock.now + 1 / self._rate, self._serve)

    def _serve(self) -> None:
        self._waiting.popleft()()
        self._busy = bool(self._waiting)
        if self._busy:
            self.clock.at(self.clock.now + 1 / self._rate, self._serve)


class Fleet:
    """`size` stations against a registrar; `registered` has the moment of each that has made it."""

    def __init__(self, size: int, *, rate: float, room: int = 400, up_s: float = 0.0, seed: int = 1) -> None:
        self.clock = Clock()
        self.registrar = Registrar(self.clock, rate, room, up_s)
        self.size = size
        self.registered: dict[int, float] = {}
        self.random = random.Random(seed)

    def run(self, until: float = 7200.0) -> None:
        self.clock.run(until, lambda: len(self.registered) == self.size)

    def ours(self, spread_s: float) -> None:
        for number in range(self.size):
            station = Station(self, number, spread_s)
            self.clock.at(self.random.uniform(0, BOOT_S), station.start)

    def naive(self) -> None:
        for number in range(self.size):
            self.clock.at(self.random.uniform(0, BOOT_S), Naive(self, number).start)

    def when(self, share: float) -> float:
        """When that share of the stations was registered; infinity if it never was."""
        moments = sorted(self.registered.values())
        index = round(share * self.size) - 1
        return moments[index] if index < len(moments) else float("inf")

    @property
    def peak(self) -> int:
        """Most requests in one second."""
        return max(self.registrar.arrived.values())

    @property
    def total(self) -> int:
        return sum(self.registrar.arrived.values())


class Station:
    def __init__(self, fleet: Fleet, number: int, spread_s: float) -> None:
        account = Account(
            "town", Uri.parse(f"sip:door{number}@10.0.0.2"), password=f"secret-{number}", expires_s=3600
        )
        instance = uuid.UUID(int=fleet.random.getrandbits(128)).urn
        configuration = Configuration(accounts=(account,), instance=instance, spread_s=spread_s)
        self._fleet, self._number = fleet, number
        self._core = Core(configuration, random=random.Random(number).randbytes)
        self._flow = Flow("udp", ("10.0.0.1", 5060), ("10.0.0.2", 5060), ("10.0.0.1", 5060), 1)
        self._alarm = float("inf")

    def start(self) -> None:
        self._core.start(self._now)
        self._act()

    @property
    def _now(self) -> float:
        return self._fleet.clock.now

    def _act(self) -> None:
        while actions := self._core.take_actions():
            for action in actions:
                if isinstance(action, Send):
                    self._send(action.data)
                elif isinstance(action, OpenFlow):
                    self._core.flow_opened(action.token, self._flow, self._now)
        while (event := self._core.next_event()) is not None:
            if isinstance(event, RegistrationChanged) and event.state == "registered":
                self._fleet.registered.setdefault(self._number, self._now)
        deadline = self._core.next_deadline()
        if deadline is not None and deadline != self._alarm:
            self._alarm = deadline
            self._fleet.clock.at(deadline, self._ring)

    def _ring(self) -> None:
        if self._now >= self._alarm:
            self._alarm = float("inf")
            self._core.handle_timer(self._now)
            self._act()

    def _send(self, data: bytes) -> None:
        def answer() -> None:
            request = parse_message(data)
            assert isinstance(request, Request)
            if "Authorization" in request.headers:
                response = response_to(request, 200, to_tag="r")
                response.headers.add("Contact", f"<{request.contacts[0].uri}>;expires=3600")
            else:
                response = response_to(request, 401, to_tag="r")
                response.headers.add("WWW-Authenticate", CHALLENGE)
            wire = bytes(response)
            clock.at(clock.now + WAY_S, lambda: self._receive(wire))

        clock = self._fleet.clock
        clock.at(clock.now + WAY_S, lambda: self._fleet.registrar.receive(answer))

    def _receive(self, wire: bytes) -> None:
        self._core.receive(wire, self._flow, self._now)
        self._act()


class Naive:
    """Only what costs the registrar something: which requests are sent when."""

    RETRY_S = 30.0

    def __init__(self, fleet: Fleet, number: int) -> None:
        self._fleet, self._number = fleet, number
        self._transaction = 0

    def start(self) -> None:
        self._request(authorized=False)

    def _request(self, *, authorized: bool) -> None:
        self._transaction += 1
        self._send(self._transaction, authorized, 0.5, self._fleet.clock.now + 32.0)

    def _send(self, transaction: int, authorized: bool, wait_s: float, until: float) -> None:
        clock = self._fleet.clock
        if transaction != self._transaction:
            return
        if clock.now >= until:
            self._transaction += 1
            clock.at(clock.now + self.RETRY_S, self.start)
            return

        def answer() -> None:
            clock.at(clock.now + WAY_S, lambda: self._receive(transaction, authorized))

        clock.at(clock.now + WAY_S, lambda: self._fleet.registrar.receive(answer))
        again = min(clock.now + wait_s, until)
        clock.at(again, lambda: self._send(transaction, authorized, min(2 * wait_s, 4.0), until))

    def _receive(self, transaction: int, authorized: bool) -> None:
        if transaction != self._transaction:
            return
        self._transaction += 1
        if authorized:
            self._fleet.registered.setdefault(self._number, self._fleet.clock.now)
        else:
            self._request(authorized=True)
