"""Each of the thirty-six pitfalls of docs/interop.md has a test named after it, and its links lead to tests."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "interop.md").read_text()
WAITING: dict[int, str] = {}


def named() -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        for name, number in re.findall(r"def (test_pitfall_(\d\d)_\w+)\(", path.read_text()):
            found.setdefault(int(number), set()).add(name)
    return found


def test_numbers_of_pitfalls_are_from_1_to_36() -> None:
    assert set(named()) <= set(range(1, 37))
    assert [int(number) for number in re.findall(r"(?m)^(\d+)\. \*\*", PAGE)] == list(range(1, 37))


@pytest.mark.parametrize("number", range(1, 37))
def test_pitfall_has_a_test_named_after_it(number: int) -> None:
    if number in WAITING:
        assert number not in named(), "it waits no more"
        pytest.skip(WAITING[number])
    assert named()[number]


def test_links_lead_to_tests() -> None:
    links = re.findall(r"\]\(\.\./(tests/[\w/]+\.py)#(\w+)\)", PAGE)
    assert len(links) >= 36 - len(WAITING)
    for path, name in links:
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path} has no {name}"
