"""Shared by all tests: the logs of the programs that a failed test had started go into its report, and what each
test found wrong is said once more at the very end, where no log buries it and no cut of the output reaches."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.peers import Peers

_TRIES, _SOUND_TRIES = 2, 3
_FIRST, _LAST, _WIDTH = 4, 12, 400  # lines of an assertion that are said again, and characters of each


def pytest_configure() -> None:
    """A suite that was started in the background ignores Ctrl-C, and its programs would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[Peers]:
    """Real peers for this test, ended with it."""
    own = Peers(tmp_path)
    try:
        yield own
    finally:
        own.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Calls with real peers in real time are tried again where they failed: others may have had the processor, and
    half a minute without a gap is then not the station's to give. A fault of its own is there each time, and what
    went right only when run again is said at the end. Not so the relay: once wrong is wrong."""
    for item in items:
        if item.get_closest_marker("integration") is not None and item.get_closest_marker("relay") is None:
            tries = _SOUND_TRIES if item.get_closest_marker("sound") is not None else _TRIES
            item.add_marker(pytest.mark.flaky(reruns=tries - 1))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    own = getattr(item, "funcargs", {}).get("peers")
    if report.failed and isinstance(own, Peers):
        report.sections.extend(own.logs())
    return report


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for kinds, title in ((("rerun",), "right only when run again"), (("failed", "error"), "what was wrong")):
        if reports := [report for kind in kinds for report in terminalreporter.stats.get(kind, [])]:
            terminalreporter.section(title)
        for report in reports:
            _say_again(terminalreporter, report)


def _say_again(terminal: pytest.TerminalReporter, report: pytest.TestReport) -> None:
    terminal.write_line(
        f"{report.nodeid} ({report.when}, {getattr(report, 'duration', 0.0):.1f} s)", red=report.failed
    )
    wrong = [line[:_WIDTH] for line in report.longreprtext.splitlines() if line.startswith("E ")]
    if len(wrong) > _FIRST + _LAST:
        wrong[_FIRST:-_LAST] = ["E   ..."]
    for line in wrong or report.longreprtext.splitlines()[-_LAST:]:
        terminal.write_line(line)
