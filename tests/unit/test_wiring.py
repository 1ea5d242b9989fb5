"""Lines of chips that are there, are not, or go away: faults, and never the station's end."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from board import Input, Output
from drivers.gpio.base import Chip, GpioError
from drivers.gpio.simulated import LineWatch, SimulatedChip, lines_file
from firmware import wiring as module
from firmware.station import events
from firmware.station.events import Event, EventStream
from firmware.station.faults import Faults
from firmware.wiring import Wiring

BUTTON = Input("chip", 3, active_low=True, pull="up", debounce_ms=0)
LIGHT = Output("chip", 5, active_low=False)


class Scene:
    """Wiring on a chip that can be taken away, its faults, and what its contacts told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there = True
        self.told: list[Event] = []
        self.heard: list[object] = []
        self.opened: list[str] = []
        self.file = lines_file("chip", folder)
        self.hand = SimulatedChip(self.file)
        stream = EventStream()
        stream.subscribe(lambda record: self.told.append(record.event))
        monkeypatch.setattr(module, "open_chip", self._open)
        monkeypatch.setattr(module, "RETRY_S", 0.01)
        self.wiring = Wiring("simulated", folder, Faults(stream), asyncio.get_running_loop())

    def _open(self, driver: str, label: str, run_dir: Path, consumer: str) -> Chip:
        self.opened.append(label)
        if not self.there:
            raise GpioError(f'there is no chip "{label}"')
        return SimulatedChip(self.file)

    def contact(self) -> None:
        self.wiring.contact(
            "input button1", BUTTON, self.heard.append, lambda active, edge_s: self.heard.append(("moved", active))
        )

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 — threads and descriptors are waited for here
                await asyncio.sleep(0.002)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Scene], Awaitable[None]]], None]:
    async def scene_of(play: Callable[[Scene], Awaitable[None]]) -> None:
        scene = Scene(tmp_path, monkeypatch)
        try:
            await play(scene)
        finally:
            scene.wiring.close()
            scene.hand.close()

    return lambda play: asyncio.run(scene_of(play))


def test_a_chip_that_comes_late_is_a_fault_until_then(run) -> None:
    async def play(scene: Scene) -> None:
        scene.there = False
        scene.contact()
        (fault,) = scene.told
        assert isinstance(fault, events.Fault)
        assert (fault.where, fault.what) == ("input button1", 'there is no chip "chip"')
        assert scene.heard == []
        scene.there = True
        await scene.until(lambda: scene.heard)
        assert scene.heard == [False]
        assert scene.told[1:] == [events.FaultCleared(where="input button1")]
        scene.hand.drive(3, False)
        await scene.until(lambda: len(scene.heard) == 2)
        assert scene.heard[1] == ("moved", True)

    run(play)


def test_a_chip_that_goes_away_is_a_fault_and_had_again(run) -> None:
    async def play(scene: Scene) -> None:
        scene.contact()
        lights: list[object] = []
        scene.wiring.light("light 1", LIGHT, lights.append)
        scene.there = False
        opened = len(scene.opened)
        for pin in ("chip:3", "chip:5"):  # both notice
            scene.wiring.lost(pin, OSError(19, "No such device"))
        assert [(event.where, event.what) for event in scene.told if isinstance(event, events.Fault)] == [
            ("input button1", 'chip "chip": No such device'),
            ("light 1", 'chip "chip": No such device'),
        ]
        scene.hand.drive(3, False)  # pressed meanwhile
        scene.there = True
        await scene.until(lambda: len(lights) == 2)
        assert scene.heard == [False, True]
        assert len(scene.opened) > opened  # the chip itself, not only its lines
        assert [event.where for event in scene.told if isinstance(event, events.FaultCleared)] == [
            "input button1",
            "light 1",
        ]

    run(play)


def test_a_light_is_handed_over_off_and_goes_out_at_the_end(run) -> None:
    async def play(scene: Scene) -> None:
        scene.wiring.light("light 1", LIGHT, lambda light: light.steady(True))
        watch = LineWatch(scene.file, LIGHT.line)
        assert watch.active
        scene.wiring.close()
        assert not watch.active

    run(play)


def test_a_line_that_fails_while_it_is_opened_is_let_go_and_tried_again(run) -> None:
    async def play(scene: Scene) -> None:
        tries: list[object] = []

        def found(active: bool) -> None:
            tries.append(active)
            if len(tries) == 1:
                raise OSError(5, "Input/output error")

        scene.wiring.contact("input button1", BUTTON, found, lambda active, edge_s: None)
        await scene.until(lambda: len(tries) == 2)
        assert [type(event) for event in scene.told] == [events.Fault, events.FaultCleared]

    run(play)


def test_two_wishes_for_one_line_are_a_fault_of_the_second(run) -> None:
    async def play(scene: Scene) -> None:
        scene.contact()
        scene.wiring.light("light 1", Output("chip", 3, active_low=False), print)
        (fault,) = scene.told
        assert isinstance(fault, events.Fault)
        assert "chip:3 is already in use" in fault.what

    run(play)
