"""H.264 in software: libx264 through PyAV, for every camera that has no encoder of its own.

Constrained baseline without B-frames or look-ahead, so that each picture comes out as it goes in; one slice a
picture unless a peer needs them small. FFmpeg works without the interpreter's lock, except for opening the encoder
(5 ms), which is therefore kept open between calls. PyAV is imported by `open`: 8 MB and a tenth of a second.
"""

import threading
from typing import TYPE_CHECKING

from drivers.camera.base import AccessUnit, CameraError
from drivers.camera.ffmpeg import load

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame

KEYFRAME_EVERY_S = 4.0  # for monitors that never ask for one
LEAST_BPS = 30_000  # below it nobody is recognised
LEAST_FPS = 1.0

# ITU-T H.264 table A-1: (level_idc, macroblocks per second, macroblocks per frame). The lowest one that every
# monitor has is 3.1; above 4 there is nothing a door needs.
_LEVELS = ((31, 108_000, 3_600), (40, 245_760, 8_192))

# x264 reserves for the finest quantizer it may choose and the longest vector it may find, 3 MB less at 640x480 with
# these. Nobody sees a difference below quantizer 10, and no visitor moves by 64 lines from picture to picture.
_FRUGAL = "qpmin=10:mvrange=64"


def level(width: int, height: int, fps: int) -> int:
    """The level_idc of such a stream. CameraError where a door's monitors have none for it."""
    blocks = -(-width // 16) * -(-height // 16)
    for number, per_second, per_frame in _LEVELS:
        if blocks <= per_frame and blocks * fps <= per_second:
            return number
    raise CameraError(f"{width}x{height} at {fps} pictures a second is more than H.264 level 4 carries")


class X264:
    """`bitrate_bps` bounds every half second, keyframes included. CameraError for a size that has no level."""

    def __init__(
        self, width: int, height: int, fps: int, bitrate_bps: int, *, keyframe_every_s: float = KEYFRAME_EVERY_S
    ) -> None:
        if width % 2 or height % 2:
            raise CameraError(f"{width}x{height} is odd; H.264 wants even sizes")
        self.width = width
        self.height = height
        self.fps = fps
        self.bitrate_bps = bitrate_bps
        self._level = level(width, height, fps)
        # Constrained baseline as x264 writes it: constraint_set0 and constraint_set1.
        self.profile_level_id = f"42c0{self._level:02x}"
        self._keyframe_every_us = keyframe_every_s * 1e6
        self._keyframe_wanted = threading.Event()
        self._target: tuple[int, float] = (bitrate_bps, float(fps))
        self._slice_bytes = 0
        self._opened_slice_bytes = 0
        self._encoder: VideoCodecContext | None = None
        self._number = 0
        self._due_us = 0.0
        self._keyframe_us = 0.0

    # --- any thread ----------------------------------------------------------------------------------------

    def request_keyframe(self) -> None:
        self._keyframe_wanted.set()

    def configure(self, bitrate_bps: int, frame_rate: float) -> None:
        self._target = (
            max(LEAST_BPS, min(bitrate_bps, self.bitrate_bps)),
            max(LEAST_FPS, min(frame_rate, float(self.fps))),
        )

    def limit_slices(self, max_bytes: int) -> None:
        self._slice_bytes = max_bytes

    # --- the camera's thread -------------------------------------------------------------------------------

    def open(self) -> None:
        """Load FFmpeg and make an encoder, unless there is one."""
        if self._encoder is not None:
            return
        from fractions import Fraction

        load()
        import av

        bits = self.bitrate_bps
        slices = f":slice-max-size={self._slice_bytes}" if self._slice_bytes else ""
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width = self.width
        encoder.height = self.height
        encoder.pix_fmt = "yuv420p"
        encoder.framerate = Fraction(self.fps)
        encoder.time_base = Fraction(1, self.fps)
        encoder.bit_rate = bits
        encoder.gop_size = 1_000_000  # keyframes are ours to time: pictures may be left out
        encoder.max_b_frames = 0
        encoder.thread_count = 1  # more make several slices of a picture, and wake more threads
        encoder.options = {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "profile": "baseline",
            "level": str(self._level),
            "forced-idr": "1",
            "maxrate": str(bits),
            "bufsize": str(bits // 2),
            "x264-params": f"scenecut=0:keyint-min=1:repeat-headers=1:{_FRUGAL}{slices}",
        }
        encoder.open()
        self._encoder = encoder
        self._opened_slice_bytes = self._slice_bytes
        self._keyframe_wanted.set()

    def close(self) -> None:
        self._encoder = None

    def encode(self, frame: "VideoFrame", taken_us: int) -> list[AccessUnit]:
        """The unit of this picture; none for one that the frame rate leaves out. Converts what is not yuv420p."""
        from av.video.frame import PictureType

        bitrate_bps, frame_rate = self._target
        if not self._is_due(taken_us, frame_rate):
            return []
        encoder = self._opened()
        # x264 shares the rate out by the pictures it was promised, however many it gets.
        wanted = round(min(self.bitrate_bps, bitrate_bps * self.fps / frame_rate))
        if encoder.bit_rate != wanted:
            encoder.bit_rate = wanted
        if frame.format.name != "yuv420p" or (frame.width, frame.height) != (self.width, self.height):
            frame = frame.reformat(self.width, self.height, "yuv420p")
        forced = self._keyframe_wanted.is_set() or taken_us - self._keyframe_us >= self._keyframe_every_us
        self._keyframe_wanted.clear()
        frame.pict_type = PictureType.I if forced else PictureType.NONE
        frame.pts, frame.time_base = self._number, encoder.time_base
        self._number += 1
        units = []
        for packet in encoder.encode(frame):
            if packet.is_keyframe:
                self._keyframe_us = taken_us
            units.append(AccessUnit(bytes(packet), taken_us, packet.is_keyframe))
        return units

    def _opened(self) -> "VideoCodecContext":
        if self._encoder is not None and self._slice_bytes != self._opened_slice_bytes:
            self._encoder = None  # the limit is no matter of a running encoder
        self.open()
        assert self._encoder is not None
        return self._encoder

    def _is_due(self, taken_us: int, frame_rate: float) -> bool:
        """Leaves pictures out evenly. One that comes a little early is taken: cameras tremble."""
        if frame_rate >= self.fps:
            self._due_us = taken_us
            return True
        if taken_us < self._due_us - 0.25e6 / self.fps and not self._keyframe_wanted.is_set():
            return False
        self._due_us = max(self._due_us + 1e6 / frame_rate, taken_us)
        return True
