"""Sound and picture encrypted with keys from the signalling (SDES), as baresip and linphone do it, both ways."""

import pytest

from tests.support.baresip import Baresip
from tests.support.capture import Capture
from tests.support.certificates import Authority
from tests.support.peers import Peers
from tests.support.sound import level_db, read_wav
from tests.support.station import CODE, Portero
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

DOOR_HZ, FLAT_HZ = 620, 1000
SUITE = "AES_CM_128_HMAC_SHA1_80"
USERS = {"anna": "anna-secret"}
# Our policy, the phone's; whether the calls go by TLS, and are encrypted.
WAYS = [
    ("optional", "srtp", "tls", True),
    ("optional", "srtp-mand", "tls", True),
    ("optional", "", "tls", False),
    ("optional", "srtp", "udp", False),
    ("mandatory", "srtp", "udp", True),
    ("mandatory", "srtp-mand", "udp", True),
]
IDS = [f"{ours}-{theirs or 'none'}-{transport}" for ours, theirs, transport, _ in WAYS]


@pytest.mark.parametrize(("ours", "theirs", "transport", "encrypted"), WAYS, ids=IDS)
def test_a_monitor_is_called(peers: Peers, ours: str, theirs: str, transport: str, encrypted: bool) -> None:
    door, monitor = _with_monitor(peers, ours, theirs, transport, answer_mode="early")
    capture = peers.capture("udp and src host 127.0.0.1")

    press = door.press()
    door.wait_event("leg-ringing", press=press, status=183)
    monitor.accept()
    door.wait_event("leg-answered", press=press)
    monitor.snapshot(monitor.folder / "picture.png")
    wait_until(lambda: monitor.heard_s() > 2, "the monitor hears the door")
    monitor.press_keys(CODE)
    door.wait_event("relay-off", press=press)
    monitor.hang_up()
    _check(door, press, encrypted, capture, _rtp_port(monitor))
    assert level_db(read_wav(monitor.heard()[-1]).part(0.5, 1.5), DOOR_HZ) > -15


@pytest.mark.parametrize(("ours", "theirs", "transport", "encrypted"), WAYS, ids=IDS)
def test_a_monitor_calls(peers: Peers, ours: str, theirs: str, transport: str, encrypted: bool) -> None:
    # What it offers itself over UDP is taken: a readable key is better than no call.
    encrypted = encrypted or theirs == "srtp"
    door, monitor = _with_monitor(peers, ours, theirs, transport)
    capture = peers.capture("udp and src host 127.0.0.1")

    monitor.dial(door.uri if transport == "udp" else "sip:door@door.test")
    press = door.wait_event("incoming-call")["press"]
    wait_until(lambda: monitor.heard() and monitor.heard_s() > 2, "the monitor hears the door")
    door.hang_up()
    _check(door, press, encrypted, capture, _rtp_port(monitor))
    assert level_db(read_wav(monitor.heard()[-1]).part(0.5, 1.5), DOOR_HZ) > -15


def test_a_monitor_without_encryption_is_not_called_nor_let_in_where_that_has_to_be(peers: Peers) -> None:
    door, monitor = _with_monitor(peers, "mandatory", "", "udp", answer_mode="auto")

    press = door.press()
    failed = door.wait_event("leg-failed", press=press)
    assert failed["status"] == 488
    assert any("TLS" in fault["remedy"] for fault in door.events("fault"))
    monitor.dial(door.uri)
    refused = door.wait_event("incoming-refused")
    assert (refused["status"], "no key is offered" in refused["reason"]) == (488, True)
    assert not door.events("rtp-started")


