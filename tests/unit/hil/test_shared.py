"""The rig on a shared machine: what begins, in which order, and what is judged."""

from pathlib import Path

import pytest

pytest.importorskip("pytest_rerunfailures", reason="pytest-rerunfailures is not installed (tools/setup test)")

from hil import shared
from hil.shared import stolen_s, taken, worst_share

pytest_plugins = ["pytester"]

QUIET = "cpu  100 0 50 800 0 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"
BUSY = "cpu  150 0 50 850 0 0 0 100 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"

CONFTEST = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from hil.shared import SharedMachine

def pytest_configure(config):
    config.pluginmanager.register(SharedMachine({minutes}, Path({stat!r})))

def pytest_generate_tests(metafunc):
    if "turn" in metafunc.fixturenames:
        metafunc.parametrize("turn", [1, 2])
"""


@pytest.fixture
def rig(pytester: pytest.Pytester, tmp_path: Path) -> "Rig":
    return Rig(pytester, tmp_path / "stat")


class Rig:
    def __init__(self, pytester: pytest.Pytester, stat: Path) -> None:
        self._pytester = pytester
        self.stat = stat

    def run(self, tests: str, minutes: float = 60) -> pytest.RunResult:
        self.stat.write_text(QUIET)
        root = str(Path(__file__).parents[3])
        self._pytester.makeconftest(CONFTEST.format(root=root, minutes=minutes, stat=str(self.stat)))
        self._pytester.makepyfile(f"from pathlib import Path\nSTAT = Path({str(self.stat)!r})\n{tests}")
        without = ("-p", "no:cacheprovider", "-p", "no:labgrid")  # labgrid can be there once in a process
        return self._pytester.runpytest_inprocess("-v", "-ra", *without)


def test_the_share_that_the_host_took_where_it_took_most(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text(QUIET)
    before = taken(stat)
    stat.write_text(BUSY)
    busy = taken(stat)
    long_quiet = (busy[0], busy[1] + 10_000)
    assert worst_share([before, busy, long_quiet]) == 0.5
    assert worst_share([before, before]) == worst_share([before]) == 0


def test_the_time_that_the_host_took_from_each_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(shared.os, "sysconf", lambda name: 100)
    (tmp_path / "stat").write_text(BUSY)
    assert stolen_s(tmp_path / "stat") == 0.5


def test_second_turns_come_last(rig: Rig) -> None:
    result = rig.run("def test_relay(turn): pass\ndef test_call(): pass\n")
    result.stdout.fnmatch_lines(["*test_relay?1?*PASSED*", "*test_call*PASSED*", "*test_relay?2?*PASSED*"])


def test_what_comes_too_late_is_skipped_by_name(rig: Rig) -> None:
    result = rig.run("def test_call(): raise AssertionError\n", minutes=0)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*not run: the 0 minutes that the rig was given are over"])


BUSIER = """
def busier(tries=[]):
    tries.append(1)
    STAT.write_text(f"cpu  0 0 0 {1000 + 100 * len(tries)} 0 0 0 {100 * len(tries)}")
"""


def test_a_second_failure_while_the_host_was_elsewhere_is_told_and_not_counted(rig: Rig) -> None:
    result = rig.run(f"{BUSIER}def test_call():\n    busier()\n    assert 'rings' == 'silent'\n")
    result.stdout.fnmatch_lines(["*1 skipped, 1 rerun*"])
    assert result.ret == 0
    result.stdout.fnmatch_lines(["SKIPPED*the host took 50% of the processors meanwhile; E *'rings' == 'silent'*"])


def test_a_host_that_was_elsewhere_at_the_first_try_alone_is_no_excuse(rig: Rig) -> None:
    result = rig.run(f"def test_call():\n    STAT.write_text({BUSY!r})\n    assert False\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*took up to 0% of the processors for ten seconds*"])


def test_any_other_failure_is_tried_once_more_and_counts(rig: Rig) -> None:
    result = rig.run("def test_call(): raise AssertionError\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*1 failed, 1 rerun*"])
    assert result.ret == 1


def test_what_is_right_when_tried_again_is_no_failure(rig: Rig) -> None:
    result = rig.run("tries = []\ndef test_call():\n    tries.append(1)\n    assert len(tries) == 2\n")
    result.stdout.fnmatch_lines(["*1 passed, 1 rerun*"])
    assert result.ret == 0


def test_the_relay_is_never_tried_again(rig: Rig) -> None:
    result = rig.run("import pytest\n@pytest.mark.relay\ndef test_relay(turn):\n    assert turn == 2\n")
    result.assert_outcomes(failed=1, passed=1)
    assert "RERUN" not in result.stdout.str()


def test_the_relay_has_no_excuse_but_a_device_that_did_not_get_ready(rig: Rig) -> None:
    mark = "import pytest\n@pytest.mark.relay\n"
    busy = f"    STAT.write_text({BUSY!r})\n    assert False\n"
    rig.run(f"{mark}def test_relay():\n{busy}").assert_outcomes(failed=1)
    fixture = f"import pytest\n@pytest.fixture\ndef door():\n{busy}"
    rig.run(f"{fixture}{mark}def test_relay(door): pass\n").assert_outcomes(skipped=1)


def test_what_failed_is_not_made_good_by_being_late(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "time", shared.time)  # restores what the test below changes
    late = "type('Late', (), {'monotonic': staticmethod(lambda: 1e12)})"
    result = rig.run(f"import hil.shared\ndef test_call():\n    hil.shared.time = {late}\n    assert False\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*1 failed, 1 rerun*"])
