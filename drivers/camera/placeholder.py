"""What legs see while the camera does not work: a still picture of a crossed-out camera, once a second.

Each picture is an IDR of one or two kilobytes, so that whoever joins sees it at once. A lamp in its corner blinks:
the call is alive, it is the camera that is not.
"""

import threading
import time
from collections.abc import Generator
from typing import TYPE_CHECKING

from drivers.camera.encoding import EncodingCamera
from drivers.camera.ffmpeg import load
from drivers.camera.x264 import X264

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_EVERY_S = 1.0
_BITRATE_BPS = 100_000
_SHADES = {".": 40, "#": 190, "o": 190}
_DRAWING = (
    "....................",
    "..................o.",
    "....................",
    "...##...............",
    "...###.######.......",
    "...####.######..##..",
    "...#####.#####.###..",
    "...######.########..",
    "...#######.#######..",
    "...########.######..",
    "...#########.##.##..",
    "...##########.#.....",
    "..............##....",
    "...............##...",
    "....................",
)


class PlaceholderCamera(EncodingCamera):
    def __init__(self, width: int, height: int) -> None:
        encoder = X264(width, height, 1, _BITRATE_BPS, keyframe_every_s=0.0)
        super().__init__("placeholder", _Stills(width, height), encoder)


class _Stills:
    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)

    def open(self) -> None:
        """Drawn when it is needed: rarely."""

    def pictures(self, stopping: threading.Event) -> "Generator[tuple[VideoFrame, int], None, None]":
        load()
        import av

        frame = av.VideoFrame(*self._size, "yuv420p")
        luma, *chroma = frame.planes
        for plane in chroma:
            plane.update(b"\x80" * plane.buffer_size)
        canvases = [_draw(*self._size, luma.line_size, lamp=lamp) for lamp in (True, False)]
        number = 0
        while not stopping.is_set():
            luma.update(canvases[number % 2])
            number += 1
            yield frame, round(time.monotonic() * 1e6)
            stopping.wait(_EVERY_S)

    def close(self) -> None:
        """Nothing is held."""


def _draw(width: int, height: int, stride: int, *, lamp: bool) -> bytes:
    """A luma plane of the drawing, rows `stride` bytes apart."""
    rows = []
    for line in _DRAWING:
        cells = [_SHADES["." if cell == "o" and not lamp else cell] for cell in line]
        rows.append(bytes(cells[min(x * len(cells) // width, len(cells) - 1)] for x in range(stride)))
    return b"".join(rows[y * len(rows) // height] for y in range(height))
