"""Raspberry Pi cameras (CSI), through picamera2: encoded by the board where it can, else by our own x264 loop.

Up to the Pi 4 and Zero 2 W the board has an H.264 encoder, /dev/video11, whose units go straight to RTP. picamera2
takes any machine without a camera system for such a board, so the encoder is asked for its name. The Pi 5 has none;
picamera2's own encoder for it cannot make a keyframe when asked (its force_key_frame raises TypeError), ours can.

Four adapters let picamera2 run where libcamera does but a Pi's kernel does not: stubs of what it imports for its
preview on a screen and for photographs; buffers from libcamera where there are no DMA heaps; one mode for a camera
that knows no raw pictures; a pace for one that is no sensor and may keep to no rate. picamera2 comes with Raspberry
Pi OS (python3-picamera2), libcamera's Python with the distribution.
"""

import contextlib
import fcntl
import functools
import importlib.util
import logging
import mmap
import os
import struct
import sys
import threading
import time
import types
from collections.abc import Callable, Generator
from concurrent.futures import TimeoutError as NotYet
from typing import TYPE_CHECKING, Any

from drivers.camera.annex_b import BASELINE, has_idr, profile_idc, with_profile_level
from drivers.camera.base import AccessUnit, Camera, CameraError
from drivers.camera.encoding import EncodingCamera
from drivers.camera.x264 import KEYFRAME_EVERY_S, LEAST_BPS, LEAST_FPS, X264

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

log = logging.getLogger(__name__)

ENCODER = "/dev/video11"
ENCODER_CARD = b"bcm2835-codec-encode"
DMA_HEAPS = ("/dev/dma_heap/vidbuf_cached", "/dev/dma_heap/linux,cma")  # those that picamera2 looks for
# Photographs, raw ones, and a program of its own to write films: what picamera2 imports these for.
_FOR_OTHERS = ("prctl", "piexif", "simplejpeg", "pidng", "pidng.camdefs", "pidng.core", "PIL", "PIL.Image")
_QUERYCAP = 0x80685600  # VIDIOC_QUERYCAP: struct v4l2_capability, 104 bytes
_S_CTRL = 0xC008561C  # VIDIOC_S_CTRL: struct v4l2_control, two 32-bit integers
_CID_BITRATE = 0x009909CF  # V4L2_CID_MPEG_VIDEO_BITRATE
_PICTURE_S = 1.0
_STALLED_S = 5.0


def open_camera(which: str, width: int, height: int, fps: int, bitrate_kbps: int) -> Camera:
    """A camera object for this board; nothing is opened yet. CameraError for a size that has no level.

    `which` is part of the camera's name or place as `rpicam-hello --list-cameras` shows them; empty: the first.
    """
    sensor = Sensor(which, width, height, fps)
    encoder = X264(width, height, fps, bitrate_kbps * 1000)
    if has_encoder():
        return BoardEncodedCamera(sensor, encoder.profile_level_id, bitrate_kbps * 1000)
    return EncodingCamera("camera", _SensorPictures(sensor), encoder)


def has_encoder(path: str = ENCODER) -> bool:
    """Whether this board encodes H.264 itself."""
    try:
        with open(path, "rb+", buffering=0) as device:
            answer = bytearray(104)
            fcntl.ioctl(device, _QUERYCAP, answer)
    except OSError:
        return False
    return bytes(answer[16:48]).rstrip(b"\0") == ENCODER_CARD


