import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from drivers.gpio.base import GpioError
from drivers.gpio.chips import open_chip
from drivers.gpio.simulated import LINES, LineWatch, SimulatedChip, lines_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return lines_file("simulated", tmp_path)


def in_another_process(path: Path, code: str) -> "subprocess.CompletedProcess[str]":
    """Run `code` with a `chip` on the file in a process of its own."""
    program = f"from drivers.gpio.simulated import *; import os; chip = SimulatedChip(Path({str(path)!r}))\n{code}"
    root = str(Path(__file__).parents[3])
    return subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)


def test_a_line_is_seen_from_outside_as_it_is_set(path: Path) -> None:
    watch = LineWatch(path, 5)
    assert (watch.active, watch.driven) == (False, False)
    line = SimulatedChip(path).request_output(5, active_low=False)
    assert (watch.active, watch.driven) == (False, True)
    line.set(True)
    assert watch.active
    assert line.read()
    line.set(False)
    assert not watch.active
    assert not line.read()
    count, last_s = watch.edges
    assert count == 2
    assert last_s > 0


@pytest.mark.parametrize("active_low", [False, True])
def test_requesting_a_line_makes_no_edge(path: Path, active_low: bool) -> None:
    SimulatedChip(path).request_output(5, active_low=active_low)
    watch = LineWatch(path, 5, active_low=active_low)
    assert not watch.active
    assert watch.edges == (0, 0.0)


def test_an_active_low_line_is_low_when_active_and_high_when_not(path: Path) -> None:
    line = SimulatedChip(path).request_output(0, active_low=True)
    assert path.read_bytes()[:2] == b"1."
    line.set(True)
    assert path.read_bytes()[:2] == b"0."


def test_setting_a_line_to_what_it_is_makes_no_edge(path: Path) -> None:
    line = SimulatedChip(path).request_output(5, active_low=False)
    for active in (True, True, False, False):
        line.set(active)
    assert LineWatch(path, 5).edges[0] == 2


def test_a_killed_owner_leaves_the_level_and_the_next_request_clears_it(path: Path) -> None:
    done = in_another_process(path, "chip.request_output(5, active_low=False).set(True); os.kill(os.getpid(), 9)")
    assert done.returncode == -signal.SIGKILL
    watch = LineWatch(path, 5)
    assert watch.active
    chip = SimulatedChip(path)
    assert watch.active  # opening a chip touches no line
    chip.request_output(5, active_low=False)
    assert not watch.active
    assert watch.edges[0] == 2


def test_a_line_belongs_to_one_process_at_a_time(path: Path) -> None:
    chip = SimulatedChip(path)
    line = chip.request_output(5, active_low=False)
    with path.open("rb"):
        pass  # a reader in this process must not give the line away
    done = in_another_process(
        path, "chip.request_output(6, active_low=False); chip.request_output(5, active_low=False)"
    )
    assert "another process has line 5" in done.stderr
    line.close()
    assert in_another_process(path, "chip.request_output(5, active_low=False)").returncode == 0


def test_a_line_is_requested_once(path: Path) -> None:
    chip = SimulatedChip(path)
    chip.request_output(5, active_low=False)
    with pytest.raises(GpioError, match="line 5 is requested already"):
        chip.request_output(5, active_low=False)


@pytest.mark.parametrize("line", [-1, LINES])
def test_a_line_that_is_not_there_is_refused(path: Path, line: int) -> None:
    with pytest.raises(GpioError, match=f"line {line} is not one of 0 to 63"):
        SimulatedChip(path).request_output(line, active_low=False)


def test_closing_sets_inactive_and_ends_the_line(path: Path) -> None:
    chip = SimulatedChip(path)
    lines = [chip.request_output(n, active_low=False) for n in range(3)]
    for line in lines:
        line.set(True)
    chip.close()
    chip.close()
    assert path.read_bytes()[:4] == b"000."
    for use in (lambda: lines[0].set(True), lines[0].read):
        with pytest.raises(OSError, match="the line is closed"):
            use()


def test_a_chip_in_no_folder_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(GpioError, match=f"{tmp_path}/none/gpio-soc.lines: No such file"):
        open_chip("simulated", "soc", tmp_path / "none", "tester")


def test_a_driver_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(GpioError, match='no gpio driver "magic"; write "lines" or "simulated"'):
        open_chip("magic", "soc", tmp_path, "tester")


def test_a_file_cut_short_is_made_whole_and_its_lines_are_undriven(path: Path) -> None:
    path.write_bytes(b"1")
    watch = LineWatch(path, 0)
    assert not watch.active
    SimulatedChip(path)
    assert not watch.active
    assert path.read_bytes().startswith(b"." * LINES + b"\n")


def test_waiting_for_a_line_ends_with_the_time(path: Path) -> None:
    assert not LineWatch(path, 5).wait(True, 0.01)
    SimulatedChip(path).request_output(5, active_low=False).set(True)
    assert LineWatch(path, 5).wait(True, 0.01)


def test_the_output_half_needs_no_third_party_code() -> None:
    program = (
        "import sys; before = set(sys.modules)\n"
        "import drivers.gpio.chips, drivers.gpio.simulated, board\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(new - set(sys.stdlib_module_names)))"
    )
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, env={**os.environ}
    )
    assert done.stdout.split() == ["board", "drivers"]
