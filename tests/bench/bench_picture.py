"""The visitor's picture: how soon a ringing monitor shows it, how old it is there, what a further monitor costs.

The monitor is a bare phone that answers 183 and decodes what comes (PyAV), the camera the simulated one, 640x480
at 15 pictures a second and 600 kb/s. A picture's age is read off the timecode in it: encoding, pacing, the wire and
decoding, but no lens and no screen. The presses are so far apart that the camera has stopped in between. What a leg
costs is measured within one process, camera and streams as the station runs them, in turns.
"""

import select
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack

from drivers.camera.simulated import SimulatedCamera
from firmware.app import WARM_AFTER_S
from firmware.demo.picture import Picture, Screen
from firmware.media.feed import CameraFeed
from firmware.media.video import VideoStream
from firmware.net.rtp_port import RtpPort
from firmware.rtp.h264 import Depacketizer
from firmware.rtp.packet import parse_rtp
from tests.bench.measure import percentile
from tests.bench.phone import Phone
from tests.bench.programs import Station, resident_mb, scratch_folder
from tests.bench.report import Row, ratio_at_most
from tests.support.media import Peer, video

STARTS, PRESSES = 3, 10
PAUSE_S = 9.0  # the camera waits for eight after the last press
AGES_S = 10.0
LEGS, ROUNDS, MEASURE_S = 6, 4, 3.0
MARK = 0.1  # of the encoder, for each further leg
PICTURE_TYPE = 96


def run() -> list[Row]:
    return [*sooner_or_later(), *each_further_leg()]


# --- how soon ------------------------------------------------------------------------------------------------


def sooner_or_later() -> list[Row]:
    rows = later()
    for warm, word in ((False, "opened by the press"), (True, "kept warm")):
        firsts, idle_mb = first(warm)
        rows.append(Row(f"press to picture, first after the start, camera {word}", firsts, unit="ms"))
        rows.append(Row(f"memory idle, camera {word}", idle_mb, unit="MB"))
    return rows


def first(warm: bool) -> tuple[float, float]:
    """Milliseconds to the first picture after a start, and the memory before the press: medians."""
    values = []
    for _ in range(STARTS):
        with ExitStack() as stack:
            station, monitors = house(stack, 1, warm=warm)
            time.sleep(WARM_AFTER_S + 2.0)
            idle_mb = resident_mb(station.pid)
            values.append((visit(station, monitors)[0], idle_mb))
    firsts, idles = zip(*values, strict=True)
    return statistics.median(firsts), statistics.median(idles)


def later() -> list[Row]:
    """What every visit after the first sees, at one monitor and at the last of six."""
    rows, ages = [], []
    for count, name in ((1, "a ringing monitor"), (LEGS, f"the last of {LEGS} ringing monitors")):
        with ExitStack() as stack:
            station, monitors = house(stack, count)
            visit(station, monitors)
            waits = []
            for _ in range(PRESSES):
                time.sleep(PAUSE_S)
                waits.append(max(visit(station, monitors)))
            ages = ages or seen(station, monitors)
        for share in (0.5, 0.95):
            title = f"press to picture at {name}, p{share * 100:g} of {PRESSES}"
            rows.append(Row(title, percentile(waits, share), unit="ms"))
    for share in (0.5, 0.99):
        rows.append(
            Row(f"age of a picture shown, p{share * 100:g} of {len(ages)}", percentile(ages, share), unit="ms")
        )
    return rows


def house(stack: ExitStack, count: int, *, warm: bool = False) -> tuple[Station, list["Monitor"]]:
    monitors = [Monitor(Phone()) for _ in range(count)]
    for monitor in monitors:
        stack.callback(monitor.phone.close)
    targets = '", "'.join(monitor.phone.uri for monitor in monitors)
    station = Station(stack.enter_context(scratch_folder()), targets, camera_warm=warm)
    stack.callback(station.stop)
    station.start()
    return station, monitors


def visit(station: Station, monitors: list["Monitor"], watch_s: float = 0.0) -> list[float]:
    """Milliseconds from the press to the first decoded picture at each; watched on for `watch_s`, then given up."""
    for monitor in monitors:
        monitor.begin()
    pressed_s = station.press()
    invites = []
    for monitor in monitors:
        invites.append(monitor.phone.wait("INVITE", 5))
        monitor.phone.respond(invites[-1], 183, "Session Progress", monitor.phone.sdp(video=True))
    watch(monitors, lambda: all(monitor.shown_s for monitor in monitors))
    until_s = time.monotonic() + watch_s
    watch(monitors, lambda: time.monotonic() >= until_s)
    station.ask("hangup")
    for monitor, invite in zip(monitors, invites, strict=True):
        monitor.phone.respond(monitor.phone.wait("CANCEL", 5), 200, "OK")
        monitor.phone.respond(invite, 487, "Request Terminated")
        monitor.phone.wait("ACK", 5)
        monitor.phone.forget()
    return [(monitor.shown_s - pressed_s) * 1000 for monitor in monitors]


