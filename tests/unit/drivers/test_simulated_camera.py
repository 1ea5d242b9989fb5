import queue
import random
import threading
import time
from collections.abc import Iterator

import av
import pytest

from drivers.camera.base import AccessUnit, CameraError
from drivers.camera.simulated import SimulatedCamera
from drivers.camera.timecode import BITS, ROWS, read_timecode, timecode_row

DEADLINE_S = 20.0


class Watcher:
    """Runs a camera and takes its units one by one."""

    def __init__(self, camera: SimulatedCamera) -> None:
        self.camera = camera
        self._units: queue.Queue[AccessUnit] = queue.Queue()
        camera.start(self._units.put)

    def next(self) -> AccessUnit:
        return self._units.get(timeout=DEADLINE_S)

    @property
    def waiting(self) -> int:
        return self._units.qsize()


@pytest.fixture
def watch() -> Iterator[object]:
    watchers: list[Watcher] = []

    def start(*arguments: int) -> Watcher:
        watchers.append(Watcher(SimulatedCamera(*arguments)))
        return watchers[-1]

    yield start
    for watcher in watchers:
        watcher.camera.stop()


def nal_types(unit: AccessUnit) -> list[int]:
    return [nal[0] & 0x1F for nal in unit.data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if nal]


def decode(units: list[AccessUnit]) -> list[av.VideoFrame]:
    decoder = av.CodecContext.create("h264", "r")
    frames = [frame for unit in units for frame in decoder.decode(av.Packet(unit.data))]
    return [*frames, *decoder.decode(None)]


@pytest.mark.parametrize("width", [160, 320, 640, 653, 1280])
def test_the_timecode_is_read_back_at_any_width(width: int) -> None:
    chance = random.Random(width)
    for milliseconds in (0, 1, 0xFFFFFFFF, *(chance.getrandbits(32) for _ in range(100))):
        row = timecode_row(milliseconds, width)
        stride = width + 27
        luma = row.ljust(stride, b"\x80") * ROWS
        assert read_timecode(luma, stride, width) == milliseconds


def test_the_timecode_wraps_at_32_bits() -> None:
    assert timecode_row(2**32 + 5, 640) == timecode_row(5, 640)


@pytest.mark.parametrize("shade", [0, 16, 128, 235, 255])
def test_a_plain_picture_is_no_timecode(shade: int) -> None:
    assert read_timecode(bytes([shade]) * 640 * ROWS, 640, 640) is None


def test_one_wrong_block_makes_the_timecode_unreadable() -> None:
    row = timecode_row(123_456_789, 640)
    for block in range(BITS):
        other = bytes(255 - sample for sample in row[block * 16 : block * 16 + 16])
        damaged = row[: block * 16] + other + row[block * 16 + 16 :]
        assert read_timecode(damaged * ROWS, 640, 640) is None


def test_a_plane_too_small_for_a_timecode_is_no_error() -> None:
    assert read_timecode(b"", 640, 640) is None
    assert read_timecode(bytes(40 * ROWS), 40, 40) is None


@pytest.mark.parametrize(("width", "height", "kbps"), [(640, 480, 300), (320, 240, 150)])
def test_every_picture_shows_the_time_it_was_taken_even_at_a_low_rate(
    watch: object, width: int, height: int, kbps: int
) -> None:
    watcher = watch(width, height, 30, kbps)  # type: ignore[operator]
    units = [watcher.next() for _ in range(45)]
    frames = decode(units)
    assert len(frames) == len(units)
    for unit, frame in zip(units, frames, strict=True):
        plane = frame.planes[0]
        shown = read_timecode(memoryview(plane), plane.line_size, frame.width)
        assert shown == round(unit.timestamp_us / 1000)


def test_the_picture_moves(watch: object) -> None:
    watcher = watch(320, 240, 30)  # type: ignore[operator]
    first, *_, last = decode([watcher.next() for _ in range(20)])
    below = ROWS * first.planes[0].line_size
    assert bytes(first.planes[0])[below:] != bytes(last.planes[0])[below:]


def test_the_first_picture_is_a_keyframe_with_the_parameters_promised(watch: object) -> None:
    watcher = watch()  # type: ignore[operator]
    promised = watcher.camera.profile_level_id
    unit = watcher.next()
    types = nal_types(unit)
    assert unit.keyframe
    assert types[:2] == [7, 8]
    assert types[-1] == 5
    assert types.count(5) == 1  # one slice a picture
    sps = unit.data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1]
    assert sps[1:4].hex() == promised


def test_a_keyframe_comes_at_the_very_next_picture_with_its_parameters(watch: object) -> None:
    watcher = watch(320, 240, 30)  # type: ignore[operator]
    for _ in range(3):
        watcher.next()
        while watcher.waiting:
            watcher.next()
        asked_us = time.monotonic() * 1e6
        watcher.camera.request_keyframe()
        unit = watcher.next()
        while unit.timestamp_us < asked_us:  # was being encoded already
            unit = watcher.next()
        assert unit.keyframe
        assert nal_types(unit) == [7, 8, 5]
        assert not watcher.next().keyframe


def test_timestamps_rise_with_the_frame_rate(watch: object) -> None:
    watcher = watch(320, 240, 25)  # type: ignore[operator]
    stamps = [watcher.next().timestamp_us for _ in range(26)]
    assert stamps == sorted(set(stamps))
    assert stamps[-1] - stamps[0] >= 0.9e6


def test_no_picture_comes_after_stop_and_a_second_start_begins_with_a_keyframe() -> None:
    camera = SimulatedCamera(320, 240, 30)
    for _ in range(2):
        watcher = Watcher(camera)
        assert watcher.next().keyframe
        camera.stop()
        assert not [thread for thread in threading.enumerate() if thread.name == "camera"]
    camera.stop()
    assert camera.failure == ""


def test_a_receiver_that_raises_ends_in_a_visible_failure(caplog: pytest.LogCaptureFixture) -> None:
    def broken(unit: AccessUnit) -> None:
        raise RuntimeError("receiver broke")

    camera = SimulatedCamera(320, 240, 30)
    camera.start(broken)
    deadline = time.monotonic() + DEADLINE_S
    while not camera.failure and time.monotonic() < deadline:
        time.sleep(0.01)
    camera.stop()
    assert camera.failure == "RuntimeError: receiver broke"


@pytest.mark.parametrize(
    ("size", "why"),
    [
        ((641, 480, 15), "641x480 is odd"),
        ((100, 100, 15), "100x100 is too small"),
        ((1920, 1080, 60), "1920x1080 at 60 pictures a second is more than"),
    ],
)
def test_a_size_that_cannot_be_is_refused_with_a_reason(size: tuple[int, int, int], why: str) -> None:
    with pytest.raises(CameraError, match=why):
        SimulatedCamera(*size)
