"""NAT discovery against a server and NATs of every kind, as functions; no socket, no clock."""

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.net import stun
from firmware.net.nat_discovery import Address, Nat, NatDiscovery, NatError, discover, split

LOCALS = (("10.0.0.2", 40000), ("10.0.0.2", 40001))
SERVER, OTHER = ("198.51.100.1", 3478), ("198.51.100.2", 3479)
KINDS = ("endpoint-independent", "address-dependent", "address-and-port-dependent")


class World:
    """The station, one NAT (mapping and filtering of KINDS, "" for none) and a STUN server."""

    def __init__(self, mapping: str = "", filtering: str = KINDS[0], *, lose: int = 0) -> None:
        self.mapping = mapping
        self.filtering = filtering
        self.lose = lose
        self.dead = False
        self.two_addresses = True
        self.obeys_changes = True
        self.now = 0.0
        self.sent = 0
        self._outside: dict[object, Address] = {}
        self._holes: set[tuple[int, object]] = set()
        self._waiting: list[tuple[int, bytes, Address]] = []
        counter = itertools.count()
        self.machine = NatDiscovery(SERVER, LOCALS, self._send, lambda n: next(counter).to_bytes(n, "big"))

    def run(self) -> Nat:
        self.machine.start(self.now)
        while True:
            while self._waiting:
                self.machine.receive(*self._waiting.pop(0), self.now)
            deadline = self.machine.next_deadline()
            if deadline is None:
                return self.machine.result()
            assert deadline > self.now
            self.now = deadline
            self.machine.handle_timer(self.now)

    @staticmethod
    def _key(kind: str, peer: Address) -> object:
        return {"endpoint-independent": None, "address-dependent": peer[0]}.get(kind, peer)

    def _send(self, number: int, data: bytes, to: Address) -> None:
        self.sent += 1
        if self.dead or self.sent <= self.lose:
            return
        source = LOCALS[number]
        if self.mapping:
            key = (number, self._key(self.mapping, to))
            source = self._outside.setdefault(key, ("203.0.113.9", 50000 + len(self._outside)))
        self._holes.add((number, self._key(self.filtering, to)))
        self._serve(number, data, source, to)

    def _serve(self, number: int, data: bytes, source: Address, to: Address) -> None:
        hosts = (SERVER[0], OTHER[0]) if self.two_addresses else (SERVER[0],)
        assert to[0] in hosts
        flags = int.from_bytes(data[24:28], "big") if data[20:22] == b"\x00\x03" else 0
        answers = to
        if flags and self.obeys_changes:
            host = OTHER[0] if flags & 4 else SERVER[0]
            answers = (host, OTHER[1] if flags & 2 else SERVER[1])
        response = stun.binding_response(data[8:20], source)
        if self.two_addresses:
            response = with_other(response, OTHER)
        if self.filtering == KINDS[0] or (number, self._key(self.filtering, answers)) in self._holes:
            self._waiting.append((number, response, answers))


def with_other(response: bytes, other: Address) -> bytes:
    """The response with OTHER-ADDRESS, and without the fingerprint that it makes wrong."""
    octets = bytes(map(int, other[0].split(".")))
    body = response[20:-8] + b"\x80\x2c\x00\x08\x00\x01" + other[1].to_bytes(2, "big") + octets
    return response[:2] + len(body).to_bytes(2, "big") + response[4:20] + body


@pytest.mark.parametrize("mapping", KINDS)
@pytest.mark.parametrize("filtering", KINDS)
@pytest.mark.parametrize("lose", [0, 2])
def test_every_kind_of_nat_is_told(mapping: str, filtering: str, lose: int) -> None:
    found = World(mapping, filtering, lose=lose).run()
    assert (found.mapping, found.filtering) == (mapping, filtering)
    assert found.nat
    assert found.mapped == ("203.0.113.9", 50000)


@pytest.mark.parametrize("filtering", KINDS)
def test_a_public_address_is_told_from_a_nat(filtering: str) -> None:
    found = World("", filtering).run()
    assert not found.nat
    assert found.mapped == LOCALS[0]
    assert (found.mapping, found.filtering) == ("endpoint-independent", filtering)
    assert "There is no NAT on the way." in found.words()


def test_nobody_answers() -> None:
    world = World()
    world.dead = True
    found = world.run()
    assert found.mapped is None
    assert (found.mapping, found.filtering, found.turn) == ("", "", "needed")
    assert "No answer from 198.51.100.1:3478" in found.words()[0]
    assert world.now <= 2
    assert world.sent == 6


def test_a_server_of_one_address_tells_the_mapped_address_alone() -> None:
    world = World("endpoint-independent")
    world.two_addresses = False
    found = world.run()
    assert found.mapped is not None
    assert (found.mapping, found.filtering, found.turn) == ("", "", "")
    assert any("Ask another one" in sentence for sentence in found.words())


def test_a_server_that_does_not_change_its_address_opens_nothing_in_our_eyes() -> None:
    world = World("endpoint-independent", "address-and-port-dependent")
    world.obeys_changes = False
    assert world.run().filtering == "address-and-port-dependent"


@pytest.mark.parametrize(
    ("mapping", "filtering", "turn"),
    [
        ("", KINDS[0], "not needed"),
        ("", KINDS[2], "for some phones"),
        (KINDS[0], KINDS[0], "not needed"),
        (KINDS[0], KINDS[1], "not needed"),
        (KINDS[0], KINDS[2], "for some phones"),
        (KINDS[1], KINDS[0], "needed"),
        (KINDS[2], KINDS[2], "needed"),
    ],
)
def test_what_it_means_for_calls(mapping: str, filtering: str, turn: str) -> None:
    found = World(mapping, filtering).run()
    assert found.turn == turn
    assert len(found.words()) == 4
    assert all(sentence.endswith(".") for sentence in found.words())


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.binary(max_size=80), st.sampled_from([SERVER, OTHER])), max_size=40)
)
def test_whatever_arrives_ends_in_a_result(datagrams: list[tuple[int, bytes, Address]]) -> None:
    sent: list[bytes] = []
    machine = NatDiscovery(SERVER, LOCALS, lambda number, data, to: sent.append(data))
    machine.start(0.0)
    now = 0.0
    for number, data, source in datagrams:
        machine.receive(number, data, source, now)
        # A header that fits, with whatever in it.
        machine.receive(number, b"\x01\x01" + len(data).to_bytes(2, "big") + sent[-1][4:20] + data, source, now)
    while (deadline := machine.next_deadline()) is not None:
        now = deadline
        machine.handle_timer(now)
    machine.result().words()
    assert len(sent) < 40


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stun.example.org", ("stun.example.org", 3478)),
        ("192.0.2.1:19302", ("192.0.2.1", 19302)),
        ("2001:db8::1", ("2001:db8::1", 3478)),
        ("[2001:db8::1]:99", ("2001:db8::1", 99)),
        (" [::1] ", ("::1", 3478)),
    ],
)
def test_a_server_is_written_as_people_write_it(text: str, expected: tuple[str, int]) -> None:
    assert split(text) == expected


@pytest.mark.parametrize("text", ["", "stun:", "a b", "host:0", "host:70000", "host:x", "[::1]x", "me@host"])
def test_what_is_no_server_is_refused_with_its_name(text: str) -> None:
    with pytest.raises(NatError) as raised:
        split(text)
    assert text in str(raised.value)


def test_a_name_that_is_none_is_told() -> None:
    with pytest.raises(NatError, match="no such name"):
        asyncio.run(discover("nobody.invalid"))
