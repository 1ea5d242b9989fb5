"""The doors as the station knows them: asks the lock process for a pulse and tells what came of it.

The relay itself belongs to `portero-door`. Here a request is joined to the visit it serves, its outcome becomes
events, and a technician who waits for it gets his answer.
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict

from firmware.config import Config
from firmware.net import door_client
from firmware.net.door_client import DoorClient
from firmware.station import events
from firmware.station.events import Evidence
from firmware.station.faults import Faults
from firmware.station.status import ControlError

LOCK_PROCESS = "door process"


class Doors:
    """`on_opened(press)` and `on_refused(press)` tell the visit's calls; press 0 is no visit."""

    def __init__(
        self,
        config: Config,
        faults: Faults,
        client: DoorClient,
        loop: asyncio.AbstractEventLoop,
        on_opened: Callable[[int], None],
        on_refused: Callable[[int], None],
    ) -> None:
        self._config = config
        self._faults = faults
        self._stream = faults.stream
        self._client = client
        self._loop = loop
        self._on_opened = on_opened
        self._on_refused = on_refused
        self._presses: dict[int, int] = {}  # request of the lock process -> press, until its line is off
        self._waiting: dict[int, asyncio.Future[str]] = {}  # request -> a technician waiting for its outcome
        self._lock_faults: set[str] = set()

    def open(self, door: str, evidence: Evidence) -> int:
        """Ask for the door's pulse; returns the request's number. What comes of it arrives as events."""
        configured = self._config.door(door)
        facts = {key: value for key, value in asdict(evidence).items() if value}
        request = self._client.pulse(door, configured.pulse_ms if configured is not None else None, facts)
        self._presses[request] = evidence.press
        self._stream.publish(events.AccessGranted(press=evidence.press, door=door, evidence=evidence))
        return request

    async def unlock(self, door: str, user: str, press: int) -> dict[str, object]:
        """Opens a door by word of a local user; waits until the lock process said yes or no."""
        if not door and len(self._config.doors) == 1:
            door = self._config.doors[0].name
        configured = self._config.door(door)
        if configured is None:
            names = ", ".join(d.name for d in self._config.doors) or "none"
            raise ControlError(f'there is no door "{door}"; configured: {names}')
        request = self.open(door, Evidence(by="doorctl", press=press, user=user))
        answer = self._waiting[request] = self._loop.create_future()
        problem = await answer  # the client answers for a lock process that does not
        if problem:
            raise ControlError(problem)
        return {"door": door, "pulse_ms": configured.pulse_ms}

    def take(self, event: door_client.DoorEvent) -> None:
        """An event of the lock process."""
        match event:
            case door_client.DoorConnected():
                self._stream.publish(events.DoorProcess(connected=True))
                self._faults.clear(LOCK_PROCESS)
                self._lock_process_reports(event.faults)
            case door_client.DoorLost():
                self._stream.publish(events.DoorProcess(connected=False, reason=event.reason))
                self._faults.set(LOCK_PROCESS, event.reason, "doors stay shut until portero-door runs again")
                self._presses.clear()
            case door_client.PulseAccepted():
                self._answer(event.request, "")
            case door_client.PulseRefused():
                press = self._presses.pop(event.request, 0)
                self._stream.publish(events.DoorRefused(press=press, door=event.door, reason=event.reason))
                self._answer(event.request, event.reason)
                self._on_refused(press)
            case door_client.LineOn():
                press = self._press(event.request)
                self._stream.publish(events.RelayOn(press=press, door=event.door, pulse_ms=event.pulse_ms))
                self._on_opened(press)
            case door_client.LineReadBack():
                told = events.RelayReadBack(
                    press=self._press(event.request),
                    door=event.door,
                    active=event.active,
                    expected=event.expected,
                )
                self._stream.publish(told)
            case door_client.LineOff():
                press = self._press(event.request)
                if event.request is not None:
                    self._presses.pop(event.request, None)
                off = events.RelayOff(press=press, door=event.door, on_ms=event.on_ms, reason=event.reason)
                self._stream.publish(off)
            case door_client.DoorFault():
                self._lock_faults.add(event.where)
                self._faults.set(event.where, event.what, event.remedy)
            case door_client.DoorFaultCleared():
                self._lock_faults.discard(event.where)
                self._faults.clear(event.where)

    def _press(self, request: int | None) -> int:
        return self._presses.get(request, 0) if request is not None else 0

    def _lock_process_reports(self, faults: tuple[door_client.DoorFault, ...]) -> None:
        """Its whole list: what it does not name any more is mended."""
        for where in self._lock_faults - {fault.where for fault in faults}:
            self._faults.clear(where)
        self._lock_faults = {fault.where for fault in faults}
        for fault in faults:
            self._faults.set(fault.where, fault.what, fault.remedy)

    def _answer(self, request: int, problem: str) -> None:
        waiting = self._waiting.pop(request, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(problem)
