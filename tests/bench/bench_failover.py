"""A PBX of two servers loses one: how long until the next successful call, killed or fallen silent.

Two Kamailios behind SRV records that dnsmasq serves, a phone at each, a station by UDP. The clock runs from the
server's end to the phone's ringing at the other one; the button is pressed at once, before the station can have
noticed by itself. Every number is the median of a few runs.
"""

import os
import shutil
import signal
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.bench.report import Row, Skipped
from tests.support.baresip import MODULES
from tests.support.dnsmasq import Dnsmasq
from tests.support.kamailio import DOMAIN, Kamailio
from tests.support.peers import USERS, Peers
from tests.support.station import Portero

RUNS = 3
RING = [(["101"], 40)]


def run() -> list[Row]:
    for program in ("kamailio", "dnsmasq", "baresip"):
        if shutil.which(program) is None:
            raise Skipped(f"{program} is not installed")
    if not MODULES.exists():
        raise Skipped("baresip's modules are not installed")
    killed = [_once(signal.SIGKILL) for _ in range(RUNS)]
    silent = [_once(signal.SIGSTOP) for _ in range(RUNS)]
    rows = []
    for how, results in (("killed", killed), ("silent", silent)):
        calls, registrations = zip(*results, strict=True)
        rows.append(Row(f"failover: server {how}, to the next call's ringing", statistics.median(calls), unit="s"))
        rows.append(Row(f"failover: server {how}, to registered", statistics.median(registrations), unit="s"))
    return rows


def _once(how: signal.Signals) -> tuple[float, float]:
    """(seconds to the ringing, seconds to the registration elsewhere), both from the server's end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portero-bench-")))
        peers = Peers(folder)
        stack.callback(peers.stop)
        one, two, door = _house(peers)
        ended_s = time.monotonic()
        os.killpg(one.program.pid, how)
        stack.callback(_wake, one)
        press = door.press()
        ringing_s = _seconds(door, "leg-ringing", ended_s, press=press)
        at_two = f"127.0.0.1:{two.port} (udp)"
        return ringing_s, _seconds(door, "registration-changed", ended_s, state="registered", server=at_two)


def _house(peers: Peers) -> tuple[Kamailio, Kamailio, Portero]:
    one, two = peers.kamailio(USERS), peers.kamailio(USERS)
    names: Dnsmasq = peers.dnsmasq(
        f"srv-host=_sip._udp.{DOMAIN},one.{DOMAIN},{one.port},10,0",
        f"srv-host=_sip._udp.{DOMAIN},two.{DOMAIN},{two.port},20,0",
        f"host-record=one.{DOMAIN},127.0.0.1",
        f"host-record=two.{DOMAIN},127.0.0.1",
    )
    for server in (one, two):
        peers.baresip("101", server=server, video=False)
    door = peers.portero(
        server=one,
        stages=RING,
        account={"registrar": None, "outbound_proxy": None},
        sections={"sip": {"name_servers": [names.address]}},
    )
    door.wait_registered()
    time.sleep(6)  # a registration younger than 5 s is not doubted; nobody's server dies in that very moment
    return one, two, door


def _seconds(door: Portero, kind: str, since_s: float, **fields: object) -> float:
    event = door.wait_event(kind, 60, **fields)  # type: ignore[arg-type]  # press is an int
    return float(event["monotonic_s"]) - since_s


def _wake(server: Kamailio) -> None:
    """What is stopped cannot be ended."""
    if server.program.alive:
        os.killpg(server.program.pid, signal.SIGCONT)
