"""A sound card without one: a tone, a WAV file or silence in, a WAV file out, and a room that may echo.

Both sides run on the monotonic clock's schedule from `start` on, so frame n is ready exactly (n + 1) * 20 ms
after it, however late single reads were, and the speaker's file is in step with the microphone to the frame:
where nothing was written in time it holds silence, as the visitor would have heard. Each start begins the
speaker's file anew.
"""

import array
import audioop
import functools
import logging
import math
import os
import struct
import sys
import time
import wave
from collections.abc import Callable
from pathlib import Path

from drivers.audio.base import FRAME_MS, AudioError

log = logging.getLogger(__name__)

TONE_PEAK = 8192  # a quarter of full scale: -12 dBFS, loud speech
_BUFFER_FRAMES = 10  # what a card's ring buffer keeps for a late reader, and queues for the speaker: 200 ms
_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")


class SimulatedAudio:
    """`microphone`: a tone's frequency in Hz, a WAV file (looped, converted to mono at `rate_hz`), None: silence.

    `speaker`: the WAV file to write, None: nowhere. The microphone also hears the speaker, `echo_gain` times
    and `echo_delay_ms` later (rounded to the sample).
    """

    def __init__(
        self,
        microphone: float | Path | None = None,
        speaker: Path | None = None,
        rate_hz: int = 8000,
        *,
        echo_gain: float = 0.0,
        echo_delay_ms: float = 40.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.rate_hz = rate_hz
        self.restarts = 0
        self.overruns = 0  # captured frames that were lost, in this start
        self.underruns = 0  # frames that the speaker was silent for want of one
        self._microphone = microphone
        self._speaker = speaker
        self._echo_gain = echo_gain
        self._echo_delay_bytes = round(rate_hz * echo_delay_ms / 1000) * 2
        self._clock = clock
        self._sleep = sleep
        self._frame_bytes = rate_hz * FRAME_MS // 1000 * 2
        self._source = b""
        self._position = 0
        self._started_s = 0.0
        self._frames = 0  # periods that went by
        self._queue = bytearray()
        self._room = bytearray()  # what the speaker played and the microphone has yet to hear
        self._file: WavWriter | None = None

    def start(self) -> None:
        self._source = self._load()
        self._position = 0
        self._frames = 0
        self.overruns = self.underruns = 0
        self._queue = bytearray()
        self._room = bytearray(self._echo_delay_bytes)
        self._file = WavWriter(self._speaker, self.rate_hz) if self._speaker is not None else None
        self._started_s = self._clock()

    def read(self) -> bytes:
        due_s = self._started_s + (self._frames + 1) * FRAME_MS / 1000
        now_s = self._clock()
        if now_s < due_s:
            self._sleep(due_s - now_s)
        else:
            for _ in range(int((now_s - due_s) * 1000 / FRAME_MS) - _BUFFER_FRAMES + 1):
                self._period()
                self.overruns += 1
        return self._period()

    def write(self, frame: bytes) -> None:
        room = _BUFFER_FRAMES * self._frame_bytes - len(self._queue)
        self._queue += frame[:room]

    def stop(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _period(self) -> bytes:
        """20 ms go by: the speaker plays what is queued, the microphone hears its source and the room."""
        self._frames += 1
        size = self._frame_bytes
        queued = len(self._queue)
        if queued < size:
            self.underruns += 1
            self._queue += bytes(size - queued)
        heard = self._next_source_frame()
        if self._file is None and not self._echo_gain:
            del self._queue[:size]
            return heard
        played = bytes(self._queue[:size])
        del self._queue[:size]
        if self._file is not None:
            self._file.write(played)
        if self._echo_gain:
            # Appended before it is cut, so that a delay of 0 is heard in the same period.
            self._room += audioop.mul(played, 2, self._echo_gain)
            heard = audioop.add(heard, bytes(self._room[:size]), 2)
            del self._room[:size]
        return heard

    def _next_source_frame(self) -> bytes:
        if not self._source:
            return bytes(self._frame_bytes)
        frame = self._source[self._position : self._position + self._frame_bytes]
        self._position += self._frame_bytes
        while len(frame) < self._frame_bytes:  # the end of the loop, or a loop shorter than a frame
            self._position = self._frame_bytes - len(frame)
            frame += self._source[: self._position]
        return frame

    def _load(self) -> bytes:
        match self._microphone:
            case None:
                return b""
            case Path() as path:
                return read_wav(path, self.rate_hz)
            case frequency_hz:
                return tone(frequency_hz, self.rate_hz)


@functools.lru_cache(maxsize=8)  # milliseconds of Python, at the start of every call
def tone(frequency_hz: float, rate_hz: int) -> bytes:
    """One second of a sine of `TONE_PEAK`, S16LE; loops without a click, the frequency being rounded to 1 Hz."""
    step = 2 * math.pi * round(frequency_hz) / rate_hz
    samples = array.array("h", (round(TONE_PEAK * math.sin(step * n)) for n in range(rate_hz)))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def read_wav(path: Path, rate_hz: int) -> bytes:
    """The file as S16LE mono at `rate_hz`. AudioError for what is no PCM WAV file, or an empty one."""
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            samples = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise AudioError(f"microphone file {path}: {error or 'it ends too early'}") from error
    if channels > 2:
        raise AudioError(f"microphone file {path}: it has {channels} channels; write one or two")
    samples = samples[: len(samples) - len(samples) % (width * channels)]
    if width == 1:
        samples = audioop.bias(samples, 1, -128)  # 8-bit WAV is unsigned
    if width != 2:
        samples = audioop.lin2lin(samples, width, 2)
    if channels == 2:
        samples = audioop.tomono(samples, 2, 0.5, 0.5)
    if rate != rate_hz:
        samples, _ = audioop.ratecv(samples, 2, 1, rate, rate_hz, None)
    if not samples:
        raise AudioError(f"microphone file {path}: it holds no sound")
    return samples


class WavWriter:
    """An S16LE mono WAV file that is whole five times a second, so that a killed process leaves a playable one.

    A full disk ends the recording and is logged once; the sound goes on.
    """

    _FLUSH_MS = 200

    def __init__(self, path: Path, rate_hz: int) -> None:
        self._path = path
        self._rate_hz = rate_hz
        self._flush_bytes = rate_hz * self._FLUSH_MS // 1000 * 2
        self._pending = bytearray()
        self._written = 0
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise AudioError(f"speaker file {path}: {error.strerror}") from error
        self._flush()

    def write(self, samples: bytes) -> None:
        if self._fd < 0:
            return
        self._pending += samples
        if len(self._pending) >= self._flush_bytes:
            self._flush()

    def close(self) -> None:
        if self._fd >= 0:
            self._flush()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _flush(self) -> None:
        """Sound first, then the header that counts it: cut in between, the file only ends a little early."""
        try:
            written = os.pwrite(self._fd, self._pending, _HEADER.size + self._written)
            self._written += written
            os.pwrite(self._fd, self._header(), 0)
            short = written < len(self._pending)
        except OSError as error:
            log.warning("speaker file %s: %s; nothing more is recorded", self._path, error.strerror)
            short = True
        self._pending.clear()
        if short:
            os.close(self._fd)
            self._fd = -1

    def _header(self) -> bytes:
        rate = self._rate_hz
        sizes = (36 + self._written, self._written)
        return _HEADER.pack(b"RIFF", sizes[0], b"WAVE", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16, b"data", sizes[1])
