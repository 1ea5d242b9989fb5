"""The same key by telephone-event and by INFO is one press."""

import pytest

from firmware.media.leg import SAME_PRESS_S, DigitMerge


def test_pitfall_12_a_key_that_comes_both_ways_is_one_press() -> None:
    merge = DigitMerge()
    assert merge.take("5", "rtp", 1.0)
    assert not merge.take("5", "info", 1.0 + SAME_PRESS_S - 0.01)


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


@pytest.mark.parametrize(("digit", "source", "at_s"), [("6", "info", 1.1), ("5", "rtp", 1.1), ("5", "info", 1.5)])
def test_another_key_or_way_or_time_is_another_press(digit: str, source: str, at_s: float) -> None:
    merge = DigitMerge()
    merge.take("5", "rtp", 1.0)
    assert merge.take(digit, source, at_s)
