"""Which chip a board's outputs are on: the one place that knows the drivers of output lines by name."""

from pathlib import Path

from drivers.gpio.base import GpioError, OutputChip
from drivers.gpio.simulated import SimulatedChip


def open_chip(driver: str, label: str, run_dir: Path) -> OutputChip:
    """The chip of this label. `run_dir` is where the simulated one keeps its lines. GpioError if there is none."""
    if driver != "simulated":
        raise GpioError(f'there is no gpio driver "{driver}"; write "simulated"')
    return SimulatedChip.of(label, run_dir)
