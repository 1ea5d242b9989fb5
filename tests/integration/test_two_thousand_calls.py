"""Two thousand answered calls leave nothing behind: no call, transaction, timer, file or thread, and no memory.

Each is a whole one: RTP ports, the audio thread, a visit of the door, its events in the store. Calls before them
fill what is bounded, such as the trace of SIP, and load what the first call loads. Memory that grows once is no
leak: a backlog on a machine that stalled leaves holes in the heap. One that calls leave grows with every thousand.
"""

import itertools
import sys
from pathlib import Path

import pytest

from tests.support.peers import Peers
from tests.support.station import Portero
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

ROUND = 1000  # calls: one round fills what is bounded, two are measured
RATE = 40  # calls a second, which leave as many transactions behind from first to last: each lasts 3.2 s
MOST_KB = 512  # in the better of both rounds
FORGOTTEN_S = 30
NOBODY = [(["sip:nobody@127.0.0.1:9"], 5)]
ALLOWING = {"calls.incoming": {"policy": "auto-answer", "from": ["sip:caller@127.0.0.1"]}}


def _own_kb(door: Portero) -> int:
    """Memory that the station wrote itself. Not pages of files: 15 MB of libraries are its own or shared, as other
    tests start and end stations of theirs."""
    lines = Path(f"/proc/{door.program.pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Anonymous:", "Swap:")))


def _settled_kb(door: Portero) -> int:
    """The same once it falls no more, while nothing is done: a command of doorctl alone lifts it for a moment."""
    seen: list[int] = []

    def falls_no_more() -> bool:
        seen.append(_own_kb(door))
        return len(seen) - seen.index(min(seen)) > 3

    wait_until(falls_no_more, "memory falls no more", FORGOTTEN_S, 0.5)
    return min(seen)


def _held(door: Portero) -> dict[str, int]:
    """What the station counts, and what the kernel holds for it."""
    process = Path(f"/proc/{door.program.pid}")
    counts: dict[str, int] = door.status()["sip"]
    return {
        **{name: count for name, count in counts.items() if name != "dropped"},
        "files": len(list((process / "fd").iterdir())),
        "threads": len(list((process / "task").iterdir())),
    }


def _call(peers: Peers, door: Portero) -> None:
    """A round of calls, all as written, and whatever lasts beyond a call over."""
    remote = f"127.0.0.1:{door.sip_port}"
    peers.sipp("short_call", remote=remote, calls=ROUND, rate=RATE, messages=False, timeout_s=600).result(610)
    wait_until(lambda: not _held(door)["transactions"], "the last transaction is over", FORGOTTEN_S, 1)


def test_two_thousand_calls_leave_no_call_file_thread_or_memory_behind(peers: Peers) -> None:
    program = (sys.executable, "-m", "tests.support.busy_station")
    root = str(Path(__file__).parents[2])
    door = peers.portero(stages=NOBODY, sections=ALLOWING, program=program, environment={"PYTHONPATH": root})
    _call(peers, door)
    idle = _held(door)
    seen_kb = [_settled_kb(door)]

    for _ in range(2):
        _call(peers, door)
        seen_kb.append(_settled_kb(door))

    def no_more(held: dict[str, int]) -> bool:
        return all(count <= idle[name] for name, count in held.items())

    wait_until(lambda: no_more(_held(door)), f"the station holds {idle} again", FORGOTTEN_S, 1)
    grown_kb = min(after - before for before, after in itertools.pairwise(seen_kb))
    assert grown_kb <= MOST_KB, f"after each {ROUND} calls: {seen_kb} kB"
