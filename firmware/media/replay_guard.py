"""Keys that come back to us: what the street plays into our microphone must not open the door.

Somebody at the door plays the tones of a code; the sound goes to whoever answered, and a telephone line, a gateway
or a speakerphone there sends it back, as sound or turned into telephone-events that look like any other. So a key
counts only if our own microphone did not hear it before. What our speaker has just played, because the far end
sends its keys as sound too, the microphone hears as well: that excuses a key, unless the speaker itself only plays
what came back from the street.

Listening costs the audio thread an append a tick; the last seconds are searched when a key arrives, which is rare.
Where older ones were dropped meanwhile, every key counts as played by the street just before.
"""

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from firmware.media.codec import FRAME_MS

if TYPE_CHECKING:
    from firmware.media.dtmf import Detector

# From the microphone to the far end, round whatever is there, and back; a gateway may report a key at its end.
WINDOW_S = 2.0
# From the speaker through the room into the microphone, sound card's buffers included.
_ROOM_S = 0.5
# How long the speaker may play a key before it also comes as an event, and still excuse it.
_LATE_S = 1.0


class ReplayGuard:
    """`listen` is the audio thread's, the rest the event loop's. `now` is the monotonic clock."""

    def __init__(self) -> None:
        frames = int((WINDOW_S + _LATE_S) * 1000) // FRAME_MS
        self._frames: deque[tuple[bytes, bytes, float]] = deque(maxlen=frames)
        self._detectors: tuple[Detector, Detector] | None = None  # for the microphone, for the speaker
        self._rate_hz = 0
        self._searched_s = 0.0
        self._unsearched: deque[tuple[bytes, float]] = deque(
            maxlen=int(_ROOM_S * 1000) // FRAME_MS
        )  # the speaker's
        self._ours: dict[str, float] = {}  # key -> when we last sent it out, from the street or by ourselves
        self._latest_s = -WINDOW_S  # of those times
        self._played: dict[str, float] = {}  # key -> when the speaker last played it, sent by the far end

    def listen(self, microphone: bytes, speaker: bytes, now: float) -> None:
        """What goes to the far end in this tick, and what the speaker plays, at one rate."""
        self._frames.append((microphone, speaker, now))

    def sent(self, keys: Iterable[str], until_s: float) -> None:
        """We press these keys at the far end until then."""
        for key in keys:
            self._went_out(key, until_s)

    def refuses(self, key: str, now: float) -> bool:
        """Whether a key that arrives now may be one that went out from here."""
        self._catch_up()
        return now - self._ours.get(key, now - WINDOW_S) < WINDOW_S

    def _went_out(self, key: str, at_s: float) -> None:
        self._ours[key] = at_s
        self._latest_s = max(self._latest_s, at_s)

    def _catch_up(self) -> None:
        frames = self._frames
        dropped = len(frames) == frames.maxlen
        for _ in range(len(frames)):  # not what is appended meanwhile
            microphone, speaker, now = frames.popleft()
            rate_hz = len(microphone) * 1000 // FRAME_MS // 2
            # A thread that got no processor for a while lost nothing: what it takes in afterwards follows on.
            if dropped or now - self._searched_s > WINDOW_S or rate_hz != self._rate_hz or self._detectors is None:
                self._detectors = _detectors(rate_hz)
                self._rate_hz = rate_hz
                self._begin(now, dropped=dropped)
            self._searched_s, dropped = now, False
            self._unsearched.append((speaker, now))
            keys = _sounding(self._detectors[0], microphone)
            # What the speaker played matters to a key of the microphone, and to one that has just gone out.
            if keys or now - self._latest_s < WINDOW_S:
                self._search_speaker(self._detectors[1])
            for key in keys:
                if now - self._played.get(key, now - _ROOM_S) >= _ROOM_S:
                    self._went_out(key, now)

    def _search_speaker(self, detector: "Detector") -> None:
        while self._unsearched:
            speaker, at_s = self._unsearched.popleft()
            for key in _sounding(detector, speaker):
                if at_s - self._ours.get(key, at_s - WINDOW_S) < WINDOW_S:
                    self._went_out(key, at_s)
                else:
                    self._played[key] = at_s

    def _begin(self, now: float, *, dropped: bool) -> None:
        self._played.clear()
        self._unsearched.clear()
        if dropped:
            from firmware.media.dtmf import KEYS

            for key in KEYS:
                self._went_out(key, now)


def _detectors(rate_hz: int) -> "tuple[Detector, Detector]":
    """More than any detector at the far end takes for a key, so that none hears one that we missed.

    An hour of speech at the door has about a hundred such keys; each costs whoever presses that very key in the
    next 2 s one more press.
    """
    from firmware.media.dtmf import Detector, Sensitivity  # with the first key, not with the program

    sharp = Sensitivity(
        least_dbm0=-50, twist_db=12, reverse_twist_db=12, above_group_db=6, share=0.38, misses_to_end=2
    )
    return Detector(rate_hz, sharp), Detector(rate_hz, sharp)


def _sounding(detector: "Detector", pcm: bytes) -> set[str]:
    before = detector.key
    return {*detector.feed(pcm), before, detector.key} - {""}
