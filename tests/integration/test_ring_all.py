"""Point 2: all monitors of a flat ring at once through the server, with the visitor's picture before the answer."""

import pytest

from tests.support.peers import Peers
from tests.support.picture import picture_timecode
from tests.support.sound import level_db, read_wav
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration


def test_both_monitors_ring_at_once_and_one_shows_the_visitor_before_anybody_answers(peers: Peers) -> None:
    server = peers.kamailio()
    early = peers.baresip("101", server=server, answer_mode="early")
    plain = peers.baresip("102", server=server)
    door = peers.portero(server=server, stages=[(["101", "102"], 30)])
    door.wait_registered()

    press = door.press()
    wait_until(lambda: plain.count("CALL_INCOMING"), "the second monitor rings")
    first = picture_timecode(early.snapshot(peers.folder / "first.png"))
    second = picture_timecode(early.snapshot(peers.folder / "second.png"))

    assert first is not None
    assert second is not None
    assert second > first  # it moves
    assert "leg-answered" not in door.kinds(press)
    for status in (180, 183):
        door.wait_event("leg-ringing", press=press, status=status)
    ringing = {(event["leg"], event["status"]): event for event in door.events("leg-ringing", press)}
    assert {status for _, status in ringing} == {180, 183}
    assert [event["early_media"] for (_, status), event in ringing.items() if status == 183] == [True]
    invites = door.events("invite-sent", press)
    assert [event["target"] for event in invites] == ["101", "102"]
    # At once: both were on their way before anything came back.
    assert invites[1]["seq"] < min(event["seq"] for event in ringing.values())
    assert "Street door" in early.sip_log()
    assert door.wait_event("rtp-started", press=press, media="video", direction="sent")

    door.hang_up()

    wait_until(lambda: early.count("CALL_CLOSED") and plain.count("CALL_CLOSED"), "both stop ringing")
    assert door.wait_event("press-ended", press=press)["outcome"] == "cancelled"


def test_picture_goes_on_over_the_answer_and_after_a_lost_start_a_key_frame_comes_soon(peers: Peers) -> None:
    monitor = peers.baresip("101")
    door = peers.portero(stages=[([monitor.uri], 30)])

    press = door.press()
    wait_until(lambda: monitor.count("CALL_INCOMING"), "the monitor rings")
    monitor.accept()
    door.wait_event("leg-answered", press=press)

    assert picture_timecode(monitor.snapshot(peers.folder / "talking.png")) is not None


@pytest.mark.sound
def test_visitor_hears_ringback_while_it_rings_and_the_flats_own_sound_where_it_sends_some(peers: Peers) -> None:
    plain = peers.baresip("102", video=False)
    early, phone = peers.early_phone(hz=1000)
    door = peers.portero(stages=[([plain.uri], 2.5), ([early.uri], 20)])

    press = door.press()
    door.wait_event("door-sound", press=press, sound="ringback")
    door.wait_event("leg-ringing", press=press, early_media=True)
    phone.send_to(*early.offered_audio())
    door.wait_event("door-sound", press=press, sound="early-media")
    heard_s = read_wav(door.speaker).seconds
    wait_until(lambda: read_wav(door.speaker).seconds > heard_s + 1.5, "the visitor hears a while")

    heard = read_wav(door.speaker)
    assert level_db(heard.part(0.1, 1.3), 425) > -35  # Spain: 425 Hz, 1.5 s on, 3 s off
    assert level_db(heard.part(heard.seconds - 1), 1000) > -20
