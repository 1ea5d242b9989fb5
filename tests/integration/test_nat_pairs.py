"""Two stations behind a NAT each, of every kind that a home has: which pairs talk directly, which by the relay.

The NATs are Linux's own (nftables), the server for STUN and TURN is coturn, both stations are registered at a third
one in the street and call through it. Of RFC 4787's kinds, independent mapping with independent, address-dependent
or address and port-dependent filtering has been full cone, restricted and port restricted since RFC 3489; a mapping
of its own for each target is symmetric. Only that one facing its like or a port restricted one needs TURN.
"""

from collections.abc import Iterator
from itertools import combinations_with_replacement

import pytest

from tests.support.coturn import PASSWORD, USER, Coturn
from tests.support.kamailio import DOMAIN
from tests.support.networks import Router, ip, own_network
from tests.support.peers import Peers
from tests.support.sound import level_db, read_wav
from tests.support.station import Portero
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

HZ = {"gate": 620, "101": 1000}
PACKETS = 60

# What nobody asked for is dropped before it leaves a trace: a router that answered it would remember the flow, and
# give the station's own packets to that peer another port.
_PORT_RESTRICTED = """\
table ip nat {
  chain in {
    type filter hook input priority filter
    iifname wan0 meta l4proto udp drop
  }
  chain post {
    type nat hook postrouting priority srcnat
    oifname wan0 masquerade
  }
}
"""
_FULL_CONE = """\
table ip nat {
  chain pre {
    type nat hook prerouting priority dstnat
    iifname wan0 meta l4proto udp dnat to STATION
  }
}
"""
_RESTRICTED = """\
table ip nat {
  set contacted {
    type ipv4_addr
    flags dynamic,timeout
    timeout 5m
  }
  chain note {
    type filter hook forward priority filter
    oifname wan0 meta l4proto udp update @contacted { ip daddr }
  }
  chain pre {
    type nat hook prerouting priority dstnat
    iifname wan0 meta l4proto udp ip saddr @contacted dnat to STATION
  }
}
"""
KINDS = {
    "full cone": _FULL_CONE + _PORT_RESTRICTED,
    "restricted": _RESTRICTED + _PORT_RESTRICTED,
    "port restricted": _PORT_RESTRICTED,
    "symmetric": _PORT_RESTRICTED.replace("masquerade", "masquerade random,fully-random"),
}
BY_RELAY = {("port restricted", "symmetric"), ("symmetric", "symmetric")}


@pytest.fixture
def street() -> Iterator[None]:
    with own_network():
        yield


def _station(peers: Peers, hub: Portero, router: Router, user: str, other: str) -> Portero:
    server = f"{Router.STREET}:3478"
    return peers.portero(
        server=hub.registrar,
        user=user,
        transport="tcp",
        stages=[([other], 20)],
        host=router.station,
        within=router.home.enter,
        sections={
            "media": {"ice": True, "audio_codecs": ["PCMA"], "video": False},
            "calls.incoming": {"policy": "auto-answer", "from": [f"sip:{other}@{DOMAIN}"]},
            "nat": {
                "stun_server": server,
                "turn_server": server,
                "turn_username": USER,
                "turn_password": PASSWORD,
            },
        },
        microphone_hz=HZ[user],
    )


def test_every_pair_of_nats_has_sound_and_only_those_that_must_go_by_the_relay(street: None, peers: Peers) -> None:
    routers = [peers.start(Router(peers.folder, _PORT_RESTRICTED, number=number)) for number in (0, 1)]
    # Private addresses lead nowhere, as on the Internet; "unreachable" makes coturn forget an allocation.
    ip("link add nowhere type veth peer name void\nlink set nowhere arp off\nlink set nowhere up\nlink set void up")
    ip("route add 10.0.0.0/8 dev nowhere")
    peers.start(Coturn(peers.folder / "coturn", [Router.STREET]))
    hub = peers.portero(
        users={user: f"{user}-secret" for user in HZ}, stages=[(["sip:nobody@127.0.0.1:9"], 20)], host=Router.STREET
    )
    gate = _station(peers, hub, routers[0], "gate", "101")
    flat = _station(peers, hub, routers[1], "101", "gate")
    for user in HZ:
        hub.wait_event("user-registered", user=user)
    capture = peers.capture("udp", interface=routers[0].near)
    outside = {router.outside for router in routers}
    way = {}
    for pair in combinations_with_replacement(KINDS, 2):
        for router, kind in zip(routers, pair, strict=True):
            router.load(KINDS[kind].replace("STATION", router.station))
        before = len(capture.datagrams())
        _talk(gate, flat)
        direct = [each for each in capture.datagrams()[before:] if outside == {each.source[0], each.target[0]}]
        way[pair] = "direct" if sum(each.payload[0] >> 6 == 2 for each in direct) > PACKETS / 2 else "relay"
        print(f"{pair[0]:>16} {pair[1]:>16} {way[pair]}")
    assert way == {pair: "relay" if pair in BY_RELAY else "direct" for pair in way}


def _talk(gate: Portero, flat: Portero) -> None:
    """A call in which each hears the other's tone."""
    press = gate.press()
    gate.wait_event("leg-answered", press=press)
    gate.wait_event("rtp-started", press=press, media="audio", direction="received", timeout_s=15)
    wait_until(lambda: _last_db(gate, HZ["101"]) > -30, "the gate hears the flat", 15)
    wait_until(lambda: _last_db(flat, HZ["gate"]) > -30, "the flat hears the gate", 15)
    wait_until(lambda: min(_packets(gate)) > PACKETS, "packets went both ways")
    gate.hang_up()
    wait_until(lambda: not flat.status()["calls"], "the flat is free again")
    wait_until(lambda: _last_db(gate, HZ["101"]) < -60, "the gate's speaker is silent")
    wait_until(lambda: _last_db(flat, HZ["gate"]) < -60, "the flat's speaker is silent")


def _packets(station: Portero) -> tuple[int, int]:
    """Of sound, received and sent."""
    (leg,) = station.doorctl("call", "--stats", "--json")["legs"]
    return leg["statistics"]["audio_received"], leg["statistics"]["audio_sent"]


def _last_db(station: Portero, hz: float) -> float:
    """How loud the tone is in what the speaker played last; its file begins anew when the card is opened."""
    return level_db(read_wav(station.speaker).part(-0.3), hz)
