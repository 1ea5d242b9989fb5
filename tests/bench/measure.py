"""Clocks for benches. CPU time throughout: the machine that measures is shared, and its wall clock is others'."""

import statistics
import time
from collections.abc import Callable


def rate(work: Callable[[], object], seconds: float) -> float:
    """How often per second of CPU `work` runs, measured over about `seconds`."""
    runs, batch = 0, 1
    started = time.process_time()
    while (spent := time.process_time() - started) < seconds:
        for _ in range(batch):
            work()
        runs += batch
        batch = min(batch * 2, 256)
    return runs / spent


def interleaved(
    ours: Callable[[], object], peer: Callable[[], object], *, rounds: int = 9, seconds: float = 0.1
) -> tuple[float, float, float]:
    """Rates of both (medians) and the median of the rounds' ratios; the two take turns within each round."""
    rate(ours, seconds)
    rate(peer, seconds)
    pairs = []
    for turn in range(rounds):
        if turn % 2:
            second = rate(peer, seconds)
            pairs.append((rate(ours, seconds), second))
        else:
            first = rate(ours, seconds)
            pairs.append((first, rate(peer, seconds)))
    return (
        statistics.median(ours_rate for ours_rate, _ in pairs),
        statistics.median(peer_rate for _, peer_rate in pairs),
        statistics.median(ours_rate / peer_rate for ours_rate, peer_rate in pairs),
    )


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, -int(-share * len(ordered) // 1) - 1))]
