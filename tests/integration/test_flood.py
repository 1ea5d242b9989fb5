"""Three thousand bogus messages a second, for as long as a call lasts: both sides go on hearing each other."""

import re
import sys
from pathlib import Path

import pytest

from tests.support.peers import Peers
from tests.support.processes import Program
from tests.support.sound import level_db, longest_gap_ms, loudest_hz, read_wav
from tests.support.stalls import StallWatch
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.sound]

PER_SECOND, LONG_S = 3000, 15
DOOR_HZ, FLAT_HZ = 620, 1000
GAP_S = 0.06


def test_a_flood_of_bogus_messages_costs_the_call_no_gap(peers: Peers) -> None:
    monitor = peers.baresip("101", tone_hz=FLAT_HZ, video=False)
    door = peers.portero(stages=[([monitor.uri], 30)], microphone_hz=DOOR_HZ)
    press = door.press()
    wait_until(lambda: monitor.count("CALL_INCOMING"), "the monitor rings")
    monitor.accept()
    door.wait_event("leg-answered", press=press)
    wait_until(lambda: monitor.heard_s() > 2, "two seconds of talk")

    arguments = ["127.0.0.1", str(door.sip_port), str(PER_SECOND), str(LONG_S)]
    flood = Program("flood", [sys.executable, "-m", "tests.support.flood", *arguments], peers.folder)
    flood.environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    with StallWatch() as stalls:
        flood.start()
        try:
            wait_until(lambda: not flood.alive, "the flood is over", 4 * LONG_S, poll_s=0.2)
        finally:
            flood.kill()
    assert door.status()["calls"], "the call is up"
    monitor.hang_up()
    door.wait_event("leg-ended", press=press)

    told = re.search(r"sent (\d+) in ([\d.]+) s", flood.log_text())
    assert told is not None, flood.log_text()
    assert int(told[1]) >= 0.9 * PER_SECOND * LONG_S
    heard, at_door = read_wav(monitor.heard()[-1]), read_wav(door.speaker)
    gaps = []
    for sound, hz in ((heard, DOOR_HZ), (at_door, FLAT_HZ)):
        talk = sound.part(sound.seconds - LONG_S - 0.5, sound.seconds - 0.5)
        assert abs(loudest_hz(talk) - hz) <= 10
        assert level_db(talk, hz) > -20
        gaps.append(longest_gap_ms(talk))
    print(f"{told[0]}; longest gaps {gaps} ms, the machine's own stall {1000 * stalls.worst_s:.0f} ms")
    assert max(gaps) <= 1000 * (GAP_S + stalls.worst_s)
