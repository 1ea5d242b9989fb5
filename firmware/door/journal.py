"""The lock's own journal: who opened which door, when and why, and who was refused; one JSON object a line.

Written by a thread of its own, synced to the disk, so that a slow or full disk never holds up a release. What
cannot be written is kept and tried again; when too much is kept, the oldest go and their number is written
instead. The file is bounded by rotation. It is opened anew for each batch: a folder that was remounted or a file
that was taken away needs no restart. A last line torn by a power cut is closed off, and the next stands whole.
"""

import contextlib
import json
import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

MAX_BYTES = 1 << 20  # of one file: some four thousand openings
KEPT_FILES = 3  # older ones beside it: .1 is the youngest
MAX_WAITING = 1000
RETRY_S = 5.0

Entry = dict[str, Any]

_encode = json.JSONEncoder(separators=(",", ":")).encode


class Journal:
    """Entries go to `path`. `on_change` is called from the writer's thread when `failure` has changed."""

    def __init__(self, path: Path, on_change: Callable[[], None]) -> None:
        self._path = path
        self._on_change = on_change
        self._queue: SimpleQueue[Entry | None] = SimpleQueue()
        self._overflowed = 0  # entries that found the queue full; counted by `put`
        self._dropped = 0  # entries given up, and those of them told; counted by the writer
        self._told = 0
        self._failure = ""
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> str:
        """Why entries wait to be written; empty while they need not."""
        return self._failure

    def put(self, entry: Entry) -> None:
        """Queue an entry, with the wall clock's time. Never blocks, whatever the disk does."""
        if self._queue.qsize() < MAX_WAITING:
            self._queue.put({"at": round(time.time(), 3), **entry})
        else:
            self._overflowed += 1

    def close(self, timeout_s: float) -> None:
        """Write what waits, for at most so long."""
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        waiting: list[Entry] = []
        closing = False
        while not closing:
            closing = self._take(waiting)
            failure = self._write(waiting) if waiting else ""
            if not failure:
                waiting.clear()
            elif len(waiting) > MAX_WAITING:
                self._dropped += len(waiting) - MAX_WAITING
                del waiting[:-MAX_WAITING]
            self._note(failure)

    def _take(self, waiting: list[Entry]) -> bool:
        """Wait for entries, or for the time to try the `waiting` ones again; True when the journal is to close."""
        with contextlib.suppress(Empty):
            entry = self._queue.get(timeout=RETRY_S if waiting else None)
            while entry is not None:
                waiting.append(entry)
                entry = self._queue.get_nowait()
            return True
        return False

    def _write(self, entries: list[Entry]) -> str:
        """Why the entries could not be written; empty when they were."""
        lost = self._overflowed + self._dropped - self._told
        first = [{"at": entries[0]["at"], "kind": "lost", "entries": lost}] if lost else []
        try:
            append(self._path, b"".join(_encode(entry).encode() + b"\n" for entry in (*first, *entries)))
        except OSError as error:
            return f"{self._path}: {error.strerror}"
        self._told += lost
        return ""

    def _note(self, failure: str) -> None:
        if failure == self._failure:
            return
        self._failure = failure
        # Here and not in the loop: a full pipe of stderr must not hold up a release either.
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more; the journal goes on
            print(f"portero-door: journal: {failure or 'is written again'}", file=sys.stderr, flush=True)
        self._on_change()


def append(path: Path, lines: bytes) -> None:
    """Append whole lines and sync them; rotate before. After an OSError the file is as it was before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    try:
        state = os.fstat(fd)
        regular = stat.S_ISREG(state.st_mode)
        if regular and state.st_size + len(lines) > MAX_BYTES and state.st_size:
            os.close(fd)
            fd = -1
            _rotate(path)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
            state = os.fstat(fd)
        if regular and state.st_size and os.pread(fd, 1, state.st_size - 1) != b"\n":
            lines = b"\n" + lines
        try:
            _write_all(fd, lines)
            if regular:
                os.fdatasync(fd)
        except OSError:
            if regular:
                os.ftruncate(fd, state.st_size)
            raise
    finally:
        if fd >= 0:
            os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _rotate(path: Path) -> None:
    names = [path, *(path.with_name(f"{path.name}.{n}") for n in range(1, KEPT_FILES + 1))]
    for younger, older in reversed(list(pairwise(names))):
        if younger.exists():
            os.replace(younger, older)
