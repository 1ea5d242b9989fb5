"""Which chip a board's lines are on: the one place that knows the drivers of lines by name."""

from pathlib import Path

from drivers.gpio.base import Chip, GpioError


def open_chip(driver: str, label: str, run_dir: Path, consumer: str) -> Chip:
    """The chip of this label. `run_dir` is where the simulated one keeps its lines, `consumer` who the
    lines' owner is, as others see it. GpioError if there is none.

    Each driver is imported where it is wanted: the simulated one needs no gpiod.
    """
    match driver:
        case "lines":
            try:
                from drivers.gpio.lines import KernelChip
            except ImportError as error:
                raise GpioError(f'gpio driver "lines" needs gpiod, version 2: {error}') from error
            return KernelChip(label, consumer)
        case "simulated":
            from drivers.gpio.simulated import SimulatedChip

            return SimulatedChip.of(label, run_dir)
    raise GpioError(f'there is no gpio driver "{driver}"; write "lines" or "simulated"')
