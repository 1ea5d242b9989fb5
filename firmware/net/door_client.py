"""The station's end of the lock's socket: asks `portero-door` to open, hears what the relays do.

Connects by itself and again whenever the lock process is gone; meanwhile every pulse is refused at once and none
is kept for later, because a door must not open long after somebody asked. What is said on the socket stands in
firmware/door/protocol.py, whose code this does not import: the lock's process and ours share no more than that.
"""

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

ANSWER_S = 2.0  # the lock refuses what is older than 1 s, so what we gave up never opens afterwards
RETRY_FIRST_S = 0.05
RETRY_MOST_S = 1.0
START_GRACE_S = 10.0  # both processes start at once, and either may be the slower
STOP_GRACE_S = 0.5  # both are told to stop at once, and the lock's end is no news to a station that ends as well
_MAX_LINE = 64 * 1024


@dataclass(frozen=True, slots=True)
class DoorConnected:
    """The lock process is there; `doors` are its doors' names, `faults` what it reports broken."""

    doors: tuple[str, ...]
    faults: "tuple[DoorFault, ...]"


@dataclass(frozen=True, slots=True)
class DoorLost:
    """The lock process is not there, or gone, and with it every pulse. Told once until it is back.

    Told after a grace, or just before a DoorConnected that comes sooner: where both processes start or stop
    together, nothing is lost. What is asked meanwhile is refused all the same.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class PulseAccepted:
    request: int
    door: str
    pulse_ms: int
    at_s: float


@dataclass(frozen=True, slots=True)
class PulseRefused:
    request: int
    door: str
    reason: str


# Of a line, all hear; `request` is None where another client opened. `at_s`: monotonic seconds of the lock process.


@dataclass(frozen=True, slots=True)
class LineOn:
    request: int | None
    door: str
    pulse_ms: int
    at_s: float


@dataclass(frozen=True, slots=True)
class LineReadBack:
    """Comes after each switching, on and off."""

    request: int | None
    door: str
    active: bool
    expected: bool
    at_s: float


@dataclass(frozen=True, slots=True)
class LineOff:
    request: int | None
    door: str
    on_ms: int
    reason: str
    at_s: float


@dataclass(frozen=True, slots=True)
class DoorFault:
    """`where`: "relay of street", "door journal"."""

    where: str
    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class DoorFaultCleared:
    where: str


DoorEvent = (
    DoorConnected
    | DoorLost
    | PulseAccepted
    | PulseRefused
    | LineOn
    | LineReadBack
    | LineOff
    | DoorFault
    | DoorFaultCleared
)

_EVENTS: dict[str, type[Any]] = {
    "line-on": LineOn,
    "read-back": LineReadBack,
    "line-off": LineOff,
    "fault": DoorFault,
    "fault-cleared": DoorFaultCleared,
}


class DoorUnreachable(Exception):
    """The lock process did not answer; the text says why."""


class DoorClient:
    """`on_event` is called on the loop's thread, in the order things happened, never from within `pulse`."""

    def __init__(
        self, path: Path | str, on_event: Callable[[DoorEvent], None], *, start_grace_s: float = START_GRACE_S
    ) -> None:
        self._path = os.fspath(path)
        self._on_event = on_event
        self._start_grace_s = start_grace_s
        self._connection: _Connection | None = None
        self._unreachable = "not connected yet"
        self._connected_once = False
        self._told_lost = False
        self._next_request = 1
        self._pulses: dict[int, tuple[str, asyncio.TimerHandle]] = {}  # asked and not answered: door, its limit
        self._statuses: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._keeping: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        return self._connection is not None

    def start(self) -> None:
        """Connect and stay connected, in the background; call with the loop running."""
        self._keeping = asyncio.get_running_loop().create_task(self._keep_connected())

    async def stop(self) -> None:
        """Let go of the lock process; it releases what we opened. No event comes afterwards."""
        if self._keeping is not None:
            self._keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping
            self._keeping = None
        for _, limit in self._pulses.values():
            limit.cancel()
        self._pulses.clear()

    def pulse(self, door: str, pulse_ms: int | None, evidence: dict[str, Any]) -> int:
        """Ask for a door; None is the door's own length. The request's number, under which its events come.

        Exactly one of PulseAccepted and PulseRefused follows.
        """
        request = self._take_number()
        loop = asyncio.get_running_loop()
        if self._connection is None:
            loop.call_soon(self._tell, PulseRefused(request, door, f"no door process: {self._unreachable}"))
            return request
        asked = {"op": "pulse", "request": request, "door": door, "sent_s": time.monotonic(), "evidence": evidence}
        self._connection.send(asked if pulse_ms is None else {**asked, "pulse_ms": pulse_ms})
        self._pulses[request] = (door, loop.call_later(ANSWER_S, self._give_up, request))
        return request

    async def status(self) -> dict[str, Any]:
        """{"doors": [...], "faults": [...]} as in protocol.py. DoorUnreachable when there is no answer."""
        if self._connection is None:
            raise DoorUnreachable(f"no door process: {self._unreachable}")
        request = self._take_number()
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._statuses[request] = answer
        self._connection.send({"op": "status", "request": request})
        try:
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError as error:
            raise DoorUnreachable(f"the door process does not answer in {ANSWER_S:g} s") from error
        finally:
            self._statuses.pop(request, None)

    def _take_number(self) -> int:
        request = self._next_request
        self._next_request += 1
        return request

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        retry_s = RETRY_FIRST_S
        tell_at_s = loop.time() + self._start_grace_s
        while True:
            try:
                _, connection = await loop.create_unix_connection(lambda: _Connection(self._receive), self._path)
            except OSError as error:
                self._unreachable = f"{self._path}: {error.strerror or error}"
            else:
                if await self._stay(connection):
                    retry_s = RETRY_FIRST_S
                    tell_at_s = loop.time() + STOP_GRACE_S
            if not self._told_lost and loop.time() >= tell_at_s:
                self._tell_lost()
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, RETRY_MOST_S)

    async def _stay(self, connection: "_Connection") -> bool:
        """Until this connection is lost. Whether the lock had greeted us on it."""
        greeting = asyncio.get_running_loop().call_later(ANSWER_S, self._want_greeting, connection)
        try:
            self._unreachable = await connection.lost
        finally:
            greeting.cancel()
            greeted, self._connection = self._connection is connection, None
            connection.close()
        for request in tuple(self._pulses):
            self._refuse(request, f"the door process went away: {self._unreachable}")
        for answer in self._statuses.values():
            if not answer.done():
                answer.set_exception(DoorUnreachable(f"the door process went away: {self._unreachable}"))
        return greeted

    def _want_greeting(self, connection: "_Connection") -> None:
        """A lock that hangs before its hello is as good as none, and must be told like none."""
        if self._connection is not connection and not connection.lost.done():
            connection.lost.set_result(f"the door process does not answer in {ANSWER_S:g} s")

    def _receive(self, connection: "_Connection", message: dict[str, Any]) -> None:
        kind, request = message.pop("event"), message.get("request")
        match kind:
            case "hello":
                self._connection = connection
                if self._connected_once and not self._told_lost:
                    self._tell_lost()
                self._connected_once, self._told_lost = True, False
                names = tuple(str(door["name"]) for door in message["doors"])
                self._tell(DoorConnected(names, tuple(DoorFault(**fault) for fault in message["faults"])))
            case "status":
                answer = self._statuses.get(message.pop("request"))
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case "accepted" if self._settle(request) is not None:
                self._tell(PulseAccepted(**message))
            case "refused":
                self._refuse(request, message["reason"])
            case _ if kind in _EVENTS:
                self._tell(_EVENTS[kind](**message))

    def _settle(self, request: int | None) -> str | None:
        """A pulse was answered: forget its limit. The door it asked for, None where it was given up before."""
        if request not in self._pulses:
            return None
        door, limit = self._pulses.pop(request)
        limit.cancel()
        return door

    def _refuse(self, request: int | None, reason: str) -> None:
        door = self._settle(request)
        if request is not None and door is not None:
            self._tell(PulseRefused(request, door, reason))

    def _tell_lost(self) -> None:
        self._told_lost = True
        self._tell(DoorLost(self._unreachable))

    def _tell(self, event: DoorEvent) -> None:
        try:
            self._on_event(event)
        except Exception:
            # The receiver's mistake must not end the connection: the lock would release the door.
            log.exception("receiver of door events failed with %r", event)

    def _give_up(self, request: int) -> None:
        self._refuse(request, f"the door process does not answer in {ANSWER_S:g} s")


class _Connection(asyncio.Protocol):
    """Lines in, lines out; `lost` gets the reason when it ends. Never closed for a bad line: the lock is ours."""

    def __init__(self, receive: Callable[["_Connection", dict[str, Any]], None]) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._receive = receive
        self._transport: asyncio.WriteTransport | None = None
        self._partial = b""

    def send(self, message: dict[str, Any]) -> None:
        if self._transport is not None:
            self._transport.write(json.dumps(message).encode() + b"\n")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            try:
                self._receive(self, json.loads(line))
            except Exception:
                # Not a stranger's bytes but our own process: a mistake of ours, which must not stop the calls.
                log.exception("message of portero-door not understood: %r", line[:200])
        if len(self._partial) > _MAX_LINE:
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if not self.lost.done():
            self.lost.set_result(str(error) if error else "the door process closed the connection")
