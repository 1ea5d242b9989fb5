"""Keys by DTLS and ways by ICE with real peers: baresip, linphone, Chromium; through a TURN server where needed."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import Browser
from tests.support.certificates import Authority
from tests.support.coturn import PASSWORD, USER, Coturn
from tests.support.networks import Router, ip, narrow, own_network
from tests.support.peers import Peers
from tests.support.ports import free_port
from tests.support.sound import level_db, read_wav
from tests.support.station import CODE, Portero
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

DOOR_HZ, FLAT_HZ = 620, 1000
FULL_BPS = 250_000  # nearly what the camera is set to
NARROW_KBPS = 130  # less than a picture and the sound of both
CODECS = ["PCMA", "PCMU"]


@pytest.fixture
def street() -> Iterator[None]:
    with own_network():
        yield


def _check(door: Portero, press: int) -> None:
    statistics = door.wait_event("leg-ended", press=press)["statistics"]
    assert statistics["audio_srtp"]
    assert statistics["audio_received"] > 50
    assert statistics["audio_sent"] > 50
    assert statistics["audio_forged"] <= 1  # baresip opens its NAT by a packet before it encrypts
    assert level_db(read_wav(door.speaker), FLAT_HZ) > -30


@pytest.mark.parametrize("direction", ["called", "calls"])
def test_baresip_by_dtls(peers: Peers, direction: str) -> None:
    monitor = peers.baresip("101", encryption="dtls_srtp", tone_hz=FLAT_HZ, answer_mode="auto")
    door = peers.portero(
        stages=[([monitor.uri], 20)],
        sections={
            "calls.incoming": {"policy": "auto-answer", "from": [monitor.uri]},
            "media": {"srtp": "dtls" if direction == "called" else "optional", "audio_codecs": CODECS},
        },
        microphone_hz=DOOR_HZ,
    )
    if direction == "called":
        press = door.press()
        door.wait_event("leg-answered", press=press)
    else:
        monitor.dial(door.uri)
        press = door.wait_event("incoming-call")["press"]
    wait_until(lambda: monitor.heard() and monitor.heard_s() > 2, "the monitor hears the door")
    if direction == "called":
        monitor.press_keys(CODE)
        door.wait_event("relay-off", press=press)
        monitor.hang_up()
    else:
        door.hang_up()
    _check(door, press)
    assert level_db(read_wav(monitor.heard()[-1]).part(0.5, 1.5), DOOR_HZ) > -15


@pytest.mark.parametrize("must", [False, True], ids=["may", "must"])
def test_linphone_by_dtls(peers: Peers, must: bool) -> None:
    door = peers.portero(
        users={"anna": "anna-secret"},
        stages=[(["anna"], 20)],
        sections={
            "calls.incoming": {"policy": "auto-answer", "from": ["anna"]},
            "media": {"srtp": "dtls", "audio_codecs": CODECS},
        },
        microphone_hz=DOOR_HZ,
    )
    phone = peers.linphone("anna", server=door.registrar, tone_hz=FLAT_HZ, encryption="dtls", must_encrypt=must)
    door.wait_event("user-registered", user="anna")

    press = door.press()
    wait_until(lambda: phone.reached("IncomingReceived"), "the phone rings")
    phone.answer()
    door.wait_event("leg-answered", press=press)
    wait_until(lambda: phone.recorded_s() > 2, "the phone hears the door")
    phone.hang_up()
    _check(door, press)
    wait_until(lambda: phone.reached("Released"), "the phone is free")

    phone.dial("sip:door@door.test")
    press = door.wait_event("incoming-call")["press"]
    door.wait_event("rtp-started", press=press, media="audio", direction="received")
    heard_s = phone.recorded_s()
    wait_until(lambda: phone.recorded_s() > heard_s + 2, "the phone hears the door")
    phone.hang_up()
    _check(door, press)


def _browser(peers: Peers) -> tuple[Portero, Browser]:
    certificate = Authority(peers.folder / "authority").issue("IP:127.0.0.1")
    port = free_port()
    own = {
        "wss_listen": [f"127.0.0.1:{port}"],
        "tls_certificate_file": str(certificate.certificate_file),
        "tls_key_file": str(certificate.key_file),
    }
    door = peers.portero(
        users={"anna": "anna-secret"},
        stages=[(["anna"], 30)],
        sections={"sip": own},
        microphone_hz=DOOR_HZ,
    )
    browser = peers.browser("anna", f"wss://127.0.0.1:{port}/", "anna-secret", certificate=certificate)
    browser.wait_seen("registered")
    door.wait_event("user-registered", user="anna")
    return door, browser


def test_a_browser_sees_and_talks_and_opens(peers: Peers) -> None:
    door, browser = _browser(peers)

    press = door.press()
    browser.wait_seen("invite")
    browser.answer(FLAT_HZ)
    browser.wait_seen("talking")
    wait_until(lambda: browser.counts().get("video", {}).get("frames", 0) > 10, "the browser shows pictures")
    wait_until(lambda: browser.counts()["audio"]["energy"] > 0.01, "the browser hears the door")
    assert browser.counts()["dtls"] == "connected"
    door.wait_event("rtp-started", press=press, media="audio", direction="received")
    browser.press_keys(CODE)
    door.wait_event("relay-off", press=press)
    browser.hang_up()
    _check(door, press)


def test_a_browser_restarts_ice_within_the_call(peers: Peers) -> None:
    door, browser = _browser(peers)
    press = door.press()
    browser.wait_seen("invite")
    browser.answer(FLAT_HZ)
    browser.wait_seen("talking")
    wait_until(lambda: browser.counts().get("video", {}).get("frames", 0) > 10, "the browser shows pictures", 20)
    before = browser.ice_names()

    browser.restart_ice()
    browser.wait_seen("restarted")
    after = browser.ice_names()
    assert not set(before) & set(after)
    frames = browser.counts()["video"]["frames"]
    wait_until(lambda: browser.counts()["video"]["frames"] > frames + 60, "pictures go on", 30)
    browser.press_keys(CODE)
    door.wait_event("relay-off", press=press)
    assert not door.events("media-failed")
    browser.hang_up()
    _check(door, press)


def test_a_browser_at_a_narrow_line_says_so_and_gets_less_picture(street: None, peers: Peers) -> None:
    door, browser = _browser(peers)
    press = door.press()
    invite = browser.wait_seen("invite")
    assert "a=rtcp-fb:* goog-remb" in invite["sdp"]
    browser.answer(FLAT_HZ)
    browser.wait_seen("talking")

    def full() -> bool:
        seen = _picture(door)
        print({name: value for name, value in seen.items() if name.startswith("video")})
        return bool(seen.get("video_bound_bps")) and seen["video_rate_bps"] > FULL_BPS

    wait_until(full, "the browser says how much it wants, which is all that the camera gives", 60, 0.5)
    narrow("lo", NARROW_KBPS)

    def less() -> Any:
        seen = _picture(door)
        print({name: value for name, value in seen.items() if name.startswith("video")})
        return seen if seen["video_rate_bps"] < FULL_BPS / 2 else None

    seen = wait_until(less, "the picture needs less", 60, 0.5)
    assert seen["video_bound_bps"] < 1.1 * seen["video_rate_bps"]
    door.hang_up()
    door.wait_event("leg-ended", press=press)


def _picture(door: Portero) -> Any:
    (leg,) = door.doorctl("call", "--stats", "--json")["legs"]
    return leg["statistics"]


# A firewall that lets nothing out but SIP and what goes to the TURN server.
ONLY_BY_RELAY = f"""\
table ip filter {{
  chain forward {{
    type filter hook forward priority filter
    ip daddr {Router.STREET} udp dport 3478 accept
    ip saddr {Router.STREET} udp sport 3478 accept
    meta l4proto udp udp dport 1024-65535 udp dport != 5060-5070 drop
  }}
}}
table ip nat {{
  chain post {{
    type nat hook postrouting priority srcnat
    oifname wan0 masquerade random,fully-random
  }}
}}
"""
APP = "198.51.100.20"
TURN = 3478


@pytest.mark.parametrize("relayed", [False, True], ids=["through the NAT", "by a relay"])
def test_an_app_outside_is_reached_by_ice(street: None, peers: Peers, relayed: bool) -> None:
    """The app is another station of ours, which answers by itself: no phone of Debian's has ICE with DTLS."""
    rules = ONLY_BY_RELAY if relayed else ONLY_BY_RELAY[ONLY_BY_RELAY.index("table ip nat") :]
    router = peers.start(Router(peers.folder, rules))
    ip(f"addr add {APP}/24 dev {router.near}")
    peers.start(Coturn(peers.folder / "coturn", [Router.STREET]))
    secure = {"srtp": "dtls", "ice": True, "audio_codecs": CODECS}
    app = peers.portero(
        users={"gate": "gate-secret"},
        stages=[(["sip:nobody@127.0.0.1:9"], 20)],
        host=APP,
        sections={"calls.incoming": {"policy": "auto-answer", "from": ["gate"]}, "media": secure},
        microphone_hz=FLAT_HZ,
    )
    server = f"{Router.STREET}:{TURN}"
    door = peers.portero(
        server=app.registrar,
        user="gate",
        transport="tcp",
        stages=[(["door"], 20)],
        host=router.STATION,
        within=router.home.enter,
        sections={
            "media": secure,
            "nat": {
                "stun_server": server,
                "turn_server": server,
                "turn_username": USER,
                "turn_password": PASSWORD,
            },
        },
        microphone_hz=DOOR_HZ,
    )
    capture = peers.capture("udp", interface="street0")

    press = door.press()
    door.wait_event("leg-answered", press=press)
    door.wait_event("rtp-started", press=press, media="audio", direction="received")
    played = len(read_wav(door.speaker).samples)
    wait_until(lambda: len(read_wav(door.speaker).samples) > played + 2 * 8000, "the door hears the app")
    door.hang_up()
    _check(door, press)
    # The app's machine has the street's own address as well, and offers both: what passes by no relay is direct.
    of_door = [each for each in capture.datagrams() if Router.OUTSIDE in (each.source[0], each.target[0])]
    direct = [each for each in of_door if TURN not in (each.source[1], each.target[1])]
    assert (len([each for each in direct if each.payload[0] >> 6 == 2]) > 50) == (not relayed)
