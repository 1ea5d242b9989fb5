"""2. A hand presses: the monitor rings, both see and hear, the code opens the door for its time."""

import time
from collections.abc import Callable
from pathlib import Path

from hil.door import Door
from hil.provision import CODE, PULSE_MS
from hil.street import Street
from hil.tests.scene import bars, in_order
from tests.support.baresip import Baresip, write_tone
from tests.support.sound import level_db, loudest_hz, read_wav
from tests.support.waiting import wait_until

VISITOR_HZ, MONITOR_HZ = 700, 1000
SOON_MS, LATE_MS = 20, 300  # how much shorter and longer the line may be on than asked, seen from outside


def test_a_press_is_seen_heard_and_opened(
    door: Door, street: Street, monitor: Baresip, tmp_path: Path, timing: Callable[[str, float], None]
) -> None:
    rung = len(street.rung())
    pressed_s = door.press()
    wait_until(lambda: len(street.rung()) > rung, "the monitor rings", 30, poll_s=0.01)
    timing("press to ringing", time.monotonic() - pressed_s)

    pictures = [monitor.snapshot(tmp_path / f"ringing{number}.png", timeout_s=30) for number in (1, 2)]
    for picture in pictures:
        assert in_order(bars(picture)), f"{picture} does not show the eight bars: {bars(picture)}"

    monitor.accept()
    wait_until(lambda: monitor.count("CALL_ESTABLISHED"), "the call is up", 30)
    try:
        door.strategy.mouth.play(write_tone(tmp_path / "visitor.wav", VISITOR_HZ, rate_hz=16_000, seconds=60))
        heard_before = monitor.heard_s()
        wait_until(lambda: monitor.heard_s() > heard_before + 8, "the monitor hears eight seconds", 60, poll_s=0.2)
        _assert_tone(monitor.heard()[-1], VISITOR_HZ, -3)
        _assert_tone(door.strategy.ear.record(tmp_path / "speaker.wav", 4), MONITOR_HZ, -2)
    finally:
        door.strategy.mouth.stop()

    asked_s = time.monotonic()
    monitor.press_keys(CODE)
    wait_until(lambda: door.lock.trace.pulses(asked_s), "the lock's line goes active", 30)
    wait_until(lambda: not door.lock.trace.active, "and back", PULSE_MS / 1000 + 5)
    (pulse,) = door.lock.trace.pulses(asked_s)
    timing("lock's line active", pulse.seconds)
    assert PULSE_MS - SOON_MS <= pulse.seconds * 1000 <= PULSE_MS + LATE_MS

    monitor.hang_up()
    wait_until(lambda: not monitor.has_call(), "the call is over")
    why = door.doorctl("why")
    assert why["failed"] == "", why


def _assert_tone(file: Path, hz: int, part_s: float) -> None:
    """The last `-part_s` seconds of the file are this tone."""
    sound = read_wav(file).part(part_s)
    assert abs(loudest_hz(sound) - hz) <= 10, f"{file}: {loudest_hz(sound)} Hz, not {hz}"
    assert level_db(sound, hz) > -40, f"{file}: {level_db(sound, hz):.0f} dB"
