"""`--minutes`: the rig as a check of every change, on a machine that others use too and within a time.

No test begins when the time is over; what came too late is skipped by name. The relay's second and third turns come
last. A test that failed while the host took more than a third of the processors away is skipped with what it found:
an emulated board without a processor is no device that failed. Without such an excuse it is tried once more. Tests
of the relay (mark `relay`) are neither excused, unless the device did not get ready for them, nor tried again: once
wrong is wrong.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TAKEN = 1 / 3
_AT_FIRST = pytest.StashKey[tuple[int, int]]()


class SharedMachine:
    """Plugin of pytest for a run of so many minutes."""

    def __init__(self, minutes: float, stat: Path = Path("/proc/stat")) -> None:
        self._minutes = minutes
        self._deadline_s = time.monotonic() + 60 * minutes
        self._stat = stat

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
        item.stash[_AT_FIRST] = taken(self._stat)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
        report: Any = yield
        excusable = report.when != "call" or item.get_closest_marker("relay") is None
        if report.failed and excusable and _AT_FIRST in item.stash:
            share = share_between(item.stash[_AT_FIRST], taken(self._stat))
            if share > TAKEN:
                found = [line for line in report.longreprtext.splitlines() if line.startswith("E ")] or ["?"]
                why = f"Skipped: not judged: the host took {share:.0%} of the processors meanwhile; {found[0]}"
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


def share_between(before: tuple[int, int], after: tuple[int, int]) -> float:
    """Of the processors that the host took between two looks."""
    whole = after[1] - before[1]
    return (after[0] - before[0]) / whole if whole > 0 else 0.0
