"""The peers among themselves, with no Portero: when one of these fails, the workshop is broken, not the station."""

import pytest

from tests.support.peers import Peers
from tests.support.sip_probe import answers_options
from tests.support.sound import level_db, longest_gap_ms, loudest_hz, read_wav
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration


@pytest.mark.sound
def test_monitor_calls_phone_through_the_server_and_each_hears_the_others_tone(peers: Peers) -> None:
    server = peers.kamailio()
    monitor = peers.baresip("101", server=server, tone_hz=1000)
    phone = peers.linphone("103", server=server, tone_hz=440)

    monitor.dial("sip:103@door.test")
    wait_until(lambda: phone.reached("IncomingReceived"), "the phone rings")
    phone.answer()
    wait_until(lambda: monitor.count("CALL_ESTABLISHED"), "the call stands")
    monitor.press_keys("42")
    wait_until(lambda: phone.debug_has("dtmf 4(?s:.)*dtmf 2"), "both keys are heard")
    wait_until(lambda: monitor.heard_s() > 1.5, "a second and a half of sound")
    monitor.hang_up()
    wait_until(lambda: phone.reached("Released"), "the call is over")

    at_monitor = read_wav(monitor.heard()[0]).part(0.2)
    assert abs(loudest_hz(at_monitor) - 440) <= 10
    assert abs(level_db(at_monitor.part(0.2, 1.0), 440) - -12) < 3
    assert longest_gap_ms(at_monitor) < 60
    assert abs(loudest_hz(read_wav(phone.recording)) - 1000) <= 10


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_monitor_answers_a_ping_without_a_server(peers: Peers, host: str) -> None:
    monitor = peers.baresip("101", host=host, video=False)

    assert wait_until(lambda: answers_options(host, monitor.port), "an answer to OPTIONS")


def test_sipp_pings_the_server_over_udp_and_tcp(peers: Peers) -> None:
    server = peers.kamailio()

    for transport in ("udp", "tcp"):
        # No such user: the ping is for the server itself.
        ping = peers.sipp("options", remote=f"127.0.0.1:{server.port}", service="ping", transport=transport)
        ping.result()


def test_server_forgets_its_bindings_when_restarted_and_serves_on_the_same_port(peers: Peers) -> None:
    server = peers.kamailio()
    phone = peers.baresip("101", server=server, video=False)
    caller = peers.baresip("102", server=server, video=False)

    server.stop()
    server.start()
    caller.dial("sip:101@door.test")

    wait_until(lambda: "480 Temporarily Unavailable" in caller.sip_log(), "the server knows 101 no more")
    assert "CALL_INCOMING" not in phone.kinds()


def test_monitor_with_early_media_answers_183_with_its_own_description(peers: Peers) -> None:
    early = peers.baresip("101", answer_mode="early")
    caller = peers.baresip("102")

    caller.dial(early.uri)

    wait_until(lambda: caller.count("CALL_PROGRESS"), "183 arrives")
    early.snapshot(peers.folder / "early.png")  # it decodes H.264 before the answer
    early.accept()
    wait_until(lambda: caller.count("CALL_ESTABLISHED"), "the call stands")


def test_capture_sees_what_a_monitor_sends(peers: Peers) -> None:
    monitor = peers.baresip("101", video=False)
    capture = peers.capture(f"udp port {monitor.port}")

    answers_options("127.0.0.1", monitor.port)

    wait_until(lambda: any(seen.payload.startswith(b"SIP/2.0 ") for seen in capture.datagrams()), "its answer")
