"""Changes of the network as the kernel tells them, in a network namespace of the test's own."""

import asyncio
import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from firmware.net.instance_id import instance_urn
from firmware.net.network_watch import MOST_OTHERS, NetworkWatch, _attributes, _messages, facts, other_addresses

_CLONE_NEWNET = 0x40000000


def in_own_network(work: Callable[[], None]) -> None:
    """Run `work` in a thread that has a network namespace of its own; skip where that is not allowed."""
    if shutil.which("ip") is None:
        pytest.skip("iproute2 is not installed")
    libc = ctypes.CDLL(None, use_errno=True)
    outcome: list[BaseException | str] = []

    def run() -> None:
        if libc.unshare(_CLONE_NEWNET):
            outcome.append(f"no network namespace here: {os.strerror(ctypes.get_errno())}")
            return
        try:
            ip("link set lo up")
            ip("link add door0 type veth peer name street0")  # a cable with two ends
            for end in ("door0", "street0"):
                ip(f"link set {end} addrgenmode none")  # no IPv6 addresses of their own accord, late
            ip("link set street0 up")
            work()
        except BaseException as failed:  # noqa: BLE001 - told in the test's own thread
            outcome.append(failed)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    for each in outcome:
        if isinstance(each, str):
            pytest.skip(each)
        raise each


def ip(lines: str) -> None:
    # A child of this thread: it inherits the thread's namespace.
    done = subprocess.run(["ip", "-batch", "-"], input=lines, capture_output=True, text=True, timeout=20)
    if done.returncode and "Unknown device type" in done.stderr:
        pytest.skip("no interfaces to play with here")
    assert done.returncode == 0, done.stderr


def watched(steps) -> None:
    """Run `steps(do)` under a watch; `do(arguments of ip)` gives what the watch then tells."""

    async def run() -> None:
        told: asyncio.Queue[str] = asyncio.Queue()
        watch = NetworkWatch(told.put_nowait)
        watch.start()

        async def do(arguments: str) -> str:
            ip(arguments)
            async with asyncio.timeout(15):
                return await told.get()

        try:
            await steps(do)
            assert told.empty()
        finally:
            watch.stop()

    in_own_network(lambda: asyncio.run(run()))


def test_an_address_that_comes_and_goes_is_told() -> None:
    async def steps(do) -> None:
        ip("link set door0 up")
        told = await do("addr add 192.0.2.7/24 dev door0")
        assert "address 192.0.2.7 door0" in told
        assert "address 192.0.2.7 door0 gone" in await do("addr del 192.0.2.7/24 dev door0")

    watched(steps)


def test_a_default_route_is_told() -> None:
    async def steps(do) -> None:
        ip("link set door0 up")
        await do("addr add 192.0.2.7/24 dev door0")
        assert "default route 192.0.2.1 door0" in await do("route add default via 192.0.2.1")
        assert "default route 192.0.2.254 door0" in await do("route replace default via 192.0.2.254")

    watched(steps)


def test_a_link_that_goes_takes_its_way_with_it() -> None:
    async def steps(do) -> None:
        ip("link set door0 up")
        await do("addr add 192.0.2.7/24 dev door0")
        assert "link door0 gone" in await do("link set door0 down")

    watched(steps)


def test_a_link_that_was_down_for_a_moment_is_told() -> None:
    async def steps(do) -> None:
        ip("link set door0 up")
        await do("addr add 192.0.2.7/24 dev door0")
        assert await do("link set door0 down\nlink set door0 up") == "a link was down"

    watched(steps)


def test_what_changes_nothing_of_use_is_not_told() -> None:
    async def steps(do) -> None:
        ip("link set door0 up")
        await do("addr add 192.0.2.7/24 dev door0")
        for _ in range(3):
            ip(
                "addr change 192.0.2.7/24 dev door0 valid_lft 3600 preferred_lft 1800"
            )  # as router advertisements do
        ip("link add idle0 type veth peer name idle1")
        ip("route add 198.51.100.0/24 via 192.0.2.9")
        await asyncio.sleep(1.0)  # longer than the pause; nothing must come of it

    watched(steps)


def test_the_state_is_read_here_too() -> None:
    assert ("address", "127.0.0.1", "lo") in facts()


@pytest.mark.parametrize("data", [b"", b"\0" * 15, b"\xff" * 40, b"\x08\0\0\0" * 8])
def test_broken_messages_of_the_kernel_end_nothing(data: bytes) -> None:
    assert list(_messages(data)) == []
    assert len(_attributes(data)) <= 1


# --- who we are ----------------------------------------------------------------------------------------------


def test_the_device_has_the_same_name_at_each_start(tmp_path: Path) -> None:
    first = instance_urn(tmp_path)
    assert first.startswith("urn:uuid:")
    assert instance_urn(tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == ["instance-id"]


def test_a_torn_name_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "instance-id").write_text("f81d4f")
    made = instance_urn(tmp_path)
    assert instance_urn(tmp_path) == made


def test_without_a_folder_to_keep_it_the_name_follows_from_the_machine(tmp_path: Path) -> None:
    machine = tmp_path / "machine-id"
    machine.write_text("0123456789abcdef0123456789abcdef\n")
    nowhere = tmp_path / "nowhere"
    assert instance_urn(nowhere, machine) == instance_urn(nowhere, machine)
    before = instance_urn(nowhere, machine)
    machine.write_text("another\n")
    assert instance_urn(nowhere, machine) != before


def test_our_other_addresses_are_those_that_others_can_use() -> None:
    def work() -> None:
        ip("link set door0 up\naddr add 192.0.2.10/24 dev door0\naddr add 198.51.100.4/24 dev door0")
        assert other_addresses("192.0.2.10") == ("198.51.100.4",)
        ip("addr add fe80::10/64 dev door0 nodad\naddr add 2001:db8::10/64 dev door0 nodad")
        assert other_addresses("192.0.2.10") == ("2001:db8::10", "198.51.100.4")
        assert other_addresses("2001:db8::10") == ("192.0.2.10", "198.51.100.4")
        assert other_addresses("127.0.0.1") == ()
        ip("\n".join(f"addr add 203.0.113.{number}/24 dev door0" for number in range(20, 30)))
        assert len(other_addresses("192.0.2.10")) == MOST_OTHERS
        ip("link set street0 down")  # no carrier: nobody's way
        assert other_addresses("192.0.2.10") == ()

    in_own_network(work)
