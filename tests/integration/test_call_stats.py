"""What `doorctl call --stats` tells of a real call."""

import json
import subprocess

import pytest

from tests.support.peers import Peers
from tests.support.station import BIN
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration


def test_a_running_call_is_told_in_numbers_and_lines(peers: Peers) -> None:
    phone = peers.baresip("101", codecs="opus/48000/2")
    door = peers.portero(stages=[([phone.uri], 30)])

    def stats(*options: str) -> str:
        command = [str(BIN / "doorctl"), "--run-dir", str(door.folder / "run"), "call", "--stats", *options]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout

    assert json.loads(stats("--json")) == {"legs": []}
    press = door.press()
    wait_until(lambda: phone.count("CALL_INCOMING"), "the phone rings")
    phone.accept()
    door.wait_event("leg-answered", press=press)
    wait_until(lambda: phone.heard_s() > 7, "talk, and reports of it", 25, poll_s=0.2)

    (leg,) = json.loads(stats("--json"))["legs"]
    statistics = leg["statistics"]
    assert leg["talk"]
    assert statistics["audio_codec"] == "opus"
    assert 1.0 < statistics["audio_mos"] < 4.5
    assert len(leg["history"]["mos"]) >= 5
    assert statistics["video_keyframes"] >= 1
    text = stats("--plot")
    for word in ("talks", "opus", "jitter", "MOS", "picture", "keyframes"):
        assert word in text
    phone.hang_up()
    ended = door.wait_event("leg-ended", press=press)
    assert 1.0 <= ended["statistics"]["audio_mos_worst"] < 4.5
