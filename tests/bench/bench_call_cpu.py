"""CPU of a call in both directions, in PCMU plain and encrypted, in G.722 and in Opus: the station's process beside
baresip's, the two ends of one call.

Both carry the same packets over the same seconds, so whatever else the machine does meets both alike; apart from
each other they were measured 40 % up and down on a shared machine. Each has a sound card without hardware in its
process (the station's simulated one, baresip's aubridge) and nothing else to do. A process that wakes 50 times a
second finds its caches cold each time: on an idle machine of its own both cost a fraction.
"""

import statistics
import time
from contextlib import ExitStack

from tests.bench.programs import BUTTON, Baresip, Station, cpu_s, scratch_folder
from tests.bench.report import Row, ratio_at_most

CALLS = 6
SETTLE_S, MEASURE_S = 1.5, 5.0
PACKETS_PER_S = 50
MARK, ENCRYPTED_MARK = 1.1, 1.8
WIDEBAND_MARKS = {"G722": 1.6, "opus": 1.8}


def run() -> list[Row]:
    return [
        ratio_at_most("PCMU call, CPU beside baresip", *measured_calls(), MARK, "ms/s"),
        ratio_at_most("the same with SRTP", *measured_calls(encrypted=True), ENCRYPTED_MARK, "ms/s"),
        *(
            ratio_at_most(f"{codec} call, CPU beside baresip", *measured_calls(codec=codec), mark, "ms/s")
            for codec, mark in WIDEBAND_MARKS.items()
        ),
    ]


def measured_calls(
    canceller: str = "", calls: int = CALLS, *, encrypted: bool = False, codec: str = "PCMU"
) -> tuple[float, float, float]:
    """Milliseconds of CPU per second of ours and baresip's (medians), and the median of the calls' ratios."""
    with ExitStack() as stack:
        baresip = Baresip(stack.enter_context(scratch_folder()), codec=codec, encrypts=encrypted)
        stack.callback(baresip.stop)
        station = Station(
            stack.enter_context(scratch_folder()),
            baresip.uri,
            codec=codec,
            video=False,
            canceller=canceller,
            srtp="mandatory" if encrypted else "off",
        )
        stack.callback(station.stop)
        baresip.start()
        station.start()
        pairs = [call(station, baresip, encrypted=encrypted) for _ in range(calls)]
    ratio = statistics.median(ours / peer for ours, peer in pairs)
    ours, peer = (statistics.median(column) for column in zip(*pairs, strict=True))
    return ours, peer, ratio


def call(station: Station, baresip: Baresip, *, encrypted: bool) -> tuple[float, float]:
    """Milliseconds of CPU per second of the call, ours and baresip's."""
    station.ask("press", button=BUTTON)
    time.sleep(SETTLE_S)
    ours_s, peer_s, started_s = cpu_s(station.pid), cpu_s(baresip.pid), time.monotonic()
    time.sleep(MEASURE_S)
    ours_s, peer_s = cpu_s(station.pid) - ours_s, cpu_s(baresip.pid) - peer_s
    took_s = time.monotonic() - started_s
    station.ask("hangup")
    ended = station.wait_event("leg-ended")
    for counter in ("audio_sent", "audio_received"):
        packets = ended["statistics"].get(counter, 0)
        if not 0.95 < packets / (ended["duration_s"] * PACKETS_PER_S) < 1.05:
            raise AssertionError(f"{counter} {packets} in {ended['duration_s']:.1f} s: that is no call to measure")
    if ("audio_srtp" in ended["statistics"]) is not encrypted:
        raise AssertionError("that call is not encrypted as it should be")
    return ours_s / took_s * 1000, peer_s / took_s * 1000
