"""How loud: what a hands-free door does to levels beside cancelling echo, each a small machine on frames of 20 ms.

Frames are S16LE mono of any rate; levels are dB of full scale (a square wave of the largest sample is 0), gains dB.
Nothing here knows the time but by the frames it sees. audioop does the arithmetic.
"""

import audioop
import math
import random
from collections import deque

FRAME_S = 0.02
SILENT_DB = -96.0
_RAMP_STEPS = 10  # of 2 ms: smaller ones cost more and are not heard as less


def level_db(frame: bytes) -> float:
    """Root mean square."""
    rms = audioop.rms(frame, 2)
    return 20 * math.log10(rms / 32768) if rms else SILENT_DB


def factor(gain_db: float) -> float:
    return float(10 ** (gain_db / 20))


def ramped(frame: bytes, start: float, end: float) -> bytes:
    """The frame times a factor that goes from `start` to `end` within it, so that no step clicks."""
    if start == end:
        return frame if end == 1.0 else audioop.mul(frame, 2, end)
    size = len(frame) // 2 // _RAMP_STEPS * 2
    step = (end - start) / _RAMP_STEPS
    parts = [
        audioop.mul(frame[at * size : (at + 1) * size], 2, start + step * (at + 1)) for at in range(_RAMP_STEPS - 1)
    ]
    parts.append(audioop.mul(frame[(_RAMP_STEPS - 1) * size :], 2, end))
    return b"".join(parts)


class NoiseLevel:
    """The street, without who talks in it: the quietest 80 ms of the last two seconds."""

    _WINDOW = 25  # frames, of which four make the two seconds

    def __init__(self) -> None:
        self.db = -60.0
        self._powers: deque[float] = deque(maxlen=4)
        self._window: deque[float] = deque(maxlen=4)
        self._least = math.inf
        self._frames = 0

    def update(self, microphone: bytes) -> None:
        """One frame, while the speaker is silent: our own sound is no street noise."""
        rms = audioop.rms(microphone, 2)
        self._powers.append(float(rms * rms))
        self._least = min(self._least, sum(self._powers) / len(self._powers))
        self._frames += 1
        if self._frames % self._WINDOW:
            return
        self._window.append(self._least)
        self._least = math.inf
        self.db = max(10 * math.log10(max(min(self._window), 1e-3) / 32768**2), SILENT_DB)


class SpeakerVolume:
    """The speaker's gain: up to `boost_db` above `base_db` in street noise, at night at most `night_most_db`.
    `correction_db` (of the calibration) is added to all. Updated five times a second, it moves by 6 dB in one."""

    QUIET_DB = -55.0  # a quiet street as a microphone of usual gain has it
    _SLOPE = 0.6  # dB of boost for each of noise
    UPDATE_FRAMES = 10
    _STEP_DB = 6 * FRAME_S * UPDATE_FRAMES

    def __init__(self, base_db: float, boost_db: float, night_most_db: float, correction_db: float = 0.0) -> None:
        self._base_db = base_db
        self._boost_db = boost_db
        self._night_most_db = night_most_db
        self._correction_db = correction_db
        self.gain_db = base_db + correction_db

    def update(self, noise_db: float, *, night: bool) -> float:
        """The gain in dB from now on."""
        boost_db = min(max((noise_db - self.QUIET_DB) * self._SLOPE, 0.0), self._boost_db)
        wanted_db = self._base_db + boost_db
        if night:
            wanted_db = min(wanted_db, self._night_most_db)
        wanted_db += self._correction_db
        step_db = min(max(wanted_db - self.gain_db, -self._STEP_DB), self._STEP_DB)
        self.gain_db += step_db
        return self.gain_db


class Limiter:
    """Applies a gain, and less of it where a peak would pass `ceiling_db`: down at once, up again over a second."""

    _RELEASE = factor(20 * FRAME_S)

    def __init__(self, ceiling_db: float = -1.0) -> None:
        self._ceiling = 32768 * factor(ceiling_db)
        self._reduction = 1.0  # what the limiter takes from the gain
        self._last = 1.0

    @property
    def acts(self) -> bool:
        """Whether the last frame came out other than it went in."""
        return self._last != 1.0

    def process(self, frame: bytes, gain: float) -> bytes:
        """`gain` is a factor."""
        peak = audioop.max(frame, 2) * gain
        reduction = min(self._reduction * self._RELEASE, 1.0)
        start = self._last
        if peak * reduction > self._ceiling:
            reduction = self._ceiling / peak
        self._reduction = reduction
        end = gain * reduction
        if start > end:
            start = end  # no ramp down: it would let the peak through
        self._last = end
        return ramped(frame, start, end)


