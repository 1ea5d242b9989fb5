"""What docs/rfc.toml names is there: modules, symbols, tests. That the page is up to date is test_config.py's."""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ENTRIES = tomllib.loads((ROOT / "docs" / "rfc.toml").read_text())["rfc"]
STATUSES = {"implemented", "partial", "syntax only", "not started", "not ours"}
KEYS = {"number", "title", "priority", "status", "missing", "note", "where", "tests"}


@cache
def names(path: str) -> set[str]:
    """Everything a Python file defines at its top, and Class.method."""
    found = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry["number"]))
def test_entry_names_what_is_there(entry: dict[str, object]) -> None:
    assert set(entry) <= KEYS
    assert entry["status"] in STATUSES
    assert (entry["status"] == "partial") == ("missing" in entry), (
        "partial says what is missing, and nothing else does"
    )
    where, tests = entry.get("where", []), entry.get("tests", [])
    assert isinstance(where, list)
    assert isinstance(tests, list)
    if entry["status"] in ("implemented", "partial"):
        assert where
        assert tests, "what stands is shown by a test"
    for place in where:
        path, _, symbol = place.partition(":")
        assert (ROOT / path).is_file(), path
        assert not symbol or symbol in names(path), place
    for test in tests:
        path, _, name = test.partition("::")
        assert (ROOT / path).is_file(), path
        assert name.startswith("test_"), test
        assert name in names(path), test


def test_no_rfc_is_listed_twice() -> None:
    numbers = [entry["number"] for entry in ENTRIES]
    assert len(set(numbers)) == len(numbers)


def test_every_rfc_that_the_code_names_is_listed() -> None:
    """A number that a docstring leans on ought to say how far."""
    listed = set(re.findall(r"\b(\d{4})\b", (ROOT / "docs" / "rfc.toml").read_text()))
    named = set()
    for folder in ("sip", "sdp", "rtp", "net", "media", "station"):
        for path in (ROOT / "firmware" / folder).glob("*.py"):
            named |= set(re.findall(r"\bRFC (\d{4})\b", path.read_text()))
    assert named <= listed, sorted(named - listed)
