"""Point 8: a crash of either process neither opens nor jams the door, and the other goes on."""

import signal
import sys

import pytest

from tests.support.baresip import Baresip
from tests.support.peers import Peers
from tests.support.station import CODE, LATE_MS, PULSE_MS, Portero
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.relay]


def _open(peers: Peers) -> tuple[Portero, Baresip, int]:
    """A call whose code has just switched the relay on."""
    monitor = peers.baresip("101", video=False)
    door = peers.portero(stages=[([monitor.uri], 60)])
    press = door.press()
    wait_until(lambda: monitor.count("CALL_INCOMING"), "the monitor rings")
    monitor.accept()
    door.wait_event("leg-answered", press=press)
    wait_until(lambda: monitor.count("CALL_ESTABLISHED"), "the call stands")
    monitor.press_keys(CODE)
    wait_until(lambda: door.relay.on, "the relay is on")
    return door, monitor, press


def test_portero_killed_during_a_pulse_leaves_the_relay_released_by_its_bound(peers: Peers) -> None:
    door, _, press = _open(peers)

    door.program.kill()
    wait_until(lambda: not door.relay.on, "the relay is released")

    assert door.relay.pulses[0].ms < PULSE_MS + LATE_MS
    assert door.relay.edges == 2
    assert door.door.alive

    door.start_station()
    again = door.press()
    assert again > press  # the numbering goes on
    assert door.wait_event("station-started")
    door.doorctl("unlock", "street")
    wait_until(lambda: len(door.relay.pulses) == 2, "the door opens again")
    assert door.relay.pulses[1].ms < PULSE_MS + LATE_MS


def test_lock_process_killed_during_a_pulse_releases_the_relay_first_thing_when_it_is_back(peers: Peers) -> None:
    door, monitor, press = _open(peers)

    door.door.kill()
    assert door.relay.on  # as a line whose owner died stands until somebody sets it
    lost = door.wait_event("fault")
    assert lost["where"] == "door process"
    assert lost["remedy"]
    refused = door.try_doorctl("unlock", "street")
    assert refused.returncode != 0
    assert "door process" in refused.stderr
    monitor.press_keys(CODE)  # the call goes on: keys are heard, and refused with a reason
    assert door.wait_event("door-refused", press=press)["reason"]
    assert monitor.has_call()
    assert "leg-ended" not in door.kinds(press)

    door.start_door()
    wait_until(lambda: not door.relay.on, "the relay is released")
    door.wait_event("fault-cleared", where="door process")
    pulses = len(door.relay.pulses)
    monitor.press_keys(CODE)
    wait_until(lambda: len(door.relay.pulses) == pulses + 1, "the code opens again")
    wait_until(lambda: not door.relay.on, "and the relay goes off again")
    assert door.relay.pulses[-1].ms < PULSE_MS + LATE_MS


def test_station_without_its_lock_process_rings_and_talks_all_the_same(peers: Peers) -> None:
    monitor = peers.baresip("101", video=False)
    door = peers.portero(stages=[([monitor.uri], 60)])
    door.door.kill()
    door.wait_event("fault", where="door process")

    press = door.press()
    wait_until(lambda: monitor.count("CALL_INCOMING"), "the monitor rings")
    monitor.accept()

    door.wait_event("leg-answered", press=press)
    assert door.relay.edges == 0


def test_station_that_is_told_to_stop_hangs_up_first_and_leaves_the_relay_released(peers: Peers) -> None:
    door, monitor, _ = _open(peers)

    door.program.stop(8)

    wait_until(lambda: monitor.count("CALL_CLOSED"), "the monitor is told")
    assert door.program.exit_code == 0
    assert "did not end" not in door.program.log_text()
    wait_until(lambda: not door.relay.on, "the relay is released")
    assert door.relay.pulses[0].ms < PULSE_MS + LATE_MS


def test_station_that_is_told_to_stop_while_it_rings_stops_the_ringing(peers: Peers) -> None:
    monitor = peers.baresip("101", video=False)
    door = peers.portero(stages=[([monitor.uri], 60)])
    door.press()
    wait_until(lambda: monitor.count("CALL_INCOMING"), "the monitor rings")

    door.program.stop(8)

    wait_until(lambda: monitor.count("CALL_CLOSED"), "the monitor stops ringing")
    assert door.program.exit_code == 0


def test_a_lock_process_that_stops_with_the_station_is_no_fault(peers: Peers) -> None:
    """As at each end of a device: both are told at once, and here the lock has ended before the station looks."""
    door = peers.portero(stages=[(["sip:nobody@127.0.0.1:9"], 60)])
    door.program.signal(signal.SIGSTOP)
    door.program.signal(signal.SIGTERM)
    door.door.stop()
    door.program.signal(signal.SIGCONT)
    wait_until(lambda: not door.program.alive, "the station ends")
    assert door.program.exit_code == 0

    door.start_door()
    door.start_station()
    wait_until(lambda: len(door.events("door-process")) == 2, "the station is connected again")
    assert all(event["connected"] for event in door.events("door-process"))
    assert not door.events("fault")


NOBODY_READS = """
import os, sys
kept, full = os.pipe()
os.set_inheritable(kept, True)
os.set_blocking(full, False)
try:
    while True:
        os.write(full, b"x" * 4096)
except BlockingIOError:
    pass
os.set_blocking(full, True)
os.dup2(full, 1)
os.dup2(full, 2)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def test_a_journal_that_reads_nothing_holds_up_no_visit(peers: Peers) -> None:
    monitor = peers.baresip("101", video=False)
    door = peers.portero(stages=[([monitor.uri], 60)], within=[sys.executable, "-c", NOBODY_READS])
    press = door.press()
    wait_until(lambda: monitor.count("CALL_INCOMING"), "the monitor rings")
    monitor.accept()
    door.wait_event("leg-answered", press=press)
    monitor.press_keys(CODE)
    door.wait_event("relay-off", press=press)
    door.program.stop(10)
    assert door.program.exit_code == 0
