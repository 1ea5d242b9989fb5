"""JPEG pictures of what the camera shows: the very pictures that the legs get, decoded and encoded once more.

So every camera has them, those that deliver nothing but H.264 too, and none is opened twice. Only while somebody
looks, on a thread of its own: decoding costs a third of what encoding does, a JPEG 5 ms of a fast processor.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware.media.feed import CameraFeed

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame

    from drivers.camera.base import AccessUnit

log = logging.getLogger(__name__)

_BACKLOG = 30  # units; who falls behind so far begins again with the next IDR
_QUALITY = (3, 6)  # of the quantiser's 1 to 31: faces, not artefacts; 10 to 60 kB at 640x480


@dataclass(frozen=True, slots=True)
class Jpeg:
    """`taken_s`: when the camera took it, monotonic clock."""

    data: bytes
    width: int
    height: int
    taken_s: float


@dataclass(slots=True, eq=False)
class _Watcher:
    on_picture: Callable[[Jpeg], None]
    every_us: float
    next_us: float = 0.0


class Stills:
    def __init__(self, feed: CameraFeed) -> None:
        self._feed = feed
        self._lock = threading.Lock()
        self._watchers: tuple[_Watcher, ...] = ()
        self._thread: threading.Thread | None = None
        self._arrived = threading.Condition()
        self._units: deque[AccessUnit] = deque()
        self._waiting = True  # for an IDR to begin with

    def watch(self, on_picture: Callable[[Jpeg], None], every_s: float) -> Callable[[], None]:
        """Give `on_picture` a picture each `every_s`, on a thread of ours; returns what ends that."""
        watcher = _Watcher(on_picture, every_s * 1e6)
        with self._lock:
            self._watchers = (*self._watchers, watcher)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="camera-stills", daemon=True)
                self._thread.start()

        def stop() -> None:
            with self._lock:
                self._watchers = tuple(other for other in self._watchers if other is not watcher)
            with self._arrived:
                self._arrived.notify()

        return stop

    def _take(self, unit: "AccessUnit") -> None:
        """On the camera's thread."""
        with self._arrived:
            if unit.keyframe:
                self._units.clear()
                self._waiting = False
            elif len(self._units) >= _BACKLOG:
                self._waiting = True
            if not self._waiting:
                self._units.append(unit)
                self._arrived.notify()

    def _next(self) -> "AccessUnit | None":
        with self._arrived:
            while self._watchers:
                if self._units:
                    return self._units.popleft()
                self._arrived.wait()
            return None

    def _run(self) -> None:
        stop = self._feed.watch(self._take)
        try:
            darkroom = _Darkroom()
            while self._goes_on():
                unit = self._next()
                if unit is not None:
                    self._show(darkroom, unit)
        except Exception:  # whoever waits for a picture is told that none came
            log.exception("pictures of the camera ended")
            with self._lock:
                self._thread = None
        finally:
            stop()

    def _goes_on(self) -> bool:
        with self._lock:
            if not self._watchers:
                self._thread = None  # the next watcher starts another
                self._units.clear()
                self._waiting = True
                return False
            return True

    def _show(self, darkroom: "_Darkroom", unit: "AccessUnit") -> None:
        frame = darkroom.decode(unit.data)
        due = [watcher for watcher in self._watchers if unit.timestamp_us >= watcher.next_us]
        if frame is None or not due:
            return
        picture = Jpeg(darkroom.develop(frame), frame.width, frame.height, unit.timestamp_us / 1e6)
        for watcher in due:
            watcher.next_us = unit.timestamp_us + watcher.every_us
            watcher.on_picture(picture)


class _Darkroom:
    """H.264 in, JPEG out."""

    def __init__(self) -> None:
        from fractions import Fraction

        import av
        from av.codec.context import Flags
        from av.error import FFmpegError

        self._broken = FFmpegError
        self._packet = av.Packet
        self._decoder: VideoCodecContext = av.CodecContext.create("h264", "r")
        self._decoder.thread_count = 1  # more hold pictures back
        self._decoder.flags |= Flags.low_delay
        self._create = av.CodecContext.create
        self._time_base = Fraction(1, 1000)
        self._encoder: VideoCodecContext | None = None
        self._number = 0

    def decode(self, unit: bytes) -> "VideoFrame | None":
        try:
            frames = self._decoder.decode(self._packet(unit))
        except self._broken:
            return None  # the next IDR mends it
        return frames[-1] if frames else None

    def develop(self, frame: "VideoFrame") -> bytes:
        encoder = self._encoder
        if encoder is None or (encoder.width, encoder.height) != (frame.width, frame.height):
            encoder = self._encoder = self._create("mjpeg", "w")
            encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuvj420p"
            encoder.time_base = self._time_base
            encoder.thread_count = 1
            encoder.qmin, encoder.qmax = _QUALITY
        picture = frame.reformat(format="yuvj420p")
        self._number += 1
        picture.pts, picture.time_base = self._number, self._time_base
        return b"".join(map(bytes, encoder.encode(picture)))
