"""The USB camera's driver. Without a camera its device is a picture that FFmpeg makes (lavfi), or a file.

Everything but the name of the input and its options is the driver's own way: opening, reading, decoding, passing
through, failing.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest
from av.error import InvalidDataError, err_check

from drivers.camera import v4l2
from drivers.camera.annex_b import nal_units, profile_idc
from drivers.camera.base import AccessUnit, CameraError
from drivers.camera.simulated import SimulatedCamera
from drivers.camera.v4l2 import V4l2Camera
from tests.support.waiting import wait_until

LIVE = "testsrc2=size=320x240:rate=25,realtime"
Make = Callable[..., V4l2Camera]


@pytest.fixture
def make() -> Iterator[Make]:
    cameras: list[V4l2Camera] = []

    def made(device: str, form: str = "auto", *, container: str) -> V4l2Camera:
        cameras.append(V4l2Camera(device, 320, 240, 25, 400, form, container=container))
        return cameras[-1]

    yield made
    for camera in cameras:
        camera.close()


def run(camera: V4l2Camera, count: int = 10) -> list[AccessUnit]:
    units: list[AccessUnit] = []
    camera.start(units.append)
    wait_until(lambda: len(units) >= count or camera.failure, "pictures")
    return units


def decoded(units: list[AccessUnit]) -> list[av.VideoFrame]:
    decoder = av.CodecContext.create("h264", "r")
    return [frame for unit in units for frame in decoder.decode(av.Packet(unit.data))] + decoder.decode(None)


def recorded(file: Path, profile: str) -> None:
    """An H.264 file, a keyframe every ten pictures."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 320, 240, "yuv420p"
    encoder.gop_size = 10
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "profile": profile, "x264-params": "cabac=1"}
    if profile == "baseline":
        encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "profile": profile}
    with (
        av.open("testsrc2=size=320x240:rate=25:duration=2", format="lavfi") as pictures,
        file.open("wb") as written,
    ):
        for number, frame in enumerate(pictures.decode(video=0)):
            picture = frame.reformat(format="yuv420p")
            picture.pts, picture.pict_type = number, av.video.frame.PictureType.NONE
            written.write(b"".join(map(bytes, encoder.encode(picture))))


def test_raw_pictures_are_encoded_and_a_keyframe_comes_when_asked(make: Make) -> None:
    camera = make(LIVE, container="lavfi")
    units = run(camera)
    assert units[0].keyframe
    assert not any(unit.keyframe for unit in units[1:])
    count = len(units)
    camera.request_keyframe()
    wait_until(lambda: any(unit.keyframe for unit in units[count:]), "the keyframe")
    camera.stop()
    assert camera.failure == ""
    assert abs(units[-1].timestamp_us / 1e6 - time.monotonic()) < 5
    frames = decoded(units)
    assert len(frames) == len(units)
    assert (frames[0].width, frames[0].height) == (320, 240)
    assert run(camera)[0].keyframe  # again


def test_motion_jpeg_is_decoded_and_a_broken_picture_left_out(make: Make, tmp_path: Path) -> None:
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 320, 240, "yuvj422p"
    with av.open("testsrc2=size=320x240:rate=25:duration=1", format="lavfi") as pictures:
        made = [bytes(p) for f in pictures.decode(video=0) for p in encoder.encode(f.reformat(format="yuvj422p"))]
    made[3] = made[3][:20] + bytes(40) + made[3][60:]
    file = tmp_path / "camera.mjpeg"
    file.write_bytes(b"".join(made))
    camera = make(str(file), container="mjpeg")
    units = run(camera, count=1000)
    assert len(made) - 2 <= len(units) <= len(made)
    assert len(decoded(units)) == len(units)
    assert camera.failure == "USB camera: its pictures ended"


