"""The event store: a SQLite file (WAL) that keeps the last `max_events` records over crashes, cuts and full disks.

`append` is the event stream's subscriber: it puts the record into a bounded queue and returns. A thread of its own
writes batches. What goes wrong on the disk never reaches the caller: a damaged file is moved aside and a new one
begun, a full or read-only disk is a `Fault` once while the records wait in memory (the oldest go when the queue is
full), until writing works again. Readers open connections of their own and see what is still queued, too.

synchronous=NORMAL: a kill loses at most the batch not yet committed; a power cut may lose the last few commits,
never the file. Numbers of events and presses go on over restarts (`first_seq`, `first_press`).
"""

import contextlib
import errno
import itertools
import json
import logging
import math
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from firmware.event_json import dumps, event_from, fields_of, kind_of, press_of
from firmware.station.events import Event, Fault, FaultCleared, Record

log = logging.getLogger(__name__)

CallLater = Callable[[float, Callable[[], None]], object]
LINGER_S = 0.05  # a press makes some twenty events within it: one commit
RETRY_S = (1.0, 30.0)  # first and longest pause between attempts on a disk that refuses
READ_TIMEOUT_S = 2.0
BATCH = 500  # records in one transaction
CACHE_KB = 256  # of pages; SQLite's own 2 MB fill slowly with what a writer at the end never reads again
TRIM_LIMIT = 5000  # rows deleted in one transaction, where the limit was lowered
QUEUE_LIMIT = 10_000  # records kept in memory while the disk refuses: some 5 MB
KEPT_ASIDE = 2  # damaged files kept for a look

WRITING = "store"  # `where` of the fault while nothing can be written
DAMAGED = "store file"  # `where` of the fault after a damaged file was replaced

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
  seq INTEGER PRIMARY KEY,
  press INTEGER NOT NULL,
  kind TEXT NOT NULL,
  monotonic_s REAL NOT NULL,
  wall_s REAL NOT NULL,
  fields TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_press ON events (press) WHERE press > 0;
"""
_COLUMNS = "seq, press, kind, monotonic_s, wall_s, fields"
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}

Row = tuple[int, int, str, float, float, str]


class StoreUnreadable(Exception):
    """The file is not there or cannot be read; the text says why."""


class EventSource(Protocol):
    """Where records are looked up: the running store, or its file while no station runs."""

    def of_press(self, press: int) -> list[Record]: ...
    def last(self, count: int) -> list[Record]: ...
    def since(self, seq: int, limit: int) -> list[Record]: ...
    def last_press(self) -> int: ...


class StoredEvents:
    """Reads the store's file; each call opens a connection for itself. Raises StoreUnreadable."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def of_press(self, press: int) -> list[Record]:
        """All records of a press, in order."""
        return self._records("WHERE press = ? AND press > 0 ORDER BY seq", press)

    def last(self, count: int) -> list[Record]:
        """The last `count` records, oldest first."""
        return self._records("ORDER BY seq DESC LIMIT ?", count)[::-1]

    def since(self, seq: int, limit: int) -> list[Record]:
        """Up to `limit` records after number `seq`, oldest first."""
        return self._records("WHERE seq > ? ORDER BY seq LIMIT ?", seq, limit)

    def of_kind(self, kind: str, since_wall_s: float) -> list[Record]:
        """The records of a kind that are not older, oldest first."""
        return self._records("WHERE kind = ? AND wall_s >= ? ORDER BY seq", kind, since_wall_s)

    def last_press(self) -> int:
        """The number of the newest press, 0 where there was none."""
        rows = self._rows("SELECT max(press) FROM events WHERE press > 0")
        return int(rows[0][0] or 0)

    def _records(self, which: str, *values: int | float | str) -> list[Record]:
        query = f"SELECT {_COLUMNS} FROM events {which}"  # noqa: S608  # constants of this module
        return [_record(row) for row in self._rows(query, *values)]

    def _rows(self, query: str, *values: int | float | str) -> list[Row]:
        try:
            with contextlib.closing(self._connect()) as database:
                return database.execute(query, values).fetchall()
        except sqlite3.Error as error:
            what = "there is no event store" if not self._path.exists() else f"cannot be read: {error}"
            raise StoreUnreadable(f"{self._path}: {what}") from None

    def _connect(self) -> sqlite3.Connection:
        uri = f"file:{quote(str(self._path))}?mode=ro"
        log_file = self._path.with_name(self._path.name + "-wal")
        if self._path.exists() and not log_file.exists() and not os.access(self._path.parent, os.W_OK):
            # Closed in order, and the reader may not create the files that a WAL is shared through: none is needed.
            uri += "&immutable=1"
        return sqlite3.connect(uri, uri=True, timeout=READ_TIMEOUT_S)


