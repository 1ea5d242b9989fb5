"""RFC 3263 from URI to targets, with answers made up here: NAPTR, SRV, weights, families, what is skipped when."""

import asyncio
import random
from collections import Counter
from socket import AF_INET, AF_INET6

import pytest

from firmware.net.dns_client import Naptr, NoAnswer, Srv
from firmware.net.resolver import MAX_TARGETS, Resolver
from firmware.sip.types import Target
from firmware.sip.uri import Uri

ALL = ("udp", "tcp", "tls", "ws", "wss")


class FakeDns:
    """Knows `records` by (name, kind); an exception there is raised, what is not there does not exist."""

    def __init__(self, records, *, hosts=None, system=None, has_servers=True) -> None:
        self.records = records
        self.hosts = hosts or {}
        self.system = system or {}
        self.has_servers = has_servers
        self.asked: list[tuple[str, str]] = []

    def pinned(self, name):
        return self.hosts.get(name, ())

    async def addresses(self, name):
        self.asked.append((name, "system"))
        if name not in self.system:
            raise NoAnswer("Name or service not known")
        return self.system[name]

    async def query(self, name, kind):
        self.asked.append((name, kind))
        await asyncio.sleep(0)
        found = self.records.get((name, kind), ())
        if isinstance(found, Exception):
            raise found
        return found


def resolver(dns, *, transports=ALL, families=(AF_INET, AF_INET6), seed=1, source=None) -> Resolver:
    return Resolver(
        dns,
        transports=transports,
        families=lambda: families,
        random=random.Random(seed).random,
        source=source or (lambda host: "2001:db8::1" if ":" in host else "192.0.2.1"),
    )


def found(uri: str, records=None, **options) -> list[str]:
    dns_options = {key: options.pop(key) for key in ("hosts", "system", "has_servers") if key in options}
    dns = FakeDns(records or {}, **dns_options)
    targets = asyncio.run(resolver(dns, **options).targets(Uri.parse(uri), 0.0))
    return [f"{target.transport} {target.host} {target.port}" for target in targets]


ZONE = {
    ("pbx.example", "A"): ("192.0.2.9",),
    ("one.pbx.example", "A"): ("192.0.2.10",),
    ("two.pbx.example", "A"): ("192.0.2.20",),
    ("_sip._udp.pbx.example", "SRV"): (Srv(20, 0, 5062, "two.pbx.example"), Srv(10, 0, 5061, "one.pbx.example")),
}


# --- what is not asked ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sip:192.0.2.7", "udp 192.0.2.7 5060"),
        ("sip:192.0.2.7:5070", "udp 192.0.2.7 5070"),
        ("sip:192.0.2.7;transport=tcp", "tcp 192.0.2.7 5060"),
        ("sips:192.0.2.7", "tls 192.0.2.7 5061"),
        ("sips:192.0.2.7;transport=tcp", "tls 192.0.2.7 5061"),
        ("sip:192.0.2.7;transport=ws", "ws 192.0.2.7 80"),
        ("sips:192.0.2.7;transport=ws", "wss 192.0.2.7 443"),
        ("sip:[2001:db8::7]", "udp 2001:db8::7 5060"),
        ("sip:pbx.example;maddr=192.0.2.8", "udp 192.0.2.8 5060"),
    ],
)
def test_an_address_is_a_target_without_asking_anybody(uri: str, expected: str) -> None:
    dns = FakeDns({})
    (target,) = asyncio.run(resolver(dns).targets(Uri.parse(uri), 0.0))
    assert f"{target.transport} {target.host} {target.port}" == expected
    assert dns.asked == []


def test_a_port_skips_naptr_and_srv() -> None:
    dns = FakeDns(ZONE)
    (target,) = asyncio.run(resolver(dns).targets(Uri.parse("sip:pbx.example:5080"), 0.0))
    assert target == Target("udp", "192.0.2.9", 5080)
    assert {kind for _, kind in dns.asked} == {"A", "AAAA"}


def test_a_transport_skips_naptr() -> None:
    dns = FakeDns(ZONE)
    targets = asyncio.run(resolver(dns).targets(Uri.parse("sip:pbx.example;transport=udp"), 0.0))
    assert [target.port for target in targets] == [5061, 5062]
    assert "NAPTR" not in {kind for _, kind in dns.asked}


