"""Reliable provisional responses through a real proxy (RFC 3262, sip.md pitfall 3): the PRACK takes the way that
the 183 recorded, whatever transport the door's own first step is."""

import pytest

from tests.support.certificates import Authority
from tests.support.peers import Peers

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "wss"])
def test_pitfall_03_prack_goes_through_the_proxy_and_the_call_ends_by_it(peers: Peers, transport: str) -> None:
    authority = Authority(peers.folder / "authority")
    server = peers.kamailio(certificate=authority.issue("DNS:door.test"))
    phone = peers.sipp("prack_by_proxy", server=server, user="101")
    door = peers.portero(server=server, stages=[(["101"], 20)], transport=transport, ca_file=authority.file)
    door.wait_registered()

    press = door.press()
    assert door.wait_event("leg-ringing", press=press)["status"] == 183
    door.wait_event("leg-answered", press=press)
    door.hang_up()

    phone.result()
    assert door.wait_event("press-ended", press=press)["outcome"] == "answered"
    assert len(server.requests("PRACK")) == 1
