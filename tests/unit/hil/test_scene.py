"""How a picture is judged: the hues across it, in their order."""

import pytest

from hil.tests.scene import BARS, in_order, names

DIM = {
    "white": (190, 195, 188),
    "yellow": (200, 190, 30),
    "cyan": (25, 180, 190),
    "green": (30, 185, 25),
    "magenta": (190, 20, 180),
    "red": (185, 25, 30),
    "blue": (20, 15, 180),
    "black": (16, 18, 15),
}


def _row(*bars: tuple[str, int]) -> bytes:
    return b"".join(bytes(DIM[name]) * width for name, width in bars)


def test_bars_of_a_dim_picture_are_named() -> None:
    assert names(_row(*((name, 40) for name in BARS))) == list(BARS)


def test_a_seam_between_two_bars_is_no_bar() -> None:
    assert names(_row(("white", 160), ("red", 3), ("yellow", 157))) == ["white", "yellow"]
    assert names(_row(("white", 160), ("red", 3), ("white", 157))) == ["white"]


@pytest.mark.parametrize("start", range(8))
def test_bars_that_drift_are_in_order_wherever_they_begin(start: int) -> None:
    seen = [*BARS[start:], *BARS[:start]]
    assert in_order(seen)
    assert in_order([*seen, seen[0]])


@pytest.mark.parametrize("seen", [[], ["black"], list(BARS[:7]), list(reversed(BARS)), [*BARS, "yellow"]])
def test_another_picture_is_not(seen: list[str]) -> None:
    assert not in_order(seen)
