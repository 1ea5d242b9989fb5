"""The one schedule of a core: order, cancelling, and no leak."""

from firmware.sip.timers import Schedule


def test_alarms_ring_in_order_of_time_and_those_of_one_time_in_order_of_setting() -> None:
    schedule, rung = Schedule(), []
    for name, when in (("c", 2.0), ("a", 1.0), ("b", 1.0), ("late", 9.0)):
        schedule.set(when, lambda now, name=name: rung.append((name, now)))
    schedule.ring_due(2.5)
    assert rung == [("a", 2.5), ("b", 2.5), ("c", 2.5)]
    assert schedule.next_deadline() == 9.0


def test_a_cancelled_alarm_neither_rings_nor_is_waited_for() -> None:
    schedule, rung = Schedule(), []
    alarm = schedule.set(1.0, rung.append)
    schedule.set(5.0, rung.append)
    alarm.cancel()
    assert schedule.next_deadline() == 5.0
    schedule.ring_due(2.0)
    assert rung == []
    alarm.cancel()


def test_an_alarm_may_cancel_its_neighbour_and_set_another_for_now() -> None:
    schedule, rung = Schedule(), []
    neighbour = None

    def first(now: float) -> None:
        assert neighbour is not None
        neighbour.cancel()
        schedule.set(now, lambda when: rung.append(when))

    schedule.set(1.0, first)
    neighbour = schedule.set(1.0, lambda _: rung.append("neighbour"))
    schedule.ring_due(1.0)
    assert rung == [1.0]
    assert schedule.next_deadline() is None


def test_cancelled_alarms_are_swept_before_their_time() -> None:
    schedule = Schedule()
    schedule.set(1e6, lambda _: None)
    for _ in range(20_000):
        schedule.set(1e6, lambda _: None).cancel()
    assert len(schedule._heap) < 2000
    assert len(schedule) == 1
