"""What the media needs of a camera: encoded H.264 access units, a keyframe when asked, parameters known ahead.

A camera that encodes in hardware passes its units through; one that does not encodes them itself (`encoding`). The
picture is encoded once, however many legs see it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class CameraError(Exception):
    """The camera cannot be used as asked; the text says which and why."""


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One encoded picture (ITU-T H.264 7.4.1.2.3), in Annex B byte stream format.

    `timestamp_us`: when the picture was taken, microseconds of the monotonic clock (`time.monotonic`).
    `keyframe`: an IDR picture, with its SPS and PPS before it in `data`.
    """

    data: bytes
    timestamp_us: int
    keyframe: bool


class Camera(Protocol):
    """Units are constrained baseline without B-frames.

    `prepare`, `start`, `stop` and `close` are called by one thread at a time; any thread may call the rest.
    """

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    @property
    def fps(self) -> int: ...

    @property
    def bitrate_bps(self) -> int:
        """What the board grants the picture; `configure` goes below it and back up to it."""

    @property
    def profile_level_id(self) -> str:
        """RFC 6184 8.1: six hexadecimal digits as in the SPS, known before start."""

    @property
    def failure(self) -> str:
        """Why no pictures come although the camera was started; empty while all is well."""

    def prepare(self) -> None:
        """Load, open and configure, so that pictures come at once after `start`; costs no CPU from then on.

        May block for seconds; nothing where it is done already. CameraError, or whatever a library raises.
        """

    def start(self, on_access_unit: Callable[[AccessUnit], None]) -> None:
        """Deliver units from now on, the first an IDR, from the camera's own thread. Prepares what is not."""

    def request_keyframe(self) -> None:
        """Make the very next picture an IDR."""

    def configure(self, bitrate_bps: int, frame_rate: float) -> None:
        """From the next picture on, at most so much; both are kept within what the board grants.

        A camera that cannot follow does what it can: the lower frame rate alone, or nothing.
        """

    def limit_slices(self, max_bytes: int) -> None:
        """No slice is larger from the next IDR on (packetization-mode 0, RFC 6184 6.2); 0: one slice a picture.

        Encoders in hardware cannot.
        """

    def stop(self) -> None:
        """End the delivery: when this returns, no unit comes any more. Stays prepared; may be started again."""

    def close(self) -> None:
        """Stop, and let go of the device. `prepare` or `start` open it anew."""
