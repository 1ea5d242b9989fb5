"""From the start of the process to its REGISTER on the wire, in CPU; memory when idle."""

import statistics
import threading
import time
from contextlib import ExitStack

from tests.bench.phone import Phone, answering
from tests.bench.programs import Station, cpu_s, resident_mb, scratch_folder
from tests.bench.report import Row, at_most

STARTS = 5
CPU_S, IDLE_MB = 0.6, 45.0
IDLE_AFTER_S = 3.0


def run() -> list[Row]:
    with ExitStack() as stack:
        registrar, phone = Phone(), Phone()
        stack.callback(registrar.close)
        stack.callback(phone.close)
        folder = stack.enter_context(scratch_folder())
        station = Station(folder, phone.uri, registrar=f"sip:127.0.0.1:{registrar.port}")
        stack.callback(station.stop)
        station.door.start()
        starts = [start(station, registrar) for _ in range(STARTS + 1)][1:]  # the first may compile its modules

        station.program.start()
        over = threading.Event()
        answerer = threading.Thread(target=answering, args=(registrar, "REGISTER", over.is_set), daemon=True)
        answerer.start()
        stack.callback(over.set)
        station.start_control()
        time.sleep(IDLE_AFTER_S)
        idle_mb = resident_mb(station.pid)
    cpu, wall = (statistics.median(column) for column in zip(*starts, strict=True))
    return [
        at_most("start to REGISTER on the wire, CPU", cpu, CPU_S, "s"),
        Row("start to REGISTER on the wire, time", wall, unit="s"),
        at_most("memory idle", idle_mb, IDLE_MB, "MB"),
    ]


def start(station: Station, registrar: Phone) -> tuple[float, float]:
    """CPU and time from the start of the process to the REGISTER; the process is ended by force."""
    started_s = time.monotonic()
    station.program.start()
    register = registrar.wait("REGISTER", 20)
    spent_s = cpu_s(station.pid)
    station.program.kill()
    registrar.forget()
    return spent_s, register.at_s - started_s
