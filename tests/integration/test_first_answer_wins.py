"""Point 3: one answer ends the ringing everywhere else, and two answers at once leave one call."""

import pytest

from tests.support.peers import Peers
from tests.support.twin_phones import TwinPhones
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
    phones = peers.twin_phones()
    left, right = phones.twins
    door = peers.portero(stages=[([left.uri, right.uri], 30)])

    apart_s = []
    for count in range(1, 6):
        press = door.press()
        wait_until(phones.ringing, "both ring")
        phones.answer_both()
        door.wait_event("leg-answered", press=press)
        wait_until(lambda: left.acknowledged and right.acknowledged, "both answers are acknowledged")
        wait_until(lambda n=count: _losses(phones) == n, "one of them is ended at once")

        apart_s.append(abs(left.answered_s - right.answered_s))
        assert len(door.events("leg-answered", press)) == 1
        assert len(left.requests("BYE")) + len(right.requests("BYE")) == 2 * count - 1  # the other talks
        door.hang_up()
        door.wait_event("press-ended", press=press)
        wait_until(lambda n=count: len(left.requests("BYE")) == len(right.requests("BYE")) == n, "both are over")
        phones.forget_call()

    assert len(left.requests("ACK")) == len(right.requests("ACK")) == 5
    assert min(apart_s) < 0.001  # a busy machine may have come between the two now and then


def _losses(phones: TwinPhones) -> int:
    """How many were told that the call was completed elsewhere, in a BYE: a CANCEL came too late for them."""
    return sum(ELSEWHERE in bye for twin in phones.twins for bye in twin.requests("BYE"))


def test_answer_that_crosses_the_cancel_is_acknowledged_and_ended(peers: Peers) -> None:
    late = peers.sipp("answers_despite_cancel")
    monitor = peers.baresip("101", video=False)
    door = peers.portero(stages=[([late.uri, monitor.uri], 30)])

    press = door.press()
    wait_until(lambda: monitor.count("CALL_INCOMING"), "the monitor rings")
    door.wait_event("leg-ringing", press=press)
    monitor.accept()

    late.result()
    assert "leg-ended" not in door.kinds(press)  # the other call goes on
    assert monitor.has_call()
