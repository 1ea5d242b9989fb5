"""Telephone-events: each press one digit, whatever the network did to its packets."""

import random
import struct

import pytest

from firmware.rtp.packet import RtpPacket
from firmware.rtp.telephone_event import DIGITS, Receiver, Sender

SSRC = 5


def packet(
    digit: str | int,
    timestamp: int,
    duration: int,
    *,
    end: bool = False,
    marker: bool = False,
    ssrc: int = SSRC,
    sequence: int = 0,
    payload_type: int = 101,
    trailing: bytes = b"",
) -> RtpPacket:
    event = DIGITS.index(digit) if isinstance(digit, str) else digit
    payload = struct.pack("!BBH", event, 10 | (0x80 if end else 0), duration) + trailing
    return RtpPacket(payload_type, marker, sequence, timestamp & 0xFFFFFFFF, ssrc, payload)


def press(digit: str, timestamp: int, *, packets: int = 5) -> list[RtpPacket]:
    """What a well-behaved phone sends: M on the first, growing duration, the end three times."""
    durations = [160 * (n + 1) for n in range(packets)]
    tone = [packet(digit, timestamp, duration, marker=n == 0) for n, duration in enumerate(durations)]
    return [*tone, *[packet(digit, timestamp, durations[-1] + 160, end=True)] * 3]


def digits(packets: list[RtpPacket]) -> str:
    receiver = Receiver()
    return "".join(filter(None, map(receiver.receive, packets)))


def test_a_press_is_reported_with_its_first_packet_and_once() -> None:
    receiver = Receiver()
    first, *rest = press("7", 1000)
    assert receiver.receive(first) == "7"
    assert [receiver.receive(other) for other in rest] == [None] * len(rest)


def test_every_digit_has_its_event_number() -> None:
    assert digits([p for n, digit in enumerate("0123456789*#ABCD") for p in press(digit, n * 2000)]) == DIGITS


@pytest.mark.parametrize("survivor", range(8))
def test_pitfall_09_a_press_of_which_one_packet_survives_is_reported(survivor: int) -> None:
    assert digits([press("4", 1000)[survivor]]) == "4"


def test_any_loss_that_leaves_a_packet_of_each_press_leaves_the_code_whole() -> None:
    for seed in range(300):
        chance = random.Random(seed)
        code = "".join(chance.choice("0123456789*#") for _ in range(6))
        packets = []
        for n, digit in enumerate(code):
            all_of_it = press(digit, 2**32 - 3000 + n * 1600)
            kept = [p for p in all_of_it if chance.random() < 0.4] or [chance.choice(all_of_it)]
            packets += kept
        assert digits(packets) == code, seed


def test_the_same_digit_twice_is_two_presses_even_if_all_ends_and_markers_are_lost() -> None:
    first = [p._replace(marker=False) for p in press("1", 1000)[:5]]
    second = [p._replace(marker=False) for p in press("1", 3000)[:5]]
    assert digits(first + second) == "11"


def test_a_new_digit_that_begins_without_the_end_of_the_old_one_is_reported() -> None:
    assert digits(press("1", 1000)[:3] + press("2", 1480)) == "12"


def test_packets_of_one_press_out_of_order_are_one_press() -> None:
    packets = press("9", 1000)
    random.Random(3).shuffle(packets)
    assert digits(packets) == "9"


def test_a_late_packet_of_an_earlier_press_is_not_a_new_one() -> None:
    first, second = press("1", 1000), press("2", 3000)
    assert digits([*first[:4], *second[:2], first[4], *second[2:], first[7]]) == "12"


def test_a_replay_of_presses_long_past_opens_nothing() -> None:
    receiver = Receiver()
    code = [p for n, digit in enumerate("12345678") for p in press(digit, n * 2000)]
    assert "".join(filter(None, map(receiver.receive, code))) == "12345678"
    assert list(filter(None, map(receiver.receive, code))) == []


def test_a_long_press_in_segments_of_65535_is_one_press() -> None:
    packets = []
    for segment in range(4):
        start = 2**32 - 70_000 + segment * 0xFFFF
        packets += [
            packet("5", start, duration, marker=segment == 0 and duration == 800) for duration in (800, 65_535)
        ]
    packets += [packet("5", 2**32 - 70_000 + 3 * 0xFFFF, 9000, end=True)] * 3
    assert digits(packets) == "5"