class HowlGuard:
    """Breaks a loop that howls: the far end's loudspeaker is heard by its microphone, or the canceller is lost,
    and a tone runs round, ever louder.

    A tone is told by its peak close to its level; that it may be the loop's, by its being on both sides. Then the
    microphone is turned down until it ends. If it does not end so, it is no loop's: a tone that the far end plays
    and that is heard again. Somebody who whistles at the door is on one side only.
    """

    LOUD = 32768 * factor(-38.0)
    _TONE_CREST = 1.8  # of a sine 1.41, of one that clips less; of speech 3 and more
    _FRAMES = 12  # a quarter of a second in a row
    _STEP_FRAMES = 6
    _STEP_DB = -6.0
    _LEAST_DB = -30.0
    _PROOF_FRAMES = 65  # half a second after the last step: twice round the longest loop
    _RECOVERY_DB = 6 * FRAME_S
    _RELEASE_DB = 60 * FRAME_S

    def __init__(self) -> None:
        self.gain_db = 0.0
        self.howls = 0
        self._run = 0
        self._played = 0.0  # its level when the tone was first acted on
        self._foreign = False

    @property
    def acts(self) -> bool:
        """Something is going on; if not, a quiet speaker need not be told."""
        return self._run > 0 or self.gain_db < 0

    def update(self, sent: bytes, played: bytes, *, own: bool = False) -> float:
        """The microphone's gain in dB for this frame; `played` is what the speaker gets in the same tick, `own` a
        tone of ours is in it."""
        if own or not (self._tonal(sent) and self._tonal(played)):
            self._run = 0
            self._foreign = False
            self.gain_db = min(self.gain_db + self._RECOVERY_DB, 0.0)
        elif self._foreign:
            self.gain_db = min(self.gain_db + self._RELEASE_DB, 0.0)
        else:
            self._run += 1
            self._act(audioop.rms(played, 2))
        return self.gain_db

    def _act(self, played: float) -> None:
        if self._run == self._FRAMES:
            self.howls += 1
            self._played = played
        if self._run >= self._FRAMES and self._run % self._STEP_FRAMES == 0:
            self.gain_db = max(self.gain_db + self._STEP_DB, self._LEAST_DB)
        if self._run >= self._PROOF_FRAMES and played > self._played / 2:
            self.howls -= 1
            self._foreign = True

    def _tonal(self, frame: bytes) -> bool:
        rms = audioop.rms(frame, 2)
        return rms > self.LOUD and audioop.max(frame, 2) < rms * self._TONE_CREST


class Ducker:
    """Half-duplex, where nothing better holds the echo: the microphone is all but shut while the far end talks and
    its echo lasts, unless what it hears is clearly more than the echo can be."""

    _DEPTH_DB = -30.0
    _TALKS_DB = -45.0
    _TAIL_FRAMES = 15
    _ABOVE_DB = 6.0
    _OPEN_DB = 200 * FRAME_S  # of gain a frame: open again within 150 ms, so that no word loses its head

    def __init__(self, margin_db: float = 0.0) -> None:
        """`margin_db`: by how much what comes back is below what was played, as measured."""
        self._margin_db = margin_db
        self._played: deque[float] = deque([SILENT_DB], maxlen=self._TAIL_FRAMES)
        self.gain_db = 0.0

    def update(self, sent_db: float, played_db: float) -> float:
        """The microphone's gain in dB for this frame."""
        self._played.append(played_db)
        loudest_db = max(self._played)
        talks = loudest_db > self._TALKS_DB
        interrupts = sent_db > loudest_db - self._margin_db + self._ABOVE_DB
        if talks and not interrupts:
            self.gain_db = self._DEPTH_DB
        else:
            self.gain_db = min(self.gain_db + self._OPEN_DB, 0.0)
        return self.gain_db


class ComfortNoise:
    """A little of the street's hiss where nothing else is left, so that nobody believes the line dead."""

    _BELOW_DB = 15.0  # under the street as it is: what noise suppression leaves of it
    _MOST_DB, _LEAST_DB = -50.0, -72.0
    _TABLE_DB = -30.0
    _TABLE_FRAMES = 100

    def __init__(self, frame_bytes: int, seed: int = 0) -> None:
        source = random.Random(seed)
        peak = 32768 * factor(self._TABLE_DB) * math.sqrt(3)  # of an even spread, whose level is peak / sqrt 3
        low = 0.0
        table = bytearray()
        for _ in range(self._TABLE_FRAMES * frame_bytes // 2):
            low += 0.5 * (source.uniform(-peak, peak) * math.sqrt(3) - low)  # softened, at the same power
            table += max(-32768, min(32767, round(low))).to_bytes(2, "little", signed=True)
        self._table = bytes(table)
        self._frame_bytes = frame_bytes
        self._at = 0

    def process(self, frame: bytes, noise_db: float) -> bytes:
        """The frame, filled up to some dB below `noise_db`."""
        target_db = min(max(noise_db - self._BELOW_DB, self._LEAST_DB), self._MOST_DB)
        if level_db(frame) >= target_db - 3:
            return frame
        # 37 and 100 have no common divisor: every frame of the table has its turn, none follows its neighbour.
        self._at = (self._at + 37) % self._TABLE_FRAMES
        start = self._at * self._frame_bytes
        hiss = self._table[start : start + self._frame_bytes]
        return audioop.add(frame, audioop.mul(hiss, 2, factor(target_db - self._TABLE_DB)), 2)
