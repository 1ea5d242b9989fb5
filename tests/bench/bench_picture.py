"""The visitor's picture: how soon a ringing monitor shows it, how old it is there, what a further monitor costs.

The monitor is a bare phone that answers 183 and decodes what comes (PyAV), the camera the simulated one, 640x480
at 15 pictures a second and 600 kb/s. A picture's age is read off the timecode in it: encoding, pacing, the wire and
decoding, but no lens and no screen. The presses are so far apart that the camera has stopped in between. What a leg
costs is measured within one process, camera and streams as the station runs them, in turns.
"""

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
from tests.bench.phone import Message, Phone
from tests.bench.programs import Station, resident_mb, scratch_folder
from tests.bench.report import Row, ratio_at_most
from tests.support.media import Peer, video

STARTS, PRESSES = 3, 20
PAUSE_S = 9.0  # the camera waits for eight after the last press
AGES_S = 10.0
LEGS, ROUNDS, MEASURE_S = 6, 4, 3.0
MARK = 0.1  # of the encoder, for each further leg
PICTURE_TYPE = 96


def run() -> list[Row]:
    return [*sooner_or_later(), *each_further_leg()]


# --- how soon ------------------------------------------------------------------------------------------------


def sooner_or_later() -> list[Row]:
    firsts: dict[bool, list[float]] = {False: [], True: []}
    idle: dict[bool, float] = {}
    rows = []
    for warm in (False, True):
        for start in range(STARTS):
            with ExitStack() as stack:
                phone = Phone()
                stack.callback(phone.close)
                station = Station(stack.enter_context(scratch_folder()), phone.uri, camera_warm=warm)
                stack.callback(station.stop)
                station.start()
                time.sleep(WARM_AFTER_S + 2.0)
                idle[warm] = resident_mb(station.pid)
                firsts[warm].append(Monitor(phone).visit(station))
                if start or not warm:
                    continue
                later, ages = [], []
                for _ in range(PRESSES):
                    time.sleep(PAUSE_S)
                    later.append(Monitor(phone).visit(station))
                monitor = Monitor(phone)
                monitor.visit(station, watch_s=AGES_S)
                ages = monitor.ages_ms[1:]
                for name, values in (("press to the first picture", later), ("age of a picture shown", ages)):
                    for share in (0.5, 0.99):
                        title = f"{name}, p{share * 100:g} of {len(values)}"
                        rows.append(Row(title, percentile(values, share), unit="ms"))
    for warm, word in ((False, "opened by the press"), (True, "kept warm")):
        title = f"press to the first picture, first after the start, camera {word}"
        rows.append(Row(title, statistics.median(firsts[warm]), unit="ms"))
        rows.append(Row(f"memory idle, camera {'kept warm' if warm else 'not opened yet'}", idle[warm], unit="MB"))
    return rows


class Monitor:
    """One visit as a monitor sees it. `ages_ms`: how long ago each picture was taken when it was shown."""

    def __init__(self, phone: Phone) -> None:
        self.phone = phone
        self.ages_ms: list[float] = []
        self._shown_s = 0.0
        self._screen = Screen(self._show)
        self._depacketizer = Depacketizer()

    def visit(self, station: Station, watch_s: float = 0.0) -> float:
        """Milliseconds from the press to the first decoded picture; watched on for `watch_s`."""
        self.phone.drain()
        pressed_s = station.press()
        invite = self.phone.wait("INVITE", 5)
        self.phone.respond(invite, 183, "Session Progress", self.phone.sdp(video=True))
        self._watch(lambda: bool(self._shown_s))
        first_ms = (self._shown_s - pressed_s) * 1000
        until_s = time.monotonic() + watch_s
        self._watch(lambda: time.monotonic() >= until_s)
        self._end(invite)
        return first_ms

    def _watch(self, over: Callable[[], bool]) -> None:
        self.phone.rtp.settimeout(5)
        while not over():
            data = self.phone.rtp.recv(2048)
            if data[1] & 0x7F == PICTURE_TYPE:
                unit = self._depacketizer.receive(parse_rtp(data))
                if unit is not None:
                    self._screen.show(unit, 0)

    def _show(self, picture: Picture) -> None:
        now_s = time.monotonic()
        self._shown_s = self._shown_s or now_s
        if picture.timecode_ms is not None:
            self.ages_ms.append(now_s * 1000 % 2**32 - picture.timecode_ms)

    def _end(self, invite: Message) -> None:
        self.phone.hang_up(self.phone.answer(invite, self.phone.sdp(video=True)))
        self.phone.forget()


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
