"""Keys in every way that phones send them: each press counts once, and none that the street plays counts at all."""

import json
import re
import wave
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support import spandsp
from tests.support.line_phone import LinePhone
from tests.support.linphone import Linphone
from tests.support.peers import Peers
from tests.support.sipp import Sipp
from tests.support.station import CODE, Portero
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

Sections = Mapping[str, Mapping[str, object]]


def _talk(peers: Peers, answers: tuple[Sipp, LinePhone], **options: object) -> tuple[Portero, LinePhone, int]:
    """A call that stands, with sound both ways."""
    sipp, phone = answers
    door = peers.portero(stages=[([sipp.uri], 60)], **options)
    press = door.press()
    door.wait_event("leg-answered", press=press)
    phone.send_to(*sipp.offered_audio())
    door.wait_event("rtp-started", press=press, media="audio", direction="received")
    return door, phone, press


def _keys(door: Portero, kind: str = "digit-received") -> list[str]:
    return [event["source"] for event in door.events(kind)]


def _answers_to_infos(sipp: Sipp) -> int:
    return len(re.findall(r"^SIP/2\.0 .*\n(?:.+\n)*?CSeq: \d+ INFO", sipp.message_text(), re.MULTILINE))


def _events_heard(door: Portero) -> int:
    (leg,) = door.doorctl("call", "--stats")["legs"]
    return int(leg["statistics"]["audio_digits"])


def test_a_code_by_info_in_the_forms_of_different_vendors_opens(peers: Peers) -> None:
    sipp, phone = peers.line_phone("presses_by_info")
    door, _, press = _talk(peers, (sipp, phone))

    door.wait_event("relay-on", press=press)

    assert _keys(door) == ["info"] * 4
    door.hang_up()
    sipp.result()


def test_a_phone_that_sends_each_key_by_info_and_as_event_presses_once(peers: Peers) -> None:
    """The codes are checked as a whole: a key that counted twice would spoil it. Which way is ahead, and by how
    much, is the machine's to say."""
    sipp, phone = peers.line_phone("presses_by_info")
    door, phone, press = _talk(peers, (sipp, phone))

    wait_until(lambda: "SIP/2.0 415 " in sipp.message_text(), "its INFOs begin")
    phone.press_keys(CODE)
    door.wait_event("relay-on", press=press)

    wait_until(lambda: _answers_to_infos(sipp) == 2 + len(CODE), "all its INFOs are answered")
    wait_until(lambda: _events_heard(door) == len(CODE), "all its events have come")
    door.hang_up()
    sipp.result()
    assert len(_keys(door)) == len(CODE)
    assert not door.events("access-refused")


@pytest.mark.parametrize("keys", [["rtp"], ["info"], ["rtp", "info"]], ids="+".join)
def test_linphone_opens_with_its_keys_as_events_by_info_and_both_at_once(peers: Peers, keys: list[str]) -> None:
    phone = peers.linphone("101", keys=keys, auto_answer=True, tone_hz=700)
    # It looks at its calls once a second, and sends an INFO after the answer to the last.
    door = peers.portero(stages=[([phone.uri], 60)], sections={"calls": {"dtmf_timeout_s": 15}})
    press = door.press()
    door.wait_event("leg-answered", press=press)
    door.wait_event("rtp-started", press=press, media="audio", direction="received")

    times = _type_until_it_opens(door, phone, press)
    if "info" in keys:
        answered = rf"(?s)(SIP/2.0 200 OK.*?CSeq: \d+ INFO.*){{{times * len(CODE)}}}"
        wait_until(lambda: phone.debug_has(answered), "all its INFOs are answered")

    told = _keys(door) + _keys(door, "digit-refused")
    assert len(told) == times * len(CODE)
    assert set(told) <= set(keys)


def _type_until_it_opens(door: Portero, phone: Linphone, press: int) -> int:
    """How often, as a person does: a door whose sound stood still on a crowded machine refuses keys, for it cannot
    know whether the street had played them."""
    ended = ("relay-on", "access-refused")
    for times in (1, 2, 3):
        phone.press_keys(CODE)
        wait_until(lambda n=times: sum(map(door.kinds(press).count, ended)) == n, "it opens, or refuses", 60)
        if door.events("relay-on", press) or not door.events("digit-refused", press):
            break
    door.wait_event("relay-on", press=press)
    return times