# Keys under RTP/AVP linphone reads over, and where it must encrypt it refuses them, and is offered RTP/SAVP.
@pytest.mark.parametrize(
    ("ours", "must"), [("optional", False), ("optional", True), ("mandatory", False), ("mandatory", True)]
)
def test_linphone_is_called_and_calls_over_tls(peers: Peers, ours: str, must: bool) -> None:
    door, authority = _house(peers, ours)
    phone = peers.linphone(
        "anna",
        server=door.registrar,
        transport="tls",
        ca_file=authority.file,
        tone_hz=FLAT_HZ,
        encryption="srtp",
        must_encrypt=must,
    )
    door.wait_event("user-registered", user="anna")
    capture = peers.capture("udp and src host 127.0.0.1")

    press = door.press()
    wait_until(lambda: phone.reached("IncomingReceived"), "the phone rings")
    phone.answer()
    door.wait_event("leg-answered", press=press)
    wait_until(lambda: phone.recorded_s() > 2, "the phone hears the door")
    phone.hold()
    wait_until(lambda: phone.reached("Paused"), "the phone holds")
    phone.resume()
    wait_until(lambda: phone.reached("Resuming"), "it goes on")
    heard_s = phone.recorded_s()
    wait_until(lambda: phone.recorded_s() > heard_s + 1, "the phone hears the door again")
    phone.hang_up()
    _check(door, press, must or ours == "mandatory", capture, phone.rtp_port)
    wait_until(lambda: phone.reached("Released"), "the phone is free")
    capture = peers.capture("udp and src host 127.0.0.1", "second")

    phone.dial("sip:door@door.test")
    press = door.wait_event("incoming-call")["press"]
    wait_until(lambda: len(_sent(capture, phone.rtp_port)) > 50, "the phone talks")
    phone.hang_up()
    _check(door, press, True, capture, phone.rtp_port)


def _house(peers: Peers, ours: str) -> tuple[Portero, Authority]:
    authority = Authority(peers.folder / "authority")
    door = peers.portero(
        users=USERS,
        stages=[(["anna"], 20)],
        certificate=authority.issue("DNS:door.test", "IP:127.0.0.1", "DNS:127.0.0.1"),
        sections={"calls.incoming": {"policy": "auto-answer", "from": ["anna"]}, "media": _media(ours)},
        microphone_hz=DOOR_HZ,
    )
    return door, authority


def _with_monitor(peers: Peers, ours: str, theirs: str, transport: str, **options: str) -> tuple[Portero, Baresip]:
    """A user of the house by TLS, or a monitor that is called straight by UDP."""
    if transport == "tls":
        door, authority = _house(peers, ours)
        monitor = peers.baresip(
            "anna",
            server=door.registrar,
            transport="tls",
            ca_file=authority.file,
            encryption=theirs,
            tone_hz=FLAT_HZ,
            **options,
        )
        door.wait_event("user-registered", user="anna")
        return door, monitor
    monitor = peers.baresip("101", encryption=theirs, tone_hz=FLAT_HZ, **options)
    allowed = {"policy": "auto-answer", "from": [monitor.uri]}
    sections = {"calls.incoming": allowed, "media": _media(ours)}
    return peers.portero(stages=[([monitor.uri], 20)], sections=sections, microphone_hz=DOOR_HZ), monitor


def _media(policy: str) -> dict[str, object]:
    return {"srtp": policy, "audio_codecs": ["PCMA", "PCMU"]}


def _check(door: Portero, press: int, encrypted: bool, capture: Capture, port: int) -> None:
    """The leg's own word, the size of the packets that the phone sends from `port`, and the sound at the door."""
    statistics = door.wait_event("leg-ended", press=press)["statistics"]
    assert statistics.get("audio_srtp") == (SUITE if encrypted else None)
    assert statistics["audio_received"] > 20
    assert statistics["audio_sent"] > 20
    if encrypted:
        assert statistics["audio_forged"] <= 1  # baresip opens its NAT by a packet before it encrypts
    sizes = set(_sent(capture, port))
    assert (172 in sizes, 182 in sizes) == (not encrypted, encrypted)
    tone = level_db(read_wav(door.speaker), FLAT_HZ)
    assert tone > -30


def _sent(capture: Capture, port: int) -> list[int]:
    """The sizes of what came from `port`."""
    return [len(seen.payload) for seen in capture.datagrams() if seen.source[1] == port]


def _rtp_port(monitor: Baresip) -> int:
    """Where the monitor takes sound and sends it from, by its last description."""
    own = [part for part in monitor.sip_log().split("\nv=0") if "a=tool:baresip" in part]
    return int(own[-1].split("\nm=audio ", 1)[1].split(" ", 1)[0])
