"""Calls a second as user agent server behind sipp: OPTIONS, and INVITE/200/ACK/BYE, beside sippy and baresip.

sipp keeps a few calls up at a time and begins the next as one ends, so the server is what limits it. The same
number of calls goes to each server, in turns, and the best of its rounds counts: whatever else runs takes from all.
baresip is a C program with its media machinery; it gives what a phone gives, ours and sippy's are bare stacks.
"""

import importlib.util
import re
import shutil
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from tests.bench.programs import cpu_s, scratch_folder
from tests.bench.report import Row, Skipped, ratio_at_least
from tests.support.baresip import Baresip
from tests.support.ports import free_port
from tests.support.processes import Program
from tests.support.sip_probe import answers_options
from tests.support.waiting import wait_until

ROUNDS = 3
CALLS = {"options": 3000, "calls": 1500}
AT_ONCE = 4  # baresip takes no more calls at a time
SCENARIOS = {
    "options": Path(__file__).parents[1] / "integration" / "sipp" / "options.xml",
    "calls": Path(__file__).parents[1] / "integration" / "sipp" / "short_call.xml",
}


def run() -> list[Row]:
    if shutil.which("sipp") is None:
        raise Skipped("no sipp here")
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        servers = {"portero": own(stack, folder, "portero")}
        if importlib.util.find_spec("sippy") is not None:
            servers["sippy"] = own(stack, folder, "sippy")
        if shutil.which("baresip") is not None:
            servers["baresip"] = phone(stack, folder)
        best: dict[tuple[str, str], tuple[float, float]] = {}
        for number in range(ROUNDS):
            for what in SCENARIOS:
                for name, (program, port, service) in servers.items():
                    rate = measure(folder / f"{name}-{what}-{number}", what, program, port, service)
                    best[name, what] = max(best.get((name, what), (0.0, 0.0)), rate)
    rows = []
    for what in SCENARIOS:
        ours = best["portero", what]
        for peer, bar in (("sippy", 1.0), ("baresip", 0.5)):
            if peer not in servers:
                rows.append(Row(f"{what} a second behind sipp, no {peer} here", ours[0], unit="1/s"))
                continue
            theirs = best[peer, what]
            name = f"{what} a second behind sipp, beside {peer}"
            rows.append(ratio_at_least(name, ours[0], theirs[0], ours[0] / theirs[0], bar, "1/s"))
            per_cpu = ours[1] / theirs[1]
            rows.append(Row(f"  the same a second of CPU, beside {peer}", ours[1], theirs[1], per_cpu, "1/s"))
    return rows


def own(stack: ExitStack, folder: Path, name: str) -> tuple[Program, int, str]:
    port = free_port()
    program = Program(name, [sys.executable, "-m", "tests.bench.uas_servers", name, str(port)], folder)
    program.folder = Path(__file__).parents[2]
    program.start()
    stack.callback(program.stop)
    wait_until(lambda: answers_options("127.0.0.1", port), f"{name} answers: {program.log_text()[-500:]}", 20)
    return program, port, "door"


def phone(stack: ExitStack, folder: Path) -> tuple[Program, int, str]:
    ports = (free_port(), free_port())
    monitor = Baresip(folder / "baresip", "101", ports, answer_mode="auto", video=False)
    monitor.start()
    stack.callback(monitor.stop)
    wait_until(lambda: answers_options("127.0.0.1", monitor.port), "baresip answers", 20)
    return monitor.program, monitor.port, "101"


def measure(folder: Path, what: str, server: Program, port: int, service: str) -> tuple[float, float]:
    """(calls a second, calls a second of the server's CPU)."""
    folder.mkdir()
    count = CALLS[what]
    own_port = free_port()
    command = [
        *("sipp", "-sf", str(SCENARIOS[what]), "-i", "127.0.0.1", "-p", str(own_port), "-m", str(count)),
        *("-l", str(AT_ONCE), "-r", "20000", "-s", service, "-nostdin", "-timeout", "120s", "-timeout_error"),
        *("-mp", str(own_port + 2), f"127.0.0.1:{port}"),
    ]
    sipp = Program("sipp", command, folder, environment={"TERM": "dumb"})
    before, began = cpu_s(server.pid), time.monotonic()
    sipp.start()
    wait_until(lambda: not sipp.alive, f"{count} {what} to {server.name}", 130, 0.005)
    took_s, cpu = time.monotonic() - began, cpu_s(server.pid) - before
    found = re.findall(r"Successful call\s*\|\s*\d+\s*\|\s*(\d+)", sipp.log_text())
    good = int(found[-1]) if found else 0
    # sippy loses some of its calls when several come at once; what it finished counts.
    if good < (count if server.name == "portero" else count // 2):
        raise RuntimeError(f"sipp to {server.name}: {sipp.log_text()[-1500:]}")
    return good / took_s, good / max(cpu, 0.001)
