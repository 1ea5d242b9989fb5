"""The sound card as the tick wants it: always there, always on time, always 20 ms at the bus' rate.

Wraps an `AudioDevice`: resamples, and when the device cannot be opened or breaks, goes on by the clock with
silence (one direction alone where only that one broke) and tries to open it again, 1 s to 30 s apart. All
methods belong to the audio thread.
"""

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from firmware.media.codec import FRAME_MS, NARROWBAND_HZ, frame_bytes
from firmware.media.events import MediaFault
from firmware.media.resampler import Resampler

if TYPE_CHECKING:
    from drivers.audio.base import AudioDevice

log = logging.getLogger(__name__)

_RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0)


class SoundCard:
    """`factory` makes the device, `on_fault` hears of it when it breaks and when it works again."""

    def __init__(
        self,
        factory: Callable[[], "AudioDevice"],
        on_fault: Callable[[MediaFault], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.fault = ""
        self._opened = 0
        self._factory = factory
        self._on_fault = on_fault
        self._clock = clock
        self._sleep = sleep
        self._device: AudioDevice | None = None
        self._captures = self._plays = False
        self.rate_hz = NARROWBAND_HZ
        self._device_hz = NARROWBAND_HZ
        self._frame_bytes = frame_bytes(NARROWBAND_HZ)
        self._from_device = self._to_device = Resampler(NARROWBAND_HZ, NARROWBAND_HZ)
        self._next_s = 0.0
        self._retry_at_s = 0.0
        self._failures = 0
        self._good_frames = 0

    @property
    def restarts(self) -> tuple[int, int]:
        """Changes whenever microphone and speaker began anew, so that what is heard is later or earlier after what
        was written than it used to be."""
        return self._opened, self._device.restarts if self._device is not None else -1

    def start(self) -> None:
        self._next_s = self._clock()
        self._open()

    def stop(self) -> None:
        device, self._device = self._device, None
        self._captures = self._plays = False
        if device is not None:
            try:
                device.stop()
            except Exception as error:  # noqa: BLE001 — it is given up anyway
                log.warning("sound card: closing: %s", error)

    def tune(self, rate_hz: int) -> None:
        """`read` gives and `write` takes frames at `rate_hz` from now on, whatever the device runs at."""
        self.rate_hz = rate_hz
        self._from_device = Resampler(self._device_hz, rate_hz)
        self._to_device = Resampler(rate_hz, self._device_hz)

    def read(self) -> bytes:
        """Wait for the next 20 ms and return what the microphone heard, S16LE at `rate_hz`."""
        if not (self._captures and self._plays) and self._clock() >= self._retry_at_s:
            self.stop()
            self._open()
        device = self._device
        if self._captures and device is not None:
            try:
                frame = device.read()
            except Exception as error:  # noqa: BLE001 — whatever a driver raises, the call goes on
                self._captures = False
                self._next_s = self._clock()
                self._broke(f"microphone: {error or type(error).__name__}")
            else:
                if self.fault:
                    self._works()
                if len(frame) != self._frame_bytes:
                    frame = frame[: self._frame_bytes].ljust(self._frame_bytes, b"\x00")
                return self._from_device.convert(frame)
        return self._silent_frame()

    def write(self, frame: bytes) -> None:
        """Hand 20 ms to the speaker."""
        device = self._device
        if not self._plays or device is None:
            return
        try:
            device.write(self._to_device.convert(frame))
        except Exception as error:  # noqa: BLE001
            self._plays = False
            self._broke(f"speaker: {error or type(error).__name__}")

    def _silent_frame(self) -> bytes:
        self._next_s += FRAME_MS / 1000
        wait_s = self._next_s - self._clock()
        if wait_s > 0:
            self._sleep(wait_s)
        elif wait_s < -1.0:
            self._next_s = self._clock()  # the machine slept: no burst to catch up
        return bytes(frame_bytes(self.rate_hz))

    def _open(self) -> None:
        try:
            device = self._factory()
            device.start()
            rate = device.rate_hz
        except Exception as error:  # noqa: BLE001
            self._broke(str(error) or type(error).__name__)
            return
        self._device = device
        self._opened += 1
        self._frame_bytes = frame_bytes(rate)
        self._device_hz = rate
        self.tune(self.rate_hz)
        self._captures = self._plays = True
        self._good_frames = 0
        self._next_s = self._clock()

    def _broke(self, what: str) -> None:
        self._retry_at_s = self._clock() + _RETRY_S[min(self._failures, len(_RETRY_S) - 1)]
        self._failures += 1
        log.warning("sound card: %s", what)
        if what != self.fault:
            self.fault = what
            self._on_fault(MediaFault("audio", what))

    def _works(self) -> None:
        """Both directions ran for a second: what was wrong is over."""
        if not self.fault or not self._plays:
            return
        self._good_frames += 1
        if self._good_frames * FRAME_MS >= 1000:
            self.fault = ""
            self._failures = 0
            self._on_fault(MediaFault("audio", ""))
