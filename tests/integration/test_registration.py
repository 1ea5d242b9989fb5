"""Point 1: the station registers with digest, says so when it cannot, and finds a registrar that was away."""

import time

import pytest

from tests.support.peers import USERS, Peers
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

NOBODY = [(["101"], 20)]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_registers_and_a_call_through_the_server_reaches_it(peers: Peers, transport: str) -> None:
    server = peers.kamailio()
    door = peers.portero(server=server, stages=NOBODY, transport=transport)
    phone = peers.baresip("101", server=server, video=False)

    assert door.wait_registered()["expires_s"] >= 30
    phone.dial("sip:door@door.test")

    refused = door.wait_event("incoming-refused")  # by default nobody may call the door
    assert refused["status"] == 403
    wait_until(lambda: phone.count("CALL_CLOSED"), "the phone hears the refusal")


def test_a_gruu_of_the_server_leads_back_to_the_door(peers: Peers) -> None:
    server = peers.kamailio()
    door = peers.portero(server=server, stages=[(["101"], 20)], account={"gruu": True})
    monitor = peers.baresip("101", server=server, video=False, answer_mode="early")
    door.wait_registered()
    press = door.press()
    door.wait_event("leg-ringing", press=press, status=183)
    monitor.accept()
    door.wait_event("leg-answered", press=press)
    monitor.hang_up()
    assert door.wait_event("leg-ended", press=press)["by"] == "peer"
    (bye, *_) = server.requests("BYE")
    gruu = bye.partition(" got BYE ")[2].split()[0]
    assert gruu.startswith("sip:door@door.test;gr=")

    monitor.dial(gruu)
    assert door.wait_event("incoming-refused")["status"] == 403


def test_registers_over_ipv6(peers: Peers) -> None:
    server = peers.kamailio(hosts=("::1",))
    door = peers.portero(server=server, stages=NOBODY, host="::1")

    door.wait_registered()


def test_a_server_that_asks_for_sha_256_is_satisfied(peers: Peers) -> None:
    server = peers.kamailio(algorithm="SHA-256")
    door = peers.portero(server=server, stages=NOBODY)

    door.wait_registered()


def test_wrong_password_is_a_visible_fault_with_slow_retries_and_stays_secret(peers: Peers) -> None:
    server = peers.kamailio()
    door = peers.portero(server=server, stages=NOBODY, password="not-the-password")

    failed = door.wait_event("registration-changed", state="failed")
    fault = door.wait_event("fault")

    assert failed["status"] in (401, 403)
    assert failed["retry_s"] > 60  # servers ban those who insist
    assert fault["where"] == "account pbx"
    assert fault["remedy"]
    assert "account pbx" in str(door.status()["faults"])
    assert len(server.requests("REGISTER")) <= 3  # without credentials, with, and perhaps with a fresh nonce
    told = "".join(program.log_text() for program in door.programs)
    assert "not-the-password" not in told
    assert USERS["door"] not in told


def test_registrar_that_stops_and_starts_again_is_found_within_one_back_off(peers: Peers) -> None:
    server = peers.kamailio()
    door = peers.portero(server=server, stages=NOBODY, transport="tcp")
    door.wait_registered()

    server.stop()
    door.wait_event("registration-changed", state="failed")  # the connection tells at once
    door.wait_event("fault")
    server.start()
    back_s = time.monotonic()

    wait_until(
        lambda: [event["state"] for event in door.events("registration-changed")][-1] == "registered",
        "registered again",
    )
    failed = [event for event in door.events("registration-changed") if event["state"] == "failed"]
    assert not [event for event in failed if event["monotonic_s"] > back_s], "the first try finds it"
    assert door.wait_event("fault-cleared")["where"] == "account pbx"


def test_unregisters_when_it_stops(peers: Peers) -> None:
    server = peers.kamailio()
    door = peers.portero(server=server, stages=NOBODY)
    phone = peers.baresip("101", server=server, video=False)
    door.wait_registered()

    door.program.stop(8)
    phone.dial("sip:door@door.test")

    assert door.program.exit_code == 0
    wait_until(lambda: "480 Temporarily Unavailable" in phone.sip_log(), "the server knows the door no more")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_answers_the_ping_of_a_server(peers: Peers, transport: str) -> None:
    door = peers.portero(stages=[(["sip:nobody@127.0.0.1:9"], 20)])

    peers.sipp("options", remote=f"127.0.0.1:{door.sip_port}", transport=transport).result()
