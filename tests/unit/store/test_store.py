"""The event store: what is appended is found again, whatever happens to the process, the file or the disk."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware import store as store_module
from firmware.event_json import UnknownEvent
from firmware.station.events import (
    AccessGranted,
    ButtonPressed,
    Event,
    EventStream,
    Evidence,
    Fault,
    FaultCleared,
    InviteSent,
    LegEnded,
    Record,
    StageStarted,
    StationStarted,
)
from firmware.store import Store, StoredEvents, StoreUnreadable

DEADLINE_S = 20.0


def asides(folder: Path) -> list[Path]:
    """Stores that were put aside. Whoever read one at that moment made companions, which went along."""
    return [each for each in folder.glob("*.damaged-*") if not each.name.endswith(("-wal", "-shm"))]


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.005)


def pressed(press: int) -> ButtonPressed:
    return ButtonPressed(press=press, button="flat", source="gpio", edge_s=float(press))


def records(count: int, first: int = 1) -> list[Record]:
    return [Record(seq, seq / 10, 1e9 + seq, pressed(seq)) for seq in range(first, first + count)]


class Reports(list[Event]):
    """What the store reported, from its thread."""

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self if isinstance(event, kind)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "events.sqlite"


@contextlib.contextmanager
def running(path: Path, max_events: int = 50_000) -> Iterator[tuple[Store, Reports]]:
    reports = Reports()
    store = Store(path, max_events=max_events)
    store.start(reports.append)
    try:
        yield store, reports
    finally:
        store.close()


def stored(path: Path, count: int = 100_000) -> list[Record]:
    try:
        return StoredEvents(path).last(count)
    except StoreUnreadable:
        return []


def test_records_of_a_kind_are_found_on_the_disk_and_in_the_queue(path: Path) -> None:
    fill(path, 10)
    store = Store(path)
    fault = Record(11, 0.0, 1e9 + 11, Fault(where="a", what="b", remedy="c"))
    store.append(fault)
    assert store.of_kind("fault", 0.0) == [fault]
    assert [record.seq for record in store.of_kind("button-pressed", 1e9 + 8)] == [8, 9, 10]
    assert store.of_kind("button-pressed", 2e9) == []
    store.close()


def fill(path: Path, count: int) -> None:
    with running(path) as (store, _):
        for record in records(count, store.first_seq):
            store.append(record)


def test_events_come_back_typed_and_in_order(path: Path) -> None:
    evidence = Evidence(by="code", press=1, leg="1.1", party="101", direction="outgoing", code_name="family")
    events: list[Event] = [
        pressed(1),
        StageStarted(press=1, stage=1, targets=("101", "sip:a@b")),
        InviteSent(press=1, leg="1.1", target="101"),
        AccessGranted(press=1, door="street", evidence=evidence),
        LegEnded(press=1, leg="1.1", by="us", reason="", duration_s=3.5, statistics={"lost": 2, "codec": "PCMA"}),
        StationStarted(version="1", board="simulated"),
    ]
    stream = EventStream()
    with running(path) as (store, _):
        stream.subscribe(store.append)
        published = [stream.publish(event) for event in events]
    assert StoredEvents(path).last(10) == published
    assert StoredEvents(path).of_press(1) == published[:-1]
    assert StoredEvents(path).since(published[2].seq, 2) == published[3:5]
    assert StoredEvents(path).last_press() == 1


def test_numbers_go_on_after_a_restart(path: Path) -> None:
    fill(path, 7)
    store = Store(path)
    assert (store.first_seq, store.first_press) == (8, 8)
    store.close()


def test_what_is_still_queued_is_found_too(path: Path) -> None:
    store = Store(path)  # not started: everything stays queued
    for record in records(3):
        store.append(record)
    assert store.last(2) == records(2, 2)
    assert store.of_press(3) == records(1, 3)
    assert store.since(1, 1) == records(1, 2)
    assert store.last_press() == 3
    assert store.of_press(0) == []
    store.close()


def test_a_stored_event_is_found_while_later_ones_are_queued(path: Path) -> None:
    with running(path) as (store, _):
        store.append(records(1)[0])
        until(lambda: len(stored(path)) == 1, "first record on disk")
    store = Store(path)
    store.append(records(1, 2)[0])
    assert store.last(5) == records(2)
    store.close()


def test_an_event_of_a_newer_version_is_kept_as_it_is(path: Path) -> None:
    fill(path, 1)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        row = (2, 1, "door-opened-by-owl", 1.0, 2.0, '{"press": 1, "owl": "grey"}')
        database.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", row)
        database.execute("INSERT INTO events VALUES (3, 1, 'button-pressed', 1.0, 2.0, '{\"press\": 1}')")
        database.execute("INSERT INTO events VALUES (4, 1, 'button-pressed', 1.0, 2.0, 'torn {')")
    events = [record.event for record in StoredEvents(path).of_press(1)]
    assert events[1] == UnknownEvent(name="door-opened-by-owl", press=1, fields={"press": 1, "owl": "grey"})
    assert events[2] == UnknownEvent(name="button-pressed", press=1, fields={"press": 1})
    assert events[3] == UnknownEvent(name="button-pressed", fields={})


def test_a_field_that_a_newer_version_added_is_left_out(path: Path) -> None:
    fill(path, 1)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE events SET fields = json_set(fields, '$.finger', 'left thumb')")
    assert StoredEvents(path).last(1) == records(1)


def test_what_json_cannot_say_does_not_stop_the_store(path: Path) -> None:
    odd: list[Event] = [
        LegEnded(press=1, leg="1.1", by="us", reason="half a \udce9 pair", duration_s=float("inf"), statistics={}),
        LegEnded(press=1, leg="1.1", by="us", reason="", duration_s=1.0, statistics={("a", 1): 2}),  # type: ignore[dict-item]
    ]
    with running(path) as (store, reports):
        for seq, event in enumerate(odd, 1):
            store.append(Record(seq, 1.0, 2.0, event))
        store.append(records(1, 3)[0])
    kept = [record.event for record in StoredEvents(path).last(3)]
    assert isinstance(kept[0], UnknownEvent)
    assert (kept[0].fields["reason"], kept[0].fields["duration_s"]) == ("half a ? pair", "inf")
    assert kept[1] == UnknownEvent(name="leg-ended", fields={})
    assert kept[2] == pressed(3)
    assert reports == []


def test_the_oldest_events_go_first_and_the_file_stays_bounded(path: Path) -> None:
    with running(path, max_events=1000) as (store, _):
        for record in records(3500):
            store.append(record)
        until(lambda: bool(stored(path, 1)) and stored(path, 1)[0].seq == 3500, "last record on disk")
    kept = stored(path)
    assert 900 <= len(kept) <= 1000
    assert [record.seq for record in kept] == list(range(3501 - len(kept), 3501))


def test_a_lowered_limit_holds_after_some_more_events(path: Path) -> None:
    fill(path, 9000)
    with running(path, max_events=1000) as (store, _):
        for record in records(3, 9001):
            store.append(record)
            until(lambda seq=record.seq: stored(path, 1)[0].seq == seq, "record on disk")  # type: ignore[misc]
    assert len(stored(path)) <= 1000


def test_the_queue_is_bounded_and_keeps_the_newest(path: Path) -> None:
    store = Store(path)
    for record in records(store_module.QUEUE_LIMIT + 5):
        store.append(record)
    assert len(store.last(10**6)) == store_module.QUEUE_LIMIT
    assert store.last(10**6)[0].seq == 6
    store.close()


@pytest.mark.parametrize("cut_at", [0, 60, 4096 * 3])
def test_a_damaged_file_is_moved_aside_and_a_new_one_begun(path: Path, cut_at: int) -> None:
    fill(path, 2000)
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.seek(cut_at)
        stream.write(b"\xa5" * (size - cut_at))
    with running(path) as (store, reports):
        for record in records(5, max(store.first_seq, 10_000)):
            store.append(record)
        until(lambda: len(stored(path)) == 5, "records in a new file")
    assert [event.where for event in reports.of(Fault)] == [store_module.DAMAGED]  # type: ignore[attr-defined]
    assert asides(path.parent)


def test_a_file_that_is_no_database_is_moved_aside(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("remember to buy milk\n" * 100)
    with running(path) as (store, reports):
        assert store.first_seq == 1
        store.append(records(1)[0])
    assert stored(path) == records(1)
    assert len(reports.of(Fault)) == 1
    assert "milk" in asides(path.parent)[0].read_text()


def test_somebody_elses_table_is_moved_aside(path: Path) -> None:
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE events (press INTEGER, what TEXT)")
    with running(path) as (store, reports):
        store.append(records(1)[0])
    assert stored(path) == records(1)
    assert len(reports.of(Fault)) == 1


def test_a_folder_in_the_files_place_is_moved_aside(path: Path) -> None:
    path.mkdir(parents=True)
    with running(path) as (store, _):
        store.append(records(1)[0])
    assert stored(path) == records(1)


def test_damaged_files_do_not_pile_up(path: Path) -> None:
    path.parent.mkdir()
    for _ in range(5):
        path.write_text("garbage, more than a header's worth of it " * 100)
        Store(path).close()
    assert len(asides(path.parent)) == store_module.KEPT_ASIDE


def test_a_full_disk_is_one_fault_and_the_events_are_written_when_there_is_room(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "RETRY_S", (0.05, 0.05))
    full = threading.Event()
    full.set()
    really_open = store_module.open_database

    def open_on_a_small_disk(path: Path) -> sqlite3.Connection:
        database = really_open(path)
        if full.is_set():
            database.execute("PRAGMA max_page_count = 16")
        return database

    monkeypatch.setattr(store_module, "open_database", open_on_a_small_disk)
    with running(path) as (store, reports):
        for record in records(3000):
            store.append(record)
        until(lambda: bool(reports), "the fault")
        assert "full" in reports.of(Fault)[0].what  # type: ignore[attr-defined]
        assert [record.seq for record in store.last(3000)] == list(range(1, 3001))
        full.clear()
        until(lambda: len(stored(path)) == 3000, "all records on disk")
        until(lambda: len(reports) == 2, "the all-clear")
    assert [type(event) for event in reports] == [Fault, FaultCleared]


def test_a_really_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root to mount a small file system")
    monkeypatch.setattr(store_module, "RETRY_S", (0.05, 0.05))
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "portero-test", str(disk)], capture_output=True
    )
    if made.returncode:
        pytest.skip(f"no tmpfs may be mounted here: {made.stderr.decode().strip()}")
    path = disk / "events.sqlite"
    try:
        with running(path) as (store, reports):
            (disk / "ballast").write_bytes(b"x" * 150_000)
            for record in records(5000):
                store.append(record)
            until(lambda: bool(reports.of(Fault)), "the fault")
            (disk / "ballast").unlink()
            subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
            until(lambda: len(stored(path)) == 5000, "all records on disk")
        assert not asides(disk)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_folder_that_may_not_be_written_is_a_fault_that_clears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "RETRY_S", (0.05, 0.05))
    place = tmp_path / "state"
    place.write_text("a file where the folder should be")
    path = place / "events.sqlite"
    with running(path) as (store, reports):
        store.append(records(1)[0])
        until(lambda: bool(reports), "the fault")
        place.unlink()
        until(lambda: stored(path) == records(1), "the record on disk")
        until(lambda: len(reports) == 2, "the all-clear")


def test_numbers_that_began_anew_are_not_mixed_with_a_file_that_turns_up_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "RETRY_S", (0.05, 0.05))
    away, place = tmp_path / "away", tmp_path / "state"
    fill(away / "events.sqlite", 20)
    place.write_text("a file where the folder should be")
    path = place / "events.sqlite"
    with running(path) as (store, _):
        assert store.first_seq == 1
        place.unlink()
        away.rename(place)
        store.append(records(1)[0])
        until(lambda: stored(path) == records(1), "the record on disk")
    (aside,) = asides(place)
    assert len(StoredEvents(aside).last(100)) == 20


WRITER = """
import sys
import tempfile
from pathlib import Path
from firmware.station.events import ButtonPressed, EventStream
from firmware.store import Store
store = Store(Path(sys.argv[1]))
stream = EventStream(store.first_seq)
store.start(stream.publish)
stream.subscribe(store.append)
while True:
    record = stream.publish(ButtonPressed(press=store.first_press, button="x" * 50, source="gpio", edge_s=1.0))
    if record.seq % 500 == 0:
        print(record.seq, flush=True)
        sys.stdin.readline()
