"""The whole station at its lines, moved as a finger and a door would, and with systemd (a socket of the test's own
in its place)."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.gpio.simulated import LineWatch, SimulatedChip, lines_file
from tests.support.peers import Peers
from tests.support.station import Portero
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration
BUTTON_LINE, CONTACT_LINE, LIGHT_LINE = 17, 22, 24  # the first is active low


@pytest.fixture
def silent() -> Iterator[str]:
    """A phone that says nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind(("127.0.0.1", 0))
        yield f"sip:nobody@127.0.0.1:{phone.getsockname()[1]}"


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(10)
        yield listener


class Finger:
    """At the button's line of a running station."""

    def __init__(self, door: Portero) -> None:
        self._chip = SimulatedChip(lines_file("simulated", door.folder / "run"))

    def move(self, *down: bool) -> None:
        for way in down:
            self._chip.drive(BUTTON_LINE, not way)

    def push_door(self, *, is_open: bool) -> None:
        self._chip.drive(CONTACT_LINE, is_open)

    def close(self) -> None:
        self._chip.close()


def pressed(door: Portero, count: int) -> list[str]:
    """What each press did, once there are so many."""
    wait_until(lambda: len(door.events("button-pressed")) >= count, f"{count} presses")
    return [event["action"] for event in door.events("button-pressed")]


def hear(systemd: socket.socket, wanted: bytes) -> None:
    while systemd.recv(1000) != wanted:
        pass


def test_bounce_is_one_press_and_a_glitch_is_none(peers: Peers, silent: str) -> None:
    door = peers.portero(stages=[([silent], 60)])
    door.wait_event("station-started")
    finger = Finger(door)
    finger.move(True, False)  # a glitch
    rested_s = time.monotonic() + 0.1
    wait_until(lambda: time.monotonic() > rested_s, "the line rests")
    finger.move(*[True, False] * 4, True)  # down, bouncing
    assert pressed(door, 1) == ["ring"]
    door.doorctl("press", "flat")  # whatever the line had told before this is told by now
    assert pressed(door, 2) == ["ring", "ignore"]
    assert [event["source"] for event in door.events("button-pressed")] == ["gpio", "doorctl"]
    finger.close()
    door.hang_up()


def test_a_button_that_is_stuck_rings_once_and_is_a_fault_until_it_is_let_go(peers: Peers, silent: str) -> None:
    door = peers.portero(stages=[([silent], 60)], button={"stuck_s": 1})
    door.wait_event("station-started")
    finger = Finger(door)
    finger.move(True)
    fault = door.wait_event("fault", where="button-stuck flat")
    assert fault["what"] == "has been down for 1 s"
    assert [entry["where"] for entry in door.status()["faults"]].count("button-stuck flat") == 1
    finger.move(False)
    door.wait_event("fault-cleared", where="button-stuck flat")
    assert pressed(door, 1) == ["ring"]
    finger.close()
    door.hang_up()


def test_light_and_door_contact_follow_a_visit(peers: Peers, silent: str) -> None:
    door = peers.portero(
        stages=[([silent], 60)],
        door={"contact": "door", "held_open_s": 1},
        light={"output": "light1", "idle": "on"},
    )
    door.wait_event("station-started")
    finger = Finger(door)
    light = LineWatch(lines_file("simulated", door.folder / "run"), LIGHT_LINE)
    wait_until(lambda: light.active, "the light shines")
    finger.move(True)
    wait_until(lambda: not light.active, "it blinks")
    door.doorctl("unlock", "street")
    finger.push_door(is_open=True)
    assert door.wait_event("door-opened")["unlocked"] is True
    assert door.status()["doors"][0]["open"] is True
    assert door.wait_event("fault", where="door street")["what"] == "has stood open for 1 s"
    finger.push_door(is_open=False)
    assert door.wait_event("door-closed")["open_s"] >= 1
    door.wait_event("fault-cleared", where="door street")
    finger.close()
    door.hang_up()
    wait_until(lambda: light.active, "the light shines again")
    door.stop()
    assert not light.active
    light.close()


def test_systemd_hears_ready_is_fed_while_the_loop_turns_and_hears_the_end(
    peers: Peers, silent: str, systemd: socket.socket
) -> None:
    door = peers.portero(
        stages=[([silent], 60)],
        environment={"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "400000"},
    )
    assert systemd.recv(1000) == b"READY=1"
    assert systemd.recv(1000).startswith(b"STATUS=")
    door.press()
    hear(systemd, b"STATUS=ringing")
    hear(systemd, b"WATCHDOG=1")
    os.kill(door.program.pid, signal.SIGSTOP)
    systemd.settimeout(1.0)  # five times what it is fed in
    with pytest.raises(TimeoutError):
        hear(systemd, b"fed by nobody")
    os.kill(door.program.pid, signal.SIGCONT)
    systemd.settimeout(10)
    hear(systemd, b"WATCHDOG=1")
    os.kill(door.program.pid, signal.SIGTERM)
    hear(systemd, b"STOPPING=1\nSTATUS=stopping: SIGTERM")
