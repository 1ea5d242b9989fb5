"""Coalescing keyframe requests under a virtual clock."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from firmware.media.keyframes import WINDOW_S, KeyframeRequests


def test_the_first_request_is_served_at_once() -> None:
    assert KeyframeRequests().request(100.0)


def test_pitfall_08_six_monitors_that_ask_together_cost_two_keyframes() -> None:
    requests = KeyframeRequests()
    served = [requests.request(100.0 + number * 0.01) for number in range(6)]
    assert served == [True, False, False, False, False, False]
    assert not requests.due(100.0 + WINDOW_S - 0.001)
    assert requests.due(100.0 + WINDOW_S)
    assert not requests.due(200.0)
    assert (requests.requested, requests.served) == (6, 2)


def test_a_request_inside_the_window_is_served_at_its_end_and_not_lost() -> None:
    requests = KeyframeRequests()
    requests.request(0.0)
    assert requests.deadline() is None
    assert not requests.request(0.1)
    assert requests.deadline() == WINDOW_S


def test_whoever_asks_before_the_idr_comes_shares_it() -> None:
    requests = KeyframeRequests()
    requests.request(0.0)
    requests.request(0.03)
    requests.arrived()
    assert requests.deadline() is None
    assert not requests.request(0.1)  # after it: lost something of it, perhaps
    assert requests.deadline() == WINDOW_S


def test_after_a_quiet_time_a_request_is_served_at_once_again() -> None:
    requests = KeyframeRequests()
    requests.request(0.0)
    assert requests.request(WINDOW_S)


@given(st.lists(st.floats(min_value=0.0, max_value=0.5), max_size=60))
def test_every_request_is_served_within_a_window_and_never_two_within_one(gaps: list[float]) -> None:
    requests = KeyframeRequests()
    now = 0.0
    served: list[float] = []
    asked: list[float] = []
    for gap in gaps:
        end = now + gap
        while (deadline := requests.deadline()) is not None and deadline <= end:
            assert requests.due(deadline)
            served.append(deadline)
        now = end
        asked.append(now)
        if requests.request(now):
            served.append(now)
    if (deadline := requests.deadline()) is not None:
        assert requests.due(deadline)
        served.append(deadline)
    assert all(later - earlier > WINDOW_S - 1e-9 for earlier, later in itertools.pairwise(served))
    assert all(any(at <= when < at + WINDOW_S + 1e-9 for when in served) for at in asked)
