"""A street gets its power back: how its stations share the registrar (a town is in tests/bench/bench_fleet.py)."""

from tests.support.fleet import Fleet

SIZE, RATE, ROOM = 200, 20.0, 40  # at best all are registered after 20 s
SPREAD_S = 40.0


def test_a_spread_fleet_registers_without_one_lost_request() -> None:
    fleet = Fleet(SIZE, rate=RATE, room=ROOM)
    fleet.ours(SPREAD_S)
    fleet.run()
    assert len(fleet.registered) == SIZE
    assert fleet.registrar.lost == 0
    assert fleet.total == 2 * SIZE  # each a challenge and an answer: not one was repeated
    assert fleet.when(1) <= SPREAD_S + 5


def test_the_same_fleet_of_naive_clients_storms() -> None:
    """What the spread is measured against; if this does not hold, the test above proves nothing."""
    fleet = Fleet(SIZE, rate=RATE, room=ROOM)
    fleet.naive()
    fleet.run()
    assert fleet.registrar.lost > SIZE
    assert fleet.total > 8 * SIZE
    assert fleet.peak > 10 * RATE


def test_all_find_a_registrar_that_takes_a_minute_longer_to_start_than_they_do() -> None:
    fleet = Fleet(SIZE, rate=RATE, room=ROOM, up_s=60)
    fleet.ours(SPREAD_S)
    fleet.run()
    assert len(fleet.registered) == SIZE
    assert fleet.when(0.5) < 60 + 60
    assert fleet.when(1) < 60 + 240


def test_stations_that_are_not_spread_are_still_all_served_by_their_back_off() -> None:
    fleet = Fleet(SIZE, rate=RATE, room=ROOM)
    fleet.ours(0)
    fleet.run()
    assert len(fleet.registered) == SIZE
