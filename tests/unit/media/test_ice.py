"""The ICE agent against another of its kind, over a link in memory with the addresses that the test gives them."""

import asyncio
import inspect
import socket
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import pytest

pytest.importorskip("aioice")

import aioice
import aioice.ice
import aioice.turn
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.media import ice, ice_connection
from firmware.media.ice import IceAgent, PairWire, Path
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
        self.carried = 0

    def carry(self, data: bytes, source: Address, to: Address) -> None:
        self.carried += 1
        end = self.ends.get(to)
        if end is not None and to not in self.blocked:
            asyncio.get_running_loop().call_soon(end.agent.receive, data, source)


class End:
    def __init__(
        self,
        street: Street,
        local: Address,
        servers: IceServers | None = None,
        others: Callable[[], Iterable[socket.socket]] = tuple,
    ) -> None:
        self.paths: list[Path] = []
        self.failed: list[str] = []
        self.agent = IceAgent(
            local,
            servers or IceServers(),
            send=lambda data, to: street.carry(data, self.agent.local, to),
            others=others,
            on_path=self.paths.append,
            on_handshake=lambda data: None,
            on_failed=self.failed.append,
        )
        street.ends[local] = self

    async def gather(self) -> IceDescription:
        found = await self.agent.gather()
        assert found is not None
        return found


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


def test_two_find_each_other() -> None:
    async def calls() -> None:
        street = Street()
        door, phone = End(street, DOOR), End(street, PHONE)
        offered, answered = await door.gather(), await phone.gather()
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
        offered, answered = await door.gather(), await phone.gather()
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
        offered = await door.gather()
        for end, address in ((phone, PHONE), (other, OTHER)):
            answered = await end.gather()
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
        await door.gather()
        answered = await phone.gather()
        street.blocked |= {DOOR, PHONE}
        door.agent.start(answered, controlling=True)
        await until(lambda: bool(door.failed))
        assert "no way to the peer" in door.failed[0]
        assert not door.paths
        await door.agent.close()

    run(calls())


def test_lost_consent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_connection, "CONSENT_EVERY_S", 0.02)
    monkeypatch.setattr(ice_connection, "CONSENT_S", 0.3)
    monkeypatch.setattr(ice_connection, "CONSENT_REPEATS", 0)

    async def calls() -> None:
        street = Street()
        door, phone = End(street, DOOR), End(street, PHONE)
        offered, answered = await door.gather(), await phone.gather()
        phone.agent.start(offered, controlling=False)
        door.agent.start(answered, controlling=True)
        await until(lambda: bool(door.paths and phone.paths))
        asked = street.carried
        await until(lambda: street.carried > asked + 80)  # for longer than consent lasts
        assert not door.failed
        street.blocked |= {DOOR, PHONE}
        await until(lambda: bool(door.failed))
        assert "consent" in door.failed[0]
        await door.agent.close()
        await phone.agent.close()

    run(calls())


def test_a_silent_server_costs_half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_connection, "GATHER_S", 0.05)

    async def calls() -> None:
        street = Street()
        door = End(street, DOOR, IceServers(stun=("127.0.0.1", 9), turn=("127.0.0.1", 9)))
        offered = await door.gather()
        assert len(offered.candidates) == 1
        await door.agent.close()

    run(calls())


def test_strangers_without_our_password_are_not_followed() -> None:
    async def calls() -> None:
        street = Street()
        door, phone, stranger = End(street, DOOR), End(street, PHONE), End(street, OTHER)
        offered, answered = await door.gather(), await phone.gather()
        await stranger.gather()
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
        await door.gather()
        door.agent.receive(data, OTHER)
        await door.agent.close()
        door.agent.receive(data, OTHER)

    run(calls())


MOVED = ("192.0.2.7", 4000)


async def connected(street: Street) -> tuple[End, End, IceDescription, IceDescription]:
    """A door that offered, and a phone."""
    door, phone = End(street, DOOR), End(street, PHONE)
    offered, answered = await door.gather(), await phone.gather()
    phone.agent.start(offered, controlling=False)
    door.agent.start(answered, controlling=True)
    await until(lambda: bool(door.paths and phone.paths))
    return door, phone, offered, answered


