"""The one camera that feeds all video streams, and a stand-in where it fails.

A picture is encoded once and packetized once per packetization mode (RFC 6184); each leg adds its own RTP
header. The camera starts when a leg is opened, so that its first picture is there when the phone asks for it, and
runs until nobody has watched for a moment. Then it stays prepared, which costs memory and no CPU. Everything that
sends runs on the camera's own thread and is paced, four packets a millisecond: an IDR is 24 to 40 packets, and
cheap monitors and Wi-Fi drop bursts.
"""

import base64
import gc
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from firmware.media.events import MediaFault
from firmware.media.keyframes import KeyframeRequests
from firmware.media.video import VideoStream
from firmware.rtp.h264 import Packetizer
from firmware.rtp.rate_control import RateControl

if TYPE_CHECKING:
    from drivers.camera.base import AccessUnit, Camera

log = logging.getLogger(__name__)

Viewer = Callable[["AccessUnit"], None]

_BURST = 4  # packets to each leg, then
_PAUSE_S = 0.001
_POLL_S = 0.5
_STALLED_S = 5.0
_RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0)
_EXPECT_S = 8.0  # a leg that has been opened asks for pictures within that time, mostly
_LINGER_S = 0.5  # from one stage of ringing to the next
_RECENT = 8  # pictures, the IDR among them: half a second at 15 a second
_SMALL_SLICE = 1150  # bytes; fits into one packet on any link
_START_CODE = b"\x00\x00\x00\x01"


