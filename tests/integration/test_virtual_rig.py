"""The virtual rig with U-Boot alone: its lines, power, reset and console, where no image is needed to see them.

U-Boot's mw writes the chip's registers as a kernel would: DIRECTION at 0x400, DATA of one line at its bit times 4.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.networks import ip, own_network
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
OUTPUT_LINE_4 = b"mw.l 0x09030400 0x10; "
LINE_4_HIGH, LINE_4_LOW = b"mw.l 0x09030040 0x10\n", b"mw.l 0x09030040 0\n"


@pytest.fixture
def rig(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The strategy of hil/rigs/qemu-virt.yaml, with an empty card."""
    labgrid = pytest.importorskip("labgrid", reason="labgrid is not installed (tools/setup hil)")
    from hil.__main__ import UBOOT, rig_file, why_not

    if missing := why_not(os.geteuid()):
        pytest.skip("; ".join(missing))
    run = tmp_path_factory.mktemp("rig")
    monkeypatch.setenv("LG_HIL_RUN", str(run))
    monkeypatch.setenv("LG_HIL_UBOOT", str(UBOOT))
    (run / "card.img").write_bytes(bytes(1 << 20))
    with own_network():
        ip("tuntap add rig0 mode tap\nlink set rig0 up")
        environment = labgrid.Environment(str(rig_file("qemu-virt")))
        try:
            yield environment.get_target().get_driver("DoorStrategy", activate=False)
        finally:
            environment.cleanup()


def _prompt(rig: Any) -> None:
    """U-Boot, stopped before it boots from anywhere."""
    begun = rig.console.size
    rig.switch_on()

    def stopped() -> bool:
        rig.power._write(b"\x03")
        return "=> " in rig.console.text(begun)

    wait_until(stopped, "U-Boot's prompt", 60, poll_s=0.3)


def test_lines_are_driven_and_watched_through_power_and_resets(rig: Any) -> None:
    _prompt(rig)
    rig.button.set(True)
    rig.power._write(OUTPUT_LINE_4 + LINE_4_HIGH)
    wait_until(rig.lock.get, "the line goes high", 10)
    assert rig.lock.trace.active
    rig.power._write(LINE_4_LOW)
    wait_until(lambda: not rig.lock.get(), "the line goes low", 10)
    (pulse,) = rig.lock.trace.pulses()
    assert pulse.ended

    rig.power._write(LINE_4_HIGH)
    wait_until(lambda: rig.lock.trace.active, "the line goes high again", 10)
    rig.reset.reset()
    wait_until(lambda: [event.name for event in rig.board.events] == ["RESET"], "the reset is told", 10)
    assert not rig.lock.trace.active
    wait_until(lambda: rig.board.level(0) is False and _inputs(rig) & 1, "the button is still held", 10)

    rig.cut()
    _prompt(rig)
    rig.power._write(OUTPUT_LINE_4 + LINE_4_HIGH)
    wait_until(lambda: rig.lock.trace.active, "the line goes high after the power came back", 10)
    rig.cut()
    assert not rig.lock.trace.active
    assert [pulse.ended for pulse in rig.lock.trace.pulses()] == [True, True, True]


def _inputs(rig: Any) -> int:
    from hil.qtest import DATA

    return int(rig.board._qtest.register(DATA))