def test_a_transport_without_srv_goes_to_the_domain_itself() -> None:
    assert found("sip:pbx.example;transport=tcp", ZONE) == ["tcp 192.0.2.9 5060"]
    assert found("sips:pbx.example", ZONE) == ["tls 192.0.2.9 5061"]
    assert found("sip:pbx.example;transport=ws", ZONE) == ["ws 192.0.2.9 80"]


def test_a_transport_that_is_not_spoken_is_refused_in_words() -> None:
    with pytest.raises(NoAnswer, match="transport tls is not spoken here"):
        found("sips:pbx.example", ZONE, transports=("udp", "tcp"))
    with pytest.raises(NoAnswer, match="sctp"):
        found("sip:pbx.example;transport=sctp", ZONE)


def test_a_name_in_the_hosts_file_is_an_address_and_nothing_else() -> None:
    records = dict(ZONE)
    assert found("sip:pbx.example", records, hosts={"pbx.example": ("10.0.0.5",)}) == ["udp 10.0.0.5 5060"]


@pytest.mark.parametrize("name", ["pbx", "monitor.local", "Monitor.LOCAL."])
def test_single_words_and_mdns_names_are_the_system_s(name: str) -> None:
    assert found(f"sip:{name}", system={name: ("10.0.0.6",)}) == ["udp 10.0.0.6 5060"]


def test_without_name_servers_the_system_is_asked() -> None:
    assert found("sip:pbx.example", has_servers=False, system={"pbx.example": ("10.0.0.7",)}) == [
        "udp 10.0.0.7 5060"
    ]


# --- SRV -----------------------------------------------------------------------------------------------------


def test_srv_targets_come_by_priority_with_their_ports() -> None:
    assert found("sip:pbx.example", ZONE) == ["udp 192.0.2.10 5061", "udp 192.0.2.20 5062"]


def test_without_naptr_and_srv_it_is_udp_to_the_domain() -> None:
    assert found("sip:plain.example", {("plain.example", "A"): ("192.0.2.3",)}) == ["udp 192.0.2.3 5060"]


def test_udp_comes_before_tcp_where_a_domain_has_srv_for_both() -> None:
    zone = {**ZONE, ("_sip._tcp.pbx.example", "SRV"): (Srv(1, 0, 5060, "one.pbx.example"),)}
    assert found("sip:pbx.example", zone)[-1] == "tcp 192.0.2.10 5060"


def test_sips_srv_serves_sips_alone() -> None:
    zone = {**ZONE, ("_sips._tcp.pbx.example", "SRV"): (Srv(1, 0, 5071, "one.pbx.example"),)}
    assert found("sips:pbx.example", zone) == ["tls 192.0.2.10 5071"]
    assert not any(target.startswith("tls") for target in found("sip:pbx.example", zone))


def test_a_service_that_is_declared_absent_is_not_looked_for_at_the_domain() -> None:
    zone = {("_sip._udp.gone.example", "SRV"): (Srv(0, 0, 0, ""),), ("gone.example", "A"): ("192.0.2.1",)}
    with pytest.raises(NoAnswer, match="no such service"):
        found("sip:gone.example", zone)


def test_srv_targets_that_do_not_exist_are_left_out_and_named_if_there_is_no_other() -> None:
    zone = {k: v for k, v in ZONE.items() if k[0] != "one.pbx.example"}
    assert found("sip:pbx.example", zone) == ["udp 192.0.2.20 5062"]
    with pytest.raises(NoAnswer, match=r"one\.pbx\.example"):
        found("sip:pbx.example", {k: v for k, v in zone.items() if k[0] != "two.pbx.example"})


def test_weights_spread_the_first_choice_as_their_owner_wants() -> None:
    """RFC 2782: 60 to 20 to 20 within one priority; every server is in the list once."""
    records = tuple(Srv(1, weight, 5060, f"{weight}-{n}.example") for n, weight in enumerate((60, 20, 20)))
    zone = {("_sip._udp.pbx.example", "SRV"): records}
    zone |= {(record.target, "A"): (f"192.0.2.{n + 1}",) for n, record in enumerate(records)}
    first = Counter()
    drawn = random.Random(7)

    async def many() -> None:
        dns = FakeDns(zone)
        for _ in range(3000):
            one = Resolver(
                dns, transports=ALL, families=lambda: [AF_INET], random=drawn.random, source=lambda _: "192.0.2.99"
            )
            targets = await one.targets(Uri.parse("sip:pbx.example"), 0.0)
            assert len({target.host for target in targets}) == 3
            first[targets[0].host] += 1

    asyncio.run(many())
    assert 1680 < first["192.0.2.1"] < 1920
    assert 500 < first["192.0.2.2"] < 700


