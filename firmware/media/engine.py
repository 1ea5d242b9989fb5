"""The media plane as the station sees it: legs, tones, status.

Owns the audio thread, which begins with the first leg or tone and ends after the last, and the camera. All
methods are for the event loop's thread. Failures of sound card and camera are contained: `on_fault` hears of
them, the call goes on with what works, and they are tried again.
"""

import asyncio
import base64
import contextlib
import functools
import logging
import secrets
import sys
import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from firmware.media.audio import AudioStream
from firmware.media.codec import NARROWBAND_HZ, WIDEBAND_HZ
from firmware.media.events import Digit, DigitSource, MediaEvent, MediaFault
from firmware.media.feed import CameraFeed
from firmware.media.ice_servers import IceServers
from firmware.media.leg import KEYS_BY, Inbox, MediaLeg
from firmware.media.probe import Probe
from firmware.media.replay_guard import ReplayGuard
from firmware.media.sound_card import SoundCard
from firmware.media.sounds import Sounds
from firmware.media.stills import Jpeg, Stills
from firmware.media.stream import RtpStream, Wire
from firmware.media.tick import Tick
from firmware.media.video import VideoStream
from firmware.net.rtp_port import VIDEO_DSCP, RtpPort

if TYPE_CHECKING:
    from drivers.audio.base import AudioDevice
    from drivers.camera.base import Camera
    from firmware.media.handsfree import HandsFree

log = logging.getLogger(__name__)

_SWITCH_INTERVAL_S = 0.001
_JOIN_S = 2.0
# Starting a thread, and what it loads first, holds the interpreter's lock: up to 8 ms, once in a hundred presses.
_AFTER_INVITE_S = 0.02
_RETRY_S = 1.0
# Half a second: the card plays out what is queued, and stays open from one stage of ringing to the next.
_LINGER_TICKS = 25
_VIDEO_BUFFER = 512 * 1024  # what a tick's worth of a received IDR may take
_BASELINE = "42e01f"


