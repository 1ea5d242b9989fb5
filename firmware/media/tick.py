"""One tick of the audio path: everything that happens every 20 ms, in one wake-up.

The sockets that have something are read, the jitter buffers give what is to be heard, the mix goes to the
speaker, the microphone's frame is encoded once per codec and sent to every leg, reports go out when due.
`SoundCard.read` is the clock; the thread round it is `engine`'s. The bus, where all is mixed, has the rate of the
frames that come from there: 8 kHz while every leg is a telephone, 16 kHz as soon as one is not (`wanted_hz`).
Legs and tones at another rate are resampled at its edge. Nothing here waits, logs or allocates more
than the packets themselves.
"""

import audioop
import math
import select
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from firmware.media.audio import AudioStream
from firmware.media.codec import FRAME_MS, NARROWBAND_HZ
from firmware.media.probe import Probe
from firmware.media.replay_guard import ReplayGuard
from firmware.media.resampler import Resampler
from firmware.media.sounds import Chain, Playable
from firmware.media.stream import RtpStream
from firmware.media.video import VideoStream

if TYPE_CHECKING:
    from firmware.media.handsfree import HandsFree

Reader = Callable[[float, float], None]

_ROUNDS = 64  # datagrams taken from one socket in a tick; what a flood brings more stays in the kernel
_MAX_READY = 64
_PERIOD_S = FRAME_MS / 1000
_LATE_S = 0.010
_QUALITY_TICKS = 50
_REPORT_TICKS = 5  # RTCP is due every few seconds; a tenth of one more or less is nothing


