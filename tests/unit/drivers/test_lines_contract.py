"""What every chip does, whatever is below it: the simulated one, the kernel's (gpiod faked), and a real one.

The real one is any chip of the machine that the tests run on, named by the environment:

    PORTERO_GPIO_CHIP    its label, as "9030000.pl061"
    PORTERO_GPIO_OUTPUT  a line that may be driven
    PORTERO_GPIO_INPUT   a line that somebody moves: without a hand, the cases with edges are skipped
    PORTERO_GPIO_HAND    a program that moves it: reads lines of "LINE LEVEL" ("0 1"), answers each when it is done
"""

import os
import select
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from drivers.gpio.base import Chip, Edge, GpioError, InputLine
from drivers.gpio.lines import KernelChip
from drivers.gpio.simulated import SimulatedChip
from tests.support.fake_gpiod import machine

DEADLINE_S = 20.0
REST_MS = 500  # longer than a busy machine stops a test between two of its steps


@dataclass
class Bench:
    """`open` opens the chip anew; `drive(line, high)` is a hand, None where there is none. `latches`: an interrupt
    of before the line was requested may be told after it, with the level of then."""

    open: Callable[[], Chip]
    drive: Callable[[int, bool], None] | None
    output: int
    input: int
    lines: int
    latches: bool = False

    def hand(self) -> Callable[[bool], None]:
        if self.drive is None:
            pytest.skip("nobody moves the lines: PORTERO_GPIO_HAND is not set")
        return partial(self.drive, self.input)


