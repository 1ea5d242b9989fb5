"""RTCP: read and written as RFC 3550 section 6 says, and the round trip that two reports make."""

from pathlib import Path

import pytest

from firmware.rtp.packet import RtpError
from firmware.rtp.reception import Reception, ReportBlock
from firmware.rtp.rtcp import (
    Bye,
    FullIntraRequest,
    GenericNack,
    MaximumBitRate,
    PictureLossIndication,
    ReceiverEstimate,
    ReceiverReport,
    ReportScheduler,
    RtcpPacket,
    Sdes,
    SenderReport,
    Sent,
    pack_rtcp,
    parse_rtcp,
)

BLOCK = ReportBlock(7, 12, -3, 65_600, 33, 0x12345678, 65_536)
EVERY_KIND: list[RtcpPacket] = [
    SenderReport(1, 2**63 + 5, 3, 4, 5, (BLOCK, BLOCK)),
    SenderReport(1, 2, 3, 4, 5),
    ReceiverReport(1, (BLOCK,)),
    ReceiverReport(1),
    Sdes(((1, ((1, b"door@portero"), (2, b"Front door"))), (2, ((1, b"abc"),)))),
    Bye((1, 2), b"hung up"),
    Bye(()),
    PictureLossIndication(1, 2),
    FullIntraRequest(1, ((2, 3), (4, 255))),
    GenericNack(1, 2, (65_530, 65_531, 65_535, 3, 10, 40)),
    GenericNack(1, 2, ()),
    MaximumBitRate(1, ((2, 1_048_576, 40), (3, 0, 511))),
    MaximumBitRate(1, ((2, 300_000, 0),), granted=True),
    ReceiverEstimate(1, 2_097_152, (2, 3)),
    ReceiverEstimate(1, 64_000, ()),
]


@pytest.mark.parametrize("packet", EVERY_KIND, ids=lambda packet: type(packet).__name__)
def test_what_is_written_is_read(packet: RtcpPacket) -> None:
    data = pack_rtcp(packet)
    assert len(data) % 4 == 0
    assert parse_rtcp(data) == [packet]


def test_a_compound_is_read_packet_by_packet() -> None:
    assert parse_rtcp(b"".join(map(pack_rtcp, EVERY_KIND))) == EVERY_KIND


@pytest.mark.parametrize(
    "name",
    ["rtcp_sr.bin", "rtcp_rr.bin", "rtcp_sdes.bin", "rtcp_bye.bin", "rtcp_bye_no_sources.bin", "rtcp_psfb_pli.bin"],
)
def test_recorded_reports_are_written_byte_for_byte_as_read(samples: Path, name: str) -> None:
    data = (samples / name).read_bytes()
    assert b"".join(map(pack_rtcp, parse_rtcp(data))) == data


def test_a_recorded_sender_report_is_read(samples: Path) -> None:
    assert parse_rtcp((samples / "rtcp_sr.bin").read_bytes()) == [
        SenderReport(
            1831097322,
            16016567581311369308,
            1722342718,
            269,
            13557,
            (ReportBlock(2398654957, 0, 0, 246, 127, 0, 0),),
        )
    ]


def test_recorded_padding_is_passed_over(samples: Path) -> None:
    assert parse_rtcp((samples / "rtcp_bye_padding.bin").read_bytes()) == [Bye(())]


def test_a_recorded_nack_names_what_was_lost(samples: Path) -> None:
    assert parse_rtcp((samples / "rtcp_rtpfb.bin").read_bytes()) == [
        GenericNack(2336520123, 4145934052, (12, 32, 39, 54, 76, 110, 123, 142, 183, 187, 223, 236, 271, 292))
    ]


def test_feedback_that_nobody_here_understands_is_passed_over() -> None:
    assert parse_rtcp(bytes.fromhex("8fcd00020000000100000002")) == []  # transport-wide congestion control
    assert parse_rtcp(bytes.fromhex("8fce0003000000010000000241424344")) == []  # another application's


def test_a_bit_rate_that_does_not_fit_is_written_lower_not_higher() -> None:
    (read,) = parse_rtcp(pack_rtcp(MaximumBitRate(1, ((2, 1_234_567, 0),))))
    assert isinstance(read, MaximumBitRate)
    assert 1_234_567 - 16 < read.entries[0][1] <= 1_234_567


