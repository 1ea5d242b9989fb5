"""The Raspberry Pi camera's driver: the real picamera2, on a libcamera of the tests, on a kernel without DMA heaps.

The board's encoder is replaced where picamera2 talks to the kernel; the bytes it is given are what libx264 made.
"""

import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from drivers.camera import picamera2 as driver
from drivers.camera.annex_b import profile_idc
from drivers.camera.base import AccessUnit, CameraError
from drivers.camera.encoding import EncodingCamera
from firmware.rtp.h264 import profile_level_id_from_sps, split_annex_b
from tests.support import libcamera
from tests.support.media import PPS, SPS
from tests.support.waiting import wait_until

pytest.importorskip("videodev2", reason="picamera2 is not installed; tools/setup test does it")
pytestmark = pytest.mark.filterwarnings("ignore:setDaemon:DeprecationWarning")  # picamera2's threads

START = b"\x00\x00\x00\x01"
LEVEL_4 = SPS[:1] + bytes.fromhex("42e028") + SPS[4:]  # as the board's encoder writes it


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Iterator[libcamera.Camera]:
    monkeypatch.setattr(driver, "DMA_HEAPS", ())
    driver._adapted.cache_clear()
    with libcamera.installed() as made:
        yield made


def run(made: Any, seconds: float = 0.3) -> list[AccessUnit]:
    units: list[AccessUnit] = []
    made.start(units.append)
    wait_until(lambda: len(units) >= seconds / 0.02, "pictures")
    return units


def test_a_board_without_encoder_gets_its_pictures_encoded_here(camera: libcamera.Camera) -> None:
    made = driver.open_camera("", 640, 480, 25, 600)
    assert isinstance(made, EncodingCamera)
    made.prepare()
    assert camera.starts == 0  # configured, and no CPU
    units = run(made)
    made.stop()
    assert units[0].keyframe
    assert abs(units[-1].timestamp_us / 1e6 - time.monotonic()) < 5
    assert camera.set_controls["FrameDurationLimits"] == (40_000, 40_000)
    count = len(units)
    assert run(made)[0].keyframe  # started again from where it was
    assert (camera.starts, len(units)) == (2, count)
    made.close()
    assert made.failure == ""


def test_a_raspberry_pis_pictures_come_as_its_libcamera_makes_them(camera: libcamera.Camera) -> None:
    camera.virtual = False
    made = driver.open_camera("", 648, 480, 25, 600)
    units = run(made)
    made.close()
    assert made.failure == ""
    assert (camera.configured[0].stride, camera.configured[0].buffer_count) == (704, 6)
    decoder = av.CodecContext.create("h264", "r")
    frame = next(frame for unit in units for frame in decoder.decode(av.Packet(unit.data)))
    assert (frame.width, frame.height) == (648, 480)


def test_a_camera_that_keeps_to_no_rate_is_kept_to_the_boards(camera: libcamera.Camera) -> None:
    made = driver.open_camera("", 320, 240, 10, 600)  # the camera would make fifty
    came: list[float] = []
    made.start(lambda unit: came.append(time.monotonic()))
    wait_until(lambda: len(came) >= 8, "pictures")
    made.stop()
    made.close()
    assert camera.configured[0].buffer_count == 1  # each more is a picture in each period that nobody asked for
    assert came[7] - came[1] >= 0.5  # six periods, the first of them begun by then


def test_closed_and_opened_again_as_after_a_fault(camera: libcamera.Camera) -> None:
    for _ in range(2):
        made = driver.open_camera("", 640, 480, 25, 600)
        run(made, 0.1)
        made.close()
    assert camera.starts == 2


def test_a_camera_that_stalls_is_a_failure_and_can_be_closed(
    camera: libcamera.Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "_PICTURE_S", 0.05)
    monkeypatch.setattr(driver, "_STALLED_S", 0.2)
    made = driver.open_camera("", 640, 480, 25, 600)
    run(made, 0.1)
    camera.stalled = True
    wait_until(lambda: made.failure, "the failure")
    assert "no picture for" in made.failure
    made.close()


def test_a_camera_is_found_by_its_name_or_place_and_a_missing_one_is_named(camera: libcamera.Camera) -> None:
    for which in ("i2c@1", "test"):
        made = driver.open_camera(which, 640, 480, 25, 600)
        made.prepare()
        made.close()
    with pytest.raises(CameraError, match=r"no camera is named .imx708.; there are test at /base/soc"):
        driver.open_camera("imx708", 640, 480, 25, 600).prepare()
    camera.connected = False
    with pytest.raises(CameraError, match="finds no camera; check the flat cable"):
        driver.open_camera("", 640, 480, 25, 600).prepare()


def test_without_picamera2_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    monkeypatch.setitem(sys.modules, "pykms", None)
    with pytest.raises(CameraError, match="apt install python3-picamera2"):
        driver.open_camera("", 640, 480, 25, 600).prepare()


