"""What the media plane tells the station: frozen dataclasses, delivered on the event loop's thread.

Times are seconds of the monotonic clock. A `Digit` is for the access check only and is never logged.
"""

from dataclasses import dataclass, field
from typing import Literal

Media = Literal["audio", "video"]
DigitSource = Literal["rtp", "info", "inband"]


@dataclass(frozen=True, slots=True)
class RtpStarted:
    """The first packet of a stream left or came in (for received: the kernel's stamp)."""

    media: Media
    direction: Literal["sent", "received"]
    at_s: float


@dataclass(frozen=True, slots=True)
class SoundHeard:
    """The first frame of the leg that is not silence, whether or not the door plays it: a peer may promise early
    sound and send nothing but silence, and then the visitor's ringback has to go on."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Digit:
    digit: str = field(repr=False)
    source: DigitSource
    at_s: float
    held_s: float = 0.0  # how long it was held before it was reported, where the peer says so


@dataclass(frozen=True, slots=True)
class DigitRefused:
    """A key that may be one of ours come back: the street played it into our microphone, or we sent it."""

    source: DigitSource
    at_s: float


@dataclass(frozen=True, slots=True)
class MediaLost:
    """Sound should come and has not for `silent_s`; said once until some comes again."""

    media: Media
    silent_s: float


@dataclass(frozen=True, slots=True)
class TransportFailed:
    """The stream's way or its keys did not come about, or broke: nothing flows in it. `why` is for people."""

    media: Media
    why: str


MediaEvent = RtpStarted | SoundHeard | Digit | DigitRefused | MediaLost | TransportFailed


@dataclass(frozen=True, slots=True)
class MediaFault:
    """The sound card, the camera, an announcement or the echo canceller that was configured does not work; an empty
    `what` says that it does again."""

    where: Literal["audio", "camera", "announcements", "canceller"]
    what: str
