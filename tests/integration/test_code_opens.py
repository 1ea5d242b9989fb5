"""Point 5: the right code at the right time opens once, for as long as configured; nothing else opens at all."""

from collections.abc import Mapping

import pytest

from tests.support.baresip import Baresip
from tests.support.peers import Peers
from tests.support.station import CODE, DOOR, LATE_MS, PULSE_MS, Portero
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.relay]

WRONG = "9999"


def _call(peers: Peers, sections: Mapping[str, Mapping[str, object]] | None = None) -> tuple[Portero, Baresip, int]:
    """A press whose monitor rings already."""
    monitor = peers.baresip("101", video=False)
    door = peers.portero(stages=[([monitor.uri], 60)], sections=sections)
    press = door.press()
    door.wait_event("leg-ringing", press=press)
    wait_until(lambda: monitor.count("CALL_INCOMING"), "the monitor rings")
    return door, monitor, press


def _talk(door: Portero, monitor: Baresip, press: int) -> None:
    monitor.accept()
    door.wait_event("leg-answered", press=press)
    wait_until(lambda: monitor.count("CALL_ESTABLISHED"), "the call stands")


def _nothing_opened(door: Portero) -> None:
    assert door.relay.pulses == []
    assert door.relay.edges == 0
    assert not {"access-granted", "relay-on"} & set(door.kinds())


def test_the_code_opens_once_for_the_configured_time(peers: Peers) -> None:
    door, monitor, press = _call(peers)
    _talk(door, monitor, press)

    monitor.press_keys(CODE)
    off = door.wait_event("relay-off", press=press)

    assert len(door.relay.pulses) == 1
    assert door.relay.edges == 2
    assert -10 < door.relay.pulses[0].ms - PULSE_MS < LATE_MS
    assert off["reason"] == "pulse ended"
    granted = door.events("access-granted", press)
    assert [event["door"] for event in granted] == [DOOR]
    assert granted[0]["evidence"]["code_name"] == "family"
    assert granted[0]["evidence"]["direction"] == "outgoing"
    assert all(back["active"] == back["expected"] for back in door.events("relay-read-back", press))
    assert len(door.events("digit-received", press)) == len(CODE)
    for program in door.programs:
        assert CODE not in program.log_text().replace(door.folder.name, "")


def test_the_same_code_opens_again_in_the_same_call(peers: Peers) -> None:
    door, monitor, press = _call(peers)
    _talk(door, monitor, press)

    for count in (1, 2):
        monitor.press_keys(CODE)
        wait_until(lambda count=count: len(door.events("relay-off", press)) == count, f"opening {count}")

    assert door.relay.edges == 4


def test_call_ends_some_seconds_after_the_door_opened_where_configured(peers: Peers) -> None:
    door, monitor, press = _call(peers, {"calls": {"hangup_after_unlock_s": 1}})
    _talk(door, monitor, press)

    monitor.press_keys(CODE)

    ended = door.wait_event("leg-ended", press=press)
    assert ended["by"] == "us"
    assert ended["monotonic_s"] - door.wait_event("relay-on", press=press)["monotonic_s"] >= 1
    wait_until(lambda: monitor.count("CALL_CLOSED"), "the monitor is told")


def test_wrong_code_opens_nothing_and_is_told(peers: Peers) -> None:
    door, monitor, press = _call(peers)
    _talk(door, monitor, press)

    monitor.press_keys(WRONG)

    refused = door.wait_event("access-refused", press=press)
    assert "wrong code" in refused["reason"]
    assert WRONG not in str(refused)
    _nothing_opened(door)


def _ring_early(peers: Peers, sections: Mapping[str, Mapping[str, object]] | None = None) -> Portero:
    """A press whose phone, with sound before the answer, types the code."""
    early, phone = peers.early_phone()
    door = peers.portero(stages=[([early.uri], 60)], sections=sections)
    door.press()
    door.wait_event("leg-ringing", early_media=True)
    phone.send_to(*early.offered_audio())
    door.wait_event("rtp-started", media="audio", direction="received")
    phone.press_keys(CODE)
    return door


def test_code_before_the_answer_is_refused_by_default(peers: Peers) -> None:
    door = _ring_early(peers)

    assert "before the answer" in door.wait_event("access-refused")["reason"]
    _nothing_opened(door)


def test_code_before_the_answer_opens_where_the_policy_allows_it(peers: Peers) -> None:
    door = _ring_early(peers, {"calls": {"unlock_while_ringing": True}})

    door.wait_event("relay-off")
    assert len(door.relay.pulses) == 1
    assert not door.events("leg-answered")


def test_code_from_a_phone_that_called_in_is_refused(peers: Peers) -> None:
    server = peers.kamailio()
    caller = peers.baresip("102", server=server, video=False)
    sections = {"calls.incoming": {"policy": "auto-answer", "from": ["sip:102@door.test"]}}
    door = peers.portero(server=server, stages=[(["101"], 20)], sections=sections)
    door.wait_registered()

    caller.dial("sip:door@door.test")
    wait_until(lambda: caller.count("CALL_ESTABLISHED"), "the door takes the call")
    incoming = door.wait_event("incoming-call")
    caller.press_keys(CODE)

    refused = door.wait_event("access-refused")
    assert "came in" in refused["reason"]
    assert refused["evidence"]["direction"] == "incoming"
    assert "account pbx" in incoming["proven"]
    _nothing_opened(door)


def test_second_phone_that_calls_in_during_a_call_is_turned_away_and_the_call_goes_on(peers: Peers) -> None:
    door, monitor, press = _call(peers)
    _talk(door, monitor, press)
    second = peers.baresip("102", video=False)

    second.dial(door.uri)

    assert door.wait_event("incoming-refused")["status"] in (403, 486)
    wait_until(lambda: second.count("CALL_CLOSED"), "the second phone is turned away")
    monitor.press_keys(CODE)
    door.wait_event("relay-on", press=press)


def test_caller_who_only_says_in_from_that_he_is_the_flat_is_refused(peers: Peers) -> None:
    server = peers.kamailio()
    sections = {"calls.incoming": {"policy": "auto-answer", "from": ["sip:102@door.test"]}}
    door = peers.portero(server=server, stages=[(["101"], 20)], sections=sections)
    door.wait_registered()

    remote = f"127.0.0.1:{door.sip_port}"
    stranger = peers.sipp("calls_in", remote=remote, keys={"caller": "sip:102@door.test"})

    stranger.result()
    assert "no proof" in door.wait_event("incoming-refused")["reason"]
    assert "incoming-call" not in door.kinds()


def test_endless_digits_open_nothing_even_with_the_code_among_them_and_end_in_the_lock_out(peers: Peers) -> None:
    door, monitor, press = _call(peers, {"access": {"wrong_codes": 3}})
    _talk(door, monitor, press)

    monitor.press_keys("123" + CODE + "5" + CODE + "667788990011", hold_s=0.05, gap_s=0.05)
    locked = door.wait_event("access-locked")
    wait_until(lambda: len(door.events("digit-received", press)) == 24, "all keys arrived")
    monitor.press_keys("*" + CODE)

    wait_until(lambda: "locked" in door.events("access-refused", press)[-1]["reason"], "the right code is refused")
    assert locked["lockout_s"] == 30
    assert locked["source"] == monitor.uri
    _nothing_opened(door)
    door.program.kill()
    door.start_station()
    assert 0 < door.status()["locked_out_s"] <= 30
