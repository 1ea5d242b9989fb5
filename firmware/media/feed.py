"""The one camera that feeds all video streams.

A picture is encoded once and packetized once per packetization mode (RFC 6184); each leg adds its own RTP
header. The camera runs from the first leg that takes video to the last. Everything that sends runs on the
camera's own thread and is paced, four packets a millisecond: an IDR is 24 to 40 packets, and cheap monitors and
Wi-Fi drop bursts.
"""

import base64
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from firmware.media.events import MediaFault
from firmware.media.keyframes import KeyframeRequests
from firmware.media.video import VideoStream
from firmware.rtp.h264 import Packetizer

if TYPE_CHECKING:
    from drivers.camera.base import AccessUnit, Camera

log = logging.getLogger(__name__)

_BURST = 4  # packets to each leg, then
_PAUSE_S = 0.001
_STALLED_S = 5.0
_RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0)
_START_CODE = b"\x00\x00\x00\x01"


class CameraFeed:
    """One camera for all video streams. `on_fault` may be called from any thread.

    The camera is started and watched by a thread of its own, as starting may load an encoder and block.
    """

    def __init__(self, factory: Callable[[], "Camera"], on_fault: Callable[[MediaFault], None]) -> None:
        self._factory = factory
        self._on_fault = on_fault
        self._lock = threading.Lock()
        # Apart from each other: a slow driver must not hold up the audio tick that hands on a PLI.
        self._camera_lock = threading.Lock()
        self._keyframe_lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._streams: tuple[VideoStream, ...] = ()
        self._camera: Camera | None = None
        self._running: Camera | None = None
        self._keyframes = KeyframeRequests()
        self._packetizers: dict[int, Packetizer] = {}
        self._last_unit_s = 0.0
        self._pictures = 0
        self.fault = ""

    # --- parameters ----------------------------------------------------------------------------------------

    def profile_level_id(self) -> str:
        """Six hexadecimal digits for the SDP. Raises what the camera's factory raises."""
        return self._made().profile_level_id

    def _made(self) -> "Camera":
        """The camera object. Its factory only makes it; what takes time belongs to `Camera.start`."""
        with self._camera_lock:
            if self._camera is None:
                self._camera = self._factory()
            return self._camera

    @property
    def sprop_parameter_sets(self) -> str:
        """SPS and PPS in base64 for the SDP; empty before the first picture."""
        for packetizer in tuple(self._packetizers.values()):
            if packetizer.parameter_sets:
                return ",".join(base64.b64encode(part).decode() for part in packetizer.parameter_sets)
        return ""

    def status(self) -> dict[str, object]:
        return {
            "running": self._running is not None,
            "fault": self.fault,
            "legs": len(self._streams),
            "pictures": self._pictures,
            "keyframes_requested": self._keyframes.requested,
            "keyframes_served": self._keyframes.served,
        }

    # --- who watches ---------------------------------------------------------------------------------------

    def add(self, stream: VideoStream) -> None:
        """Feed `stream` from the next IDR on, which is asked for."""
        with self._lock:
            if stream not in self._streams:
                self._streams = (*self._streams, stream)
            if self._thread is None:
                self._thread = threading.Thread(target=self._supervise, name="camera-watch", daemon=True)
                self._thread.start()
        self.request_keyframe()

    def remove(self, stream: VideoStream) -> None:
        with self._lock:
            self._streams = tuple(other for other in self._streams if other is not stream)
            if not self._streams:
                self._wake.set()

    def close(self, timeout_s: float) -> None:
        with self._lock:
            self._streams = ()
            thread = self._thread
            self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def request_keyframe(self) -> None:
        """PLI, FIR, INFO and legs that join or move all come here; any thread."""
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

    # --- the camera's life ---------------------------------------------------------------------------------

    def _supervise(self) -> None:
        failures = 0
        while self._wanted():
            what = self._run()
            if not what:
                failures = 0
                continue
            self.broke(what)
            self._wake.wait(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
            failures += 1

    def _wanted(self) -> bool:
        with self._lock:
            if not self._streams:
                self._thread = None  # the next leg starts another
                return False
            self._wake.clear()
            return True

    def _run(self) -> str:
        """Run the camera until nobody watches (empty) or it fails (why)."""
        try:
            camera = self._made()
            self._last_unit_s = time.monotonic()
            camera.start(self._on_access_unit)
            self._running = camera
            what = self._watch(camera)
        except Exception as error:  # noqa: BLE001 — whatever a driver raises, the call goes on without picture
            what = str(error) or type(error).__name__
        self._running = None
        if self._camera is not None:
            try:
                self._camera.stop()
            except Exception as error:  # noqa: BLE001
                log.warning("camera: stopping: %s", error)
        if what:
            self._camera = None  # a new object for the next try
        return what

    def _watch(self, camera: "Camera") -> str:
        while True:
            if self._wake.wait(1.0):
                with self._lock:
                    if not self._streams:
                        return ""
                    self._wake.clear()
            if camera.failure:
                return camera.failure
            silent_s = time.monotonic() - self._last_unit_s
            if silent_s > _STALLED_S:
                return f"no picture for {silent_s:.0f} s"

    def broke(self, what: str) -> None:
        """Report a fault, once."""
        log.warning("camera: %s", what)
        if what != self.fault:
            self.fault = what
            self._on_fault(MediaFault("camera", what))

    # --- pictures, on the camera's thread ------------------------------------------------------------------

    def _on_access_unit(self, unit: "AccessUnit") -> None:
        now = time.monotonic()
        self._last_unit_s = now
        self._pictures += 1
        if self.fault:
            self.fault = ""
            self._on_fault(MediaFault("camera", ""))
        with self._keyframe_lock:
            if unit.keyframe:
                self._keyframes.arrived()
            serve = self._keyframes.due(now)
        if serve:
            self._ask()
        packets: dict[int, list[tuple[bytes, bool]]] = {}
        sending: list[tuple[VideoStream, list[tuple[bytes, bool]]]] = []
        for stream in self._streams:
            if stream.wants(unit.keyframe, now):
                mode = stream.mode
                if mode not in packets:
                    packets[mode] = self._packetizer(mode).packets(unit.data)
                sending.append((stream, packets[mode]))
        at = 0
        rest = max((len(payloads) for _, payloads in sending), default=0)
        while rest > 0:
            for stream, payloads in sending:
                stream.send(payloads[at : at + _BURST], unit.timestamp_us)
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
