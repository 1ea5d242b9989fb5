"""What a watched line was, read out of its edges."""

import time

from hil.roles import Trace


def test_a_line_that_never_changed_has_no_pulses() -> None:
    trace = Trace()
    trace.note(False, 1.0)
    assert trace.pulses() == []
    assert not trace.active


def test_pulses_have_their_beginning_and_their_length() -> None:
    trace = Trace()
    for at_s, active in ((1.0, True), (3.5, False), (10.0, True), (10.25, False)):
        trace.note(active, at_s)
    assert [(pulse.began_s, pulse.seconds, pulse.ended) for pulse in trace.pulses()] == [
        (1.0, 2.5, True),
        (10.0, 0.25, True),
    ]


def test_a_level_told_twice_is_one_edge() -> None:
    trace = Trace()
    for at_s, active in ((1.0, True), (2.0, True), (3.0, False), (4.0, False)):
        trace.note(active, at_s)
    assert [pulse.seconds for pulse in trace.pulses()] == [2.0]


def test_a_line_still_active_has_been_so_until_now() -> None:
    trace = Trace()
    trace.note(True, time.monotonic() - 100)
    (pulse,) = trace.pulses()
    assert not pulse.ended
    assert pulse.seconds >= 100


def test_a_pulse_that_reaches_into_the_time_asked_for_counts() -> None:
    trace = Trace()
    for at_s, active in ((1.0, True), (3.0, False), (4.0, True), (6.0, False)):
        trace.note(active, at_s)
    assert [pulse.began_s for pulse in trace.pulses(since_s=5.0)] == [4.0]
    assert trace.pulses(since_s=6.0) == []
