"""Two thousand answered calls leave no call, transaction, timer, file or thread behind.

Each is a whole one: RTP ports, the audio thread, a visit of the door, its events in the store. What the memory has
grown by is printed: part of it is what rings, caches and the allocator keep, so it is no verdict here.
"""

import sys
from pathlib import Path

import pytest

from tests.support.peers import Peers
from tests.support.station import Portero
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

CALLS = 2000
RATE = 28  # calls a second: of a thousand transactions each lasts 32 s, what is more gets 503
FORGOTTEN_S = 45  # transactions last 32 s beyond the last call (RFC 3261 section 17.1.2.2, Timer J)
NOBODY = [(["sip:nobody@127.0.0.1:9"], 5)]
ALLOWING = {"calls.incoming": {"policy": "auto-answer", "from": ["sip:caller@127.0.0.1"]}}


def _own_kb(door: Portero) -> int:
    """Memory that is the station's alone: what it would give back if it ended."""
    lines = Path(f"/proc/{door.program.pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def _held(door: Portero) -> dict[str, int]:
    """What the station counts, and what the kernel holds for it."""
    process = Path(f"/proc/{door.program.pid}")
    counts: dict[str, int] = door.status()["sip"]
    return {
        **{name: count for name, count in counts.items() if name != "dropped"},
        "files": len(list((process / "fd").iterdir())),
        "threads": len(list((process / "task").iterdir())),
    }


def test_two_thousand_calls_leave_no_call_file_or_thread_behind(peers: Peers) -> None:
    program = (sys.executable, "-m", "tests.support.busy_station")
    root = str(Path(__file__).parents[2])
    door = peers.portero(stages=NOBODY, sections=ALLOWING, program=program, environment={"PYTHONPATH": root})
    idle, before = _held(door), _own_kb(door)

    remote = f"127.0.0.1:{door.sip_port}"
    peers.sipp("short_call", remote=remote, calls=CALLS, rate=RATE, messages=False, timeout_s=240).result(
        250
    )  # every one as written
    wait_until(lambda: _held(door) == idle, f"the station holds {idle} again", FORGOTTEN_S, 1)

    print(f"{before} kB before the first call, {_own_kb(door)} kB after {CALLS}")
