"""What systemd hears of the station, and when it is let starve the watchdog."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.config import Account, Config, Secret
from firmware.service import Service
from firmware.station import events
from firmware.station.events import EventStream
from firmware.station.overview import Overview
from tests.support.hand_clock import HandClock

ACCOUNT = Account(name="pbx", address="sip:door@pbx.example.org", password=Secret("opensesame"))
CONFIG = Config(accounts=(ACCOUNT,))


class Scene:
    """A service whose systemd is a socket that the test reads."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.setblocking(False)
        self.healthy = True
        self.clock = HandClock()
        self.stream = EventStream()
        overview = Overview(CONFIG)
        self.service = Service(
            lambda: self.healthy,
            overview,
            self.clock,  # type: ignore[arg-type]
            {"NOTIFY_SOCKET": str(folder / "notify"), **environment},
        )
        self.stream.subscribe(overview.take)
        self.stream.subscribe(self.service.take)

    def told(self) -> list[str]:
        """What systemd heard since this was asked last."""
        heard = []
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.append(self._socket.recv(1000).decode())
        return heard

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Watched, twenty seconds long."""
    made = Scene(tmp_path, WATCHDOG_USEC="20000000", WATCHDOG_PID=str(os.getpid()))
    yield made
    made.close()


def test_ready_comes_with_a_status_and_the_first_food(scene: Scene) -> None:
    scene.service.ready()
    assert scene.told() == ["READY=1", "STATUS=registered: nowhere; idle", "WATCHDOG=1"]


def test_the_watchdog_is_fed_twice_within_its_time_until_the_end(scene: Scene) -> None:
    scene.service.ready()
    scene.told()
    scene.clock.wait(30)
    assert scene.told() == ["WATCHDOG=1"] * 3
    scene.service.stopping("SIGTERM")
    scene.service.close()
    assert scene.clock.waiting == []
    assert scene.told()[-1] == "STOPPING=1\nSTATUS=stopping: SIGTERM"


def test_a_station_whose_sound_stands_still_starves_the_watchdog_and_says_why(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.service.ready()
    scene.told()
    scene.healthy = False
    scene.clock.wait(30)
    assert scene.told() == []
    assert caplog.text.count("the audio thread stands still") == 1
    scene.healthy = True
    scene.clock.wait(10)
    assert scene.told() == ["WATCHDOG=1"]


@pytest.mark.parametrize("environment", [{}, {"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}])
def test_without_a_watchdog_of_ours_nothing_is_fed(tmp_path: Path, environment: dict[str, str]) -> None:
    scene = Scene(tmp_path, **environment)
    scene.service.ready()
    assert scene.clock.waiting == []
    assert "WATCHDOG=1" not in scene.told()
    scene.close()


def test_the_status_line_follows_what_happens_and_says_nothing_twice(scene: Scene) -> None:
    scene.service.ready()
    scene.told()
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
    assert scene.told() == [
        "STATUS=registered: pbx; idle",
        "STATUS=registered: pbx; ringing",
        "STATUS=registered: pbx; talking",
        "STATUS=registered: pbx; talking; faults: camera",
        "STATUS=registered: pbx; idle; faults: camera",
        "STATUS=registered: pbx; idle",
    ]


def test_where_systemd_does_not_listen_nothing_is_said_or_fed() -> None:
    clock = HandClock()
    environment = {"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}
    service = Service(lambda: True, Overview(Config()), clock, environment)  # type: ignore[arg-type]
    service.ready()
    service.stopping("SIGTERM")
    service.close()


def test_a_systemd_that_does_not_read_holds_nothing_up(scene: Scene) -> None:
    scene.service.ready()
    scene.clock.wait(100_000)
    scene.service.stopping("SIGTERM")
    assert scene.told()[0] == "READY=1"
