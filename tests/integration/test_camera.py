"""The door's camera beside real monitors: pictures for the technician, and a camera that is not there."""

from pathlib import Path

import pytest

from tests.support.peers import Peers
from tests.support.picture import luma_range, picture_timecode
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration


def test_a_snapshot_is_what_the_monitor_sees_and_needs_no_call(peers: Peers) -> None:
    monitor = peers.baresip("101", answer_mode="early")
    door = peers.portero(stages=[([monitor.uri], 60)])
    file = peers.folder / "before.jpg"
    taken = door.doorctl("snapshot", str(file))
    assert (taken["width"], taken["height"]) == (320, 240)
    before = picture_timecode(file)
    assert before is not None

    door.press()
    seen = picture_timecode(monitor.snapshot(peers.folder / "monitor.png"))
    file = peers.folder / "during.jpg"
    door.doorctl("snapshot", str(file))
    during = picture_timecode(file)
    assert seen is not None
    assert during is not None
    assert before < seen < during


def test_without_its_camera_the_door_shows_that_and_the_call_goes_on(peers: Peers) -> None:
    monitor = peers.baresip("101", answer_mode="early")
    gone = {"driver": "v4l2", "device": "/dev/v4l/by-id/gone", "width": 320, "height": 240, "warm": False}
    door = peers.portero(stages=[([monitor.uri], 60)], camera=gone)

    press = door.press()
    fault = door.wait_event("fault", where="camera")
    assert "/dev/v4l/by-id/gone is missing" in str(fault["what"])
    picture: Path = monitor.snapshot(peers.folder / "instead.png")
    assert picture_timecode(picture) is None
    darkest, brightest = luma_range(picture)
    assert brightest - darkest > 100

    monitor.accept()
    door.wait_event("leg-answered", press=press)
    door.wait_event("rtp-started", press=press, media="audio", direction="received")
    refused = door.try_doorctl("snapshot", str(peers.folder / "none.jpg"))
    assert refused.returncode == 1
    assert "is missing" in refused.stdout
    assert wait_until(lambda: door.status()["faults"], "the fault in the status")[0]["where"] == "camera"


def test_a_camera_kept_warm_that_is_not_there_is_a_fault_before_anybody_rings(peers: Peers) -> None:
    gone = {"driver": "v4l2", "device": "/dev/v4l/by-id/gone"}
    door = peers.portero(stages=[(["sip:nobody@127.0.0.1:9"], 60)], camera=gone)
    door.wait_event("fault", where="camera")
