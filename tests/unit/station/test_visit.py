import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.station import events
from firmware.station.visit import (
    COMPLETED_ELSEWHERE,
    END_TONE_S,
    Ended,
    EndLeg,
    Limits,
    Plan,
    Publish,
    Sound,
    Stage,
    StartLeg,
    Talk,
    Visit,
    Warn,
)

TWO_STAGES = (Stage(("101", "102"), 20.0), Stage(("201",), 15.0))


def visit(stages=TWO_STAGES, limits=None, **plan):
    v = Visit(7, Plan("flat", stages, **plan), limits or Limits())
    v.begin(100.0)
    return v


def done(v):
    """What the visit wants done, without what it tells."""
    return [action for action in v.take_actions() if not isinstance(action, Publish)]


def told(v, kind):
    return [a.event for a in v.take_actions() if isinstance(a, Publish) and isinstance(a.event, kind)]


def end(v, leg, status=487, now=101.0, by="us", reason=""):
    v.leg_ended(leg, by, status, reason, {}, now)


def test_all_targets_of_the_first_stage_ring_at_once_and_the_visitor_hears_it():
    assert done(visit()) == [StartLeg("7.1", "101"), StartLeg("7.2", "102"), Sound("ringback")]


def test_first_answer_wins_and_the_others_are_told_that_it_was_answered_elsewhere():
    v = visit()
    done(v)
    v.leg_answered("7.2", 105.0)
    assert done(v) == [Sound(None), Talk("7.2"), EndLeg("7.1", COMPLETED_ELSEWHERE)]


def test_two_answers_in_the_same_moment_leave_one_call():
    v = visit()
    v.leg_answered("7.1", 105.0)
    done(v)
    v.leg_answered("7.2", 105.0)
    assert done(v) == []
    assert v.talking_leg == "7.1"
    end(v, "7.2")
    assert v.phase == "talking"


def test_next_stage_rings_at_once_when_all_legs_failed():
    v = visit()
    end(v, "7.1", 486, by="peer")
    done(v)
    end(v, "7.2", 404, now=101.5, by="peer")
    assert done(v) == [StartLeg("7.3", "201")]
    assert v.next_deadline() == 101.5 + 15.0


def test_next_stage_rings_when_time_is_up_and_the_silent_legs_are_cancelled():
    v = visit()
    done(v)
    v.handle_timer(119.9)
    assert done(v) == []
    v.handle_timer(120.0)
    assert done(v) == [EndLeg("7.1", ""), EndLeg("7.2", ""), StartLeg("7.3", "201")]


def test_busy_tone_after_the_last_stage_failed_busy_then_nothing_is_left():
    v = visit((Stage(("101",), 20.0),))
    done(v)
    end(v, "7.1", 486, now=102.0, by="peer")
    assert done(v) == [Sound("busy")]
    v.handle_timer(102.0 + END_TONE_S)
    assert done(v) == [Sound(None), Ended()]
    assert v.phase == "done"


def test_nobody_answers_ends_unanswered_and_waits_for_the_cancelled_leg():
    v = visit((Stage(("101",), 20.0),))
    v.take_actions()
    v.handle_timer(120.0)
    actions = v.take_actions()
    assert Sound("no-answer") in actions
    ended = [a.event for a in actions if isinstance(a, Publish) and isinstance(a.event, events.PressEnded)]
    assert [e.outcome for e in ended] == ["unanswered"]
    v.handle_timer(130.0)
    assert done(v) == [Sound(None)]
    end(v, "7.1", now=131.0)
    assert done(v) == [Ended()]


def test_ring_limit_ends_a_plan_that_would_ring_longer():
    v = visit((Stage(("101",), 500.0),), ring_limit_s=60.0)
    done(v)
    v.handle_timer(160.0)
    assert done(v) == [EndLeg("7.1", ""), Sound("no-answer")]


