"""What a leg reports in the end."""

from firmware.rtp.jitter import JitterBuffer
from firmware.rtp.packet import RtpPacket
from firmware.rtp.reception import Reception
from firmware.rtp.statistics import stream_statistics


def test_a_stream_with_losses_reports_them_in_plain_figures() -> None:
    reception, buffer = Reception(1, 8000), JitterBuffer(8000)
    for number in range(101):
        if number % 10 != 9:
            reception.update(number, number * 160, number * 0.02)
            buffer.put(RtpPacket(0, False, number, number * 160, 1, bytes(160)), number * 0.02)
        buffer.pop(number * 0.02 + 0.01)
    figures = stream_statistics(
        packets_sent=100,
        octets_sent=16_000,
        reception=reception,
        buffer=buffer,
        round_trip_s=0.0421,
        peer_fraction_lost=64,
    ).as_dict()
    assert figures["packets_received"] == 90
    assert figures["packets_lost"] == 10
    assert 0.09 < figures["concealed_share"] < 0.11
    assert figures["round_trip_ms"] == 42.1
    assert figures["peer_lost_share"] == 0.25


def test_a_stream_on_which_nothing_came_says_so() -> None:
    figures = stream_statistics(packets_sent=3, octets_sent=480, reception=None).as_dict()
    assert figures["packets_received"] == 0
    assert figures["round_trip_ms"] == -1
