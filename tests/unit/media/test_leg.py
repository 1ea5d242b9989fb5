"""The same key by telephone-event and by INFO is one press."""

import random

import pytest

from firmware.media.leg import DigitMerge


def test_pitfall_12_a_key_that_comes_both_ways_is_one_press() -> None:
    merge = DigitMerge()
    assert merge.take("5", "rtp", 1.0)
    assert not merge.take("5", "info", 1.1)


def test_a_first_key_whose_info_was_lost_twice_and_came_again_is_one_press() -> None:
    """Sent again after 0.5 and 1.5 s (RFC 3261 17.1.2.2); those of the keys after it waited."""
    merge = DigitMerge()
    reports = [("4", "rtp", 1.0), ("7", "rtp", 1.3), ("1", "rtp", 1.6), ("1", "rtp", 1.9)]
    reports += [("4", "info", 2.5), ("7", "info", 2.51), ("1", "info", 2.52), ("1", "info", 2.53)]
    assert "".join(key for key, way, at in reports if merge.take(key, way, at)) == "4711"


def test_ways_that_overtake_each_other_as_they_like_tell_each_key_once() -> None:
    source = random.Random(12)
    for _ in range(500):
        keys = source.choices("0123456789*#", k=8) if source.random() < 0.5 else source.choices("17", k=8)
        left = {"rtp": list(keys), "info": list(keys), "inband": list(keys)}
        merge, heard, at_s = DigitMerge(), "", 1.0
        while any(left.values()):
            way = source.choice([way for way, rest in left.items() if rest])
            at_s += source.random() / 5
            key = left[way].pop(0)
            heard += key if merge.take(key, way, at_s) else ""
        assert heard == "".join(keys)


def test_a_key_that_one_way_lost_for_good_counts_once_and_swallows_no_later_one() -> None:
    merge = DigitMerge()
    reports = [("4", "rtp", 1.0), ("4", "info", 1.1), ("5", "rtp", 1.3), ("6", "rtp", 1.6), ("6", "info", 1.7)]
    reports += [("5", "info", 2.0), ("5", "rtp", 2.1), ("8", "rtp", 3.0)]
    assert "".join(key for key, way, at in reports if merge.take(key, way, at)) == "45658"
    assert merge.take("8", "info", 60.0), "nothing waits for ever"


def test_the_second_way_may_come_first() -> None:
    merge = DigitMerge()
    assert merge.take("5", "info", 1.0)
    assert not merge.take("5", "rtp", 1.1)


def test_a_key_pressed_twice_in_a_row_is_two_presses() -> None:
    merge = DigitMerge()
    assert [
        merge.take("5", "rtp", 1.0),
        merge.take("5", "info", 1.05),
        merge.take("5", "rtp", 1.3),
        merge.take("5", "info", 1.35),
    ] == [True, False, True, False]


def test_a_key_that_comes_three_ways_is_one_press() -> None:
    merge = DigitMerge()
    taken = [merge.take("5", way, 1.0 + n / 10) for n, way in enumerate(("rtp", "inband", "info"))]
    assert taken == [True, False, False]


def test_keys_dialled_faster_than_their_second_reports_come_are_each_one_press() -> None:
    merge = DigitMerge()
    reports = [("1", "rtp", 1.0), ("2", "rtp", 1.12), ("1", "info", 1.2), ("3", "rtp", 1.24), ("2", "info", 1.32)]
    assert "".join(key for key, way, at in reports if merge.take(key, way, at)) == "123"


def test_a_key_pressed_twice_at_once_is_two_presses_whose_second_reports_come_after_both() -> None:
    merge = DigitMerge()
    reports = [("5", "rtp", 1.0), ("5", "rtp", 1.15), ("5", "info", 1.25), ("5", "info", 1.35)]
    assert [merge.take(*report) for report in reports] == [True, True, False, False]


def test_a_key_held_for_long_and_reported_by_info_when_it_is_released_is_one_press() -> None:
    merge = DigitMerge()
    assert merge.take("5", "rtp", 1.0)
    assert not merge.take("5", "info", 3.1, held_s=2.0)
    assert merge.take("5", "info", 3.3, held_s=0.1)


def test_a_phone_that_is_known_to_send_both_ways_may_be_late_with_the_second() -> None:
    merge = DigitMerge()
    reports = [("4", "rtp", 1.0), ("4", "info", 1.1), ("7", "rtp", 1.3), ("1", "rtp", 1.6), ("7", "info", 3.2)]
    reports += [("1", "rtp", 3.5), ("1", "info", 4.4), ("1", "info", 15.5)]
    assert "".join(key for key, way, at in reports if merge.take(key, way, at)) == "4711"
    assert merge.take("7", "info", 19.0), "and later it is a press of its own"


def test_a_flood_of_keys_is_remembered_within_bounds() -> None:
    merge = DigitMerge()
    for n in range(10_000):
        merge.take("0123456789"[n % 10], "rtp", 1.0 + n / 10_000)
    assert len(merge._presses) <= 32


@pytest.mark.parametrize(("digit", "source", "at_s"), [("6", "info", 1.1), ("5", "rtp", 1.1), ("5", "info", 6.5)])
def test_another_key_or_way_or_time_is_another_press(digit: str, source: str, at_s: float) -> None:
    merge = DigitMerge()
    merge.take("5", "rtp", 1.0)
    assert merge.take(digit, source, at_s)
