"""One camera, many legs: same encode, an IDR to begin with, requests coalesced, faults contained."""

import threading
import time
from collections.abc import Iterator

import av
import pytest

from drivers.camera.base import AccessUnit, CameraError
from drivers.camera.simulated import SimulatedCamera
from firmware.media import feed as feed_module
from firmware.media.events import MediaEvent, MediaFault
from firmware.media.feed import CameraFeed
from firmware.media.video import VideoStream
from firmware.net.rtp_port import RtpPort
from firmware.rtp.h264 import Depacketizer
from firmware.rtp.reception import ReportBlock
from firmware.rtp.rtcp import (
    FullIntraRequest,
    GenericNack,
    MaximumBitRate,
    PictureLossIndication,
    ReceiverEstimate,
    ReceiverReport,
    RtcpPacket,
    SenderReport,
    pack_rtcp,
    parse_rtcp,
)
from firmware.sdp.agreement import AgreedMedia
from tests.support.media import ManualCamera, Peer, picture, video
from tests.support.waiting import wait_until


class Bench:
    """A feed with a camera in the test's hand, and legs to bare peers."""

    def __init__(self) -> None:
        self.camera = ManualCamera()
        self.made = 0
        self.standby: ManualCamera | None = None
        self.faults: list[MediaFault] = []
        self.events: list[MediaEvent] = []
        self.feed = CameraFeed(self.make, self.faults.append, self.make_standby)
        self.streams: list[VideoStream] = []
        self.peers: list[Peer] = []

    def make(self) -> ManualCamera:
        self.made += 1
        return self.camera

    def make_standby(self) -> ManualCamera:
        self.standby = ManualCamera()
        return self.standby

    def leg(self, *, mode: int = 1, number: int = 96) -> tuple[VideoStream, Peer]:
        peer = Peer()
        stream = VideoStream(RtpPort("127.0.0.1"), self.events.append, "cname", self.feed.request_keyframe)
        self.streams.append(stream)
        self.peers.append(peer)
        self.connect(stream, peer, mode=mode, number=number)
        return stream, peer

    def connect(self, stream: VideoStream, peer: Peer, *, mode: int = 1, number: int = 96) -> None:
        agreed = video(peer.port, mode=mode, number=number)
        agreed = AgreedMedia(
            "video",
            "sendonly",
            "127.0.0.1",
            peer.port,
            "127.0.0.1",
            peer.rtcp_port,
            agreed.codec,
            packetization_mode=mode,
        )
        assert stream.connect(agreed)
        self.feed.add(stream)
        wait_until(lambda: self.camera.on_access_unit, "the camera to start", poll_s=0.001)

    def rtcp(self, stream: VideoStream, peer: Peer, *packets: RtcpPacket) -> None:
        peer.rtcp.sendto(b"".join(pack_rtcp(packet) for packet in packets), ("127.0.0.1", stream.port.port + 1))
        stream.read_rtcp(time.monotonic(), time.time() - time.monotonic())

    def close(self) -> None:
        for stream in self.streams:
            self.feed.remove(stream)
            stream.close()
        self.feed.close(5.0)
        for peer in self.peers:
            peer.close()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(feed_module, "_RETRY_S", (0.01,))
    monkeypatch.setattr(feed_module, "_POLL_S", 0.005)
    monkeypatch.setattr(feed_module, "_LINGER_S", 0.0)
    made = Bench()
    yield made
    made.close()


def watching() -> bool:
    return any(thread.name == "camera-watch" for thread in threading.enumerate())


def test_the_camera_runs_from_the_first_leg_to_the_last(bench: Bench) -> None:
    assert bench.camera.started == 0
    assert bench.feed.profile_level_id() == "42c01f"
    assert bench.camera.started == 0
    first, _ = bench.leg()
    second, _ = bench.leg()
    bench.feed.remove(first)
    bench.camera.take(keyframe=True)
    assert bench.camera.stopped == 0
    bench.feed.remove(second)
    wait_until(lambda: bench.camera.stopped, "the camera to stop")
    bench.leg()
    assert (bench.camera.started, bench.made) == (2, 1)