def test_servers_without_weights_share_the_load_too() -> None:
    records = (Srv(1, 0, 5060, "a.example"), Srv(1, 0, 5060, "b.example"))
    zone = {
        ("_sip._udp.pbx.example", "SRV"): records,
        ("a.example", "A"): ("192.0.2.1",),
        ("b.example", "A"): ("192.0.2.2",),
    }
    first = Counter(found("sip:pbx.example", zone, seed=seed)[0] for seed in range(200))
    assert min(first.values()) > 70


def test_a_zone_of_a_hundred_servers_is_cut_to_a_bound() -> None:
    records = tuple(Srv(n, 0, 5060, "many.example") for n in range(100))
    zone = {
        ("_sip._udp.pbx.example", "SRV"): records,
        ("many.example", "A"): tuple(f"192.0.2.{n}" for n in range(90)),
    }
    assert len(found("sip:pbx.example", zone)) == MAX_TARGETS


# --- NAPTR ---------------------------------------------------------------------------------------------------

NAPTR_ZONE = {
    ("pbx.example", "NAPTR"): (
        Naptr(50, 50, "s", "SIPS+D2T", "_sips._tcp.pbx.example"),
        Naptr(90, 50, "s", "SIP+D2T", "_sip._tcp.pbx.example"),
        Naptr(100, 50, "s", "SIP+D2U", "_sip._udp.pbx.example"),
    ),
    ("_sips._tcp.pbx.example", "SRV"): (Srv(1, 1, 5061, "one.pbx.example"),),
    ("_sip._tcp.pbx.example", "SRV"): (Srv(1, 1, 5062, "one.pbx.example"),),
    ("_sip._udp.pbx.example", "SRV"): (Srv(1, 1, 5063, "one.pbx.example"),),
    ("one.pbx.example", "A"): ("192.0.2.10",),
    ("pbx.example", "A"): ("192.0.2.9",),
}  # RFC 3263 section 4.1's example


def test_naptr_chooses_the_transport_of_the_lowest_order_that_we_speak() -> None:
    assert found("sip:pbx.example", NAPTR_ZONE) == ["tls 192.0.2.10 5061"]
    assert found("sip:pbx.example", NAPTR_ZONE, transports=("udp", "tcp")) == ["tcp 192.0.2.10 5062"]
    assert found("sip:pbx.example", NAPTR_ZONE, transports=("udp",)) == ["udp 192.0.2.10 5063"]


def test_naptr_of_one_order_are_all_tried_the_preferred_first() -> None:
    zone = {
        **NAPTR_ZONE,
        ("pbx.example", "NAPTR"): (
            Naptr(10, 20, "s", "SIP+D2U", "_sip._udp.pbx.example"),
            Naptr(10, 10, "s", "SIP+D2T", "_sip._tcp.pbx.example"),
            Naptr(20, 0, "s", "SIPS+D2T", "_sips._tcp.pbx.example"),
        ),
    }
    assert found("sip:pbx.example", zone) == ["tcp 192.0.2.10 5062", "udp 192.0.2.10 5063"]


def test_sips_takes_sips_services_only() -> None:
    zone = {**NAPTR_ZONE, ("pbx.example", "NAPTR"): NAPTR_ZONE["pbx.example", "NAPTR"][1:]}
    assert found("sips:pbx.example", zone) == ["tls 192.0.2.10 5061"]  # by SRV


def test_naptr_may_lead_to_websocket_and_to_an_address_at_once() -> None:
    zone = {
        ("pbx.example", "NAPTR"): (
            Naptr(1, 1, "s", "SIPS+D2W", "ws.pbx.example"),
            Naptr(1, 2, "a", "SIP+D2U", "one.pbx.example"),
        ),
        ("ws.pbx.example", "SRV"): (Srv(1, 1, 8089, "one.pbx.example"),),
        ("one.pbx.example", "A"): ("192.0.2.10",),
    }
    assert found("sip:pbx.example", zone) == ["wss 192.0.2.10 8089", "udp 192.0.2.10 5060"]


