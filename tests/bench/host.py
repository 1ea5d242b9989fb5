"""When the host took the processors away: what came late then says nothing of the program that is measured.

On a shared machine the hypervisor stops a virtual processor for milliseconds, whoever runs on it. A watch at the
highest real-time priority, one process on each processor, wakes each millisecond; nothing but the host (rarely also
a long system call) keeps it from that. Needs root; without it nothing is set apart.
"""

import os
import sys
import tempfile
from bisect import bisect_left
from contextlib import ExitStack
from pathlib import Path

from tests.support.processes import Program

_WATCH = """
import os, sys, time
cpu, out = int(sys.argv[1]), open(sys.argv[2], "ab", buffering=0)
os.sched_setaffinity(0, {cpu})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(90))
next_s = time.monotonic()
while True:
    next_s += 0.001
    time.sleep(max(0.0, next_s - time.monotonic()))
    at_s = time.monotonic()
    if at_s - next_s > 0.0005:
        out.write(b"%.6f %.6f\\n" % (next_s, at_s))
        next_s = at_s
"""


class Host:
    """Watches until the stack is left."""

    def __init__(self, stack: ExitStack) -> None:
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portero-host-")))
        for cpu in sorted(os.sched_getaffinity(0)) if os.geteuid() == 0 else ():
            command = [sys.executable, "-c", _WATCH, str(cpu), str(self._folder / f"away-{cpu}")]
            program = Program(f"host-{cpu}", command, self._folder)
            stack.callback(program.stop)
            program.start()

    def longest_s(self, span: tuple[float, float]) -> float:
        """The longest that a processor was missing at a time within a span."""
        began_s, ended_s = span
        return max(
            (min(b, ended_s) - max(a, began_s) for a, b in self._gaps() if a < ended_s and b > began_s), default=0
        )

    def was_away(self, spans: list[tuple[float, float]]) -> list[bool]:
        """For each span (seconds of the monotonic clock): whether a processor was missing within it."""
        gaps = sorted(self._gaps())
        ends = []  # of what began so far: rises with the gaps, however those of two processors overlap
        for _, ended in gaps:
            ends.append(max(ended, ends[-1]) if ends else ended)
        found = []
        for began, ended in spans:
            last = bisect_left(gaps, (ended, ended)) - 1
            found.append(last >= 0 and ends[last] > began)
        return found

    def _gaps(self) -> list[tuple[float, float]]:
        gaps = []
        for file in self._folder.glob("away-*"):
            whole = file.read_text().rpartition("\n")[0]  # the last line may be on its way
            gaps += [(float(began), float(ended)) for began, ended in map(str.split, whole.splitlines())]
        return gaps
