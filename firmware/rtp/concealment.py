"""Concealment of lost audio: the last pitch period repeated and faded, in the manner of ITU-T G.711 appendix I.

Works on decoded signed 16-bit little-endian mono of any rate from 8 to 48 kHz. Unlike the appendix it adds no
delay of its own: the seam at a gap's beginning is smoothed by a short decaying offset, not by holding audio back.
After 60 ms there is silence: what lasts longer is no longer a gap in a word.
"""

import audioop
from array import array

_PITCH_MAX_MS = 15  # 66 Hz, the lowest voice (appendix I.2.3)
_PITCH_MIN_MS = 5  # 200 Hz; a higher voice matches at a multiple of its period
_MATCH_MS = 8  # the voice glides: a longer stretch matches where it was rather than where it is
_FADE_FROM_MS = 10
_FADE_TO_MS = 60
_RECENT = 32


class Concealer:
    """Follows one stream: every frame played passes through `good`, every gap through `lost`."""

    def __init__(self, rate_hz: int) -> None:
        self._ms = 2 * rate_hz // 1000  # bytes
        self._keep = (_PITCH_MAX_MS * 3 + _MATCH_MS) * self._ms
        self._history = bytes(self._keep)
        self._recent: list[bytes] = []  # frames on their way into the history, which only a gap reads
        self._period = b""  # what is repeated in the gap at hand; empty outside gaps
        self._at = 0  # where in the period the next byte is
        self._gap = 0  # bytes concealed so far in this gap

    def good(self, frame: bytes, *, follows: bool = True) -> bytes:
        """The frame to play. It is joined smoothly after a gap, or where it does not follow the one before."""
        if self._period or not follows:
            self._gather()
            frame = self._join(frame)
        self._recent.append(frame)
        if len(self._recent) >= _RECENT:
            self._gather()
        return frame

    def _gather(self) -> None:
        self._history = (self._history + b"".join(self._recent))[-self._keep :]
        self._recent.clear()

    def lost(self, samples: int) -> bytes:
        """What to play for `samples` that are missing."""
        self._gather()
        size = 2 * samples
        ms = self._ms
        if self._gap >= _FADE_TO_MS * ms:
            self._gap += size
            return bytes(size)
        if not self._period:
            self._begin()
        sound = self._fade(self._repeat(size))
        self._history = (self._history + sound)[-self._keep :]
        return sound

    def _begin(self) -> None:
        """Find the pitch period at the end of the history and make a loop of it."""
        history = self._history
        lag = self._find_pitch(history)
        period = history[-lag:]
        # The loop's end glides into what precedes its beginning.
        overlap = lag // 8 * 2
        tail = _crossfade(period[-overlap:], history[-lag - overlap : -lag])
        self._period = period[:-overlap] + tail
        self._at = 0
        self._gap = 0

    def _find_pitch(self, history: bytes) -> int:
        """How many bytes ago the history was most like it is at its end."""
        ms = self._ms
        longest = _PITCH_MAX_MS * ms
        match = _MATCH_MS * ms
        reference = history[-match:]
        level = audioop.rms(reference, 2)
        if not level:
            return longest
        offset, factor = audioop.findfit(history[-match - longest : -_PITCH_MIN_MS * ms], reference)
        if factor > 0:
            return longest - 2 * offset
        # The fit is blind to sign and found the sound upside down, which would click at every turn.
        best, lag = 0.0, longest
        end = len(history)
        for candidate in range(_PITCH_MIN_MS * ms, longest + 1, ms // 4 & ~1):
            segment = history[end - match - candidate : end - candidate]
            likeness = audioop.findfactor(segment, reference) / (audioop.rms(segment, 2) + 1)
            if likeness > best:
                best, lag = likeness, candidate
        return lag

    def _repeat(self, size: int) -> bytes:
        period = self._period
        at = self._at
        count = (at + size) // len(period) + 1
        self._at = (at + size) % len(period)
        return (period * count)[at : at + size]

    def _fade(self, sound: bytes) -> bytes:
        """Full for 10 ms, then down to nothing at 60 ms, in steps of 2.5 ms."""
        step = self._ms * 5 // 2 & ~1
        start = _FADE_FROM_MS * self._ms
        length = (_FADE_TO_MS - _FADE_FROM_MS) * self._ms
        pieces = []
        for at in range(0, len(sound), step):
            gain = 1 - (self._gap + at + step - start) / length
            piece = sound[at : at + step]
            pieces.append(piece if gain >= 1 else audioop.mul(piece, 2, max(0.0, gain)))
        self._gap += len(sound)
        return b"".join(pieces)

    def _join(self, frame: bytes) -> bytes:
        """Overlap the frame's beginning with concealment going on: 4 ms, more after long gaps."""
        ms = self._ms
        if not self._period:
            self._begin()
        overlap = min(4 * ms + self._gap * 4 // 10 & ~1, 10 * ms, len(frame))
        going_on = self._fade(self._repeat(overlap)) if self._gap < _FADE_TO_MS * ms else bytes(overlap)
        self._period = b""
        self._gap = 0
        return _crossfade(going_on, frame[:overlap]) + frame[overlap:]


def _crossfade(old: bytes, new: bytes) -> bytes:
    a, b = array("h", old), array("h", new)
    n = len(b)
    return array("h", [(x * (n - i) + y * i) // n for i, (x, y) in enumerate(zip(a, b, strict=True))]).tobytes()
