"""Shared by all tests: the logs of the programs that a failed test had started go into its report."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.peers import Peers


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    own = getattr(item, "funcargs", {}).get("peers")
    if report.failed and isinstance(own, Peers):
        report.sections.extend(own.logs())
    return report
