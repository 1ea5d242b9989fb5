"""A source's statistics: RFC 3550 appendices A.1, A.3 and A.8."""

import pytest

from firmware.rtp.reception import Reception


def receive(reception: Reception, numbers: list[int], *, late_s: float = 0.0) -> list[bool]:
    """Packets of 20 ms on time, by their extended numbers."""
    return [
        reception.update(number & 0xFFFF, number * 160 & 0xFFFFFFFF, number * 0.02 + late_s) for number in numbers
    ]


def test_a_source_is_proven_by_two_packets_in_sequence() -> None:
    reception = Reception(1, 8000)
    assert receive(reception, [10, 11, 12]) == [False, True, True]
    assert (reception.received, reception.expected, reception.lost) == (2, 2, 0)


def test_a_stray_packet_proves_nothing() -> None:
    reception = Reception(1, 8000)
    assert receive(reception, [10, 500, 40, 41]) == [False, False, False, True]
    assert reception.expected == 1


def test_loss_is_counted_and_late_packets_make_up_for_it() -> None:
    reception = Reception(1, 8000)
    receive(reception, [0, 1, 2, 5, 6])
    assert reception.lost == 2
    receive(reception, [3])
    assert reception.lost == 1


def test_more_duplicates_than_losses_make_the_loss_negative_in_the_report_too() -> None:
    reception = Reception(1, 8000)
    receive(reception, [0, 1, 2, 2, 2])
    assert reception.lost == -2
    assert reception.report(1.0).lost == -2
    assert reception.report(1.0).fraction_lost == 0


def test_the_sequence_wraps_into_the_next_cycle() -> None:
    reception = Reception(1, 8000)
    receive(reception, list(range(65_530, 65_550)))
    assert reception.report(0).highest_sequence == 65_549
    assert reception.lost == 0
    receive(reception, [65_534])
    assert reception.report(0).highest_sequence == 65_549


def test_a_restart_of_the_source_is_believed_at_its_second_packet() -> None:
    reception = Reception(1, 8000)
    receive(reception, list(range(20_000, 20_100)))
    assert receive(reception, [5000, 5001, 5002]) == [False, True, True]
    assert reception.lost == 0
    assert reception.report(0).highest_sequence == 5002


def test_the_fraction_lost_is_that_since_the_last_report() -> None:
    reception = Reception(1, 8000)
    receive(reception, list(range(101)))
    assert reception.report(2.0).fraction_lost == 0
    receive(reception, list(range(101, 201, 2)))
    assert reception.report(4.0).fraction_lost == pytest.approx(128, abs=2)
    assert reception.report(6.0).fraction_lost == 0
    assert reception.lost == 50 - 1


def test_a_steady_source_has_no_jitter_even_where_its_timestamp_wraps() -> None:
    reception = Reception(1, 8000)
    for number in range(100):
        reception.update(number, (2**32 - 8000 + number * 160) & 0xFFFFFFFF, 7 + number * 0.02)
    assert reception.jitter_s < 0.0002


def test_jitter_is_the_smoothed_difference_of_transit_times() -> None:
    reception = Reception(1, 8000)
    for number in range(400):
        reception.update(number, number * 160, number * 0.02 + (0.010 if number % 2 else 0.0))
    assert reception.jitter_s == pytest.approx(0.010, rel=0.01)
    assert reception.report(9.0).jitter == pytest.approx(80, abs=1)


def test_the_last_sender_report_is_returned_with_its_delay() -> None:
    reception = Reception(1, 8000)
    receive(reception, [1, 2])
    assert reception.report(3.0)[5:] == (0, 0)
    reception.sender_report(0x1122334455667788, 4.0)
    block = reception.report(5.5)
    assert block.last_sr == 0x33445566
    assert block.delay_since_last_sr == pytest.approx(1.5 * 65536, abs=1)
