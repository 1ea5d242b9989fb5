"""What the report shows of times and of a failed test."""

import os
from pathlib import Path

from hil.report import Timing, pictures, timings_table, timings_text, write_evidence

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
