"""A network between a talker and those who listen: loss, jitter, reordering, another clock, all from a seed.

It decides when each packet arrives, if at all, before any is sent: every listener gets the same ones at the same
moments, and a second run the same as the first.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

PERIOD_S = 0.02


@dataclass(frozen=True, slots=True)
class Wire:
    """`jitter_ms` is the mean of what packets are held up, one behind the other; `overtaken` the share of packets
    that the next two pass by. `ppm` is how much faster than ours the talker's clock runs."""

    name: str
    loss: float = 0.0
    jitter_ms: float = 0.0
    overtaken: float = 0.0
    ppm: float = 0.0

    def arrivals(self, packets: Sequence[bytes], seed: int) -> list[tuple[float, bytes]]:
        """(seconds after the first was sent, packet), in the order of arrival."""
        chance = random.Random(f"{self.name} {seed}")
        period_s = PERIOD_S / (1 + self.ppm / 1e6)
        arrived = []
        last_s = 0.0
        for index, packet in enumerate(packets):
            sent_s = index * period_s
            lost, passed = chance.random() < self.loss, chance.random() < self.overtaken
            held_s = chance.expovariate(1000 / self.jitter_ms) if self.jitter_ms else 0.0
            last_s = max(last_s, sent_s + held_s)  # a queue keeps the order
            if not lost:
                arrived.append((last_s + 2.5 * PERIOD_S if passed else last_s, packet))
        return sorted(arrived, key=lambda arrival: arrival[0])


WIRES = (
    Wire("clean"),
    *(Wire(f"{percent} % loss", loss=percent / 100) for percent in (1, 3, 5, 10, 20)),
    Wire("20 ms jitter", jitter_ms=20),
    Wire("5 % overtaken", overtaken=0.05),
    Wire("100 ppm", ppm=100),
)
