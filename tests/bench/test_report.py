"""What the benches report with: a wrong percentile or verdict would be believed."""

import pytest

from tests.bench.measure import percentile
from tests.bench.report import Row, at_least, at_most, ratio_at_most, table


@pytest.mark.parametrize(
    ("share", "value"), [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0), (0.0, 1.0)]
)
def test_a_percentile_is_the_value_that_the_share_does_not_exceed(share: float, value: float) -> None:
    assert percentile([float(n) for n in range(1000, 0, -1)], share) == value


def test_the_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7.0], 0.999) == 7.0


def test_a_bar_is_reached_on_its_own_side() -> None:
    assert [at_most("a", 5.0, 5, "ms").ok, at_most("a", 5.1, 5, "ms").ok] == [True, False]
    assert [at_least("a", 5.0, 5, "/s").ok, at_least("a", 4.9, 5, "/s").ok] == [True, False]
    assert ratio_at_most("a", 6.1, 5.0, 1.22, 1.2, "ms/s").ok is False


def test_the_table_shows_misses_and_leaves_out_what_was_not_measured() -> None:
    text = table(
        [at_most("start", 0.7, 0.6, "s"), Row("memory", 1234.5, unit="MB"), Row("call: not run, no peer", None)]
    )
    start, memory, call = text.splitlines()[1:]
    assert start.endswith("MISSED")
    assert "1,23" in memory
    assert call.split()[-4:] == ["peer", "-", "-", "-"]
