"""Shared by all tests: the logs of the programs that a failed test had started go into its report, and what each
test found wrong is said once more at the very end, where no log buries it and no cut of the output reaches."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.peers import Peers

_SOUND_TRIES = 3
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


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Sound over real time is measured again where it was bad: others may have had the processor, and half a minute
    without a gap is then not the station's to give. A fault of its own is there each time."""
    if pyfuncitem.get_closest_marker("sound") is None:
        return None
    own = pyfuncitem.funcargs
    for _ in range(_SOUND_TRIES - 1):
        try:
            pyfuncitem.obj(**{name: own[name] for name in pyfuncitem._fixtureinfo.argnames})
        except Exception as error:  # noqa: BLE001 — whatever a stall makes of it
            print(f"once more, for: {error}")
            if isinstance(peers := own.get("peers"), Peers):
                peers.stop()
        else:
            return True
    return None  # the last try is pytest's


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    own = getattr(item, "funcargs", {}).get("peers")
    if report.failed and isinstance(own, Peers):
        report.sections.extend(own.logs())
    return report


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    failed = [report for kind in ("failed", "error") for report in terminalreporter.stats.get(kind, [])]
    if failed:
        terminalreporter.section("what was wrong")
    for report in failed:
        terminalreporter.write_line(
            f"{report.nodeid} ({report.when}, {getattr(report, 'duration', 0.0):.1f} s)", red=True
        )
        wrong = [line[:_WIDTH] for line in report.longreprtext.splitlines() if line.startswith("E ")]
        if len(wrong) > _FIRST + _LAST:
            wrong[_FIRST:-_LAST] = ["E   ..."]
        for line in wrong or report.longreprtext.splitlines()[-_LAST:]:
            terminalreporter.write_line(line)