def test_six_legs_get_the_same_picture_under_their_own_headers(bench: Bench) -> None:
    legs = [bench.leg(number=96 + count) for count in range(6)]
    bench.camera.take(keyframe=True, size=20_000)
    seen = [peer.waiting() for _, peer in legs]
    assert len({tuple(packet.payload for packet in packets) for packets in seen}) == 1
    assert len(seen[0]) == 19
    assert len({packets[0].ssrc for packets in seen}) == 6
    assert len({packets[0].timestamp for packets in seen}) == 6
    for count, packets in enumerate(seen):
        assert {packet.payload_type for packet in packets} == {96 + count}
        assert [packet.marker for packet in packets] == [False] * 18 + [True]
        depacketizer = Depacketizer()
        units = [unit for packet in packets if (unit := depacketizer.receive(packet)) is not None]
        assert units == [picture(keyframe=True, size=20_000)]


def test_each_mode_is_packetized_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[object] = []

    class Counting(feed_module.Packetizer):
        def packets(self, access_unit: bytes) -> list[tuple[bytes, bool]]:
            counts.append(self)
            return super().packets(access_unit)

    monkeypatch.setattr(feed_module, "Packetizer", Counting)
    legs = [bench.leg(mode=count % 2) for count in range(6)]
    bench.camera.take(keyframe=True)
    counts.clear()
    for _, peer in legs:
        peer.waiting()
    bench.camera.take(keyframe=True, size=5000)
    assert len(counts) == 2
    assert [len(peer.waiting()) for _, peer in legs] == [3, 7] * 3


@pytest.mark.parametrize("mode", [0, 1])
def test_pitfall_06_real_pictures_reach_a_peer_of_either_mode_in_its_packets(bench: Bench, mode: int) -> None:
    bench.feed = CameraFeed(lambda: SimulatedCamera(640, 480, 15, 2000), bench.faults.append)
    stream, peer = VideoStream(RtpPort("127.0.0.1"), bench.events.append, "c", bench.feed.request_keyframe), Peer()
    bench.streams.append(stream)
    bench.peers.append(peer)
    stream.connect(video(peer.port, mode=mode))
    bench.feed.add(stream)
    depacketizer, decoder = Depacketizer(), av.CodecContext.create("h264", "r")
    units, seen = [], set()
    while len(units) < 20:
        packet = peer.receive()
        seen.add(packet.payload[0] & 0x1F)
        assert len(packet.payload) <= 1200
        if (unit := depacketizer.receive(packet)) is not None:
            units.append(unit)
    frames = [frame for unit in units for frame in decoder.decode(av.Packet(unit))] + decoder.decode(None)
    assert len(frames) == len(units)
    assert not any(frame.is_corrupt for frame in frames)
    assert {7, 8} <= seen <= ({1, 5, 7, 8} if mode == 0 else {1, 5, 7, 8, 28})  # neither AUD nor SEI
    assert (28 in seen) == (mode == 1)  # fragments (FU-A)


def test_a_leg_begins_with_an_idr_which_is_asked_for(bench: Bench) -> None:
    bench.leg()
    bench.camera.take(keyframe=True)
    for _ in range(8):  # it is too long ago
        bench.camera.take(keyframe=False)
    _, late = bench.leg()
    bench.camera.take(keyframe=False)
    assert late.waiting() == []
    wait_until(lambda: bench.camera.take(keyframe=False) or bench.camera.keyframes, "the keyframe request")
    assert late.waiting() == []
    bench.camera.take(keyframe=True)
    assert [packet.payload[0] & 0x1F for packet in late.waiting()] == [7, 8, 5]


def test_a_leg_that_joins_soon_after_an_idr_is_shown_at_once_what_the_others_see(bench: Bench) -> None:
    _, first = bench.leg()
    sizes = (900, 500, 700)
    for number, size in enumerate(sizes):
        bench.camera.take(keyframe=not number, size=size, at_s=time.monotonic() - 1 + number / 15)
    others = first.waiting()
    _, late = bench.leg()
    joined = [late.receive() for _ in others]
    assert [packet.payload for packet in joined] == [packet.payload for packet in others]
    gaps = [(packet.timestamp - joined[0].timestamp) % 2**32 for packet in joined]
    assert gaps == [(packet.timestamp - others[0].timestamp) % 2**32 for packet in others]
    bench.camera.take(keyframe=False, size=600)
    after = late.receive()
    assert after.sequence == (joined[-1].sequence + 1) & 0xFFFF
    assert after.payload == first.receive().payload
    assert first.waiting() == []


