"""`portero-door`: the lock as a process. It owns the relay lines and does what lock.py says, bounded by its clock.

The order at start is the point of it: take the one-instance lock, release every relay line of the board, and only
then judge the doors, open the journal and the socket, and say READY. From there on one loop: timers first, then a
little of what clients sent; nothing in it blocks. However it ends (a signal, an error of its own), the lines are
set inactive on the way out; after SIGKILL or a power cut the next start does it.
"""

import contextlib
import fcntl
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from board import BoardError, Outputs, load_outputs
from drivers.gpio.base import Chip, GpioError, InputLine, OutputLine
from drivers.gpio.chips import open_chip
from firmware.door.choice import Choice
from firmware.door.journal import Journal
from firmware.door.lock import Door, Lock, Record, Switch, Tell, TellAll
from firmware.door.protocol import MAX_LINE, VERSION, Malformed, PulseRequest, encode, parse_request
from firmware.door.server import FLOOD_PER_S, REQUESTS_PER_S, TOO_MANY, Client, Server
from firmware.door.settings import Settings, SettingsError
from firmware.door.systemd import Notifier

USAGE = """\
usage: portero-door --config FILE [--last-good FILE] [--release]

  --last-good FILE  keep a copy of a good configuration there, and go on with it when that is spoilt or gone
  --release         only set every relay of the board inactive, and end"""
CONSUMER = "portero-door"  # who has the relays, in the words of gpioinfo
SOCKET_NAME = "door.sock"
PLACES_NAME = "lines"
JOURNAL_NAME = "door-journal.jsonl"
JOURNAL_CLOSE_S = 2.0
REALTIME_PRIORITY, URGENT_NICENESS = 10, -10  # below the kernel's own threads, above everything that computes
REFUSALS_PER_MINUTE = 60  # that are journalled: refusing must not push the grants out of a bounded file

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CONFIGURATION = 78  # EX_CONFIG of sysexits.h; systemd need not try that again


class Fatal(Exception):
    """The process cannot go on; the text is for the technician."""

    def __init__(self, text: str, status: int = EXIT_FAILED) -> None:
        super().__init__(text)
        self.status = status


def main() -> None:
    arguments = sys.argv[1:]
    if arguments in (["--help"], ["-h"]):
        print(USAGE)
        return
    release = "--release" in arguments
    if release:
        arguments.remove("--release")
    files = {option: Path(file) for option, file in zip(arguments[::2], arguments[1::2], strict=False)}
    if 2 * len(files) != len(arguments) or not {"--config"} <= files.keys() <= {"--config", "--last-good"}:
        print(USAGE, file=sys.stderr)
        sys.exit(EXIT_USAGE)
    try:
        choice = Choice(files["--config"], files.get("--last-good"))
    except SettingsError as error:
        _say(str(error).splitlines())
        sys.exit(EXIT_CONFIGURATION)
    try:
        if release:
            _only_release(choice)
        else:
            _run(choice, Notifier(os.environ))
    except Fatal as fatal:
        _say([*choice.notes, *str(fatal).splitlines()])
        sys.exit(fatal.status)


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        print(f"portero-door: {line}", file=sys.stderr, flush=True)


def _only_release(choice: Choice) -> None:
    problem = _become_only_instance(choice.settings.run_dir)
    with contextlib.ExitStack() as lines_open:
        taken = _release_all(choice.settings, lines_open)
    print(f"portero-door: released {', '.join(taken.lines) or 'nothing: the board has no outputs'}")
    if problem:
        raise Fatal(problem)
    _say(choice.notes)


