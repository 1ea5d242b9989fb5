"""How regularly the ticks came, as told in the status."""

import os
import time

from firmware.media.tick import Pace, Sockets


def test_regular_ticks_are_never_late() -> None:
    pace = Pace()
    for number in range(1000):
        pace.tick(5.0 + number * 0.02)
    assert (pace.ticks, pace.late) == (1000, 0)
    assert pace.latest_ms < 0.001


def test_one_late_tick_is_one_and_its_lateness_is_kept() -> None:
    pace = Pace()
    for number in range(1000):
        pace.tick(5.0 + number * 0.02 + (0.015 if number == 500 else 0.0))
    assert pace.late == 1
    assert 14.9 < pace.latest_ms < 15.1


def test_a_sound_card_with_a_slow_clock_is_not_late() -> None:
    pace = Pace()
    for number in range(50_000):
        pace.tick(5.0 + number * 0.02 * 1.0005)
    assert pace.late == 0


def test_a_pause_between_two_calls_is_not_lateness() -> None:
    pace = Pace()
    pace.tick(5.0)
    pace.restart()
    pace.tick(500.0)
    assert pace.late == 0


def test_a_flood_on_one_socket_is_taken_in_bounded_portions() -> None:
    sockets = Sockets()
    reader, writer = os.pipe()
    calls = []
    os.write(writer, bytes(1000))
    sockets.add(reader, lambda now, offset: calls.append(os.read(reader, 1)))
    sockets.drain(time.monotonic(), 0.0)
    assert len(calls) == 64
    sockets.remove(reader)
    sockets.remove(reader)
    sockets.drain(time.monotonic(), 0.0)
    assert len(calls) == 64
    sockets.close()
    os.close(reader)
    os.close(writer)
