"""JPEG pictures out of what the camera sends: the same pictures, so often as they are wanted, and no longer."""

import threading
from collections.abc import Iterator

import av
import pytest

from drivers.camera.base import AccessUnit
from drivers.camera.simulated import SimulatedCamera
from drivers.camera.timecode import read_timecode
from firmware.media import feed as feed_module
from firmware.media.feed import CameraFeed
from firmware.media.stills import Jpeg, Stills
from tests.support.media import ManualCamera, picture
from tests.support.waiting import wait_until


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Iterator[CameraFeed]:
    monkeypatch.setattr(feed_module, "_LINGER_S", 0.0)
    monkeypatch.setattr(feed_module, "_POLL_S", 0.005)
    made = CameraFeed(lambda: SimulatedCamera(320, 240, 15, 400), lambda fault: None)
    yield made
    made.close(5.0)


def seen(jpeg: Jpeg) -> av.VideoFrame:
    decoder = av.CodecContext.create("mjpeg", "r")
    return (decoder.decode(av.Packet(jpeg.data)) + decoder.decode(None))[0]


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_a_jpeg_shows_what_the_camera_took_at_that_time(feed: CameraFeed) -> None:
    taken: list[Jpeg] = []
    stop = Stills(feed).watch(taken.append, 0.0)
    wait_until(lambda: len(taken) >= 3, "three pictures")
    stop()
    for jpeg in taken:
        frame = seen(jpeg)
        assert (frame.width, frame.height) == (jpeg.width, jpeg.height) == (320, 240)
        luma = frame.reformat(format="gray").planes[0]
        shown = read_timecode(bytes(luma), luma.line_size, frame.width)
        assert shown is not None
        assert abs(shown - jpeg.taken_s * 1000) <= 0.51
    wait_until(lambda: not threads() & {"camera-stills", "camera", "camera-watch"}, "the end of all of it")


def test_each_watcher_has_its_own_pace_and_a_second_one_costs_no_second_decoder(feed: CameraFeed) -> None:
    stills = Stills(feed)
    often: list[Jpeg] = []
    seldom: list[Jpeg] = []
    stops = [stills.watch(often.append, 0.0), stills.watch(seldom.append, 0.5)]
    wait_until(lambda: len(seldom) >= 3, "three pictures")
    for stop in stops:
        stop()
    assert len(often) > 2 * len(seldom)
    assert seldom[0] in often
    assert seldom[1].taken_s - seldom[0].taken_s >= 0.5


def test_watching_again_begins_anew(feed: CameraFeed) -> None:
    stills = Stills(feed)
    for _ in range(2):
        taken: list[Jpeg] = []
        stop = stills.watch(taken.append, 0.0)
        wait_until(lambda taken=taken: taken, "a picture")  # type: ignore[misc]
        stop()
        wait_until(lambda: "camera-stills" not in threads(), "its thread to end")


def test_units_that_cannot_be_decoded_are_passed_over() -> None:
    camera = ManualCamera()
    feed = CameraFeed(lambda: camera, lambda fault: None)
    taken: list[Jpeg] = []
    stop = Stills(feed).watch(taken.append, 0.0)
    wait_until(lambda: camera.on_access_unit, "the camera to start")
    for keyframe in (False, True, False, True):
        camera.take(keyframe=keyframe)
    real: list[AccessUnit] = []
    source = SimulatedCamera(320, 240, 15)
    source.start(real.append)
    wait_until(lambda: real, "a picture")
    source.close()
    assert camera.on_access_unit is not None
    camera.on_access_unit(real[0])
    wait_until(lambda: taken, "the picture that can be decoded")
    stop()
    feed.close(5.0)
    assert seen(taken[-1]).width == 320


def test_who_falls_behind_begins_again_with_the_next_idr() -> None:
    camera = ManualCamera()
    stills = Stills(CameraFeed(lambda: camera, lambda fault: None))
    units = [AccessUnit(picture(keyframe=not number, size=50), number, not number) for number in range(40)]
    for unit in units:
        stills._take(unit)
    assert [unit.timestamp_us for unit in stills._units] == list(range(30))
    stills._take(units[-1])
    assert len(stills._units) == 30
    stills._take(units[0])
    assert list(stills._units) == [units[0]]
