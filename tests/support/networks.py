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
    """A network at the other end of a cable whose near end is `street0`; its far end is `door0`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.program = Program("house-network", ["unshare", "--net", "sleep", "infinity"], folder)

    def start(self) -> None:
        self.program.start()
        ours = os.readlink("/proc/thread-self/ns/net")
        wait_until(lambda: self._network() not in ("", ours), "the house has a network of its own")
        ip(f"link add street0 type veth peer name door0 netns {self.program.pid}")
        self.ip("link set lo up")
        for here, name in ((ip, "street0"), (self.ip, "door0")):
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

    def stop(self) -> None:
        self.program.kill()


def ip(lines: str, enter: list[str] | None = None) -> None:
    """Commands of ip(8), one a line."""
    command = [*(enter or ()), "ip", "-batch", "-"]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode and "Unknown device type" in done.stderr:
        pytest.skip("no interfaces to play with here")
    assert done.returncode == 0, f"{lines}: {done.stderr}"
