"""The rig of a session: its network, its servers, its device; and what a failed test leaves in the report."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_html
from labgrid import Environment

from hil.disk import make_card
from hil.door import Door
from hil.provision import MONITOR, RIG_ADDRESS, make_key, station_toml, write_provision
from hil.report import Timing, picture_part, pictures, text_part, timings_table, timings_text, write_evidence
from hil.shared import SharedMachine
from hil.strategy import DoorStrategy, Status
from hil.street import Street
from tests.support.baresip import Baresip
from tests.support.peers import Peers

REPORTS = Path(__file__).parents[2] / "build" / "hil"
TIMINGS = pytest.StashKey[list[Timing]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="the relay's cases twenty times each, not three")
    parser.addoption("--minutes", type=float, help="on a shared machine, within a time: hil/shared.py")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TIMINGS] = []
    if (minutes := config.getoption("--minutes")) is not None:
        config.pluginmanager.register(SharedMachine(minutes))


def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[FAILED] = False  # it may be run again


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`turn`: again and again, as often as this run is to."""
    if "turn" in metafunc.fixturenames:
        turns = 20 if metafunc.config.getoption("--full") else 3
        metafunc.parametrize("turn", range(1, turns + 1))


@pytest.fixture(scope="session")
def street(env: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    interface = env.config.get_option("interface")
    virtual = env.config.get_option("network") == "tap"
    with Street.on(tmp_path_factory.mktemp("street"), interface, virtual=virtual) as found:
        yield found


@pytest.fixture(scope="session")
def device(street: Street, env: Environment, strategy: DoorStrategy, pytestconfig: pytest.Config) -> Iterator[Door]:
    """The rig's device; off, until a test wants it on. A virtual one has a new card, a bench's lies in it."""
    run = Path(os.environ["LG_HIL_RUN"])
    if image := os.environ.get("HIL_IMAGE"):
        station = station_toml(env.config.get_option("board"))
        make_card(Path(image), run / "card.img", write_provision(run, station, make_key(run / "key")))
    yield Door(strategy, shared=pytestconfig.getoption("--minutes") is not None)
    with contextlib.suppress(Exception):  # a rig that broke: what broke it was told
        strategy.cut()


@pytest.fixture
def door(device: Door, request: pytest.FixtureRequest) -> Iterator[Door]:
    """The device, registered. A test that fails leaves it in an unknown state: the next begins with the power."""
    device.ready()
    yield device
    if request.node.stash.get(FAILED, False):
        device.strategy.status = Status.unknown


@pytest.fixture
def peers(street: Street, tmp_path: Path) -> Iterator[Peers]:
    own = Peers(tmp_path)
    try:
        yield own
    finally:
        own.stop()


@pytest.fixture
def monitor(peers: Peers, street: Street) -> Baresip:
    """An indoor monitor on the rig's network, registered, that shows the visitor while it rings."""
    return peers.baresip(MONITOR, server=street.pbx, host=RIG_ADDRESS, answer_mode="early", tone_hz=1000)


# --- the report ---

FAILED = pytest.StashKey[bool]()
CONSOLE_FROM = pytest.StashKey[int]()


@pytest.fixture
def timing(
    request: pytest.FixtureRequest, record_testsuite_property: Callable[[str, object], None]
) -> Callable[[str, float], None]:
    """Put a time into the report's table."""

    def put(what: str, seconds: float) -> None:
        request.config.stash[TIMINGS].append(Timing(what, seconds, request.node.name))
        record_testsuite_property(what, f"{seconds:.2f}")

    return put


def _strategy(item: pytest.Item) -> DoorStrategy | None:
    return getattr(item, "funcargs", {}).get("strategy")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: Any = yield
    if report.failed:
        item.stash[FAILED] = True
        evidence = map(pytest_html.extras.html, _evidence(item, report.when))
        report.extras = [*getattr(report, "extras", []), *evidence]
    return report


def _evidence(item: pytest.Item, when: str) -> Iterator[str]:
    """HTML of it; each log is a file beside the report, too."""
    folder = REPORTS / "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in item.name)
    arguments = getattr(item, "funcargs", {})
    strategy = arguments.get("strategy")
    if strategy is None and "device" in arguments:
        strategy = arguments["device"].strategy
    if strategy is not None:
        console = strategy.console.text()
        yield text_part("console", write_evidence(folder, f"console-{when}.log", console[-100_000:]))
        for name, command in (
            ("journal", "journalctl --boot --no-pager --output=short-monotonic --lines=2000"),
            ("why", "doorctl why"),
            ("status", "doorctl status; doorctl events --last 60"),
        ):
            text = write_evidence(folder, f"{name}-{when}.txt", _asked(strategy, command))
            yield text_part(name, text)
    peers = arguments.get("peers")
    if isinstance(peers, Peers):
        for title, text in peers.logs():
            yield text_part(title, write_evidence(folder, Path(title).name, text))
        for picture in pictures(peers.folder):
            yield picture_part(picture)


def _asked(strategy: DoorStrategy, command: str) -> str:
    try:
        strategy.target.activate(strategy.ssh)
        lines, errors, _ = strategy.ssh.run(command, timeout=60)
    except Exception as error:  # noqa: BLE001  the device may be in any state; evidence must not fail the report
        return f"the device could not be asked: {error}"
    return "\n".join([*lines, *errors])


def pytest_html_report_title(report: Any) -> None:
    report.title = "Portero on the rig"


def pytest_html_results_summary(prefix: list[str], session: pytest.Session) -> None:
    prefix.append(timings_table(session.config.stash[TIMINGS]))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.stash[TIMINGS]:
        terminalreporter.section("times")
        for line in timings_text(config.stash[TIMINGS]):
            terminalreporter.line(line)