def test_padded_rows_are_left_out_of_the_picture() -> None:
    width, height, stride = 48, 16, 64
    luma = b"".join(bytes(range(width)) + b"\xff" * (stride - width) for _ in range(height))
    chroma = b"".join(bytes(range(100, 100 + width // 2)) + b"\xff" * 8 for _ in range(height // 2))

    class Request:
        def make_buffer(self, name: str) -> bytes:
            return luma + chroma + chroma

    frame = driver._frame(Request(), {"format": "YUV420", "size": (width, height), "stride": stride})
    for plane, first, count in zip(frame.planes, (0, 100, 100), (width, width // 2, width // 2), strict=True):
        data = bytes(plane)
        for row in range(plane.height):
            at = row * plane.line_size
            assert data[at : at + count] == bytes(range(first, first + count))


# --- the board's encoder -------------------------------------------------------------------------------------


class Kernel:
    """What the encoder's device does, in place of /dev/video11: a unit for each picture, IDRs when asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from picamera2.encoders.v4l2_encoder import V4L2Encoder

        self.sps = LEVEL_4
        self.encoders: list[Any] = []
        self.controls: list[tuple[int, int]] = []
        kernel = self

        def start(encoder: Any) -> None:
            encoder.vd = object()
            encoder._key_frames_requested = 1
            kernel.encoders.append(encoder)

        def encode(encoder: Any, stream: str, request: Any) -> None:
            wanted = encoder._key_frames_requested > encoder._key_frames_generated
            encoder._key_frames_generated = encoder._key_frames_requested
            unit = START + b"\x41\x9a\x55"
            if wanted:
                unit = START + kernel.sps + START + PPS + START + b"\x65\x88\x55"
            encoder.outputframe(unit, wanted, encoder._timestamp(request))

        monkeypatch.setattr(V4L2Encoder, "_start", start)
        monkeypatch.setattr(V4L2Encoder, "_stop", lambda encoder: None)
        monkeypatch.setattr(V4L2Encoder, "_encode", encode)
        monkeypatch.setattr(driver, "has_encoder", lambda: True)
        monkeypatch.setattr(driver.fcntl, "ioctl", self.ioctl)

    def ioctl(self, device: object, request: int, argument: bytes) -> None:
        assert request == driver._S_CTRL
        self.controls.append(struct.unpack("=Ii", argument))


@pytest.fixture
def kernel(camera: libcamera.Camera, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    driver._load()
    return Kernel(monkeypatch)


def test_the_boards_units_are_handed_on_at_the_level_that_was_promised(
    camera: libcamera.Camera, kernel: Kernel
) -> None:
    made = driver.open_camera("", 640, 480, 15, 800)
    units = run(made)
    sps = split_annex_b(units[0].data)[0]
    assert profile_level_id_from_sps(sps) == made.profile_level_id == "42c01f"
    assert sps[4:] == LEVEL_4[4:]
    assert [unit.keyframe for unit in units[:3]] == [True, False, False]
    assert abs(units[-1].timestamp_us / 1e6 - time.monotonic()) < 5
    encoder = kernel.encoders[0]
    assert (encoder.bitrate, encoder.profile, encoder.repeat, encoder.iperiod) == (
        800_000,
        "constrained baseline",
        True,
        60,
    )
    made.request_keyframe()
    wait_until(lambda: units[-1].keyframe, "the keyframe", poll_s=0.001)
    made.close()
    count = len(units)
    made.request_keyframe()
    assert (made.failure, len(units)) == ("", count)


def test_the_boards_encoder_follows_bit_rate_and_frame_rate(camera: libcamera.Camera, kernel: Kernel) -> None:
    made = driver.open_camera("", 640, 480, 15, 800)
    made.configure(1, 1)  # nothing runs yet: no error
    run(made, 0.1)
    made.configure(300_000, 7.5)
    assert kernel.controls == [(0x009909CF, 300_000)]
    wait_until(lambda: camera.set_controls.get("FrameDurationLimits") == (133_333, 133_333), "the frame rate")
    made.configure(5_000_000, 100)
    assert kernel.controls[-1][1] == 800_000
    made.close()


def test_another_profile_than_promised_is_a_failure_that_says_so(camera: libcamera.Camera, kernel: Kernel) -> None:
    kernel.sps = SPS[:1] + b"\x64\x00\x28" + SPS[4:]
    made = driver.open_camera("", 640, 480, 15, 800)
    units: list[AccessUnit] = []
    made.start(units.append)
    wait_until(lambda: made.failure, "the failure")
    made.close()
    assert "profile_idc 100" in made.failure
    assert units == []


def test_an_old_picamera2_is_named(
    camera: libcamera.Camera, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from picamera2.encoders.h264_encoder import H264Encoder

    monkeypatch.delattr(H264Encoder, "force_key_frame")
    made = driver.open_camera("", 640, 480, 15, 800)
    with pytest.raises(CameraError, match=r"0\.3\.32"):
        made.start(lambda unit: None)
    made.close()


@pytest.mark.parametrize(("card", "there"), [(b"bcm2835-codec-encode", True), (b"bcm2835-codec-decode", False)])
def test_the_encoder_is_known_by_its_card_not_by_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, card: bytes, there: bool
) -> None:
    def query(device: object, request: int, answer: bytearray) -> None:
        assert (request, len(answer)) == (0x80685600, 104)
        answer[16:48] = card.ljust(32, b"\0")

    file = tmp_path / "video11"
    file.touch()
    monkeypatch.setattr(driver.fcntl, "ioctl", query)
    assert driver.has_encoder(str(file)) is there
    assert not driver.has_encoder(str(tmp_path / "none"))


def test_a_file_that_is_no_video_device_is_no_encoder(tmp_path: Path) -> None:
    file = tmp_path / "video11"
    file.touch()
    assert not driver.has_encoder(str(file))


def test_only_whole_parameter_sets_are_changed() -> None:
    for data in (b"", START, START + b"\x67\x42", START + PPS):
        assert driver.with_profile_level(data, "42c01f") == data
        assert profile_idc(data) is None