class Engine:
    """`audio` and `camera` make the devices when they are needed, `standby_camera` what is shown while the camera
    does not work; `ports` is an inclusive range for RTP; `hands_free` for a microphone that hears the speaker;
    `keys_by`: in which ways a key may come.

    `sounds` is what there is to hear; left out, the tones of `country` alone.

    `call_soon` runs a function on the loop's thread, from any thread (`loop.call_soon_threadsafe`). KeyError for
    an unknown country.
    """

    HANDS_FREE_HZ = WIDEBAND_HZ  # of the frames that `hands_free` gets

    def __init__(
        self,
        *,
        audio: "Callable[[], AudioDevice]",
        camera: "Callable[[], Camera] | None" = None,
        standby_camera: "Callable[[], Camera] | None" = None,
        country: str = "es",
        sounds: Sounds | None = None,
        ports: tuple[int, int] | None = None,
        ice_servers: IceServers | None = None,
        hands_free: "HandsFree | None" = None,
        call_soon: Callable[[Callable[[], None]], object],
        on_fault: Callable[[MediaFault], None] | None = None,
        keys_by: Collection[DigitSource] = KEYS_BY,
    ) -> None:
        self.announcements = sounds or Sounds(country)
        self._audio_factory = audio
        self._ports = ports
        self.ice_servers = ice_servers or IceServers()
        self._call_soon = call_soon
        self._on_fault = on_fault
        self._keys_by = keys_by
        self._lock = threading.Lock()
        self._tick = Tick()
        self._tick.hands_free = hands_free
        self.tune()
        self._loads_canceller = hands_free is not None
        if hands_free is not None:
            hands_free.on_missing = lambda why: self._fault(MediaFault("canceller", why))
        self._card: SoundCard | None = None
        self._thread: threading.Thread | None = None
        self._ending: threading.Thread | None = None
        self._progress: tuple[threading.Thread | None, int] = (None, 0)
        self._legs: tuple[MediaLeg, ...] = ()
        self._beginning: asyncio.TimerHandle | None = None  # `begin` is on its way
        self._short = False  # the audio thread could not be started
        self._failed_ticks = 0
        self._idle_ticks = 0
        self._interrupt: Callable[[], None] = lambda: None
        self._closed = False
        self._feed = CameraFeed(camera, self._fault, standby_camera) if camera is not None else None
        self._stills: Stills | None = None

    # --- legs ----------------------------------------------------------------------------------------------

    def open_leg(
        self,
        leg: str,
        host: str,
        on_event: Callable[[MediaEvent], None],
        *,
        video: bool = True,
        on_picture: Callable[[bytes, int], None] | None = None,
    ) -> MediaLeg:
        """Bind the ports of a leg on `host` (an IP address of ours). OSError where there are none.

        Video ports are opened when there is a camera to show or `on_picture` to take what comes: it gets each
        access unit (Annex B) and its RTP timestamp on the loop's thread.
        """
        if self._closed:
            raise RuntimeError("the engine is closed")
        self._end_probe()
        try:
            loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            loop = None  # digits come with the tick then
        inbox = Inbox(on_event, self._tick.guard, self._keys_by)

        def post(event: MediaEvent) -> None:
            self._soon(lambda: inbox.deliver(event))

        cname = base64.b64encode(secrets.token_bytes(12)).decode()  # RFC 7022: says nothing about the door
        thread = threading.get_ident()

        def on_digit(digit: str, source: DigitSource, at_s: float) -> None:
            event = Digit(digit, source, at_s)
            if threading.get_ident() == thread:
                inbox.deliver(event)
            else:
                post(event)

        audio = AudioStream(
            RtpPort(host, ports=self._ports, control=loop is not None),
            post,
            on_digit,
            cname,
            listens_for_keys="inband" in self._keys_by,
        )
        try:
            video_stream = self._open_video(host, post, cname, on_picture) if video else None
        except BaseException:
            audio.close()
            raise
        opened = MediaLeg(self, leg, audio, video_stream, inbox, loop)
        self.watch(audio)
        if video_stream is not None:
            self.watch(video_stream)
        with self._lock:
            self._legs = (*self._legs, opened)
            self._tick.audio = (*self._tick.audio, audio)
            if video_stream is not None:
                self._tick.video = (*self._tick.video, video_stream)
            self._idle_ticks = 0
        if loop is None:
            self.begin(None)
        elif self._beginning is None:
            self._beginning = loop.call_later(_AFTER_INVITE_S, self.begin, loop)
        return opened

    def begin(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Sound and camera for the legs that are open. The door rings without them, and they are tried again."""
        if self._beginning is not None:
            self._beginning.cancel()
            self._beginning = None
        if not self._legs:
            return
        short = False  # of memory for a thread
        try:
            with self._lock:
                self._ensure_thread()
        except RuntimeError as error:
            short = self._short = True
            self._fault(MediaFault("audio", str(error)))
        if self._feed is not None and any(leg.video_port is not None for leg in self._legs):
            short = not self._feed.expect() or short
        if short and loop is not None:
            self._beginning = loop.call_later(_RETRY_S, self.begin, loop)

    def _open_video(
        self,
        host: str,
        post: Callable[[MediaEvent], None],
        cname: str,
        on_picture: Callable[[bytes, int], None] | None,
    ) -> VideoStream | None:
        if on_picture is None:
            if self._feed is None:
                return None
            try:
                self._feed.profile_level_id()
            except Exception as error:  # noqa: BLE001 — without a camera there is still a call
                self._feed.broke(str(error) or type(error).__name__)
                return None
        port = RtpPort(
            host,
            ports=self._ports,
            dscp=VIDEO_DSCP,
            receive_buffer=_VIDEO_BUFFER if on_picture is not None else 0,
        )
        picture = None
        if on_picture is not None:
            picture = functools.partial(self._picture, on_picture)
        return VideoStream(port, post, cname, self.request_keyframe, picture)

    def _picture(self, on_picture: Callable[[bytes, int], None], access_unit: bytes, timestamp: int) -> None:
        self._soon(lambda: on_picture(access_unit, timestamp))

    def _soon(self, function: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._call_soon(function)

    def watch(self, stream: RtpStream) -> None:
        """From now on the tick reads what comes for `stream`."""
        sockets = self._tick.sockets
        sockets.add(stream.port.media.fileno(), stream.read_media)
        sockets.add(stream.port.rtcp.fileno(), stream.read_rtcp)

    def go_over(self, stream: RtpStream, wire: Wire) -> None:
        """From now on `stream` sends over `wire`, and the tick takes what comes over it."""
        stream.go_over(wire)
        with self._lock:
            self._tick.wired = (*(other for other in self._tick.wired if other is not stream), stream)

    def unwatch(self, port: RtpPort) -> None:
        """Before the sockets of `port` close."""
        sockets = self._tick.sockets
        sockets.remove(port.media.fileno())
        sockets.remove(port.rtcp.fileno())

    def forget(self, leg: MediaLeg, audio: AudioStream, video: VideoStream | None) -> None:
        """A leg closes; called by it, before its sockets close."""
        for stream in (audio, video):
            if stream is not None:
                self.unwatch(stream.port)
        with self._lock:
            self._legs = tuple(other for other in self._legs if other is not leg)
            self._tick.wired = tuple(other for other in self._tick.wired if other not in (audio, video))
            self._tick.audio = tuple(other for other in self._tick.audio if other is not audio)
            self._tick.video = tuple(other for other in self._tick.video if other is not video)
        self.tune()
        if video is not None:
            self.starve(video)

    def tune(self) -> None:
        """A leg's codec changed, or a leg went: the bus runs at the highest rate that anybody has use for, and
        always at the canceller's where there is one."""
        with self._lock:
            tick = self._tick
            least_hz = tick.hands_free.rate_hz if tick.hands_free is not None else NARROWBAND_HZ
            tick.wanted_hz = max([least_hz, *(stream.rate_hz for stream in tick.audio)])

    # --- video ---------------------------------------------------------------------------------------------

    def warm_camera(self) -> None:
        """Open the camera now and keep it open, instead of with the first call."""
        if self._feed is not None:
            self._feed.warm()

    def watch_camera(self, on_picture: Callable[[Jpeg], None], every_s: float) -> Callable[[], None]:
        """Give `on_picture` a JPEG each `every_s`, on the loop's thread; returns what ends that.

        LookupError where there is no camera.
        """
        if self._feed is None:
            raise LookupError("there is no camera in board.toml, or media.video is false")
        if self._stills is None:
            self._stills = Stills(self._feed)
        return self._stills.watch(lambda picture: self._soon(lambda: on_picture(picture)), every_s)

    @property
    def camera_fault(self) -> str:
        """Why there are no pictures; empty while all is well."""
        return self._feed.fault if self._feed is not None else ""

    def configure_camera(self, bitrate_bps: int, frame_rate: float) -> None:
        """From any thread: the picture of all legs at most at that rate until the last of them has left."""
        if self._feed is not None:
            self._feed.configure(bitrate_bps, frame_rate)

    def feed(self, stream: VideoStream) -> None:
        """Send pictures to `stream`, beginning with an IDR."""
        if self._feed is not None:
            self._feed.add(stream)

    def starve(self, stream: VideoStream) -> None:
        """No more pictures to `stream`."""
        if self._feed is not None:
            self._feed.remove(stream)

    def talks(self, stream: VideoStream, *, on: bool) -> None:
        if self._feed is not None:
            self._feed.talks(stream, on=on)

    def request_keyframe(self) -> None:
        """From any thread; requests close to each other are served by one IDR."""
        if self._feed is not None:
            self._feed.request_keyframe()

    @property
    def profile_level_id(self) -> str:
        """The camera's, for the SDP."""
        if self._feed is None:
            return _BASELINE
        try:
            return self._feed.profile_level_id()
        except Exception:  # noqa: BLE001 — reported when the leg was opened
            return _BASELINE

    @property
    def sprop_parameter_sets(self) -> str:
        """Of the pictures seen so far; empty before the first."""
        return self._feed.sprop_parameter_sets if self._feed is not None else ""

    @property
    def guard(self) -> ReplayGuard:
        return self._tick.guard

    # --- tones ---------------------------------------------------------------------------------------------

    def play(self, name: str | None) -> None:
        """A tone or an announcement (`sounds`) to the visitor in place of what sounds; None: silence."""
        player = self.announcements.player(name) if name is not None else None
        with self._lock:
            if self._closed:
                return
            if player is not None:
                self._end_probe()
            self._tick.play_tone(player)
            if player is not None:
                self._ensure_thread()

    # --- sound check ---------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Somebody hears the door, or the visitor hears something."""
        return bool(self._legs) or self._tick.sounds

    @property
    def bus_hz(self) -> int:
        """The rate of the sound between legs and sound card, as long as no leg comes or goes."""
        return self._tick.wanted_hz

    async def probe(self, sound: bytes) -> bytes:
        """Play `sound` (S16LE at `bus_hz`) to the speaker as it is, and return what the microphone heard
        meanwhile. RuntimeError while a call or another probe goes on, or where one came in between."""
        if self._closed or self.busy or self._tick.probe is not None:
            raise RuntimeError("the sound card is in use")
        ended: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        probe = Probe(sound)

        def done(probe: Probe) -> None:
            self._soon(lambda: None if ended.done() else ended.set_result(bytes(probe.recorded)))

        def interrupted() -> None:
            if not ended.done():
                ended.set_exception(RuntimeError("a call came in between"))

        self._interrupt = interrupted
        self._tick.on_probed = done
        self._tick.probe = probe
        try:
            with self._lock:
                self._ensure_thread()
            return await ended
        finally:
            self._tick.probe = None

    def _end_probe(self) -> None:
        """A call comes first."""
        if self._tick.probe is not None:
            self._tick.probe = None
            self._soon(self._interrupt)

    def announce(self, name: str) -> None:
        """An announcement, or one round of the tone in its place, to the visitor; what sounds goes on after it."""
        player = self.announcements.player(name, once=True)
        with self._lock:
            if self._closed or player is None:
                return
            self._tick.announce(player)
            self._ensure_thread()

    # --- the audio thread ----------------------------------------------------------------------------------

    def _ensure_thread(self) -> None:
        """Caller holds the lock."""
        self._idle_ticks = 0
        if self._thread is None:
            thread = threading.Thread(target=self._run, args=(self._ending,), name="audio-tick", daemon=True)
            thread.start()  # RuntimeError where there is no memory for it
            self._thread, self._ending = thread, None

    def _wanted(self) -> bool:
        if self._legs or self._tick.sounds or self._tick.probe is not None:
            self._idle_ticks = 0
            return True
        if self._idle_ticks < _LINGER_TICKS and not self._closed:
            self._idle_ticks += 1
            return True
        with self._lock:
            if self._legs or self._tick.sounds or self._tick.probe is not None:
                return True
            self._ending, self._thread = self._thread, None
            return False

    def _run(self, previous: threading.Thread | None) -> None:
        if previous is not None:
            previous.join()  # the sound card is opened by one at a time
        if self._short:
            self._short = False
            self._fault(MediaFault("audio", ""))
        card = self._card = SoundCard(self._audio_factory, self._fault)
        tick = self._tick
        tick.pace.restart()
        hands_free = tick.hands_free
        if self._loads_canceller and hands_free is not None:
            self._loads_canceller = False
            hands_free.load_soon()
        _fast_switching.enter()
        try:
            card.start()
            while self._legs or self._wanted():
                if tick.wanted_hz != card.rate_hz:
                    card.tune(tick.wanted_hz)
                microphone = card.read()
                if hands_free is not None:
                    hands_free.align(card.restarts)
                try:
                    tick.run(microphone, card.write)
                except Exception:
                    # A bug of ours, but the visitor is standing at the door: the next frame may do.
                    if not self._failed_ticks:
                        log.exception("audio tick failed; further failures are counted")
                    self._failed_ticks += 1
        finally:
            card.stop()
            _fast_switching.leave()

    def _fault(self, fault: MediaFault) -> None:
        handler = self._on_fault
        if handler is not None:
            self._soon(lambda: handler(fault))

    # --- status and the end --------------------------------------------------------------------------------

    def progresses(self) -> bool:
        """Whether the audio thread, if there is one, has ticked since this was asked last: seconds ago at least."""
        before, self._progress = self._progress, (self._thread, self._tick.pace.ticks)
        return self._thread is None or self._progress != before

    def status(self) -> dict[str, object]:
        """Plain values: is it running, how regularly, what is broken, who is connected."""
        pace = self._tick.pace
        return {
            "running": self._thread is not None,
            "ticks": pace.ticks,
            "late_ticks": pace.late,
            "latest_tick_ms": round(pace.latest_ms, 1),
            "failed_ticks": self._failed_ticks,
            "hands_free": self._tick.hands_free.status() if self._tick.hands_free is not None else None,
            "audio_fault": self._card.fault if self._card is not None else "",
            "camera": self._feed.status() if self._feed is not None else None,
            "legs": {leg.name: leg.statistics() for leg in self._legs},
        }

    def close(self) -> None:
        """Close all legs, stop tone, audio thread and camera. The engine cannot be used again."""
        self._closed = True
        self._end_probe()
        for leg in self._legs:
            leg.close()
        with self._lock:
            self._tick.silence()
            threads = (self._thread, self._ending)
        for thread in threads:
            if thread is not None and thread is not threading.current_thread():
                thread.join(_JOIN_S)
        if self._feed is not None:
            self._feed.close(_JOIN_S)
        self._tick.sockets.close()


class _FastSwitching:
    """While any engine of the process runs, Python hands the GIL on after 1 ms instead of 5 ms.

    Measured: a tick is 5 ms late whenever another thread computes, under 1 ms so. With 0.2 ms a control thread that
    never rests delays half of the ticks by 0.8 ms instead of 16, but in both of two pairs of runs the slowest
    hundredth of the presses came later (5.7 and 9.2 ms, with 1 ms 5.3 and 5.7).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before_s = 0.0

    def enter(self) -> None:
        with self._lock:
            if not self._users:
                self._before_s = sys.getswitchinterval()
                sys.setswitchinterval(_SWITCH_INTERVAL_S)
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                sys.setswitchinterval(self._before_s)


_fast_switching = _FastSwitching()