def test_a_leg_of_mode_0_waits_for_pictures_in_small_slices(bench: Bench) -> None:
    bench.leg()
    bench.camera.take(keyframe=True)
    _, late = bench.leg(mode=0)
    wait_until(lambda: bench.camera.slice_limits[-1] == 1150, "the small slices")
    bench.camera.take(keyframe=False)
    assert late.waiting() == []
    bench.camera.take(keyframe=True)
    assert len(late.waiting()) == 3


def test_a_leg_that_moves_begins_with_an_idr_and_keeps_its_numbers(bench: Bench) -> None:
    stream, first = bench.leg()
    bench.camera.take(keyframe=True)
    before = first.waiting()[-1]
    second = Peer()
    bench.peers.append(second)
    bench.connect(stream, second)
    bench.camera.take(keyframe=False)
    assert second.waiting() == []
    bench.camera.take(keyframe=True)
    after = second.waiting()[0]
    assert (after.ssrc, after.sequence) == (before.ssrc, (before.sequence + 1) & 0xFFFF)
    assert first.waiting() == []


def test_connecting_again_at_the_answer_goes_on_and_asks_for_an_idr(bench: Bench) -> None:
    stream, peer = bench.leg()
    bench.camera.take(keyframe=True)
    peer.waiting()
    requested = bench.feed.status()["keyframes_requested"]
    bench.connect(stream, peer)
    assert bench.feed.status()["keyframes_requested"] == requested + 1  # type: ignore[operator]
    bench.camera.take(keyframe=False)
    assert len(peer.waiting()) == 1


def test_pitfall_08_a_young_leg_gets_further_idrs(bench: Bench) -> None:
    stream, _ = bench.leg()
    asked = []
    now = time.monotonic()
    assert stream.wants(True, now)
    for count in range(60):
        before = bench.feed.status()["keyframes_requested"]
        assert stream.wants(False, now + count / 15)
        if bench.feed.status()["keyframes_requested"] != before:
            asked.append(count / 15)
    assert asked == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("packet", [PictureLossIndication(1, 2), FullIntraRequest(1, ((2, 7),))])
def test_pitfall_08_pli_and_fir_reach_the_camera(
    bench: Bench, packet: PictureLossIndication | FullIntraRequest
) -> None:
    stream, peer = bench.leg()
    bench.camera.take(keyframe=True)
    before = bench.camera.keyframes
    bench.rtcp(stream, peer, packet)
    wait_until(lambda: bench.camera.take(keyframe=False) or bench.camera.keyframes > before, "the keyframe request")


def test_packets_that_a_peer_misses_are_sent_again_as_they_were(bench: Bench) -> None:
    stream, peer = bench.leg()
    bench.camera.take(keyframe=True, size=5000)
    sent = peer.waiting()
    missed = sent[2], sent[3]
    bench.rtcp(stream, peer, GenericNack(1, stream.ssrc, (*(packet.sequence for packet in missed), 4711)))
    assert tuple(peer.waiting()) == missed
    for _ in range(5):
        bench.rtcp(stream, peer, GenericNack(1, stream.ssrc, (missed[0].sequence,)))
    assert peer.waiting() == [missed[0]]  # once more, not five times
    assert stream.statistics()["video_resent"] == 3


def test_a_leg_that_loses_packets_takes_the_picture_down_and_it_comes_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, peer = bench.leg()
    bench.camera.take(keyframe=True)
    for _ in range(3):
        bench.rtcp(stream, peer, ReceiverReport(1, (ReportBlock(stream.ssrc, 128, 9, 9, 0, 0, 0),)))
    bench.camera.take(keyframe=False)
    full = bench.camera.bitrate_bps
    bit_rate, frame_rate = bench.camera.configured[-1]
    assert bit_rate < full / 2
    assert frame_rate < bench.camera.fps
    bench.rtcp(stream, peer, ReceiverReport(1, (ReportBlock(stream.ssrc, 0, 9, 18, 0, 0, 0),)))
    later = time.monotonic() + 60
    monkeypatch.setattr(feed_module.time, "monotonic", lambda: later)
    bench.camera.take(keyframe=False)
    assert bench.camera.configured[-1] == (full, float(bench.camera.fps))


