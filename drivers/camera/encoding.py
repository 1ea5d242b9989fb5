"""A camera whose pictures are encoded here: one thread that takes them from a source and hands on access units.

The sources are what differs: a test picture, a USB camera, a Raspberry Pi camera on a board without encoder. One
that delivers H.264 already is passed through.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Protocol

from drivers.camera.base import AccessUnit, CameraError
from drivers.camera.x264 import X264

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

log = logging.getLogger(__name__)

_STOP_S = 3.0  # a driver that hangs in the kernel is left behind with its thread


class Source(Protocol):
    """Where raw pictures come from. All on one thread at a time."""

    def open(self) -> None:
        """What takes time, once; costs no CPU from then on. Nothing where it is done already."""

    def pictures(self, stopping: threading.Event) -> "Generator[tuple[VideoFrame, int] | AccessUnit, None, None]":
        """(picture, microseconds of the monotonic clock when it was taken) until `stopping`, or encoded units."""

    def close(self) -> None: ...


class EncodingCamera:
    """`name` begins what is complained of. CameraError for a size that has no level."""

    def __init__(self, name: str, source: Source, encoder: X264) -> None:
        self.width = encoder.width
        self.height = encoder.height
        self.fps = encoder.fps
        self.bitrate_bps = encoder.bitrate_bps
        self.profile_level_id = encoder.profile_level_id
        self.failure = ""
        self._name = name
        self._source = source
        self._encoder = encoder
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def prepare(self) -> None:
        self._source.open()
        self._encoder.open()

    def start(self, on_access_unit: Callable[[AccessUnit], None]) -> None:
        if self._thread is not None:
            raise CameraError(f"{self._name}: it is running already")
        self.failure = ""
        self._stopping = threading.Event()
        self._encoder.request_keyframe()
        self._thread = threading.Thread(
            target=self._run, args=(on_access_unit, self._stopping), name="camera", daemon=True
        )
        self._thread.start()

    def request_keyframe(self) -> None:
        self._encoder.request_keyframe()

    def configure(self, bitrate_bps: int, frame_rate: float) -> None:
        self._encoder.configure(bitrate_bps, frame_rate)

    def limit_slices(self, max_bytes: int) -> None:
        self._encoder.limit_slices(max_bytes)

    def stop(self) -> None:
        thread, self._thread = self._thread, None
        self._stopping.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_STOP_S)
            if thread.is_alive():
                log.warning("%s: does not stop; it is left behind", self._name)

    def close(self) -> None:
        self.stop()
        self._source.close()
        self._encoder.close()

    def _run(self, on_access_unit: Callable[[AccessUnit], None], stopping: threading.Event) -> None:
        try:
            self._source.open()
            with contextlib.closing(self._source.pictures(stopping)) as pictures:
                for picture in pictures:
                    units = [picture] if isinstance(picture, AccessUnit) else self._encoder.encode(*picture)
                    for unit in units:
                        if stopping.is_set():
                            return
                        on_access_unit(unit)
            if not stopping.is_set():
                self.failure = f"{self._name}: its pictures ended"
        except CameraError as error:
            self.failure = "" if stopping.is_set() else str(error)
        except Exception as error:
            # Whatever FFmpeg raises must end in a visible fault, not in a thread that is silently gone.
            if not stopping.is_set():
                self.failure = f"{type(error).__name__}: {error}"
                log.exception("%s stopped", self._name)