class Sensor:
    """The camera as picamera2 opens it: one stream, YUV 4:2:0, at a fixed rate."""

    def __init__(self, which: str, width: int, height: int, fps: int) -> None:
        self.which = which
        self.width = width
        self.height = height
        self.fps = fps
        self.device: Any = None
        # Sensors stamp by the clock that runs on in suspend.
        self.boot_offset_us = 0

    def open(self) -> None:
        """Open and configure; nothing where that is done. CameraError says what is missing."""
        if self.device is not None:
            return
        package = _load()
        heaps = any(map(os.path.exists, DMA_HEAPS))
        cameras = package.Picamera2.global_camera_info()
        number = _number(cameras, self.which)
        device = _adapted(package, heaps=heaps)(number)
        try:
            wanted = {"size": (self.width, self.height), "format": "YUV420"}
            rate = self.rate_control(device, self.fps)
            # picamera2's own way to tell. libcamera's virtual camera, which is none, has the control for the rate,
            # and makes pictures as fast as the processor can all the same.
            sensor = "ColorFilterArrangement" in device.camera_properties
            device.period_s = 0.0 if sensor else 1 / self.fps
            buffers = 6 if sensor else 1  # with one, picamera2 keeps no picture back
            device.configure(device.create_video_configuration(main=wanted, controls=rate, buffer_count=buffers))
        except BaseException:
            device.close()
            raise
        self.device = device
        size = device.stream_configuration("main")["size"]
        if tuple(size) != (self.width, self.height):
            log.warning("the camera makes %dx%d of %dx%d", *size, self.width, self.height)
        self.boot_offset_us = (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()) // 1000

    def close(self) -> None:
        device, self.device = self.device, None
        if device is not None:
            device.close()

    @staticmethod
    def rate_control(device: Any, frame_rate: float) -> dict[str, tuple[int, int]]:
        """The control that sets this rate; none where the camera does not have it."""
        if "FrameDurationLimits" not in device.camera_controls:
            return {}
        duration_us = round(1e6 / frame_rate)
        return {"FrameDurationLimits": (duration_us, duration_us)}


def find(which: str) -> str:
    """Model and place of the camera that `which` names. CameraError where there is none."""
    cameras = _load().Picamera2.global_camera_info()
    camera = cameras[_number(cameras, which)]
    return f"{camera.get('Model')} at {camera.get('Id')}"


def _number(cameras: list[dict[str, Any]], which: str) -> int:
    for number, camera in enumerate(cameras):
        if which in str(camera.get("Id", "")) or which in str(camera.get("Model", "")):
            return number
    there = ", ".join(f"{camera.get('Model')} at {camera.get('Id')}" for camera in cameras)
    if there:
        raise CameraError(f'no camera is named "{which}"; there are {there}')
    raise CameraError("libcamera finds no camera; check the flat cable, and dtoverlay in config.txt")


