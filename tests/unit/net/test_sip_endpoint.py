"""The SIP endpoint over real loopback sockets, against peers that are bare sockets."""

import asyncio
import contextlib
import itertools
import random
import socket
import time
from collections.abc import Callable
from functools import partial

import pytest

from firmware.net import dns_client, sip_connection, sip_connections
from firmware.net import resolver as net_resolver
from firmware.net.sip_endpoint import SipEndpoint
from firmware.net.stun import is_stun
from firmware.sip.configuration import Account, Configuration, House, User
from firmware.sip.core import Core
from firmware.sip.events import CallAnswered, CallEnded, CallTrying, IncomingCall, InviteSent, RegistrationChanged
from firmware.sip.message import Request, parse_message, response_to
from firmware.sip.stream import StreamFramer
from firmware.sip.uri import Uri
from tests.support.damaged_sip import damaged

SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n"
BIG_SDP = SDP + b"a=x-padding:" + b"x" * 1400 + b"\r\n"


def has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6_loopback(), reason="no IPv6 loopback here")


async def until(condition: Callable[[], object], what: str, timeout_s: float = 5.0) -> object:
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain: {what}"
        await asyncio.sleep(0.002)
    return value


class Phone:
    """An endpoint under test and what it told."""

    def __init__(
        self, *listen: tuple[str, int], accounts: tuple[Account, ...] = (), core: Core | None = None
    ) -> None:
        self.events: list[object] = []
        self.core = core or Core(Configuration(accounts), random=random.Random(1).randbytes)
        self.endpoint = SipEndpoint(self.core, listen=listen or [("127.0.0.1", 0)], on_event=self.events.append)

    async def __aenter__(self) -> "Phone":
        await self.endpoint.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.endpoint.stop(0.0)

    @property
    def port(self) -> int:
        return self.endpoint.addresses[0][1]

    def told(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]

    async def event(self, kind: type, timeout_s: float = 5.0):
        await until(lambda: self.told(kind), f"{kind.__name__}, got {self.events}", timeout_s)
        return self.told(kind)[0]


