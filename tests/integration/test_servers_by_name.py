"""Servers found by a real name server, two of them, of which one dies: calls and the registration go on."""

import os
import signal

import pytest

from tests.support.dnsmasq import Dnsmasq
from tests.support.kamailio import DOMAIN, Kamailio
from tests.support.peers import Peers
from tests.support.station import Portero
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

RING = [(["101"], 30)]
BY_NAME = {"registrar": None, "outbound_proxy": None}


def srv(one: Kamailio, two: Kamailio) -> list[str]:
    """The first server and the one that stands in, as a PBX's owner would write it."""
    return [
        f"srv-host=_sip._udp.{DOMAIN},one.{DOMAIN},{one.port},10,0",
        f"srv-host=_sip._udp.{DOMAIN},two.{DOMAIN},{two.port},20,0",
        f"host-record=one.{DOMAIN},127.0.0.1",
        f"host-record=two.{DOMAIN},127.0.0.1",
    ]


def at(server: Kamailio, transport: str = "udp") -> str:
    return f"127.0.0.1:{server.port} ({transport})"


def station(peers: Peers, names: Dnsmasq, server: Kamailio) -> Portero:
    return peers.portero(
        server=server, stages=RING, account=BY_NAME, sections={"sip": {"name_servers": [names.address]}}
    )


def two_servers(peers: Peers) -> tuple[Kamailio, Kamailio, Dnsmasq, Portero]:
    """A phone 101 at each of two servers, and a door at the first."""
    one, two = peers.kamailio(), peers.kamailio()
    names = peers.dnsmasq(*srv(one, two))
    for server in (one, two):
        peers.baresip("101", server=server, video=False)
    door = station(peers, names, one)
    assert door.wait_registered()["server"] == at(one)
    return one, two, names, door


def freeze(server: Kamailio, number: signal.Signals) -> None:
    os.killpg(server.program.pid, number)


def test_naptr_and_srv_choose_transport_and_port(peers: Peers) -> None:
    server = peers.kamailio()
    names = peers.dnsmasq(
        f"naptr-record={DOMAIN},20,10,s,SIP+D2U,,_sip._udp.{DOMAIN}",
        f"naptr-record={DOMAIN},10,10,s,SIP+D2T,,_sip._tcp.{DOMAIN}",
        f"srv-host=_sip._tcp.{DOMAIN},one.{DOMAIN},{server.port},10,0",
        f"srv-host=_sip._udp.{DOMAIN},one.{DOMAIN},9,10,0",
        f"host-record=one.{DOMAIN},127.0.0.1",
    )

    door = station(peers, names, server)

    assert door.wait_registered()["server"] == at(server, "tcp")
    assert names.asked("NAPTR")
    assert door.status()["accounts"][0]["server"] == at(server, "tcp")


def test_a_server_that_is_killed_is_stood_in_for_at_the_next_press(peers: Peers) -> None:
    one, two, _, door = two_servers(peers)

    one.program.kill()
    press = door.press()

    door.wait_event("leg-ringing", press=press)
    assert two.requests("INVITE")
    door.wait_event("registration-changed", state="registered", server=at(two))
    assert not [event for event in door.events("registration-changed") if event["state"] == "failed"]


def test_a_server_that_falls_silent_costs_a_visitor_four_seconds_once(peers: Peers) -> None:
    one, two, _, door = two_servers(peers)

    freeze(one, signal.SIGSTOP)
    try:
        press = door.press()
        door.wait_event("leg-ringing", press=press)
        door.wait_event("registration-changed", state="registered", server=at(two))
    finally:
        freeze(one, signal.SIGCONT)
    assert two.requests("INVITE")


def test_calls_go_on_when_the_name_server_is_dead(peers: Peers) -> None:
    _, _, names, door = two_servers(peers)

    names.program.kill()
    press = door.press()

    door.wait_event("leg-ringing", press=press)


def test_a_station_that_starts_before_its_name_server_registers_when_it_is_there(peers: Peers) -> None:
    server = peers.kamailio()
    names = peers.dnsmasq(*srv(server, server))
    names.program.kill()
    door = station(peers, names, server)
    door.wait_event("registration-changed", state="failed")

    names.start()

    wait_until(lambda: door.status()["accounts"][0]["state"] == "registered", "registered", 40, poll_s=0.2)
