"""The ICE agent against another of its kind, over a link in memory with the addresses that the test gives them."""

import asyncio
import inspect
from collections.abc import Coroutine
from typing import Any

import pytest

pytest.importorskip("aioice")

import aioice
import aioice.ice
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.media import ice
from firmware.media.ice import IceAgent, Path
from firmware.media.ice_servers import IceServers
from firmware.media.latch import Address
from firmware.sdp.keying import IceDescription
from tests.support.media import until
from tests.support.suites import suite

DOOR, PHONE, OTHER = ("192.0.2.1", 4000), ("192.0.2.2", 5000), ("192.0.2.3", 6000)


class Street:
    """Carries datagrams between ends; `blocked` addresses get none."""

    def __init__(self) -> None:
        self.ends: dict[Address, End] = {}
        self.blocked: set[Address] = set()

    def carry(self, data: bytes, source: Address, to: Address) -> None:
        end = self.ends.get(to)
        if end is not None and to not in self.blocked:
            asyncio.get_running_loop().call_soon(end.agent.receive, data, source)


class End:
    def __init__(self, street: Street, local: Address, servers: IceServers | None = None) -> None:
        self.paths: list[Path] = []
        self.failed: list[str] = []
        self.agent = IceAgent(
            local,
            servers or IceServers(),
            send=lambda data, to: street.carry(data, local, to),
            on_path=self.paths.append,
            on_handshake=lambda data: None,
            on_failed=self.failed.append,
        )
        street.ends[local] = self


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


def test_two_find_each_other() -> None:
    async def calls() -> None:
        street = Street()
        door, phone = End(street, DOOR), End(street, PHONE)
        offered, answered = await door.agent.gather(), await phone.agent.gather()
        assert len(offered.candidates) == 1
        assert offered.candidates[0].endswith("192.0.2.1 4000 typ host")
        phone.agent.start(offered, controlling=False)
        door.agent.start(answered, controlling=True)
        await until(lambda: bool(door.paths and phone.paths))
        assert (door.paths, phone.paths) == ([PHONE], [DOOR])
        await door.agent.close()
        await phone.agent.close()
        assert door.failed == phone.failed == []

    run(calls())


def test_candidates_may_come_later() -> None:
    async def calls() -> None:
        street = Street()
        door, phone = End(street, DOOR), End(street, PHONE)
        offered, answered = await door.agent.gather(), await phone.agent.gather()
        street.blocked.add(DOOR)  # else the phone's own checks would tell
        phone.agent.start(offered, controlling=False)
        door.agent.start(IceDescription(answered.ufrag, answered.pwd, (), more=True), controlling=True)
        await asyncio.sleep(0.05)
        assert not door.paths
        street.blocked.clear()
        door.agent.add(answered.candidates, complete=True)
        await until(lambda: bool(door.paths and phone.paths))
        await door.agent.close()
        await phone.agent.close()

    run(calls())


def test_another_phone_of_a_fork_is_checked_with_the_same_candidates() -> None:
    async def calls() -> None:
        street = Street()
        door, phone, other = End(street, DOOR), End(street, PHONE), End(street, OTHER)
        offered = await door.agent.gather()
        for end, address in ((phone, PHONE), (other, OTHER)):
            answered = await end.agent.gather()
            end.agent.start(offered, controlling=False)
            door.agent.start(answered, controlling=True)
            await until(lambda address=address: address in door.paths)  # type: ignore[misc]
        assert door.paths == [PHONE, OTHER]
        assert door.agent.description == offered
        assert not door.failed
        for end in (door, phone, other):
            await end.agent.close()

    run(calls())


def test_no_way_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice, "CHECK_S", 0.3)

    async def calls() -> None:
        street = Street()
        door, phone = End(street, DOOR), End(street, PHONE)
        await door.agent.gather()
        answered = await phone.agent.gather()
        street.blocked |= {DOOR, PHONE}
        door.agent.start(answered, controlling=True)
        await until(lambda: bool(door.failed))
        assert "no way to the peer" in door.failed[0]
        assert not door.paths
        await door.agent.close()

    run(calls())