def _run(choice: Choice, notifier: Notifier) -> None:
    wake, wake_writer = socket.socketpair()
    wake.setblocking(False)
    wake_writer.setblocking(False)
    signals = _Signals(wake_writer)
    run_dir = choice.settings.run_dir
    problem = _become_only_instance(run_dir)
    with contextlib.ExitStack() as lines_open:
        taken = _release_all(choice.settings, lines_open)
        if problem:
            raise Fatal(problem)
        _note_places(taken.lines)
        try:
            tamper, doors = choice.judge(taken.board.inputs, taken.lines)
        except SettingsError as error:
            raise Fatal(str(error), EXIT_CONFIGURATION) from error
        by_door = {door.name: taken.lines[relay] for door, relay in doors.items()}
        cover = taken.watch(tamper) if tamper else None
        journal = Journal(choice.settings.state_dir / JOURNAL_NAME, lambda: _poke(wake_writer))
        threading.Thread(target=_settle, args=(choice,), name="last good", daemon=True).start()
        without = come_first()  # this thread alone: the others began before
        if without:
            print(f"portero-door: {without}", file=sys.stderr)
        try:
            process = _open(doors, by_door, cover, run_dir / SOCKET_NAME, journal, notifier)
            if choice.spoilt:
                what = f"the lock's last good copy of {choice.since} is in use: {choice.spoilt}"
                process.report_fault("configuration of the lock", what, "mend the file, then restart portero-door")
            process.run(signals, wake)
        finally:
            # The lines first: closing the journal may take as long as a bad disk likes.
            lines_open.close()
            journal.close(JOURNAL_CLOSE_S)


def _settle(choice: Choice) -> None:
    """What waits for the disk and for who reads our words: on a thread that nobody waits for."""
    choice.keep()
    _say(choice.notes)
    choice.notes.clear()


