"""SIP over WebSockets on real sockets (RFC 7118), against the `websockets` library and between two endpoints."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from firmware.net import sip_connection, sip_ws
from firmware.net.sip_connections import AccountTransport
from firmware.net.sip_tls import ServerIdentity, TlsSettings
from firmware.sip.configuration import Account, House, User
from firmware.sip.events import CallAnswered, CallEnded, CallTrying, IncomingCall, RegistrationChanged
from firmware.sip.message import Request, parse_message, response_to
from firmware.sip.uri import Uri
from tests.support.certificates import Authority
from tests.support.endpoints import SDP, Phone, until

OPTIONS = (
    "OPTIONS sip:door@127.0.0.1 SIP/2.0\r\n"
    "Via: SIP/2.0/WS browser.invalid;branch=z9hG4bK{branch}\r\n"
    "From: <sip:a@b>;tag=1\r\nTo: <sip:door@127.0.0.1>\r\nCall-ID: {branch}\r\nCSeq: 1 OPTIONS\r\n"
    "Max-Forwards: 70\r\n\r\n"
)


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())


class WsServer:
    """A WebSocket server of the library's that keeps what it is told."""

    def __init__(self, **options: Any) -> None:
        self.options = {"subprotocols": ["sip"], **options}
        self.got: list[str | bytes] = []
        self.paths: list[str] = []
        self.connections: list[ServerConnection] = []

    async def __aenter__(self) -> "WsServer":
        self.server: Server = await serve(self._serve, "127.0.0.1", 0, **self.options)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await self.server.wait_closed()

    async def _serve(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        self.paths.append(connection.request.path)
        with contextlib.suppress(ConnectionClosed):
            async for message in connection:
                self.got.append(message)

    @property
    def uri(self) -> Uri:
        return Uri.parse(f"sip:101@127.0.0.1:{self.port};transport=ws")

    def invites(self) -> list[Request]:
        found = [parse_message(text.encode() if isinstance(text, str) else text) for text in self.got]
        return [each for each in found if isinstance(each, Request) and each.method == "INVITE"]


def browser(port: int, **options: Any) -> Any:
    return connect(f"ws://127.0.0.1:{port}/anything", subprotocols=options.pop("subprotocols", ["sip"]), **options)


def ws_listener(**options: Any) -> dict[str, Any]:
    return {"options": {"listen_also": [("ws", "127.0.0.1", 0)], **options}}


# --- as a client ---------------------------------------------------------------------------------------------


def test_pitfall_21_call_over_a_websocket_names_nobody_who_could_be_reached():
    async def work() -> None:
        async with WsServer() as server, Phone() as phone:
            phone.endpoint.invite(server.uri, SDP)
            invite = (await until(server.invites, "the INVITE"))[0]
            assert server.paths == ["/ws"]
            assert invite.top_via.transport == "WS"
            assert invite.top_via.host.endswith(".invalid")
            assert invite.top_via.port is None
            contact = invite.contacts[0].uri
            assert (contact.host, contact.port, contact.transport) == (invite.top_via.host, None, "ws")
            connection = server.connections[0]
            assert connection.subprotocol == "sip"
            # Text, then binary: both are SIP (RFC 7118 section 5).
            await connection.send(bytes(response_to(invite, 100)).decode())
            await phone.event(CallTrying)
            ok = response_to(invite, 200, to_tag="peer")
            ok.headers.add("Contact", "<sip:101@peer.invalid;transport=ws>")
            ok.headers.add("Content-Type", "application/sdp")
            ok.body = SDP
            await connection.send(bytes(ok))
            await phone.event(CallAnswered)
            await until(
                lambda: any("ACK" in str(each)[:5] for each in server.got), "the ACK on the same connection"
            )

    run(work)


def test_message_in_several_frames_is_one_message():
    async def work() -> None:
        async with WsServer() as server, Phone() as phone:
            phone.endpoint.invite(server.uri, SDP)
            invite = (await until(server.invites, "the INVITE"))[0]
            text = bytes(response_to(invite, 100)).decode()
            await server.connections[0].send([text[:10], text[10:50], text[50:]])
            await phone.event(CallTrying)

    run(work)


def test_pitfall_21_crlf_in_frames_is_swallowed_and_a_ping_is_ponged():
    async def work() -> None:
        async with WsServer() as server, Phone() as phone:
            phone.endpoint.invite(server.uri, SDP)
            await until(server.invites, "the INVITE")
            await server.connections[0].send("\r\n")
            await server.connections[0].send("\r\n\r\n")
            await until(lambda: "\r\n" in server.got, "the pong")
            assert phone.told(CallEnded) == []

    run(work)


def test_server_without_the_subprotocol_is_refused():
    async def work() -> None:
        async with WsServer(subprotocols=None) as server, Phone() as phone:
            phone.endpoint.invite(server.uri, SDP)
            ended = await phone.event(CallEnded)
            assert "does not speak the subprotocol sip" in ended.reason
            assert server.got == []

    run(work)


def test_http_server_that_has_no_websocket_there_is_named():
    async def work() -> None:
        async with WsServer(process_request=lambda c, _: c.respond(404, "")) as server, Phone() as phone:
            phone.endpoint.invite(server.uri, SDP)
            assert "404" in (await phone.event(CallEnded)).reason

    run(work)


def test_server_that_answers_no_ping_loses_the_flow(monkeypatch):
    monkeypatch.setattr(sip_connection, "PING_S", 0.2)

    async def work() -> None:
        async with WsServer(ping_interval=None) as server, Phone() as phone:
            phone.endpoint.invite(server.uri, SDP)
            await until(server.invites, "the INVITE")
            connection = server.connections[0]
            await until(lambda: connection.protocol.events is not None, "")
            connection.transport.pause_reading()  # alive for the kernel, dead for us
            ended = await phone.event(CallEnded)
            assert "keep-alive unanswered" in ended.reason

    run(work)


def test_own_path_is_asked_for():
    async def work() -> None:
        async with WsServer() as server:
            uri = server.uri.replace(user=None)
            account = Account("pbx", Uri.parse("sip:door@pbx.test"), registrar=uri, register=False)
            how = AccountTransport(websocket_path="/sip?token=1")
            async with Phone(accounts=(account,), options={"accounts": {"pbx": how}}) as phone:
                phone.endpoint.invite(Uri.parse("sip:101@pbx.test"), SDP, account="pbx")
                await until(server.invites, "the INVITE")
                assert server.paths == ["/sip?token=1"]

    run(work)


# --- as a server ---------------------------------------------------------------------------------------------


def test_browser_is_answered_on_its_connection():
    async def work() -> None:
        async with Phone(**ws_listener()) as phone, browser(phone.port("ws")) as ours:
            assert ours.subprotocol == "sip"
            await ours.send(OPTIONS.format(branch=1))
            answer = parse_message(await answer_of(ours))
            assert answer.status == 200
            assert answer.top_via.received == "127.0.0.1"

    run(work)


def test_empty_frames_without_end_pile_up_nowhere():
    async def work() -> None:
        async with Phone(**ws_listener()) as phone, browser(phone.port("ws")) as ours:
            ours.transport.write(b"\x01\x80\0\0\0\0" + 5000 * b"\x00\x80\0\0\0\0")
            pong = await ours.ping()
            await asyncio.wait_for(pong, 15)
            (arrival,) = phone.endpoint._connections._all.values()
            assert isinstance(arrival, sip_ws.WebSocketArrival)
            assert len(arrival._parts) == 0

    run(work)


async def answer_of(connection: ClientConnection) -> bytes:
    async with asyncio.timeout(15):
        text = await connection.recv()
    return text.encode() if isinstance(text, str) else text


def test_call_from_a_browser_is_carried_on_its_connection_to_the_end():
    async def work() -> None:
        async with Phone(**ws_listener()) as phone, browser(phone.port("ws")) as ours:
            body = SDP.decode()
            await ours.send(
                "INVITE sip:door@127.0.0.1 SIP/2.0\r\n"
                "Via: SIP/2.0/WS browser.invalid;branch=z9hG4bKx;rport\r\n"
                "From: <sip:a@b>;tag=1\r\nTo: <sip:door@127.0.0.1>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n"
                "Contact: <sip:a@browser.invalid;transport=ws>\r\nMax-Forwards: 70\r\n"
                f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n{body}"
            )
            incoming = await phone.event(IncomingCall)
            assert incoming.source.transport == "ws"
            phone.endpoint.accept(incoming.call, SDP)
            answer = parse_message(await answer_of(ours))
            while answer.status < 200:
                answer = parse_message(await answer_of(ours))
            contact = answer.contacts[0].uri
            assert (contact.port, contact.transport) == (phone.port("ws"), "ws")
            phone.endpoint.hangup(incoming.call)  # to an address that does not exist, but for its connection
            received = parse_message(await answer_of(ours))
            while not isinstance(received, Request):
                received = parse_message(await answer_of(ours))
            assert (received.method, str(received.uri)) == ("BYE", "sip:a@browser.invalid;transport=ws")

    run(work)


@pytest.mark.parametrize("subprotocols", [None, ["chat"]])
def test_browser_without_the_subprotocol_is_refused(subprotocols):
    async def work() -> None:
        async with Phone(**ws_listener()) as phone:
            with pytest.raises(InvalidStatus) as refused:
                await browser(phone.port("ws"), subprotocols=subprotocols)
            assert refused.value.response.status_code == 400

    run(work)


def test_pages_from_elsewhere_are_refused_where_origins_are_named():
    async def work() -> None:
        async with Phone(**ws_listener(origins=["https://door.example.org"])) as phone:
            async with browser(phone.port("ws"), origin="https://door.example.org"):
                pass
            for origin in ("https://evil.example.org", None):
                with pytest.raises(InvalidStatus) as refused:
                    await browser(phone.port("ws"), origin=origin)
                assert refused.value.response.status_code == 403

    run(work)


def test_unreadable_message_is_answered_and_the_connection_lives():
    async def work() -> None:
        async with Phone(**ws_listener()) as phone, browser(phone.port("ws")) as ours:
            await ours.send(OPTIONS.format(branch=2).replace("Max-Forwards: 70", "Max-Forwards: many"))
            assert parse_message(await answer_of(ours)).status == 400
            await ours.send(b"\xff\x00 nothing at all")
            await ours.send(OPTIONS.format(branch=3))
            assert parse_message(await answer_of(ours)).status == 200

    run(work)


@pytest.mark.parametrize("dirt", [b"INVITE sip:a SIP/2.0\r\n\r\n", b"\0" * 3000, b"GET / HTTP/1.1\r\n\r\n"])
def test_what_is_no_websocket_closes_its_connection(dirt):
    async def work() -> None:
        async with Phone(**ws_listener()) as phone:
            reader, writer = await asyncio.open_connection("127.0.0.1", phone.port("ws"))
            writer.write(dirt)
            async with asyncio.timeout(15):
                with contextlib.suppress(ConnectionResetError):
                    await reader.read()
            writer.transport.abort()
            async with browser(phone.port("ws")) as ours:
                await ours.send(OPTIONS.format(branch=4))
                assert parse_message(await answer_of(ours)).status == 200

    run(work)


def test_message_over_the_limit_closes_the_connection():
    async def work() -> None:
        async with Phone(**ws_listener()) as phone, browser(phone.port("ws")) as ours:
            await ours.send("x" * (sip_ws.MAX_MESSAGE + 1))
            with pytest.raises(ConnectionClosed):
                await answer_of(ours)
            assert ours.close_code == 1009

    run(work)


def test_who_connects_and_never_asks_for_the_upgrade_is_dropped(monkeypatch):
    monkeypatch.setattr(sip_ws, "UPGRADE_S", 0.05)

    async def work() -> None:
        async with Phone(**ws_listener()) as phone:
            reader, writer = await asyncio.open_connection("127.0.0.1", phone.port("ws"))
            async with asyncio.timeout(15):
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
            writer.transport.abort()

    run(work)


def test_browser_that_is_gone_without_a_word_is_noticed_by_its_ping(monkeypatch):
    monkeypatch.setattr(sip_ws, "BROWSER_PING_S", 0.2)

    async def work() -> None:
        async with Phone(**ws_listener()) as phone, browser(phone.port("ws")) as ours:
            await asyncio.wait_for(ours.ping(), 15)
            ours.transport.pause_reading()
            await until(lambda: not phone.endpoint._connections._all, "the connection is dropped")
            ours.transport.abort()

    run(work)


# --- both ends ours ------------------------------------------------------------------------------------------


def has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


HOSTS = ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6_loopback(), reason="no IPv6"))]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("typed", ["sips:{}:{};transport=ws", "sip:{}:{};transport=wss"])
def test_call_over_a_secure_websocket_between_two_stations(tmp_path, host, typed):
    authority = Authority(tmp_path)
    one = authority.issue(f"IP:{host}", label="one")
    identity = ServerIdentity(one.certificate_file, one.key_file)

    async def work() -> None:
        options = {"listen_also": [("wss", host, 0)], "identity": identity}
        async with Phone((host, 0), seed=2, options=options) as callee:
            shown = f"[{host}]" if ":" in host else host
            server = Uri.parse(typed.format(shown, callee.port("wss")))
            account = Account("pbx", Uri.parse("sip:door@pbx.test"), registrar=server, register=False)
            trusted = {"pbx": AccountTransport(TlsSettings(ca_file=authority.file))}
            async with Phone((host, 0), accounts=(account,), options={"accounts": trusted}) as caller:
                caller.endpoint.invite(server.replace(user="101"), SDP, account="pbx")
                incoming = await callee.event(IncomingCall)
                assert incoming.source.transport == "wss"
                callee.endpoint.accept(incoming.call, SDP)
                await caller.event(CallAnswered)
                callee.endpoint.hangup(incoming.call)
                assert (await caller.event(CallEnded)).by == "peer"

    run(work)


