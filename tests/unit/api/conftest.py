"""A control server with a station of straw behind it, on the test's own event loop."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from firmware.api.control import ControlServer
from firmware.sip.trace import Trace
from firmware.station.events import EventStream
from firmware.station.status import (
    AccountStatus,
    CallStatus,
    ControlError,
    DoorStatus,
    FaultStatus,
    PressStatus,
    Status,
)
from firmware.store import Store

DEADLINE_S = 20.0


@dataclass
class StrawStation:
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def status(self) -> dict[str, object]:
        return Status(
            name="Calle Mayor 5",
            version="0.1.0",
            board="simulated",
            uptime_s=3725.0,
            listen=("0.0.0.0:5060",),
            lock_process=False,
            locked_out_s=12.0,
            accounts=(
                AccountStatus(name="pbx", address="sip:door@pbx", state="registered", status=200, since_s=60.0),
                AccountStatus(
                    name="other",
                    address="sip:door@other.example",
                    state="failed",
                    status=403,
                    reason="Forbidden",
                    retry_s=30.0,
                    since_s=5.0,
                ),
            ),
            buttons=("flat-1a",),
            doors=(DoorStatus(name="street", active=None),),
            calls=(
                CallStatus(press=3, leg="3.1", party="101", direction="outgoing", state="talking", since_s=4.0),
            ),
            faults=(FaultStatus(where="camera", what="is gone", remedy="plug it in", since=1.7e9),),
            last_press=PressStatus(press=3, button="flat-1a", source="gpio", time=1.7e9),
        ).as_dict()

    def press(self, button: str, source: str = "") -> dict[str, object]:
        self.asked.append(("press", button, source))
        if button == "flat-9z":
            raise ControlError('there is no button "flat-9z"; configured: flat-1a')
        if button == "bug":
            raise RuntimeError("secret digits 4711")
        return {"press": 4, "button": button}

    def call(self, target: str) -> dict[str, object]:
        self.asked.append(("call", target))
        return {"press": 5, "target": target}

    def quality(self) -> dict[str, object]:
        return {"legs": []}

    def hangup(self) -> dict[str, object]:
        raise ControlError("there is no call to end")

    def keys(self, digits: str) -> dict[str, object]:
        self.asked.append(("keys", digits))
        return {"press": 5, "leg": "5.1", "keys": len(digits)}

    def message(self, target: str, text: str) -> dict[str, object]:
        self.asked.append(("message", target, text))
        return {"message": 1, "target": target}

    async def sound_check(self, action: str) -> dict[str, object]:
        self.asked.append(("audio", action))
        if action == "calibrate":
            raise ControlError("the door is in a call; end it first with: doorctl hangup")
        return {
            "ok": False,
            "wrong": ["the microphone clips: turn its gain down"],
            "delay_ms": 81.2,
            "coupling_db": -12.4,
            "noise_db": -61.0,
            "clipped": True,
            "canceller": "webrtc",
            "margin_db": 34.5,
        }

    async def unlock(self, door: str, user: str) -> dict[str, object]:
        self.asked.append(("unlock", door, user))
        await asyncio.sleep(0)
        return {"door": door, "pulse_ms": 3000}


class Client:
    """One connection, a JSON object a line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def read(self) -> Any:
        line = await asyncio.wait_for(self.reader.readline(), DEADLINE_S)
        return json.loads(line) if line else None

    async def ask(self, **request: Any) -> Any:
        return await self.ask_raw(json.dumps(request).encode())

    async def ask_raw(self, line: bytes) -> Any:
        self.writer.write(line + b"\n")
        return await self.read()


@dataclass
class House:
    """The server and what is round it."""

    path: Path
    station: StrawStation
    stream: EventStream
    store: Store
    server: ControlServer
    trace: Trace
    clients: list[Client] = field(default_factory=list)

    async def client(self) -> Client:
        client = Client(*await asyncio.open_unix_connection(self.path, limit=2**24))
        self.clients.append(client)
        return client

    def slow_client(self) -> socket.socket:
        """A connection that reads only when it is told to, with a small buffer."""
        slow = socket.socket(socket.AF_UNIX)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(str(self.path))
        return slow


@contextlib.asynccontextmanager
async def open_house(folder: Path) -> AsyncIterator[House]:
    store = Store(folder / "state" / "events.sqlite")
    stream = EventStream(store.first_seq)
    stream.subscribe(store.append)
    store.start(lambda event: None)
    station = StrawStation()
    trace = Trace()
    server = ControlServer(
        folder / "run" / "portero.sock", station, stream, store, trace, sound_check=station.sound_check
    )
    await server.start()
    house = House(folder / "run" / "portero.sock", station, stream, store, server, trace)
    try:
        yield house
    finally:
        for client in house.clients:
            client.writer.close()
        await server.stop()
        store.close()


@pytest.fixture
def house(tmp_path: Path) -> Callable[[], contextlib.AbstractAsyncContextManager[House]]:
    """`async with house() as h:` within `asyncio.run`."""
    return lambda: open_house(tmp_path)


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Any]:
    async def wait(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110  # what is waited for has no event of its own
                await asyncio.sleep(0.005)

    return wait
