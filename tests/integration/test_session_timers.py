"""Session timers in real time: the door refreshes at half the interval, and ends a call that nobody refreshes.

The shortest interval there may be is 90 seconds, so the calls of this file run beside each other, each with a
station of its own.
"""

import pytest

from tests.support.peers import Peers
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

INTERVAL_S = 90
ALLOWED = {"calls.incoming": {"policy": "auto-answer", "from": ["sip:103@127.0.0.1"]}}


def test_pitfall_17_door_refreshes_at_half_the_interval_and_ends_what_nobody_refreshes(peers: Peers) -> None:
    scenarios = ("refreshed_by_update", "refreshed_by_invite", "forgets_to_refresh")
    phones = [peers.sipp(scenario, timeout_s=3 * INTERVAL_S) for scenario in scenarios]
    doors = [peers.portero(stages=[([phone.uri], 20)], sections={"media": {"video": False}}) for phone in phones]

    for door in doors:
        door.press()
    answered = [door.wait_event("leg-answered") for door in doors]
    for phone in phones:
        phone.result(3 * INTERVAL_S)
    ended = [door.wait_event("leg-ended") for door in doors]

    assert [event["by"] for event in ended] == ["peer", "peer", "network"]
    lasted = [end["monotonic_s"] - start["monotonic_s"] for start, end in zip(answered, ended, strict=True)]
    # Late at most by what a crowded machine delays; never early.
    assert all(INTERVAL_S / 2 - 1 < each < INTERVAL_S / 2 + 10 for each in lasted[:2])
    assert INTERVAL_S * 2 / 3 - 1 < lasted[2] < INTERVAL_S


@pytest.mark.parametrize(("wanted_s", "agreed_s"), [(60, 90), (600, 600)])
def test_linphone_agrees_on_a_session_timer_with_the_door(peers: Peers, wanted_s: int, agreed_s: int) -> None:
    phone = peers.linphone("103", session_timer_s=wanted_s)
    door = peers.portero(stages=[(["sip:nobody@127.0.0.1:9"], 5)], sections=ALLOWED)

    phone.dial(door.uri)
    door.wait_event("incoming-call")
    wait_until(lambda: phone.reached("StreamsRunning"), "the call stands")

    assert phone.debug_has(rf"SIP/2\.0 200 (?s:.)*\nSession-Expires: {agreed_s};refresher=ua[cs]")
    assert phone.debug_has(r"SIP/2\.0 422 (?s:.)*\nMin-SE: 90") == (wanted_s < 90)
    phone.hang_up()
    door.wait_event("leg-ended")
