"""A camera without one: a moving picture with a running timecode, encoded by libx264.

The picture is a fixed background of colours, a square that travels across it, and the monotonic clock's
milliseconds in the top rows (timecode.py). Drawing is a few copies of prepared bytes; encoding runs in FFmpeg
without the interpreter's lock, so that an audio thread beside it keeps its beat. PyAV is imported by the
camera's own thread at the first start, because that takes longer than a ringing call may be held up.
"""

import logging
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING

from drivers.camera.base import AccessUnit, CameraError
from drivers.camera.timecode import BITS, ROWS, timecode_row

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame

log = logging.getLogger(__name__)

_KEYFRAME_EVERY_S = 4  # for monitors that never ask for one
_SQUARE = 64
_SQUARE_LUMA = 200
_STEPS_PER_CROSSING = 50

# ITU-T H.264 table A-1: (level_idc, macroblocks per second, macroblocks per frame). The lowest one that every
# monitor has is 3.1; above 4 there is nothing a door needs.
_LEVELS = ((31, 108_000, 3_600), (40, 245_760, 8_192))


class SimulatedCamera:
    """`bitrate_kbps` bounds every half second, keyframes included. CameraError for a size that has no level."""

    def __init__(self, width: int = 640, height: int = 480, fps: int = 15, bitrate_kbps: int = 600) -> None:
        if width % 2 or height % 2 or width < 4 * BITS or height < ROWS + _SQUARE:
            raise CameraError(f"simulated camera: {width}x{height} is odd or too small; write 160x120 or more")
        self.width = width
        self.height = height
        self.fps = fps
        self.failure = ""
        self._level = _level(width, height, fps)
        # Constrained baseline as x264 writes it: constraint_set0 and constraint_set1.
        self.profile_level_id = f"42c0{self._level:02x}"
        self._bitrate_kbps = bitrate_kbps
        self._keyframe_wanted = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, on_access_unit: Callable[[AccessUnit], None]) -> None:
        if self._thread is not None:
            raise CameraError("simulated camera: it is running already")
        self.failure = ""
        self._stopping = threading.Event()
        self._keyframe_wanted.set()
        self._thread = threading.Thread(
            target=self._run, args=(on_access_unit, self._stopping), name="camera", daemon=True
        )
        self._thread.start()

    def request_keyframe(self) -> None:
        self._keyframe_wanted.set()

    def stop(self) -> None:
        thread, self._thread = self._thread, None
        self._stopping.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self, on_access_unit: Callable[[AccessUnit], None], stopping: threading.Event) -> None:
        try:
            encoder = self._open_encoder()
            picture = _Picture(self.width, self.height)
            started_s = time.monotonic()
            number = 0
            while not stopping.is_set():
                self._encode(encoder, picture, number, on_access_unit, stopping)
                # A picture whose time has passed is left out, as a camera would; the schedule stays.
                number = max(number + 1, int((time.monotonic() - started_s) * self.fps))
                stopping.wait(max(0.0, started_s + number / self.fps - time.monotonic()))
        except Exception as error:
            # Whatever FFmpeg raises must end in a visible fault, not in a thread that is silently gone.
            self.failure = f"{type(error).__name__}: {error}"
            log.exception("simulated camera stopped")

    def _encode(
        self,
        encoder: "VideoCodecContext",
        picture: "_Picture",
        number: int,
        on_access_unit: Callable[[AccessUnit], None],
        stopping: threading.Event,
    ) -> None:
        from av.video.frame import PictureType

        now_s = time.monotonic()
        frame = picture.draw(number, round(now_s * 1000))
        forced = self._keyframe_wanted.is_set()
        self._keyframe_wanted.clear()
        frame.pict_type = PictureType.I if forced else PictureType.NONE
        frame.pts = number
        for packet in encoder.encode(frame):
            if not stopping.is_set():
                on_access_unit(AccessUnit(bytes(packet), round(now_s * 1e6), packet.is_keyframe))

    def _open_encoder(self) -> "VideoCodecContext":
        import av

        encoder = av.CodecContext.create("libx264", "w")
        encoder.width = self.width
        encoder.height = self.height
        encoder.pix_fmt = "yuv420p"
        encoder.framerate = Fraction(self.fps)
        encoder.time_base = Fraction(1, self.fps)
        encoder.bit_rate = self._bitrate_kbps * 1000
        encoder.gop_size = _KEYFRAME_EVERY_S * self.fps
        encoder.max_b_frames = 0
        encoder.thread_count = 1  # more make several slices of a picture, and wake more threads
        encoder.options = {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "profile": "baseline",
            "level": str(self._level),
            "forced-idr": "1",
            "maxrate": f"{self._bitrate_kbps}k",
            "bufsize": f"{self._bitrate_kbps // 2}k",
            "x264-params": "scenecut=0:keyint-min=1:repeat-headers=1",
        }
        encoder.open()
        return encoder


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


def _level(width: int, height: int, fps: int) -> int:
    blocks = -(-width // 16) * -(-height // 16)
    for level, per_second, per_frame in _LEVELS:
        if blocks <= per_frame and blocks * fps <= per_second:
            return level
    raise CameraError(f"simulated camera: {width}x{height} at {fps} is more than H.264 level 4 carries")
