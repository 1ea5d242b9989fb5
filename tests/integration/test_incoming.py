"""Calls to the door: refused unless the configuration names the caller, and then only one who can prove it."""

import pytest

from tests.support.certificates import Authority
from tests.support.peers import Peers
from tests.support.picture import picture_timecode
from tests.support.station import Portero
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

NOBODY = [(["102"], 20)]
NOBODY_STRAIGHT = [(["sip:nobody@127.0.0.1:9"], 5)]


def _allowing(*callers: str) -> dict[str, dict[str, object]]:
    return {"calls.incoming": {"policy": "auto-answer", "from": list(callers)}}


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_by_default_linphone_is_refused(peers: Peers, transport: str) -> None:
    authority = Authority(peers.folder / "authority")
    server = peers.kamailio(certificate=authority.issue("DNS:door.test", "DNS:127.0.0.1"))
    door = peers.portero(server=server, stages=NOBODY, transport=transport, ca_file=authority.file)
    phone = peers.linphone("103", server=server, transport=transport, ca_file=authority.file)
    door.wait_registered()

    phone.dial("sip:door@door.test")
    refused = door.wait_event("incoming-refused")
    wait_until(lambda: phone.reached("Released"), "the phone hears the refusal")

    assert (refused["caller"], refused["status"]) == ("sip:103@door.test", 403)
    assert "calls.incoming.policy" in refused["reason"]
    assert phone.debug_has("SIP/2.0 403 ")
    assert not phone.reached("Connected")


def test_caller_whom_the_server_knows_but_the_list_does_not_is_refused(peers: Peers) -> None:
    server = peers.kamailio()
    door = peers.portero(server=server, stages=NOBODY, sections=_allowing("sip:101@door.test"))
    phone = peers.baresip("102", server=server, video=False)
    door.wait_registered()

    phone.dial("sip:door@door.test")

    assert "not in calls.incoming.from" in door.wait_event("incoming-refused")["reason"]
    wait_until(lambda: phone.count("CALL_CLOSED"), "the phone hears the refusal")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_who_comes_straight_in_the_name_of_a_user_of_the_server_is_refused(peers: Peers, transport: str) -> None:
    server = peers.kamailio()
    door = peers.portero(server=server, stages=NOBODY, sections=_allowing("sip:101@door.test"))
    door.wait_registered()

    # Another machine than the server's, which might open a connection of its own from any port.
    remote, caller = f"127.0.0.1:{door.sip_port}", {"caller": "sip:101@door.test"}
    peers.sipp("calls_in", remote=remote, keys=caller, transport=transport, host="127.0.0.2").result()

    assert "no proof" in door.wait_event("incoming-refused")["reason"]


@pytest.mark.parametrize(
    ("host", "transport"),
    [("127.0.0.1", "udp"), ("127.0.0.1", "tcp"), ("::1", "udp")],
    ids=["ipv4-udp", "ipv4-tcp", "ipv6-udp"],
)
def test_monitor_without_a_server_is_let_in_from_its_own_address_and_sees_the_door(
    peers: Peers, host: str, transport: str
) -> None:
    monitor = peers.baresip("101", host=host, transport=transport)
    shown = f"[{host}]" if ":" in host else host
    door = peers.portero(stages=NOBODY_STRAIGHT, host=host, sections=_allowing(f"sip:101@{shown}"))

    monitor.dial(f"{door.uri};transport={transport}")
    incoming = door.wait_event("incoming-call")
    wait_until(lambda: monitor.count("CALL_ESTABLISHED"), "the door answers")

    assert incoming["proven"] == f"from its own address {host}"
    assert incoming["source"].startswith(f"{transport}:{host}:")
    assert picture_timecode(monitor.snapshot(peers.folder / "seen.png")) is not None
    wait_until(lambda: monitor.heard_s() > 0.5, "it hears the door")
    monitor.hang_up()
    assert door.wait_event("leg-ended", press=incoming["press"])["by"] == "peer"


def test_second_caller_is_told_that_the_door_is_busy_and_the_first_talks_on(peers: Peers) -> None:
    server = peers.kamailio()
    door = peers.portero(server=server, stages=NOBODY, sections=_allowing("sip:101@door.test", "sip:103@door.test"))
    first = peers.baresip("101", server=server, video=False)
    second = peers.linphone("103", server=server)
    door.wait_registered()

    first.dial("sip:door@door.test")
    press = _let_in(door)
    second.dial("sip:door@door.test")
    refused = door.wait_event("incoming-refused")
    wait_until(lambda: second.reached("Released"), "the second hears it")

    assert (refused["status"], refused["caller"]) == (486, "sip:103@door.test")
    assert second.debug_has("SIP/2.0 486 ")
    before = first.heard_s()
    wait_until(lambda: first.heard_s() > before + 0.5, "the first still hears the door")
    assert "leg-ended" not in door.kinds(press)


def test_door_rings_the_monitor_that_has_just_called_it(peers: Peers) -> None:
    monitor = peers.baresip("101", video=False)
    door = peers.portero(stages=[([monitor.uri], 20)], sections=_allowing("sip:101@127.0.0.1"))
    monitor.dial(door.uri)
    press = _let_in(door)
    monitor.hang_up()
    door.wait_event("leg-ended", press=press)

    later = door.press()

    wait_until(monitor.has_call, "the monitor rings")
    door.wait_event("leg-ringing", press=later)


def _let_in(door: Portero) -> int:
    press = int(door.wait_event("incoming-call")["press"])
    door.wait_event("rtp-started", press=press, direction="received", media="audio")
    return press