def test_early_sound_replaces_the_ringback_only_when_it_arrives():
    v = visit()
    v.leg_ringing("7.1", 183, early_sound=True, early_media=True, now=101.0)
    assert not any(a == Sound("early:7.1") for a in v.take_actions())
    v.leg_sounds("7.1")
    assert done(v) == [Sound("early:7.1")]
    v.leg_ringing("7.2", 183, early_sound=True, early_media=True, now=101.0)
    v.leg_sounds("7.2")
    assert done(v) == [], "one sound at a time"


def test_ringback_returns_when_the_leg_that_gave_the_sound_fails():
    v = visit()
    v.leg_ringing("7.1", 183, early_sound=True, early_media=True, now=101.0)
    v.leg_sounds("7.1")
    done(v)
    end(v, "7.1", 480, by="peer")
    assert done(v) == [Sound("ringback")]


def test_sound_of_a_leg_that_promised_none_is_not_played():
    v = visit()
    v.leg_ringing("7.1", 180, early_sound=False, early_media=False, now=101.0)
    done(v)
    v.leg_sounds("7.1")
    assert done(v) == []


@pytest.mark.parametrize(("policy", "result"), [("ignore", "ignore"), ("extend", "extend"), ("cancel", "cancel")])
def test_second_press_while_ringing_does_what_the_plan_says(policy, result):
    v = visit(second_press=policy)
    done(v)
    assert v.press_again(110.0) == result
    if policy == "extend":
        assert v.next_deadline() == 130.0
    if policy == "cancel":
        assert done(v) == [EndLeg("7.1", ""), EndLeg("7.2", ""), Sound(None)]
        assert v.outcome == "cancelled"
    if policy == "ignore":
        assert v.next_deadline() == 120.0


def test_second_press_while_talking_changes_nothing():
    v = visit(second_press="cancel")
    v.leg_answered("7.1", 105.0)
    done(v)
    assert v.press_again(110.0) == "ignore"
    assert done(v) == []


def test_talk_limit_warns_both_sides_and_ends_the_call():
    v = visit(limits=Limits(talk_limit_s=60.0, warning_s=10.0))
    v.leg_answered("7.1", 200.0)
    done(v)
    assert v.next_deadline() == 250.0
    v.handle_timer(250.0)
    assert done(v) == [Warn("7.1")]
    v.handle_timer(260.0)
    assert done(v) == [EndLeg("7.1", ""), Sound(None)]
    end(v, "7.2")
    v.leg_ended("7.1", "us", 0, "talk limit", {}, 260.1)
    assert v.phase == "done"


def test_the_talk_limit_runs_from_the_first_answer_however_often_the_door_is_handed_on():
    v = visit((Stage(("101",), 20.0),), limits=Limits(talk_limit_s=60.0, warning_s=10.0))
    v.leg_answered("7.1", 200.0)
    talking, now = "7.1", 200.0
    for _ in range(3):
        now += 10
        successor = v.successor("102", calls=True)
        v.leg_ended(talking, "peer", 200, "", {}, now)  # leaves before the other has answered
        v.leg_answered(successor, now + 5)
        talking = successor
    done(v)
    v.handle_timer(259.9)
    assert v.phase == "talking"
    v.handle_timer(260.0)
    assert v.phase == "closing"
    assert EndLeg(talking, "") in done(v)


def test_the_talk_limit_ends_a_handing_on_that_only_rings():
    v = visit((Stage(("101",), 20.0),), limits=Limits(talk_limit_s=60.0, warning_s=10.0))
    v.leg_answered("7.1", 200.0)
    v.successor("102", calls=True)
    v.leg_ended("7.1", "peer", 200, "", {}, 255.0)
    v.handle_timer(260.0)
    assert [event.reason for event in told(v, events.PressEnded)] == ["talk limit"]


def test_the_door_is_handed_on_a_few_times_in_one_visit_and_no_more():
    v = visit()
    v.leg_answered("7.1", 200.0)
    for _ in range(8):
        end(v, v.successor("102", calls=True), 486)
    assert v.successor("102", calls=True) is None
    assert v.talking_leg == "7.1"


