"""What the media tests share: a bare RTP peer on the loopback, agreements, devices without hardware."""

import array
import asyncio
import math
import socket
import threading
import time
from collections.abc import Callable, Iterable

from drivers.audio.base import AudioError
from drivers.camera.base import AccessUnit
from firmware.rtp.packet import RtpPacket, pack_rtp, parse_rtp
from firmware.sdp.agreement import AgreedMedia, Agreement, Codec
from firmware.sdp.codecs import AUDIO_CODECS
from firmware.sdp.description import Direction
from tests.support.sound import Sound
from tests.support.waiting import PATIENCE_S

DEADLINE_S = 10.0


async def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Wait for `condition` on the running loop; AssertionError after PATIENCE_S."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"{what} did not come true"
        await asyncio.sleep(0.005)


def audio(
    port: int,
    *,
    host: str = "127.0.0.1",
    direction: Direction = "sendrecv",
    codec: str = "PCMU",
    dtmf: int | None = 101,
    fmtp: str = "",
    bit_rate: int = 0,
) -> AgreedMedia:
    ours = AUDIO_CODECS[codec]
    number = ours.payload_type
    event = Codec("telephone-event", ours.clock_hz, dtmf, dtmf) if dtmf is not None else None
    return AgreedMedia(
        "audio",
        direction,
        host,
        port,
        host,
        port + 1,
        Codec(codec, ours.clock_hz, number, number, ours.channels, fmtp),
        event,
        bit_rate=bit_rate,
        event_types=() if dtmf is None else (dtmf,),
    )


def video(
    port: int, *, host: str = "127.0.0.1", direction: Direction = "sendonly", mode: int = 1, number: int = 96
) -> AgreedMedia:
    codec = Codec("H264", 90_000, number, number)
    return AgreedMedia("video", direction, host, port, host, port + 1, codec, packetization_mode=mode)


def agreement(audio: AgreedMedia | None = None, video: AgreedMedia | None = None) -> Agreement:
    return Agreement(audio, video)


class Peer:
    """The sockets of a phone's stream, and a packet counter. `host` may be any loopback address."""

    def __init__(self, host: str = "127.0.0.1", ssrc: int = 0x1234) -> None:
        self.rtp = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.rtp.bind((host, 0))
        self.rtcp = socket.socket(self.rtp.family, socket.SOCK_DGRAM)
        self.rtcp.bind((host, 0))
        self.rtp.settimeout(DEADLINE_S)
        self.rtcp.settimeout(DEADLINE_S)
        self.port: int = self.rtp.getsockname()[1]
        self.rtcp_port: int = self.rtcp.getsockname()[1]
        self.ssrc = ssrc
        self.sequence = 65_530  # wraps early
        self.timestamp = 0

    def send(self, port: int, payload: bytes, *, payload_type: int = 0, marker: bool = False) -> None:
        host = "::1" if self.rtp.family == socket.AF_INET6 else "127.0.0.1"
        packet = pack_rtp(payload_type, marker, self.sequence, self.timestamp, self.ssrc, payload)
        self.rtp.sendto(packet, (host, port))
        self.sequence += 1
        self.timestamp += 160

    def receive(self) -> RtpPacket:
        return parse_rtp(self.rtp.recv(65_536))

    def waiting(self) -> list[RtpPacket]:
        """What has arrived until now."""
        packets = []
        self.rtp.setblocking(False)
        try:
            while True:
                packets.append(parse_rtp(self.rtp.recv(65_536)))
        except BlockingIOError:
            return packets
        finally:
            self.rtp.settimeout(DEADLINE_S)

    def close(self) -> None:
        self.rtp.close()
        self.rtcp.close()


