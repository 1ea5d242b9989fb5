"""Hands-free: what happens to sound between the bus and the sound card of a street door, 20 ms after 20 ms.

    mix ── volume by street noise and hour, limiter ─┬─ speaker
                                                     └─ delay ─ reference
    microphone ── echo canceller ── gain, howl guard, half-duplex if need be, limiter, comfort noise ── legs

The canceller gets the very samples that are written. Its library is loaded on a thread of its own, for that takes
longer than a tick; until then, and where it is missing or this processor too slow for it, the next simpler one is
in its place. All else belongs to the audio thread.
"""

import audioop
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from firmware.media.calibration import Calibration
from firmware.media.canceller import CANCELLERS, CancellerMissing, EchoCanceller, NoCanceller, make_canceller
from firmware.media.levels import (
    ComfortNoise,
    Ducker,
    HowlGuard,
    Limiter,
    NoiseLevel,
    SpeakerVolume,
    factor,
    level_db,
)

log = logging.getLogger(__name__)

FRAME_S = 0.02
ENOUGH_MARGIN_DB = 20.0  # below it the far end hears itself, whatever else is done
_SILENT = 32768 * factor(-55.0)  # of the speaker
_HEARD = 32768 * factor(-50.0)  # of the microphone: nobody believes that line dead
_QUIET_FRAMES = 15  # so long after its last sound the niche is quiet
_MICROPHONE_CEILING_DB = -1.0
_LOAD_AFTER_S = 0.3
_TRIAL_FRAMES = 10
_AFFORDED_S = FRAME_S / 2  # of CPU for a frame: the rest of a tick and the other threads want theirs, too
_HOUR_TICKS = 500  # the clock on the wall is read every ten seconds


@dataclass(frozen=True, slots=True)
class HandsFreeSettings:
    """As configured: gains in dB, the night as minutes of the day, over midnight or not."""

    canceller: str = "webrtc"
    suppression: int = 1
    speaker_db: float = 0.0
    boost_db: float = 6.0
    night: tuple[int, int] = (22 * 60, 7 * 60)
    night_most_db: float = 0.0
    microphone_db: float = 0.0
    half_duplex: Literal["auto", "always", "never"] = "auto"

    def is_night(self, minute: int) -> bool:
        start, end = self.night
        return start <= minute < end if start <= end else minute >= start or minute < end


def _minute_of_day() -> int:
    now = time.localtime()
    return now.tm_hour * 60 + now.tm_min


