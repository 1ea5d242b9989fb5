"""The picture's bit rate follows the legs' reports down and back up, in virtual time."""

import pytest

from firmware.rtp.rate_control import LEAST_FPS, RateControl

FULL_BPS, FULL_FPS = 1_500_000, 25.0


def control(*legs: str) -> RateControl:
    made = RateControl()
    made.grant(FULL_BPS, FULL_FPS)
    for leg in legs:
        made.join(leg, 0.0)
    return made


def settled(made: RateControl, now: float) -> tuple[int, float]:
    made.wanted(now)
    return made.bit_rate, made.frame_rate


def test_nothing_is_asked_for_while_all_is_well() -> None:
    made = control("a", "b")
    for second in range(0, 60, 5):
        made.lost("a", 0.0, second)
        made.lost("b", 0.01, second)
        assert made.wanted(second) is None


def test_loss_steps_down_and_its_end_brings_the_picture_back() -> None:
    made = control("a")
    rates = []
    for second in range(5, 35, 5):
        made.lost("a", 0.25, second)
        rates.append(settled(made, second)[0])
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < FULL_BPS / 2
    assert made.frame_rate < FULL_FPS
    made.lost("a", 0.0, 35)
    assert FULL_BPS / 4 < settled(made, 40)[0] < FULL_BPS
    assert settled(made, 90) == (FULL_BPS, FULL_FPS)


def test_a_little_loss_keeps_it_where_it_is() -> None:
    made = control("a")
    made.lost("a", 0.4, 5)
    low = settled(made, 5)[0]
    for second in range(10, 100, 5):
        made.lost("a", 0.05, second)
        assert made.wanted(second) is None
    assert made.bit_rate == low


def test_it_stops_at_a_floor_with_a_frame_rate_that_moves_still() -> None:
    made = control("a")
    for second in range(5, 300, 5):
        made.lost("a", 0.9, second)
        made.wanted(second)
    assert made.bit_rate == FULL_BPS // 10
    assert made.frame_rate == LEAST_FPS


def test_a_bound_that_a_peer_names_is_obeyed_at_once_within_ours() -> None:
    made = control("a")
    made.tmmbr("a", 900_000)
    assert settled(made, 1)[0] == 900_000
    made.tmmbr("a", 10_000)
    assert settled(made, 2)[0] == FULL_BPS // 10
    made.tmmbr("a", 10**9)
    assert settled(made, 3)[0] == FULL_BPS


def test_an_estimate_that_is_not_repeated_is_forgotten() -> None:
    made = control("a")
    made.remb("a", 500_000, 1, FULL_BPS)
    assert made.said("a", 10) == settled(made, 10)[0] == 500_000
    assert made.said("a", 17) == 0
    assert settled(made, 17)[0] == FULL_BPS


def test_an_estimate_of_what_is_sent_is_no_bound() -> None:
    made = control("a")
    for second, estimate in ((1, 150_000), (2, 100_000), (3, 90_000)):
        made.remb("a", estimate, second, 100_000)
        assert settled(made, second)[0] == FULL_BPS
        assert made.said("a", second) == estimate


def test_an_estimate_below_what_is_sent_is_a_bound_that_is_lifted_as_all_gets_through() -> None:
    made = control("a")
    made.remb("a", 300_000, 1, 400_000)
    assert settled(made, 1)[0] == 300_000
    made.remb("a", 290_000, 2, 300_000)
    assert settled(made, 2)[0] == pytest.approx(330_000, abs=1)
    for second in range(3, 30):
        made.remb("a", 350_000, second, 330_000)
    assert settled(made, 30)[0] == FULL_BPS


def test_one_bad_network_among_many_costs_the_others_half_at_most() -> None:
    made = control("bad", "good", "better")
    for second in range(5, 100, 5):
        made.lost("bad", 0.5, second)
        made.lost("good", 0.0, second)
    assert settled(made, 100) == (FULL_BPS // 2, FULL_FPS)


def test_who_talks_rules() -> None:
    made = control("bad", "good")
    for second in range(5, 100, 5):
        made.lost("bad", 0.5, second)
    made.talks("good", on=True)
    assert settled(made, 100)[0] == FULL_BPS
    made.talks("bad", on=True)
    made.talks("good", on=False)
    assert settled(made, 101)[0] == FULL_BPS // 10
    made.leave("bad")
    assert settled(made, 102)[0] == FULL_BPS


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_reports_of_strangers_and_before_the_camera_are_nothing(share: float) -> None:
    made = RateControl()
    made.join("a", 0)
    made.lost("a", share, 1)
    made.remb("b", 1, 1, 1)
    made.tmmbr("b", 1)
    assert made.wanted(2) is None
