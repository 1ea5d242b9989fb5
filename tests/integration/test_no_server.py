"""Point 7: a monitor is rung at its own address, with no server at all: IPv4, IPv6, UDP and TCP."""

import pytest

from tests.support.peers import Peers
from tests.support.picture import picture_timecode
from tests.support.station import CODE
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("host", "transport"),
    [("127.0.0.1", "udp"), ("::1", "udp"), ("127.0.0.1", "tcp"), ("::1", "tcp")],
    ids=["ipv4-udp", "ipv6-udp", "ipv4-tcp", "ipv6-tcp"],
)
def test_a_whole_call_straight_to_the_monitors_address(peers: Peers, host: str, transport: str) -> None:
    monitor = peers.baresip("101", host=host, transport=transport, answer_mode="early")
    target = monitor.uri if transport == "udp" else f"{monitor.uri};transport={transport}"
    door = peers.portero(stages=[([target], 30)], host=host)

    press = door.press()
    door.wait_event("leg-ringing", press=press, status=183)
    assert picture_timecode(monitor.snapshot(peers.folder / "before.png")) is not None
    monitor.accept()
    door.wait_event("leg-answered", press=press)
    wait_until(lambda: monitor.heard_s() > 0.5, "the monitor hears the door")
    monitor.press_keys(CODE)
    door.wait_event("relay-off", press=press)
    monitor.hang_up()
    ended = door.wait_event("leg-ended", press=press)

    assert ended["by"] == "peer"
    assert len(door.relay.pulses) == 1
    assert {"rtp-started", "digit-received", "access-granted", "relay-on", "relay-read-back"} <= set(
        door.kinds(press)
    )
    received = [event for event in door.events("rtp-started", press) if event["direction"] == "received"]
    assert "audio" in {event["media"] for event in received}


def test_linphone_is_rung_at_its_own_address(peers: Peers) -> None:
    phone = peers.linphone("103", tone_hz=440)
    door = peers.portero(stages=[([phone.uri], 30)])

    press = door.press()
    wait_until(lambda: phone.reached("IncomingReceived"), "the phone rings")
    phone.answer()
    door.wait_event("leg-answered", press=press)
    wait_until(lambda: phone.reached("StreamsRunning"), "sound runs")
    for key in CODE:
        received = len(door.events("digit-received", press))
        phone.press_key(key)
        # linphonec sends one key at a time; the next may come once this one was heard.
        wait_until(lambda n=received: len(door.events("digit-received", press)) > n, "the key arrives", 3)
    door.wait_event("relay-off", press=press)
    phone.hang_up()

    assert door.wait_event("press-ended", press=press)["outcome"] == "answered"
