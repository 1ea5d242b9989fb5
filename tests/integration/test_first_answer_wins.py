"""Point 3: one answer ends the ringing everywhere else, and two answers at once leave one call."""

import re

import pytest

from tests.support.peers import Peers
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'


def test_one_monitor_answers_and_the_other_is_cancelled_with_the_reason(peers: Peers) -> None:
    server = peers.kamailio()
    first = peers.baresip("101", server=server)
    second = peers.baresip("102", server=server)
    door = peers.portero(server=server, stages=[(["101", "102"], 30)])
    door.wait_registered()

    press = door.press()
    wait_until(lambda: first.count("CALL_INCOMING") and second.count("CALL_INCOMING"), "both ring")
    second.accept()
    wait_until(lambda: first.count("CALL_CLOSED"), "the first stops ringing")

    cancel = first.sip_log().split("\nCANCEL ", 1)[1].split("\r\n\r\n" if "\r" in first.sip_log() else "\n\n", 1)[0]
    assert f"Reason: {ELSEWHERE}" in cancel
    wait_until(lambda: second.count("CALL_ESTABLISHED"), "the second talks")
    assert door.wait_event("leg-cancelled", press=press)["reason"] == "Call completed elsewhere"
    assert len(door.events("leg-answered", press)) == 1
    second.hang_up()
    assert door.wait_event("press-ended", press=press)["outcome"] == "answered"


def test_two_answers_in_the_same_millisecond_leave_one_call_and_one_ack_and_bye(peers: Peers) -> None:
    rounds = 4
    phones = [peers.sipp("answers", calls=rounds) for _ in range(2)]
    door = peers.portero(stages=[([phone.uri for phone in phones], 30)])

    for _ in range(rounds):
        press = door.press()
        door.wait_event("leg-answered", press=press)
        wait_until(lambda: sum(len(_received(phone, "BYE")) for phone in phones) % 2 == 1, "one is told BYE")
        assert len(door.events("leg-answered", press)) == 1
        door.hang_up()
        door.wait_event("press-ended", press=press)

    for phone in phones:
        phone.result()
        byes = _received(phone, "BYE")
        assert len(byes) == rounds
        assert len(_received(phone, "ACK")) == rounds
    told = [bye for phone in phones for bye in _received(phone, "BYE") if ELSEWHERE in bye]
    assert len(told) == rounds  # the losers know why; the winners hung up as people do


def test_answer_that_crosses_the_cancel_is_acknowledged_and_ended(peers: Peers) -> None:
    late = peers.sipp("answers_despite_cancel")
    monitor = peers.baresip("101", video=False)
    door = peers.portero(stages=[([late.uri, monitor.uri], 30)])

    press = door.press()
    wait_until(lambda: monitor.count("CALL_INCOMING"), "the monitor rings")
    door.wait_event("leg-ringing", press=press)
    monitor.accept()

    late.result(10)
    assert "leg-ended" not in door.kinds(press)  # the other call goes on
    assert monitor.has_call()


def _received(phone: object, method: str) -> list[str]:
    """Every distinct request of this method in sipp's message log."""
    text = phone.message_text()  # type: ignore[attr-defined]
    messages = re.split(r"^-{10,}.*\n", text, flags=re.MULTILINE)
    found = {}
    for message in messages:
        body = message.partition("\n\n")[2]
        if "message received" in message.partition("\n")[0] and body.startswith(f"{method} "):
            branch = re.search(r"branch=(\S+)", body)
            found[branch.group(1) if branch else body] = body
    return list(found.values())
