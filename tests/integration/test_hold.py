"""Phones put the door on hold and take it back, whoever called: its sound stops, and goes on as the same stream.

What it says of its session stays its session: one `o=` line whose version rises with each change, and no more.
"""

import re
import time
from itertools import pairwise

import pytest

from tests.support.capture import Capture, Datagram
from tests.support.certificates import Authority
from tests.support.linphone import Linphone
from tests.support.peers import Peers
from tests.support.sound import level_db, read_wav
from tests.support.station import Portero
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

FLAT_HZ = 440


def test_linphone_answers_holds_and_resumes(peers: Peers) -> None:
    phone = peers.linphone("103", tone_hz=FLAT_HZ)
    door = peers.portero(stages=[([phone.uri], 20)])
    capture = peers.capture("udp and src host 127.0.0.1")

    press = door.press()
    wait_until(lambda: phone.reached("IncomingReceived"), "the phone rings")
    phone.answer()

    _held_and_taken_back(phone, door, capture, press)


@pytest.mark.parametrize("transport", ["udp", "tls"])
def test_linphone_calls_through_the_server_holds_and_resumes(peers: Peers, transport: str) -> None:
    authority = Authority(peers.folder / "authority")
    server = peers.kamailio(certificate=authority.issue("DNS:door.test", "DNS:127.0.0.1"))
    phone = peers.linphone("103", server=server, transport=transport, ca_file=authority.file, tone_hz=FLAT_HZ)
    allowed = {"policy": "auto-answer", "from": ["sip:103@door.test"]}
    door = peers.portero(
        server=server,
        transport=transport,
        ca_file=authority.file,
        stages=[(["103"], 20)],
        sections={"calls.incoming": allowed},
    )
    capture = peers.capture("udp and src host 127.0.0.1")
    door.wait_registered()

    phone.dial("sip:door@door.test")

    _held_and_taken_back(phone, door, capture, door.wait_event("incoming-call")["press"])


def test_monitor_holds_and_resumes_twice(peers: Peers) -> None:
    monitor = peers.baresip("101", answer_mode="auto", tone_hz=FLAT_HZ, video=False)
    door = peers.portero(stages=[([monitor.uri], 20)])
    capture = peers.capture("udp and src host 127.0.0.1")
    press = door.press()
    door.wait_event("leg-answered", press=press)
    port = int(monitor.sip_log().rsplit("\nm=audio ", 1)[1].split(" ", 1)[0])

    for _ in range(2):
        _sound_grows(capture, port)
        monitor.command("hold")
        _is_silent(capture, port)
        monitor.command("resume")
    _sound_grows(capture, port)

    assert "leg-ended" not in door.kinds(press)
    _is_one_stream(_sound(capture, port))
    said = [seen.payload for seen in capture.datagrams() if seen.source[1] == door.sip_port]
    _is_one_session(b"".join(said).decode(), changes=4)


def _held_and_taken_back(phone: Linphone, door: Portero, capture: Capture, press: int) -> None:
    port = phone.port + 2
    _sound_grows(capture, port)
    phone.hold()
    wait_until(lambda: phone.reached("Paused"), "the phone holds")
    _is_silent(capture, port)
    phone.resume()
    _sound_grows(capture, port)
    assert "leg-ended" not in door.kinds(press)
    phone.hang_up()
    door.wait_event("leg-ended", press=press)

    _is_one_stream(_sound(capture, port))
    _is_one_session(phone.debug_log.read_text(errors="replace"), changes=2)
    # The visitor hears the flat again.
    assert level_db(read_wav(door.speaker).part(-0.6, -0.1), FLAT_HZ) > -20


def _sound(capture: Capture, port: int) -> list[Datagram]:
    """The door's sound to the phone at `port`, packets of 20 ms."""
    return [seen for seen in capture.datagrams() if seen.target[1] == port and len(seen.payload) == 172]


def _sound_grows(capture: Capture, port: int) -> None:
    before = len(_sound(capture, port))
    wait_until(lambda: len(_sound(capture, port)) > before + 50, "a second of the door's sound")


def _is_silent(capture: Capture, port: int) -> None:
    wait_until(lambda: time.time() - _sound(capture, port)[-1].at_s > 0.5, "half a second without the door's sound")


def _is_one_stream(sound: list[Datagram]) -> None:
    """The same source throughout, its numbers going on: the phone need not find it anew."""
    assert len({packet.payload[8:12] for packet in sound}) == 1
    numbers = [int.from_bytes(packet.payload[2:4], "big") for packet in sound]
    # On a crowded machine the capture loses some; what begins anew would begin anywhere in 65536.
    assert all(1 <= (after - before) % 2**16 < 25 for before, after in pairwise(numbers))


def _is_one_session(messages: str, *, changes: int) -> None:
    """By every description that the door gave; a phone's own begins with its number."""
    lines = re.findall(r"^o=- (\d+) (\d+) IN IP4 127\.0\.0\.1\r?$", messages, re.MULTILINE)
    assert len({session for session, _ in lines}) == 1
    versions = [int(version) for _, version in lines]
    assert sorted(set(versions)) == list(range(versions[0], versions[0] + changes + 1))
