"""3. Hands and contacts as they are: bounce, a glitch, an impatient one, one that stays on the button."""

import random
import time

from hil.door import Door
from hil.provision import BUTTON, STUCK_S
from hil.street import Street
from tests.support.baresip import Baresip
from tests.support.waiting import wait_until

RING_S = 30.0
STUCK = f"button-stuck {BUTTON}"
QUIET_S = 8.0  # after which a press that was to ring would have rung, on a slow processor too


def _bounce(door: Door, seeded: random.Random, settled: bool) -> None:
    """Contacts that meet or part: some 1 to 8 ms of both levels, then the one."""
    for _ in range(seeded.randint(2, 5)):
        for level in (settled, not settled):
            door.level(level)
            time.sleep(seeded.uniform(0.001, 0.008) / 2)
    door.level(settled)


def _end(door: Door, monitor: Baresip) -> None:
    if monitor.has_call():
        monitor.hang_up()
    wait_until(lambda: not monitor.has_call(), "the call is over")
    wait_until(lambda: not door.status()["calls"], "the door's call is over", RING_S, poll_s=0.5)


def _rang(door: Door, street: Street, since: int, rung: int) -> None:
    """Once, and at the one monitor."""
    wait_until(lambda: len(street.rung()) > rung, "the monitor rings", RING_S)
    presses = door.events(since, "button-pressed")
    assert [press["action"] for press in presses].count("ring") == 1, presses
    assert len(door.events(since, "invite-sent")) == 1
    assert len(street.rung()) == rung + 1


def test_contacts_that_bounce_ring_once(door: Door, street: Street, monitor: Baresip) -> None:
    since, rung, seeded = door.last_event(), len(street.rung()), random.Random(1)
    _bounce(door, seeded, True)
    time.sleep(0.4)
    _bounce(door, seeded, False)
    _rang(door, street, since, rung)
    assert len(door.events(since, "button-pressed")) == 1
    _end(door, monitor)


def test_a_glitch_of_two_milliseconds_rings_nothing(door: Door, street: Street, monitor: Baresip) -> None:
    since, rung = door.last_event(), len(street.rung())
    door.level(True)
    time.sleep(0.002)
    door.level(False)
    time.sleep(QUIET_S)  # nothing is to come: there is no condition to wait for
    assert door.events(since, "button-pressed") == []
    assert len(street.rung()) == rung


def test_ten_presses_in_a_second_ring_once(door: Door, street: Street, monitor: Baresip) -> None:
    since, rung = door.last_event(), len(street.rung())
    for _ in range(10):
        door.press(0.05)
        time.sleep(0.05)
    _rang(door, street, since, rung)
    _end(door, monitor)


def test_a_button_that_stays_pressed_rings_once_and_is_told(door: Door, street: Street, monitor: Baresip) -> None:
    since, rung = door.last_event(), len(street.rung())
    door.level(True)
    try:
        _rang(door, street, since, rung)
        wait_until(
            lambda: _told(door, since, "fault"), "an event tells of the stuck button", STUCK_S + 60, poll_s=3
        )
        assert STUCK in [fault["where"] for fault in door.faults()]
    finally:
        door.level(False)
    wait_until(lambda: _told(door, since, "fault-cleared"), "an event tells that it is free", 60, poll_s=3)
    _end(door, monitor)
    assert len(door.events(since, "invite-sent")) == 1


def _told(door: Door, since: int, kind: str) -> bool:
    return STUCK in [event["where"] for event in door.events(since, kind)]
