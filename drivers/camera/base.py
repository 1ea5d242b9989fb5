"""What the media needs of a camera: encoded H.264 access units, a keyframe when asked, parameters known ahead.

A camera that encodes in hardware passes its units through; one that does not encodes them itself. The picture is
encoded once, however many legs see it.
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
    """Units are constrained baseline without B-frames. Any thread may call any method."""

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    @property
    def fps(self) -> int: ...

    @property
    def profile_level_id(self) -> str:
        """RFC 6184 8.1: six hexadecimal digits as in the SPS, known before start."""

    @property
    def failure(self) -> str:
        """Why no pictures come although the camera was started; empty while all is well."""

    def start(self, on_access_unit: Callable[[AccessUnit], None]) -> None:
        """Deliver units from now on, the first an IDR, from the camera's own thread. Does not block."""

    def request_keyframe(self) -> None:
        """Make the very next picture an IDR."""

    def stop(self) -> None:
        """End the delivery: when this returns, no unit comes any more. May be started again."""