def test_info_does_not_count_where_the_configuration_leaves_it_out(peers: Peers) -> None:
    sections = {"access": {"keys_by": ["rtp"]}}
    sipp, phone = peers.line_phone("presses_by_info")
    door, phone, press = _talk(peers, (sipp, phone), sections=sections)

    wait_until(lambda: _answers_to_infos(sipp) == 2 + len(CODE), "the door has answered all INFOs")
    phone.press_keys(CODE)
    door.wait_event("relay-on", press=press)

    assert _keys(door) == ["rtp"] * len(CODE)


def test_a_code_as_sound_opens_where_the_phone_takes_no_events(peers: Peers) -> None:
    door, phone, press = _talk(peers, peers.line_phone(formats="8"))

    phone.play_keys(CODE)
    door.wait_event("relay-on", press=press)

    assert _keys(door) == ["inband"] * len(CODE)
    for program in door.programs:
        assert CODE not in program.log_text().replace(door.folder.name, "")


def test_a_code_as_sound_is_only_sound_where_the_phone_takes_events(peers: Peers) -> None:
    door, phone, press = _talk(peers, peers.line_phone())

    phone.play_keys(CODE)
    phone.press_keys(CODE)
    door.wait_event("relay-on", press=press)

    assert _keys(door) == ["rtp"] * len(CODE)


def _tones_at_the_door(folder: Path, *, level_dbm0: int = -10) -> Path:
    """A code that somebody plays at the microphone again and again, after a second of quiet."""
    if missing := spandsp.missing():
        pytest.skip(missing)
    file = folder / "street.wav"
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(bytes(16_000) + spandsp.tape(CODE, tone_ms=120, gap_ms=120, dbm0=level_dbm0))
    return file


@pytest.mark.parametrize("level_dbm0", [-6, -30])
def test_a_code_played_at_the_microphone_opens_nothing_though_a_gateway_turns_it_into_events(
    peers: Peers, level_dbm0: int
) -> None:
    street = _tones_at_the_door(peers.folder, level_dbm0=level_dbm0)
    door, phone, press = _talk(peers, peers.line_phone(converts=True), microphone_file=street)

    wait_until(lambda: len(_keys(door, "digit-refused")) >= 2 * len(CODE), "the code comes back twice")

    assert phone.keys_heard >= 2 * len(CODE)
    assert _keys(door) == []
    assert door.relay.edges == 0
    assert "it had gone out from the door's own microphone" in json.dumps(door.why(press))


def test_a_code_played_at_the_microphone_opens_nothing_though_a_speakerphone_echoes_it(peers: Peers) -> None:
    street = _tones_at_the_door(peers.folder)
    door, phone, _ = _talk(peers, peers.line_phone(formats="8", echo=0.5), microphone_file=street)

    wait_until(lambda: len(_keys(door, "digit-refused")) >= 2 * len(CODE), "the code comes back twice")

    assert phone.keys_heard >= 2 * len(CODE)
    assert _keys(door) == []
    assert door.relay.edges == 0


def test_a_code_played_at_the_microphone_opens_nothing_with_a_real_phone(
    peers: Peers,
) -> None:
    monitor = peers.baresip("101", video=False)
    door = peers.portero(stages=[([monitor.uri], 60)], microphone_file=_tones_at_the_door(peers.folder))
    press = door.press()
    door.wait_event("leg-ringing", press=press)
    monitor.accept()
    wait_until(lambda: monitor.heard_s() > 4, "the tones arrive at the phone")
    assert door.relay.edges == 0
    assert _keys(door) == []
    door.hang_up()


def test_keys_of_the_door_arrive_at_the_phone_and_do_not_come_back(peers: Peers) -> None:
    """An echo of keys that went out as sound opens nothing either."""
    door, phone, press = _talk(peers, peers.line_phone(formats="8", echo=0.5))

    def come_back() -> bool:  # pressed again where a stall of the machine spoilt a tone
        assert door.doorctl("keys", CODE)["keys"] == len(CODE)
        return len(_keys(door, "digit-refused")) >= len(CODE)

    wait_until(come_back, "they come back", poll_s=3)

    assert phone.keys_heard >= len(CODE)
    assert door.relay.edges == 0
    assert {event["keys"] for event in door.events("keys-sent", press)} == {len(CODE)}