class BoardEncodedCamera:
    """Units of the board's encoder, handed on in its own thread."""

    def __init__(self, sensor: Sensor, profile_level_id: str, bitrate_bps: int) -> None:
        self.width = sensor.width
        self.height = sensor.height
        self.fps = sensor.fps
        self.bitrate_bps = bitrate_bps
        self.profile_level_id = profile_level_id
        self.failure = ""
        self._sensor = sensor
        self._encoder: Any = None
        self._on_access_unit: Callable[[AccessUnit], None] | None = None
        self._lock = threading.Lock()

    def prepare(self) -> None:
        self._sensor.open()

    def start(self, on_access_unit: Callable[[AccessUnit], None]) -> None:
        if self._encoder is not None:
            raise CameraError("the camera is running already")
        self.failure = ""
        self._sensor.open()
        from picamera2.encoders.h264_encoder import H264Encoder
        from picamera2.outputs import Output

        if not hasattr(H264Encoder, "force_key_frame"):
            raise CameraError("this picamera2 cannot make a keyframe when asked; 0.3.32 or later can")
        # Without `profile` the encoder writes High. repeat: parameter sets with every IDR.
        encoder = H264Encoder(
            bitrate=self.bitrate_bps,
            repeat=True,
            iperiod=round(KEYFRAME_EVERY_S * self.fps),
            framerate=self.fps,
            profile="constrained baseline",
        )
        output = Output()
        output.outputframe = functools.partial(self._unit, encoder)
        self._on_access_unit = on_access_unit
        device = self._sensor.device
        device.start_encoder(encoder, output, name="main")
        self._encoder = encoder
        device.set_controls(Sensor.rate_control(device, self.fps))
        device.start()

    def request_keyframe(self) -> None:
        with self._lock:
            if self._encoder is not None:
                self._encoder.force_key_frame()

    def configure(self, bitrate_bps: int, frame_rate: float) -> None:
        bitrate_bps = max(LEAST_BPS, min(bitrate_bps, self.bitrate_bps))
        frame_rate = max(LEAST_FPS, min(frame_rate, float(self.fps)))
        with self._lock:
            if self._encoder is None:
                return
            # picamera2 has no call for it; this is the control that it sets at the start.
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._encoder.vd, _S_CTRL, struct.pack("=Ii", _CID_BITRATE, bitrate_bps))
            self._sensor.device.set_controls(Sensor.rate_control(self._sensor.device, frame_rate))

    def limit_slices(self, max_bytes: int) -> None:
        """The board's encoder makes one slice a picture."""

    def stop(self) -> None:
        with self._lock:
            encoder, self._encoder = self._encoder, None
        self._on_access_unit = None
        if encoder is not None:
            self._sensor.device.stop_encoder(encoder)
            self._sensor.device.stop()

    def close(self) -> None:
        self.stop()
        self._sensor.close()

    def _unit(
        self, encoder: Any, frame: bytes, keyframe: bool, timestamp: int, packet: object, audio: bool
    ) -> None:
        """`timestamp`: microseconds since the encoder's first picture."""
        deliver = self._on_access_unit
        if deliver is None or self.failure:
            return
        try:
            data = bytes(frame)
            profile = profile_idc(data)
            if profile is not None:
                if profile != BASELINE:
                    raise CameraError(f"the board's encoder writes profile_idc {profile} in place of baseline")
                data = with_profile_level(data, self.profile_level_id)
            taken_us = encoder.firsttimestamp + timestamp - self._sensor.boot_offset_us
            deliver(AccessUnit(data, taken_us, has_idr(data)))
        except Exception as error:
            # The thread is picamera2's: an error there would end it unseen.
            self.failure = str(error) if isinstance(error, CameraError) else f"{type(error).__name__}: {error}"
            log.exception("camera stopped")


class _SensorPictures:
    """Raw pictures, for a board without encoder."""

    def __init__(self, sensor: Sensor) -> None:
        self._sensor = sensor

    def open(self) -> None:
        self._sensor.open()

    def close(self) -> None:
        self._sensor.close()

    def pictures(self, stopping: threading.Event) -> "Generator[tuple[VideoFrame, int], None, None]":
        device = self._sensor.device
        device.start()
        try:
            while (request := self._next(device, stopping)) is not None:
                try:
                    picture = _frame(request, device.stream_configuration("main"))
                    taken_us = self._taken_us(request)
                finally:
                    request.release()
                yield picture, taken_us
        finally:
            device.stop()

    def _next(self, device: Any, stopping: threading.Event) -> Any:
        job = device.capture_request(wait=False)
        for _ in range(round(_STALLED_S / _PICTURE_S)):
            if stopping.is_set():
                break
            with contextlib.suppress(NotYet):
                return device.wait(job, timeout=_PICTURE_S)
        device.cancel_all_and_flush()
        if stopping.is_set():
            return None
        raise CameraError(f"no picture for {_STALLED_S:.0f} s")

    def _taken_us(self, request: Any) -> int:
        stamp_ns = request.get_metadata().get("SensorTimestamp")
        if stamp_ns is None:
            return time.monotonic_ns() // 1000
        return int(stamp_ns) // 1000 - self._sensor.boot_offset_us


def _frame(request: Any, configuration: dict[str, Any]) -> "VideoFrame":
    """A copy of the picture; its buffer goes back to the camera."""
    import av

    form = {"YUV420": "yuv420p", "NV12": "nv12"}.get(configuration["format"])
    if form is None:
        raise CameraError(f"the camera makes {configuration['format']}, not YUV420 or NV12")
    width, height = configuration["size"]
    frame = av.VideoFrame(width, height, form)
    data = memoryview(request.make_buffer("main"))
    at = 0
    for number, plane in enumerate(frame.planes):
        stride = configuration["stride"] // (2 if number and form == "yuv420p" else 1)
        rows = data[at : at + stride * plane.height]
        at += len(rows)
        if stride == plane.line_size:
            plane.update(rows)  # type: ignore[arg-type]  # takes any buffer
        else:
            each = min(stride, plane.line_size)
            lines = (bytes(rows[y * stride : y * stride + each]) for y in range(plane.height))
            plane.update(b"".join(line.ljust(plane.line_size, b"\0") for line in lines))
    return frame