def test_a_bound_from_the_peer_is_obeyed_and_confirmed(bench: Bench) -> None:
    stream, peer = bench.leg()
    bench.camera.take(keyframe=True)
    wanted = bench.camera.bitrate_bps // 2
    bench.rtcp(stream, peer, MaximumBitRate(9, ((stream.ssrc, wanted, 40), (12345, 1, 0))))
    bench.camera.take(keyframe=False)
    assert bench.camera.configured[-1][0] == pytest.approx(wanted, rel=0.001)
    notices = [packet for packet in parse_rtcp(peer.rtcp.recv(2048)) if isinstance(packet, MaximumBitRate)]
    assert [(notice.granted, [entry[0] for entry in notice.entries]) for notice in notices] == [(True, [9])]
    stream._measured = stream._sent_octets, stream._measured[1], float(wanted)
    bench.rtcp(stream, peer, ReceiverEstimate(9, wanted // 2, (stream.ssrc,)))
    bench.camera.take(keyframe=False)
    assert bench.camera.configured[-1][0] == pytest.approx(wanted // 2, rel=0.001)
    statistics = stream.statistics()
    assert statistics["video_rate_bps"] == statistics["video_bound_bps"] == bench.camera.configured[-1][0]


def test_whoever_talks_with_the_visitor_decides_how_good_the_picture_is(bench: Bench) -> None:
    (talking, _), (looking, poor) = bench.leg(), bench.leg()
    bench.feed.talks(talking, on=True)
    bench.camera.take(keyframe=True)
    for _ in range(5):
        bench.rtcp(looking, poor, ReceiverReport(1, (ReportBlock(looking.ssrc, 200, 9, 9, 0, 0, 0),)))
    bench.camera.take(keyframe=False)
    assert bench.feed.status()["bit_rate"] == bench.camera.bitrate_bps
    bench.feed.talks(talking, on=False)
    bench.camera.take(keyframe=False)
    assert bench.feed.status()["bit_rate"] == bench.camera.bitrate_bps // 2  # no lower for one of several


def test_requests_of_six_legs_are_served_together(bench: Bench) -> None:
    legs = [bench.leg() for _ in range(6)]
    bench.camera.take(keyframe=True)
    served = bench.feed.status()["keyframes_served"]
    for stream, peer in legs:
        bench.rtcp(stream, peer, PictureLossIndication(1, stream.ssrc))
        bench.rtcp(stream, peer, FullIntraRequest(1, ((stream.ssrc, 1),)))
    assert bench.feed.status()["keyframes_served"] - served <= 2  # type: ignore[operator]


def test_a_keyframe_request_from_a_stranger_is_ignored(bench: Bench) -> None:
    stream, _ = bench.leg()
    requested = bench.feed.status()["keyframes_requested"]
    stranger = Peer("127.0.0.9")
    bench.peers.append(stranger)
    bench.rtcp(stream, stranger, PictureLossIndication(1, 2))
    assert bench.feed.status()["keyframes_requested"] == requested


def test_a_held_leg_gets_no_pictures(bench: Bench) -> None:
    stream, peer = bench.leg()
    bench.camera.take(keyframe=True)
    peer.waiting()
    assert not stream.connect(video(peer.port, direction="inactive"))
    bench.camera.take(keyframe=True)
    assert peer.waiting() == []


def test_sound_and_picture_share_a_clock(bench: Bench) -> None:
    stream, peer = bench.leg()
    taken_s = time.monotonic() - 0.05
    bench.camera.take(keyframe=True, at_s=taken_s)
    timestamp = peer.waiting()[-1].timestamp
    now = time.monotonic()
    stream.tick_report(now)
    report = parse_rtcp(peer.rtcp.recv(2048))[0]
    assert isinstance(report, SenderReport)
    assert (report.rtp_timestamp - timestamp) % 2**32 == pytest.approx((now - taken_s) * 90_000, abs=2)


def test_big_pictures_are_paced(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[tuple[float, int]] = []
    _, peer = bench.leg()
    _, other = bench.leg()
    monkeypatch.setattr(
        feed_module.time, "sleep", lambda s: pauses.append((s, len(peer.waiting()) + len(other.waiting())))
    )
    bench.camera.take(keyframe=True, size=30_000)
    assert [count for _, count in pauses] == [8] * 6
    assert {pause for pause, _ in pauses} == {0.001}


def test_sprop_parameter_sets_are_known_after_the_first_picture(bench: Bench) -> None:
    assert bench.feed.sprop_parameter_sets == ""
    bench.leg()
    bench.camera.take(keyframe=True)
    assert bench.feed.sprop_parameter_sets == "Z0LAH9oCgPaEAAADAAQAAAMA8DxgyoA=,aM48gA=="


def test_a_camera_that_fails_is_told_and_tried_again(bench: Bench) -> None:
    bench.camera.start_error = CameraError("/dev/video0 is busy")
    stream = VideoStream(RtpPort("127.0.0.1"), bench.events.append, "cname", bench.feed.request_keyframe)
    bench.streams.append(stream)
    stream.connect(video(4000))
    bench.feed.add(stream)
    wait_until(lambda: bench.faults, "the fault")
    assert bench.feed.status()["fault"] == "/dev/video0 is busy"
    bench.camera.start_error = None
    wait_until(lambda: bench.camera.on_access_unit, "the camera to start")
    bench.camera.take(keyframe=True)
    assert bench.faults == [MediaFault("camera", "/dev/video0 is busy"), MediaFault("camera", "")]


def test_a_camera_that_fails_while_it_runs_is_started_anew(bench: Bench) -> None:
    bench.leg()
    bench.camera.failure = "the encoder broke"
    wait_until(lambda: bench.faults, "the fault")
    bench.camera.failure = ""
    wait_until(lambda: bench.camera.started >= 2 and bench.camera.on_access_unit, "the camera to start again")
    assert bench.camera.closed >= 1


def test_legs_see_the_stand_in_until_the_camera_works_again(bench: Bench) -> None:
    _, peer = bench.leg()
    bench.camera.take(keyframe=True)
    bench.camera.start_error = CameraError("unplugged")
    bench.camera.failure = "no such device"
    standby = wait_until(lambda: bench.standby and bench.standby.on_access_unit and bench.standby, "the stand-in")
    peer.waiting()
    standby.take(keyframe=True)
    assert [packet.payload[0] & 0x1F for packet in peer.waiting()] == [7, 8, 5]
    bench.camera.failure, bench.camera.start_error = "", None
    wait_until(lambda: bench.camera.on_access_unit, "the camera to start again")
    standby.take(keyframe=True)
    assert len(peer.waiting()) == 3  # shown until the camera's own first picture
    bench.camera.take(keyframe=True)
    assert len(peer.waiting()) == 3
    wait_until(lambda: standby.stopped, "the end of the stand-in")
    assert bench.faults[-1] == MediaFault("camera", "")


def test_a_camera_that_cannot_even_be_made_leaves_the_legs_the_stand_in(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> ManualCamera:
        raise CameraError("no such driver")

    monkeypatch.setattr(bench, "make", refuse)
    bench.feed = CameraFeed(bench.make, bench.faults.append, bench.make_standby)
    assert bench.feed.profile_level_id() == "42c01f"
    assert bench.faults == [MediaFault("camera", "no such driver")]
    with pytest.raises(CameraError):
        CameraFeed(bench.make, bench.faults.append).profile_level_id()


def test_a_stand_in_that_fails_too_is_no_further_fault(bench: Bench) -> None:
    def refuse() -> ManualCamera:
        raise ImportError("no av here")

    bench.feed = CameraFeed(bench.make, bench.faults.append, refuse)
    bench.camera.start_error = CameraError("unplugged")
    bench.feed.expect()
    wait_until(lambda: bench.made >= 2, "the second try")
    bench.camera.start_error = None
    wait_until(lambda: bench.camera.on_access_unit, "the camera to start")
    assert bench.faults == [MediaFault("camera", "unplugged")]


def test_a_ringing_leg_starts_the_camera_before_pictures_are_asked_for(bench: Bench) -> None:
    bench.feed.expect()
    wait_until(lambda: bench.camera.on_access_unit, "the camera to start")
    bench.camera.take(keyframe=True)
    _, peer = bench.leg()
    bench.camera.take(keyframe=True)
    assert len(peer.waiting()) == 3
    assert bench.camera.started == 1


def test_a_warm_camera_is_prepared_before_any_leg_and_costs_no_thread(bench: Bench) -> None:
    bench.feed.warm()
    wait_until(lambda: bench.feed.status()["prepared"], "the camera to be prepared")
    wait_until(
        lambda: not [one for one in threading.enumerate() if one.name == "camera-watch"], "its thread to end"
    )
    assert (bench.camera.prepared, bench.camera.started) == (1, 0)


def test_a_warm_camera_that_fails_is_a_fault_before_anybody_rings_and_tried_again(bench: Bench) -> None:
    bench.camera.prepare_error = CameraError("/dev/v4l/by-id/door is missing")
    bench.feed.warm()
    wait_until(lambda: bench.faults, "the fault")
    assert bench.standby is None
    bench.camera.prepare_error = None
    wait_until(lambda: bench.feed.status()["prepared"], "the camera to be prepared")
    assert bench.faults == [MediaFault("camera", "/dev/v4l/by-id/door is missing"), MediaFault("camera", "")]


def test_a_camera_stays_prepared_from_call_to_call_and_is_closed_with_the_feed(bench: Bench) -> None:
    for _ in range(2):
        stream, _ = bench.leg()
        bench.feed.remove(stream)
        wait_until(lambda: not bench.feed.status()["running"], "the camera to stop")
    assert (bench.made, bench.camera.closed) == (1, 0)
    bench.feed.close(5.0)
    assert bench.camera.closed == 1
    bench.feed.expect()
    assert bench.camera.started == 2


def test_the_bit_rate_that_was_asked_for_holds_until_the_last_leg_has_left(bench: Bench) -> None:
    stream, _ = bench.leg()
    bench.feed.configure(200_000, 7.5)
    assert bench.camera.configured[-1] == (200_000, 7.5)
    bench.camera.failure = "the encoder broke"
    wait_until(lambda: bench.faults, "the fault")
    bench.camera.failure = ""
    wait_until(lambda: bench.camera.on_access_unit, "the camera to start again")
    assert bench.camera.configured[-1] == (200_000, 7.5)
    bench.feed.remove(stream)
    wait_until(lambda: not bench.feed.status()["running"], "the camera to stop")
    wait_until(
        lambda: not [one for one in threading.enumerate() if one.name == "camera-watch"], "its thread to end"
    )
    bench.leg()
    assert bench.camera.configured[-1] == (600_000, 15.0)


def test_pitfall_06_a_leg_without_fragments_makes_the_slices_small_while_it_is_there(bench: Bench) -> None:
    bench.leg(mode=1)
    assert set(bench.camera.slice_limits) == {0}
    small, _ = bench.leg(mode=0)
    assert bench.camera.slice_limits[-1] == 1150
    for stream in bench.streams:
        bench.feed.remove(stream)
    wait_until(lambda: not bench.feed.status()["running"], "the camera to stop")
    bench.leg(mode=1)
    assert bench.camera.slice_limits[-1] == 0
    assert small.mode == 0


def test_a_viewer_gets_the_cameras_pictures_without_any_leg(bench: Bench) -> None:
    seen: list[AccessUnit] = []
    stop = bench.feed.watch(seen.append)
    wait_until(lambda: bench.camera.on_access_unit, "the camera to start")
    bench.camera.take(keyframe=True)
    assert [unit.keyframe for unit in seen] == [True]
    stop()
    wait_until(lambda: not bench.feed.status()["running"], "the camera to stop")


def test_a_peer_that_reports_is_measured(bench: Bench) -> None:
    stream, peer = bench.leg()
    peer.rtcp.sendto(pack_rtcp(ReceiverReport(9)), ("127.0.0.1", stream.port.port + 1))
    stream.read_rtcp(time.monotonic(), time.time() - time.monotonic())
    assert stream.statistics()["video_refused"] == 0


def test_pictures_are_received_and_a_loss_asks_for_an_idr() -> None:
    got: list[bytes] = []
    peer = Peer()
    stream = VideoStream(
        RtpPort("127.0.0.1"), lambda _: None, "cname", lambda: None, lambda unit, _: got.append(unit)
    )
    try:
        agreed = video(peer.port, direction="recvonly")
        stream.connect(
            AgreedMedia("video", "recvonly", "127.0.0.1", peer.port, "127.0.0.1", peer.rtcp_port, agreed.codec)
        )
        whole = picture(keyframe=True)

        def send(unit: bytes) -> None:
            for payload, marker in feed_module.Packetizer(1).packets(unit):
                peer.send(stream.port.port, payload, payload_type=96, marker=marker)
                peer.timestamp -= 160
                stream.read_media(time.monotonic(), time.time() - time.monotonic())
            peer.timestamp += 6000

        send(whole)
        send(whole)
        peer.sequence += 1
        send(picture(keyframe=False))
        send(picture(keyframe=False))
        assert got == [whole, whole]
        kinds = [type(packet) for packet in parse_rtcp(peer.rtcp.recv(2048))]
        assert kinds[-1] is PictureLossIndication
        send(whole)
        assert got == [whole] * 3
    finally:
        stream.close()
        peer.close()
