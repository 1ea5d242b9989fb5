"""What the media thread needs of a sound card: 20 ms frames of 16-bit mono, and the capture as its clock.

One thread calls all methods, in the order start, (read, write)..., stop, and may start again after stop. No
method but `read` blocks. Mixing, resampling and echo cancellation are the media's business, not the driver's.
"""

from typing import Protocol

FRAME_MS = 20


class AudioError(Exception):
    """The device cannot be opened, or was lost; the text says which and why."""


class AudioDevice(Protocol):
    """A full-duplex device. A frame is 20 ms of signed 16-bit little-endian mono: `rate_hz // 50` samples."""

    @property
    def rate_hz(self) -> int: ...

    @property
    def restarts(self) -> int:
        """How often capture and playback began anew against each other since the device was made. Whoever compares
        what was written with what was read (an echo canceller) starts anew, too, when this has changed."""

    def start(self) -> None:
        """Open capture and playback; the first frame is ready 20 ms later. AudioError if that is impossible."""

    def read(self) -> bytes:
        """Block until the next 20 ms are captured and return them. AudioError when the device is gone.

        A reader that is late gets the frames it missed without waiting, as far as the device's buffer keeps
        them; what was older is lost.
        """

    def write(self, frame: bytes) -> None:
        """Queue a frame for the speaker. Without one in time the speaker is silent; what is too much is dropped."""

    def stop(self) -> None:
        """Close the device. What is queued is not played."""
