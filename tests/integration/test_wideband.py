"""Calls in G.722 and Opus with real phones: each side hears the other's tone, beyond a telephone's band."""

import pytest

from tests.support.peers import Peers
from tests.support.sound import Sound, level_db, loudest_hz, read_wav
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.sound]

TALK_S = 4
DOOR_HZ, FLAT_HZ = 5200, 4600  # a telephone's band ends at 3400
SENT_DB = -12.0


def _check(heard: Sound, hz: int, gain_db: float = 0.0) -> None:
    talk = heard.part(heard.seconds - TALK_S, heard.seconds - 1)
    assert abs(loudest_hz(talk, 200, 7000) - hz) <= 10
    assert level_db(talk, hz) == pytest.approx(SENT_DB + gain_db, abs=3)


@pytest.mark.parametrize(("codec", "baresips"), [("G722", "g722/16000/1"), ("opus", "opus/48000/2")])
def test_a_wideband_call_with_baresip(peers: Peers, codec: str, baresips: str) -> None:
    phone = peers.baresip("101", tone_hz=FLAT_HZ, codecs=baresips, video=False)
    door = peers.portero(stages=[([phone.uri], 30)], microphone_hz=DOOR_HZ, sound_hz=16_000)

    press = door.press()
    wait_until(lambda: phone.count("CALL_INCOMING"), "the phone rings")
    phone.accept()
    door.wait_event("leg-answered", press=press)
    wait_until(lambda: phone.heard_s() > TALK_S + 1, "talk", TALK_S + 30, poll_s=0.2)
    phone.hang_up()
    ended = door.wait_event("leg-ended", press=press)

    assert ended["statistics"]["audio_codec"] == codec
    _check(read_wav(phone.heard()[-1]), DOOR_HZ)
    _check(read_wav(door.speaker), FLAT_HZ)


# Its G.722 coder halves and its decoder doubles what FFmpeg, libspandsp and baresip agree on, at every pitch.
@pytest.mark.parametrize(("codec", "its_gain_db"), [("G722", 6.0), ("opus", 0.0)])
def test_a_wideband_call_with_linphone(peers: Peers, codec: str, its_gain_db: float) -> None:
    phone = peers.linphone("103", tone_hz=FLAT_HZ, codecs=[codec])
    door = peers.portero(stages=[([phone.uri], 30)], microphone_hz=DOOR_HZ, sound_hz=16_000)

    press = door.press()
    wait_until(lambda: phone.reached("IncomingReceived"), "the phone rings")
    phone.answer()
    door.wait_event("leg-answered", press=press)
    wait_until(lambda: phone.recorded_s() > TALK_S + 1, "talk", TALK_S + 30, poll_s=0.2)
    phone.hang_up()
    ended = door.wait_event("leg-ended", press=press)
    wait_until(lambda: phone.reached("Released"), "the call is over")

    assert ended["statistics"]["audio_codec"] == codec
    _check(read_wav(phone.recording), DOOR_HZ, its_gain_db)
    _check(read_wav(door.speaker), FLAT_HZ, -its_gain_db)