def seen(station: Station, monitors: list["Monitor"]) -> list[float]:
    """Ages of the pictures of one longer visit, without the first."""
    time.sleep(PAUSE_S)
    visit(station, monitors, AGES_S)
    return monitors[0].ages_ms[1:]


def watch(monitors: list["Monitor"], over: Callable[[], bool]) -> None:
    screens = {monitor.phone.rtp: monitor for monitor in monitors}
    while not over():
        ready, _, _ = select.select(list(screens), [], [], 5)
        if not ready:
            raise AssertionError("no picture within 5 s")
        for sound_and_picture in ready:
            screens[sound_and_picture].take(sound_and_picture.recv(2048))


class Monitor:
    """`shown_s`: when the visit's first picture was decoded; `ages_ms`: how long ago each one shown was taken."""

    def __init__(self, phone: Phone) -> None:
        self.phone = phone
        self.begin()

    def begin(self) -> None:
        self.phone.drain()
        self.phone.rtp.setblocking(True)
        self.shown_s = 0.0
        self.ages_ms: list[float] = []
        self._screen = Screen(self._show)
        self._depacketizer = Depacketizer()

    def take(self, data: bytes) -> None:
        if data[1] & 0x7F == PICTURE_TYPE:
            unit = self._depacketizer.receive(parse_rtp(data))
            if unit is not None:
                self._screen.show(unit, 0)

    def _show(self, picture: Picture) -> None:
        now_s = time.monotonic()
        self.shown_s = self.shown_s or now_s
        if picture.timecode_ms is not None:
            self.ages_ms.append(now_s * 1000 % 2**32 - picture.timecode_ms)


# --- what a leg costs ----------------------------------------------------------------------------------------


def each_further_leg() -> list[Row]:
    """CPU of one to six legs that take the picture, beside what encoding it costs in the same seconds."""
    camera = TimedCamera()
    feed = CameraFeed(lambda: camera, lambda fault: None)
    phones = [Peer() for _ in range(LEGS)]
    streams = [
        VideoStream(RtpPort("127.0.0.1"), lambda event: None, "bench", feed.request_keyframe) for _ in phones
    ]
    look_away = feed.watch(lambda unit: None)
    spent: dict[int, list[float]] = {legs: [] for legs in range(LEGS + 1)}
    encoding: list[float] = []
    try:
        for turn in range(ROUNDS):
            order = range(LEGS + 1) if turn % 2 else range(LEGS, -1, -1)
            for legs in order:
                for stream, phone in zip(streams[:legs], phones, strict=False):
                    stream.connect(video(phone.port))
                    feed.add(stream)
                time.sleep(3.5)  # a young leg gets more keyframes than an old one
                ours, encoder = measured(camera)
                spent[legs].append(ours)
                encoding.append(encoder)
                for stream, phone in zip(streams[:legs], phones, strict=False):
                    feed.remove(stream)
                    stream.connect(None)
                    phone.waiting()
    finally:
        look_away()
        feed.close(5)
        for each in (*streams, *phones):
            each.close()
    encode = statistics.median(encoding)
    rows = []
    for legs in range(1, LEGS + 1):
        cost = statistics.median(spent[legs])
        title = f"picture to {legs} leg{'s' * (legs > 1)}, CPU beside encoding"
        rows.append(Row(title, cost, encode, cost / encode, "ms/s"))
    points = [(legs, value) for legs, values in spent.items() for value in values]
    further = statistics.linear_regression(*zip(*points, strict=True)).slope
    title = "each further leg, CPU beside encoding"
    rows.append(ratio_at_most(title, further, encode, further / encode, MARK, "ms/s"))
    return rows


class TimedCamera(SimulatedCamera):
    """`encode_s`: CPU that libx264 has had so far."""

    def __init__(self) -> None:
        super().__init__()
        self.encode_s = 0.0
        encode = self._encoder.encode

        def timed(*picture: object) -> object:
            started_s = time.thread_time()
            units = encode(*picture)  # type: ignore[arg-type]
            self.encode_s += time.thread_time() - started_s
            return units

        self._encoder.encode = timed  # type: ignore[method-assign,assignment]


def measured(camera: TimedCamera) -> tuple[float, float]:
    """Milliseconds of CPU in a second: of this process but for the encoder, and of the encoder."""
    encode_s, all_s, started_s = camera.encode_s, time.process_time(), time.monotonic()
    time.sleep(MEASURE_S)
    took_s = time.monotonic() - started_s
    encode_s = camera.encode_s - encode_s
    return (time.process_time() - all_s - encode_s) / took_s * 1000, encode_s / took_s * 1000