"""


def test_kill_9_in_the_middle_of_writing_loses_the_last_batch_at_most(path: Path) -> None:
    expected_first = 1
    for _ in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert writer.stdin is not None
        assert writer.stdout is not None
        committed = appended = 0
        for _ in range(6):
            appended = int(writer.stdout.readline())
            committed = max(committed, stored(path, 1)[0].seq if stored(path, 1) else 0)
            writer.stdin.write("go on\n")
            writer.stdin.flush()
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdin.close()
        writer.stdout.close()
        with contextlib.closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        kept = [record.seq for record in stored(path)]
        assert kept == list(range(1, len(kept) + 1)), "no gap"
        assert len(kept) >= committed
        assert appended >= expected_first
        expected_first = len(kept) + 1
        with running(path) as (store, reports):
            assert store.first_seq == expected_first
        assert reports == []


def test_a_file_cut_by_a_power_failure_is_checked_at_the_next_start(path: Path) -> None:
    fill(path, 4000)
    with contextlib.closing(sqlite3.connect(path)) as database:
        # A connection that never closes in order, as a cut leaves it: the log stays.
        database.execute("UPDATE events SET press = press WHERE seq = 1")
        database.commit()
        for name in ("events.sqlite", "events.sqlite-wal"):
            shutil.copy(path.parent / name, path.parent / f"copy-{name}")
    cut = path.parent / "copy-events.sqlite"
    size = cut.stat().st_size
    with cut.open("r+b") as stream:
        stream.seek(size // 2 // 4096 * 4096)
        stream.write(os.urandom(4096))
    with running(cut) as (_, reports):
        _.append(records(1, 10_000)[0])
        until(lambda: bool(reports), "the fault")
    assert reports.of(Fault)[0].where == store_module.DAMAGED  # type: ignore[attr-defined]
    assert [record.seq for record in stored(cut)] == [10_000]


def test_reading_a_store_that_is_not_there_says_so(path: Path) -> None:
    with pytest.raises(StoreUnreadable, match="there is no event store"):
        StoredEvents(path).last(1)
    assert not path.parent.exists()


def test_a_reader_without_write_permission_reads_a_closed_store(path: Path) -> None:
    fill(path, 3)
    reader = (
        "import os, sys; from pathlib import Path; from firmware.store import StoredEvents\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "print(len(StoredEvents(Path(sys.argv[1])).last(9)))"
    )
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    for folder in path.parents:
        if folder.stat().st_mode & 0o005 != 0o005 and folder.is_relative_to(tempfile.gettempdir()):
            folder.chmod(0o755)
    answer = subprocess.run([sys.executable, "-c", reader, str(path)], capture_output=True, text=True)
    assert answer.stdout.strip() == "3", answer.stderr


def test_a_text_of_a_peer_is_kept_in_part_however_long_it_is(path: Path) -> None:
    with running(path) as (store, _):
        store.append(Record(1, 0.1, 1e9, StageStarted(press=1, stage=1, targets=("sip:" + "a" * 60_000,))))
        until(lambda: len(stored(path)) == 1, "the record on disk")
    (record,) = stored(path)
    assert isinstance(record.event, StageStarted)
    assert record.event.targets[0].endswith("aaa...")
    assert len(record.event.targets[0]) < 2000