def test_a_door_with_another_address_is_found_there_under_other_names() -> None:
    async def calls() -> None:
        street = Street()
        door, phone, offered, answered = await connected(street)
        del street.ends[DOOR]
        street.ends[MOVED] = door
        door.agent.renew(MOVED)
        assert door.agent.gathers
        again = await door.gather()
        assert not door.agent.gathers
        assert again.ufrag != offered.ufrag
        assert again.pwd != offered.pwd
        assert again.candidates[0].endswith("192.0.2.7 4000 typ host")
        phone.agent.renew()
        reply = phone.agent.description
        assert reply is not None
        assert reply.ufrag != answered.ufrag
        assert reply.candidates == answered.candidates
        phone.agent.start(again, controlling=False, ours=reply.ufrag)
        door.agent.start(reply, controlling=True, ours=again.ufrag)
        await until(lambda: phone.paths[-1] == MOVED and len(door.paths) == 2)
        assert door.paths == [PHONE, PHONE]
        await until(lambda: door.agent._before is None)
        for end in (door, phone):
            await end.agent.close()
        assert door.failed == phone.failed == []

    run(calls())


def test_a_peer_that_restarts_finds_us_at_the_same_candidates() -> None:
    async def calls() -> None:
        street = Street()
        door, phone, offered, _ = await connected(street)
        phone.agent.renew()
        door.agent.renew()
        ours, theirs = door.agent.description, phone.agent.description
        assert ours is not None
        assert theirs is not None
        assert ours.candidates == offered.candidates
        door.agent.start(theirs, controlling=False, ours=ours.ufrag)
        phone.agent.start(ours, controlling=True, ours=theirs.ufrag)
        for end in (door, phone):
            await until(lambda end=end: end.agent._connection.pair is not None)  # type: ignore[misc]
            assert end.agent._connection is not None
            assert end.agent._connection.local_username == end.agent.description.ufrag  # type: ignore[union-attr]
        assert (door.paths, phone.paths) == ([PHONE], [DOOR])  # the way is the same: nobody need hear of it
        for end in (door, phone):
            await end.agent.close()
        assert door.failed == phone.failed == []

    run(calls())


def test_names_that_nobody_heard_are_taken_back() -> None:
    async def calls() -> None:
        door, phone, offered, answered = await connected(Street())
        door.agent.renew()
        assert door.agent.description != offered
        door.agent.keep()
        assert door.agent.description == offered
        door.agent.start(answered, controlling=True, ours=offered.ufrag)
        assert (door.paths, door.failed) == ([PHONE], [])
        for end in (door, phone):
            await end.agent.close()

    run(calls())


def test_an_answer_to_the_offer_from_before_the_move_starts_no_checks() -> None:
    async def calls() -> None:
        street = Street()
        door, phone = End(street, DOOR), End(street, PHONE)
        offered, answered = await door.gather(), await phone.gather()
        door.agent.renew(MOVED)
        await door.gather()
        door.agent.start(answered, controlling=True, ours=offered.ufrag)
        assert door.agent._connection is None
        for end in (door, phone):
            await end.agent.close()
        assert not door.failed

    run(calls())


def test_one_who_moves_again_while_it_gathers_tells_the_last_address() -> None:
    async def calls() -> None:
        street = Street()
        door, phone, *_ = await connected(street)
        door.agent.renew(OTHER)
        first = asyncio.ensure_future(door.agent.gather())
        await asyncio.sleep(0)
        door.agent.renew(MOVED)
        await first
        assert (await door.gather()).candidates[0].endswith("192.0.2.7 4000 typ host")
        for end in (door, phone):
            await end.agent.close()

    run(calls())


