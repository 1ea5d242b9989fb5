"""SIP over TLS on real sockets: who is trusted, who is not and why, and calls between two endpoints."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from firmware.net import sip_connections
from firmware.net.sip_connections import AccountTransport
from firmware.net.sip_tls import (
    ServerIdentity,
    TlsContexts,
    TlsError,
    TlsSettings,
    client_context,
    is_for,
    plain_fingerprint,
    server_context,
)
from firmware.sip.configuration import Account
from firmware.sip.events import CallAnswered, CallEnded, IncomingCall
from firmware.sip.message import parse_message, response_to
from firmware.sip.uri import Uri
from tests.support.certificates import Authority, Certificate, self_signed
from tests.support.endpoints import SDP, Phone, until


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def good(authority: Authority) -> Certificate:
    return authority.issue("DNS:pbx.test", "DNS:www.pbx.test")


@dataclass(slots=True)
class Address:
    host: str
    port: int

    def uri(self, host: str = "pbx.test", scheme: str = "sip") -> Uri:
        tls = ";transport=tls" if scheme == "sip" else ""
        return Uri.parse(f"{scheme}:101@{host}:{self.port};maddr={self.host}{tls}")


class TlsServer(Address):
    """A bare TLS server that keeps what it reads."""

    def __init__(self, certificate: Certificate, *, client_ca: Path | None = None, host: str = "127.0.0.1") -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate.certificate_file, certificate.key_file)
        if client_ca is not None:
            self.context.load_verify_locations(client_ca)
            self.context.verify_mode = ssl.CERT_REQUIRED
        self.names: list[str | None] = []
        self.context.sni_callback = lambda _, name, __: self.names.append(name)
        super().__init__(host, 0)
        self.got = b""
        self.peers: list[Any] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "TlsServer":
        self.server = await asyncio.start_server(self._serve, self.host, 0, ssl=self.context)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        self.peers.append(writer.get_extra_info("ssl_object").getpeercert())
        try:
            while data := await reader.read(65_536):
                self.got += data
        except OSError:
            pass


def through(server: Address, settings: TlsSettings, host: str = "pbx.test", **changes: Any) -> dict[str, Any]:
    """A phone's arguments for calls through `server`, reached under the name `host`."""
    uri = server.uri(host, **changes).replace(user=None)
    return {
        "accounts": (
            Account("pbx", Uri.parse("sip:door@pbx.test"), registrar=uri, outbound_proxy=uri, register=False),
        ),
        "options": {"accounts": {"pbx": AccountTransport(settings)}},
    }


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())


async def refusal(phone: Phone) -> str:
    phone.endpoint.invite(Uri.parse("sip:101@pbx.test"), SDP, account="pbx")
    ended = await phone.event(CallEnded)
    assert ended.by == "network"
    return str(ended.reason)


# --- whom we trust -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["sip", "sips"])
def test_pitfall_24_server_of_a_known_authority_and_the_typed_domain_gets_the_invite(authority, good, scheme):
    async def work() -> None:
        async with TlsServer(good) as server:
            settings = TlsSettings(ca_file=authority.file)
            async with Phone(**through(server, settings, scheme=scheme)) as phone:
                phone.endpoint.invite(Uri.parse("sip:101@pbx.test"), SDP, account="pbx")
                await until(lambda: b"\r\n\r\n" in server.got, "the INVITE")
                invite = parse_message(server.got)
                assert invite.top_via.transport == "TLS"
                contact = invite.contacts[0].uri
                assert (contact.scheme, contact.transport) == (scheme, "tls" if scheme == "sip" else None)
                assert server.names == ["pbx.test"]  # the domain, never the address

    run(work)


def refused_by(server: TlsServer, settings: TlsSettings, host: str = "pbx.test") -> str:
    """Why a call through `server` fails; nothing of it may have been said."""

    async def work() -> str:
        async with server, Phone(**through(server, settings, host)) as phone:
            reason = await refusal(phone)
            assert server.got == b""
            return reason

    return asyncio.run(work())


