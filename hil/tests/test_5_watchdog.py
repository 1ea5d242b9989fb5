"""5. What hangs is restarted, and the door rings again by itself."""

import pytest

from hil.door import Door
from hil.street import Street
from tests.support.baresip import Baresip
from tests.support.waiting import wait_until

SYSTEMD_S = 180.0  # its watchdog of the service, the time it grants for an abort, and the start
HARDWARE_S = 120.0  # what board/qemu-virt gives it, and as much again


def _rings(door: Door, street: Street, monitor: Baresip) -> None:
    rung = len(street.rung())
    door.press()
    wait_until(lambda: len(street.rung()) > rung, "the monitor rings", 30)
    monitor.hang_up()
    wait_until(lambda: not monitor.has_call(), "the call is over")


def test_a_main_loop_that_stopped_is_restarted(door: Door, street: Street, monitor: Baresip) -> None:
    stopped = door.process("portero")
    door.run(f"kill -STOP {stopped}")
    wait_until(lambda: door.process("portero") not in (0, stopped), "systemd starts another", SYSTEMD_S, poll_s=2)
    door.strategy.wait_ready(SYSTEMD_S)
    _rings(door, street, monitor)


@pytest.mark.relay
def test_a_lock_process_that_stopped_is_restarted(door: Door) -> None:
    stopped = door.process("portero-door")
    on_s = door.unlock()
    door.run(f"kill -STOP {stopped}")
    wait_until(
        lambda: door.process("portero-door") not in (0, stopped), "systemd starts another", SYSTEMD_S, poll_s=2
    )
    wait_until(lambda: not door.lock.trace.active, "the lock's line is released", SYSTEMD_S)
    assert len(door.lock.trace.pulses(on_s)) == 1


def test_a_stopped_systemd_is_reset_by_the_hardware(door: Door, street: Street, monitor: Baresip) -> None:
    before = door.boot_id()
    # SIGSTOP does not reach process 1; the freezer of its control group does.
    door.begin("sh -c 'sleep 1; echo 1 > /sys/fs/cgroup/init.scope/cgroup.freeze'")
    door.strategy.restarted(HARDWARE_S)
    assert door.boot_id() != before
    door.ready()
    _rings(door, street, monitor)
