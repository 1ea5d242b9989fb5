"""What the media plane tells the station: frozen dataclasses, delivered on the event loop's thread.

Times are seconds of the monotonic clock. A `Digit` is for the access check only and is never logged.
"""

from dataclasses import dataclass, field
from typing import Literal

Media = Literal["audio", "video"]


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
    source: Literal["rtp", "info"]
    at_s: float


@dataclass(frozen=True, slots=True)
class MediaLost:
    """Sound should come and has not for `silent_s`; said once until some comes again."""

    media: Media
    silent_s: float


MediaEvent = RtpStarted | SoundHeard | Digit | MediaLost


@dataclass(frozen=True, slots=True)
class MediaFault:
    """The sound card or the camera does not work; an empty `what` says that it does again."""

    where: Literal["audio", "camera"]
    what: str
