"""A house without a PBX: phones register at the station, it rings them, and they call each other through it."""

import pytest

from tests.support.peers import Peers
from tests.support.station import CODE
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

USERS = {"anna": "anna-secret", "bob": "bob-secret-2"}


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_whole_call_to_a_user_of_the_house(peers: Peers, transport: str) -> None:
    door = peers.portero(users=USERS, stages=[(["anna"], 20)])
    monitor = peers.baresip("anna", server=door.registrar, transport=transport, answer_mode="early")
    assert door.wait_event("user-registered", user="anna")["source"].startswith(transport)

    press = door.press()
    wait_until(monitor.has_call, "the monitor rings")
    door.wait_event("leg-ringing", press=press, status=183)
    monitor.accept()
    door.wait_event("leg-answered", press=press)
    wait_until(lambda: monitor.heard_s() > 0.5, "the monitor hears the door")
    monitor.press_keys(CODE)
    door.wait_event("relay-off", press=press)
    monitor.hang_up()

    assert door.wait_event("leg-ended", press=press)["by"] == "peer"
