"""`doorctl audio loop` and `doorctl audio calibrate`: play into the niche, listen, and say in words what is wrong.

The loop plays three sweeps and four seconds of something like speech, and measures delay, level and what the echo
canceller leaves. Calibration plays sweeps of rising level first, sets the speaker's correction and ceiling and the
canceller's delay by them, does the loop with these, and keeps what it found. A call ends either at once.
"""

import asyncio
import logging
import math
from dataclasses import replace
from pathlib import Path

from firmware.media import calibration, sound_check
from firmware.media.calibration import Calibration
from firmware.media.canceller import CANCELLERS, CancellerMissing, EchoCanceller, make_canceller
from firmware.media.engine import Engine
from firmware.media.handsfree import ENOUGH_MARGIN_DB, HandsFree
from firmware.media.levels import factor, ramped
from firmware.media.sound_check import EVEN_DB, RISING_DB, Recording
from firmware.station.events import EventStream, SoundChecked
from firmware.station.status import ControlError

log = logging.getLogger(__name__)

_ECHO_DB = -6.0  # the echo of a voice comes back no louder than so much below it
_LEVEL_DB = (-24.0, 6.0)
_CEILING_DB = -1.0  # of a speaker that nothing distorts
_EARLY_MS = 10.0  # the reference may come so much too early, but never too late
_ABOVE_NOISE_DB = 6.0

Answer = dict[str, object]


