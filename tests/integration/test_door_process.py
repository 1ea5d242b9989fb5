"""The lock as a process on simulated lines: what a technician, an attacker and the kernel do to it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers.gpio.simulated import LineWatch, SimulatedChip, lines_file
from firmware.door.process import come_first
from firmware.net.door_client import (
    DoorClient,
    DoorConnected,
    DoorEvent,
    DoorFault,
    DoorFaultCleared,
    DoorLost,
    DoorUnreachable,
    LineOff,
    LineOn,
    LineReadBack,
    PulseAccepted,
    PulseRefused,
)

ROOT = Path(__file__).parents[2]
DEADLINE_S = 20.0
PROGRAM = "from firmware.door.process import main; main()"
STREET_LINE, YARD_LINE, TAMPER_LINE = 5, 6, 23  # relay1, relay2 and tamper of board/simulated


def eventually(condition: Callable[[], object], what: str = "the condition") -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"waited too long for {what}"
        time.sleep(0.002)


class Station:
    """Folders, configuration and lines of one lock process after another."""

    def __init__(self, folder: Path) -> None:
        self.run_dir, self.state_dir = folder / "run", folder / "state"
        self.file = folder / "station.toml"
        self.socket_path = self.run_dir / "door.sock"
        self.journal_path = self.state_dir / "door-journal.jsonl"
        self.street = LineWatch(lines_file("simulated", self.run_dir), STREET_LINE)
        self.yard = LineWatch(lines_file("simulated", self.run_dir), YARD_LINE)
        self.notify_path = folder / "notify"
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(self.notify_path))
        self.notify.settimeout(DEADLINE_S)
        self.processes: list[subprocess.Popen[str]] = []
        self.configure()

    def configure(self, text: str | None = None) -> None:
        doors = (
            '[[doors]]\nname = "street"\nrelay = "relay1"\npulse_ms = 300\n'
            '[[doors]]\nname = "yard"\nrelay = "relay2"\npulse_ms = 300\nmax_pulse_ms = 60000\n'
        )
        folders = f'[station]\nrun_dir = "{self.run_dir}"\nstate_dir = "{self.state_dir}"\n'
        self.file.write_text(folders + (doors if text is None else text))

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "--config", str(self.file), *arguments],
            cwd=ROOT,
            env={**os.environ, "NOTIFY_SOCKET": str(self.notify_path), **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def start_and_wait(self, **environment: str) -> "subprocess.Popen[str]":
        process = self.start(**environment)
        assert self.notify.recv(1000).startswith(b"READY=1")
        return process

    def run(self, *arguments: str) -> tuple[int, str]:
        """A process that is to end by itself: its status and what it complained of."""
        process = self.start(*arguments)
        _, errors = process.communicate(timeout=DEADLINE_S)
        return process.returncode, errors

    def journal(self, kind: str) -> list[dict]:
        if not self.journal_path.exists():
            return []
        lines = [json.loads(line) for line in self.journal_path.read_text().splitlines()]
        return [line for line in lines if line["kind"] == kind]

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
        self.notify.close()
        for watch in (self.street, self.yard):
            watch.close()


class Talk:
    """A client that says exactly what it is told to."""

    def __init__(self, station: Station) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(DEADLINE_S)
        self._socket.connect(str(station.socket_path))
        self._file = self._socket.makefile("rb")
        self.request = 0

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def ask(self, **fields: object) -> int:
        self.request += 1
        asked = {"op": "pulse", "request": self.request, "door": "street", "sent_s": time.monotonic()} | fields
        self.send(json.dumps(asked).encode() + b"\n")
        return self.request

    def hear(self, *kinds: str) -> dict:
        """The next message of these kinds."""
        while line := self._file.readline():
            message = json.loads(line)
            if message["event"] in kinds:
                return message
        raise EOFError

    def ended(self) -> bool:
        try:
            while self._file.readline():
                pass
        except ConnectionResetError:
            pass
        return True

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    opened = Station(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def talk(station: Station) -> Iterator[Callable[[], Talk]]:
    talks: list[Talk] = []

    def connect() -> Talk:
        talks.append(Talk(station))
        return talks[-1]

    yield connect
    for client in talks:
        client.close()


def test_a_pulse_switches_the_line_for_its_time_and_is_journalled(
    station: Station, talk: Callable[[], Talk]
) -> None:
    station.start_and_wait()
    client = talk()
    assert [door["name"] for door in client.hear("hello")["doors"]] == ["street", "yard"]
    client.ask(evidence={"by": "code", "leg": "1.2"})
    assert client.hear("accepted")["pulse_ms"] == 300
    assert client.hear("line-on")["door"] == "street"
    assert client.hear("read-back")["active"] is True
    assert station.street.active
    on_at_s = station.street.edges[1]
    assert client.hear("read-back")["active"] is False
    off = client.hear("line-off")
    assert off["reason"] == "pulse ended"
    count, off_at_s = station.street.edges
    assert count == 2
    assert off_at_s - on_at_s >= 0.290  # no early end; how late is the machine's business
    eventually(lambda: station.journal("released"))
    granted = station.journal("granted")[0]
    assert granted["evidence"] == {"by": "code", "leg": "1.2"}
    assert (granted["pid"], granted["uid"]) == (os.getpid(), os.getuid())
    assert not station.yard.active


def test_a_client_killed_in_mid_pulse_takes_its_pulse_with_it(station: Station) -> None:
    station.start_and_wait()
    program = (
        "import json, socket, sys, time\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "ask = {'op': 'pulse', 'request': 1, 'door': 'yard', 'pulse_ms': 60000, 'sent_s': time.monotonic()}\n"
        "s.sendall(json.dumps(ask).encode() + b'\\n')\n"
        "while True: s.recv(4096)"
    )
    client = subprocess.Popen([sys.executable, "-c", program, str(station.socket_path)])
    assert station.yard.wait(True, DEADLINE_S)
    client.kill()
    assert station.yard.wait(False, DEADLINE_S)
    client.wait()
    eventually(lambda: station.journal("released"))
    assert station.journal("released")[0]["reason"] == "client lost"


def test_killed_in_mid_pulse_it_releases_the_line_at_its_next_start_before_it_listens(
    station: Station, talk: Callable[[], Talk]
) -> None:
    process = station.start_and_wait()
    talk().ask(door="yard", pulse_ms=60_000)
    assert station.yard.wait(True, DEADLINE_S)
    process.kill()
    process.wait()
    assert station.yard.active  # as the kernel leaves it
    assert station.socket_path.exists()  # stale

    # The socket cannot be had this time: what is released now is released before it.
    station.socket_path.unlink()
    station.socket_path.mkdir()
    status, errors = station.run()
    assert status == 1
    assert "is no socket" in errors
    assert not station.yard.active
    assert station.yard.edges[0] == 2

    station.socket_path.rmdir()
    station.start_and_wait()
    assert station.yard.edges[0] == 2  # and starting makes no edge


@pytest.mark.parametrize(
    "spoilt", ['[[doors]]\nname = 5\nrelay = "x"\n', "[[doors\n", '[doors]\nname = "street"\n']
)
def test_killed_in_mid_pulse_a_spoilt_configuration_does_not_keep_the_door_open(
    station: Station, talk: Callable[[], Talk], spoilt: str
) -> None:
    process = station.start_and_wait()
    talk().ask(door="yard", pulse_ms=60_000)
    assert station.yard.wait(True, DEADLINE_S)
    process.kill()
    process.wait()
    station.configure(spoilt)
    status, errors = station.run()
    assert status == 78
    assert f"portero-door: {station.file}: " in errors
    assert not station.yard.active


@pytest.mark.parametrize("wrong", ["[outputs.relay1]\nchip = 5\n", '[outputs.relay1]\nchip = "simu\n'])
def test_killed_in_mid_pulse_a_spoilt_board_does_not_keep_the_door_open(
    station: Station, talk: Callable[[], Talk], wrong: str
) -> None:
    process = station.start_and_wait()
    talk().ask(door="yard", pulse_ms=60_000)
    assert station.yard.wait(True, DEADLINE_S)
    process.kill()
    process.wait()
    board = station.file.with_name("board.toml")
    board.write_text(
        f'[gpio]\ndriver = "simulated"\n{wrong}[outputs.relay2]\nchip = "simulated"\nline = {YARD_LINE}\n'
    )
    station.configure(f'board = "{board}"\n')
    status, errors = station.run()
    assert status == 78
    assert f"portero-door: {board}: " in errors
    assert "Traceback" not in errors
    assert not station.yard.active


def test_it_comes_before_all_that_computes_where_the_system_allows_that(station: Station) -> None:
    try_it = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))"
    if subprocess.run([sys.executable, "-c", try_it], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("SCHED_FIFO is not permitted here: needs CAP_SYS_NICE or RLIMIT_RTPRIO")
    process = station.start_and_wait()
    assert os.sched_getscheduler(process.pid) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO
    journal = next(int(thread) for thread in os.listdir(f"/proc/{process.pid}/task") if int(thread) != process.pid)
    assert os.sched_getscheduler(journal) == os.SCHED_OTHER


def test_it_runs_where_the_system_does_not_allow_that(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(*arguments: object) -> None:
        asked.append(arguments)
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(os, "setpriority", refuse)
    assert "on a starved CPU a pulse may end late" in come_first()
    assert len(asked) == 2


def test_killed_in_mid_pulse_a_door_taken_out_of_the_configuration_is_released(
    station: Station, talk: Callable[[], Talk]
) -> None:
    process = station.start_and_wait()
    talk().ask(door="yard", pulse_ms=60_000)
    assert station.yard.wait(True, DEADLINE_S)
    process.kill()
    process.wait()
    station.configure("")
    station.start_and_wait()
    assert not station.yard.active


def test_release_alone_switches_off_what_a_killed_process_left_on_and_ends(
    station: Station, talk: Callable[[], Talk]
) -> None:
    process = station.start_and_wait()
    talk().ask(door="yard", pulse_ms=60_000)
    assert station.yard.wait(True, DEADLINE_S)
    process.kill()
    process.wait()
    assert station.yard.active
    assert station.run("--release") == (0, "")
    assert not station.yard.active


def test_release_alone_needs_no_doors_and_works_beside_mistakes_in_them(
    station: Station, talk: Callable[[], Talk]
) -> None:
    process = station.start_and_wait()
    talk().ask(door="yard", pulse_ms=60_000)
    assert station.yard.wait(True, DEADLINE_S)
    process.kill()
    process.wait()
    station.configure('[[doors]]\nname = "street"\nrelay = "relay9"\n')
    assert station.run("--release")[0] == 0
    assert not station.yard.active


def test_release_alone_touches_nothing_of_a_lock_that_lives(station: Station, talk: Callable[[], Talk]) -> None:
    station.start_and_wait()
    client = talk()
    client.ask(door="yard", pulse_ms=60_000)
    assert station.yard.wait(True, DEADLINE_S)
    status, errors = station.run("--release")
    assert status == 1
    assert "another portero-door is running here" in errors
    assert station.yard.active


def test_while_the_cover_is_off_no_door_opens_and_everybody_hears_why(
    station: Station, talk: Callable[[], Talk]
) -> None:
    station.configure('[access]\ntamper = "tamper"\n[[doors]]\nname = "street"\nrelay = "relay1"\npulse_ms = 300\n')
    station.start_and_wait()
    hand = SimulatedChip(lines_file("simulated", station.run_dir))
    client = talk()
    client.ask()
    assert client.hear("accepted", "refused")["event"] == "accepted"
    client.hear("line-off")
    hand.drive(TAMPER_LINE, True)
    assert client.hear("fault")["what"] == "the station's cover is off"
    client.ask()
    assert client.hear("accepted", "refused")["reason"] == "tamper: the station's cover is off"
    hand.drive(TAMPER_LINE, False)
    assert client.hear("fault-cleared")["where"] == "tamper"
    client.ask()
    assert client.hear("accepted", "refused")["event"] == "accepted"
    hand.close()


def test_a_cover_that_is_off_at_the_start_is_a_fault_of_the_first_word(
    station: Station, talk: Callable[[], Talk]
) -> None:
    station.configure('[access]\ntamper = "tamper"\n[[doors]]\nname = "street"\nrelay = "relay1"\n')
    station.run_dir.mkdir()
    hand = SimulatedChip(lines_file("simulated", station.run_dir))
    hand.drive(TAMPER_LINE, True)
    station.start_and_wait()
    assert [fault["where"] for fault in talk().hear("hello")["faults"]] == ["tamper"]
    hand.close()


@pytest.mark.parametrize("holder", [True, False])
def test_a_cover_that_cannot_be_watched_ends_the_process_with_its_name(station: Station, holder: bool) -> None:
    station.configure(f'[access]\ntamper = "{"tamper" if holder else "lid"}"\n')
    station.run_dir.mkdir()
    other = SimulatedChip(lines_file("simulated", station.run_dir))
    other.request_input(TAMPER_LINE, active_low=False, pull="none", debounce_ms=0)
    status, errors = station.run()
    assert status == (1 if holder else 78)
    assert ("inputs.tamper: " if holder else 'access.tamper: is "lid", which is no input') in errors
    other.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_in_mid_pulse_releases_and_ends_in_order(
    station: Station, talk: Callable[[], Talk], number: signal.Signals
) -> None:
    process = station.start_and_wait()
    client = talk()
    client.ask(door="yard", pulse_ms=60_000)
    assert station.yard.wait(True, DEADLINE_S)
    process.send_signal(number)
    assert client.hear("line-off")["reason"] == "stopping"
    assert client.ended()
    assert process.wait(DEADLINE_S) == 0
    assert not station.yard.active
    assert not station.socket_path.exists()
    assert station.journal("released")[0]["reason"] == "stopping"
    assert station.journal("stopped")[0]["reason"] == number.name


def test_signals_without_a_meaning_do_nothing(station: Station, talk: Callable[[], Talk]) -> None:
    process = station.start_and_wait()
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM):
        process.send_signal(number)
    talk().ask()
    assert station.street.wait(True, DEADLINE_S)
    assert process.poll() is None


def test_whatever_a_client_sends_it_is_refused_with_a_reason_and_others_are_served(
    station: Station, talk: Callable[[], Talk]
) -> None:
    station.start_and_wait()
    client = talk()
    for data in (b"", b"rubbish", b"[" * 3000, b"\xff\x00\xfe", b'{"request":1}', b'{"op":"pulse","request":NaN}'):
        client.send(data + b"\n")
        assert client.hear("refused")["reason"]
    for fields, reason in (
        ({"door": "cellar"}, "there is no door of that name"),
        ({"pulse_ms": -5}, "pulse_ms is -5"),
        ({"pulse_ms": 10**15}, "pulse_ms is 1000000000000000"),
        ({"pulse_ms": 1.5}, "pulse_ms is not a whole number"),
        ({"sent_s": time.monotonic() - 10}, "s old"),
        ({"evidence": {"x": [1]}}, "evidence"),
    ):
        request = client.ask(**fields)
        refused = client.hear("refused")
        assert refused["request"] == request
        assert reason in refused["reason"]
    client.send(b"x" * 5000)
    assert "longer than 4096" in client.hear("refused")["reason"]
    assert client.ended()
    assert station.street.edges[0] == 0
    other = talk()
    other.ask()
    assert other.hear("accepted")


def test_a_flood_neither_opens_nor_holds_up_a_release(station: Station, talk: Callable[[], Talk]) -> None:
    station.start_and_wait()
    honest = talk()
    honest.ask(pulse_ms=500)
    honest.hear("accepted")
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            client = Talk(station)
            try:
                while not stop.is_set():
                    client.send(b'{"op":"pulse","request":1,"door":"yard","sent_s":0}\n' * 1000)
            except OSError:
                pass
            finally:
                client.close()

    flooder = threading.Thread(target=flood)
    flooder.start()
    try:
        off = honest.hear("line-off")
    finally:
        stop.set()
        flooder.join()
    assert off["reason"] == "pulse ended"
    assert station.yard.edges[0] == 0
    assert len(station.journal("refused")) <= 120  # a minute's share, or two
    honest.ask(door="yard")
    assert honest.hear("accepted")


def test_too_many_requests_are_refused_and_not_done_later(station: Station, talk: Callable[[], Talk]) -> None:
    station.start_and_wait()
    client = talk()
    for _ in range(120):
        client.ask(door="cellar")
    client.ask(door="street")
    reasons = [client.hear("refused")["reason"] for _ in range(121)]
    assert reasons[-1] == "too many requests"
    assert station.street.edges[0] == 0


def test_more_clients_than_there_is_room_for_are_told_so(station: Station, talk: Callable[[], Talk]) -> None:
    station.start_and_wait()
    for _ in range(8):
        talk().hear("hello")
    late = talk()
    assert late.hear("refused")["reason"] == "too many clients"
    assert late.ended()


def test_a_client_that_never_reads_is_let_go_of_and_its_door_released(
    station: Station, talk: Callable[[], Talk]
) -> None:
    station.start_and_wait()
    deaf, other = talk(), talk()
    deaf.ask(door="yard", pulse_ms=60_000)
    assert station.yard.wait(True, DEADLINE_S)
    # Status answers that nobody takes, at a rate that is allowed; those beyond it are answered as well.
    deadline_s = time.monotonic() + DEADLINE_S
    while station.yard.active:
        assert time.monotonic() < deadline_s
        try:
            deaf.send(b'{"op":"status","request":1}\n' * 40)
        except OSError:
            break
    assert station.yard.wait(False, DEADLINE_S)
    assert other.hear("line-off")["reason"] == "client lost"


def test_what_one_client_opens_the_others_hear_without_its_number(
    station: Station, talk: Callable[[], Talk]
) -> None:
    station.start_and_wait()
    first, second = talk(), talk()
    second.hear("hello")
    request = first.ask()
    assert first.hear("line-on")["request"] == request
    assert second.hear("line-on")["request"] is None


def test_a_full_disk_is_a_fault_and_the_door_still_opens_and_closes(
    station: Station, talk: Callable[[], Talk]
) -> None:
    station.state_dir.mkdir()
    station.journal_path.symlink_to("/dev/full")
    process = station.start_and_wait()
    client = talk()
    hello = client.hear("hello")
    fault = hello["faults"][0] if hello["faults"] else client.hear("fault")
    assert fault["where"] == "door journal"
    assert "No space left on device" in fault["what"]
    client.ask()
    assert client.hear("line-off")["reason"] == "pulse ended"
    process.terminate()
    assert process.wait(DEADLINE_S) == 0


def test_a_second_instance_leaves_the_first_ones_relays_alone(station: Station, talk: Callable[[], Talk]) -> None:
    first = station.start_and_wait()
    client = talk()
    client.ask(door="yard", pulse_ms=60_000)
    assert client.hear("accepted")["door"] == "yard"
    status, errors = station.run()
    assert status == 1
    assert f"another portero-door is running here, process {first.pid}" in errors
    assert station.yard.active
    client.ask(door="street")
    assert client.hear("accepted")["door"] == "street"


def test_a_line_that_another_process_has_is_named_and_the_others_are_released(station: Station) -> None:
    station.run_dir.mkdir()
    program = (
        "from drivers.gpio.simulated import *; import sys\n"
        "chip = SimulatedChip.of('simulated', Path(sys.argv[1])); chip.request_output(5, active_low=False)\n"
        "chip._map[6] = ord('1'); print(flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    holder = subprocess.Popen([sys.executable, "-c", program, str(station.run_dir)], cwd=ROOT, **pipes)  # type: ignore[call-overload]
    holder.stdout.readline()
    assert station.yard.active
    status, errors = station.run()
    holder.communicate()
    assert status == 1
    assert "outputs.relay1: " in errors
    assert "another process has line 5" in errors
    assert not station.yard.active


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            '[[doors]]\nname = "street"\nrelay = "relay7"\n',
            'doors[0].relay: is "relay7"; write one of "relay1", "relay2"',
        ),
        ("[[doors]\n", "line 4"),
    ],
)
def test_a_wrong_configuration_is_named_with_file_and_key(station: Station, text: str, complaint: str) -> None:
    station.configure(text)
    status, errors = station.run()
    assert status == 78
    assert f"portero-door: {station.file}: " in errors
    assert complaint in errors
    assert "Traceback" not in errors


def test_with_a_spoilt_configuration_it_goes_on_with_its_last_good_copy_and_reports_that(
    station: Station, talk: Callable[[], Talk]
) -> None:
    copy = station.state_dir / "door.last-good.toml"
    process = station.start("--last-good", str(copy))
    assert station.notify.recv(1000).startswith(b"READY=1")
    eventually(copy.exists, "the copy is kept")
    talk().ask(door="yard", pulse_ms=60_000)
    assert station.yard.wait(True, DEADLINE_S)
    process.kill()
    process.wait()
    station.file.write_text("[[doors\n")

    status, errors = station.run("--last-good", str(copy), "--release")
    assert status == 0
    assert errors.startswith(f"portero-door: {station.file}: ")
    assert "portero-door: goes on with the last good copy of 2" in errors
    assert not station.yard.active

    station.file.unlink()
    station.start("--last-good", str(copy))
    assert station.notify.recv(1000).startswith(b"READY=1")
    with_copy = talk()
    (fault,) = with_copy.hear("hello")["faults"]
    assert fault["where"] == "configuration of the lock"
    assert f"{station.file}: No such file" in fault["what"]
    with_copy.ask(door="street")
    assert station.street.wait(True, DEADLINE_S)


def test_a_copy_that_others_may_write_opens_no_door(station: Station) -> None:
    copy = station.file.with_name("copy.toml")
    station.file.rename(copy)
    copy.chmod(0o666)
    status, errors = station.run("--last-good", str(copy))
    assert status == 78
    assert errors.splitlines() == [
        f"portero-door: {station.file}: No such file or directory",
        f"portero-door: the last good copy is not used: {copy}: others may write it; "
        f"remove it, or run chmod 600 {copy}",
    ]


@pytest.mark.parametrize("arguments", [["--last-good"], ["--config", "again.toml"], ["--good", "x"]])
def test_it_is_told_how_it_is_called(station: Station, arguments: list[str]) -> None:
    status, errors = station.run(*arguments)
    assert status == 2
    assert errors.startswith("usage: portero-door --config FILE")


def test_an_unknown_board_and_a_missing_file_are_named(station: Station) -> None:
    station.file.write_text('[station]\nboard = "rpi9"\n')
    status, errors = station.run()
    assert status == 78
    assert 'there is no board "rpi9"; write one of "' in errors
    station.file.unlink()
    status, errors = station.run()
    assert status == 78
    assert errors == f"portero-door: {station.file}: No such file or directory\n"


def test_systemd_is_told_ready_fed_and_told_stopping(station: Station) -> None:
    program = (
        "import os; os.environ['WATCHDOG_PID'] = str(os.getpid()); os.environ['WATCHDOG_USEC'] = '100000'\n"
        + PROGRAM
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "--config", str(station.file)],
        cwd=ROOT,
        env={**os.environ, "NOTIFY_SOCKET": str(station.notify_path)},
    )
    station.processes.append(process)
    assert station.notify.recv(1000) == b"READY=1\nSTATUS=2 doors, all released"
    for _ in range(3):
        assert station.notify.recv(1000) == b"WATCHDOG=1"
    process.terminate()
    while (told := station.notify.recv(1000)) == b"WATCHDOG=1":
        pass
    assert told.startswith(b"STOPPING=1")
    assert process.wait(DEADLINE_S) == 0


def test_the_socket_is_for_its_owner_and_group_only(station: Station) -> None:
    station.start_and_wait()
    assert station.socket_path.stat().st_mode & 0o777 == 0o660


# --- the station's end -------------------------------------------------------------------------------------


class Heard:
    """A DoorClient and the events it told, with a way to wait for one."""

    def __init__(self, station: Station, start_grace_s: float = 0.0) -> None:
        self.events: list[DoorEvent] = []
        self.client = DoorClient(station.socket_path, self.events.append, start_grace_s=start_grace_s)

    async def first(self, *kinds: type, after: int = 0) -> DoorEvent:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                for event in self.events[after:]:
                    if isinstance(event, kinds):
                        return event
                await asyncio.sleep(0.002)

    async def __aenter__(self) -> "Heard":
        self.client.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.client.stop()


def test_the_client_opens_and_hears_every_step(station: Station) -> None:
    async def story() -> None:
        async with Heard(station) as heard:
            connected = await heard.first(DoorConnected)
            assert connected == DoorConnected(("street", "yard"), ())
            request = heard.client.pulse("street", 200, {"by": "code", "press": 3})
            await heard.first(LineOff)
            assert [type(event) for event in heard.events] == [
                DoorConnected,
                PulseAccepted,
                LineOn,
                LineReadBack,
                LineReadBack,
                LineOff,
            ]
            assert {event.request for event in heard.events[1:]} == {request}  # type: ignore[union-attr]
            status = await heard.client.status()
            assert [door["state"] for door in status["doors"]] == ["released", "released"]

    station.start_and_wait()
    asyncio.run(story())


def test_the_client_passes_a_refusal_on(station: Station) -> None:
    async def story() -> None:
        async with Heard(station) as heard:
            await heard.first(DoorConnected)
            request = heard.client.pulse("cellar", None, {})
            refused = await heard.first(PulseRefused)
            assert refused == PulseRefused(
                request, "cellar", "there is no door of that name; there are: street, yard"
            )

    station.start_and_wait()
    asyncio.run(story())


def test_without_a_lock_process_a_pulse_is_refused_at_once_and_not_done_later(station: Station) -> None:
    async def story() -> None:
        async with Heard(station) as heard:
            lost = await heard.first(DoorLost)
            assert "No such file or directory" in lost.reason  # type: ignore[union-attr]
            request = heard.client.pulse("street", 200, {})
            assert heard.events == [lost]  # never from within pulse
            refused = await heard.first(PulseRefused)
            assert refused.request == request  # type: ignore[union-attr]
            assert "no door process" in refused.reason  # type: ignore[union-attr]
            with pytest.raises(DoorUnreachable, match="no door process"):
                await heard.client.status()
            station.start_and_wait()
            await heard.first(DoorConnected)
            assert [event for event in heard.events if isinstance(event, DoorLost)] == [lost]
            await heard.client.status()
            assert station.street.edges[0] == 0

    asyncio.run(story())


def test_a_lock_process_that_comes_after_the_station_was_not_lost(station: Station) -> None:
    async def story() -> None:
        async with Heard(station, start_grace_s=DEADLINE_S) as heard:
            heard.client.pulse("street", 200, {})
            refused = await heard.first(PulseRefused)
            assert "no door process" in refused.reason  # type: ignore[union-attr]
            await asyncio.to_thread(station.start_and_wait)
            await heard.first(DoorConnected)
            assert not any(isinstance(event, DoorLost) for event in heard.events)

    asyncio.run(story())


def test_a_lock_process_that_was_gone_for_a_moment_was_lost(station: Station) -> None:
    """The grace of a stop hides no crash. The lock here greets, goes, and is back at the first try."""
    greeted: list[asyncio.StreamWriter] = []

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeted.append(writer)
        writer.write(b'{"event": "hello", "version": 1, "doors": [], "faults": []}\n')

    async def story() -> None:
        station.socket_path.parent.mkdir(exist_ok=True)
        async with await asyncio.start_unix_server(greet, station.socket_path):
            async with Heard(station) as heard:
                await heard.first(DoorConnected)
                greeted[0].close()
                await heard.first(DoorConnected, after=1)
                assert [type(event) for event in heard.events] == [DoorConnected, DoorLost, DoorConnected]
            greeted[1].close()

    asyncio.run(story())


def test_a_lock_process_that_hangs_before_it_greets_is_lost(station: Station) -> None:
    """The socket takes connections, as the kernel does for a process that is stopped; nobody says hello."""

    async def story() -> None:
        station.socket_path.parent.mkdir(exist_ok=True)
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(os.fspath(station.socket_path))
            silent.listen()
            async with Heard(station) as heard:
                lost = await heard.first(DoorLost)
                assert lost == DoorLost("the door process does not answer in 2 s")
                assert not heard.client.connected

    asyncio.run(story())


def test_a_lock_process_killed_in_mid_pulse_is_told_and_found_again(station: Station) -> None:
    async def story() -> None:
        process = station.start_and_wait()
        async with Heard(station) as heard:
            await heard.first(DoorConnected)
            heard.client.pulse("yard", 60_000, {})
            await heard.first(LineOn)
            process.kill()
            await heard.first(DoorLost)
            assert not heard.client.connected
            told = len(heard.events)
            await asyncio.to_thread(station.start_and_wait)
            await heard.first(DoorConnected, after=told)
            assert not station.yard.active
            heard.client.pulse("street", 200, {})
            await heard.first(LineOff, after=told)

    asyncio.run(story())


def test_a_lock_process_that_hangs_answers_nothing_and_opens_nothing_when_it_wakes(station: Station) -> None:
    async def story() -> None:
        process = station.start_and_wait()
        async with Heard(station) as heard:
            await heard.first(DoorConnected)
            process.send_signal(signal.SIGSTOP)
            request = heard.client.pulse("street", 200, {})
            refused = await heard.first(PulseRefused)
            assert refused == PulseRefused(request, "street", "the door process does not answer in 2 s")
            process.send_signal(signal.SIGCONT)
            await heard.client.status()  # answered after the old request was
            assert station.street.edges[0] == 0
            assert len([event for event in heard.events if isinstance(event, PulseRefused)]) == 1

    asyncio.run(story())


def test_leaving_in_mid_pulse_releases_the_door(station: Station) -> None:
    async def story() -> None:
        async with Heard(station) as heard:
            await heard.first(DoorConnected)
            heard.client.pulse("yard", 60_000, {})
            await heard.first(LineOn)

    station.start_and_wait()
    asyncio.run(story())
    assert station.yard.wait(False, DEADLINE_S)


def test_the_client_hears_of_a_fault_that_began_before_it_came(station: Station) -> None:
    async def story() -> None:
        async with Heard(station) as heard:
            connected = await heard.first(DoorConnected)
            fault = connected.faults[0] if connected.faults else await heard.first(DoorFault)  # type: ignore[union-attr]
            assert fault.where == "door journal"
            station.journal_path.unlink()
            heard.client.pulse("street", 200, {})
            assert await heard.first(DoorFaultCleared) == DoorFaultCleared("door journal")

    station.state_dir.mkdir()
    station.journal_path.symlink_to("/dev/full")
    station.start_and_wait()
    asyncio.run(story())


def test_a_receiver_that_raises_does_not_close_the_door_early(
    station: Station, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        heard = Heard(station)

        def broken(event: DoorEvent) -> None:
            heard.events.append(event)
            if isinstance(event, LineOn):
                raise RuntimeError("receiver broke")

        heard.client = DoorClient(station.socket_path, broken)
        async with heard:
            await heard.first(DoorConnected)
            heard.client.pulse("street", 200, {})
            off = await heard.first(LineOff)
            assert off.reason == "pulse ended"  # type: ignore[union-attr]

    station.start_and_wait()
    asyncio.run(story())
    assert "receiver broke" in caplog.text
