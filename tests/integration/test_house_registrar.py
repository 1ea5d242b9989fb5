"""A house without a PBX: phones register at the station, it rings them, and they call each other through it."""

import pytest

from tests.support.peers import Peers
from tests.support.station import CODE
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

USERS = {"anna": "anna-secret", "bob": "bob-secret-2"}


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_whole_call_to_a_user_of_the_house(peers: Peers, transport: str) -> None:
    door = peers.portero(users=USERS, stages=[(["anna"], 20)])
    monitor = peers.baresip("anna", server=door.registrar, transport=transport, answer_mode="early")
    assert door.wait_event("user-registered", user="anna")["source"].startswith(transport)

    press = door.press()
    wait_until(monitor.has_call, "the monitor rings")
    door.wait_event("leg-ringing", press=press, status=183)
    monitor.accept()
    door.wait_event("leg-answered", press=press)
    wait_until(lambda: monitor.heard_s() > 0.5, "the monitor hears the door")
    monitor.press_keys(CODE)
    door.wait_event("relay-off", press=press)
    monitor.hang_up()

    assert door.wait_event("leg-ended", press=press)["by"] == "peer"


def test_a_monitor_sees_the_door_ring_talk_and_hang_up(peers: Peers) -> None:
    door = peers.portero(users=USERS, stages=[(["bob"], 20)])
    bob = peers.baresip("bob", server=door.registrar, video=False)
    press = door.press()
    wait_until(bob.has_call, "bob's phone rings")
    door.wait_event("leg-ringing", press=press)

    lamp = peers.sipp("watches", remote=f"127.0.0.1:{door.sip_port}", keys={"user": "anna"})
    told = door.wait_event("watcher-changed")
    assert (told["active"], told["proven"]) == (True, "user anna, by password")
    wait_until(lambda: ">early<" in lamp.message_text(), "the lamp shows that the door rings")
    bob.accept()
    wait_until(lambda: ">confirmed<" in lamp.message_text(), "the lamp shows that they talk")
    bob.hang_up()

    lamp.result()
    door.wait_event("watcher-changed", active=False)


def test_every_phone_of_a_user_rings_and_linphone_answers(peers: Peers) -> None:
    door = peers.portero(users=USERS, stages=[(["bob"], 30)])
    first = peers.baresip("bob", server=door.registrar, transport="tcp", video=False)
    second = peers.linphone("bob", server=door.registrar, tone_hz=440)
    wait_until(lambda: len(door.events("user-registered")) == 2, "both register")
    (bob,) = [user for user in door.status()["users"] if user["name"] == "bob"]
    assert len(bob["phones"]) == 2

    press = door.press()
    wait_until(first.has_call, "the first rings")
    wait_until(lambda: second.reached("IncomingReceived"), "the second rings")
    second.answer()
    answered = door.wait_event("leg-answered", press=press)
    wait_until(lambda: first.count("CALL_CLOSED"), "the first stops ringing")

    assert {sent["leg"] for sent in door.events("invite-sent", press)} > {answered["leg"]}
    door.hang_up()


@pytest.mark.parametrize("transports", [("udp", "udp"), ("udp", "tcp"), ("tcp", "udp")], ids="-".join)
def test_one_user_calls_the_other_through_the_door(peers: Peers, transports: tuple[str, str]) -> None:
    door = peers.portero(users=USERS, stages=[(["anna"], 20)])
    anna = peers.baresip("anna", server=door.registrar, transport=transports[0], video=False)
    bob = peers.linphone("bob", server=door.registrar, transport=transports[1], tone_hz=440)

    anna.dial("sip:bob@door.test")
    wait_until(lambda: bob.reached("IncomingReceived"), "bob's phone rings")
    bob.answer()
    wait_until(lambda: anna.count("CALL_ESTABLISHED"), "the call is up")
    wait_until(lambda: anna.heard_s() > 1, "anna hears bob")
    bob.hang_up()
    wait_until(lambda: anna.count("CALL_CLOSED"), "anna hears that it is over")

    assert door.events("press-ended") == []  # none of the door's own business


def test_linphone_calls_baresip_and_gives_up(peers: Peers) -> None:
    door = peers.portero(users=USERS, stages=[(["anna"], 20)])
    anna = peers.baresip("anna", server=door.registrar, video=False)
    bob = peers.linphone("bob", server=door.registrar)

    bob.dial("sip:anna@door.test")
    wait_until(anna.has_call, "anna's phone rings")
    bob.hang_up()

    wait_until(lambda: anna.count("CALL_CLOSED"), "it stops ringing")


def test_a_user_calls_the_door_and_is_let_in_by_his_password(peers: Peers) -> None:
    door = peers.portero(
        users=USERS,
        stages=[(["anna"], 20)],
        sections={"calls.incoming": {"policy": "auto-answer", "from": ["anna"]}},
    )
    anna = peers.baresip("anna", server=door.registrar, video=False)
    bob = peers.baresip("bob", server=door.registrar, video=False)

    bob.dial("sip:door@door.test")
    assert "calls.incoming.from" in door.wait_event("incoming-refused")["reason"]
    anna.dial("sip:door@door.test")
    wait_until(lambda: anna.count("CALL_ESTABLISHED"), "the door answers")

    assert "password" in door.wait_event("incoming-call")["proven"]


def test_the_station_rings_its_users_again_after_a_power_cut(peers: Peers) -> None:
    door = peers.portero(users=USERS, stages=[(["anna"], 20)])
    monitor = peers.baresip("anna", server=door.registrar, video=False)
    wait_until(lambda: (door.folder / "state" / "bindings.json").exists(), "the binding is on disk")

    door.program.kill()
    door.start_station()
    assert [len(user["phones"]) for user in door.status()["users"]] == [1, 0]
    press = door.press()

    wait_until(monitor.has_call, "the monitor rings")
    door.wait_event("leg-ringing", press=press)
    assert len(door.events("user-registered")) == 1  # it had not registered again by then


def test_a_user_who_is_not_registered_fails_the_leg_and_why_says_so(peers: Peers) -> None:
    door = peers.portero(users=USERS, stages=[(["anna"], 20)])

    press = door.press()
    failed = door.wait_event("leg-failed", press=press)
    door.wait_event("press-ended", press=press)

    assert failed["reason"] == "anna is not registered"
    assert "anna is not registered" in str(door.why(press)["verdict"])


def test_a_wrong_password_is_told_and_stays_secret(peers: Peers) -> None:
    door = peers.portero(users=USERS, stages=[(["anna"], 20)])
    phone = peers.baresip("anna", server=door.registrar, password="not-the-password", wait=False)

    refused = door.wait_event("user-refused", user="anna")
    wait_until(lambda: phone.sip_log().count("401 Unauthorized") > 1, "the phone is refused")

    assert (refused["reason"], refused["status"]) == ("wrong password", 401)
    assert [len(user["phones"]) for user in door.status()["users"]] == [0, 0]
    told = "".join(program.log_text() for program in door.programs)
    assert USERS["anna"] not in told
    assert "not-the-password" not in told