class UdpPeer:
    """A bare socket. `receive` waits for a message; `waiting` is what is there at this very moment."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((host, port))
        self.socket.setblocking(False)
        self.host, self.port = self.socket.getsockname()[:2]
        self.source: tuple = ()

    def __enter__(self) -> "UdpPeer":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    @property
    def uri(self) -> Uri:
        return Uri("sip", user="101", host=self.host, port=self.port)

    def waiting(self):
        try:
            data, self.source = self.socket.recvfrom(65_535)
        except BlockingIOError:
            return None
        return self.waiting() if is_stun(data) else parse_message(data)  # a registrar that knows no STUN

    async def receive(self):
        return await until(self.waiting, "a datagram")

    def send(self, data: bytes, port: int | None = None) -> None:
        self.socket.sendto(data, (self.host, port) if port else self.source)


class TcpPeer:
    """A listening socket and the connections it accepted."""

    def __init__(self, port: int = 0) -> None:
        self.socket = socket.create_server(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()[1]
        self.accepted: list[socket.socket] = []
        self.found: list = []
        self._framer = StreamFramer()

    def __enter__(self) -> "TcpPeer":
        return self

    def __exit__(self, *_: object) -> None:
        for each in [self.socket, *self.accepted]:
            each.close()

    @property
    def uri(self) -> Uri:
        return Uri.parse(f"sip:101@127.0.0.1:{self.port};transport=tcp")

    def poll(self) -> list:
        """Messages and keep-alives so far."""
        with contextlib.suppress(BlockingIOError):
            connection, _ = self.socket.accept()
            connection.setblocking(False)
            self.accepted.append(connection)
        for each in self.accepted:
            with contextlib.suppress(BlockingIOError):
                self.found += self._framer.feed(each.recv(65_536))
        return self.found

    def messages(self, method: str) -> list[Request]:
        return [m for m in self.poll() if isinstance(m, Request) and m.method == method]


OPTIONS = (
    "OPTIONS sip:door@127.0.0.1 SIP/2.0\r\n"
    "Via: SIP/2.0/{transport} 127.0.0.1:{port};rport;branch=z9hG4bK{branch}\r\n"
    "From: <sip:a@b>;tag=1\r\nTo: <sip:door@127.0.0.1>\r\nCall-ID: {branch}\r\nCSeq: 1 OPTIONS\r\n"
    "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)
_branches = itertools.count(1)


def options(transport: str, port: int) -> bytes:
    return OPTIONS.format(transport=transport, port=port, branch=next(_branches)).encode()


def answered(peer: UdpPeer, request: bytes) -> bool:
    """Whether the answer to `request` is among what waits at `peer`."""
    call_id = parse_message(request).call_id
    while (message := peer.waiting()) is not None:
        if message.headers.get("Call-ID") == call_id:  # the damaged ones may have none
            return True
    return False


def closed_by_peer(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(65_536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


# --- UDP ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_invite_to_an_address_is_out_before_the_call_returns(host):
    async def run() -> None:
        with UdpPeer(host) as peer:
            async with Phone((host, 0)) as phone:
                call = phone.endpoint.invite(peer.uri, SDP)
                invite = peer.waiting()
                assert invite is not None
                assert (invite.method, invite.body) == ("INVITE", SDP)
                assert (invite.top_via.host, invite.top_via.port) == (host, phone.port)
                assert invite.contacts[0].uri.port == phone.port
                assert phone.events == []  # told from the loop, not from within the command
                assert (await phone.event(InviteSent)).call == call

    asyncio.run(run())


@pytest.mark.parametrize("wildcard", ["0.0.0.0", pytest.param("::", marks=needs_ipv6)])
def test_wildcard_listener_advertises_the_address_on_the_way_to_the_peer(wildcard):
    async def run() -> None:
        host = "::1" if wildcard == "::" else "127.0.0.1"
        with UdpPeer(host) as peer:
            async with Phone((wildcard, 0)) as phone:
                phone.endpoint.invite(peer.uri, SDP)
                invite = await peer.receive()
                assert (invite.top_via.host, invite.top_via.port) == (host, phone.port)
                assert invite.contacts[0].uri.host == host

    asyncio.run(run())


@needs_ipv6
def test_both_families_listen_on_one_port():
    async def run() -> None:
        with UdpPeer("127.0.0.1") as four, UdpPeer("::1") as six:
            async with Phone(("0.0.0.0", 0)) as first:
                port = first.port
            async with Phone(("0.0.0.0", port), ("::", port)):
                for peer in (four, six):
                    peer.send(options("UDP", peer.port), port)
                    assert (await peer.receive()).status == 200

    asyncio.run(run())


def test_call_over_udp_is_answered_and_repeated_while_nobody_answers():
    async def run() -> None:
        with UdpPeer() as peer:
            async with Phone() as phone:
                phone.endpoint.invite(peer.uri, SDP)
                first = await peer.receive()
                again = await peer.receive()  # Timer A, by the endpoint's one timer
                assert again.serialize() == first.serialize()
                peer.send(response_to(first, 100).serialize())
                await phone.event(CallTrying)
                ok = response_to(first, 200, to_tag="peer")
                ok.headers.add("Contact", f"<{peer.uri}>")
                ok.headers.add("Content-Type", "application/sdp")
                ok.body = SDP
                peer.send(ok.serialize())
                assert (await phone.event(CallAnswered)).sdp == SDP
                assert (await peer.receive()).method == "ACK"

    asyncio.run(run())


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_dead_udp_port_is_noticed_long_before_the_transaction_gives_up(host):
    async def run() -> None:
        with UdpPeer(host) as peer:
            dead = peer.uri
        async with Phone((host, 0)) as phone:
            phone.endpoint.invite(dead, SDP)
            ended = await phone.event(CallEnded)
            assert ended.by == "network"
            assert "refused" in ended.reason

    asyncio.run(run())


def test_error_of_a_dead_peer_does_not_hit_another():
    async def run() -> None:
        with UdpPeer() as gone:
            dead = gone.uri
        with UdpPeer() as peer:
            async with Phone() as phone:
                phone.endpoint.invite(dead, SDP)
                alive = phone.endpoint.invite(peer.uri, SDP)
                assert peer.waiting() is not None  # although the kernel reported the first one's fate on this send
                await phone.event(CallEnded)
                assert [event.call for event in phone.told(CallEnded)] != [alive]

    asyncio.run(run())


def test_garbage_and_keepalives_by_udp_change_nothing():
    async def run() -> None:
        with UdpPeer() as peer:
            async with Phone() as phone:
                for dirt in (b"", b"\r\n\r\n", b"\0\0\0\0", b"\xff" * 2000, b"INVITE", b"SIP/2.0 200 OK\r\n\r\n"):
                    peer.send(dirt, phone.port)
                peer.send(options("UDP", peer.port), phone.port)
                assert (await peer.receive()).status == 200

    asyncio.run(run())


# --- TCP ---------------------------------------------------------------------------------------------------


def test_pitfall_20_request_by_tcp_is_framed_and_answered_on_its_connection():
    async def run() -> None:
        async with Phone() as phone:
            reader, writer = await asyncio.open_connection("127.0.0.1", phone.port)
            wire = b"\r\n\r\n" + options("TCP", 5060) + options("TCP", 5060)
            for octet in range(0, len(wire), 50):
                writer.write(wire[octet : octet + 50])
                await writer.drain()
            assert await reader.readexactly(2) == b"\r\n"  # the pong
            framer, found = StreamFramer(), []
            while len(found) < 2:
                found += framer.feed(await reader.read(65_536))
            assert [message.status for message in found] == [200, 200]
            writer.close()

    asyncio.run(run())


def test_connection_to_a_target_is_made_once_and_used_again():
    async def run() -> None:
        with TcpPeer() as peer:
            async with Phone() as phone:
                phone.endpoint.invite(peer.uri, SDP)
                phone.endpoint.invite(peer.uri, SDP)
                await until(lambda: len(peer.messages("INVITE")) == 2, "both INVITEs")
                phone.endpoint.invite(peer.uri, SDP)
                await until(lambda: len(peer.messages("INVITE")) == 3, "the third INVITE")
                assert len(peer.accepted) == 1
                assert peer.messages("INVITE")[0].top_via.transport == "TCP"
                assert peer.messages("INVITE")[0].top_via.port == phone.port

    asyncio.run(run())


def test_large_request_goes_by_tcp_where_the_target_has_it():
    async def run() -> None:
        with TcpPeer() as tcp, UdpPeer(port=tcp.port) as udp:
            async with Phone() as phone:
                phone.endpoint.invite(udp.uri, BIG_SDP)
                await until(lambda: tcp.messages("INVITE"), "the INVITE by TCP")
                assert tcp.messages("INVITE")[0].top_via.transport == "TCP"
                assert udp.waiting() is None

    asyncio.run(run())


def test_large_request_goes_by_udp_where_tcp_is_refused():
    async def run() -> None:
        with UdpPeer() as peer:
            async with Phone() as phone:
                phone.endpoint.invite(peer.uri, BIG_SDP)
                invite = await peer.receive()
                assert invite.body == BIG_SDP
                assert invite.top_via.transport == "UDP"

    asyncio.run(run())


def test_dead_tcp_port_ends_the_call_at_once():
    async def run() -> None:
        with TcpPeer() as peer:
            dead = peer.uri
        async with Phone() as phone:
            phone.endpoint.invite(dead, SDP)
            ended = await phone.event(CallEnded)
            assert (ended.by, "refused" in ended.reason) == ("network", True)

    asyncio.run(run())


def test_peer_that_closes_the_connection_fails_its_calls():
    async def run() -> None:
        with TcpPeer() as peer:
            async with Phone() as phone:
                phone.endpoint.invite(peer.uri, SDP)
                await until(lambda: peer.messages("INVITE"), "the INVITE")
                peer.socket.close()
                peer.accepted.pop().close()
                assert (await phone.event(CallEnded)).by == "network"

    asyncio.run(run())


@pytest.mark.parametrize("dirt", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00" * 10 + b"\r\n\r\n"])
def test_what_is_no_sip_closes_its_connection_and_no_other(dirt):
    async def run() -> None:
        async with Phone() as phone:
            good_reader, good = await asyncio.open_connection("127.0.0.1", phone.port)
            reader, writer = await asyncio.open_connection("127.0.0.1", phone.port)
            writer.write(dirt)
            async with asyncio.timeout(5):
                assert await reader.read() == b""
                good.write(options("TCP", 5060))
                assert (await good_reader.read(65_536)).startswith(b"SIP/2.0 200 ")
            writer.close()
            good.close()

    asyncio.run(run())


def test_broken_request_by_tcp_is_answered_before_its_connection_closes():
    async def run() -> None:
        async with Phone() as phone:
            reader, writer = await asyncio.open_connection("127.0.0.1", phone.port)
            writer.write(options("TCP", 5060).replace(b"Content-Length: 0", b"Content-Length: -7"))
            async with asyncio.timeout(5):
                assert (await reader.read()).startswith(b"SIP/2.0 400 ")
            writer.close()

    asyncio.run(run())


def test_one_host_gets_no_more_than_its_share_of_connections():
    async def run() -> None:
        async with Phone() as phone:
            connections = []
            for _ in range(sip_connections.MAX_INBOUND_PER_HOST + 1):
                connections.append(socket.create_connection(("127.0.0.1", phone.port)))
                connections[-1].sendall(b"\r\n\r\n")
                connections[-1].setblocking(False)
                await asyncio.sleep(0)
            await until(lambda: sum(closed_by_peer(each) for each in connections) == 1, "one is dropped")
            assert closed_by_peer(connections[0])  # the one that has been silent longest
            for each in connections:
                each.close()

    asyncio.run(run())


def test_connections_that_never_speak_push_out_no_phone_that_did():
    async def run() -> None:
        async with Phone() as phone:
            reader, writer = await asyncio.open_connection("127.0.0.1", phone.port)
            writer.write(options("TCP", 5060))
            async with asyncio.timeout(15):
                await reader.readuntil(b"\r\n\r\n")
            silent = []
            for _ in range(2 * sip_connections.MAX_INBOUND_PER_HOST):
                silent.append(socket.create_connection(("127.0.0.1", phone.port)))
                silent[-1].setblocking(False)
                await asyncio.sleep(0)
            gone = sip_connections.MAX_INBOUND_PER_HOST + 1
            await until(lambda: sum(closed_by_peer(each) for each in silent) == gone, "the silent ones are dropped")
            writer.write(b"\r\n\r\n")
            async with asyncio.timeout(15):
                assert await reader.readexactly(2) == b"\r\n"
            writer.close()
            for each in silent:
                each.close()

    asyncio.run(run())


@pytest.mark.parametrize("hosts", [1, 8])
def test_connections_that_say_one_word_push_out_no_registered_phone(hosts):
    """A monitor says nothing between its refreshes: whoever pings once has been heard later than it."""
    user = House((User("anna", "anna-secret"),), "house.test")

    async def run() -> None:
        async with Phone(core=Core(Configuration(house=user), random=random.Random(1).randbytes)) as door:
            registrar = Uri.parse(f"sip:127.0.0.1:{door.port};transport=tcp")
            address = Uri.parse("sip:anna@house.test")
            monitor = Account(
                "house",
                address,
                registrar=registrar,
                outbound_proxy=registrar,
                username="anna",
                password="anna-secret",
            )
            async with Phone(accounts=(monitor,)) as phone:
                (binding,) = await until(lambda: door.endpoint.bindings("anna"), "the binding")
                talkers = []
                for number in range(sip_connections.MAX_INBOUND + 8):
                    source = (f"127.0.0.{1 + number % hosts}", 0)
                    talkers.append(socket.create_connection(("127.0.0.1", door.port), source_address=source))
                    talkers[-1].sendall(options("TCP", 5060))
                    talkers[-1].setblocking(False)
                    await asyncio.sleep(0)
                most = min(sip_connections.MAX_INBOUND, hosts * sip_connections.MAX_INBOUND_PER_HOST)
                left = len(talkers) - most
                await until(
                    lambda: sum(closed_by_peer(each) for each in talkers) >= left, "the talkers are dropped"
                )
                door.endpoint.invite(binding.uri, SDP, binding=binding)
                await phone.event(IncomingCall)
                states = [changed.state for changed in phone.told(RegistrationChanged)]
                assert states == ["registering", "registered"]  # and never anew
                for each in talkers:
                    each.close()

    asyncio.run(run())


def test_connection_of_a_call_is_pushed_out_by_no_other():
    async def run() -> None:
        async with Phone() as door, Phone() as caller:
            caller.endpoint.invite(Uri.parse(f"sip:door@127.0.0.1:{door.port};transport=tcp"), SDP)
            call = (await door.event(IncomingCall)).call
            door.endpoint.accept(call, SDP)
            await caller.event(CallAnswered)
            talkers = []
            for _ in range(2 * sip_connections.MAX_INBOUND_PER_HOST):
                talkers.append(socket.create_connection(("127.0.0.1", door.port)))
                talkers[-1].sendall(options("TCP", 5060))
                talkers[-1].setblocking(False)
                await asyncio.sleep(0)
            most = sip_connections.MAX_INBOUND_PER_HOST
            await until(lambda: sum(closed_by_peer(each) for each in talkers) >= most, "the talkers are dropped")
            door.endpoint.hangup(call)
            assert (await caller.event(CallEnded)).by == "peer"
            for each in talkers:
                each.close()

    asyncio.run(run())


def test_peer_that_does_not_read_is_dropped():
    async def run() -> None:
        async with Phone() as phone:
            with socket.socket() as peer:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                peer.connect(("127.0.0.1", phone.port))
                peer.setblocking(False)
                batch = b"".join(options("TCP", 5060) for _ in range(200))

                def dropped() -> bool:
                    try:
                        peer.send(batch)
                    except BlockingIOError:
                        return False
                    except OSError:
                        return True
                    return False

                await until(dropped, "the connection is reset", 20)

    asyncio.run(run())


def test_our_own_connections_are_pinged_and_a_peer_that_stops_answering_is_given_up(monkeypatch):
    monkeypatch.setattr(sip_connection, "PING_S", 0.05)

    async def run() -> None:
        with TcpPeer() as peer:
            async with Phone() as phone:
                phone.endpoint.invite(peer.uri, SDP)
                await until(lambda: peer.messages("INVITE"), "the INVITE")
                await until(lambda: len(peer.poll()) > 1, "a ping")
                peer.accepted[0].sendall(b"\r\n")
                ended = await phone.event(CallEnded)
                assert ended.by == "network"
                assert "keep-alive" in ended.reason

    asyncio.run(run())


def test_thousands_of_damaged_messages_change_nothing(caplog):
    async def run() -> None:
        chance = random.Random(5)
        with UdpPeer() as peer:
            async with Phone() as phone:
                for _ in range(200):
                    for _ in range(10):  # few enough for the receive buffer
                        with contextlib.suppress(OSError):  # too long for a datagram
                            peer.send(damaged(chance), phone.port)
                    with socket.create_connection(("127.0.0.1", phone.port)) as connection:
                        connection.sendall(damaged(chance) + damaged(chance))
                        ping = options("UDP", peer.port)
                        peer.send(ping, phone.port)
                        await until(partial(answered, peer, ping), "the answer to OPTIONS")

    asyncio.run(run())
    assert [record.message for record in caplog.records if record.exc_info] == []


# --- names -------------------------------------------------------------------------------------------------


def resolver(answers: dict[str, list[str]]):
    """A getaddrinfo that knows `answers` only."""

    async def look_up(host, port, **_):
        if host not in answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in ip], socket.SOCK_DGRAM, 17, "", (ip, 0)) for ip in answers[host]]

    return look_up


def test_name_is_resolved_and_remembered_when_the_resolver_dies(monkeypatch):
    for module, name in ((net_resolver, "KNOWN_S"), (dns_client, "_SYSTEM_S"), (dns_client, "_SHORTEST_S")):
        monkeypatch.setattr(module, name, 0.0)

    async def run() -> None:
        names = {"monitor.local": ["127.0.0.1"]}
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolver(names))
        with UdpPeer() as peer:
            async with Phone() as phone:
                uri = Uri.parse(f"sip:101@monitor.local:{peer.port}")
                phone.endpoint.invite(uri, SDP)
                first = await peer.receive()
                assert str(first.uri) == str(uri)
                names.clear()
                phone.endpoint.invite(uri, SDP)
                second = await until(
                    lambda: (m := peer.waiting()) and m.call_id != first.call_id and m, "the second INVITE"
                )
                assert second.method == "INVITE"

    asyncio.run(run())


def test_fresh_name_costs_no_round_through_the_loop(monkeypatch):
    async def run() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolver({"monitor.local": ["127.0.0.1"]}))
        with UdpPeer() as peer:
            async with Phone() as phone:
                uri = Uri.parse(f"sip:101@monitor.local:{peer.port}")
                phone.endpoint.invite(uri, SDP)
                await peer.receive()
                phone.endpoint.invite(uri, SDP)
                assert peer.waiting() is not None

    asyncio.run(run())


def test_next_address_of_a_name_is_tried_when_the_first_is_dead(monkeypatch):
    async def run() -> None:
        names = {"pbx.local": ["127.0.0.2", "127.0.0.1"]}
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolver(names))
        with UdpPeer() as peer:
            async with Phone() as phone:
                phone.endpoint.invite(Uri.parse(f"sip:101@pbx.local:{peer.port}"), SDP)
                assert (await peer.receive()).method == "INVITE"

    asyncio.run(run())


def test_unknown_name_ends_the_call_with_its_reason(monkeypatch):
    async def run() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolver({}))
        async with Phone() as phone:
            phone.endpoint.invite(Uri.parse("sip:101@nowhere.local"), SDP)
            ended = await phone.event(CallEnded)
            assert ended.by == "network"
            assert "nowhere.local" in ended.reason

    asyncio.run(run())


def test_local_address_towards_a_peer_needs_no_waiting(monkeypatch):
    async def run() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolver({"monitor.local": ["127.0.0.1"]}))
        with UdpPeer() as peer:
            async with Phone(("0.0.0.0", 0)) as phone:
                towards = phone.endpoint.local_host_towards
                assert towards("127.0.0.1") == "127.0.0.1"
                assert towards("sip:101@127.0.0.1:5070;transport=tcp") == "127.0.0.1"
                unknown = towards("sip:101@monitor.local")
                assert socket.inet_aton(unknown) != socket.inet_aton("0.0.0.0")
                phone.endpoint.invite(Uri.parse(f"sip:101@monitor.local:{peer.port}"), SDP)
                await peer.receive()
                assert towards("sip:101@monitor.local") == "127.0.0.1"
            async with Phone(("127.0.0.1", 0)) as phone:
                assert phone.endpoint.local_host_towards("sip:101@192.0.2.7") == "127.0.0.1"

    asyncio.run(run())


# --- life --------------------------------------------------------------------------------------------------


def test_taken_address_is_an_error_and_leaves_nothing_open():
    async def run() -> None:
        with UdpPeer() as peer:
            phone = Phone(("127.0.0.1", 0), ("127.0.0.1", peer.port))
            with pytest.raises(OSError, match="in use"):
                await phone.endpoint.start()
            first = phone.endpoint.addresses[0][1]
            socket.create_server(("127.0.0.1", first)).close()

    asyncio.run(run())


def test_stop_unregisters_and_waits_for_the_answer():
    async def run() -> None:
        with UdpPeer() as registrar:
            account = Account("pbx", Uri.parse("sip:door@127.0.0.1"), registrar=registrar.uri.replace(user=None))
            phone = Phone(accounts=(account,))
            await phone.endpoint.start()
            request = await registrar.receive()
            ok = response_to(request, 200, to_tag="r")
            ok.headers.add("Contact", f"{request.contacts[0]};expires=600")
            registrar.send(ok.serialize())
            await until(
                lambda: [e for e in phone.told(RegistrationChanged) if e.state == "registered"], "registered"
            )
            stopping = asyncio.create_task(phone.endpoint.stop(5.0))
            request = await registrar.receive()
            assert request.expires == 0 or request.contacts[0].parameter("expires") == "0"
            assert not stopping.done()
            registrar.send(response_to(request, 200, to_tag="r").serialize())
            async with asyncio.timeout(2):
                await stopping
            assert phone.told(RegistrationChanged)[-1].state == "unregistered"

    asyncio.run(run())


def test_stop_does_not_wait_for_ever():
    async def run() -> None:
        with UdpPeer() as registrar:
            account = Account("pbx", Uri.parse("sip:door@127.0.0.1"), registrar=registrar.uri.replace(user=None))
            phone = Phone(accounts=(account,))
            await phone.endpoint.start()
            await registrar.receive()
            async with asyncio.timeout(3):
                await phone.endpoint.stop(0.05)
            await phone.endpoint.stop(0.05)  # a second time is no error

    asyncio.run(run())


def test_listener_that_raises_stops_nothing(caplog):
    async def run() -> None:
        with UdpPeer() as peer:
            phone = Phone()
            phone.endpoint._on_event = lambda event: phone.events.append(event) or 1 / 0
            async with phone:
                phone.endpoint.invite(peer.uri, SDP)
                await phone.event(InviteSent)
                peer.send(response_to(await peer.receive(), 486, to_tag="x").serialize())
                await phone.event(CallEnded)

    asyncio.run(run())
    assert "listener failed on InviteSent" in caplog.text


def test_command_given_by_a_listener_leaves_at_once_and_events_stay_in_order():
    async def run() -> None:
        with UdpPeer() as peer:
            phone = Phone()

            def hang_up_when_trying(event: object) -> None:
                phone.events.append(event)
                if isinstance(event, CallTrying):
                    phone.endpoint.hangup(event.call)
                    phone.events.append("hung up")

            phone.endpoint._on_event = hang_up_when_trying
            async with phone:
                phone.endpoint.invite(peer.uri, SDP)
                invite = await peer.receive()
                peer.send(response_to(invite, 100).serialize())
                cancel = await until(lambda: (m := peer.waiting()) and m.method == "CANCEL" and m, "CANCEL")
                peer.send(response_to(cancel, 200, to_tag="x").serialize())
                peer.send(response_to(invite, 487, to_tag="x").serialize())
                await phone.event(CallEnded)
                kinds = [event if isinstance(event, str) else type(event) for event in phone.events]
                assert kinds == [InviteSent, CallTrying, "hung up", CallEnded]

    asyncio.run(run())


def test_bug_in_one_messages_handling_does_not_silence_the_station(caplog):
    async def run() -> None:
        core = Core(Configuration(), random=random.Random(1).randbytes)
        receive = core.receive

        def faulty(data, flow, now):
            if b"z9hG4bKbug" in data:
                raise KeyError("bug")
            receive(data, flow, now)

        core.receive = faulty
        with UdpPeer() as peer:
            async with Phone(core=core) as phone:
                peer.send(OPTIONS.format(transport="UDP", port=peer.port, branch="bug").encode(), phone.port)
                peer.send(options("UDP", peer.port), phone.port)
                assert (await peer.receive()).status == 200

    asyncio.run(run())
    assert "KeyError" in caplog.text


def test_trace_sees_what_goes_and_comes():
    async def run() -> None:
        seen: list[tuple[str, str, bytes]] = []
        core = Core(Configuration(), random=random.Random(1).randbytes)
        endpoint = SipEndpoint(
            core,
            listen=[("127.0.0.1", 0)],
            on_event=lambda event: None,
            trace=lambda way, flow, data: seen.append((way, flow.transport, data)),
        )
        await endpoint.start()
        with UdpPeer() as peer:
            peer.send(options("UDP", peer.port), endpoint.addresses[0][1])
            await peer.receive()
        await endpoint.stop(0.0)
        assert [(way, transport, data[:7]) for way, transport, data in seen] == [
            ("received", "udp", b"OPTIONS"),
            ("sent", "udp", b"SIP/2.0"),
        ]

    asyncio.run(run())