def test_lost_consent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0.02)
    monkeypatch.setattr(aioice.ice, "CONSENT_FAILURES", 2)

    async def calls() -> None:
        street = Street()
        door, phone = End(street, DOOR), End(street, PHONE)
        offered, answered = await door.agent.gather(), await phone.agent.gather()
        phone.agent.start(offered, controlling=False)
        door.agent.start(answered, controlling=True)
        await until(lambda: bool(door.paths and phone.paths))
        street.blocked |= {DOOR, PHONE}
        await until(lambda: bool(door.failed))
        assert "consent" in door.failed[0]
        await door.agent.close()
        await phone.agent.close()

    run(calls())


def test_a_silent_server_costs_half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice, "GATHER_S", 0.05)

    async def calls() -> None:
        street = Street()
        door = End(street, DOOR, IceServers(stun=("127.0.0.1", 9), turn=("127.0.0.1", 9)))
        offered = await door.agent.gather()
        assert len(offered.candidates) == 1
        await door.agent.close()

    run(calls())


def test_strangers_without_our_password_are_not_followed() -> None:
    async def calls() -> None:
        street = Street()
        door, phone, stranger = End(street, DOOR), End(street, PHONE), End(street, OTHER)
        offered, answered = await door.agent.gather(), await phone.agent.gather()
        await stranger.agent.gather()
        forged = IceDescription(offered.ufrag, "A" * 22, offered.candidates)
        stranger.agent.start(forged, controlling=False)
        phone.agent.start(offered, controlling=False)
        door.agent.start(answered, controlling=True)
        await until(lambda: bool(door.paths and phone.paths))
        assert door.paths == [PHONE]
        for end in (door, phone, stranger):
            await end.agent.close()

    run(calls())


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x01\x00\x00" + bytes(16), b"\x01\x01\xff\xff" + bytes(40)])
def test_broken_stun_is_dropped(data: bytes) -> None:
    async def calls() -> None:
        door = End(Street(), DOOR)
        door.agent.receive(data, OTHER)
        await door.agent.gather()
        door.agent.receive(data, OTHER)
        await door.agent.close()
        door.agent.receive(data, OTHER)

    run(calls())


def test_what_of_aioice_is_private_is_still_there() -> None:
    connection = aioice.Connection(ice_controlling=True)
    assert connection._protocols == []
    assert connection._nominated == {}
    gather = inspect.signature(aioice.Connection.get_component_candidates)
    assert list(gather.parameters) == ["self", "component", "addresses", "timeout"]
    assert list(inspect.signature(aioice.Connection.check_complete).parameters) == ["self", "pair"]
    assert list(inspect.signature(aioice.Connection.data_received).parameters) == ["self", "data", "component"]
    reflexive = inspect.signature(aioice.ice.server_reflexive_candidate)
    assert list(reflexive.parameters) == ["protocol", "stun_server"]


@settings(max_examples=400, deadline=None)
@given(
    st.integers(0, 5),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    st.integers(0, 400),
    st.booleans(),
)
def test_whatever_is_done_to_stun_raises_nothing(
    number: int, changes: list[tuple[int, int]], length: int, mend_length: bool
) -> None:
    paths = sorted(suite("aioice-stun-bin").glob("*.bin"))
    data = bytearray(paths[number % len(paths)].read_bytes())
    for at, octet in changes:
        if data:
            data[at % len(data)] = octet
    data = data[: max(20, length)]
    if mend_length and len(data) >= 20:
        data[2:4] = (len(data) - 20).to_bytes(2, "big")

    async def hears() -> None:
        door = End(Street(), DOOR)
        await door.agent.gather()
        door.agent.receive(bytes(data), OTHER)
        await door.agent.close()

    run(hears())