# --- picamera2 where there is no Raspberry Pi ----------------------------------------------------------------


def _load() -> Any:
    """The package, with stubs for what it imports and is not installed: all of it is for things not done here."""
    if not _is_there("kms") and not _is_there("pykms"):
        sys.modules["pykms"] = _Unused("pykms")
    for name in _FOR_OTHERS:
        if not _is_there(name):
            sys.modules[name] = _Unused(name)
    try:
        import picamera2
    except ImportError as error:
        raise CameraError(
            f"picamera2 cannot be loaded ({error}); apt install python3-picamera2, and let the virtual environment "
            "see the system's packages"
        ) from error
    return picamera2


def _is_there(name: str) -> bool:
    parent = name.partition(".")[0]
    return name in sys.modules or (not isinstance(sys.modules.get(parent), _Unused) and _can_import(name))


def _can_import(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its package
        return False


class _Unused(types.ModuleType):
    """Has whatever picamera2 looks up in it while it is imported."""

    def __getattr__(self, name: str) -> "_Unused":
        if name.startswith("__"):
            raise AttributeError(name)  # a module's own, which others ask for
        return self


@functools.cache
def _adapted(package: Any, *, heaps: bool) -> Any:
    """Picamera2, as this kernel and its cameras can run it."""

    def raw_modes(self: Any) -> list[dict[str, Any]]:
        with contextlib.suppress(AttributeError, TypeError, RuntimeError, IndexError):
            if modes := package.Picamera2._get_raw_modes(self):
                return list(modes)
        return [{"format": "NV12", "size": (640, 480)}]  # a camera without raw pictures: nobody asks for them

    def process_requests(self: Any, display: Any) -> None:
        """Called on picamera2's thread for the pictures that are there, which go back to the camera with it. One
        that keeps to no rate makes the next at once."""
        if self.period_s and self._requests:
            now_s = time.monotonic()
            due_s = min(self.due_s, now_s + self.period_s)
            time.sleep(max(0.0, due_s - now_s))
            self.due_s = max(due_s, now_s) + self.period_s
        package.Picamera2.process_requests(self, display)

    attributes: dict[str, Any] = {
        "_get_raw_modes": raw_modes,
        "process_requests": process_requests,
        "period_s": 0.0,
        "due_s": 0.0,
    }
    if not heaps:
        from picamera2 import picamera2 as inner
        from picamera2.allocators.allocator import Allocator

        inner.DmaAllocator = Allocator  # closing makes a new one, which would look for the heaps

        def begin(self: Any, number: int) -> None:
            allocator = _libcamera_allocator()
            package.Picamera2.__init__(self, number, allocator=allocator)
            allocator.camera = self.camera

        attributes["__init__"] = begin
    return type("AdaptedPicamera2", (package.Picamera2,), attributes)


def _libcamera_allocator() -> Any:
    """Buffers that libcamera itself provides. They are mapped whole: some pipelines leave `bytes_used` 0."""
    from picamera2.allocators import LibcameraAllocator

    allocator = LibcameraAllocator(None)
    allocator.sync = _Mapping
    return allocator


class _Mapping:
    """In place of picamera2's Sync: the buffer's memory while it is looked at."""

    def __init__(self, allocator: Any, buffer: Any, write: bool) -> None:
        self._planes = buffer.planes
        self._map: mmap.mmap | None = None

    def __enter__(self) -> mmap.mmap:
        length = sum(plane.length for plane in self._planes)
        self._map = mmap.mmap(self._planes[0].fd, length, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        return self._map

    def __exit__(self, *_: object) -> None:
        if self._map is not None:
            self._map.close()
