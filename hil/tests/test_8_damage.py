"""8. What breaks at the station is said in its status, and the door keeps ringing with what it has."""

import contextlib
from collections.abc import Iterator

import pytest

from hil.door import Door
from hil.street import Street
from tests.support.baresip import Baresip
from tests.support.waiting import wait_until

SAID_S = 120.0
STATE = "/data/portero/state"
CONFIGURATION = "/data/portero/station.toml"
CAMERA = "/run/portero-board/virtual.yaml"  # without which libcamera has none


def _restart(door: Door) -> None:
    door.run("systemctl restart portero")
    door.strategy.wait_ready(180)


def _rings(door: Door, street: Street, monitor: Baresip) -> None:
    rung, answered = len(street.rung()), monitor.count("CALL_ESTABLISHED")
    door.press()
    wait_until(lambda: len(street.rung()) > rung, "the monitor rings", 30)
    monitor.accept()
    wait_until(lambda: monitor.count("CALL_ESTABLISHED") > answered, "the call is up", 30)
    monitor.hang_up()
    wait_until(lambda: not monitor.has_call(), "the call is over")


def _said(door: Door, where: str, since: int) -> None:
    """In the status, as an event, and in the journal."""
    wait_until(
        lambda: [fault for fault in door.faults() if where in fault["where"]],
        f"the status tells of {where}",
        SAID_S,
        poll_s=2,
    )
    assert [event for event in door.events(since, "fault") if where in event["where"]]
    journal = door.run("journalctl --boot --unit=portero --output=cat --no-pager --lines=400")
    assert [line for line in journal.splitlines() if "fault" in line and where in line]


@contextlib.contextmanager
def _unbound(door: Door, driver: str, device: str) -> Iterator[None]:
    """A device that is unplugged, as far as its driver sees."""
    folder = f"/sys/bus/platform/drivers/{driver}"
    door.run(f"sh -c 'echo {device} > {folder}/unbind'")
    try:
        yield
    finally:
        door.run(f"sh -c 'echo {device} > {folder}/bind'")


def test_a_full_disk_is_said_and_the_door_rings(door: Door, street: Street, monitor: Baresip) -> None:
    since = door.last_event()
    door.try_run(f"sh -c 'dd if=/dev/zero of={STATE}/../filler bs=1M 2>/dev/null; sync; df /data >&2'", 300)
    try:
        _rings(door, street, monitor)
        _said(door, "store", since)
        _rings(door, street, monitor)
    finally:
        door.run(f"rm -f {STATE}/../filler")
    wait_until(lambda: not any(fault["where"] == "store" for fault in door.faults()), "it writes again", SAID_S, 2)


def test_a_corrupt_event_store_is_put_aside_and_said(door: Door, street: Street, monitor: Baresip) -> None:
    door.run("systemctl stop portero")
    assert door.last_event(), "a stopped station's events are told from its store"
    door.run(f"dd if=/dev/urandom of={STATE}/events.sqlite bs=4096 count=8 conv=notrunc")
    _restart(door)
    _said(door, "store file", 0)
    _rings(door, street, monitor)
    _restart(door)


@pytest.mark.lg_feature("virtual")
def test_an_unplugged_sound_card_is_said_and_the_monitor_still_rings(
    door: Door, street: Street, monitor: Baresip
) -> None:
    since = door.last_event()
    with _unbound(door, "snd_aloop", "snd_aloop.0"):
        _rings(door, street, monitor)
        _said(door, "audio", since)
    _restart(door)


@pytest.mark.lg_feature("virtual")
def test_a_camera_that_is_gone_is_said_and_the_door_rings(door: Door, street: Street, monitor: Baresip) -> None:
    since = door.last_event()
    door.run(f"mv {CAMERA} {CAMERA}.away")
    try:
        _restart(door)
        _said(door, "camera", since)
        _rings(door, street, monitor)
    finally:
        door.run(f"mv {CAMERA}.away {CAMERA}")
    _restart(door)


@pytest.mark.parametrize("damage", [f"truncate --size=200 {CONFIGURATION}", f"rm {CONFIGURATION}"])
def test_a_spoilt_configuration_is_said_and_the_door_rings_with_the_last_good_one(
    door: Door, street: Street, monitor: Baresip, damage: str
) -> None:
    since = door.last_event()
    door.run(f"cp --archive {CONFIGURATION} {CONFIGURATION}.kept")
    try:
        door.run(damage)
        door.run("systemctl restart portero-door portero")
        door.strategy.wait_ready(180)
        _said(door, "configuration", since)
        _rings(door, street, monitor)
    finally:
        door.run(f"mv {CONFIGURATION}.kept {CONFIGURATION}")
    door.run("systemctl restart portero-door portero")
    door.strategy.wait_ready(180)
    assert not [fault for fault in door.faults() if fault["where"] == "configuration"]