def test_secure_websocket_checks_the_certificate_as_tls_does(tmp_path):
    one = Authority(tmp_path).issue("DNS:pbx.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(one.certificate_file, one.key_file)

    async def work() -> None:
        async with WsServer(ssl=context) as server, Phone() as phone:
            phone.endpoint.invite(Uri.parse(f"sip:101@127.0.0.1:{server.port};transport=wss"), SDP)
            assert "authority that is not known" in (await phone.event(CallEnded)).reason
            assert server.paths == []

    run(work)


def test_app_registers_at_the_door_by_websocket_and_is_rung_on_its_connection():
    async def work() -> None:
        house = House(users=(User("anna", "anna-secret"),), min_expires_s=10)
        door = Phone(seed=2, options={"listen_also": [("ws", "127.0.0.1", 0)]}, house=house)
        async with door:
            server = Uri.parse(f"sip:127.0.0.1:{door.port('ws')};transport=ws")
            anna = Account("door", Uri.parse("sip:anna@house.test"), registrar=server, password="anna-secret")
            async with Phone(accounts=(anna,)) as app:
                await until(
                    lambda: "registered" in [each.state for each in app.told(RegistrationChanged)], "it is in"
                )
                (binding,) = door.endpoint.bindings("anna")
                assert binding.contact.uri.host.endswith(".invalid")
                door.endpoint.invite(binding.uri, SDP, binding=binding)
                incoming = await app.event(IncomingCall)
                app.endpoint.accept(incoming.call, SDP)
                await door.event(CallAnswered)
                app.endpoint.hangup(incoming.call)
                assert (await door.event(CallEnded)).by == "peer"

    run(work)