class Store:
    """The writer. Opens the file at once, for its numbers; `start` begins writing, `close` ends it."""

    def __init__(self, path: Path, *, max_events: int = 50_000) -> None:
        self._path = path
        self._max_events = max_events
        self._events = StoredEvents(path)
        self._lock = threading.Lock()  # of the queue
        self._queue: deque[Record] = deque()
        self._popped = 0  # records taken off the queue's old end so far
        self._dropped = 0
        self._wake = threading.Event()
        self._call_later: CallLater | None = None
        self._waking = False  # `_wake_up` is on its way
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._report: Callable[[Event], None] | None = None
        self._unreported: list[Event] = []
        self._failing = False
        self._rows = 0
        self._replaced_s = -math.inf
        self._numbered = True  # whether the file's numbers were known when counting began
        log_file = path.with_name(path.name + "-wal")
        self._unclean = log_file.exists() and log_file.stat().st_size > 0
        self._database: sqlite3.Connection | None = None
        try:
            self._database = self._open()
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
        self.first_seq, self.first_press = self._numbers()

    def start(self, report: Callable[[Event], None], call_later: CallLater | None = None) -> None:
        """Begin to write. `report` gets Fault and FaultCleared on the writer's thread: hand it over to the loop's,
        as in `lambda event: loop.call_soon_threadsafe(stream.publish, event)`. With `call_later` (the loop's, if
        `append` is called on its thread) the writer wakes a moment after an event and not while it is acted on."""
        self._report = report
        self._call_later = call_later
        for event in self._unreported:
            report(event)
        self._unreported.clear()
        if self._failing:
            self._wake.set()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    def append(self, record: Record) -> None:
        """Queue a record: the event stream's subscriber. Takes microseconds whatever the disk does."""
        with self._lock:
            if len(self._queue) >= QUEUE_LIMIT:
                self._queue.popleft()
                self._popped += 1
                self._dropped += 1
            self._queue.append(record)
        if self._wake.is_set() or self._waking:
            return
        if self._call_later is None:
            self._wake.set()
        else:
            self._waking = True
            self._call_later(LINGER_S, self._wake_up)

    def _wake_up(self) -> None:
        self._waking = False
        self._wake.set()

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is queued and close the file; gives up after `timeout_s` where the disk hangs."""
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                log.error("the event store did not finish within %.0f s", timeout_s)
                return
        self._shut()

    # --- lookups: the file and what is still queued --------------------------------------------------------

    def of_press(self, press: int) -> list[Record]:
        queued = [record for record in self._queued() if press_of(record.event) == press > 0]
        return _merged(self._readable(lambda: self._events.of_press(press)), queued)

    def last(self, count: int) -> list[Record]:
        queued = self._queued()
        return _merged(self._readable(lambda: self._events.last(count)), queued)[-count:] if count > 0 else []

    def since(self, seq: int, limit: int) -> list[Record]:
        queued = [record for record in self._queued() if record.seq > seq]
        return _merged(self._readable(lambda: self._events.since(seq, limit)), queued)[:limit]

    def of_kind(self, kind: str, since_wall_s: float) -> list[Record]:
        queued = [r for r in self._queued() if kind_of(r.event) == kind and r.wall_s >= since_wall_s]
        return _merged(self._readable(lambda: self._events.of_kind(kind, since_wall_s)), queued)

    def last_press(self) -> int:
        queued = [press_of(record.event) for record in self._queued()]
        try:
            return max([self._events.last_press(), *queued])
        except StoreUnreadable:
            return max(queued, default=0)

    def _queued(self) -> list[Record]:
        # Taken before the file is read: a record is in one of the two at any time, or in both for a moment.
        with self._lock:
            return list(self._queue)

    def _readable(self, lookup: Callable[[], list[Record]]) -> list[Record]:
        """What the file has; nothing while it is unreadable, which `_failed` has reported."""
        try:
            return lookup()
        except StoreUnreadable as error:
            log.warning("%s", error)
            return []

    # --- the writer's thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        pause_s = RETRY_S[0]
        while not (self._closing.is_set() and not self._queue):
            self._wake.wait()
            if self._call_later is None:
                self._closing.wait(LINGER_S)
            self._wake.clear()
            try:
                self._check_once()
                self._write_queue()
            except (sqlite3.Error, OSError) as error:
                self._shut()
                if self._replaced_damage(error):
                    self._wake.set()
                    continue
                self._failed(error)
                if self._closing.is_set():
                    log.error("%d events could not be stored", len(self._queue))
                    return
                self._closing.wait(pause_s)
                pause_s = min(2 * pause_s, RETRY_S[1])
                self._wake.set()
            else:
                pause_s = RETRY_S[0]
                self._recovered()

    def _write_queue(self) -> None:
        while True:
            with self._lock:
                begin = self._popped
                batch = list(itertools.islice(self._queue, BATCH))
            if self._database is None:
                self._database = self._open()
            if not batch:
                return
            with self._database as transaction:
                # OR REPLACE: a commit that failed may have reached the disk all the same.
                transaction.executemany("INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?, ?)", map(_row, batch))
                removed = self._trim(transaction, self._rows + len(batch))
            self._rows += len(batch) - removed
            with self._lock:
                while self._popped < begin + len(batch):
                    self._queue.popleft()
                    self._popped += 1

    def _trim(self, transaction: sqlite3.Connection, rows: int) -> int:
        """Delete the oldest rows, some more than needed so that it is not done with every batch."""
        if rows <= self._max_events:
            return 0
        count = min(rows - self._max_events + self._max_events // 50, TRIM_LIMIT)
        return transaction.execute(
            "DELETE FROM events WHERE seq IN (SELECT seq FROM events ORDER BY seq LIMIT ?)", (count,)
        ).rowcount

    def _check_once(self) -> None:
        """After a cut, once: SQLite finds most damage only when it comes across it."""
        if not self._unclean or self._database is None:
            return
        self._unclean = False
        (verdict,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise _Damaged(verdict)

    # --- opening, and what goes wrong ----------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            database, self._rows = _counted(self._path)
        except sqlite3.Error as error:
            if not self._replaced_damage(error):
                raise
            database, self._rows = _counted(self._path)
        if not self._numbered and self._rows:
            # Numbering began anew while this file could not be read; the two must not be mixed.
            database.close()
            self._set_aside("it could not be read when the station started")
            database, self._rows = _counted(self._path)
        self._numbered = True
        return database

    def _numbers(self) -> tuple[int, int]:
        """(next event's number, next press's number). Without a readable file: from 1."""
        try:
            last = self._events.last(1)
            return (last[-1].seq + 1 if last else 1), self._events.last_press() + 1
        except StoreUnreadable:
            self._numbered = False
            self._shut()
            return 1, 1

    def _replaced_damage(self, error: Exception) -> bool:
        """Move a file aside that is damaged or of no use to us. False where the disk, not the file, is to blame."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        unusable = self._path.is_dir() or (self._path.exists() and not os.access(self._path, os.R_OK | os.W_OK))
        refused = code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)
        if not (isinstance(error, _Damaged) or code in _DAMAGE or (refused and unusable)):
            return False
        if time.monotonic() - self._replaced_s < RETRY_S[1]:
            return False  # the disk damages whatever is written: try again at leisure
        self._replaced_s = time.monotonic()
        try:
            self._set_aside(str(error))
        except OSError:
            return False
        return True

    def _set_aside(self, why: str) -> None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        aside = self._path.with_name(f"{self._path.name}.damaged-{stamp}-{time.monotonic_ns() % 1_000_000:06}")
        self._path.rename(aside)
        for suffix in ("-wal", "-shm"):
            companion = self._path.with_name(self._path.name + suffix)
            with contextlib.suppress(FileNotFoundError):
                companion.rename(aside.with_name(aside.name + suffix))
        self._prune_aside()
        log.error("event store %s: %s; moved to %s", self._path, why, aside.name)
        self._tell(
            Fault(
                where=DAMAGED,
                what=f"the event store could not be used ({why}); a new one was begun",
                remedy=f"look into {aside} and check the disk or SD card",
            )
        )

    def _prune_aside(self) -> None:
        """Damaged files must not fill the disk."""
        prefix = f"{self._path.name}.damaged-"
        files = [path for path in self._path.parent.iterdir() if path.name.startswith(prefix)]
        kept = sorted({path.name.removesuffix("-wal").removesuffix("-shm") for path in files})[-KEPT_ASIDE:]
        for path in files:
            if path.name.removesuffix("-wal").removesuffix("-shm") not in kept and not path.is_dir():
                path.unlink(missing_ok=True)

    def _failed(self, error: Exception) -> None:
        if self._failing:
            return
        self._failing = True
        log.error("event store %s: %s", self._path, error)
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        full = code == sqlite3.SQLITE_FULL or getattr(error, "errno", 0) == errno.ENOSPC
        remedy = (
            f"make room on the disk of {self._path.parent}" if full else f"check disk and rights of {self._path}"
        )
        self._tell(Fault(where=WRITING, what=f"events cannot be stored: {error}", remedy=remedy))

    def _recovered(self) -> None:
        if not self._failing:
            return
        self._failing = False
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        log.warning("event store %s: writing again; %d events were lost meanwhile", self._path, dropped)
        self._tell(FaultCleared(where=WRITING))

    def _tell(self, event: Event) -> None:
        if self._report is None:
            self._unreported.append(event)
            return
        try:
            self._report(event)
        except RuntimeError:  # the loop it leads to is closed: the station is stopping
            log.warning("not reported: %s", event)

    def _shut(self) -> None:
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None