def test_call_ends_some_seconds_after_the_unlock():
    v = visit()
    v.leg_answered("7.1", 200.0)
    v.unlocked(210.0)
    assert v.next_deadline() == 215.0
    v.handle_timer(215.0)
    assert EndLeg("7.1", "") in done(v)


def test_call_goes_on_after_the_unlock_where_so_configured():
    v = visit(limits=Limits(hangup_after_unlock_s=0))
    v.leg_answered("7.1", 200.0)
    deadline = v.next_deadline()
    v.unlocked(210.0)
    assert v.next_deadline() == deadline


def test_peer_hangs_up():
    v = visit((Stage(("101",), 20.0),))
    v.leg_answered("7.1", 200.0)
    v.take_actions()
    v.leg_ended("7.1", "peer", 0, "", {"lost": 0}, 230.0)
    actions = v.take_actions()
    ended = [a.event for a in actions if isinstance(a, Publish) and isinstance(a.event, events.LegEnded)]
    assert [(e.by, e.duration_s) for e in ended] == [("peer", 30.0)]
    assert actions[-1] == Ended()


def test_a_call_that_came_in_talks_at_once():
    v = Visit(9, Plan("incoming", ()), Limits())
    v.begin_answered("9.1", "sip:101@example.org", 100.0)
    assert Talk("9.1") in done(v)
    assert v.phase == "talking"


def test_events_of_an_unknown_leg_are_ignored():
    v = visit()
    v.take_actions()
    v.leg_answered("8.1", 101.0)
    v.leg_ringing("8.1", 180, early_sound=False, early_media=False, now=101.0)
    end(v, "8.1")
    assert v.take_actions() == []


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ring", "sound", "answer", "fail", "timer", "press", "cancel", "unlock"]),
        st.integers(1, 4),
        st.floats(0.0, 30.0),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.sampled_from(["ignore", "extend", "cancel"]))
def test_whatever_happens_one_leg_talks_and_the_visit_ends_once_with_no_leg_left(steps, second_press):
    v = visit(second_press=second_press)
    now, live, log = 100.0, set(), []

    def drain():
        for action in v.take_actions():
            log.append(action)
            if isinstance(action, StartLeg):
                live.add(action.leg)
            elif isinstance(action, Talk | EndLeg):
                assert action.leg in live

    drain()
    for what, number, gap in steps:
        now += gap
        leg = f"7.{number}"
        if what == "ring":
            v.leg_ringing(leg, 183, early_sound=True, early_media=True, now=now)
        elif what == "sound":
            v.leg_sounds(leg)
        elif what == "answer":
            v.leg_answered(leg, now)
        elif what == "fail" and leg in live:
            live.discard(leg)
            v.leg_ended(leg, "peer", 486, "", {}, now)
        elif what == "timer":
            v.handle_timer(now)
        elif what == "press":
            v.press_again(now)
        elif what == "cancel":
            v.cancel("operator", now)
        elif what == "unlock":
            v.unlocked(now)
        drain()
    for _ in range(20):  # every visit comes to its end by its own clock and the ends of its legs
        now = max(now, v.next_deadline() or now)
        v.handle_timer(now)
        drain()
        if v.phase == "closing":
            for leg in sorted(live):
                live.discard(leg)
                v.leg_ended(leg, "us", 487, "", {}, now)
                drain()
    assert v.phase == "done"
    assert sum(isinstance(action, Talk) for action in log) <= 1
    assert sum(isinstance(action, Ended) for action in log) == 1
    ends = [a for a in log if isinstance(a, Publish) and isinstance(a.event, events.PressEnded)]
    assert len(ends) == 1
    assert v.next_deadline() is None
    sounds = [action.tone for action in log if isinstance(action, Sound)]
    assert sounds[-1] is None, "the door must be silent after the visit"
