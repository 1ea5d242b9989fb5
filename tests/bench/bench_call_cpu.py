"""CPU of a PCMU call in both directions: the station's process beside baresip's, turn by turn.

Both talk to the same phone, which sends a packet each 20 ms; both have a sound card without hardware in the
process (the station's simulated one, baresip's aubridge). One round is a call of each.
"""

import statistics
import time
from contextlib import ExitStack

from tests.bench.phone import Phone, Talk, Talker
from tests.bench.programs import Baresip, Station, cpu_s, scratch_folder
from tests.bench.report import Row, ratio_at_most

ROUNDS = 5
SETTLE_S, MEASURE_S = 1.5, 6.0
PACKETS_PER_S = 50
MARK = 1.2


def run() -> list[Row]:
    with ExitStack() as stack:
        phone = Phone()
        stack.callback(phone.close)
        baresip = Baresip(stack.enter_context(scratch_folder()))
        stack.callback(baresip.stop)
        station = Station(stack.enter_context(scratch_folder()), phone.uri, codec="PCMU", video=False)
        stack.callback(station.stop)
        baresip.start()
        station.start()
        pairs = []
        for _ in range(ROUNDS):
            station.press()
            talk = phone.answer(phone.wait("INVITE", 5), phone.sdp("0 PCMU"))
            ours = cpu_of_call(phone, talk, station.pid)
            talk = phone.call(baresip.uri, ("127.0.0.1", baresip.port), phone.sdp("0 PCMU"))
            pairs.append((ours, cpu_of_call(phone, talk, baresip.pid)))
            phone.forget()
        ratio = statistics.median(ours / peer for ours, peer in pairs)
        ours, peer = (statistics.median(column) for column in zip(*pairs, strict=True))
    return [ratio_at_most("PCMU call, CPU beside baresip", ours, peer, ratio, MARK, "ms/s")]


def cpu_of_call(phone: Phone, talk: Talk, pid: int) -> float:
    """Milliseconds of CPU per second of the call, which is ended."""
    talker = Talker(phone, talk)
    talker.start()
    time.sleep(SETTLE_S)
    received, before_s, started_s = talker.received, cpu_s(pid), time.monotonic()
    time.sleep(MEASURE_S)
    spent_s, took_s = cpu_s(pid) - before_s, time.monotonic() - started_s
    received = talker.received - received
    talker.stop()
    phone.hang_up(talk)
    if not 0.95 < received / (took_s * PACKETS_PER_S) < 1.05:
        raise AssertionError(f"{received} packets came in {took_s:.1f} s: that is no call to measure")
    return spent_s / took_s * 1000