def test_a_long_press_is_one_press_where_a_whole_segment_is_lost() -> None:
    packets = [
        packet("5", 0, 160, marker=True),
        packet("5", 2 * 0xFFFF, 160),
        packet("5", 2 * 0xFFFF, 320, end=True),
    ]
    assert digits(packets) == "5"


def test_pitfall_09_a_press_whose_timestamp_moves_with_every_packet_is_one_press() -> None:
    """Some gateways do (sipwise/rtpengine#1929)."""
    packets = [packet("8", 1000 + 160 * n, 160 * (n + 1), marker=n == 0) for n in range(8)]
    assert digits(packets) == "8"


def test_the_same_digit_at_once_after_an_end_is_a_new_press() -> None:
    packets = [packet("8", 1000, 800, marker=True), packet("8", 1000, 800, end=True), packet("8", 1800, 160)]
    assert digits(packets) == "88"


def test_a_change_of_source_begins_new_presses() -> None:
    assert digits([packet("3", 1000, 160), packet("3", 1000, 160, ssrc=6)]) == "33"


def test_flash_and_other_events_are_no_digits() -> None:
    assert digits([packet(event, 1000 * event, 160, marker=True) for event in range(16, 256)]) == ""


def test_trailing_bytes_are_neither_refused_nor_read_as_the_digit_0() -> None:
    assert digits([packet("6", 1000, 160, trailing=bytes(4)), packet("6", 1000, 320, trailing=b"\x01")]) == "6"


@pytest.mark.parametrize("size", range(4))
def test_an_incomplete_event_is_no_digit(size: int) -> None:
    assert Receiver().receive(RtpPacket(101, True, 1, 2, 3, b"\x05\x0a\x00\xa0"[:size])) is None


def test_pitfall_09_any_payload_type_will_do() -> None:
    assert digits([packet("1", 0, 160, payload_type=96), packet("2", 2000, 160, payload_type=110)]) == "12"


def test_pitfall_09_a_zero_duration_in_the_first_packet_is_tolerated() -> None:
    """Seen in the field (pjsip/pjproject#361)."""
    assert digits([packet("1", 500, 0, marker=True), packet("1", 500, 160), packet("1", 500, 320, end=True)]) == "1"


def test_a_flood_of_events_is_remembered_within_bounds() -> None:
    receiver = Receiver()
    for n in range(5000):
        receiver.receive(packet("1", n * 1000, 160, marker=True))
    assert len(receiver._seen) <= 256


def run(sender: Sender, ticks: int, first_timestamp: int = 0) -> list[RtpPacket | None]:
    packets: list[RtpPacket | None] = []
    for tick in range(ticks):
        sent = sender.tick(first_timestamp + 160 * tick)
        packets.append(sent and RtpPacket(101, sent.marker, tick, sent.timestamp & 0xFFFFFFFF, SSRC, sent.payload))
    return packets


def test_pitfall_10_a_press_is_sent_with_one_marker_one_timestamp_growing_duration_and_three_ends() -> None:
    sender = Sender()
    sender.press("5")
    packets = [p for p in run(sender, 30, 4000) if p]
    fields = [struct.unpack("!BBH", p.payload) for p in packets]
    assert [p.marker for p in packets] == [True] + [False] * 6
    assert {p.timestamp for p in packets} == {4000}
    assert [duration for _, _, duration in fields] == [160, 320, 480, 640, 800, 800, 800]
    assert [flags >> 7 for _, flags, _ in fields] == [0, 0, 0, 0, 1, 1, 1]
    assert {flags & 0x3F for _, flags, _ in fields} == {10}
    assert not sender.active


def test_pitfall_10_presses_are_apart_by_the_pause_and_follow_one_another() -> None:
    sender = Sender(tone_ms=100, gap_ms=100)
    sender.press("12")
    starts = [p.timestamp for p in run(sender, 40) if p and p.marker]
    assert starts == [0, 1600]


def test_what_the_sender_sends_the_receiver_reports() -> None:
    sender = Sender()
    sender.press("0*#5500d")
    sent = run(sender, 120, 2**32 - 1000)
    assert digits([p for p in sent if p]) == "0*#5500D"
    chance = random.Random(9)
    assert digits([p for p in sent if p and chance.random() < 0.75]) == "0*#5500D"


def test_a_sender_without_digits_sends_nothing() -> None:
    sender = Sender()
    assert run(sender, 5) == [None] * 5
    assert not sender.active


def test_only_digits_can_be_pressed() -> None:
    with pytest.raises(ValueError, match="substring"):
        Sender().press("1x")