class Process:
    """The loop: lines, clients, journal and systemd round one `Lock`. OSError if the socket cannot be had."""

    def __init__(
        self,
        doors: Iterable[Door],
        lines: dict[str, OutputLine],
        cover: InputLine | None,
        socket_path: Path,
        journal: Journal,
        notifier: Notifier,
    ) -> None:
        self._lock = Lock(doors)
        self._lines = lines
        self._cover = cover
        self._journal = journal
        self._notifier = notifier
        self._performing = False
        self._journal_failure = ""
        self._refusal_minute = 0
        self._refusals = 0
        self._server = Server(socket_path, on_client=self._greet, on_line=self._obey, on_lost=self._lose)

    def run(self, signals: "_Signals", wake: socket.socket) -> None:
        """Until a signal ends it; every door is released when this returns. `wake` ends a wait."""
        self._server.watch(wake.fileno())
        if self._cover is not None:
            self._server.watch(self._cover.fd)
        self._journal.put({"kind": "started", "pid": os.getpid(), "at_s": time.monotonic()})
        for name, line in self._lines.items():
            self._read_back(name, line)
        self._look_at_cover()
        self._perform()
        self._notifier.send(READY="1", STATUS=f"{len(self._lines)} doors, all released")
        try:
            while not signals.received:
                now = time.monotonic()
                self._lock.handle_timer(now)
                self._look_at_cover()
                self._perform()
                self._notifier.feed_watchdog(now)
                self._look_at_journal()
                self._server.turn(self._patience_s())
        finally:
            self._stop(signals.received or "error")

    def report_fault(self, where: str, what: str, remedy: str) -> None:
        self._lock.report_fault(where, what, remedy)

    def _stop(self, reason: str) -> None:
        self._lock.stop()
        self._perform()
        self._notifier.send(STOPPING="1", STATUS=f"stopping: {reason}")
        self._journal.put({"kind": "stopped", "reason": reason, "at_s": time.monotonic()})
        self._server.close()

    def _patience_s(self) -> float | None:
        deadlines = (self._lock.next_deadline(), self._notifier.next_deadline())
        nearest = min((deadline for deadline in deadlines if deadline is not None), default=None)
        return None if nearest is None else max(0.0, nearest - time.monotonic())

    # --- clients -------------------------------------------------------------------------------------------

    def _greet(self, client: Client) -> None:
        hello = {"event": "hello", "version": VERSION, **self._lock.status(time.monotonic())}
        self._server.send(client.number, encode(hello))

    def _obey(self, client: Client, line: bytes) -> None:
        now = time.monotonic()
        count = client.count_request(now)
        try:
            if len(line) >= MAX_LINE:
                raise Malformed(f"a line is longer than {MAX_LINE} bytes")
            asked = parse_request(line)
        except Malformed as malformed:
            reason = TOO_MANY if count > REQUESTS_PER_S else str(malformed)
            self._lock.refuse(client.number, malformed.request, reason, now)
        else:
            if count > REQUESTS_PER_S:
                self._lock.refuse(client.number, asked.request, TOO_MANY, now)
            elif isinstance(asked, PulseRequest):
                self._lock.pulse(client.number, asked, now)
            else:
                status = {"event": "status", "request": asked.request, **self._lock.status(now)}
                self._server.send(client.number, encode(status))
        self._perform()
        if count > FLOOD_PER_S:
            self._server.drop(client)

    def _lose(self, client: Client) -> None:
        self._lock.lose_client(client.number)
        self._perform()

    # --- what the lock says --------------------------------------------------------------------------------

    def _perform(self) -> None:
        """Do the lock's actions and those that come of them. A client lost while doing so adds to the same work."""
        if self._performing:
            return
        self._performing = True
        try:
            while actions := self._lock.take_actions():
                for action in actions:
                    match action:
                        case Switch(door, active):
                            self._switch(door, active)
                        case Tell(client, message):
                            self._server.send(client, encode(message))
                        case TellAll(owner, message):
                            self._tell_all(owner, message)
                        case Record(number, entry):
                            self._record(number, entry)
        finally:
            self._performing = False

    def _switch(self, door: str, active: bool) -> None:
        line = self._lines[door]
        try:
            line.set(active)
        except OSError as error:
            self._lock.line_failed(door, error.strerror or str(error), time.monotonic())
        else:
            self._read_back(door, line)

    def _read_back(self, door: str, line: OutputLine) -> None:
        try:
            active = line.read()
        except OSError as error:
            self._lock.line_failed(door, error.strerror or str(error), time.monotonic())
        else:
            self._lock.line_read(door, active, time.monotonic())

    def _tell_all(self, owner: int | None, message: dict[str, Any]) -> None:
        mine = encode(message)
        others = encode({**message, "request": None}) if owner is not None else mine
        self._server.send_all(lambda number: mine if number == owner else others)

    def _record(self, number: int | None, entry: dict[str, Any]) -> None:
        if entry["kind"] == "refused" and not self._may_record_refusal():
            return
        client = self._server.client(number) if number is not None else None
        self._journal.put({**entry, "pid": client.pid, "uid": client.uid} if client is not None else entry)

    def _may_record_refusal(self) -> bool:
        minute = int(time.monotonic() / 60)
        if minute != self._refusal_minute:
            if self._refusals > REFUSALS_PER_MINUTE:
                count = self._refusals - REFUSALS_PER_MINUTE
                self._journal.put({"kind": "refusals-not-recorded", "count": count})
            self._refusal_minute, self._refusals = minute, 0
        self._refusals += 1
        return self._refusals <= REFUSALS_PER_MINUTE

    def _look_at_cover(self) -> None:
        """By its level and not by its edges: whatever was missed, the next turn sees how it is."""
        if self._cover is None:
            return
        try:
            what = "the station's cover is off" if self._cover.read() else ""
        except OSError as error:
            what = f"the cover's contact cannot be read: {error.strerror or error}"
        self._lock.tamper(what)

    def _look_at_journal(self) -> None:
        failure = self._journal.failure
        if failure == self._journal_failure:
            return
        self._journal_failure = failure
        if failure:
            remedy = "make room on the disk, or see to its folder's rights; doors still open meanwhile"
            self._lock.report_fault("door journal", failure, remedy)
        else:
            self._lock.clear_fault("door journal")
        self._perform()


class _Signals:
    """SIGTERM and their like as a word to look at, and a byte that ends the loop's wait.

    Every signal that would kill the process ends it in order instead; those without a meaning here are ignored.
    """

    ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    IGNORED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPIPE)

    def __init__(self, wake_writer: socket.socket) -> None:
        self.received = ""
        signal.set_wakeup_fd(wake_writer.fileno(), warn_on_full_buffer=False)
        for number in self.ENDING:
            signal.signal(number, self._note)
        for number in self.IGNORED:
            signal.signal(number, signal.SIG_IGN)

    def _note(self, number: int, frame: object) -> None:
        self.received = signal.Signals(number).name


