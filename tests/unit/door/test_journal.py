import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import firmware.door.journal as journal_module
from firmware.door.journal import KEPT_FILES, MAX_BYTES, Journal, append

DEADLINE_S = 20.0


def entries(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def eventually(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, "waited too long"
        time.sleep(0.005)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "door-journal.jsonl"


def test_entries_are_lines_in_order_with_the_wall_clock(path: Path) -> None:
    journal = Journal(path, lambda: None)
    for n in range(100):
        journal.put({"kind": "granted", "n": n})
    journal.close(DEADLINE_S)
    written = entries(path)
    assert [entry["n"] for entry in written] == list(range(100))
    assert abs(written[0]["at"] - time.time()) < 60
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_journal_is_continued(path: Path) -> None:
    for n in range(3):
        journal = Journal(path, lambda: None)
        journal.put({"n": n})
        journal.close(DEADLINE_S)
    assert [entry["n"] for entry in entries(path)] == [0, 1, 2]


def test_a_torn_last_line_does_not_spoil_the_next(path: Path) -> None:
    append(path, b'{"n":1}\n{"n":2')
    append(path, b'{"n":3}\n')
    assert path.read_bytes() == b'{"n":1}\n{"n":2\n{"n":3}\n'


def test_the_files_are_bounded_by_rotation(path: Path) -> None:
    chunk = (b"x" * 1023 + b"\n") * 256
    for _ in range(4 * (KEPT_FILES + 3)):
        append(path, chunk)
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == [path.name, *(f"{path.name}.{n}" for n in range(1, KEPT_FILES + 1))]
    assert all(file.stat().st_size <= MAX_BYTES for file in files)


def test_the_youngest_of_the_old_files_is_number_one(path: Path) -> None:
    for letter in (b"a", b"b", b"c"):
        append(path, letter * (MAX_BYTES - 1) + b"\n")
    assert [(path.parent / f"{path.name}{n}").read_bytes()[:1] for n in ("", ".1", ".2")] == [b"c", b"b", b"a"]


def test_a_file_that_is_taken_away_is_begun_anew(path: Path) -> None:
    append(path, b"{}\n")
    path.unlink()
    append(path, b"{}\n")
    assert path.read_bytes() == b"{}\n"


def test_a_failed_write_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(path, b'{"n":1}\n')
    write = os.write

    def half_then_full(fd: int, data: memoryview) -> int:
        if len(data) > 5:
            return write(fd, data[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half_then_full)
    with pytest.raises(OSError, match="No space left"):
        append(path, b'{"n":2}\n')
    assert path.read_bytes() == b'{"n":1}\n'


def test_a_full_disk_is_reported_and_what_was_kept_is_written_once_there_is_room(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "RETRY_S", 0.01)
    path.parent.mkdir()
    path.symlink_to("/dev/full")
    changed = threading.Event()
    journal = Journal(path, changed.set)
    for n in range(3):
        journal.put({"n": n})
    assert changed.wait(DEADLINE_S)
    assert journal.failure == f"{path}: No space left on device"
    changed.clear()
    path.unlink()
    assert changed.wait(DEADLINE_S)
    assert journal.failure == ""
    journal.close(DEADLINE_S)
    assert [entry["n"] for entry in entries(path)] == [0, 1, 2]


def test_a_closed_stderr_does_not_end_the_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def write(self, _: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(journal_module.sys, "stderr", Broken())
    monkeypatch.setattr(journal_module, "RETRY_S", 0.01)
    path.parent.write_text("in the way")
    journal = Journal(path, lambda: None)
    journal.put({"kind": "granted"})
    eventually(lambda: journal.failure)
    path.parent.unlink()
    eventually(lambda: not journal.failure)
    journal.close(DEADLINE_S)
    assert [entry["kind"] for entry in entries(path)] == ["granted"]


def test_what_cannot_be_kept_is_counted_in_the_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "RETRY_S", 0.01)
    monkeypatch.setattr(journal_module, "MAX_WAITING", 10)
    path.mkdir(parents=True)  # a folder is where the file should be
    journal = Journal(path, lambda: None)
    journal.put({"n": -1})
    eventually(lambda: journal.failure)
    for n in range(100):
        journal.put({"n": n})
    eventually(lambda: journal._queue.empty())
    path.rmdir()
    journal.close(DEADLINE_S)
    lost, *kept = entries(path)
    assert lost["kind"] == "lost"
    assert lost["entries"] + len(kept) == 101
    assert len(kept) <= 20


def test_putting_never_waits_for_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk_works = threading.Event()

    def stuck_disk(path: Path, lines: bytes) -> None:
        assert disk_works.wait(DEADLINE_S)

    monkeypatch.setattr(journal_module, "append", stuck_disk)
    journal = Journal(path, lambda: None)
    for n in range(5000):
        journal.put({"n": n})  # would hang here for good
    assert journal._queue.qsize() <= journal_module.MAX_WAITING
    disk_works.set()
    journal.close(DEADLINE_S)


def test_closing_with_a_disk_that_fails_gives_up(path: Path) -> None:
    path.mkdir(parents=True)
    journal = Journal(path, lambda: None)
    journal.put({"n": 1})
    journal.close(DEADLINE_S)
    assert not journal._thread.is_alive()
