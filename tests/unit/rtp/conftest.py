from pathlib import Path

import pytest

_SAMPLES = Path(__file__).parents[3].parent / "shared" / "suites" / "aiortc-bin"


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of packets recorded by another project; see its README for the licence."""
    if not _SAMPLES.is_dir():
        pytest.skip("no ../shared/suites/aiortc-bin beside this checkout")
    return _SAMPLES