def come_first() -> str:
    """Where the system allows it, a starved CPU holds no relay on beyond its time. Nothing here computes for long,
    clients that flood are let go of, and the kernel keeps 5 % for the others whatever happens (sched(7)). Says in
    words what could not be had; empty for nothing."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(REALTIME_PRIORITY))
    except OSError as error:
        less = f"no real-time priority ({error.strerror}; LimitRTPRIO={REALTIME_PRIORITY} in the unit gives it)"
    else:
        return ""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, URGENT_NICENESS)
    except OSError:
        return f"{less}: on a starved CPU a pulse may end late"
    return f"{less}: nice {URGENT_NICENESS} in its place"


def _poke(wake_writer: socket.socket) -> None:
    with contextlib.suppress(OSError):  # full: it will wake anyway
        wake_writer.send(b"\0")


def _open(
    doors: Iterable[Door],
    lines: dict[str, OutputLine],
    cover: InputLine | None,
    path: Path,
    journal: Journal,
    notifier: Notifier,
) -> Process:
    try:
        return Process(doors, lines, cover, path, journal, notifier)
    except OSError as error:
        raise Fatal(f"{path}: {error.strerror or error}") from error


def _become_only_instance(run_dir: Path) -> str:
    """Lock the run folder until this process ends. Why that cannot be, or empty.

    Fatal where another process has it: then it owns the relays too, and none of them must be touched.
    """
    path = run_dir / "door.lock"
    try:
        run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        return f"{path}: {error.strerror}"
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(fd, 20, 0).decode(errors="replace").strip()
        raise Fatal(f"{run_dir}: another portero-door is running here, process {owner}") from error
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return ""


class _Taken:
    """The board's lines that are this process's: `lines` by output. Closed with `lines_open`."""

    def __init__(self, board: Outputs, run_dir: Path, lines_open: contextlib.ExitStack) -> None:
        self.board = board
        self.lines: dict[str, OutputLine] = {}
        self._run_dir = run_dir
        self._lines_open = lines_open
        self._chips: dict[str, Chip] = {}

    def chip(self, label: str) -> Chip:
        if label not in self._chips:
            self._chips[label] = chip = open_chip(self.board.driver, label, self._run_dir, CONSUMER)
            self._lines_open.callback(_close_chip, chip)
        return self._chips[label]

    def watch(self, name: str) -> InputLine:
        """The input of this name. Fatal where it cannot be had: who was told to look at the cover opens no door
        without."""
        line = self.board.inputs[name]
        try:
            return self.chip(line.chip).request_input(
                line.line, active_low=line.active_low, pull=line.pull, debounce_ms=line.debounce_ms
            )
        except (GpioError, OSError) as error:
            raise Fatal(f"inputs.{name}: {error}") from error


def _release_all(settings: Settings, lines_open: contextlib.ExitStack) -> _Taken:
    """Request every output that the board's file still names, which sets it inactive; those after one that fails,
    too. Only then Fatal for what was wrong."""
    try:
        outputs = load_outputs(settings.board)
    except BoardError as error:
        raise Fatal(str(error), EXIT_CONFIGURATION) from error
    taken = _Taken(outputs, settings.run_dir, lines_open)
    problems: list[str] = []
    for name, output in outputs.lines.items():
        try:
            chip = taken.chip(output.chip)
            taken.lines[name] = chip.request_output(output.line, active_low=output.active_low)
        except (GpioError, OSError) as error:
            problems.append(f"outputs.{name}: {error}")
    if outputs.wrong:
        raise Fatal("\n".join((outputs.wrong, *problems)), EXIT_CONFIGURATION)
    if problems:
        raise Fatal("\n".join(problems))
    return taken


def _note_places(lines: dict[str, OutputLine]) -> None:
    """For drivers/gpio/release.py, which systemd runs when this process is killed; without it, the next start is
    what releases."""
    folder = os.environ.get("RUNTIME_DIRECTORY")
    if not folder:
        return
    places = [f"{line.place} {name}\n" for name, line in lines.items() if line.place]
    try:
        Path(folder, PLACES_NAME).write_text("".join(places), encoding="utf-8")
    except OSError as error:
        _say([f"{folder}/{PLACES_NAME}: {error.strerror}: when this process is killed, the next start releases"])


def _close_chip(chip: Chip) -> None:
    with contextlib.suppress(OSError):
        chip.close()
