"""10 000 stations get power back at once and register with one server that takes 400 requests a second.

Ours are whole cores with `sip.fleet_spread_s` as the documentation has it; beside them clients that register as
soon as they run and try again every 30 seconds. Virtual time: the numbers are the same on every machine.
"""

import sys

from tests.bench.report import Row
from tests.support.fleet import Fleet

STATIONS = 10_000
RATE = 400.0  # requests a second: 200 registrations, each with its challenge
ROOM = 800  # requests that wait; a server's socket buffer
SPREAD_S = 2 * STATIONS / (RATE / 2)


def run() -> list[Row]:
    ours, naive = Fleet(STATIONS, rate=RATE, room=ROOM), Fleet(STATIONS, rate=RATE, room=ROOM)
    ours.ours(SPREAD_S)
    naive.naive()
    for fleet in (ours, naive):
        fleet.run()
    print(_load("ours", ours), _load("naive", naive), sep="\n", file=sys.stderr)
    return [
        _row("fleet: requests in the busiest second", ours.peak, naive.peak, ""),
        _row("fleet: requests until all are registered", ours.total, naive.total, ""),
        _row("fleet: requests that the server lost", ours.registrar.lost, naive.registrar.lost, ""),
        _row("fleet: half are registered after", ours.when(0.5), naive.when(0.5), "s"),
        _row("fleet: 99 % are registered after", ours.when(0.99), naive.when(0.99), "s"),
        _row("fleet: the last is registered after", ours.when(1), naive.when(1), "s"),
    ]


def _row(name: str, ours: float, naive: float, unit: str) -> Row:
    return Row(name, ours, naive, ours / naive if naive else None, unit)


def _load(name: str, fleet: Fleet) -> str:
    """Requests a second, one number for each ten seconds."""
    arrived = fleet.registrar.arrived
    tens = range(max(arrived) // 10 + 1)
    load = (sum(arrived[10 * ten + second] for second in range(10)) // 10 for ten in tens)
    return f"{name:>6}, requests/s by tens of seconds: {' '.join(map(str, load))}"
