"""gpiozero on our lines: devices of any chip, edges on the loop, outputs without a blip."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import gpiozero
import pytest
from gpiozero import LED, Button, DigitalInputDevice, GPIOPinInUse, OutputDevice, PinInvalidPin, PinSetInput

from drivers.gpio.base import Chip, Edge, GpioError
from drivers.gpio.gpiod_factory import GpiodFactory, pin_name
from drivers.gpio.inputs import Contact
from drivers.gpio.lights import LineLight
from drivers.gpio.simulated import LineWatch, SimulatedChip

DEADLINE_S = 10.0
LABEL = "9030000.pl061"


class Machine:
    """A factory on a simulated chip, the hand at its lines, and pins whose chip was lost."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "lines"
        self.hand = SimulatedChip(self.file)
        self.lost: list[tuple[str, OSError]] = []
        self.opened: list[str] = []
        self.factory = GpiodFactory(
            self._open, asyncio.get_running_loop(), lambda pin, error: self.lost.append((pin, error))
        )

    def _open(self, label: str) -> Chip:
        self.opened.append(label)
        if label != LABEL:
            raise GpioError(f'there is no chip "{label}"')
        return SimulatedChip(self.file)

    def watch(self, line: int, *, active_low: bool = False) -> LineWatch:
        return LineWatch(self.file, line, active_low=active_low)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 — threads and descriptors are waited for here
                await asyncio.sleep(0.002)


def on_a_loop(folder: Path, scene: Callable[[Machine], Awaitable[None]]) -> None:
    async def run() -> None:
        made = Machine(folder)
        try:
            await scene(made)
        finally:
            made.factory.close()
            made.hand.close()

    asyncio.run(run())


@pytest.mark.parametrize("active_high", [True, False])
def test_an_output_device_is_off_from_its_first_moment_and_after_its_last(
    tmp_path: Path, active_high: bool
) -> None:
    async def scene(made: Machine) -> None:
        watch = made.watch(5, active_low=not active_high)
        device = OutputDevice(pin_name(LABEL, 5), active_high=active_high, pin_factory=made.factory)
        assert watch.driven
        assert watch.edges == (0, 0.0)
        device.on()
        assert watch.active
        assert device.value == 1
        device.close()
        assert not watch.active
        assert watch.edges[0] == 2

    on_a_loop(tmp_path, scene)


def test_a_device_that_is_to_begin_on_is_on_from_its_first_moment(tmp_path: Path) -> None:
    async def scene(made: Machine) -> None:
        device = OutputDevice(pin_name(LABEL, 5), initial_value=True, pin_factory=made.factory)
        assert made.watch(5).active
        device.off()
        assert not made.watch(5).active

    on_a_loop(tmp_path, scene)


def test_a_button_of_gpiozero_is_pressed_on_the_loop_with_the_time_of_the_edge(tmp_path: Path) -> None:
    async def scene(made: Machine) -> None:
        told: list[tuple[str, asyncio.AbstractEventLoop]] = []
        button = Button(pin_name(LABEL, 0), bounce_time=0.01, pin_factory=made.factory)
        button.when_pressed = lambda: told.append(("pressed", asyncio.get_running_loop()))
        button.when_released = lambda: told.append(("released", asyncio.get_running_loop()))
        made.hand.drive(0, False)
        await made.until(lambda: len(told) == 1)
        assert button.is_pressed
        made.hand.drive(0, True)
        await made.until(lambda: len(told) == 2)
        assert [what for what, _ in told] == ["pressed", "released"]
        assert {loop for _, loop in told} == {asyncio.get_running_loop()}
        button.close()

    on_a_loop(tmp_path, scene)


def test_a_contact_tells_its_edges_times_as_the_kernel_stamped_them(tmp_path: Path) -> None:
    async def scene(made: Machine) -> None:
        told: list[Edge] = []
        contact = Contact(
            made.factory,
            LABEL,
            0,
            active_low=True,
            pull="up",
            debounce_ms=20,
            on_change=lambda active, edge_s: told.append(Edge(active, edge_s)),
        )
        assert not contact.active
        before_s = time.monotonic()
        made.hand.drive(0, False)
        driven_s = time.monotonic()
        await made.until(lambda: told)
        assert contact.active
        assert told[0].active
        assert before_s + 0.02 <= told[0].at_s + 0.001 <= driven_s + 0.022  # not when it was told

    on_a_loop(tmp_path, scene)


@pytest.mark.parametrize(
    ("active_low", "pull"),
    [(True, "none"), (False, "none"), (False, "down"), (True, "up"), (True, "down"), (False, "up")],
)
def test_every_wiring_of_a_contact_closes_and_opens(tmp_path: Path, active_low: bool, pull: str) -> None:
    async def scene(made: Machine) -> None:
        told: list[bool] = []
        made.hand.drive(0, active_low)
        contact = Contact(
            made.factory,
            LABEL,
            0,
            active_low=active_low,
            pull=pull,  # type: ignore[arg-type]
            debounce_ms=0,
            on_change=lambda active, _: told.append(active),
        )
        assert not contact.active
        made.hand.drive(0, not active_low)
        await made.until(lambda: told)
        assert contact.active
        made.hand.drive(0, active_low)
        await made.until(lambda: len(told) == 2)
        assert told == [True, False]
        assert not contact.active

    on_a_loop(tmp_path, scene)


