"""Network namespaces: a street of the test's own, and a house behind a cable, whose addresses the test changes."""

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Program
from tests.support.waiting import wait_until

_CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """This thread and the programs that it starts, in a new network with a loopback; skips where none can be."""
    for program in ("ip", "nsenter", "unshare"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(_CLONE_NEWNET):
            pytest.skip(f"no network namespace here: {os.strerror(ctypes.get_errno())}")
        try:
            ip("link set lo up")
            yield
        finally:
            assert libc.setns(before, _CLONE_NEWNET) == 0
    finally:
        os.close(before)


class House:
    """A network at the other end of a cable: its near end `near` is in the thread's network or in that of `outer`,
    its far end is `far`."""

    def __init__(
        self, folder: Path, *, near: str = "street0", far: str = "door0", outer: "House | None" = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.program = Program("house-network", ["unshare", "--net", "sleep", "infinity"], folder)
        self.near, self.far = near, far
        self._outer = outer

    def start(self) -> None:
        self.program.start()
        ours = os.readlink("/proc/thread-self/ns/net")
        wait_until(lambda: self._network() not in ("", ours), "the house has a network of its own")
        outside = ip if self._outer is None else self._outer.ip
        outside(f"link add {self.near} type veth peer name {self.far} netns {self.program.pid}")
        self.ip("link set lo up")
        for here, name in ((outside, self.near), (self.ip, self.far)):
            here(f"link set {name} addrgenmode none")
            here(f"link set {name} up")

    def _network(self) -> str:
        try:
            return os.readlink(f"/proc/{self.program.pid}/ns/net")
        except OSError:
            return ""

    @property
    def enter(self) -> list[str]:
        """The beginning of a command that is to run in the house."""
        return ["nsenter", f"--net=/proc/{self.program.pid}/ns/net"]

    def ip(self, lines: str) -> None:
        ip(lines, self.enter)

    def load(self, rules: str) -> None:
        """From now on these rules of nft(8), and none of those before; connections that stand stay as they are."""
        nft = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if nft is None:
            pytest.skip("nft is not installed")
        done = subprocess.run(
            [*self.enter, nft, "-f", "-"],
            input=f"flush ruleset\n{rules}",
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        if done.returncode and "not supported" in done.stderr:
            pytest.skip("no NAT in this kernel")
        assert done.returncode == 0, done.stderr

    def stop(self) -> None:
        self.program.kill()


class Router(House):
    """A house's router, the house's network `home` behind it, and the station's address there.

    `rules` is what nft(8) loads into it. The street's end, in the thread's network, is STREET. Houses have numbers:
    with more than one the street passes on what one sends to another.
    """

    STREET = "198.51.100.1"
    OUTSIDE = "198.51.100.9"
    INSIDE = "10.77.0.1"
    STATION = "10.77.0.10"

    def __init__(self, folder: Path, rules: str = "", *, number: int = 0) -> None:
        tail = f"-{number}" if number else ""
        super().__init__(folder / f"router{tail}", near=f"street{number}", far="wan0")
        self.home = House(folder / f"home{tail}", near="lan0", far="door0", outer=self)
        self.street, self.outside, self.inside, self.station = (
            _of_house(number, address) for address in (self.STREET, self.OUTSIDE, self.INSIDE, self.STATION)
        )
        self._rules = rules

    def start(self) -> None:
        super().start()
        self.home.start()
        ip(f"addr add {self.street}/24 dev {self.near}")
        self.ip(f"addr add {self.outside}/24 dev wan0\naddr add {self.inside}/24 dev lan0")
        self.ip(f"route add default via {self.street}")
        self.home.ip(f"addr add {self.station}/24 dev door0\nroute add default via {self.inside}")
        for where in ([], self.enter):
            subprocess.run([*where, "sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True, timeout=20)
        if self._rules:
            self.load(self._rules)

    def stop(self) -> None:
        self.home.stop()
        super().stop()


def _of_house(number: int, address: str) -> str:
    """The address in the networks of another house: 198.51.100.9 of the first is 198.51.101.9 of the second."""
    first, second, third, last = address.split(".")
    if first == "10":
        return f"{first}.{int(second) + number}.{third}.{last}"
    return f"{first}.{second}.{int(third) + number}.{last}"


def ip(lines: str, enter: list[str] | None = None) -> None:
    """Commands of ip(8), one a line."""
    command = [*(enter or ()), "ip", "-batch", "-"]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode and "Unknown device type" in done.stderr:
        pytest.skip("no interfaces to play with here")
    assert done.returncode == 0, f"{lines}: {done.stderr}"


def narrow(interface: str, kbps: int) -> None:
    """From now on no more than that leaves by `interface`; what waits longer than 0.4 s is dropped."""
    tc = shutil.which("tc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if tc is None:
        pytest.skip("tc is not installed")
    rules = f"qdisc add dev {interface} root tbf rate {kbps}kbit burst 4kb latency 400ms"
    done = subprocess.run([tc, *rules.split()], capture_output=True, text=True, timeout=20, check=False)
    if done.returncode and "unknown" in done.stderr:
        pytest.skip("this kernel makes no line narrow")
    assert done.returncode == 0, done.stderr