class CameraFeed:
    """One camera for all video streams. `on_fault` may be called from any thread.

    `standby` makes the camera that is shown while the real one does not work. Cameras are prepared, started and
    watched by a thread of the feed's own, as that may load an encoder and block.
    """

    def __init__(
        self,
        factory: Callable[[], "Camera"],
        on_fault: Callable[[MediaFault], None],
        standby: Callable[[], "Camera"] | None = None,
    ) -> None:
        self._factory = factory
        self._standby_factory = standby
        self._on_fault = on_fault
        self._lock = threading.Lock()
        # Apart from each other: a slow driver must not hold up the audio tick that hands on a PLI.
        self._camera_lock = threading.Lock()
        self._keyframe_lock = threading.Lock()
        self._picture_lock = threading.Lock()  # the stand-in and the camera follow each other on two threads
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._keep_warm = False
        self._streams: tuple[VideoStream, ...] = ()
        self._viewers: tuple[Viewer, ...] = ()
        self._until_s = 0.0
        self._camera: Camera | None = None
        self._prepared = False
        self._running: Camera | None = None
        self._live = False  # pictures come from the camera itself
        self._standby: Camera | None = None
        self._standing_in = False
        self._target: tuple[int, float] | None = None
        self._recent: list[AccessUnit] = []  # from the last IDR on, while they are few
        self._keyframes = KeyframeRequests()
        self._control = RateControl()
        self._packetizers: dict[int, Packetizer] = {}
        self._last_unit_s = 0.0
        self._pictures = 0
        self.fault = ""

    # --- parameters ----------------------------------------------------------------------------------------

    def profile_level_id(self) -> str:
        """Six hexadecimal digits for the SDP. Raises what the factory raises where there is no stand-in either."""
        try:
            return self._made().profile_level_id
        except Exception as error:
            if self._standby_factory is None:
                raise
            self.broke(str(error) or type(error).__name__)
            return self._standby_made(self._standby_factory).profile_level_id

    def _made(self) -> "Camera":
        """The camera object. Its factory only makes it; what takes time belongs to `Camera.prepare`."""
        with self._camera_lock:
            if self._camera is None:
                self._camera = self._factory()
            return self._camera

    def _standby_made(self, factory: Callable[[], "Camera"]) -> "Camera":
        with self._camera_lock:
            if self._standby is None:
                self._standby = factory()
            return self._standby

    @property
    def sprop_parameter_sets(self) -> str:
        """SPS and PPS in base64 for the SDP; empty before the first picture."""
        for packetizer in tuple(self._packetizers.values()):
            if packetizer.parameter_sets:
                return ",".join(base64.b64encode(part).decode() for part in packetizer.parameter_sets)
        return ""

    def status(self) -> dict[str, object]:
        return {
            "prepared": self._prepared,
            "running": self._running is not None,
            "standing_in": self._standing_in,
            "fault": self.fault,
            "legs": len(self._streams),
            "pictures": self._pictures,
            "keyframes_requested": self._keyframes.requested,
            "keyframes_served": self._keyframes.served,
            "bit_rate": self._control.bit_rate,
            "frame_rate": self._control.frame_rate,
        }

    # --- who watches ---------------------------------------------------------------------------------------

    def warm(self) -> None:
        """Prepare the camera now and keep it so; a fault is known before a visitor comes."""
        self._keep_warm = True
        self._need()

    def expect(self) -> bool:
        """A leg is ringing that may ask for pictures. False: there is no memory for the camera's thread."""
        return self._need(for_s=_EXPECT_S)

    def add(self, stream: VideoStream) -> None:
        """Feed `stream` from the next IDR on, which is asked for."""
        with self._lock:
            if stream not in self._streams:
                self._streams = (*self._streams, stream)
        self._control.join(stream, time.monotonic())
        stream.control = self._control
        self._limit_slices(self._running)
        self._need()
        self._wake.set()
        self.request_keyframe()

    def remove(self, stream: VideoStream) -> None:
        with self._lock:
            if stream in self._streams:
                self._streams = tuple(other for other in self._streams if other is not stream)
                self._until_s = max(self._until_s, time.monotonic() + _LINGER_S)
        self._control.leave(stream)
        stream.control = None

    def talks(self, stream: VideoStream, *, on: bool) -> None:
        """Whether who sees `stream` talks with the visitor: the picture is made for that one's network then."""
        self._control.talks(stream, on=on)

    def watch(self, viewer: Viewer) -> Callable[[], None]:
        """Give `viewer` each picture of the camera, on the camera's thread; returns what ends that."""
        with self._lock:
            self._viewers = (*self._viewers, viewer)
        self._need()
        self._wake.set()
        self.request_keyframe()

        def stop() -> None:
            with self._lock:
                self._viewers = tuple(other for other in self._viewers if other is not viewer)

        return stop

    def _need(self, for_s: float = 0.0) -> bool:
        with self._lock:
            if self._closed:
                return True
            self._until_s = max(self._until_s, time.monotonic() + for_s)
            if self._thread is not None:
                return True
            thread = threading.Thread(target=self._supervise, name="camera-watch", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                what = str(error)
            else:
                self._thread = thread
                return True
        self.broke(what)
        return False

    def close(self, timeout_s: float) -> None:
        with self._lock:
            self._closed = True
            self._streams = ()
            self._viewers = ()
            thread = self._thread
            self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)
        elif self._camera is not None:
            self._let_go(self._camera)

    # --- wishes, from any thread ---------------------------------------------------------------------------

    def request_keyframe(self) -> None:
        """PLI, FIR, INFO and legs that join or move all come here."""
        with self._keyframe_lock:
            serve = self._keyframes.request(time.monotonic())
        if serve:
            self._ask()

    def _ask(self) -> None:
        camera = self._running  # one that is only starting begins with an IDR anyway
        if camera is None:
            return
        try:
            camera.request_keyframe()
        except Exception as error:  # noqa: BLE001 — a driver's fault must not end the thread that asked
            log.warning("camera: keyframe refused: %s", error)

    def configure(self, bitrate_bps: int, frame_rate: float) -> None:
        """Step the picture down, or up again, for all legs; forgotten when the last has left."""
        self._target = (bitrate_bps, frame_rate)
        self._apply_target(self._running)

    def _apply_target(self, camera: "Camera | None") -> None:
        if camera is None:
            return
        try:
            camera.configure(*(self._target or (camera.bitrate_bps, float(camera.fps))))
        except Exception as error:  # noqa: BLE001 — as above
            log.warning("camera: bit rate refused: %s", error)

    def _limit_slices(self, camera: "Camera | None") -> None:
        """One leg without fragments is enough; where the last has gone, the camera's next start lifts it."""
        if camera is not None and any(stream.mode == 0 for stream in self._streams):
            camera.limit_slices(_SMALL_SLICE)

    # --- the camera's life ---------------------------------------------------------------------------------

    def _supervise(self) -> None:
        failures = 0
        while self._goes_on():
            what = self._run() if self._wanted() else self._prepare()
            if not what:
                failures = 0
                continue
            self.broke(what)
            if self._wanted():
                self._stand_in()
            self._wake.wait(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
            failures += 1
        self._end_standing_in()
        if self._closed and self._camera is not None:
            self._let_go(self._camera)

    def _wanted(self) -> bool:
        return bool(self._streams or self._viewers) or time.monotonic() < self._until_s

    def _goes_on(self) -> bool:
        with self._lock:
            self._wake.clear()
            if not self._closed and (self._wanted() or (self._keep_warm and not self._prepared)):
                return True
            self._thread = None  # the next leg starts another
            self._target = None
            return False

    def _prepare(self) -> str:
        """Empty, or why it cannot be done."""
        try:
            self._made().prepare()
        except Exception as error:  # noqa: BLE001 — whatever a driver raises
            self._lost()
            return str(error) or type(error).__name__
        self._prepared = True
        self._mended()
        return ""

    def _run(self) -> str:
        """Run the camera until nobody watches (empty) or it fails (why)."""
        self._live = False
        self._recent = []
        try:
            camera = self._made()
            camera.prepare()
            if not self._prepared:
                gc.freeze()  # what FFmpeg brings stays: a whole collection took 30 ms with it, once in 600 presses
            self._prepared = True
            camera.limit_slices(0)
            self._limit_slices(camera)
            self._control.grant(camera.bitrate_bps, float(camera.fps))
            self._apply_target(camera)
            self._last_unit_s = time.monotonic()
            camera.start(self._on_access_unit)
            self._running = camera
            what = self._watch(camera)
        except Exception as error:  # noqa: BLE001 — whatever a driver raises, the call goes on without picture
            what = str(error) or type(error).__name__
        self._running = None
        self._live = False
        if what:
            self._lost()
        else:
            self._camera_stops()
        return what

    def _camera_stops(self) -> None:
        if self._camera is not None:
            try:
                self._camera.stop()
            except Exception as error:  # noqa: BLE001
                log.warning("camera: stopping: %s", error)

    def _lost(self) -> None:
        camera, self._camera = self._camera, None  # a new object for the next try
        self._prepared = False
        if camera is not None:
            self._let_go(camera)

    def _let_go(self, camera: "Camera") -> None:
        try:
            camera.close()
        except Exception as error:  # noqa: BLE001
            log.warning("camera: closing: %s", error)

    def _watch(self, camera: "Camera") -> str:
        while True:
            self._wake.wait(_POLL_S)
            self._wake.clear()
            if self._closed or not self._wanted():
                return ""
            self._catch_up()
            if camera.failure:
                return camera.failure
            silent_s = time.monotonic() - self._last_unit_s
            if silent_s > _STALLED_S:
                return f"no picture for {silent_s:.0f} s"
            if self._live:
                self._end_standing_in()

    def broke(self, what: str) -> None:
        """Report a fault, once."""
        if what != self.fault:
            log.warning("camera: %s", what)
            self.fault = what
            self._on_fault(MediaFault("camera", what))

    def _mended(self) -> None:
        if self.fault:
            self.fault = ""
            self._on_fault(MediaFault("camera", ""))

    def _stand_in(self) -> None:
        """Show the legs that the camera has failed; they would keep its last picture otherwise, or none."""
        if self._standing_in or self._standby_factory is None:
            return
        try:
            self._standby_made(self._standby_factory).start(self._on_standby_unit)
            self._standing_in = True
        except Exception as error:  # noqa: BLE001 — the call goes on without picture
            log.warning("camera: nothing stands in for it: %s", error)

    def _end_standing_in(self) -> None:
        if self._standing_in and self._standby is not None:
            self._standing_in = False
            self._standby.stop()

    # --- pictures, on the camera's thread ------------------------------------------------------------------

    def _on_access_unit(self, unit: "AccessUnit") -> None:
        now = time.monotonic()
        self._last_unit_s = now
        self._pictures += 1
        self._live = True
        self._mended()
        with self._keyframe_lock:
            if unit.keyframe:
                self._keyframes.arrived()
            serve = self._keyframes.due(now)
        if serve:
            self._ask()
        step = self._control.wanted(now)
        if step is not None:
            self.configure(*step)
        for viewer in self._viewers:
            viewer(unit)
        with self._picture_lock:
            self._remember(unit)
            self._send(unit, now)

    def _on_standby_unit(self, unit: "AccessUnit") -> None:
        with self._picture_lock:
            if not self._live:
                self._send(unit, time.monotonic())

    def _remember(self, unit: "AccessUnit") -> None:
        if unit.keyframe:
            self._recent = [unit]
        elif len(self._recent) >= _RECENT:
            self._recent = []
        elif self._recent:
            self._recent.append(unit)

    def _catch_up(self) -> None:
        """Show legs that have just joined what the others see: of six that ring, each at once."""
        with self._picture_lock:
            for stream in self._streams:
                if not self._live or not self._recent or not stream.joins(self._recent[0].timestamp_us):
                    continue
                now = time.monotonic()
                for unit in self._recent:
                    if stream.wants(unit.keyframe, now):
                        self._pace([(stream, self._packetizer(stream.mode).packets(unit.data))], unit.timestamp_us)

    def _send(self, unit: "AccessUnit", now: float) -> None:
        """Caller holds the picture lock."""
        packets: dict[int, list[tuple[bytes, bool]]] = {}
        sending: list[tuple[VideoStream, list[tuple[bytes, bool]]]] = []
        for stream in self._streams:
            if stream.wants(unit.keyframe, now):
                mode = stream.mode
                if mode not in packets:
                    packets[mode] = self._packetizer(mode).packets(unit.data)
                sending.append((stream, packets[mode]))
        self._pace(sending, unit.timestamp_us)

    def _pace(self, sending: list[tuple[VideoStream, list[tuple[bytes, bool]]]], timestamp_us: int) -> None:
        at = 0
        rest = max((len(payloads) for _, payloads in sending), default=0)
        while rest > 0:
            for stream, payloads in sending:
                stream.send(payloads[at : at + _BURST], timestamp_us)
            at += _BURST
            rest -= _BURST
            if rest > 0:
                time.sleep(_PAUSE_S)

    def _packetizer(self, mode: int) -> Packetizer:
        packetizer = self._packetizers.get(mode)
        if packetizer is None:
            packetizer = Packetizer(mode)
            for other in self._packetizers.values():
                if other.parameter_sets:  # a camera that sends them once has sent them by now
                    packetizer.packets(b"".join(_START_CODE + part for part in other.parameter_sets))
            self._packetizers[mode] = packetizer
        return packetizer