def test_pitfall_24_wrong_name_is_refused_with_the_names_it_has(authority, good):
    reason = refused_by(TlsServer(good), TlsSettings(ca_file=authority.file), "other.test")
    assert "not for other.test; it is for pbx.test, www.pbx.test" in reason


def test_expired_certificate_is_refused(authority):
    old = authority.issue("DNS:pbx.test", label="old", days=("20200101000000Z", "20210101000000Z"))
    assert "has expired" in refused_by(TlsServer(old), TlsSettings(ca_file=authority.file))


def test_certificate_of_tomorrow_is_refused_with_a_question_about_the_clock(authority):
    new = authority.issue("DNS:pbx.test", label="new", days=("20990101000000Z", "21000101000000Z"))
    reason = refused_by(TlsServer(new), TlsSettings(ca_file=authority.file))
    assert "not valid yet" in reason
    assert "clock" in reason


def test_unknown_authority_is_refused(good):
    assert "authority that is not known" in refused_by(TlsServer(good), TlsSettings())


def test_self_signed_certificate_is_refused(tmp_path):
    own = self_signed(tmp_path, "DNS:pbx.test")
    assert "self-signed" in refused_by(TlsServer(own), TlsSettings())


def test_pinned_certificate_is_good_whatever_else_it_is(tmp_path):
    own = self_signed(tmp_path, "DNS:somebody.else")

    async def work() -> None:
        async with TlsServer(own) as server:
            settings = TlsSettings(fingerprint=own.fingerprint)
            async with Phone(**through(server, settings)) as phone:
                phone.endpoint.invite(Uri.parse("sip:101@pbx.test"), SDP, account="pbx")
                await until(lambda: server.got, "the INVITE")

    run(work)


def test_no_other_certificate_than_the_pinned_one_is_good(authority, good, tmp_path):
    own = self_signed(tmp_path, "DNS:pbx.test")
    settings = TlsSettings(fingerprint=own.fingerprint, ca_file=authority.file)
    reason = refused_by(TlsServer(good), settings)
    assert f"fingerprint is {good.fingerprint}, not the one" in reason


def test_connection_to_a_server_that_proved_one_name_is_not_used_for_another_at_its_address(authority, good):
    async def main() -> None:
        settings = {"accounts": {"": AccountTransport(TlsSettings(ca_file=authority.file))}}
        async with TlsServer(good) as server, Phone(options=settings) as phone:
            phone.endpoint.invite(server.uri("pbx.test"), SDP)
            await until(lambda: b"INVITE sip:101@pbx.test" in server.got, "the INVITE")
            phone.endpoint.invite(server.uri("bank.test"), SDP)
            ended = await phone.event(CallEnded)
            assert "the certificate is not for bank.test" in ended.reason
            assert b"bank.test" not in server.got
            phone.endpoint.invite(server.uri("PBX.test"), SDP)
            await until(lambda: b"INVITE sip:101@PBX.test" in server.got, "the INVITE to the name that it has")
            assert server.names == ["pbx.test", "bank.test"]  # which made no third connection

    run(main)


def test_server_typed_as_an_address_may_show_the_accounts_domain(authority, good):
    async def work() -> None:
        async with TlsServer(good) as server:
            settings = TlsSettings(domain="pbx.test", ca_file=authority.file)
            async with Phone(**through(server, settings, "127.0.0.1")) as phone:
                phone.endpoint.invite(Uri.parse("sip:101@pbx.test"), SDP, account="pbx")
                await until(lambda: server.got, "the INVITE")

    run(work)


def test_server_typed_as_an_address_with_neither_name_is_refused(authority, good):
    settings = TlsSettings(domain="mine.test", ca_file=authority.file)
    reason = refused_by(TlsServer(good), settings, "127.0.0.1")
    assert "not for 127.0.0.1 or mine.test" in reason


