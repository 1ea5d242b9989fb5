"""The monitor's screen: takes the door's H.264 off a UDP port and decodes it (RFC 6184, PyAV)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from drivers.camera.timecode import read_timecode
from firmware.net.rtp_port import RtpPort
from firmware.rtp.h264 import Depacketizer
from firmware.rtp.packet import RtpError, parse_rtp

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

        encoder: VideoCodecContext = av.CodecContext.create("png", "w")  # type: ignore[assignment]
        encoder.width, encoder.height, encoder.pix_fmt = self.width, self.height, "rgb24"
        with path.open("wb") as file:
            for packet in encoder.encode(self.frame.reformat(format="rgb24")) + encoder.encode(None):
                file.write(bytes(packet))


class PictureReceiver:
    """Calls `on_picture` on the event loop's thread. `count` pictures so far."""

    def __init__(self, host: str, on_picture: Callable[[Picture], None]) -> None:
        import av
        from av.error import FFmpegError

        self.count = 0
        self._broken = FFmpegError
        self._rtp = RtpPort(host)
        self.port = self._rtp.port
        self._on_picture = on_picture
        self._depacketizer = Depacketizer()
        self._decoder: VideoCodecContext = av.CodecContext.create("h264", "r")  # type: ignore[assignment]
        self._packet = av.Packet
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._rtp.media, self._read)

    def close(self) -> None:
        self._loop.remove_reader(self._rtp.media)
        self._rtp.close()

    def _read(self) -> None:
        while True:
            try:
                data = self._rtp.media.recv(2048)
            except (BlockingIOError, ConnectionError):
                return
            try:
                unit = self._depacketizer.receive(parse_rtp(data))
            except RtpError:
                continue
            if unit is not None:
                self._decode(unit)

    def _decode(self, unit: bytes) -> None:
        try:
            frames = self._decoder.decode(self._packet(unit))
        except self._broken:
            return  # the next IDR mends it
        for frame in frames:
            self.count += 1
            luma = frame.planes[0]
            code = read_timecode(memoryview(luma), luma.line_size, frame.width)
            self._on_picture(Picture(frame.width, frame.height, code, frame))