class Sockets:
    """All RTP and RTCP sockets that the tick drains, behind one epoll. Any thread may add and remove."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Reader] = {}

    def add(self, descriptor: int, reader: Reader) -> None:
        self._readers[descriptor] = reader
        self._epoll.register(descriptor, select.EPOLLIN)

    def remove(self, descriptor: int) -> None:
        if self._readers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def drain(self, now: float, wall_offset_s: float) -> None:
        # One datagram a socket and round: asking epoll again is cheaper than a recvmsg that fails.
        poll, readers = self._epoll.poll, self._readers
        for _ in range(_ROUNDS):
            ready = poll(0, _MAX_READY)
            if not ready:
                return
            for descriptor, _event in ready:
                reader = readers.get(descriptor)
                if reader is not None:
                    reader(now, wall_offset_s)

    def close(self) -> None:
        self._epoll.close()


class Pace:
    """How regularly the ticks came: `late` of `ticks` by more than 10 ms, at worst by `latest_ms`."""

    def __init__(self) -> None:
        self.ticks = 0
        self.late = 0
        self.latest_ms = 0.0
        self._due_s = math.inf

    def tick(self, now: float) -> None:
        late_s = now - self._due_s
        if late_s < 0:  # the first, or earlier than thought possible
            late_s = 0.0
            self._due_s = now
        self.ticks += 1
        if late_s > _LATE_S:
            self.late += 1
        if late_s * 1000 > self.latest_ms:
            self.latest_ms = late_s * 1000
        # A hundredth of the lateness: follows a sound card whose clock is slower than ours.
        self._due_s += _PERIOD_S + late_s * 0.01

    def restart(self) -> None:
        """The clock stood still until now."""
        self._due_s = math.inf


class Tick:
    """What there is to do each 20 ms. `audio`, `video`, and `wired`, which are those of both that have a wire, are
    replaced as a whole by the engine."""

    def __init__(self) -> None:
        self.sockets = Sockets()
        self.pace = Pace()
        self.guard = ReplayGuard()
        self.audio: tuple[AudioStream, ...] = ()
        self.video: tuple[VideoStream, ...] = ()
        self.wired: tuple[RtpStream, ...] = ()
        self.hands_free: HandsFree | None = None
        self.wanted_hz = NARROWBAND_HZ
        self._microphone_rates = Resampler(NARROWBAND_HZ, NARROWBAND_HZ)
        self._tone_rates = Resampler(NARROWBAND_HZ, NARROWBAND_HZ)
        self.probe: Probe | None = None
        self.on_probed: Callable[[Probe], None] | None = None
        self._tone_lock = threading.Lock()
        self._tone: Playable | None = None
        self._next_tone: Playable | None = None

    def play_tone(self, player: Playable | None) -> None:
        """From the next tick on, to the speaker; what sounds now fades out first."""
        with self._tone_lock:
            if self._tone is not None:
                self._tone.stop()
                self._next_tone = player
            else:
                self._tone = player

    def announce(self, player: Playable) -> None:
        """At once, and what sounds now goes on after it."""
        with self._tone_lock:
            self._tone = player if self._tone is None else Chain(player, self._tone)

    def silence(self) -> None:
        """At once, not faded: nobody listens any more."""
        with self._tone_lock:
            self._tone = self._next_tone = None

    @property
    def sounds(self) -> bool:
        return self._tone is not None

    def run(self, microphone: bytes, write: Callable[[bytes], None]) -> None:
        """Do it. `microphone` is the frame that was captured last; its length says the rate of the bus."""
        now = time.monotonic()
        self.pace.tick(now)
        if self.probe is not None:
            self._probe(self.probe, microphone, write)
            return
        self.sockets.drain(now, time.time() - now)
        for wired in self.wired:
            wired.drain()
        audio = self.audio
        size = len(microphone)
        bus_hz = size * 1000 // FRAME_MS // 2
        own = self._tone is not None
        mix = self._tone_frame(bus_hz) if own else None
        for stream in audio:
            frame = stream.play(now)
            if frame is not None:
                if len(frame) != size:
                    frame = stream.on_bus(frame, bus_hz)
                mix = frame if mix is None else audioop.add(mix, frame, 2)
        if mix is None:
            mix = bytes(size)
        hands_free = self.hands_free
        if hands_free is None:
            write(mix)
        else:
            write(hands_free.play(mix))
            microphone = hands_free.hear(microphone, own=own)
        encoded: dict[str, bytes] = {}
        other = b""
        talk = False
        for stream in audio:
            talk = talk or stream.talk
            if stream.rate_hz == bus_hz:
                stream.send(microphone, encoded, now)
            else:
                other = other or self._microphone_at(microphone, bus_hz, stream.rate_hz)
                stream.send(other, encoded, now)
        if talk:
            self.guard.listen(microphone, mix, now)
        if self.pace.ticks % _QUALITY_TICKS == 0:
            for stream in audio:
                stream.note_quality()
        if self.pace.ticks % _REPORT_TICKS == 0:
            for stream in audio:
                if now >= stream.report_s:
                    stream.tick_report(now)
            for video in self.video:
                if now >= video.report_s:
                    video.tick_report(now)

    def _microphone_at(self, microphone: bytes, bus_hz: int, rate_hz: int) -> bytes:
        """For the legs that are not at the bus' rate: there is one other."""
        rates = self._microphone_rates
        if rates.from_hz != bus_hz or rates.to_hz != rate_hz:
            rates = self._microphone_rates = Resampler(bus_hz, rate_hz)
        return rates.convert(microphone)

    def _probe(self, probe: Probe, microphone: bytes, write: Callable[[bytes], None]) -> None:
        frame = probe.exchange(microphone)
        write(frame or bytes(len(microphone)))
        if not frame:
            self.probe = None
            if self.on_probed is not None:
                self.on_probed(probe)

    def _tone_frame(self, bus_hz: int) -> bytes | None:
        with self._tone_lock:
            tone = self._tone
            if tone is None:
                return None
            frame = tone.frame()
            if frame is None:
                self._tone, self._next_tone = self._next_tone, None
                return None
            if tone.rate_hz == bus_hz:
                return frame
            rates = self._tone_rates
            if rates.from_hz != tone.rate_hz or rates.to_hz != bus_hz:
                rates = self._tone_rates = Resampler(tone.rate_hz, bus_hz)
            return rates.convert(frame)
