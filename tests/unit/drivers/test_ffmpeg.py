"""PyAV is loaded with less memory than its linking takes, and works."""

import subprocess
import sys

_SCRIPT = """
import sys
from pathlib import Path
from drivers.camera import ffmpeg

def resident_kb():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))

def encoded():
    from drivers.camera.simulated import SimulatedCamera
    camera = SimulatedCamera(320, 240)
    units = []
    camera.start(units.append)
    deadline = time.monotonic() + 20
    while len(units) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    camera.stop()
    return len(units), camera.failure

import time
if sys.argv[1] == "whole":
    ffmpeg.hand_back = lambda mappings: None
ffmpeg.load()
before = resident_kb()
units, failure = encoded()
print(before, units, failure)
"""


def loaded(how: str) -> tuple[int, int]:
    """kB resident after loading, and pictures encoded after that."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, how], capture_output=True, text=True, timeout=60, check=True
    )
    resident, units, *failure = done.stdout.split(maxsplit=2)
    assert not failure, failure
    return int(resident), int(units)


def test_what_linking_touched_is_handed_back_and_the_encoder_works() -> None:
    whole, _ = loaded("whole")
    lean, units = loaded("lean")
    assert units >= 5
    assert lean < whole - 4000