def test_client_certificate_is_shown_to_who_asks(authority, good):
    mine = authority.issue("DNS:door.test", label="mine")

    async def work() -> None:
        async with TlsServer(good, client_ca=authority.file) as server:
            settings = TlsSettings(
                ca_file=authority.file, certificate_file=mine.certificate_file, key_file=mine.key_file
            )
            async with Phone(**through(server, settings)) as phone:
                phone.endpoint.invite(Uri.parse("sip:101@pbx.test"), SDP, account="pbx")
                await until(lambda: server.got, "the INVITE")
                assert ("DNS", "door.test") in server.peers[0]["subjectAltName"]

    run(work)


def strict(context: ssl.SSLContext) -> tuple[Address, Callable[[], None]]:
    """A server of one connection that says why it refuses, as OpenSSL's do and asyncio's do not."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listening.accept()
        secured = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with contextlib.suppress(OSError):
            secured.do_handshake()
        with socket.socket(fileno=secured.detach()) as plain, contextlib.suppress(OSError):
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(65_536):  # or the kernel resets, and takes the alert with it
                pass

    thread = threading.Thread(target=serve)
    thread.start()

    def end() -> None:
        thread.join(15)
        listening.close()

    return Address(*listening.getsockname()), end


def test_server_that_wants_a_client_certificate_and_gets_none_says_so(authority, good):
    context = server_context(ServerIdentity(good.certificate_file, good.key_file))
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    assert "wants a client certificate" in told_by(context, TlsSettings(ca_file=authority.file))


def told_by(context: ssl.SSLContext, settings: TlsSettings) -> str:
    server, end = strict(context)

    async def work() -> str:
        async with Phone(**through(server, settings)) as phone:
            return await refusal(phone)

    try:
        return asyncio.run(work())
    finally:
        end()


def test_peer_that_speaks_no_tls_is_told_from_one_with_a_bad_certificate(authority, good):
    async def work() -> None:
        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SIP/2.0 400 Bad Request\r\n\r\n")
            writer.close()

        plain = await asyncio.start_server(answer, "127.0.0.1", 0)
        server = TlsServer(good)
        server.port = plain.sockets[0].getsockname()[1]
        async with Phone(**through(server, TlsSettings(ca_file=authority.file))) as phone:
            assert "no TLS is spoken there" in await refusal(phone)
        plain.close()

    run(work)


def test_server_that_hangs_in_the_handshake_is_given_up(authority, good, monkeypatch):
    monkeypatch.setattr(sip_connections, "CONNECT_S", 0.2)

    async def work() -> None:
        with socket.create_server(("127.0.0.1", 0)) as hung:
            server = TlsServer(good)
            server.port = hung.getsockname()[1]
            async with Phone(**through(server, TlsSettings(ca_file=authority.file))) as phone:
                assert "no answer to TLS" in await refusal(phone)

    run(work)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
def test_old_tls_is_refused_by_name(authority, good):
    context = server_context(ServerIdentity(good.certificate_file, good.key_file))
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1_1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    assert "older than 1.2" in told_by(context, TlsSettings(ca_file=authority.file))


def test_missing_authority_file_is_named(tmp_path, good):
    reason = refused_by(TlsServer(good), TlsSettings(ca_file=tmp_path / "gone.pem"))
    assert "gone.pem: No such file" in reason


def test_sips_target_is_not_called_over_an_account_without_tls():
    async def work() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as proxy:
            proxy.bind(("127.0.0.1", 0))
            proxy.setblocking(False)
            server = Uri.parse(f"sip:127.0.0.1:{proxy.getsockname()[1]}")
            account = Account("pbx", Uri.parse("sip:door@pbx.test"), registrar=server, register=False)
            async with Phone(accounts=(account,)) as phone:
                phone.endpoint.invite(Uri.parse("sips:101@pbx.test"), SDP, account="pbx")
                assert "over TLS or not at all" in (await phone.event(CallEnded)).reason
                with pytest.raises(BlockingIOError):
                    proxy.recv(1)

    run(work)


def test_ack_and_bye_go_where_the_accounts_certificate_is_trusted(authority, good):
    """The Record-Route names the server by another host: a second connection may be made, trusted as the first."""

    async def work() -> None:
        async with TlsServer(good) as server, TlsServer(good) as other:
            settings = TlsSettings(fingerprint=good.fingerprint)
            async with Phone(**through(server, settings)) as phone:
                call = phone.endpoint.invite(Uri.parse("sip:101@pbx.test"), SDP, account="pbx")
                await until(lambda: b"\r\n\r\n" in server.got, "the INVITE")
                ok = response_to(parse_message(server.got), 200, to_tag="peer")
                ok.headers.add("Contact", "<sip:101@192.0.2.1>")
                ok.headers.add("Record-Route", f"<sip:127.0.0.1:{other.port};transport=tls;lr>")
                ok.headers.add("Content-Type", "application/sdp")
                ok.body = SDP
                server.writers[0].write(bytes(ok))
                await phone.event(CallAnswered)
                await until(lambda: other.got.startswith(b"ACK "), "the ACK")
                phone.endpoint.hangup(call)
                await until(lambda: b"\r\n\r\nBYE " in other.got, "the BYE")

    run(work)


# --- names, pins, files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "names", "verdict"),
    [
        ("pbx.test", [("DNS", "PBX.test")], True),
        ("pbx.test.", [("DNS", "pbx.test")], True),
        ("a.pbx.test", [("DNS", "*.pbx.test")], True),
        ("a.b.pbx.test", [("DNS", "*.pbx.test")], False),
        ("pbx.test", [("DNS", "*.pbx.test")], False),
        ("pbx.test", [("DNS", "*.test")], False),
        ("pbx.test", [("URI", "sip:pbx.test")], True),
        ("pbx.test", [("URI", "sip:door@pbx.test")], False),
        ("pbx.test", [("DNS", "notpbx.test")], False),
        ("192.0.2.1", [("IP Address", "192.0.2.1")], True),
        ("192.0.2.1", [("DNS", "192.0.2.1")], True),
        ("2001:db8::1", [("IP Address", "2001:DB8:0:0:0:0:0:1\n")], True),
        ("192.0.2.1", [("DNS", "*.0.2.1")], False),
    ],
)
def test_names_match_as_rfc_5922_says_with_one_label_of_wildcard(typed, names, verdict):
    assert is_for(typed, {"subjectAltName": names}) is verdict


def test_common_name_counts_only_without_any_alternative():
    subject = ((("commonName", "pbx.test"),),)
    assert is_for("pbx.test", {"subject": subject})
    assert not is_for("pbx.test", {"subject": subject, "subjectAltName": [("DNS", "other.test")]})


@pytest.mark.parametrize("text", ["AB:CD", "abcd", "SHA256 Fingerprint=AB:CD", "sha256 ab cd", "sha-256:ab:cd"])
def test_fingerprint_is_read_in_every_spelling(text):
    assert plain_fingerprint(text) == "abcd"


def test_key_of_another_certificate_is_refused_by_name(authority, good):
    other = authority.issue("DNS:other.test")
    with pytest.raises(TlsError, match=r"other\.test\.key: the key is not that of"):
        server_context(ServerIdentity(good.certificate_file, other.key_file))


def test_what_is_no_key_and_what_is_not_there_are_refused_by_name(good, tmp_path):
    (tmp_path / "text").write_text("no key")
    with pytest.raises(TlsError, match="no certificate and key in PEM"):
        server_context(ServerIdentity(good.certificate_file, tmp_path / "text"))
    with pytest.raises(TlsError, match="gone: No such file"):
        server_context(ServerIdentity(good.certificate_file, tmp_path / "gone"))
    with pytest.raises(TlsError, match="no certificate authority in it"):
        client_context(TlsSettings(ca_file=tmp_path / "text"))


def test_context_is_made_once_and_again_when_its_file_has_changed(authority, tmp_path):
    copy = tmp_path / "ca.pem"
    copy.write_bytes(authority.file.read_bytes())
    contexts, settings = TlsContexts(), TlsSettings(ca_file=copy)
    first = contexts.client(settings)
    assert contexts.client(settings) is first
    copy.write_bytes(authority.file.read_bytes() * 2)
    assert contexts.client(settings) is not first


# --- both ends ours ------------------------------------------------------------------------------------------


def has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


HOSTS = ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6_loopback(), reason="no IPv6"))]


def listening(identity: Certificate, host: str, transport: str = "tls") -> dict[str, Any]:
    return {
        "options": {
            "listen_also": [(transport, host, 0)],
            "identity": ServerIdentity(identity.certificate_file, identity.key_file),
        }
    }


@pytest.mark.parametrize("host", HOSTS)
def test_call_over_tls_between_two_stations(authority, host):
    one = authority.issue(f"IP:{host}", label="one")

    async def work() -> None:
        async with Phone((host, 0), seed=2, **listening(one, host)) as callee:
            shown = f"[{host}]" if ":" in host else host
            server = Uri.parse(f"sips:{shown}:{callee.port('tls')}")
            caller = Phone(
                (host, 0),
                accounts=(Account("pbx", Uri.parse("sips:door@pbx.test"), registrar=server, register=False),),
                options={"accounts": {"pbx": AccountTransport(TlsSettings(ca_file=authority.file))}},
            )
            async with caller:
                call = caller.endpoint.invite(server.replace(user="101"), SDP, account="pbx")
                incoming = await callee.event(IncomingCall)
                assert incoming.source.transport == "tls"
                callee.endpoint.accept(incoming.call, SDP)
                await caller.event(CallAnswered)
                callee.endpoint.hangup(incoming.call)  # towards the caller: on the connection that it made
                ended = await caller.event(CallEnded)
                assert (ended.call, ended.by) == (call, "peer")

    run(work)


def test_listener_without_a_certificate_does_not_start():
    async def work() -> None:
        with pytest.raises(TlsError):
            async with Phone(options={"listen_also": [("tls", "127.0.0.1", 0)]}):
                pass

    run(work)


def test_handshakes_that_never_end_are_bounded_and_nobody_else_suffers(authority, good, monkeypatch):
    monkeypatch.setattr(sip_connections, "MAX_ARRIVING", 4)

    async def work() -> None:
        async with Phone(**listening(good, "127.0.0.1")) as phone:
            hung = [await asyncio.open_connection("127.0.0.1", phone.port("tls")) for _ in range(8)]
            context = client_context(TlsSettings(ca_file=authority.file))
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", phone.port("tls"), ssl=context, server_hostname="pbx.test"
            )
            writer.write(b"\r\n\r\n")
            assert await reader.readexactly(2) == b"\r\n"
            async with asyncio.timeout(15):
                for first, _ in hung[:4]:
                    assert await first.read() == b""  # long before the handshake's own limit for the first ones
            for _, each in hung:
                each.transport.abort()
            writer.transport.abort()

    run(work)


@pytest.mark.parametrize("dirt", [b"OPTIONS sip:a@b SIP/2.0\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\0" * 300])
def test_what_is_no_tls_closes_its_connection_and_no_other(good, dirt):
    async def work() -> None:
        async with Phone(**listening(good, "127.0.0.1")) as phone:
            reader, writer = await asyncio.open_connection("127.0.0.1", phone.port("tls"))
            writer.write(dirt)
            async with asyncio.timeout(15):
                await reader.read()
            writer.transport.abort()
            reader, writer = await asyncio.open_connection("127.0.0.1", phone.port("tcp"))
            writer.write(b"\r\n\r\n")
            assert await reader.readexactly(2) == b"\r\n"
            writer.transport.abort()

    run(work)
