"""A browser of the house: Chromium with JsSIP registers at the door by WebSocket, gets and sends texts, is rung.

It refuses or lets ring: sound and picture of a browser are another matter.
"""

import pytest

from tests.support.browser import Browser
from tests.support.certificates import Authority, Certificate
from tests.support.peers import Peers
from tests.support.ports import free_port
from tests.support.station import Portero
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

USERS = {"anna": "anna-secret", "bob": "bob-secret-2"}


@pytest.fixture
def certificate(peers: Peers) -> Certificate:
    return Authority(peers.folder / "authority").issue("IP:127.0.0.1")


def _house(peers: Peers, certificate: Certificate, transport: str) -> tuple[Portero, str]:
    """A station whose users may come by WebSocket, and the URL at which they do."""
    port = free_port()
    own = {
        f"{transport}_listen": [f"127.0.0.1:{port}"],
        "tls_certificate_file": str(certificate.certificate_file),
        "tls_key_file": str(certificate.key_file),
    }
    door = peers.portero(users=USERS, stages=[(["anna"], 30)], sections={"sip": own})
    return door, f"{transport}://127.0.0.1:{port}/"


def _registered(peers: Peers, door: Portero, url: str, certificate: Certificate) -> Browser:
    browser = peers.browser("anna", url, USERS["anna"], certificate=certificate)
    browser.wait_seen("registered")
    door.wait_event("user-registered", user="anna")
    return browser


def _bindings(door: Portero, name: str) -> list[dict[str, object]]:
    return next(user["phones"] for user in door.status()["users"] if user["name"] == name)


@pytest.mark.parametrize("transport", ["ws", "wss"])
def test_browser_registers_is_rung_and_refuses(peers: Peers, certificate: Certificate, transport: str) -> None:
    door, url = _house(peers, certificate, transport)
    browser = _registered(peers, door, url, certificate)
    (binding,) = _bindings(door, "anna")
    assert str(binding["source"]).startswith(f"{transport}:127.0.0.1")

    press = door.press()
    invite = browser.wait_seen("invite")
    door.wait_event("leg-ringing", press=press, status=180)
    browser.refuse(486)
    failed = door.wait_event("leg-failed", press=press)

    assert invite["from"] == "Street door"
    assert "m=audio" in invite["sdp"]
    assert failed["status"] == 486
    assert browser.wait_seen("ended")["by"] == "local"


def test_browser_declines_with_480(peers: Peers, certificate: Certificate) -> None:
    door, url = _house(peers, certificate, "wss")
    browser = _registered(peers, door, url, certificate)

    press = door.press()
    browser.wait_seen("invite")
    browser.refuse(480)

    assert door.wait_event("leg-failed", press=press)["status"] == 480


def test_browser_stops_ringing_when_the_visitor_is_gone(peers: Peers, certificate: Certificate) -> None:
    door, url = _house(peers, certificate, "ws")
    browser = _registered(peers, door, url, certificate)

    press = door.press()
    browser.wait_seen("invite")
    door.wait_event("leg-ringing", press=press)
    door.hang_up()

    assert browser.wait_seen("ended")["cause"] == "Canceled"


@pytest.mark.parametrize("transport", ["ws", "wss"])
def test_browser_gets_and_sends_texts(peers: Peers, certificate: Certificate, transport: str) -> None:
    door, url = _house(peers, certificate, transport)
    browser = _registered(peers, door, url, certificate)

    door.doorctl("message", "anna", "Paquete en portería ✓")
    shown = browser.wait_seen("message", by="remote")
    delivered = door.wait_event("text-delivered")
    browser.say("sip:door@door.test", "Bajo enseguida ✓")
    received = door.wait_event("text-received")
    sent = browser.wait_seen("delivered")

    assert shown["text"] == "Paquete en portería ✓"
    assert (delivered["target"], delivered["status"]) == ("anna", 200)
    assert (received["sender"], received["text"]) == ("sip:anna@door.test", "Bajo enseguida ✓")
    assert sent["status"] == 200


def test_browser_and_phone_text_each_other_through_the_door(peers: Peers, certificate: Certificate) -> None:
    door, url = _house(peers, certificate, "wss")
    browser = _registered(peers, door, url, certificate)
    phone = peers.linphone("bob", server=door.registrar)

    browser.say("sip:bob@door.test", "Café?")
    wait_until(lambda: "Café?" in phone.program.log_text(), "the phone shows it")
    phone.send_text("sip:anna@door.test", "Ya voy")

    assert browser.wait_seen("message", by="remote")["text"] == "Ya voy"


@pytest.mark.parametrize("transport", ["ws", "wss"])
def test_browser_registers_again_after_the_station_was_killed(
    peers: Peers, certificate: Certificate, transport: str
) -> None:
    door, url = _house(peers, certificate, transport)
    browser = _registered(peers, door, url, certificate)

    door.program.kill()
    browser.wait_seen("disconnected")
    door.start_station()
    browser.wait_seen("registered", count=2)
    wait_until(lambda: len(_bindings(door, "anna")) == 1, "one binding, not the dead one beside it")
    door.press()

    browser.wait_seen("invite")


def test_browser_with_a_wrong_password_is_not_registered(peers: Peers, certificate: Certificate) -> None:
    door, url = _house(peers, certificate, "wss")
    browser = peers.browser("anna", url, "not-the-password", certificate=certificate)

    browser.wait_seen("registration-failed")

    assert door.wait_event("user-refused")["user"] == "anna"
    assert _bindings(door, "anna") == []


def test_browser_that_does_not_trust_the_certificate_does_not_connect(
    peers: Peers, certificate: Certificate
) -> None:
    """What the other tests show of WSS would be worth little if the browser took anything."""
    door, url = _house(peers, certificate, "wss")
    browser = peers.browser("anna", url, USERS["anna"])

    browser.wait_seen("disconnected")

    assert browser.seen("connected") == []
    assert _bindings(door, "anna") == []