class _Damaged(sqlite3.DatabaseError):
    """`PRAGMA quick_check` found damage."""


def open_database(path: Path) -> sqlite3.Connection:
    """A writer's connection to the store's file, with its schema. Raises sqlite3.Error."""
    # The writer's thread goes on with the connection that the constructor opened, never both at once.
    database = sqlite3.connect(path, timeout=2.0, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA journal_size_limit = 4194304")
        database.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        database.executescript(_SCHEMA)
        try:
            database.execute(f"SELECT {_COLUMNS} FROM events LIMIT 0")  # noqa: S608  # constants of this module
        except sqlite3.OperationalError as error:
            raise _Damaged(f"another table than ours: {error}") from None
    except BaseException:
        database.close()
        raise
    return database


def _counted(path: Path) -> tuple[sqlite3.Connection, int]:
    """A writer's connection and the number of rows."""
    database = open_database(path)
    try:
        return database, int(database.execute("SELECT count(*) FROM events").fetchone()[0])
    except BaseException:
        database.close()
        raise


def _row(record: Record) -> Row:
    event = record.event
    try:
        fields = dumps(fields_of(event))
    except (TypeError, ValueError, RecursionError):
        # A publisher's bug: the event's fields are lost, not the store.
        log.exception("event %d cannot be written as JSON: %s", record.seq, kind_of(event))
        fields = "{}"
    return (record.seq, press_of(event), kind_of(event), record.monotonic_s, record.wall_s, fields)


def _record(row: Row) -> Record:
    seq, _, kind, monotonic_s, wall_s, text = row
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    return Record(seq, monotonic_s, wall_s, event_from(kind, fields if isinstance(fields, dict) else {}))


def _merged(stored: Iterable[Record], queued: Iterable[Record]) -> list[Record]:
    by_seq = {record.seq: record for record in itertools.chain(stored, queued)}
    return [by_seq[seq] for seq in sorted(by_seq)]
