"""Real phones call the door and are called by it over each transport: through Kamailio, as users of the house, and
straight.

The phones here speak no WebSocket: there the door alone does, and the server stands between.
"""

import pytest

from tests.support.baresip import Baresip
from tests.support.certificates import Authority, Certificate
from tests.support.linphone import Linphone
from tests.support.peers import Peers
from tests.support.station import CODE, Portero
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

USERS = {"anna": "anna-secret"}


@pytest.fixture
def authority(peers: Peers) -> Authority:
    return Authority(peers.folder / "authority")


@pytest.fixture
def certificate(authority: Authority) -> Certificate:
    """Of the server: the domain is what the door checks, the address what the phones do. Linphone's library takes
    an address among the names only where it is written as one."""
    return authority.issue("DNS:door.test", "IP:127.0.0.1", "DNS:127.0.0.1")


# The door's way to the server, then the phone's.
WAYS = [("udp", "udp"), ("tcp", "tcp"), ("tls", "tls"), ("wss", "udp"), ("wss", "tls"), ("udp", "tls")]


@pytest.mark.parametrize(("ours", "theirs"), WAYS, ids=[f"door-{ours}-phone-{theirs}" for ours, theirs in WAYS])
def test_monitor_is_called_and_calls_through_the_server(
    peers: Peers, authority: Authority, certificate: Certificate, ours: str, theirs: str
) -> None:
    server = peers.kamailio(certificate=certificate)
    door = _door(peers, authority, ours, server=server, user="101")
    monitor = peers.baresip("101", server=server, transport=theirs, ca_file=authority.file, answer_mode="early")
    door.wait_registered()

    _rings_monitor(door, monitor)
    _monitor_calls(door, monitor)


@pytest.mark.parametrize(("ours", "theirs"), WAYS[1:4], ids=[f"door-{o}-phone-{t}" for o, t in WAYS[1:4]])
def test_linphone_is_called_and_calls_through_the_server(
    peers: Peers, authority: Authority, certificate: Certificate, ours: str, theirs: str
) -> None:
    server = peers.kamailio(certificate=certificate)
    door = _door(peers, authority, ours, server=server, user="103")
    phone = peers.linphone("103", server=server, transport=theirs, ca_file=authority.file, tone_hz=440)
    door.wait_registered()

    _rings_linphone(door, phone)
    _linphone_calls(door, phone)


def test_monitor_of_the_house_is_called_and_calls_over_tls(
    peers: Peers, authority: Authority, certificate: Certificate
) -> None:
    door = _house(peers, certificate)
    monitor = peers.baresip(
        "anna", server=door.registrar, transport="tls", ca_file=authority.file, answer_mode="early"
    )
    assert door.wait_event("user-registered", user="anna")["source"].startswith("tls:")

    _rings_monitor(door, monitor)
    _monitor_calls(door, monitor)


def test_linphone_of_the_house_is_called_and_calls_over_tls(
    peers: Peers, authority: Authority, certificate: Certificate
) -> None:
    door = _house(peers, certificate)
    phone = peers.linphone("anna", server=door.registrar, transport="tls", ca_file=authority.file, tone_hz=440)

    _rings_linphone(door, phone)
    _linphone_calls(door, phone)


def test_monitor_is_called_straight_over_tls(peers: Peers, authority: Authority, certificate: Certificate) -> None:
    """No account says whom to trust: an authority that the system knows does."""
    monitor = peers.baresip("101", transport="tls", certificate=certificate, answer_mode="early")
    target = f"sip:101@127.0.0.1:{monitor.port + 1};transport=tls"
    door = peers.portero(stages=[([target], 20)], environment={"SSL_CERT_FILE": str(authority.file)})

    _rings_monitor(door, monitor)


def test_monitor_with_a_certificate_of_nobody_is_not_called_over_tls(
    peers: Peers, certificate: Certificate
) -> None:
    monitor = peers.baresip("101", transport="tls", certificate=certificate, video=False)
    door = peers.portero(stages=[([f"sip:101@127.0.0.1:{monitor.port + 1};transport=tls"], 20)])

    press = door.press()
    failed = door.wait_event("leg-failed", press=press)

    assert "certificate" in failed["reason"]
    assert monitor.count("CALL_INCOMING") == 0


def test_linphone_is_called_straight_over_tcp(peers: Peers) -> None:
    phone = peers.linphone("103", transport="tcp", tone_hz=440)
    door = peers.portero(stages=[([f"{phone.uri};transport=tcp"], 20)])

    _rings_linphone(door, phone)


def _house(peers: Peers, certificate: Certificate) -> Portero:
    allowed = {"policy": "auto-answer", "from": ["anna"]}
    return peers.portero(
        users=USERS, stages=[(["anna"], 20)], certificate=certificate, sections={"calls.incoming": allowed}
    )


def _door(peers: Peers, authority: Authority, transport: str, *, user: str, **options: object) -> Portero:
    allowed = {"policy": "auto-answer", "from": [f"sip:{user}@door.test"]}
    return peers.portero(
        stages=[([user], 20)],
        transport=transport,
        ca_file=authority.file,
        sections={"calls.incoming": allowed},
        **options,
    )


def _rings_monitor(door: Portero, monitor: Baresip) -> None:
    """One press: early picture, answer, sound, the code, and the monitor hangs up."""
    press = door.press()
    door.wait_event("leg-ringing", press=press, status=183)
    monitor.accept()
    door.wait_event("leg-answered", press=press)
    wait_until(lambda: monitor.heard_s() > 0.5, "the monitor hears the door")
    monitor.press_keys(CODE)
    door.wait_event("relay-off", press=press)
    monitor.hang_up()
    assert door.wait_event("leg-ended", press=press)["by"] == "peer"
    received = [event for event in door.events("rtp-started", press) if event["direction"] == "received"]
    assert "audio" in {event["media"] for event in received}


def _monitor_calls(door: Portero, monitor: Baresip) -> None:
    """It calls, is let in and heard, and the door ends the call."""
    streams, closed = len(monitor.heard()), monitor.count("CALL_CLOSED")
    monitor.dial("sip:door@door.test")
    press = door.wait_event("incoming-call")["press"]
    wait_until(lambda: len(monitor.heard()) > streams and monitor.heard_s() > 0.5, "the monitor hears the door")
    door.wait_event("rtp-started", press=press, direction="received", media="audio")
    door.hang_up()
    wait_until(lambda: monitor.count("CALL_CLOSED") > closed, "the monitor hears that the call is over")
    assert door.wait_event("leg-ended", press=press)["by"] == "us"


def _rings_linphone(door: Portero, phone: Linphone) -> None:
    press = door.press()
    wait_until(lambda: phone.reached("IncomingReceived"), "the phone rings")
    phone.answer()
    door.wait_event("leg-answered", press=press)
    wait_until(lambda: phone.recorded_s() > 0.5, "the phone hears the door")
    phone.hang_up()
    assert door.wait_event("leg-ended", press=press)["by"] == "peer"
    door.wait_event("rtp-started", press=press, direction="received", media="audio")
    wait_until(lambda: phone.reached("Released"), "the phone is free")


def _linphone_calls(door: Portero, phone: Linphone) -> None:
    phone.dial("sip:door@door.test")
    press = door.wait_event("incoming-call")["press"]
    door.wait_event("rtp-started", press=press, direction="received", media="audio")
    wait_until(lambda: phone.reached("Connected"), "the phone is let in")
    phone.hang_up()
    assert door.wait_event("leg-ended", press=press)["by"] == "peer"