def test_gathering_that_breaks_leaves_what_there_was() -> None:
    def broken() -> tuple[socket.socket, ...]:
        raise OSError("no sockets left")

    async def calls() -> None:
        street = Street()
        lone = End(street, OTHER, others=broken)
        with pytest.raises(OSError, match="no sockets"):
            await lone.agent.gather()
        assert (lone.agent.description, lone.agent.gathers) == (None, False)
        door, phone, offered, _ = await connected(street)
        door.agent.others = broken
        door.agent.renew(MOVED)
        with pytest.raises(OSError, match="no sockets"):
            await door.agent.gather()
        assert (door.agent.description, door.agent.gathers) == (offered, False)
        for end in (lone, door, phone):
            await end.agent.close()

    run(calls())


def free_socket() -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found.setblocking(False)
    found.bind(("127.0.0.1", 0))
    return found


def test_another_address_of_ours_is_the_way_where_the_first_is_none() -> None:
    """The first is a street that carries nothing; the others are real sockets."""

    async def calls() -> None:
        street = Street()
        door = End(street, DOOR, others=lambda: [free_socket()])
        phone = End(street, PHONE, others=lambda: [free_socket()])
        street.ends.clear()
        offered, answered = await door.gather(), await phone.gather()
        assert [each.split()[4] for each in offered.candidates] == ["192.0.2.1", "127.0.0.1"]
        first, second = (int(each.split()[3]) for each in offered.candidates)
        assert first > second
        phone.agent.start(offered, controlling=False)
        door.agent.start(answered, controlling=True)
        await until(lambda: bool(door.paths and phone.paths))
        ours, theirs = door.paths[0], phone.paths[0]
        assert isinstance(ours, PairWire)
        assert isinstance(theirs, PairWire)
        ours.send(b"\x80sound")
        await until(lambda: bool(theirs.inbox))
        assert theirs.inbox[0][0] == b"\x80sound"
        with free_socket() as stranger:
            stranger.sendto(b"\x80noise", theirs._protocol.transport.get_extra_info("sockname"))
            stranger.sendto(b"\x80noise", ours._protocol.transport.get_extra_info("sockname"))
        ours.send(b"\x80more")
        await until(lambda: len(theirs.inbox) == 2)
        assert theirs.inbox[1][0] == b"\x80more"
        for end in (door, phone):
            await end.agent.close()

    run(calls())


def test_what_of_aioice_is_private_is_still_there() -> None:
    connection = aioice.Connection(ice_controlling=True)
    assert connection._protocols == []
    assert connection._nominated == {}
    assert connection._local_candidates == []
    gather = inspect.signature(aioice.Connection.get_component_candidates)
    assert list(gather.parameters) == ["self", "component", "addresses", "timeout"]
    assert connection._check_list == []
    assert connection._query_consent_task is None
    assert list(inspect.signature(connection.query_consent).parameters) == []
    for check in (aioice.Connection.check_start, aioice.Connection.check_complete):
        assert list(inspect.signature(check).parameters) == ["self", "pair"]
    incoming = inspect.signature(aioice.Connection.check_incoming)
    assert list(incoming.parameters) == ["self", "message", "addr", "protocol"]
    for protocol in (aioice.ice.StunProtocol, *(client.__mro__[1] for client in ice_connection.TURN_CLIENTS)):
        assert list(inspect.signature(protocol.datagram_received).parameters) == ["self", "data", "addr"]
    reflexive = inspect.signature(aioice.ice.server_reflexive_candidate)
    assert list(reflexive.parameters) == ["protocol", "stun_server"]
    assert list(inspect.signature(aioice.turn.TurnTransport._connect).parameters) == ["self", "protocol"]


class Server(asyncio.Transport):
    """A TURN server's end, as the client's transport knows it."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.9", 3478) if name == "peername" else default


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
        await door.gather()
        door.agent.receive(bytes(data), OTHER)
        assert door.agent._next is not None
        for client in ice_connection.TURN_CLIENTS:
            relay = client(("192.0.2.9", 3478), "door", "secret", 600, 500)
            relay.connection_made(Server())
            relay.receiver = door.agent._next.port
            if isinstance(relay, asyncio.Protocol):
                relay.data_received(bytes(data))
            else:
                relay.datagram_received(bytes(data), ("192.0.2.9", 3478))
        await door.agent.close()

    run(hears())