class HandsFree:
    """`load` first (or not: then without canceller), then `play` and `hear` in turn, once each in a tick."""

    def __init__(
        self,
        settings: HandsFreeSettings,
        calibration: Calibration,
        rate_hz: int,
        *,
        minute_of_day: Callable[[], int] = _minute_of_day,
        make: Callable[..., EchoCanceller] = make_canceller,
        cpu_s: Callable[[], float] = time.thread_time,
    ) -> None:
        self.rate_hz = rate_hz
        self.wanted = settings.canceller
        self.gain_db = settings.speaker_db + settings.microphone_db  # as configured, of the far end's echo
        self.canceller = "none"  # that works
        self.on_missing: Callable[[str], None] = lambda why: None  # of the configured one; on any thread
        self._settings = settings
        self._minute_of_day = minute_of_day
        self._make = make
        self._cpu_s = cpu_s
        self._echo: EchoCanceller = NoCanceller()
        self._restarts: object = None
        self._frame_bytes = int(rate_hz * FRAME_S) * 2
        self._noise = NoiseLevel()
        self._howl = HowlGuard()
        self._comfort = ComfortNoise(self._frame_bytes)
        self._microphone_limiter = Limiter(_MICROPHONE_CEILING_DB)
        self._ticks = 0
        self._gain = 1.0
        self._quiet = 0
        self._night = False
        self.calibrate(calibration)

    def calibrate(self, calibration: Calibration) -> None:
        """Go by other measurements from the next tick on. From any thread."""
        settings = self._settings
        volume = SpeakerVolume(settings.speaker_db, settings.boost_db, settings.night_most_db, calibration.level_db)
        self._volume = volume
        self._limiter = Limiter(calibration.ceiling_db)
        self._reference = _DelayLine(int(calibration.delay_ms * self.rate_hz / 1000) * 2, self._frame_bytes)
        measured_db = calibration.margin_db
        self._margin_db = measured_db - self.gain_db if measured_db is not None else None
        # From the speaker's sound to the canceller's output; the margin is from voice to voice.
        self._attenuation_db = measured_db + calibration.level_db if measured_db is not None else 0.0
        self._choose_ducker()

    def load_soon(self) -> None:
        """Get the canceller's library without holding up the caller, nor the INVITE that goes out meanwhile:
        numpy's import takes tenths of a second, in parts of which no other thread runs."""
        timer = threading.Timer(_LOAD_AFTER_S, self.load)
        timer.daemon = True
        timer.start()

    def load(self) -> None:
        """The configured canceller, or the next simpler one that this machine has and can afford: one that takes
        longer than the sound lasts would leave no sound at all."""
        why = ""
        for kind in CANCELLERS[CANCELLERS.index(self.wanted) :]:
            try:
                echo = self._make(kind, self.rate_hz, suppression=self._settings.suppression)
                cost_s = self._cost_s(echo)
                if cost_s > _AFFORDED_S:
                    raise CancellerMissing(
                        f"the {kind} canceller takes {cost_s * 1000:.0f} ms of this processor for each "
                        f"{FRAME_S * 1000:g} ms of sound"
                    )
            except CancellerMissing as missing:
                log.warning("%s; trying the next simpler one", missing)
                if kind == self.wanted:
                    why = str(missing)
                continue
            self._echo, self.canceller = echo, kind
            break
        if self.canceller != self.wanted:
            self.on_missing(f"{why}; {self.canceller} is in its place")
        self._choose_ducker()

    def _cost_s(self, echo: EchoCanceller) -> float:
        """CPU for a frame, the least of some: of whatever else the processor did meanwhile there is least in it."""
        frame = os.urandom(self._frame_bytes)
        costs = []
        for _ in range(_TRIAL_FRAMES):
            began_s = self._cpu_s()
            echo.process(frame, frame)
            costs.append(self._cpu_s() - began_s)
        echo.reset()
        return min(costs)

    def _choose_ducker(self) -> None:
        settings, margin_db = self._settings, self._margin_db
        helpless = self.canceller == "none" if margin_db is None else margin_db < ENOUGH_MARGIN_DB
        if settings.half_duplex == "always" or (settings.half_duplex == "auto" and helpless):
            self._ducker: Ducker | None = Ducker(self._attenuation_db)
        else:
            self._ducker = None

    # --- the tick ------------------------------------------------------------------------------------------

    def align(self, restarts: object) -> None:
        """Microphone and speaker are in step as long as `restarts` is what it was; where not, the room is learnt
        anew."""
        if restarts != self._restarts:
            self._restarts = restarts
            self._echo.reset()
            self._reference.clear()

    def play(self, mix: bytes) -> bytes:
        """What the speaker gets of `mix`."""
        if self._ticks % SpeakerVolume.UPDATE_FRAMES == 0:
            if self._ticks % _HOUR_TICKS == 0:
                self._night = self._settings.is_night(self._minute_of_day())
            self._gain = factor(self._volume.update(self._noise.db, night=self._night))
        self._ticks += 1
        played = self._limiter.process(mix, self._gain)
        self._reference.put(played)
        return played

    def hear(self, captured: bytes, *, own: bool = False) -> bytes:
        """What the far end gets of `captured`, the frame that was read before this tick's `play`; `own`: a tone of
        ours was in that."""
        # What need not be done is not: each function that a tick walks through has left the caches since the last.
        played = self._reference.last
        loudness = audioop.rms(played, 2)
        self._quiet = self._quiet + 1 if loudness < _SILENT else 0
        if self._quiet > _QUIET_FRAMES:
            self._noise.update(captured)
        out = self._echo.process(captured, self._reference.get())
        gain_db = self._settings.microphone_db
        if loudness > HowlGuard.LOUD or self._howl.acts:
            gain_db += self._howl.update(out, played, own=own)
        ducker = self._ducker
        if ducker is not None:
            gain_db += ducker.update(level_db(out), level_db(played))
        if gain_db or self._microphone_limiter.acts:
            out = self._microphone_limiter.process(out, factor(gain_db))
        if audioop.rms(out, 2) < _HEARD:
            out = self._comfort.process(out, self._noise.db + self._settings.microphone_db)
        return out

    def status(self) -> dict[str, object]:
        """Plain values for whoever asks."""
        return {
            "canceller": self.canceller,
            "half_duplex": self._ducker is not None,
            "street_noise_db": round(self._noise.db, 1),
            "speaker_gain_db": round(self._volume.gain_db, 1),
            "night": self._night,
            "howls": self._howl.howls,
            "margin_db": self._margin_db,
        }


class _DelayLine:
    """Frames as they were so many bytes ago."""

    def __init__(self, delay_bytes: int, frame_bytes: int) -> None:
        self._delay_bytes = delay_bytes
        self._frame_bytes = frame_bytes
        self.clear()

    def clear(self) -> None:
        self.last = bytes(self._frame_bytes)
        self._line = bytearray(self._delay_bytes)

    def put(self, frame: bytes) -> None:
        self.last = frame
        self._line += frame

    def get(self) -> bytes:
        if len(self._line) < self._frame_bytes:
            return bytes(self._frame_bytes)
        frame = bytes(self._line[: self._frame_bytes])
        del self._line[: self._frame_bytes]
        return frame