class ManualAudio:
    """A sound card whose clock the test turns: every `step` lets one read return. Breaks on demand."""

    def __init__(self, rate_hz: int = 8000) -> None:
        self.rate_hz = rate_hz
        self.played: list[bytes] = []
        self.frame = bytes(rate_hz // 50 * 2)
        self.started = self.stopped = self.restarts = 0
        self.read_error: Exception | None = None
        self.write_error: Exception | None = None
        self.start_error: Exception | None = None
        self._steps = threading.Semaphore(0)
        self._free = False

    def step(self, count: int = 1) -> None:
        self._steps.release(count)

    def run_free(self) -> None:
        """Read without waiting from now on, so that the thread can end."""
        self._free = True
        self._steps.release()

    def start(self) -> None:
        if self.start_error is not None:
            raise self.start_error
        self.started += 1

    def read(self) -> bytes:
        if self.read_error is not None:
            raise self.read_error
        if not self._free and not self._steps.acquire(timeout=DEADLINE_S):
            raise AudioError("the test turned the clock no further")
        return self.frame

    def write(self, frame: bytes) -> None:
        if self.write_error is not None:
            raise self.write_error
        self.played.append(frame)

    def stop(self) -> None:
        self.stopped += 1


class ManualCamera:
    """A camera whose pictures the test takes, on the thread of `take`. `keyframes` counts what was asked for."""

    width, height, fps, bitrate_bps = 640, 480, 15, 600_000
    profile_level_id = "42c01f"

    def __init__(self) -> None:
        self.failure = ""
        self.prepared = self.started = self.stopped = self.closed = self.keyframes = 0
        self.configured: list[tuple[int, float]] = []
        self.slice_limits: list[int] = []
        self.prepare_error: Exception | None = None
        self.start_error: Exception | None = None
        self.on_access_unit: Callable[[AccessUnit], None] | None = None

    def prepare(self) -> None:
        if self.prepare_error is not None:
            raise self.prepare_error
        self.prepared += 1

    def start(self, on_access_unit: Callable[[AccessUnit], None]) -> None:
        if self.start_error is not None:
            raise self.start_error
        self.started += 1
        self.on_access_unit = on_access_unit

    def request_keyframe(self) -> None:
        self.keyframes += 1

    def configure(self, bitrate_bps: int, frame_rate: float) -> None:
        self.configured.append((bitrate_bps, frame_rate))

    def limit_slices(self, max_bytes: int) -> None:
        self.slice_limits.append(max_bytes)

    def stop(self) -> None:
        self.stopped += 1
        self.on_access_unit = None

    def close(self) -> None:
        self.closed += 1
        self.on_access_unit = None

    def take(self, *, keyframe: bool, size: int = 900, at_s: float | None = None) -> None:
        assert self.on_access_unit is not None, "the camera is not running"
        at_us = round((time.monotonic() if at_s is None else at_s) * 1e6)
        self.on_access_unit(AccessUnit(picture(keyframe=keyframe, size=size), at_us, keyframe))


SPS = bytes.fromhex("6742c01fda0280f684000003000400000300f03c60ca80")
PPS = bytes.fromhex("68ce3c80")


def picture(*, keyframe: bool, size: int = 900) -> bytes:
    """An access unit of the right form; what it shows nobody can see."""
    start = b"\x00\x00\x00\x01"
    if keyframe:
        return start + SPS + start + PPS + start + b"\x65" + bytes([0xAA]) * size
    return start + b"\x41" + bytes([0x55]) * size


def tone_frames(hz: float, frames: int, *, peak: int = 8192, rate_hz: int = 8000) -> list[bytes]:
    """Consecutive 20 ms of a sine, S16LE."""
    length = rate_hz // 50
    step = 2 * math.pi * hz / rate_hz
    samples = array.array("h", (round(peak * math.sin(step * n)) for n in range(length * frames)))
    data = samples.tobytes()
    return [data[at : at + 2 * length] for at in range(0, len(data), 2 * length)]


def heard(frames: Iterable[bytes], rate_hz: int = 8000) -> Sound:
    """Frames as `tests.support.sound` measures them."""
    return Sound(rate_hz, array.array("h", b"".join(frames)))