def test_a_callback_that_raises_does_not_stop_the_next(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scene(made: Machine) -> None:
        told: list[bool] = []
        device = DigitalInputDevice(pin_name(LABEL, 0), pin_factory=made.factory)

        def broken() -> None:
            raise RuntimeError("callback broke")

        device.when_activated = broken
        device.when_deactivated = lambda: told.append(True)
        made.hand.drive(0, True)
        made.hand.drive(0, False)
        await made.until(lambda: told)
        assert "callback broke" in caplog.text
        device.close()

    on_a_loop(tmp_path, scene)


def test_pins_of_two_devices_are_kept_apart(tmp_path: Path) -> None:
    async def scene(made: Machine) -> None:
        first = LED(pin_name(LABEL, 5), pin_factory=made.factory)
        with pytest.raises(GPIOPinInUse, match=f"{LABEL}:5"):
            DigitalInputDevice(pin_name(LABEL, 5), pin_factory=made.factory)
        first.close()
        DigitalInputDevice(pin_name(LABEL, 5), pin_factory=made.factory).close()
        assert made.opened == [LABEL, LABEL]  # with its last pin the chip went

    on_a_loop(tmp_path, scene)


@pytest.mark.parametrize("name", ["17", 17, ":17", "label:", "label:x", "label:-1"])
def test_a_pin_without_a_chip_is_refused_by_name(tmp_path: Path, name: object) -> None:
    async def scene(made: Machine) -> None:
        with pytest.raises(PinInvalidPin, match=r"is no pin; write the chip's label and the line"):
            LED(name, pin_factory=made.factory)

    on_a_loop(tmp_path, scene)


def test_a_chip_that_is_not_there_is_an_error_of_ours_and_can_be_there_later(tmp_path: Path) -> None:
    async def scene(made: Machine) -> None:
        for make in (
            lambda: LED("expander:1", pin_factory=made.factory),
            lambda: Contact(
                made.factory, "expander", 1, active_low=False, pull="none", debounce_ms=0, on_change=print
            ),
        ):
            for _ in range(2):
                with pytest.raises(GpioError, match='no chip "expander"'):
                    make()
        assert made.opened == ["expander"] * 4

    on_a_loop(tmp_path, scene)


def test_an_input_has_no_level_to_be_set_and_an_output_no_pwm(tmp_path: Path) -> None:
    async def scene(made: Machine) -> None:
        pin = made.factory.pin(pin_name(LABEL, 3))
        with pytest.raises(PinSetInput):
            pin.state = 1
        pin.close()
        with pytest.raises(gpiozero.PinPWMUnsupported):
            gpiozero.PWMLED(pin_name(LABEL, 3), pin_factory=made.factory)

    on_a_loop(tmp_path, scene)


def test_an_input_that_becomes_an_output_keeps_its_level(tmp_path: Path) -> None:
    async def scene(made: Machine) -> None:
        made.hand.drive(3, True)
        device = OutputDevice(pin_name(LABEL, 3), initial_value=None, pin_factory=made.factory)
        assert made.watch(3).active
        assert made.watch(3).edges == (0, 0.0)
        device.close()

    on_a_loop(tmp_path, scene)


def test_a_lost_chip_is_told_once_and_the_loop_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(made: Machine) -> None:
        device = DigitalInputDevice(pin_name(LABEL, 0), pin_factory=made.factory)
        line = made.factory.pin(pin_name(LABEL, 0))._requested()

        def gone() -> list[Edge]:
            raise OSError(19, "No such device")

        monkeypatch.setattr(line, "edges", gone)
        made.hand.drive(0, True)
        made.hand.drive(0, False)
        await made.until(lambda: made.lost)
        await asyncio.sleep(0)
        assert [(pin, error.errno) for pin, error in made.lost] == [(f"{LABEL}:0", 19)]
        device.close()

    on_a_loop(tmp_path, scene)


@pytest.mark.parametrize("active_low", [False, True])
def test_a_light_shines_blinks_and_goes_out(tmp_path: Path, active_low: bool) -> None:
    async def scene(made: Machine) -> None:
        light = LineLight(made.factory, LABEL, 5, active_low=active_low, on_lost=print)
        watch = made.watch(5, active_low=active_low)
        assert not watch.active
        light.steady(True)
        assert watch.active
        light.blink(0.01)
        await made.until(lambda: watch.edges[0] >= 5)
        light.steady(False)
        assert not watch.active
        light.blink(0.01)
        light.close()
        assert not watch.active
        assert light._timer is None

    on_a_loop(tmp_path, scene)


@pytest.mark.parametrize("blinks", [True, False])
def test_a_light_whose_chip_fails_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blinks: bool
) -> None:
    async def scene(made: Machine) -> None:
        lost: list[OSError] = []
        light = LineLight(made.factory, LABEL, 5, active_low=False, on_lost=lost.append)
        if blinks:
            light.blink(0.01)

        def gone(active: bool) -> None:
            raise OSError(19, "No such device")

        line = made.factory.pin(pin_name(LABEL, 5))._output
        assert line is not None
        monkeypatch.setattr(line, "set", gone)
        if not blinks:
            light.steady(True)
        await made.until(lambda: lost)
        monkeypatch.undo()
        assert len(lost) == 1
        light.close()

    on_a_loop(tmp_path, scene)
