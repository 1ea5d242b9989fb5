"""Questions to name servers that are quick, slow, dead, wrong: what is waited for, and what is remembered."""

import asyncio
import socket
from contextlib import AsyncExitStack
from pathlib import Path

import dns.rcode
import pytest

from firmware.net import dns_client
from firmware.net.dns_client import DnsClient, HostsFile, Naptr, NoAnswer, ResolvConf, Srv
from tests.support.dns_server import DnsServer, silent, zone

ZONE = zone(
    "pbx.example. 60 IN A 192.0.2.9",
    "pbx.example. 60 IN AAAA 2001:db8::9",
    "alias.example. 20 IN CNAME pbx.example.",
    "_sip._udp.pbx.example. 60 IN SRV 10 5 5061 One.pbx.example.",
    "_sip._tcp.pbx.example. 60 IN SRV 0 0 0 .",
    'pbx.example. 60 IN NAPTR 50 10 "S" "sip+d2u" "" _sip._udp.pbx.example.',
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def dead_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def client(stack: AsyncExitStack, *servers: DnsServer, clock: Clock | None = None) -> DnsClient:
    for server in servers:
        await stack.enter_async_context(server)
    found = DnsClient(lambda: [server.address for server in servers], hosts=Path("/nonexistent"), clock=clock)
    stack.callback(found.close)
    return found


# --- answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("pbx.example", "A", ("192.0.2.9",)),
        ("PBX.example.", "AAAA", ("2001:db8::9",)),
        ("alias.example", "A", ("192.0.2.9",)),
        ("_sip._udp.pbx.example", "SRV", (Srv(10, 5, 5061, "One.pbx.example"),)),
        ("_sip._tcp.pbx.example", "SRV", (Srv(0, 0, 0, ""),)),
        ("pbx.example", "NAPTR", (Naptr(50, 10, "s", "SIP+D2U", "_sip._udp.pbx.example"),)),
        ("pbx.example", "SRV", ()),
        ("nowhere.example", "A", ()),
    ],
)
def test_each_kind_of_record_is_read(name, kind, expected) -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            dns = await client(stack, DnsServer(ZONE))
            assert await dns.query(name, kind) == expected

    asyncio.run(run())


def test_an_answer_too_long_for_a_datagram_is_fetched_by_tcp() -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            server = DnsServer(zone("pbx.example. 60 IN A 192.0.2.9", truncated=True))
            dns = await client(stack, server)
            assert await dns.query("pbx.example", "A") == ("192.0.2.9",)
            assert [by for by, _, _ in server.asked] == ["udp", "tcp"]

    asyncio.run(run())


@pytest.mark.parametrize("name", ["a" * 64 + ".example", "..", "x." * 130, "\udcff.example"])
def test_what_is_no_host_name_is_said_so(name: str) -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            dns = await client(stack, DnsServer(ZONE))
            with pytest.raises(NoAnswer, match="not a host name"):
                await dns.query(name, "A")

    asyncio.run(run())


# --- servers that fail ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(DnsServer(silent), id="silent"),
        pytest.param(DnsServer(zone(rcode=dns.rcode.SERVFAIL)), id="servfail"),
        pytest.param(DnsServer(zone(rcode=dns.rcode.REFUSED)), id="refused"),
        pytest.param(DnsServer(ZONE, delay_s=1.5), id="slow"),
    ],
)
def test_the_next_server_answers_for_one_that_fails(first: DnsServer) -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            second = DnsServer(ZONE)
            dns = await client(stack, first, second)
            assert await dns.query("pbx.example", "A") == ("192.0.2.9",)
            assert second.asked
            asked = len(first.asked)
            assert await dns.query("pbx.example", "AAAA") == ("2001:db8::9",)
            assert len(first.asked) == asked, "the server that answered last is asked first"

    asyncio.run(run())


def test_a_dead_port_is_known_at_once_by_icmp() -> None:
    async def run() -> None:
        dns = DnsClient(lambda: [("127.0.0.1", dead_port())], hosts=Path("/nonexistent"))
        with pytest.raises(NoAnswer, match="refused"):
            await dns.query("pbx.example", "A")

    asyncio.run(run())


def test_a_lost_question_is_repeated() -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            server = DnsServer(lambda query: ZONE(query) if len(server.asked) > 1 else None)
            dns = await client(stack, server)
            assert await dns.query("pbx.example", "A") == ("192.0.2.9",)
            assert len(server.asked) == 2

    asyncio.run(run())


def test_dead_servers_are_waited_for_two_seconds_once_and_then_not_at_all() -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            clock, server = Clock(), DnsServer(silent)
            dns = await client(stack, server, clock=clock)
            with pytest.raises(NoAnswer, match="no name server answers"):
                await dns.query("pbx.example", "A")
            asked = len(server.asked)
            assert asked in (2, 3)
            with pytest.raises(NoAnswer, match="no name server answers"):
                await dns.query("pbx.example", "A")
            assert len(server.asked) == asked
            clock.now += dns_client.FAILED_S
            server.behave = ZONE
            assert await dns.query("pbx.example", "A") == ("192.0.2.9",)

    asyncio.run(run())


def test_an_answer_to_another_question_is_not_taken() -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            wrong = zone("pbx.example. 60 IN A 203.0.113.66")

            def forged(query):
                answer = wrong(query)
                answer.id ^= 1
                return answer

            dns = await client(stack, DnsServer(forged), DnsServer(ZONE))
            assert await dns.query("pbx.example", "A") == ("192.0.2.9",)

    asyncio.run(run())


