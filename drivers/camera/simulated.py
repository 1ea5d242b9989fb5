"""A camera without one: a moving picture with a running timecode, encoded by libx264.

The picture is a fixed background of colours, a square that travels across it, and the monotonic clock's
milliseconds in the top rows (timecode.py). Drawing is a few copies of prepared bytes.
"""

import threading
import time
from collections.abc import Generator
from typing import TYPE_CHECKING

from drivers.camera.base import CameraError
from drivers.camera.encoding import EncodingCamera
from drivers.camera.ffmpeg import load
from drivers.camera.timecode import BITS, ROWS, timecode_row
from drivers.camera.x264 import X264

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_SQUARE = 64
_SQUARE_LUMA = 200
_STEPS_PER_CROSSING = 50


class SimulatedCamera(EncodingCamera):
    """CameraError for a size that has no level."""

    def __init__(self, width: int = 640, height: int = 480, fps: int = 15, bitrate_kbps: int = 600) -> None:
        if width < 4 * BITS or height < ROWS + _SQUARE:
            raise CameraError(f"{width}x{height} is too small for the test picture; write 160x120 or more")
        encoder = X264(width, height, fps, bitrate_kbps * 1000)
        super().__init__("simulated camera", _TestPictures(width, height, fps), encoder)


class _TestPictures:
    def __init__(self, width: int, height: int, fps: int) -> None:
        self._size = (width, height)
        self._fps = fps
        self._picture: _Picture | None = None

    def open(self) -> None:
        if self._picture is None:
            load()
            self._picture = _Picture(*self._size)

    def pictures(self, stopping: threading.Event) -> "Generator[tuple[VideoFrame, int], None, None]":
        assert self._picture is not None
        started_s = time.monotonic()
        number = 0
        while not stopping.is_set():
            taken_us = time.monotonic_ns() // 1000
            yield self._picture.draw(number, round(taken_us / 1000)), taken_us
            # A picture whose time has passed is left out, as a camera would; the schedule stays.
            number = max(number + 1, int((time.monotonic() - started_s) * self._fps))
            stopping.wait(max(0.0, started_s + number / self._fps - time.monotonic()))

    def close(self) -> None:
        self._picture = None


class _Picture:
    """One frame that is drawn again and again: the encoder is done with it when `encode` returns."""

    def __init__(self, width: int, height: int) -> None:
        import av

        self._frame = av.VideoFrame(width, height, "yuv420p")
        self._width = width
        self._height = height
        luma, blue, red = self._frame.planes
        self._stride = luma.line_size
        self._background = _luma_background(self._stride, height)
        self._canvas = bytearray(self._background)
        self._square_at = (0, ROWS)
        chroma_rows = height // 2
        # Colours run across and down, so that mixed-up planes or strides are seen at once.
        across = bytes(64 + 128 * x // blue.line_size for x in range(blue.line_size))
        blue.update(across * chroma_rows)
        red.update(b"".join(bytes((64 + 128 * y // chroma_rows,)) * red.line_size for y in range(chroma_rows)))

    def draw(self, number: int, milliseconds: int) -> "VideoFrame":
        self._fill_square(None)
        step = number % (2 * _STEPS_PER_CROSSING)
        step = min(step, 2 * _STEPS_PER_CROSSING - step)
        self._square_at = (
            (self._width - _SQUARE) * step // _STEPS_PER_CROSSING,
            ROWS + (self._height - ROWS - _SQUARE) * step // _STEPS_PER_CROSSING,
        )
        self._fill_square(_SQUARE_LUMA)
        code = timecode_row(milliseconds, self._width)
        for row in range(ROWS):
            start = row * self._stride
            self._canvas[start : start + len(code)] = code
        self._frame.planes[0].update(self._canvas)  # type: ignore[arg-type]  # takes any buffer
        return self._frame

    def _fill_square(self, luma: int | None) -> None:
        """Draw the square, or the background where it was."""
        left, top = self._square_at
        for row in range(top, top + _SQUARE):
            start = row * self._stride + left
            end = start + _SQUARE
            self._canvas[start:end] = self._background[start:end] if luma is None else bytes((luma,)) * _SQUARE


def _luma_background(stride: int, height: int) -> bytes:
    """A checked ramp: enough edges that a frozen or broken picture is seen, few enough to cost few bits."""
    rows = []
    for y in range(height):
        shade = 60 + 80 * y // height
        dark, light = bytes((shade,)) * 40, bytes((shade + 30,)) * 40
        pair = (dark + light) if y // 40 % 2 else (light + dark)
        rows.append((pair * (stride // 80 + 1))[:stride])
    return b"".join(rows)
