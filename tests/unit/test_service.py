"""What systemd hears of the station, and when it is let starve the watchdog."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.config import Account, Config, Secret
from firmware.service import Service, ServiceError, notifier
from firmware.station import events
from firmware.station.events import EventStream
from firmware.station.overview import Overview
from tests.support.hand_clock import HandClock

ACCOUNT = Account(name="pbx", address="sip:door@pbx.example.org", password=Secret("opensesame"))
CONFIG = Config(accounts=(ACCOUNT,))


class Scene:
    def __init__(self, **environment: str) -> None:
        self.told: list[str] = []
        self.healthy = True
        self.clock = HandClock()
        self.stream = EventStream()
        overview = Overview(CONFIG)
        self.service = Service(
            self.told.append,
            lambda: self.healthy,
            overview,
            self.clock,  # type: ignore[arg-type]
            environment,
        )
        self.stream.subscribe(overview.take)
        self.stream.subscribe(self.service.take)


def watched() -> Scene:
    return Scene(WATCHDOG_USEC="20000000", WATCHDOG_PID=str(os.getpid()))


def test_ready_comes_with_a_status_and_the_first_food() -> None:
    scene = watched()
    scene.service.ready()
    assert scene.told == ["READY=1", "STATUS=registered: nowhere; idle", "WATCHDOG=1"]


def test_the_watchdog_is_fed_twice_within_its_time_until_the_end() -> None:
    scene = watched()
    scene.service.ready()
    scene.told.clear()
    scene.clock.wait(30)
    assert scene.told == ["WATCHDOG=1"] * 3
    scene.service.stopping("SIGTERM")
    scene.service.close()
    assert scene.clock.waiting == []
    assert scene.told[-1] == "STOPPING=1\nSTATUS=stopping: SIGTERM"


def test_a_station_whose_sound_stands_still_starves_the_watchdog_and_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = watched()
    scene.service.ready()
    scene.told.clear()
    scene.healthy = False
    scene.clock.wait(30)
    assert scene.told == []
    assert caplog.text.count("the audio thread stands still") == 1
    scene.healthy = True
    scene.clock.wait(10)
    assert scene.told == ["WATCHDOG=1"]


@pytest.mark.parametrize("environment", [{}, {"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}])
def test_without_a_watchdog_of_ours_nothing_is_fed(environment: dict[str, str]) -> None:
    scene = Scene(**environment)
    scene.service.ready()
    assert scene.clock.waiting == []
    assert "WATCHDOG=1" not in scene.told


def test_the_status_line_follows_what_happens_and_says_nothing_twice() -> None:
    scene = Scene()
    scene.service.ready()
    scene.told.clear()
    publish = scene.stream.publish
    registered = events.RegistrationChanged(account="pbx", state="registered", status=200, reason="OK")
    publish(registered)
    publish(registered)
    publish(events.InviteSent(press=1, leg="1.1", target="101"))
    publish(events.LegRinging(press=1, leg="1.1", status=180, early_media=False))
    publish(events.LegAnswered(press=1, leg="1.1"))
    publish(events.Fault(where="camera", what="no device", remedy="plug it in"))
    publish(events.LegEnded(press=1, leg="1.1", by="peer", reason="", duration_s=3.0))
    publish(events.FaultCleared(where="camera"))
    assert scene.told == [
        "STATUS=registered: pbx; idle",
        "STATUS=registered: pbx; ringing",
        "STATUS=registered: pbx; talking",
        "STATUS=registered: pbx; talking; faults: camera",
        "STATUS=registered: pbx; idle; faults: camera",
        "STATUS=registered: pbx; idle",
    ]


def test_where_systemd_does_not_listen_nothing_is_said_or_needed() -> None:
    notifier({})("READY=1")


def test_a_missing_systemd_python_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "systemd.daemon", None)
    with pytest.raises(ServiceError, match="install python3-systemd"):
        notifier({"NOTIFY_SOCKET": "/run/systemd/notify"})


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield receiver


def test_systemd_hears_it_through_systemd_python(listener: socket.socket) -> None:
    pytest.importorskip("systemd.daemon", reason="systemd-python is missing: tools/setup test installs it")

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        environment = {"WATCHDOG_USEC": "100000", "WATCHDOG_PID": str(os.getpid())}
        service = Service(notifier(), lambda: True, Overview(Config()), loop, environment)
        service.ready()
        assert listener.recv(100) == b"READY=1"
        assert listener.recv(100) == b"STATUS=idle"
        for _ in range(3):
            assert listener.recv(100) == b"WATCHDOG=1"
            await asyncio.sleep(0.05)
        service.stopping("SIGTERM")
        service.close()

    asyncio.run(scene())