def test_naptr_of_other_services_is_no_naptr() -> None:
    zone = {
        **ZONE,
        ("pbx.example", "NAPTR"): (
            Naptr(1, 1, "u", "E2U+SIP", ""),
            Naptr(1, 1, "s", "SIP+D2S", "_sip._sctp.pbx.example"),
            Naptr(1, 1, "", "SIP+D2U", "next.example"),
        ),
    }
    assert found("sip:pbx.example", zone) == found("sip:pbx.example", ZONE)


def test_a_router_that_swallows_naptr_costs_nothing_but_the_naptr() -> None:
    assert found("sip:pbx.example", {**ZONE, ("pbx.example", "NAPTR"): NoAnswer("silent")}) == found(
        "sip:pbx.example", ZONE
    )


# --- addresses -----------------------------------------------------------------------------------------------

BOTH = {("pbx.example", "A"): ("192.0.2.9",), ("pbx.example", "AAAA"): ("2001:db8::9",)}


def no_route(*unreachable):
    def source(host: str) -> str:
        if any(host.startswith(each) for each in unreachable):
            raise OSError("network unreachable")
        return "2001:db8::1" if ":" in host else "192.0.2.1"

    return source


def test_ipv6_comes_first_where_both_families_have_a_way() -> None:
    assert found("sip:pbx.example", BOTH) == ["udp 2001:db8::9 5060", "udp 192.0.2.9 5060"]


def test_a_family_without_a_route_comes_last() -> None:
    assert found("sip:pbx.example", BOTH, source=no_route("2001")) == ["udp 192.0.2.9 5060", "udp 2001:db8::9 5060"]


def test_a_private_ipv6_address_of_ours_is_not_preferred_for_the_world() -> None:
    def source(host: str) -> str:
        return "fd00::1" if ":" in host else "192.0.2.1"

    assert found("sip:pbx.example", BOTH, source=source)[0] == "udp 192.0.2.9 5060"


def test_a_family_that_we_do_not_listen_on_is_not_asked_for() -> None:
    dns = FakeDns(BOTH)
    targets = asyncio.run(resolver(dns, families=(AF_INET,)).targets(Uri.parse("sip:pbx.example"), 0.0))
    assert [target.host for target in targets] == ["192.0.2.9"]
    assert "AAAA" not in {kind for _, kind in dns.asked}


def test_one_family_s_silence_does_not_take_the_other_s_answer() -> None:
    assert found("sip:pbx.example", {**BOTH, ("pbx.example", "AAAA"): NoAnswer("silent")}) == ["udp 192.0.2.9 5060"]


# --- errors and names ----------------------------------------------------------------------------------------


def test_a_name_that_does_not_exist_is_said_so() -> None:
    with pytest.raises(NoAnswer, match="no such name"):
        found("sip:nowhere.example")


def test_dead_name_servers_are_said_so() -> None:
    class Dead(FakeDns):
        async def query(self, name, kind):
            raise NoAnswer("no name server answers")

    with pytest.raises(NoAnswer, match="no name server answers"):
        asyncio.run(resolver(Dead({})).targets(Uri.parse("sip:pbx.example"), 0.0))


def test_the_certificate_is_to_name_what_was_typed_not_where_srv_led() -> None:
    targets = asyncio.run(resolver(FakeDns(NAPTR_ZONE)).targets(Uri.parse("sip:pbx.example"), 0.0))
    assert [target.name for target in targets] == ["pbx.example"]


def test_calls_of_one_press_need_no_second_question() -> None:
    async def run() -> None:
        one = resolver(FakeDns(ZONE))
        uri = Uri.parse("sip:101@pbx.example")
        assert one.known(uri, 0.0) == ()
        targets = await one.targets(uri, 0.0)
        assert one.known(Uri.parse("sip:102@PBX.example"), 1.0) == targets
        assert one.known(Uri.parse("sip:102@pbx.example;transport=tcp"), 1.0) == ()
        assert one.known(uri, 6.0) == ()

    asyncio.run(run())
