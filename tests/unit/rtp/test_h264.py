"""H.264 payloads: cut and put together again, as RFC 6184 says and as monitors need it."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.rtp.h264 import Depacketizer, Packetizer, profile_level_id_from_sps, split_annex_b
from firmware.rtp.packet import RtpPacket, pack_rtp, parse_rtp

SPS = b"\x67\x42\xe0\x1f\x8c\x8d\x40"
PPS = b"\x68\xce\x3c\x80"
PPS_TWO = b"\x68\x5e\x3c\x80"  # pic_parameter_set_id 1
IDR = b"\x65\x88"
P = b"\x41\x9a"
START = b"\x00\x00\x00\x01"


def annex_b(*nals: bytes) -> bytes:
    return b"".join(START + nal for nal in nals)


def body(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size).replace(b"\x00", b"\x55")


class Wire:
    """Access units out of a packetizer into a depacketizer, with the packets in between to be tampered with."""

    def __init__(self, mode: int = 1, max_payload: int = 1200) -> None:
        self.packetizer = Packetizer(mode, max_payload)
        self.depacketizer = Depacketizer()
        self.sequence = 65_530
        self.timestamp = 2**32 - 9000

    def packets(self, *nals: bytes) -> list[RtpPacket]:
        self.timestamp = (self.timestamp + 3600) & 0xFFFFFFFF
        made = []
        for payload, marker in self.packetizer.packets(annex_b(*nals)):
            made.append(RtpPacket(96, marker, self.sequence, self.timestamp, 1, payload))
            self.sequence = (self.sequence + 1) & 0xFFFF
        return made

    def deliver(self, packets: list[RtpPacket]) -> list[bytes]:
        return [unit for packet in packets if (unit := self.depacketizer.receive(packet)) is not None]


def kinds(payloads: list[tuple[bytes, bool]]) -> list[int]:
    return [payload[0] & 0x1F for payload, _ in payloads]


def test_start_codes_of_three_and_four_bytes_are_found() -> None:
    assert split_annex_b(b"\x00\x00\x00\x01" + SPS + b"\x00\x00\x01" + PPS + b"\x00\x00\x00\x00\x01" + IDR) == [
        SPS,
        PPS,
        IDR,
    ]


def test_what_precedes_the_first_start_code_and_trailing_zeros_are_no_nal_unit() -> None:
    assert split_annex_b(b"\x00junk" + START + P + b"\x00\x00\x00") == [P]
    assert split_annex_b(b"") == []
    assert split_annex_b(START + START) == []


def test_pitfall_07_parameter_sets_go_before_every_idr_with_the_marker_on_the_last_packet_only() -> None:
    packetizer = Packetizer()
    assert packetizer.packets(annex_b(SPS, PPS, IDR)) == [(SPS, False), (PPS, False), (IDR, True)]
    assert packetizer.packets(annex_b(P)) == [(P, True)]
    assert packetizer.packets(annex_b(IDR)) == [(SPS, False), (PPS, False), (IDR, True)]


def test_parameter_sets_that_come_alone_are_sent_and_kept() -> None:
    packetizer = Packetizer()
    assert packetizer.packets(annex_b(SPS, PPS)) == [(SPS, False), (PPS, True)]
    assert packetizer.parameter_sets == (SPS, PPS)
    assert packetizer.packets(annex_b(IDR)) == [(SPS, False), (PPS, False), (IDR, True)]


def test_every_picture_parameter_set_is_kept_by_its_number() -> None:
    packetizer = Packetizer()
    packetizer.packets(annex_b(SPS, PPS, PPS_TWO, IDR))
    assert packetizer.parameter_sets == (SPS, PPS, PPS_TWO)
    newer = PPS[:-1] + b"\xc0"
    assert packetizer.packets(annex_b(newer, IDR)) == [
        (SPS, False),
        (newer, False),
        (PPS_TWO, False),
        (IDR, True),
    ]


def test_a_new_sequence_parameter_set_outdates_the_picture_parameter_sets() -> None:
    packetizer = Packetizer()
    packetizer.packets(annex_b(SPS, PPS, PPS_TWO, IDR))
    other = SPS[:-1] + b"\x41"
    packetizer.packets(annex_b(other, PPS, IDR))
    assert packetizer.parameter_sets == (other, PPS)


def test_slices_of_one_picture_get_parameter_sets_once_and_one_marker() -> None:
    packetizer = Packetizer()
    packetizer.packets(annex_b(SPS, PPS, IDR))
    payloads = packetizer.packets(annex_b(IDR, IDR + b"2", IDR + b"3"))
    assert kinds(payloads) == [7, 8, 5, 5, 5]
    assert [marker for _, marker in payloads] == [False] * 4 + [True]


def test_delimiters_sei_and_filler_are_not_sent() -> None:
    delimiter, sei, filler = b"\x09\xf0", b"\x06\x05\x10", b"\x0c\xff\xff"
    packetizer = Packetizer()
    assert kinds(packetizer.packets(annex_b(delimiter, SPS, PPS, sei, IDR, filler))) == [7, 8, 5]
    assert packetizer.packets(annex_b(delimiter, sei)) == []


def test_large_nal_units_are_cut_into_even_fragments_within_the_limit() -> None:
    nal = IDR + body(40_000)
    payloads = [payload for payload, _ in Packetizer().packets(annex_b(nal))]
    sizes = [len(payload) for payload in payloads]
    assert max(sizes) <= 1200
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == -(-(len(nal) - 1) // 1198)
    assert {payload[0] for payload in payloads} == {0x7C}
    assert [payload[1] for payload in payloads] == [0x85] + [0x05] * (len(sizes) - 2) + [0x45]


@pytest.mark.parametrize("size", [1199, 1200, 1201, 1202, 2397, 2398, 2399, 2400])
def test_sizes_round_the_limit_survive(size: int) -> None:
    wire = Wire()
    nal = IDR + body(size - 2)
    assert wire.deliver(wire.packets(SPS, PPS, nal)) == [annex_b(SPS, PPS, nal)]


def test_mode_0_sends_single_nal_units_only_and_leaves_out_what_udp_cannot_carry() -> None:
    packetizer = Packetizer(mode=0)
    large, too_large = IDR + body(5000), IDR + body(66_000)
    assert packetizer.packets(annex_b(SPS, PPS, large)) == [(SPS, False), (PPS, False), (large, True)]
    assert kinds(packetizer.packets(annex_b(too_large, IDR))) == [7, 8, 5]
    assert packetizer.left_out == 1


def test_what_a_receiver_would_take_for_packets_of_another_form_is_left_out() -> None:
    stap, fu, unspecified, forbidden = b"\x78\x00\x01\x41", b"\x7c\x85\x41", b"\x60\x41", b"\xe5\x88"
    packetizer = Packetizer()
    assert kinds(packetizer.packets(annex_b(SPS, PPS, stap, fu, unspecified, forbidden, IDR))) == [7, 8, 5]
    assert packetizer.left_out == 4
    assert packetizer.packets(annex_b(SPS, PPS, IDR + body(2_000_000))) == []
    assert packetizer.left_out == 5


def test_only_real_parameter_sets_are_kept() -> None:
    packetizer = Packetizer()
    packetizer.packets(annex_b(SPS, PPS, b"\x67\x42", SPS + body(300), b"\x68\x00\x01\x55\x55", IDR))
    assert packetizer.parameter_sets == (SPS, PPS)


any_nal = st.builds(
    lambda header, rest: bytes((header,)) + rest.replace(b"\x00", b"\x5a"),
    st.one_of(st.integers(0, 255), st.sampled_from((0x41, 0x65, 0x67, 0x68, 0x06, 0x7C))),
    st.one_of(st.binary(max_size=40), st.integers(0, 6000).map(body)),
)


@settings(max_examples=300, deadline=None)
@given(units=st.lists(st.lists(any_nal, max_size=8), max_size=6), mode=st.sampled_from((0, 1)))
def test_whatever_a_camera_writes_goes_out_in_legal_packets_and_comes_back(
    units: list[list[bytes]], mode: int
) -> None:
    packetizer = Packetizer(mode)
    for nals in units:
        payloads = packetizer.packets(annex_b(*nals))
        assert [marker for _, marker in payloads] == [False] * (len(payloads) - 1) + [True] * bool(payloads)
        assert all(mode == 0 or len(payload) <= 1200 for payload, _ in payloads)
        assert not any(payload[0] & 0x80 for payload, _ in payloads)
        assert all(1 <= kind <= 23 or (kind == 28 and mode == 1) for kind in kinds(payloads))
        depacketizer = Depacketizer()
        depacketizer.waiting_for_keyframe = False
        unit = None
        for number, (payload, marker) in enumerate(payloads):
            unit = depacketizer.receive(RtpPacket(96, marker, number, 1, 1, payload)) or unit
        sent = split_annex_b(unit) if unit else []
        shown = {1, 2, 3, 4, 5, *range(13, 24)}  # but for parameter sets, which are added to
        legal = [nal for nal in nals if nal[0] < 0x80 and nal[0] & 0x1F in shown]
        assert [nal for nal in sent if nal[0] & 0x1F in shown] == legal
        assert {nal for nal in nals if nal[0] & 0x9F == 7} <= set(sent)
    assert len(packetizer.parameter_sets) <= 257
    assert sum(map(len, packetizer.parameter_sets)) < 2_000_000


@settings(max_examples=300, deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=3000), st.lists(st.sampled_from((b"\0", b"\1", b"\x67", b"\xff"))).map(b"".join)
    )
)
def test_bytes_that_are_no_h264_at_all_raise_nothing(data: bytes) -> None:
    for mode in (0, 1):
        for payload, _ in Packetizer(mode).packets(data):
            assert len(payload) > 0


def test_profile_level_id_is_read_from_the_sps() -> None:
    assert profile_level_id_from_sps(SPS) == "42e01f"
    for wrong in (PPS, b"", SPS[:3]):
        with pytest.raises(ValueError, match="sequence parameter set"):
            profile_level_id_from_sps(wrong)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 4000), min_size=1, max_size=4), min_size=1, max_size=6),
    st.sampled_from([50, 200, 1200]),
    st.sampled_from([0, 1]),
)
def test_what_goes_in_comes_out(units: list[list[int]], limit: int, mode: int) -> None:
    wire = Wire(mode, limit)
    assert wire.deliver(wire.packets(SPS, PPS, IDR)) == [annex_b(SPS, PPS, IDR)]
    for index, sizes in enumerate(units):
        nals = [P + body(size, index) for size in sizes]
        assert wire.deliver(wire.packets(*nals)) == [annex_b(*nals)]
    assert wire.depacketizer.damaged == 0


def test_aggregates_are_taken_apart() -> None:
    aggregate = b"\x78" + b"".join(len(nal).to_bytes(2, "big") + nal for nal in (SPS, PPS, IDR))
    assert Depacketizer().receive(RtpPacket(96, True, 1, 2, 3, aggregate)) == annex_b(SPS, PPS, IDR)


def test_recorded_payloads_of_another_packetizer_are_put_together(samples: Path) -> None:
    depacketizer = Depacketizer()
    aggregate, start, end, following = ((samples / f"h264_000{n}.bin").read_bytes() for n in range(4))
    units = [
        depacketizer.receive(RtpPacket(96, marker, sequence, timestamp, 1, payload))
        for sequence, (payload, timestamp, marker) in enumerate(
            ((aggregate, 0, False), (start, 0, False), (end, 0, True), (following, 3600, True))
        )
    ]
    assert units[:2] == [None, None]
    assert units[2] is not None
    sps, pps, idr = split_annex_b(units[2])
    assert (sps, pps) == (aggregate[3:17], aggregate[19:23])
    assert idr == b"\x65" + start[2:] + end[2:]
    assert units[3] == START + following
    assert profile_level_id_from_sps(sps) == "42c01f"


def keyframe_then_pictures(wire: Wire, count: int) -> list[list[RtpPacket]]:
    return [wire.packets(SPS, PPS, IDR + body(3000)), *(wire.packets(P + body(3000, n)) for n in range(count))]


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_after_a_lost_packet_nothing_is_shown_until_the_next_keyframe(missing: int) -> None:
    wire = Wire()
    keyframe, broken, after = keyframe_then_pictures(wire, 2)
    assert len(wire.deliver(keyframe)) == 1
    del broken[missing]
    assert wire.deliver(broken) == []
    assert wire.deliver(after) == []
    assert wire.depacketizer.waiting_for_keyframe
    assert len(wire.deliver(wire.packets(IDR))) == 1
    assert not wire.depacketizer.waiting_for_keyframe
    assert len(wire.deliver(wire.packets(P))) == 1


def test_a_whole_picture_lost_before_a_keyframe_does_not_cost_the_keyframe() -> None:
    wire = Wire()
    keyframe, _lost = keyframe_then_pictures(wire, 1)
    wire.deliver(keyframe)
    assert len(wire.deliver(wire.packets(IDR + body(3000)))) == 1


def test_a_viewer_who_joins_late_waits_for_a_keyframe() -> None:
    wire = Wire()
    pictures = keyframe_then_pictures(wire, 3)
    assert [wire.deliver(unit) for unit in pictures[2:]] == [[], []]
    assert len(wire.deliver(wire.packets(IDR))) == 1


def test_a_duplicate_packet_changes_nothing() -> None:
    wire = Wire()
    packets = wire.packets(SPS, PPS, IDR + body(3000))
    doubled = [packet for packet in packets for _ in range(2)]
    assert len(wire.deliver(doubled)) == 1
    assert len(wire.deliver(wire.packets(P))) == 1


def test_a_sender_without_marker_bits_is_understood_by_its_timestamps() -> None:
    wire = Wire()
    units = [[p._replace(marker=False) for p in unit] for unit in keyframe_then_pictures(wire, 3)]
    delivered = wire.deliver([packet for unit in units for packet in unit])
    assert len(delivered) == 3


def test_an_endless_access_unit_does_not_fill_the_memory() -> None:
    depacketizer = Depacketizer()
    for n in range(5000):
        depacketizer.receive(RtpPacket(96, False, n & 0xFFFF, 1, 1, P + bytes(1198)))
    assert sum(map(len, depacketizer._nals)) < 2_100_000


def test_payloads_survive_the_rtp_header() -> None:
    wire = Wire()
    packets = [parse_rtp(pack_rtp(*packet)) for packet in wire.packets(SPS, PPS, IDR + body(5000))]
    assert len(wire.deliver(packets)) == 1
