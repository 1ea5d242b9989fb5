"""6. Network and registrar go away and come back: the door rings again without a hand."""

import time

import pytest

from hil.door import Door
from hil.street import ADDRESS, OTHER_ADDRESS, Street
from tests.support.baresip import Baresip
from tests.support.waiting import wait_until

AGAIN_S = 180.0


def _rings_again(door: Door, street: Street, monitor: Baresip) -> None:
    """A visitor presses until it rings."""
    rung, deadline = len(street.rung()), time.monotonic() + AGAIN_S
    while len(street.rung()) == rung:
        assert time.monotonic() < deadline, "the monitor does not ring any more"
        pressed_s = door.press()
        while len(street.rung()) == rung and time.monotonic() < pressed_s + 8:
            time.sleep(0.05)
    monitor.hang_up()
    wait_until(lambda: not monitor.has_call(), "the call is over")


@pytest.mark.lg_feature("cable")
def test_a_cable_that_was_out_rings_again(door: Door, street: Street, monitor: Baresip) -> None:
    door.strategy.cable.plug(False)
    time.sleep(5)  # the cable's time out, not a wait
    door.strategy.cable.plug(True)
    _rings_again(door, street, monitor)


def test_a_registrar_that_was_gone_rings_again(door: Door, street: Street, monitor: Baresip) -> None:
    street.pbx.stop()
    time.sleep(5)
    known = len(street.pbx.requests("REGISTER"))
    street.pbx.start()
    wait_until(
        lambda: street.registrations(after=known),
        "the door registers again",
        AGAIN_S,
        poll_s=0.5,
    )
    wait_until(lambda: monitor.count("REGISTER_OK") > 1, "the monitor registers again", AGAIN_S, poll_s=0.5)
    _rings_again(door, street, monitor)


@pytest.mark.lg_feature("cable")
def test_another_address_rings_again(door: Door, street: Street, monitor: Baresip) -> None:
    service = door.strategy.ssh.networkservice
    for address in (OTHER_ADDRESS, ADDRESS):
        door.strategy.cable.plug(False)
        street.hand_out(address)
        door.strategy.cable.plug(True)
        service.address = address
        door.strategy.log_in(AGAIN_S)
        door.strategy.wait_ready(AGAIN_S)
        assert street.registrations(address)
        _rings_again(door, street, monitor)
