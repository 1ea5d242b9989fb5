"""The monitor's screen: decodes the door's H.264 (PyAV) and keeps a picture as PNG."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from drivers.camera.timecode import read_timecode

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture. `timecode_ms` is what the simulated camera drew into it, None for any other camera."""

    width: int
    height: int
    timecode_ms: int | None
    frame: "VideoFrame"

    def save(self, path: Path) -> None:
        """As PNG."""
        import av

        encoder: VideoCodecContext = av.CodecContext.create("png", "w")
        encoder.width, encoder.height, encoder.pix_fmt = self.width, self.height, "rgb24"
        with path.open("wb") as file:
            for packet in encoder.encode(self.frame.reformat(format="rgb24")) + encoder.encode(None):
                file.write(bytes(packet))


class Screen:
    """Decodes access units (Annex B) and hands every picture to `on_picture`. `count` pictures so far."""

    def __init__(self, on_picture: Callable[[Picture], None]) -> None:
        import av
        from av.error import FFmpegError

        self.count = 0
        self._broken = FFmpegError
        self._on_picture = on_picture
        self._decoder: VideoCodecContext = av.CodecContext.create("h264", "r")
        self._packet = av.Packet

    def show(self, unit: bytes, _timestamp: int) -> None:
        try:
            frames = self._decoder.decode(self._packet(unit))
        except self._broken:
            return  # the next IDR mends it
        for frame in frames:
            self.count += 1
            luma = frame.planes[0]
            code = read_timecode(memoryview(luma), luma.line_size, frame.width)
            self._on_picture(Picture(frame.width, frame.height, code, frame))
