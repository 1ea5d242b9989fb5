"""`doorctl nat` behind real NATs of Linux, asked of a real coturn with two addresses."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.coturn import Coturn
from tests.support.networks import Router, ip, own_network
from tests.support.peers import Peers

pytestmark = pytest.mark.integration

SECOND = "198.51.100.2"

# A port of our own keeps its number outside: what most homes have.
KEEPS_PORTS = """\
table ip nat {
  chain post {
    type nat hook postrouting priority srcnat
    oifname wan0 masquerade
  }
}
"""
SYMMETRIC = KEEPS_PORTS.replace("masquerade", "masquerade random,fully-random")
FORWARDED = KEEPS_PORTS.replace(
    "table ip nat {\n",
    "table ip nat {\n"
    "  chain pre {\n"
    "    type nat hook prerouting priority dstnat\n"
    f"    iifname wan0 meta l4proto udp dnat to {Router.STATION}\n"
    "  }\n",
)


@pytest.fixture
def street() -> Iterator[None]:
    with own_network():
        yield


@pytest.mark.parametrize(
    ("rules", "mapping", "filtering", "turn"),
    [
        (KEEPS_PORTS, "endpoint-independent", "address-and-port-dependent", "for some phones"),
        (FORWARDED, "endpoint-independent", "endpoint-independent", "not needed"),
        (SYMMETRIC, "address-and-port-dependent", "address-and-port-dependent", "needed"),
    ],
    ids=["keeps-ports", "forwarded", "symmetric"],
)
def test_the_kind_of_nat_is_told(
    street: None, peers: Peers, rules: str, mapping: str, filtering: str, turn: str
) -> None:
    found = ask(peers, Router(peers.folder, rules))
    assert found["mapped"][0] == Router.OUTSIDE
    assert found["local"][0] == Router.STATION
    assert (found["nat"], found["mapping"], found["filtering"], found["turn"]) == (True, mapping, filtering, turn)


def test_no_nat_is_told(street: None, peers: Peers) -> None:
    found = ask(peers, Router(peers.folder))
    assert found["mapped"] == found["local"]
    assert (found["nat"], found["filtering"], found["turn"]) == (False, "endpoint-independent", "not needed")


def ask(peers: Peers, router: Router) -> Any:
    """What `doorctl nat` says on a station behind this router."""
    peers.start(router)
    ip(f"addr add {SECOND}/24 dev {router.near}\nroute add 10.77.0.0/24 via {Router.OUTSIDE}")
    peers.start(Coturn(peers.folder / "coturn", [Router.STREET, SECOND]))
    station = peers.portero(stages=[(["sip:101@10.77.0.99"], 20)], host="0.0.0.0", within=router.home.enter)
    return station.doorctl("nat", "--server", Router.STREET)


def test_what_cannot_be_asked_is_told(peers: Peers) -> None:
    station = peers.portero(stages=[(["sip:101@127.0.0.99"], 20)])
    for arguments, word in (
        ((), "nat.stun_server"),
        (("--server", "a b"), "no STUN server"),
        (("--server", "nobody.invalid"), "no such name"),
    ):
        done = station.try_doorctl("nat", *arguments)
        assert done.returncode == 1
        assert word in done.stderr
