"""Presses one after another and on top of each other, with real monitors: the bell's everyday."""

import contextlib
import json
import os
import socket

import pytest

from tests.support.peers import Peers
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration


def test_second_press_while_it_rings_rings_nobody_twice(peers: Peers) -> None:
    monitor = peers.baresip("101", video=False)
    door = peers.portero(stages=[([monitor.uri], 60)])

    press = door.press()
    wait_until(lambda: monitor.count("CALL_INCOMING"), "the monitor rings")
    door.press()

    door.wait_event("button-pressed", action="ignore")
    assert monitor.count("CALL_INCOMING") == 1
    monitor.accept()
    door.wait_event("leg-answered", press=press)


def test_ten_visits_one_after_another_leave_nothing_behind(peers: Peers) -> None:
    monitor = peers.baresip("101", video=False)
    door = peers.portero(stages=[([monitor.uri], 60)])
    door.wait_event("station-started")  # the connection that tells it counts among the sockets
    sockets = _sockets(door.program.pid)

    for count in range(1, 11):
        press = door.press()
        wait_until(lambda count=count: monitor.count("CALL_INCOMING") == count, f"ring {count}")
        monitor.accept()
        door.wait_event("rtp-started", press=press, media="audio", direction="received")
        monitor.hang_up()
        door.wait_event("press-ended", press=press)
        door.wait_event("leg-ended", press=press)

    assert not door.status()["calls"]
    wait_until(lambda: _sockets(door.program.pid) <= sockets, f"all but {sockets} sockets are closed")


def test_the_first_press_after_the_start_waits_for_no_driver_to_be_imported(peers: Peers) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        uri = f"sip:nobody@127.0.0.1:{silent.getsockname()[1]}"
        door = peers.portero(stages=[([uri], 60)], environment={"PYTHONPROFILEIMPORTTIME": "1"})

        def imported() -> set[str]:
            lines = [line for line in door.program.log_text().splitlines() if line.startswith("import time:")]
            return {line.rpartition("|")[2].strip() for line in lines}

        wait_until(lambda: "drivers.camera.timecode" in imported(), "the camera's driver is imported")
        before = imported()
        press = door.press()
        door.wait_event("door-sound", press=press)
        ours = ("drivers.audio.", "drivers.camera.simulated", "encodings.")
        assert not {name for name in imported() - before if name.startswith(ours)}
        door.hang_up()


def test_a_hammered_button_holds_no_sockets_for_phones_that_say_nothing(peers: Peers) -> None:
    """Each press of a ringing button cancels here: an INVITE that nobody answers lingers for 32 s."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        uri = f"sip:nobody@127.0.0.1:{silent.getsockname()[1]}"
        door = peers.portero(stages=[([uri], 60)], button={"second_press": "cancel"})
        door.press()  # the first call opens what stays open
        door.wait_event("invite-sent")
        before = _sockets(door.program.pid)

        with socket.socket(socket.AF_UNIX) as control, control.makefile("rb") as answers:
            control.settimeout(10)
            control.connect(str(door.folder / "run" / "portero.sock"))
            for _ in range(80):
                control.sendall(b'{"verb": "press", "button": ""}\n')
                assert json.loads(answers.readline())["ok"]

        wait_until(lambda: len(door.events("button-pressed")) == 81, "all presses are told")
        rung = [event for event in door.events("button-pressed") if event["action"] == "ring"]
        assert len(rung) == 41
        wait_until(lambda: _sockets(door.program.pid) <= before, f"no more than {before} sockets")
        assert not door.events("fault")
        door.hang_up()


def test_monitor_that_hangs_up_ends_the_visit_and_the_next_press_rings_again(peers: Peers) -> None:
    monitor = peers.baresip("101", video=False)
    door = peers.portero(stages=[([monitor.uri], 60)])

    press = door.press()
    wait_until(lambda: monitor.count("CALL_INCOMING"), "the monitor rings")
    monitor.hang_up()  # refuses

    ended = door.wait_event("press-ended", press=press)
    assert ended["outcome"] == "failed"
    again = door.press()  # while the visitor still hears the busy tone
    wait_until(lambda: monitor.count("CALL_INCOMING") == 2, "it rings again")
    monitor.accept()
    door.wait_event("leg-answered", press=again)


def _sockets(pid: int) -> int:
    """Open descriptors of a process that are sockets."""
    count = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed since the folder was read
            count += os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:")
    return count
