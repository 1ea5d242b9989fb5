"""The fuzzed functions hold for what they begin with and for all that ever broke one of them."""

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, seeds

FOUND = sorted((Path(__file__).parent / "found").glob("*.bin"))


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_are_handled(target: str) -> None:
    count = 0
    for seed in seeds(target):
        TARGETS[target](seed)
        count += 1
    assert count >= 2


@pytest.mark.parametrize("file", FOUND, ids=lambda file: file.stem)
def test_what_fuzzing_found_stays_mended(file: Path) -> None:
    TARGETS[file.name.partition("-")[0]](file.read_bytes())