@pytest.mark.parametrize(
    "name",
    [
        "rtcp_bye_invalid.bin",
        "rtcp_psfb_invalid.bin",
        "rtcp_rr_invalid.bin",
        "rtcp_rtpfb_invalid.bin",
        "rtcp_sdes_item_truncated.bin",
        "rtcp_sdes_source_truncated.bin",
        "rtcp_sr_invalid.bin",
    ],
)
def test_recorded_rubbish_is_an_rtp_error(samples: Path, name: str) -> None:
    with pytest.raises(RtpError):
        parse_rtcp((samples / name).read_bytes())


def scheduler(ssrc: int = 1, *, uniform: float = 0.5, now: float = 100.0) -> ReportScheduler:
    return ReportScheduler(ssrc, "door@portero", lambda: uniform, now, wall_offset_s=1.7e9)


@pytest.mark.parametrize("uniform", [0.0, 0.5, 0.999])
def test_the_first_report_comes_after_half_the_interval_and_the_others_every_five_seconds(uniform: float) -> None:
    reports = scheduler(uniform=uniform)
    spread = (uniform + 0.5) / 1.21828
    assert reports.deadline == pytest.approx(100 + 2.5 * spread)
    at = reports.deadline
    reports.report(at, None, ())
    assert reports.deadline == pytest.approx(at + 5 * spread)


def test_reports_of_a_narrow_session_stay_within_a_twentieth_of_it() -> None:
    reports = ReportScheduler(1, "x", lambda: 0.5, 0.0, wall_offset_s=0.0, session_bits_per_s=800)
    size = len(reports.report(0.0, None, ()))
    assert 2 * (size + 28) / (reports.deadline * 1.21828) <= 800 / 8 * 0.06


def test_a_report_is_a_compound_that_begins_with_a_report_and_names_its_source() -> None:
    reports = scheduler()
    kinds = [type(packet) for packet in parse_rtcp(reports.report(101, None, (Reception(9, 8000),)))]
    assert kinds == [ReceiverReport, Sdes]
    first, names = parse_rtcp(reports.report(102, Sent(2**32 + 160, 50, 8000), ()))
    assert isinstance(first, SenderReport)
    assert (first.rtp_timestamp, first.packets, first.octets) == (160, 50, 8000)
    assert first.ntp >> 32 == 102 + 1_700_000_000 + 2_208_988_800
    assert names == Sdes(((1, ((1, b"door@portero"),)),))


def test_a_keyframe_request_goes_out_in_a_compound_of_its_own_and_leaves_the_timer_alone() -> None:
    reports = scheduler()
    deadline = reports.deadline
    packets = parse_rtcp(reports.feedback(101, PictureLossIndication(1, 9)))
    assert [type(packet) for packet in packets] == [ReceiverReport, Sdes, PictureLossIndication]
    assert reports.deadline == deadline


def test_the_last_report_says_goodbye() -> None:
    packets = parse_rtcp(scheduler().bye(101, None, ()))
    assert packets[-1] == Bye((1,))
    assert isinstance(packets[0], ReceiverReport)


def test_two_reports_measure_the_round_trip_whatever_the_clocks_say() -> None:
    ours, theirs = scheduler(1), ReportScheduler(2, "monitor", lambda: 0.5, 5000.0, wall_offset_s=-99.0)
    their_reception = Reception(1, 8000)
    their_reception.update(1, 160, 5000.0)
    their_reception.update(2, 320, 5000.0)
    (sent, _) = parse_rtcp(ours.report(100.0, Sent(0, 1, 160), ()))
    assert isinstance(sent, SenderReport)
    their_reception.sender_report(sent.ntp, 5000.030)  # 30 ms there, on their clock
    answer = theirs.report(5002.530, None, (their_reception,))  # they wait 2.5 s
    ours.received(parse_rtcp(answer), len(answer), 102.550)  # 20 ms back
    assert ours.round_trip_s == pytest.approx(0.050, abs=0.0005)


def test_reports_about_other_streams_and_nonsense_delays_measure_nothing() -> None:
    ours = scheduler(1)
    middle = ours.ntp(100.0) >> 16 & 0xFFFFFFFF
    for block in (
        ReportBlock(2, 0, 0, 0, 0, middle, 0),
        ReportBlock(1, 0, 0, 0, 0, 0, 0),
        ReportBlock(1, 0, 0, 0, 0, middle, 65536 * 50),  # they kept it for longer than it was away
    ):
        ours.received([ReceiverReport(9, (block,))], 60, 100.5)
    assert ours.round_trip_s is None
