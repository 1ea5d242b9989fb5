"""The door gets another address in the middle of a call: the call goes on, and so does its sound."""

from collections.abc import Iterator

import pytest

from firmware.rtp.packet import RtpPacket, parse_rtp
from tests.support.capture import Capture
from tests.support.networks import House, ip, own_network
from tests.support.peers import Peers
from tests.support.station import Portero
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

FLAT_HZ = 440
PHONE, BEFORE, AFTER = "10.77.0.2", "10.77.0.10", "10.77.0.20"
PHONE6, DOOR6 = "fd00:77::2", "fd00:77::10"


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


def test_a_call_over_ice_goes_on_after_the_address_changed(street: None, peers: Peers) -> None:
    house = peers.start(House(peers.folder / "house"))
    ip(f"addr add {PHONE}/24 dev street0")
    house.ip(f"addr add {BEFORE}/24 dev door0")
    app, door = over_ice(peers, house)
    capture = peers.capture("udp", interface="street0")

    press = door.press()
    door.wait_event("leg-answered", press=press)
    wait_until(lambda: len(sound(capture, BEFORE, PHONE)) > 50, "sound comes from the first address")
    wait_until(lambda: len(sound(capture, PHONE, BEFORE)) > 50, "and goes there")
    shaken = len(handshakes(capture))
    house.ip(f"addr del {BEFORE}/24 dev door0\naddr add {AFTER}/24 dev door0")

    wait_until(lambda: len(sound(capture, AFTER, PHONE)) > 50, "sound comes from the second address", 20)
    wait_until(lambda: len(sound(capture, PHONE, AFTER)) > 50, "and goes there", 20)
    before, after = sound(capture, BEFORE, PHONE)[-1], sound(capture, AFTER, PHONE)[0]
    assert after.ssrc == before.ssrc
    assert after.sequence - before.sequence & 0xFFFF < 250  # at most five seconds of it were lost
    assert len(handshakes(capture)) == shaken  # the keys are the same
    assert not app.events("media-failed")
    door.hang_up()
    assert door.wait_event("leg-ended", press=press)["by"] == "us"


# Signalling finds its way, media do not: what a router that only one of the two families is let through does.
NO_MEDIA_BY_IPV4 = """\
table ip filter {
  chain post {
    type filter hook output priority filter
    udp dport 16384-65535 drop
  }
}
"""


def test_media_take_the_family_that_is_let_through(street: None, peers: Peers) -> None:
    house = peers.start(House(peers.folder / "house"))
    ip(f"addr add {PHONE}/24 dev street0\naddr add {PHONE6}/64 dev street0 nodad")
    house.ip(f"addr add {BEFORE}/24 dev door0\naddr add {DOOR6}/64 dev door0 nodad")
    house.load(NO_MEDIA_BY_IPV4)
    _, door = over_ice(peers, house)
    capture = peers.capture("udp", interface="street0")

    press = door.press()
    door.wait_event("rtp-started", press=press, media="audio", direction="received")
    wait_until(lambda: len(sound(capture, DOOR6, PHONE6)) > 50, "sound comes by IPv6")
    wait_until(lambda: len(sound(capture, PHONE6, DOOR6)) > 50, "and goes there")
    door.hang_up()
    ended = door.wait_event("leg-ended", press=press)
    assert ended["statistics"]["audio_received"] > 40
    assert not sound(capture, PHONE, BEFORE)


def over_ice(peers: Peers, house: House) -> tuple[Portero, Portero]:
    """(app, door). The app is another station of ours: no phone of Debian's has ICE with DTLS."""
    secure = {"srtp": "dtls", "ice": True, "audio_codecs": ["PCMA"]}
    app = peers.portero(
        users={"gate": "gate-secret"},
        stages=[(["sip:nobody@127.0.0.1:9"], 20)],
        host=PHONE,
        sections={"calls.incoming": {"policy": "auto-answer", "from": ["gate"]}, "media": secure},
        microphone_hz=FLAT_HZ,
    )
    door = peers.portero(
        server=app.registrar,
        user="gate",
        stages=[(["door"], 20)],
        host="0.0.0.0",
        within=house.enter,
        sections={"media": secure},
    )
    return app, door


def handshakes(capture: Capture) -> list[bytes]:
    return [each.payload for each in capture.datagrams() if each.payload[:1] == b"\x16"]


def sound(capture: Capture, source: str, target: str) -> list[RtpPacket]:
    """PCMA packets from one to the other, in order."""
    hosts = (source, target)
    payloads = [each.payload for each in capture.datagrams() if (each.source[0], each.target[0]) == hosts]
    return [parse_rtp(payload) for payload in payloads if payload[0] >> 6 == 2 and payload[1] & 0x7F == 8]
