"""1. From power to a door that rings: how long each step takes; and that the device has what its board says."""

import json
import time
from collections.abc import Callable

from hil.door import Door
from hil.strategy import Status
from hil.street import Street
from tests.support.baresip import Baresip
from tests.support.waiting import wait_until

PRESS_EVERY_S = 4.0  # as a visitor before a door that does not ring


def test_power_brings_a_door_that_rings(
    device: Door, street: Street, monitor: Baresip, timing: Callable[[str, float], None]
) -> None:
    strategy = device.strategy
    strategy.cut()
    known = len(street.pbx.requests("REGISTER"))
    power_s = strategy.switch_on()
    wait_until(lambda: street.registrations(after=known), "the door's first REGISTER", strategy.boot_s)
    register_s = time.monotonic()
    ringing_s = _press_until_it_rings(device, street)
    strategy.log_in(strategy.boot_s)
    ready_s = _ready_s(device)
    timing("power to READY", ready_s - power_s)
    timing("power to first REGISTER", register_s - power_s)
    timing("power to first ringing press", ringing_s - power_s)
    strategy.wait_ready(60)
    assert device.run("systemctl is-active portero portero-door").split() == ["active", "active"]
    assert device.lock.trace.pulses(power_s) == [], "the lock's line moved while the device started"
    monitor.command("hangup")
    wait_until(lambda: not monitor.has_call(), "the call is over")
    strategy.status = Status.ready


def _press_until_it_rings(device: Door, street: Street) -> float:
    """When the monitor was heard."""
    deadline = time.monotonic() + 60
    while not street.rung():
        assert time.monotonic() < deadline, "pressed for a minute, and the monitor did not ring"
        pressed_s = device.press()
        while not street.rung() and time.monotonic() < pressed_s + PRESS_EVERY_S:
            time.sleep(0.02)
    return time.monotonic()


def _ready_s(device: Door) -> float:
    """When systemd had READY=1 of portero, on this machine's clock: the device's runs as fast."""
    asked_s = time.monotonic()
    up, ready_us = device.run(
        "cut -d' ' -f1 /proc/uptime; systemctl show --property=ActiveEnterTimestampMonotonic --value portero"
    ).split()
    answered_s = time.monotonic()
    return (asked_s + answered_s) / 2 - (float(up) - int(ready_us) / 1e6)


def test_nothing_of_the_board_is_missing_or_taken(door: Door) -> None:
    """Lines, camera, sound, watchdog, files, and the rights to use them."""
    lines, errors, _ = door.try_run("portero check-board --json")
    assert lines, "\n".join(errors)
    findings = json.loads("\n".join(lines))["findings"]
    assert findings
    assert [each for each in findings if not each["well"]] == []