def test_without_name_servers_nothing_is_waited_for() -> None:
    async def run() -> None:
        dns = DnsClient(list, hosts=Path("/nonexistent"))
        assert not dns.has_servers
        with pytest.raises(NoAnswer, match="no name server is configured"):
            await dns.query("pbx.example", "A")

    asyncio.run(run())


# --- memory --------------------------------------------------------------------------------------------------


def test_an_answer_is_kept_for_its_ttl() -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            clock, server = Clock(), DnsServer(ZONE)
            dns = await client(stack, server, clock=clock)
            await dns.query("pbx.example", "A")
            clock.now += 59
            assert dns.known("pbx.example", "A") == ("192.0.2.9",)
            await dns.query("Pbx.example", "A")
            assert len(server.asked) == 1
            clock.now += 2
            assert dns.known("pbx.example", "A") is None
            await dns.query("pbx.example", "A")
            assert len(server.asked) == 2

    asyncio.run(run())


def test_the_shortest_ttl_of_a_chain_counts_and_ttl_0_is_five_seconds() -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            clock = Clock()
            server = DnsServer(zone("a.example. 0 IN CNAME b.example.", "b.example. 600 IN A 192.0.2.1"))
            dns = await client(stack, server, clock=clock)
            await dns.query("a.example", "A")
            clock.now += 4.9
            assert dns.known("a.example", "A") == ("192.0.2.1",)
            clock.now += 0.2
            assert dns.known("a.example", "A") is None

    asyncio.run(run())


def test_that_there_is_none_is_believed_as_long_as_the_zone_says_and_a_minute_at_most() -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            clock, server = Clock(), DnsServer(zone("pbx.example. 60 IN AAAA 2001:db8::9"))
            dns = await client(stack, server, clock=clock)
            assert await dns.query("pbx.example", "A") == ()
            clock.now += 6.9  # the SOA's minimum is 7
            assert dns.known("pbx.example", "A") == ()
            clock.now += 0.2
            server.behave = ZONE
            assert await dns.query("pbx.example", "A") == ("192.0.2.9",)

    asyncio.run(run())


def test_an_old_answer_serves_while_no_server_answers_and_costs_no_wait_after_the_first() -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            clock, server = Clock(), DnsServer(ZONE)
            dns = await client(stack, server, clock=clock)
            await dns.query("pbx.example", "A")
            server.behave = silent
            clock.now += 3600
            assert await dns.query("pbx.example", "A") == ("192.0.2.9",)
            await asyncio.wait(set(dns._running.values()))
            asked = len(server.asked)
            assert await dns.query("pbx.example", "A") == ("192.0.2.9",)
            assert len(server.asked) == asked
            clock.now += dns_client.SILENT_S
            server.behave = zone("pbx.example. 60 IN A 192.0.2.77")
            assert await dns.query("pbx.example", "A") == ("192.0.2.77",)

    asyncio.run(run())


def test_another_network_is_asked_anew() -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            clock, server = Clock(), DnsServer(silent)
            dns = await client(stack, server, clock=clock)
            with pytest.raises(NoAnswer):
                await dns.query("pbx.example", "A")
            server.behave = ZONE
            dns.network_changed()
            assert await dns.query("pbx.example", "A") == ("192.0.2.9",)

    asyncio.run(run())


def test_two_who_ask_the_same_share_one_question() -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            server = DnsServer(ZONE, delay_s=0.05)
            dns = await client(stack, server)
            both = await asyncio.gather(dns.query("pbx.example", "A"), dns.query("pbx.example", "A"))
            assert both == [("192.0.2.9",)] * 2
            assert len(server.asked) == 1

    asyncio.run(run())


def test_memory_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(dns_client, "MAX_ENTRIES", 8)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            dns = await client(stack, DnsServer(ZONE))
            for number in range(20):
                await dns.query(f"{number}.example", "A")
            assert len(dns._cache) == 8

    asyncio.run(run())


# --- the system ----------------------------------------------------------------------------------------------


def test_names_without_dns_are_the_system_s() -> None:
    async def run() -> None:
        dns = DnsClient(list, hosts=Path("/nonexistent"))
        assert "127.0.0.1" in await dns.addresses("localhost")

    asyncio.run(run())


def test_the_hosts_file_is_read_and_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("# ours\n192.0.2.1 pbx.example PBX # the PBX\n2001:db8::1\tpbx.example\nnonsense x\n")
    hosts = HostsFile(path)
    assert hosts.addresses("Pbx.Example.") == ("192.0.2.1", "2001:db8::1")
    assert hosts.addresses("pbx") == ("192.0.2.1",)
    assert hosts.addresses("x") == ()
    path.write_text("192.0.2.222 pbx.example\n")
    assert hosts.addresses("pbx.example") == ("192.0.2.222",)
    path.unlink()
    assert hosts.addresses("pbx.example") == ()


def test_the_name_servers_of_resolv_conf_are_read_again_when_they_change(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    servers = ResolvConf(path)
    assert servers() == ()
    path.write_text("search lan\nnameserver 192.0.2.53\nnameserver 2001:db8::53 # second\nnameserver nonsense\n")
    assert servers() == (("192.0.2.53", 53), ("2001:db8::53", 53))
    path.write_text("nameserver 192.0.2.54\n")
    assert servers() == (("192.0.2.54", 53),)


def test_a_station_whose_servers_are_addresses_does_not_load_the_dns_library() -> None:
    import subprocess
    import sys

    code = "import sys, firmware.net.sip_endpoint; sys.exit(any(name.startswith('dns') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], timeout=30).returncode == 0
