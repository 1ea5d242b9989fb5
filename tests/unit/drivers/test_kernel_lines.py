"""What of the kernel's lines no chip shares with another: what is asked in one request, and who is to blame."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import gpiod
import pytest
from gpiod.line import Bias, Clock, Direction, Value
from gpiod.line import Edge as Edges

from drivers.gpio.base import GpioError
from drivers.gpio.chips import open_chip
from drivers.gpio.lines import KernelChip, labels
from drivers.gpio.simulated import LineWatch
from tests.support.fake_gpiod import World, machine


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with machine(tmp_path, {"raspberrypi-exp-gpio": 8, "pinctrl-bcm2711": 58}) as made:
        yield made


def test_direction_polarity_and_level_of_an_output_are_one_request(world: World) -> None:
    chip = KernelChip("pinctrl-bcm2711", "tester", world.devices)
    chip.request_output(17, active_low=True)
    ((label, line, settings),) = world.requests
    assert (label, line) == ("pinctrl-bcm2711", 17)
    assert settings.direction is Direction.OUTPUT
    assert settings.active_low
    assert settings.output_value is Value.INACTIVE
    assert world.holders == {("pinctrl-bcm2711", 17): "tester"}
    assert LineWatch(world.lines(label), 17, active_low=True).edges == (0, 0.0)
    chip.close()


@pytest.mark.parametrize(
    ("pull", "bias"), [("up", Bias.PULL_UP), ("down", Bias.PULL_DOWN), ("none", Bias.DISABLED)]
)
def test_everything_about_an_input_is_one_request(world: World, pull: str, bias: Bias) -> None:
    chip = KernelChip("pinctrl-bcm2711", "tester", world.devices)
    chip.request_input(17, active_low=False, pull=pull, debounce_ms=25)  # type: ignore[arg-type]
    ((_, _, settings),) = world.requests
    assert settings.direction is Direction.INPUT
    assert settings.bias is bias
    assert settings.debounce_period == timedelta(milliseconds=25)
    assert settings.edge_detection is Edges.BOTH
    assert settings.event_clock is Clock.MONOTONIC
    chip.close()


def test_a_chip_that_is_not_there_is_named_beside_those_that_are(world: World) -> None:
    with pytest.raises(
        GpioError, match='no chip "pinctrl-rp1"; there is "raspberrypi-exp-gpio", "pinctrl-bcm2711"'
    ):
        KernelChip("pinctrl-rp1", "tester", world.devices)


def test_a_machine_without_chips_says_so(tmp_path: Path) -> None:
    with pytest.raises(GpioError, match="there is no chips; is this the right board"):
        KernelChip("pinctrl-rp1", "tester", tmp_path)


def test_a_chip_that_may_not_be_opened_is_named_with_the_remedy(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(gpiod, "Chip", refuse)
    with pytest.raises(GpioError, match="gpiochip1: Permission denied; let this user into the group"):
        KernelChip("pinctrl-bcm2711", "tester", world.devices)
    assert labels(world.devices) == {}


def test_a_taken_line_names_who_has_it(world: World) -> None:
    world.holders["pinctrl-bcm2711", 3] = "gpio-keys"
    chip = KernelChip("pinctrl-bcm2711", "tester", world.devices)
    with pytest.raises(GpioError, match='chip "pinctrl-bcm2711", line 3: taken by "gpio-keys" already; end that'):
        chip.request_input(3, active_low=False, pull="none", debounce_ms=0)
    chip.close()


def test_what_a_chip_cannot_do_is_an_error_of_that_line(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    chip = KernelChip("pinctrl-bcm2711", "tester", world.devices)

    def refuse(*_: object) -> None:
        raise ValueError(22, "Invalid argument")  # as gpiod tells EINVAL

    monkeypatch.setattr(chip._chip, "request_lines", refuse)
    with pytest.raises(GpioError, match='chip "pinctrl-bcm2711", line 3: the chip refuses it'):
        chip.request_output(3, active_low=False)


def test_a_chip_that_goes_away_fails_its_lines_and_still_lets_go_of_them(world: World) -> None:
    chip = KernelChip("pinctrl-bcm2711", "tester", world.devices)
    output = chip.request_output(4, active_low=False)
    watched = chip.request_input(5, active_low=False, pull="none", debounce_ms=0)
    output.set(True)
    world.gone.add("pinctrl-bcm2711")
    for use in (output.read, watched.read, watched.edges):
        with pytest.raises(OSError, match="No such device"):
            use()
    with pytest.raises(OSError, match="No such device"):
        chip.close()
    assert world.holders == {}


def test_the_labels_of_a_machine_are_listed_with_their_devices(world: World) -> None:
    assert labels(world.devices) == {
        "raspberrypi-exp-gpio": world.devices / "gpiochip0",
        "pinctrl-bcm2711": world.devices / "gpiochip1",
    }


def test_the_driver_is_chosen_by_the_name_in_the_boards_file(tmp_path: Path) -> None:
    with pytest.raises(GpioError, match='there is no chip "a chip of nobody"'):
        open_chip("lines", "a chip of nobody", tmp_path, "tester")