class SoundCheck:
    """`file` keeps the calibration. `hands_free` is what goes by it; None where the board does without."""

    def __init__(self, engine: Engine, hands_free: HandsFree | None, file: Path, stream: EventStream) -> None:
        self._engine = engine
        self._hands_free = hands_free
        self._file = file
        self._stream = stream
        self._running = False

    async def run(self, action: str) -> Answer:
        """`loop` or `calibrate`. ControlError while somebody uses the sound card, or where it does not work."""
        if action not in ("loop", "calibrate"):
            raise ControlError(f'audio: there is no "{action[:40]}"; write loop or calibrate')
        if self._engine.busy:
            raise ControlError("the door is in a call; end it first with: doorctl hangup")
        if self._running:
            raise ControlError("a sound check is going on; wait until it is over")
        self._running = True
        try:
            answer = await (self._calibrate() if action == "calibrate" else self._loop(self._kept()))
        except RuntimeError as error:
            raise ControlError(f"audio: {error}; nothing was changed, try again afterwards") from error
        finally:
            self._running = False
        wrong = answer["wrong"]
        assert isinstance(wrong, list)
        self._stream.publish(
            SoundChecked(
                action=action,
                works=not wrong,
                wrong="; ".join(wrong),
                margin_db=answer["margin_db"] if isinstance(answer["margin_db"], float) else 0.0,
            )
        )
        return answer

    # --- what is played ------------------------------------------------------------------------------------

    async def _loop(self, settings: Calibration) -> Answer:
        rate_hz = self._engine.bus_hz
        peaks_db = tuple(min(peak_db + settings.level_db, settings.ceiling_db) for peak_db in EVEN_DB)
        gain = factor(min(settings.level_db, settings.ceiling_db))
        voice = await asyncio.to_thread(sound_check.speech, rate_hz)
        played = sound_check.chirps(peaks_db, rate_hz) + ramped(voice, gain, gain)
        recorded = await self._engine.probe(played)
        found = await asyncio.to_thread(sound_check.examine, recorded, peaks_db, rate_hz)
        wrong = self._words(found)
        canceller, margin_db = "none", None
        if found.chirps:
            delayed = _earlier(played, settings.delay_ms, rate_hz)
            canceller, margin_db = await asyncio.to_thread(self._margin, delayed, recorded)
            if self._hands_free is not None and canceller != self._hands_free.wanted:
                wrong.append(
                    f"the {self._hands_free.wanted} canceller is not installed, {canceller} is in its place (the "
                    "journal says what is missing)"
                )
            # From voice to voice: the correction and the configured gains lie between the far end and this.
            gain_db = self._hands_free.gain_db if self._hands_free is not None else 0.0
            margin_db = round(margin_db - settings.level_db - gain_db, 1)
            if margin_db < ENOUGH_MARGIN_DB:
                wrong.append(
                    f"only {margin_db:.0f} dB of the far end's voice are taken away (canceller: {canceller}), "
                    f"{ENOUGH_MARGIN_DB:.0f} are needed: turn the speaker down, part it from the microphone, or "
                    "run doorctl audio calibrate"
                )
        return {
            "ok": not wrong,
            "wrong": wrong,
            "delay_ms": _rounded(found.delay_ms),
            "coupling_db": _rounded(found.coupling_db),
            "noise_db": round(found.noise_db, 1),
            "clipped": found.clipped,
            "canceller": canceller,
            "margin_db": margin_db,
        }

    async def _calibrate(self) -> Answer:
        hands_free = self._hands_free
        if hands_free is None:
            raise ControlError('this board is not hands-free; write [audio] canceller = "webrtc" into board.toml')
        rate_hz = self._engine.bus_hz
        recorded = await self._engine.probe(sound_check.chirps(RISING_DB, rate_hz))
        found = await asyncio.to_thread(sound_check.examine, recorded, RISING_DB, rate_hz)
        coupling_db = found.coupling_db
        if coupling_db is None:
            return {
                "ok": False,
                "wrong": self._words(found)
                or ["every sweep is distorted: turn down speaker or microphone (alsamixer)"],
                "delay_ms": None,
                "coupling_db": None,
                "noise_db": round(found.noise_db, 1),
                "clipped": found.clipped,
                "canceller": hands_free.canceller,
                "margin_db": None,
                "saved": False,
            }
        settings = settings_for(found, coupling_db)
        answer = await self._loop(settings)
        margin_db = answer["margin_db"]
        if isinstance(margin_db, float):
            settings = replace(settings, margin_db=round(margin_db + hands_free.gain_db, 1))
        try:
            await asyncio.to_thread(calibration.save, self._file, settings)
        except OSError as error:
            raise ControlError(f"{self._file}: {error.strerror}; nothing was changed") from error
        hands_free.calibrate(settings)
        return answer | {
            "level_db": settings.level_db,
            "ceiling_db": settings.ceiling_db,
            "reference_delay_ms": settings.delay_ms,
            "saved": True,
        }

    # --- what came back ------------------------------------------------------------------------------------

    def _words(self, found: Recording) -> list[str]:
        """What is wrong with speaker and microphone, the cause before its effects."""
        fault = self._engine.status()["audio_fault"]
        if fault:
            return [f"the sound card does not work: {fault}"]
        if found.dead:
            return [
                "the microphone is dead: it gives nothing but zeros; is it connected, and not muted (alsamixer)?"
            ]
        if not found.chirps:
            return [
                "the microphone works, but does not hear the speaker: is the speaker connected, its amplifier "
                "on, its volume up (alsamixer)?"
            ]
        wrong = []
        if found.clipped:
            wrong.append("the microphone clips: turn its gain down (alsamixer), then calibrate")
        if found.delay_spread_ms > sound_check.DELAY_SPREAD_MS:
            wrong.append(
                f"the delay moves by {found.delay_spread_ms:.0f} ms: speaker and microphone are on two cards, or "
                "the machine is too busy"
            )
        loudest = max(found.chirps, key=lambda chirp: chirp.level_db)
        if loudest.level_db < found.noise_db + _ABOVE_NOISE_DB:
            wrong.append("the speaker is hardly louder than the street: turn its amplifier up")
        return wrong

    def _margin(self, played: bytes, recorded: bytes) -> tuple[str, float]:
        """The canceller that was used, and what it leaves."""
        wanted = self._hands_free.wanted if self._hands_free is not None else "none"
        rate_hz = self._engine.bus_hz
        for kind in CANCELLERS[CANCELLERS.index(wanted) :]:
            try:
                canceller: EchoCanceller = make_canceller(kind, rate_hz)
            except CancellerMissing as missing:
                log.warning("%s", missing)
                continue
            return kind, sound_check.margin_db(canceller, played, recorded, rate_hz)
        raise AssertionError("none is always there")

    def _kept(self) -> Calibration:
        return calibration.load(self._file)


def settings_for(found: Recording, coupling_db: float) -> Calibration:
    """Delay, level and ceiling by what sweeps of rising level said."""
    linear = sound_check.linear_part(found.chirps)
    distorts = len(linear) < len(found.chirps)
    # The sweep's level is 3 dB below its peak, less its ramps; peaks are what the limiter knows.
    peak_above_level_db = 3.2
    ceiling_db = linear[-1].played_db + peak_above_level_db if distorts else _CEILING_DB
    level_db = min(max(_ECHO_DB - coupling_db, _LEVEL_DB[0]), _LEVEL_DB[1])
    return Calibration(
        delay_ms=round(max(min(chirp.delay_ms for chirp in linear) - _EARLY_MS, 0.0), 1),
        level_db=round(level_db, 1),
        ceiling_db=round(min(ceiling_db, _CEILING_DB), 1),
    )


def _earlier(played: bytes, delay_ms: float, rate_hz: int) -> bytes:
    """As late as the canceller will get it."""
    return bytes(int(delay_ms * rate_hz / 1000) * 2) + played


def _rounded(value: float | None) -> float | None:
    return round(value, 1) if value is not None and math.isfinite(value) else None
