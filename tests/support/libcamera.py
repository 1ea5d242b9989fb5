"""libcamera's Python module without libcamera, as far as picamera2 uses it: one camera of moving grey.

Within `installed` the real picamera2 runs on it: its requests, its event loop, its encoders' life. What picamera2
imports and never uses here is empty. Like libcamera's own `virtual` pipeline, the camera makes NV12, knows no raw
pictures and leaves `bytes_used` 0; or, as a Raspberry Pi's, it makes YUV420 in padded rows.
"""

import enum
import mmap
import os
import sys
import threading
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

NOT_USED = ("prctl", "piexif", "simplejpeg", "pidng", "pidng.camdefs", "pidng.core", "PIL", "PIL.Image")
STRIDE = 64


class _Values(enum.Enum):
    """For enumerations whose values nobody looks into."""


def _kinds(*names: str) -> Any:
    return _Values(f"_{names[0]}", names)  # type: ignore[call-overload]


@dataclass(eq=True, unsafe_hash=True)
class Size:
    width: int = 0
    height: int = 0


@dataclass(eq=True, unsafe_hash=True)
class Rectangle:
    x: int = 0
    y: int = 0
    width: int = 0
    height: int = 0


class Transform:
    def __init__(self, hflip: int = 0, vflip: int = 0, transpose: int = 0) -> None:
        self.hflip, self.vflip, self.transpose = hflip, vflip, transpose

    def __str__(self) -> str:
        return f"{self.hflip}{self.vflip}{self.transpose}"

    def __hash__(self) -> int:
        return hash((self.hflip, self.vflip, self.transpose))


class ColorSpace:
    def __init__(self, name: str = "") -> None:
        self.primaries = self.transferFunction = self.ycbcrEncoding = self.range = name

    def __str__(self) -> str:
        return self.primaries

    def __hash__(self) -> int:
        return hash(self.primaries)

    @staticmethod
    def Sycc() -> "ColorSpace":  # noqa: N802
        return ColorSpace("sycc")

    @staticmethod
    def Smpte170m() -> "ColorSpace":  # noqa: N802
        return ColorSpace("smpte170m")

    @staticmethod
    def Rec709() -> "ColorSpace":  # noqa: N802
        return ColorSpace("rec709")

    @staticmethod
    def Raw() -> "ColorSpace":  # noqa: N802
        return ColorSpace("raw")


@dataclass(frozen=True)
class Control:
    name: str
    type: object = None


SENSOR_TIMESTAMP = Control("SensorTimestamp")


@dataclass
class Range:
    min: Any
    max: Any
    default: Any


@dataclass
class StreamConfiguration:
    stream: Any = field(default_factory=object)
    size: Size = field(default_factory=Size)
    pixel_format: str = "YUV420"
    buffer_count: int = 4
    stride: int = 0
    frame_size: int = 0
    color_space: Any = None
    formats: Any = None


@dataclass
class Plane:
    fd: int
    length: int
    offset: int = 0


class FrameBuffer:
    def __init__(self, planes: list[Plane]) -> None:
        self.planes = planes
        used = [types.SimpleNamespace(bytes_used=0) for _ in planes]
        self.metadata = types.SimpleNamespace(planes=used, status=_STATUS.Success)


_STATUS = _kinds("Success", "Error")
_REQUEST = _kinds("Complete", "Cancelled")
_CONFIGURATION = _kinds("Valid", "Adjusted", "Invalid")
_ROLE = _kinds("Raw", "StillCapture", "VideoRecording", "Viewfinder")
_TYPE = _kinds("Bool", "Integer32", "Integer64", "Float", "Rectangle", "Size")


class Request:
    Status = _REQUEST
    status = _REQUEST.Complete

    def __init__(self, cookie: int) -> None:
        self.cookie = cookie
        self.buffers: dict[Any, FrameBuffer] = {}
        self.metadata: dict[Control, int] = {}

    def add_buffer(self, stream: Any, buffer: FrameBuffer) -> None:
        self.buffers[stream] = buffer

    def reuse(self) -> None:
        self.metadata = {}

    def set_control(self, control: Control, value: object) -> None:
        _camera.set_controls[control.name] = value


