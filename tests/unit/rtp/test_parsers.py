"""Nothing that arrives on an RTP port raises anything but RtpError, whatever the bytes."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.rtp.h264 import Depacketizer, Packetizer, split_annex_b
from firmware.rtp.packet import RtpError, RtpPacket, is_rtcp, pack_rtp, parse_rtp
from firmware.rtp.reception import ReportBlock
from firmware.rtp.rtcp import (
    Bye,
    FullIntraRequest,
    PictureLossIndication,
    ReceiverReport,
    Sdes,
    SenderReport,
    pack_rtcp,
    parse_rtcp,
)
from firmware.rtp.telephone_event import Receiver

BLOCK = ReportBlock(7, 12, -3, 65_600, 33, 0x12345678, 65_536)
REAL = [
    pack_rtp(0, False, 1, 2, 3, bytes(160)),
    pack_rtp(101, True, 1, 2, 3, b"\x05\x0a\x00\xa0"),
    pack_rtp(96, True, 1, 2, 3, b"\x78\x00\x04\x67\x42\xe0\x1f\x00\x02\x68\xce"),
    pack_rtp(96, False, 1, 2, 3, b"\x7c\x85" + bytes(50)),
    pack_rtcp(SenderReport(1, 2**63, 3, 4, 5, (BLOCK,)))
    + pack_rtcp(Sdes(((1, ((1, b"door@portero"),)),)))
    + pack_rtcp(Bye((1,), b"over")),
    pack_rtcp(ReceiverReport(1, (BLOCK, BLOCK))) + pack_rtcp(PictureLossIndication(1, 2)),
    pack_rtcp(FullIntraRequest(1, ((2, 3), (4, 5)))),
]


def mutated(seed: int) -> bytes:
    chance = random.Random(seed)
    data = bytearray(chance.choice(REAL))
    for _ in range(chance.randint(1, 6)):
        kind = chance.randrange(4)
        at = chance.randrange(len(data) + 1)
        if kind == 0 and at < len(data):
            data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif kind == 1:
            del data[at : at + chance.randint(1, 8)]
        elif kind == 2:
            data[at:at] = chance.randbytes(chance.randint(1, 8))
        elif at < len(data):
            data[at] ^= 1 << chance.randrange(8)
    return bytes(data)


def feed(data: bytes) -> None:
    try:
        packets = parse_rtcp(data)
    except RtpError:
        pass
    else:
        for packet in packets:
            assert parse_rtcp(pack_rtcp(packet)) == [packet]
    try:
        packet = parse_rtp(data)
    except RtpError:
        return
    assert len(packet.payload) <= len(data) - 12
    assert parse_rtp(pack_rtp(*packet)) == packet
    receiver = Receiver()
    receiver.receive(packet)
    assert receiver.receive(packet) is None
    depacketizer = Depacketizer()
    for sequence in range(3):
        depacketizer.receive(packet._replace(sequence=sequence))


@settings(max_examples=10_000, deadline=None)
@given(st.integers(0, 2**64))
def test_mutated_packets_are_read_or_refused(seed: int) -> None:
    feed(mutated(seed))


@settings(max_examples=2000, deadline=None)
@given(st.binary(max_size=120))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    is_rtcp(data)
    feed(data)
    feed(b"\x80" + data)
    feed(b"\x81\xc8\x00\x06" + data)


@settings(max_examples=2000, deadline=None)
@given(st.binary(max_size=200), st.integers(3, 60))
def test_any_bytes_of_an_encoder_are_cut_into_payloads_within_the_limit(data: bytes, limit: int) -> None:
    stuffed = data.replace(b"\x07", b"\x00\x00\x01")
    nals = split_annex_b(stuffed)
    assert all(nal and b"\x00\x00\x01" not in nal for nal in nals)
    payloads = Packetizer(1, limit).packets(stuffed)
    assert all(len(payload) <= limit for payload, _ in payloads)
    assert [marker for _, marker in payloads] == [False] * (len(payloads) - 1) + [True] * bool(payloads)


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.booleans(), st.binary(max_size=20)), max_size=30)
)
def test_any_sequence_of_h264_payloads_is_put_together_or_dropped(
    steps: list[tuple[int, int, bool, bytes]],
) -> None:
    depacketizer = Depacketizer()
    sequence = timestamp = 0
    for skip, later, marker, payload in steps:
        sequence += skip
        timestamp += later
        unit = depacketizer.receive(RtpPacket(96, marker, sequence & 0xFFFF, timestamp, 1, payload))
        assert unit is None or unit.startswith(b"\x00\x00\x00\x01")
