"""9. A slot that does not start gives way to the other one, by itself."""

import os
from pathlib import Path

import pytest

from hil.disk import remove_file
from hil.door import Door
from hil.strategy import Status
from hil.street import Street
from tests.support.baresip import Baresip
from tests.support.waiting import wait_until


@pytest.mark.lg_feature("virtual")
def test_a_slot_without_a_kernel_gives_way_to_the_other_after_three_tries(
    door: Door, street: Street, monitor: Baresip
) -> None:
    (slot,) = door.run("grep --only-matching 'portero.slot=[AB]' /proc/cmdline").split("=")[1:]
    other = "B" if slot == "A" else "A"
    door.run("sync")
    door.strategy.cut()
    remove_file(Path(os.environ["LG_HIL_RUN"]) / "card.img", f"boot{slot}", "vmlinuz")
    seen = door.console.size
    door.strategy.switch_on()
    wait_until(lambda: f"slot {other} of" in door.console.text(seen), "the other slot is taken", 120, 0.5)
    assert door.console.text(seen).count(f"slot {slot} does not start") == 3
    door.strategy.log_in_when_started(seen)
    door.strategy.wait_ready(door.strategy.boot_s)
    door.strategy.status = Status.ready
    assert f"portero.slot={other}" in door.run("cat /proc/cmdline")
    rung = len(street.rung())
    door.press()
    wait_until(lambda: len(street.rung()) > rung, "the monitor rings", 30)
    monitor.hang_up()
    wait_until(lambda: not monitor.has_call(), "the call is over")
