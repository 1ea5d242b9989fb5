"""The encoder that all cameras without one of their own share: rates, keyframes, slices."""

import itertools
import random
from typing import TYPE_CHECKING

import av
import pytest

from drivers.camera.base import AccessUnit, CameraError
from drivers.camera.placeholder import PlaceholderCamera
from drivers.camera.x264 import X264
from firmware.rtp.h264 import Packetizer, split_annex_b
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

FPS = 15
SECOND_US = 1_000_000


class Noise:
    """Pictures that cost more bits than there are; `encode` gives so many seconds of them."""

    def __init__(self, encoder: X264) -> None:
        self.encoder = encoder
        self.at_us = 0.0
        self._chance = random.Random(7)

    def picture(self) -> "VideoFrame":
        frame = av.VideoFrame(self.encoder.width, self.encoder.height, "yuv420p")
        for plane in frame.planes:
            plane.update(self._chance.randbytes(plane.buffer_size))
        return frame

    def encode(self, seconds: float) -> list[AccessUnit]:
        units = []
        for _ in range(round(seconds * FPS)):
            units += self.encoder.encode(self.picture(), round(self.at_us))
            self.at_us += SECOND_US / FPS
        return units

    def kbps(self, seconds: float) -> float:
        return sum(len(unit.data) for unit in self.encode(seconds)) * 8 / 1000 / seconds


@pytest.fixture
def noise() -> Noise:
    return Noise(X264(320, 240, FPS, 400_000))


def kinds(unit: AccessUnit) -> list[int]:
    sei = 6  # the encoder's name, in its first picture
    return [kind for nal in split_annex_b(unit.data) if (kind := nal[0] & 0x1F) != sei]


def test_the_bit_rate_follows_while_the_encoder_runs_and_comes_back(noise: Noise) -> None:
    full = noise.kbps(4)
    noise.encoder.configure(100_000, FPS)
    noise.kbps(1)
    low = noise.kbps(4)
    noise.encoder.configure(400_000, FPS)
    noise.kbps(1)
    again = noise.kbps(4)
    assert full == pytest.approx(400, rel=0.3)
    assert low == pytest.approx(100, rel=0.35)
    assert again == pytest.approx(400, rel=0.3)


def test_a_lower_frame_rate_leaves_pictures_out_evenly_and_keeps_the_bit_rate(noise: Noise) -> None:
    noise.encode(1)
    noise.encoder.configure(200_000, 5)
    noise.encode(1)
    stamps = [unit.timestamp_us for unit in noise.encode(4)]
    assert len(stamps) == 20
    gaps = [after - before for before, after in itertools.pairwise(stamps)]
    assert max(gaps) - min(gaps) < SECOND_US / FPS
    assert noise.kbps(4) == pytest.approx(200, rel=0.4)


def test_wishes_are_kept_within_what_the_board_grants(noise: Noise) -> None:
    noise.encoder.configure(5_000_000, 100)
    assert noise.kbps(4) < 600
    noise.encoder.configure(0, 0)
    assert 3 <= len(noise.encode(4)) <= 5  # one a second is the least


def test_a_keyframe_that_is_asked_for_is_not_left_out(noise: Noise) -> None:
    noise.encoder.configure(400_000, 1)
    noise.encode(2)
    noise.encoder.request_keyframe()
    unit = noise.encode(1 / FPS)[0]
    assert (unit.keyframe, kinds(unit)) == (True, [7, 8, 5])


def test_keyframes_come_each_four_seconds_unasked_at_any_frame_rate(noise: Noise) -> None:
    noise.encoder.configure(400_000, 5)
    keyframes = [unit.timestamp_us for unit in noise.encode(13) if unit.keyframe]
    assert len(keyframes) == 4
    assert all(
        4 * SECOND_US <= after - before <= 4.5 * SECOND_US for before, after in itertools.pairwise(keyframes)
    )


def test_small_slices_fit_into_packets_without_fragments_and_are_decoded(noise: Noise) -> None:
    assert kinds(noise.encode(1 / FPS)[0]) == [7, 8, 5]
    noise.encoder.limit_slices(1150)
    units = noise.encode(2)
    assert units[0].keyframe
    assert kinds(units[0]).count(5) > 1
    packetizer = Packetizer(mode=0)
    for unit in units:
        assert max(len(payload) for payload, _ in packetizer.packets(unit.data)) <= 1150
    decoder = av.CodecContext.create("h264", "r")
    frames = [frame for unit in units for frame in decoder.decode(av.Packet(unit.data))] + decoder.decode(None)
    assert len(frames) == len(units)
    noise.encoder.limit_slices(0)
    assert kinds(noise.encode(1 / FPS)[0]) == [7, 8, 5]


@pytest.mark.parametrize("form", ["yuvj422p", "yuyv422", "nv12"])
def test_pictures_in_another_form_or_size_are_converted(noise: Noise, form: str) -> None:
    frame = noise.picture().reformat(640, 480, form)
    unit = noise.encoder.encode(frame, 0)[0]
    decoder = av.CodecContext.create("h264", "r")
    shown = (decoder.decode(av.Packet(unit.data)) + decoder.decode(None))[0]
    assert (shown.width, shown.height, shown.format.name) == (320, 240, "yuv420p")


def test_an_encoder_opened_anew_begins_with_an_idr(noise: Noise) -> None:
    noise.encode(1)
    noise.encoder.close()
    assert noise.encode(1 / FPS)[0].keyframe


def test_a_size_beyond_level_4_or_odd_is_refused() -> None:
    with pytest.raises(CameraError, match="level 4"):
        X264(1920, 1080, 60, 400_000)
    with pytest.raises(CameraError, match="odd"):
        X264(321, 240, FPS, 400_000)


def test_the_placeholder_shows_an_idr_each_second_that_is_small_and_not_blank() -> None:
    camera = PlaceholderCamera(640, 480)
    units: list[AccessUnit] = []
    camera.start(units.append)
    try:
        wait_until(lambda: len(units) >= 2, "two pictures")
    finally:
        camera.close()
    assert camera.failure == ""
    assert all(unit.keyframe and len(unit.data) < 12_500 for unit in units)
    assert units[1].timestamp_us - units[0].timestamp_us >= 0.9 * SECOND_US
    decoder = av.CodecContext.create("h264", "r")
    frames = [frame for unit in units for frame in decoder.decode(av.Packet(unit.data))] + decoder.decode(None)
    shades = [bytes(frame.planes[0]) for frame in frames]
    assert (frames[0].width, frames[0].height) == (640, 480)
    assert max(shades[0]) - min(shades[0]) > 100
    assert shades[0] != shades[1]  # the lamp blinks
