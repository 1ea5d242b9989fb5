"""What the report shows of times and of a failed test."""

import os
from pathlib import Path

import pytest

from hil.report import Timing, pictures, text_part, timings_table, timings_text, write_evidence

pytest_plugins = ["pytester"]

TIMINGS = [Timing("power to READY", 31.257, "test_cold_boot"), Timing("power to <REGISTER>", 40, "test_cold_boot")]


def test_times_become_a_table_and_markup_in_them_text() -> None:
    table = timings_table(TIMINGS)
    assert "<td>power to READY</td><td>31.26</td><td>test_cold_boot</td>" in table
    assert "power to &lt;REGISTER&gt;" in table
    assert timings_text(TIMINGS)[0] == "   31.26 s  power to READY"


def test_without_times_there_is_no_table() -> None:
    assert timings_table([]) == ""


def test_a_long_log_is_whole_in_its_file_and_its_end_on_the_page(tmp_path: Path) -> None:
    text = "begin" + "x" * 300_000 + "end"
    shown = write_evidence(tmp_path / "test", "console.log", text)
    assert (tmp_path / "test/console.log").read_text() == text
    assert shown.startswith(f"... the beginning is in {tmp_path}/test/console.log\n")
    assert shown.endswith("end")
    assert len(shown) < 250_000


def test_pictures_are_found_in_the_order_they_were_made(tmp_path: Path) -> None:
    for number, name in enumerate(["late.png", "sub/early.jpg", "notes.txt"]):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"")
        os.utime(file, (100 - number, 100 - number))
    assert [file.name for file in pictures(tmp_path)] == ["early.jpg", "late.png"]


def test_markup_in_a_log_is_text() -> None:
    assert text_part("<why>", "a < b") == "<details><summary>&lt;why&gt;</summary><pre>a &lt; b</pre></details>"


RUN_AGAIN = """
import sys
from pathlib import Path
import pytest
import pytest_html
sys.path.insert(0, {root!r})
from hil.report import picture_part, text_part

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        report.extras = [
            pytest_html.extras.html(text_part("journal", "it broke")),
            pytest_html.extras.html(picture_part(Path("seen.png"))),
        ]
    return report
"""


def test_evidence_of_a_test_that_failed_twice_is_in_the_report_and_breaks_it_not(
    pytester: pytest.Pytester,
) -> None:
    for name in ("pytest_html", "pytest_rerunfailures"):
        pytest.importorskip(name, reason=f"{name} is not installed (tools/setup hil)")
    (pytester.path / "seen.png").write_bytes(b"a picture")
    pytester.makeconftest(RUN_AGAIN.format(root=str(Path(__file__).parents[3])))
    pytester.makepyfile("def test_call(): raise AssertionError\n")
    options = ("--reruns=1", "--html=report.html", "--self-contained-html", "-Werror", "-p", "no:labgrid")
    result = pytester.runpytest_inprocess(*options)
    result.stdout.fnmatch_lines(["*1 failed, 1 rerun*"])
    report = (pytester.path / "report.html").read_text()
    for evidence in ("it broke", "data:image/png;base64,YSBwaWN0dXJl"):
        assert report.count(evidence) >= 2, evidence
