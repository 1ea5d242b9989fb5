"""How long the machine itself stood still: a thread that wakes each 5 ms and notes how late it was.

A virtual machine is taken off its processor now and then, for a tenth of a second at times; nobody's sound goes on
then. A bound on gaps has to know, or it measures the neighbours.
"""

import threading
import time
from types import TracebackType

_PERIOD_S, _USUAL_S = 0.005, 0.02


class StallWatch:
    """`with StallWatch() as stalls:`; `worst_s` is the longest stall so far, 0.0 for none worth the name."""

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stall watch", daemon=True)

    def __enter__(self) -> "StallWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stopping.set()
        self._thread.join(2)

    def _run(self) -> None:
        before = time.monotonic()
        while not self._stopping.wait(_PERIOD_S):
            now = time.monotonic()
            late_s = now - before - _PERIOD_S
            if late_s > _USUAL_S:
                self.worst_s = max(self.worst_s, late_s)
            before = now
