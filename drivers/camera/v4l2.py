"""USB cameras (UVC), through FFmpeg's V4L2 input: H.264 passed through, MJPEG and YUYV encoded here.

H.264 is passed through where the camera writes it in the baseline profile, which every monitor shows; in another
one it is decoded and encoded. Such a camera times its keyframes itself: who joins waits for the next, so most are
better off with MJPEG. The device is open only while pictures are wanted: an open one streams.
"""

import errno
import logging
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from drivers.camera.annex_b import BASELINE, has_idr, profile_idc
from drivers.camera.base import AccessUnit, CameraError
from drivers.camera.encoding import EncodingCamera
from drivers.camera.ffmpeg import load
from drivers.camera.x264 import X264

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.error import FFmpegError
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

log = logging.getLogger(__name__)

DEVICES = Path("/dev/v4l/by-id")
_FORMATS = {"auto": ("mjpeg", "yuyv422"), "h264": ("h264",), "mjpeg": ("mjpeg",), "yuyv": ("yuyv422",)}
_BAD_PICTURES = 30  # on end: a cable that makes an error now and then is no reason to give up
_RECENT_US = 1_000_000


class V4l2Camera(EncodingCamera):
    """`device`: a name below /dev/v4l/by-id or by-path; `form`: what the camera is to send, "auto" for raw forms.

    `container` is FFmpeg's name of what reads the device: tests read a generated picture or a file in its place.
    """

    def __init__(
        self,
        device: str,
        width: int,
        height: int,
        fps: int,
        bitrate_kbps: int,
        form: str = "auto",
        *,
        container: str = "v4l2",
    ) -> None:
        if form not in _FORMATS:
            raise CameraError(f'no camera sends "{form}"; write one of {", ".join(_FORMATS)}')
        size = {"video_size": f"{width}x{height}", "framerate": str(fps)} if container == "v4l2" else {}
        source = _Device(device, container, form, size)
        super().__init__("USB camera", source, X264(width, height, fps, bitrate_kbps * 1000))


class _Device:
    def __init__(self, device: str, container: str, form: str, options: dict[str, str]) -> None:
        self._device = device
        self._container = container
        self._form = form
        self._options = options

    def open(self) -> None:
        if self._container == "v4l2" and not Path(self._device).exists():
            raise CameraError(f"{self._device} is missing; {present()}")
        load()  # this is what takes time

    def close(self) -> None:
        """The device is open within `pictures` only."""

    def pictures(self, stopping: threading.Event) -> "Generator[tuple[VideoFrame, int] | AccessUnit, None, None]":
        with self._opened() as container:
            reader = _Reader(coded=container.streams.video[0].codec_context.name == "h264")
            for packet in container.demux(video=0):
                if stopping.is_set():
                    return
                if packet.size:
                    yield from reader.take(packet)

    def _opened(self) -> "InputContainer":
        import av
        from av.error import FFmpegError

        forms = _FORMATS[self._form] if self._container == "v4l2" else ("",)
        for form in forms:
            options = {**self._options, "input_format": form} if form else self._options
            try:
                return av.open(self._device, format=self._container, options=options)
            except FFmpegError as error:
                if error.errno == errno.EINVAL and form != forms[-1]:
                    continue  # the camera does not have this form
                raise CameraError(f"{self._device}: {_why(error, self._form)}") from error
        raise AssertionError("there is a form")


class _Reader:
    """Packets of one opened device, as pictures or as they are."""

    def __init__(self, *, coded: bool) -> None:
        self._coded = coded
        self._passes: bool | None = None if coded else False
        self._bad = 0

    def take(self, packet: "Packet[VideoStream]") -> "Generator[tuple[VideoFrame, int] | AccessUnit, None, None]":
        taken_us = _taken_us(packet)
        if self._passes is None:
            self._passes = self._judge(bytes(packet))
            if self._passes is None:
                return  # before the first parameter sets there is nothing to see
        if self._passes:
            data = bytes(packet)
            yield AccessUnit(data, taken_us, has_idr(data))
            return
        for frame in self._decoded(packet):
            yield frame, taken_us

    def _judge(self, data: bytes) -> bool | None:
        profile = profile_idc(data)
        if profile is None:
            return None
        if profile != BASELINE:
            log.warning("the camera's H.264 has profile_idc %d, which monitors may not show: encoded anew", profile)
        return profile == BASELINE

    def _decoded(self, packet: "Packet[VideoStream]") -> "list[VideoFrame]":
        from av.error import InvalidDataError

        try:
            frames = packet.decode()
        except InvalidDataError:
            self._bad += 1
            if self._bad >= _BAD_PICTURES:
                raise
            return []
        if frames:
            self._bad = 0
        return frames


def _taken_us(packet: "Packet[VideoStream]") -> int:
    """The kernel's stamp where it is of the monotonic clock, as UVC cameras' are; else now."""
    now_us = time.monotonic_ns() // 1000
    if packet.pts is not None and packet.time_base is not None:
        stamp_us = round(packet.pts * packet.time_base * 1_000_000)
        if now_us - _RECENT_US < stamp_us <= now_us:
            return stamp_us
    return now_us


def _why(error: "FFmpegError", form: str) -> str:
    if error.errno == errno.EBUSY:
        return "another program uses it"
    if error.errno == errno.EINVAL:
        return f"it does not send {form} of this size and rate; v4l2-ctl --list-formats-ext says what it does"
    if error.errno == errno.EACCES:
        return "this user may not read it; the group is video"
    if error.errno in (errno.ENOTTY, errno.ENODEV):
        return "it is no camera, or just unplugged"
    return error.strerror or str(error)


def present() -> str:
    """The USB cameras that are there, in words."""
    there = sorted(str(path) for path in DEVICES.glob("*")) if DEVICES.is_dir() else []
    return f"there are {', '.join(there)}" if there else "no USB camera is connected"