def test_baseline_h264_is_passed_through_untouched(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "camera.h264"
    recorded(file, "baseline")
    units = run(make(str(file), "h264", container="h264"), count=1000)
    assert b"".join(unit.data for unit in units) == file.read_bytes()
    assert [number for number, unit in enumerate(units) if unit.keyframe] == [0, 10, 20, 30, 40]


def test_h264_of_another_profile_is_encoded_anew(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "camera.h264"
    recorded(file, "main")
    assert profile_idc(file.read_bytes()) == 77
    units = run(make(str(file), "h264", container="h264"), count=1000)
    assert profile_idc(units[0].data) == 66
    assert len(units) >= 48
    assert len(decoded(units)) == len(units)


def test_what_precedes_the_first_parameter_sets_is_not_shown(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "camera.h264"
    recorded(file, "baseline")
    data = file.read_bytes()
    idrs = [at for kind, at in nal_units(data) if kind == 7]
    (tmp_path / "late.h264").write_bytes(data[idrs[0] + 400 :])
    units = run(make(str(tmp_path / "late.h264"), "h264", container="h264"), count=1000)
    assert units[0].keyframe
    assert len(units) == 40


def test_an_endless_row_of_broken_pictures_is_a_failure() -> None:
    class Broken:
        pts = time_base = None
        size = 1

        def decode(self) -> list[object]:
            raise InvalidDataError(1, "broken")

    reader = v4l2._Reader(coded=False)

    def read(count: int) -> None:
        for _ in range(count):
            assert list(reader.take(Broken())) == []  # type: ignore[arg-type]

    read(29)
    with pytest.raises(InvalidDataError):
        read(1)


def test_a_file_that_is_no_picture_is_a_failure_that_names_it(make: Make, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no picture")
    camera = make(str(tmp_path / "x"), container="mjpeg")
    assert run(camera) == []
    assert str(tmp_path / "x") in camera.failure or "ended" in camera.failure


def test_a_missing_camera_is_named_with_those_there_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "usb-046d_C920-video-index0").touch()
    monkeypatch.setattr(v4l2, "DEVICES", tmp_path)
    camera = V4l2Camera("/dev/v4l/by-id/gone", 640, 480, 15, 600)
    with pytest.raises(CameraError, match=r"by-id/gone is missing; there are .*usb-046d_C920-video-index0"):
        camera.prepare()
    monkeypatch.setattr(v4l2, "DEVICES", tmp_path / "none")
    with pytest.raises(CameraError, match="no USB camera is connected"):
        camera.prepare()


@pytest.mark.parametrize(
    ("number", "text"), [(16, "another program uses it"), (22, "does not send mjpeg"), (13, "group is video")]
)
def test_what_the_system_says_is_told_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, make: Make, tmp_path: Path, number: int, text: str
) -> None:
    asked: list[str] = []

    def refuse(device: str, *, format: str, options: dict[str, str]) -> None:
        asked.append(options["input_format"])
        err_check(-number)  # as PyAV does: EINVAL is no OSError

    monkeypatch.setattr(av, "open", refuse)
    (tmp_path / "video").touch()
    for form, forms in (("mjpeg", ["mjpeg"]), ("auto", ["mjpeg", "yuyv422"] if number == 22 else ["mjpeg"])):
        asked.clear()
        camera = make(str(tmp_path / "video"), form, container="v4l2")
        camera.start(lambda unit: None)
        wait_until(lambda camera=camera: camera.failure, "the failure")  # type: ignore[misc]
        assert text.replace("mjpeg", form) in camera.failure
        assert asked == forms


def test_a_file_that_is_no_device_at_all_is_named_by_the_kernels_own_refusal(make: Make, tmp_path: Path) -> None:
    (tmp_path / "video").touch()
    camera = make(str(tmp_path / "video"), container="v4l2")
    assert run(camera) == []
    assert camera.failure == f"{tmp_path}/video: it is no camera, or just unplugged"


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(CameraError, match="write one of auto, h264, mjpeg, yuyv"):
        V4l2Camera("/dev/v4l/by-id/x", 640, 480, 15, 600, "vp8")


def test_the_simulated_camera_and_this_one_share_the_encoder_loop() -> None:
    assert SimulatedCamera._run is V4l2Camera._run
