"""9. What became of the card while the power was off: a slot that does not start gives way to the other one, a
configuration that is wrong is refused and said, and the door can be reached and rings on.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from hil.disk import lay_in, rename_file
from hil.door import Door
from hil.provision import station_toml, write_provision
from hil.strategy import Status
from hil.street import Street
from tests.support.baresip import Baresip
from tests.support.waiting import wait_until

pytestmark = pytest.mark.lg_feature("virtual")
WRONG = "relay9"


@dataclass(frozen=True)
class Start:
    """From a card whose slot `slot` has no kernel, and whose provision/ has a configuration that is wrong."""

    slot: str
    other: str
    console: str


@pytest.fixture(scope="module")
def start(device: Door, tmp_path_factory: pytest.TempPathFactory) -> Start:
    device.ready()
    (slot,) = device.run("grep --only-matching 'portero.slot=[AB]' /proc/cmdline").split("=")[1:]
    other = "B" if slot == "A" else "A"
    device.run("sync")
    device.strategy.cut()
    card = Path(os.environ["LG_HIL_RUN"]) / "card.img"
    rename_file(card, f"boot{slot}", "vmlinuz", "gone")
    wrong = station_toml("qemu-virt").replace('relay = "relay1"', f'relay = "{WRONG}"')
    lay_in(card, write_provision(tmp_path_factory.mktemp("wrong"), wrong))
    seen = device.console.size
    try:
        device.strategy.switch_on()
        wait_until(lambda: f"slot {other} of" in device.console.text(seen), "the other slot is taken", 120, 0.5)
        device.strategy.log_in_when_started(seen)
        device.strategy.wait_ready(device.strategy.boot_s)
    except BaseException:
        device.strategy.cut()
        rename_file(card, f"boot{slot}", "gone", "vmlinuz")  # a second try needs a slot to start from
        raise
    device.strategy.status = Status.ready
    return Start(slot, other, device.console.text(seen))


def test_a_slot_without_a_kernel_gives_way_to_the_other_after_three_tries(
    start: Start, door: Door, street: Street, monitor: Baresip
) -> None:
    assert start.console.count(f"slot {start.slot} does not start") == 3
    assert f"portero.slot={start.other}" in door.run("cat /proc/cmdline")
    rung = len(street.rung())
    door.press()
    wait_until(lambda: len(street.rung()) > rung, "the monitor rings", 30)
    monitor.hang_up()
    wait_until(lambda: not monitor.has_call(), "the call is over")


def test_a_provisioned_configuration_with_an_error_is_refused_and_said(start: Start, door: Door) -> None:
    """On the console and in the journal, with the place; the one in use stays, as does the way in."""
    journal = door.run("journalctl --boot --unit=portero-provision --output=cat --no-pager")
    for told in (start.console, journal):
        (line,) = [line for line in told.splitlines() if "REFUSED: station.toml" in line]
        assert WRONG in line
    assert WRONG not in door.run("cat /data/portero/station.toml")
    assert door.status()["accounts"]
