"""The door gets another address in the middle of a call: the call goes on, and so does its sound."""

from collections.abc import Iterator

import pytest

from firmware.rtp.packet import RtpPacket, parse_rtp
from tests.support.capture import Capture
from tests.support.networks import House, ip, own_network
from tests.support.peers import Peers
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

FLAT_HZ = 440
PHONE, BEFORE, AFTER = "10.77.0.2", "10.77.0.10", "10.77.0.20"


@pytest.fixture
def street() -> Iterator[None]:
    with own_network():
        yield


def test_sound_goes_on_after_the_address_changed(street: None, peers: Peers) -> None:
    house = peers.start(House(peers.folder / "house"))
    ip(f"addr add {PHONE}/24 dev street0")
    house.ip(f"addr add {BEFORE}/24 dev door0")
    phone = peers.baresip("101", host=PHONE, answer_mode="auto", tone_hz=FLAT_HZ, video=False)
    door = peers.portero(stages=[([phone.uri], 20)], host="0.0.0.0", within=house.enter)
    capture = peers.capture("udp", interface="street0")

    press = door.press()
    door.wait_event("leg-answered", press=press)
    wait_until(lambda: len(sound(capture, BEFORE, PHONE)) > 50, "sound comes from the first address")
    wait_until(lambda: len(sound(capture, PHONE, BEFORE)) > 50, "and goes there")
    house.ip(f"addr del {BEFORE}/24 dev door0\naddr add {AFTER}/24 dev door0")

    wait_until(lambda: len(sound(capture, AFTER, PHONE)) > 50, "sound comes from the second address")
    wait_until(lambda: len(sound(capture, PHONE, AFTER)) > 50, "and goes there")
    before, after = sound(capture, BEFORE, PHONE)[-1], sound(capture, AFTER, PHONE)[0]
    assert after.ssrc == before.ssrc
    assert after.sequence - before.sequence & 0xFFFF < 250  # at most five seconds of it were lost
    door.hang_up()
    wait_until(lambda: phone.count("CALL_CLOSED"), "the phone is told of the end")
    assert door.wait_event("leg-ended", press=press)["by"] == "us"


def sound(capture: Capture, source: str, target: str) -> list[RtpPacket]:
    """PCMA packets from one to the other, in order."""
    hosts = (source, target)
    payloads = [each.payload for each in capture.datagrams() if (each.source[0], each.target[0]) == hosts]
    return [parse_rtp(payload) for payload in payloads if payload[0] >> 6 == 2 and payload[1] & 0x7F == 8]
