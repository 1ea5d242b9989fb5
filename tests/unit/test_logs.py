"""The log never holds up who writes it, whatever its reader does."""

import contextlib
import fcntl
import logging
import os
import threading
from collections.abc import Iterator

import pytest

from firmware.logs import JournalThread, LogThread, in_journal
from tests.support.waiting import wait_until

DEADLINE_S = 20.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """(read, write) of a pipe that holds one page."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    yield read, write
    for fd in (read, write):
        os.close(fd)


def logger(handler: logging.Handler) -> logging.Logger:
    made = logging.Logger("portero.test")
    made.addHandler(handler)
    return made


def read_until(fd: int, end: bytes) -> str:
    text = b""
    while not text.endswith(end):
        text += os.read(fd, 1 << 16)
    return text.decode()


def test_a_reader_that_has_gone_to_sleep_holds_nobody_up_and_is_told_what_it_missed(pipe: tuple[int, int]) -> None:
    read, write = pipe
    handler = LogThread(write, most_waiting=100)
    log = logger(handler)

    def flood() -> None:
        for n in range(5000):
            log.warning("line %d %s", n, "x" * 100)

    writer = threading.Thread(target=flood, daemon=True)
    writer.start()
    writer.join(DEADLINE_S)
    assert not writer.is_alive(), "the writer is blocked"

    os.set_blocking(read, False)
    text: list[bytes] = []

    def heard(what: bytes) -> bool:
        with contextlib.suppress(BlockingIOError):
            text.append(os.read(read, 1 << 16))
        return what in b"".join(text)

    wait_until(lambda: heard(b"\n") and handler._waiting.empty(), "what waited was written", DEADLINE_S)
    log.warning("awake again")
    wait_until(lambda: heard(b"awake again\n"), "the next line", DEADLINE_S)
    handler.close()
    lines = b"".join(text).decode().splitlines()
    dropped = [int(line.split()[0]) for line in lines if "dropped here" in line]
    assert dropped
    assert sum(dropped) == 5001 - (len(lines) - len(dropped))


def test_the_count_of_what_was_dropped_stands_where_it_is_missing(pipe: tuple[int, int]) -> None:
    read, write = pipe
    handler = LogThread(write, most_waiting=0)
    log = logger(handler)
    for _ in range(7):
        log.warning("lost")
    handler._most_waiting = 100
    log.warning("found %s", "\udce9")
    assert read_until(read, b"\\udce9\n") == (
        "7 lines were dropped here: nobody read them fast enough\nfound \\udce9\n"
    )
    handler.close()


def test_a_line_with_wrong_arguments_is_told_and_raises_nothing(pipe: tuple[int, int]) -> None:
    read, write = pipe
    handler = LogThread(write)
    logger(handler).warning("%d apples", "many")
    assert "'%d apples' cannot be written" in read_until(read, b"\n")
    handler.close()


def test_what_waits_is_written_at_the_end(pipe: tuple[int, int]) -> None:
    read, write = pipe
    handler = LogThread(write)
    logger(handler).warning("good-bye")
    handler.close()
    assert read_until(read, b"\n") == "good-bye\n"


def test_the_journal_gets_the_level_the_logger_and_the_fields_of_a_line() -> None:
    sent: list[tuple[str, dict[str, str]]] = []
    handler = JournalThread(lambda text, **fields: sent.append((text, fields)))
    log = logger(handler)
    log.warning("7 relay-on", extra={"fields": {"EVENT": "relay-on", "PRESS": "3"}})
    log.debug("found %s", "\udce9")
    log.critical("over")
    handler.close()
    common = {"LOGGER": "portero.test", "SYSLOG_IDENTIFIER": "portero"}
    assert sent == [
        ("7 relay-on", {"PRIORITY": "4", "EVENT": "relay-on", "PRESS": "3", **common}),
        ("found \\udce9", {"PRIORITY": "7", **common}),
        ("over", {"PRIORITY": "2", **common}),
    ]


def test_a_journal_that_is_away_costs_lines_and_nothing_else() -> None:
    sent: list[str] = []

    def send(text: str, **fields: str) -> None:
        if text == "lost":
            raise ConnectionRefusedError
        sent.append(text)

    handler = JournalThread(send)
    log = logger(handler)
    log.warning("lost")
    log.warning("found")
    handler.close()
    assert sent == ["found"]


def test_a_line_reaches_systemd_pythons_journal_as_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    journal = pytest.importorskip(
        "systemd.journal", reason="systemd-python is missing: tools/setup test installs it"
    )
    sent: list[tuple[str, ...]] = []
    monkeypatch.setattr(journal, "sendv", lambda *fields: sent.append(fields))
    handler = JournalThread(journal.send)
    logger(handler).error("broken", extra={"fields": {"EVENT": "fault"}})
    handler.close()
    (fields,) = sent
    assert {"MESSAGE=broken", "PRIORITY=3", "EVENT=fault", "SYSLOG_IDENTIFIER=portero"} <= set(fields)


def test_standard_error_is_the_journals_only_where_it_is_that_very_stream() -> None:
    state = os.fstat(2)
    assert in_journal(f"{state.st_dev}:{state.st_ino}")
    assert not in_journal(f"{state.st_dev}:{state.st_ino + 1}")
    assert not in_journal("")
