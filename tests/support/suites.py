"""Suites of others, beside the checkout in shared/suites; a test that needs one skips where it is absent."""

from pathlib import Path

import pytest

SUITES = Path(__file__).parents[3] / "shared" / "suites"


def suite(name: str) -> Path:
    """The folder of suite `name`. Skips the test, or at import the whole module, where it is not there."""
    folder = SUITES / name
    if not folder.is_dir():
        pytest.skip(f"shared/suites/{name} is not beside the checkout", allow_module_level=True)
    return folder
