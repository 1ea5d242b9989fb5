"""`--minutes`: the rig as a check of every change, on a machine that others use too and within a time.

No test begins when the time is over; what came too late is skipped by name. The relay's second and third turns come
last. A test that failed is tried once more. One that fails again while the host took, for ten seconds of it, more
than a third of the processors away is skipped with what it found: an emulated board without a processor is no
device that failed. Tests of the relay (mark `relay`) are not tried again, and not excused unless the device did not
get ready for them: once wrong is wrong.
"""

import os
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

TAKEN = 1 / 3
LOOK_EVERY_S = 10.0


class SharedMachine:
    """Plugin of pytest for a run of so many minutes."""

    def __init__(self, minutes: float, stat: Path = Path("/proc/stat")) -> None:
        self._minutes = minutes
        self._deadline_s = time.monotonic() + 60 * minutes
        self._stat = stat
        self._looks: list[tuple[int, int]] = []  # since the present try of the present test began
        self._over = threading.Event()

    def pytest_sessionstart(self) -> None:
        threading.Thread(target=self._look_on, name="host", daemon=True).start()

    def pytest_sessionfinish(self) -> None:
        self._over.set()

    def _look_on(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            self._looks.append(taken(self._stat))

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=_turn)  # stable: all else stays in its order
        for item in items:
            if item.get_closest_marker("relay") is None:
                item.add_marker(pytest.mark.flaky(reruns=1))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        again = getattr(item, "execution_count", 1) > 1  # what failed is not made good by being late
        if time.monotonic() > self._deadline_s and not again:
            pytest.skip(f"not run: the {self._minutes:.0f} minutes that the rig was given are over")
        self._looks = [taken(self._stat)]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
        report: Any = yield
        if report.failed:
            whole = self._looks[:-1] or self._looks  # the last look may be of a moment ago
            worst = worst_share([*whole, taken(self._stat)])
            report.sections.append(("the host", f"took up to {worst:.0%} of the processors for ten seconds"))
            if item.get_closest_marker("relay") is None:
                excusable = getattr(item, "execution_count", 1) > 1
            else:
                excusable = report.when != "call"
            if excusable and worst > TAKEN:
                found = [line for line in report.longreprtext.splitlines() if line.startswith("E ")] or ["?"]
                why = f"Skipped: not judged: the host took {worst:.0%} of the processors meanwhile; {found[0]}"
                report.outcome = "skipped"
                report.longrepr = (str(item.path), item.location[1] or 0, why)
        return report


def _turn(item: pytest.Item) -> int:
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return int(parameters.get("turn", 1))


def taken(stat: Path) -> tuple[int, int]:
    """(ticks that the host took, ticks in all) since the start (proc_stat(5))."""
    for line in stat.read_text().splitlines():
        if line.startswith("cpu "):
            ticks = [int(word) for word in line.split()[1:9]]
            return ticks[7], sum(ticks)
    return 0, 0


def stolen_s(stat: Path = Path("/proc/stat")) -> float:
    """Seconds that the host took from each of the processors since the start, in the mean."""
    return taken(stat)[0] / os.sysconf("SC_CLK_TCK") / (os.cpu_count() or 1)


def worst_share(looks: list[tuple[int, int]]) -> float:
    """Of the processors that the host took between two looks, where it took most."""
    return max((_share(*pair) for pair in pairwise(looks)), default=0.0)


def _share(before: tuple[int, int], after: tuple[int, int]) -> float:
    whole = after[1] - before[1]
    return (after[0] - before[0]) / whole if whole > 0 else 0.0
