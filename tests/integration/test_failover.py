"""Two Kamailios written down, the second standing in for the first: calls ring, and find the door, through either.

Servers found by name are test_servers_by_name.py's affair.
"""

import os
import signal

import pytest

from tests.support.baresip import Baresip
from tests.support.certificates import Authority
from tests.support.kamailio import Kamailio
from tests.support.peers import Peers
from tests.support.station import Portero
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

RECOVERY_S = 10
DEATHS = {"killed": signal.SIGKILL, "hung": signal.SIGSTOP}


def _pair(peers: Peers, transport: str, *, outbound: bool = False) -> tuple[Kamailio, Kamailio, Portero, Baresip]:
    """Two servers, a door that prefers the first, and a phone that only the second knows."""
    authority = Authority(peers.folder / "authority")
    certificate = authority.issue("DNS:door.test")
    first, second = (peers.kamailio(outbound=outbound, certificate=certificate) for _ in range(2))
    allowed = {"policy": "auto-answer", "from": ["sip:102@door.test"]}
    door = peers.portero(
        server=first,
        stages=[(["102"], 30)],
        transport=transport,
        ca_file=authority.file,
        sections={"calls.incoming": allowed, "media": {"video": False}},
        account={"backups": [f"{second.over(transport)};lr"]},
    )
    phone = peers.baresip("102", server=second, video=False)
    registered = door.wait_registered()
    assert first.over(transport).split(";")[0].removeprefix("sip:") in registered["server"]
    return first, second, door, phone


@pytest.mark.parametrize(("transport", "death"), [("udp", "killed"), ("tcp", "hung"), ("tls", "killed")])
def test_press_after_the_server_died_rings_through_the_other_and_calls_find_the_door_there(
    peers: Peers, transport: str, death: str
) -> None:
    first, second, door, phone = _pair(peers, transport)
    other = second.over(transport).split(";")[0].removeprefix("sip:")

    os.killpg(first.program.pid, DEATHS[death])
    try:
        press = door.press()
        door.wait_event("leg-ringing", RECOVERY_S, press=press)
        phone.accept()
        door.wait_event("leg-answered", press=press)
        wait_until(lambda: phone.heard_s() > 0.5, "the phone hears the door")
        phone.hang_up()
        door.wait_event("leg-ended", press=press)

        wait_until(lambda: other in _registered_at(door), "registered at the second", RECOVERY_S)
        phone.dial("sip:door@door.test")
        assert "account pbx" in door.wait_event("incoming-call")["proven"]
    finally:
        os.killpg(first.program.pid, signal.SIGKILL)


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "wss"])
def test_with_outbound_calls_find_the_door_through_either_server_and_still_when_one_is_killed(
    peers: Peers, transport: str
) -> None:
    first, second, door, phone = _pair(peers, transport, outbound=True)
    wait_until(lambda: second.requests("REGISTER"), "the second flow is registered as well")
    phone.dial("sip:door@door.test")
    press = door.wait_event("incoming-call")["press"]
    phone.hang_up()
    door.wait_event("leg-ended", press=press)

    os.killpg(first.program.pid, signal.SIGKILL)
    phone.dial("sip:door@door.test")
    wait_until(lambda: len(door.events("incoming-call")) == 2, "the door takes the call")
    wait_until(lambda: phone.count("CALL_ESTABLISHED") == 2, "the phone hears that")
    assert [event["state"] for event in door.events("registration-changed")].count("failed") == 0


def _registered_at(door: Portero) -> str:
    """The server of the last registration that succeeded."""
    last = [event for event in door.events("registration-changed") if event["state"] == "registered"][-1]
    return str(last["server"])