@pytest.fixture(params=["simulated", "kernel", "real"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    match request.param:
        case "simulated":
            file = tmp_path / "lines"
            hand = SimulatedChip(file)
            yield Bench(lambda: SimulatedChip(file), hand.drive, 4, 0, 64)
            hand.close()
        case "kernel":
            with machine(tmp_path, {"other": 4, "9030000.pl061": 8}) as world:
                hand = SimulatedChip(world.lines("9030000.pl061"))
                yield Bench(lambda: KernelChip("9030000.pl061", "tester", world.devices), hand.drive, 4, 0, 8)
                hand.close()
        case "real":
            yield from real()


def real() -> Iterator[Bench]:
    label = os.environ.get("PORTERO_GPIO_CHIP", "")
    if not label:
        pytest.skip("no real chip is given: PORTERO_GPIO_CHIP is not set")
    output, given = (int(os.environ.get(f"PORTERO_GPIO_{kind}", "0")) for kind in ("OUTPUT", "INPUT"))
    command = os.environ.get("PORTERO_GPIO_HAND", "")
    if not command:
        yield Bench(lambda: KernelChip(label, "tester"), None, output, given, 1 << 16, latches=True)
        return
    with subprocess.Popen(
        shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as hand:
        asked, done = hand.stdin, hand.stdout
        assert asked is not None
        assert done is not None

        def drive(line: int, high: bool) -> None:
            print(line, int(high), file=asked)
            assert done.readline(), "the hand ended"

        yield Bench(lambda: KernelChip(label, "tester"), drive, output, given, 1 << 16, latches=True)
        asked.close()


@pytest.fixture
def chip(bench: Bench) -> Iterator[Chip]:
    opened = bench.open()
    yield opened
    opened.close()


def next_edges(line: InputLine, count: int, *, latches: bool = False, active: bool = False) -> list[Edge]:
    """The next so many edges, through the descriptor, as a loop would wait for them. Where the chip `latches` (and
    nothing debounces), an edge to the level that was told last, `active` at first, is none."""
    deadline_s = time.monotonic() + DEADLINE_S
    found: list[Edge] = []
    poller = select.poll()
    poller.register(line.fd, select.POLLIN)
    while len(found) < count:
        assert time.monotonic() < deadline_s, f"only {found}"
        for edge in line.edges() if poller.poll(100) else ():
            if edge.active != active or not latches:
                found.append(edge)
            active = edge.active
    return found


def rest(milliseconds: int) -> None:
    until_s = time.monotonic() + milliseconds / 1000
    while time.monotonic() < until_s:
        select.select([], [], [], 0.01)


# --- outputs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("active_low", [False, True])
def test_an_output_begins_inactive_and_reads_as_it_was_set(bench: Bench, chip: Chip, active_low: bool) -> None:
    line = chip.request_output(bench.output, active_low=active_low)
    assert not line.read()
    for active in (True, True, False, True):
        line.set(active)
        assert line.read() is active
    line.set(False)


def test_an_output_that_was_left_on_is_inactive_once_it_is_requested_again(bench: Bench) -> None:
    before = bench.open()
    line = before.request_output(bench.output, active_low=False)
    line.set(True)
    line.close()
    line.close()
    before.close()
    again = bench.open()
    assert not again.request_output(bench.output, active_low=False).read()
    again.close()


def test_a_closed_output_is_inactive_and_cannot_be_used(bench: Bench, chip: Chip) -> None:
    line = chip.request_output(bench.output, active_low=False)
    line.set(True)
    line.close()
    for use in (lambda: line.set(True), line.read):
        with pytest.raises(OSError, match="the line is closed"):
            use()
    # Whoever has it next sees the level that was left: as an input it floats there, or is read back.
    reader = chip.request_output(bench.output, active_low=False)
    assert not reader.read()


def test_a_line_has_one_owner_at_a_time(bench: Bench, chip: Chip) -> None:
    line = chip.request_output(bench.output, active_low=False)
    other = bench.open()
    with pytest.raises(GpioError, match=f"line {bench.output}"):
        other.request_output(bench.output, active_low=False)
    with pytest.raises(GpioError, match=f"line {bench.output}"):
        other.request_input(bench.output, active_low=False, pull="none", debounce_ms=0)
    line.set(True)
    assert line.read()  # who failed to take it has changed nothing
    line.close()
    other.request_output(bench.output, active_low=False).close()
    other.close()


@pytest.mark.parametrize("over", [-1, 0])
def test_a_line_beyond_the_chip_is_refused_with_those_it_has(bench: Bench, chip: Chip, over: int) -> None:
    line = bench.lines if over == 0 else -1
    with pytest.raises(GpioError, match=rf"line {line}\D.*0 to \d+"):
        chip.request_output(line, active_low=False)


def test_closing_a_chip_closes_its_lines_and_once_more_does_nothing(bench: Bench) -> None:
    chip = bench.open()
    output = chip.request_output(bench.output, active_low=False)
    watched = chip.request_input(bench.input, active_low=False, pull="none", debounce_ms=0)
    output.set(True)
    chip.close()
    chip.close()
    for use in (output.read, watched.read, watched.edges):
        with pytest.raises(OSError, match="the line is closed"):
            use()
    again = bench.open()
    assert not again.request_output(bench.output, active_low=False).read()
    again.close()


# --- inputs --------------------------------------------------------------------------------------------------


def test_an_input_that_nobody_moves_tells_nothing_and_does_not_block(bench: Bench, chip: Chip) -> None:
    line = chip.request_input(bench.input, active_low=False, pull="none", debounce_ms=10)
    assert line.edges() == []


@pytest.mark.parametrize(("active_low", "pull"), [(False, "down"), (True, "up"), (True, "none"), (False, "none")])
def test_a_change_is_told_with_the_time_of_its_edge(bench: Bench, chip: Chip, active_low: bool, pull: str) -> None:
    hand = bench.hand()
    hand(active_low)
    line = chip.request_input(bench.input, active_low=active_low, pull=pull, debounce_ms=0)  # type: ignore[arg-type]
    assert not line.read()
    before_s = time.monotonic()
    hand(not active_low)
    (pressed,) = next_edges(line, 1, latches=bench.latches)
    assert pressed.active
    assert line.read()
    hand(active_low)
    (released,) = next_edges(line, 1, latches=bench.latches, active=True)
    assert not released.active
    assert before_s <= pressed.at_s < released.at_s <= time.monotonic()


def test_bouncing_contacts_are_one_edge_once_they_rest(bench: Bench, chip: Chip) -> None:
    hand = bench.hand()
    hand(False)
    line = chip.request_input(bench.input, active_low=False, pull="none", debounce_ms=REST_MS)
    began_s = time.monotonic()
    for high in (True, False, True, False, True):
        hand(high)
    (pressed,) = next_edges(line, 1)
    assert pressed.active
    assert pressed.at_s >= began_s + REST_MS / 1000
    hand(False)
    hand(True)
    hand(False)
    assert [edge.active for edge in next_edges(line, 1)] == [False]


def test_a_glitch_is_not_told(bench: Bench, chip: Chip) -> None:
    hand = bench.hand()
    hand(False)
    line = chip.request_input(bench.input, active_low=False, pull="none", debounce_ms=REST_MS)
    hand(True)
    hand(False)
    rest(REST_MS + 50)
    assert not line.read()
    hand(True)
    assert [edge.active for edge in next_edges(line, 1)] == [True]
    assert line.edges() == []


def test_edges_that_nobody_fetched_are_there_in_their_order(bench: Bench, chip: Chip) -> None:
    hand = bench.hand()
    hand(False)
    line = chip.request_input(bench.input, active_low=False, pull="none", debounce_ms=0)
    for n in range(10):
        hand(n % 2 == 0)
    edges = next_edges(line, 10, latches=bench.latches)
    assert [edge.active for edge in edges] == [True, False] * 5
    assert [edge.at_s for edge in edges] == sorted(edge.at_s for edge in edges)
