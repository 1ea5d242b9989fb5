"""The jitter buffer on the simulated networks of research/media.md 2.3: no row may be worse than that table."""

import pytest

from firmware.rtp.jitter import JitterBuffer
from tests.support.rtp_networks import PHASES_MS, THE_TABLE, Network, average, exponential, simulate

BY_NAME = {network.name: network for network in THE_TABLE}


@pytest.mark.parametrize("network", THE_TABLE, ids=lambda network: network.name)
def test_delay_and_gaps_are_at_or_below_the_measured_table(network: Network) -> None:
    outcome = average(network)
    assert outcome.delay_ms <= network.table_delay_ms
    assert round(100 * outcome.gap_share, 1) <= round(100 * network.table_gap_share, 1)
    assert outcome.longest_queue <= 12


@pytest.mark.parametrize("phase_ms", PHASES_MS)
def test_a_steady_network_gets_no_gap_and_less_than_a_tick_and_a_half(phase_ms: float) -> None:
    outcome = simulate(BY_NAME["ideal"], phase_ms)
    assert outcome.gap_share == 0
    assert outcome.delay_ms < 30


@pytest.mark.parametrize("seed", range(20, 25))
def test_loss_without_jitter_costs_exactly_what_was_lost_and_no_delay(seed: int) -> None:
    outcome = simulate(Network("loss", loss=0.05, seed=seed), 8.5)
    assert outcome.gap_share == pytest.approx(outcome.lost_share, abs=0.0004)
    assert outcome.delay_ms < 30


@pytest.mark.parametrize("ppm", [200.0, -200.0])
def test_a_drifting_clock_neither_empties_nor_fills_the_buffer_in_twenty_minutes(ppm: float) -> None:
    outcome = simulate(Network("drift", sender_ppm=ppm), 8.5, packets=60_000)
    assert outcome.gap_share < 0.0005
    assert outcome.delay_ms < 30


def test_a_call_on_a_bad_network_that_recovers_gets_its_delay_back() -> None:
    """Half a minute of jitter, then none: by the end the delay is that of a steady network."""
    poor = exponential(25)
    buffer = JitterBuffer(8000)
    network = Network("recovering", lambda index, chance: poor(index, chance) if index < 1500 else 0.0)
    simulate(network, 8.5, packets=1500 + 400, buffer=buffer)
    assert buffer.target_s < 0.03
    assert buffer.depth_s <= 0.04
