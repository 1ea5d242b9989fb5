"""Log lines on their way to standard error, or the journal, without ever holding up who writes them.

The journal may stop reading (a full disk, a hung journald, a terminal after Ctrl-S): a write to the pipe then
blocks, and with it the event loop and every call. So lines wait in a bounded queue for a thread that does nothing
but write. What finds no room is counted, and the count stands in the log once there is room again.

Under systemd, with systemd-python, lines go to the journal with fields of their own: the level, the logger, and
what stands in a record's `fields` (EVENT, PRESS, LEG ...), by which `journalctl EVENT=relay-on` finds them.
"""

import logging
import os
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

STANDARD_ERROR = 2
MOST_WAITING = 2000  # lines: some 300 kB
_IDENTIFIER = "portero"
_PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
    (0, 7),
)  # syslog's
CLOSE_S = 1.0  # at the end: for a reader that is slow, not for one that has gone to sleep


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    level: int
    logger: str
    fields: Mapping[str, str]


class LogThread(logging.Handler):
    """Formats on the caller's thread, since what is logged may change afterwards; writes to `fd` on its own, past
    `sys.stderr`, whose lock a blocked writer would hold against the interpreter's end."""

    def __init__(self, fd: int, *, most_waiting: int = MOST_WAITING) -> None:
        super().__init__()
        self._fd = fd
        self._waiting: queue.SimpleQueue[_Line | None] = queue.SimpleQueue()
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
            text = self.format(record)
        except Exception as error:  # noqa: BLE001 — a line with wrong arguments must not end a call
            text = f"{record.levelname} {record.name}: {record.msg!r} cannot be written: {error!r}"
        self._waiting.put(_Line(text, record.levelno, record.name, getattr(record, "fields", {})))

    def _write(self) -> None:
        while (line := self._waiting.get()) is not None:
            try:
                self._deliver(line)
            except OSError:
                continue  # nobody is there to tell

    def _deliver(self, line: _Line) -> None:
        left = memoryview(f"{line.text}\n".encode(errors="backslashreplace"))
        while left:
            left = left[os.write(self._fd, left) :]


class JournalThread(LogThread):
    """The same into systemd's journal, each line with its fields. `send` is `systemd.journal.send`."""

    def __init__(self, send: Callable[..., object], *, most_waiting: int = MOST_WAITING) -> None:
        self._send = send
        super().__init__(STANDARD_ERROR, most_waiting=most_waiting)

    def _deliver(self, line: _Line) -> None:
        priority = next(priority for level, priority in _PRIORITIES if line.level >= level)
        text = line.text.encode(errors="backslashreplace").decode()
        self._send(text, PRIORITY=str(priority), LOGGER=line.logger, SYSLOG_IDENTIFIER=_IDENTIFIER, **line.fields)


def start(level: str) -> None:
    """Everything that is logged from `level` on goes to the journal, where standard error does, else there."""
    handler = _to_journal() if in_journal(os.environ.get("JOURNAL_STREAM", "")) else None
    if handler is None:
        handler = LogThread(STANDARD_ERROR)
        # The journal stamps each line itself.
        stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
        handler.setFormatter(logging.Formatter(f"{stamp}%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)


def in_journal(stream: str) -> bool:
    """Whether standard error is that stream of systemd.exec(5)'s $JOURNAL_STREAM, and not some file by now."""
    state = os.fstat(STANDARD_ERROR)
    return stream == f"{state.st_dev}:{state.st_ino}"


def _to_journal() -> LogThread | None:
    try:
        from systemd.journal import send
    except ImportError:  # lines without fields are better than none
        return None
    handler = JournalThread(send)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    return handler