class CameraConfiguration:
    Status = _CONFIGURATION

    def __init__(self, count: int) -> None:
        self._all = [StreamConfiguration() for _ in range(count)]
        self.orientation: Any = None
        self.sensor_config: Any = None

    def at(self, index: int) -> StreamConfiguration:
        return self._all[index]

    def __iter__(self) -> Iterator[StreamConfiguration]:
        return iter(self._all)

    def validate(self) -> Any:
        status = _CONFIGURATION.Valid
        for one in self._all:
            if _camera.virtual and one.pixel_format != "NV12":
                one.pixel_format = "NV12"
                status = _CONFIGURATION.Adjusted
            one.stride = -(-one.size.width // STRIDE) * STRIDE
            one.frame_size = one.stride * one.size.height * 3 // 2
        return status


class Camera:
    """`virtual`: as libcamera's pipeline of that name, which has no raw pictures and makes those it has as fast as
    it can (here: fifty a second) whatever its control says."""

    id = "/base/soc/i2c0mux/i2c@1/test@10"

    def __init__(self) -> None:
        self.virtual = True
        self.running = self.stalled = False
        self.starts = 0
        self.set_controls: dict[str, object] = {}
        self.connected = True
        self.configured: list[StreamConfiguration] = []
        self.files: list[int] = []
        self._queue: list[Request] = []
        self._done: list[Request] = []
        self._lock = threading.Lock()
        self.event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread: threading.Thread | None = None

    @property
    def controls(self) -> dict[Control, Range]:
        return {Control("FrameDurationLimits"): Range(10_000, 1_000_000, 33_333)}

    @property
    def properties(self) -> dict[Control, object]:
        sensor = {} if self.virtual else {Control("ColorFilterArrangement"): 2}
        return {Control("Model"): "test", Control("Location"): 0} | sensor

    def acquire(self) -> None: ...

    def release(self) -> None: ...

    def generate_configuration(self, roles: list[Any]) -> CameraConfiguration | None:
        if self.virtual and _ROLE.Raw in roles:
            return None
        configuration = CameraConfiguration(len(roles))
        if _ROLE.Raw in roles:
            sizes = types.SimpleNamespace(pixel_formats=["SBGGR10_CSI2P"], sizes=lambda _: [Size(1640, 1232)])
            configuration.at(0).formats = sizes
        return configuration

    def configure(self, configuration: CameraConfiguration) -> int:
        self.configured = list(configuration)
        return 0

    def discard(self) -> None:
        for fd in (*self.files, self.event_fd):
            os.close(fd)

    def create_request(self, cookie: int) -> Request:
        return Request(cookie)

    def queue_request(self, request: Request) -> None:
        with self._lock:
            self._queue.append(request)

    def start(self, controls: dict[Control, object]) -> None:
        self.set_controls |= {control.name: value for control, value in controls.items()}
        self.starts += 1
        self.running = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.running = False
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._queue.clear()

    def ready(self) -> list[Request]:
        with suppress(BlockingIOError):
            os.eventfd_read(self.event_fd)
        with self._lock:
            done, self._done = self._done, []
        return done

    def _run(self) -> None:
        shade = 0
        while self.running:
            time.sleep(0.02)
            with self._lock:
                request = self._queue.pop(0) if self._queue and not self.stalled else None
            if request is None:
                continue
            shade = (shade + 16) % 256
            for buffer in request.buffers.values():
                length = sum(plane.length for plane in buffer.planes)
                with mmap.mmap(buffer.planes[0].fd, length) as memory:
                    memory[:] = bytes((shade,)) * length
            stamp = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            request.metadata = {SENSOR_TIMESTAMP: stamp}
            with self._lock:
                self._done.append(request)
            os.eventfd_write(self.event_fd, 1)


class FrameBufferAllocator:
    """Memory that may be mapped, in two planes of one file, as libcamera's own allocator gives it."""

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self._buffers: dict[Any, list[FrameBuffer]] = {}

    def allocate(self, stream: Any) -> int:
        (configured,) = (one for one in self._camera.configured if one.stream is stream)
        size = configured.frame_size
        self._buffers[stream] = []
        for _ in range(configured.buffer_count):
            fd = os.memfd_create("picture", os.MFD_CLOEXEC)
            os.ftruncate(fd, size)
            self._camera.files.append(fd)
            luma = size * 2 // 3
            self._buffers[stream].append(FrameBuffer([Plane(fd, luma), Plane(fd, size - luma, luma)]))
        return configured.buffer_count

    def buffers(self, stream: Any) -> list[FrameBuffer]:
        return self._buffers[stream]


class CameraManager:
    def __init__(self) -> None:
        self.event_fd = _camera.event_fd

    @property
    def cameras(self) -> list[Camera]:
        return [_camera] if _camera.connected else []

    @staticmethod
    def singleton() -> "CameraManager":
        return CameraManager()

    def get_ready_requests(self) -> list[Request]:
        return _camera.ready()


_camera = Camera()


@contextmanager
def installed() -> Iterator[Camera]:
    """picamera2 may be imported within, and finds this camera."""
    global _camera
    before = dict(sys.modules)
    _camera = Camera()
    for name in NOT_USED:
        sys.modules[name] = _Empty(name)
    sys.modules["libcamera"] = sys.modules["libcamera._libcamera"] = _module()
    try:
        yield _camera
    finally:
        for name in set(sys.modules) - set(before):
            if name.partition(".")[0] in ("picamera2", "libcamera", "pykms", *NOT_USED):
                del sys.modules[name]
        _camera.discard()


class _Empty(types.ModuleType):
    """A module of which nothing is used but names."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Empty(name)


def _module() -> types.ModuleType:
    module = _Empty("libcamera")
    controls = types.SimpleNamespace(
        SensorTimestamp=SENSOR_TIMESTAMP,
        ExposureTime=Control("ExposureTime"),
        AnalogueGain=Control("AnalogueGain"),
        FrameDurationLimits=Control("FrameDurationLimits"),
        draft=types.SimpleNamespace(NoiseReductionModeEnum=_Values("N", ["Fast"])),
    )
    orientations = [f"Rotate{angle}{mirror}" for angle in (0, 90, 180, 270) for mirror in ("", "Mirror")]
    members = {
        "controls": controls,
        "Orientation": _kinds(*orientations),
        "StreamRole": _ROLE,
        "ControlType": _TYPE,
        "PixelFormat": str,
        "SensorConfiguration": types.SimpleNamespace,
        "FrameMetadata": types.SimpleNamespace(Status=_STATUS),
    }
    shared = (Size, Rectangle, Transform, ColorSpace, Request, CameraConfiguration, FrameBufferAllocator)
    members |= {kind.__name__: kind for kind in (*shared, CameraManager)}
    for name, member in members.items():
        setattr(module, name, member)
    module._libcamera = module
    return module
