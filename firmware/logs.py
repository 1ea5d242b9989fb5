"""Log lines on their way to standard error without ever holding up who writes them.

The journal may stop reading (a full disk, a hung journald, a terminal after Ctrl-S): a write to the pipe then
blocks, and with it the event loop and every call. So lines wait in a bounded queue for a thread that does nothing
but write. What finds no room is counted, and the count stands in the log once there is room again.
"""

import logging
import os
import queue
import threading

STANDARD_ERROR = 2
MOST_WAITING = 2000  # lines: some 300 kB
CLOSE_S = 1.0  # at the end: for a reader that is slow, not for one that has gone to sleep


class LogThread(logging.Handler):
    """Formats on the caller's thread, since what is logged may change afterwards; writes to `fd` on its own, past
    `sys.stderr`, whose lock a blocked writer would hold against the interpreter's end."""

    def __init__(self, fd: int, *, most_waiting: int = MOST_WAITING) -> None:
        super().__init__()
        self._fd = fd
        self._waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._most_waiting = most_waiting
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        if self._waiting.qsize() >= self._most_waiting:
            self._dropped += 1
            return
        if self._dropped:
            told = "%d lines were dropped here: nobody read them fast enough"
            self._put(logging.LogRecord(__name__, logging.WARNING, __file__, 0, told, (self._dropped,), None))
            self._dropped = 0
        self._put(record)

    def close(self) -> None:
        """Write what waits, as far as it is read."""
        self._waiting.put(None)
        self._thread.join(CLOSE_S)
        super().close()

    def _put(self, record: logging.LogRecord) -> None:
        try:
            self._waiting.put(self.format(record))
        except Exception as error:  # noqa: BLE001 — a line with wrong arguments must not end a call
            self._waiting.put(f"{record.levelname} {record.name}: {record.msg!r} cannot be written: {error!r}")

    def _write(self) -> None:
        while (line := self._waiting.get()) is not None:
            left = memoryview(f"{line}\n".encode(errors="backslashreplace"))
            try:
                while left:
                    left = left[os.write(self._fd, left) :]
            except OSError:
                continue  # nobody is there to tell


def to_standard_error(level: str, line_format: str) -> None:
    """Everything that is logged from `level` on goes there."""
    handler = LogThread(STANDARD_ERROR)
    handler.setFormatter(logging.Formatter(line_format))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
