"""The opinion score: what the model's tables and curves say, and its bounds."""

import pytest

from firmware.rtp.quality import mos


@pytest.mark.parametrize(
    ("share", "delay_ms", "score"),
    [
        (0.0, 0, 4.41),  # G.107 annex B: R = 93.2
        (0.0, 150, 4.33),
        (0.0, 300, 3.71),
        (0.05, 0, 3.93),  # Ie,eff = 15.8
        (0.2, 0, 2.65),
    ],
)
def test_the_score_is_the_models(share: float, delay_ms: float, score: float) -> None:
    assert mos(share, delay_ms) == pytest.approx(score, abs=0.03)


def test_more_of_either_is_never_better_and_it_stays_within_its_scale() -> None:
    rows = [[mos(share / 20, delay_ms) for share in range(21)] for delay_ms in range(0, 3000, 50)]
    for row in rows:
        assert row == sorted(row, reverse=True)
    for column in zip(*rows, strict=True):
        assert list(column) == sorted(column, reverse=True)
    assert mos(1.0, 5000) == mos(-1.0, -5.0) - (mos(-1.0, -5.0) - 1.0) == 1.0
