"""Outbound (RFC 5626) with real servers: two edges, a flow to each, and one of them dies."""

import pytest

from tests.support.peers import Peers
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_two_edges_hold_a_flow_each_and_either_may_die_unheard(peers: Peers, transport: str) -> None:
    one, two = peers.kamailio(outbound=True), peers.kamailio(outbound=True)
    phone = peers.baresip("101", server=two, video=False)
    door = peers.portero(
        server=one, stages=[(["101"], 30)], transport=transport, account={"backups": [two.over(transport)]}
    )
    door.wait_registered()
    wait_until(lambda: len(two.requests("REGISTER")) >= 3, "the second flow, beside the phone's own")
    phone.dial("sip:door@door.test")  # the other edge can reach the door by its own flow
    door.wait_event("incoming-refused")

    one.program.kill()
    press = door.press()

    door.wait_event("leg-ringing", press=press)
    states = [event["state"] for event in door.events("registration-changed")]
    assert "failed" not in states
