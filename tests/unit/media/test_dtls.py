"""DTLS handshakes with ourselves, and what of aiortc they lean on."""

import asyncio
import inspect
import os
from collections.abc import Callable

import pytest

pytest.importorskip("aiortc")

from aiortc import RTCCertificate, RTCDtlsTransport
from aiortc.rtcdtlstransport import generate_certificate
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from firmware.media import dtls
from firmware.media.dtls import Dtls, HandshakeError, own_fingerprint
from firmware.media.srtp import Srtp
from firmware.sdp.keying import Fingerprint

OURS = own_fingerprint()
WRONG = Fingerprint("sha-256", ":".join(["AB"] * 32))


class Link:
    """Two ends; `lose` says which datagrams do not arrive."""

    def __init__(self, lose: Callable[[int], bool] = lambda n: False) -> None:
        self.ends: list[Dtls] = []
        self.sent = 0
        self._lose = lose

    def to(self, number: int) -> Callable[[bytes], None]:
        def send(data: bytes) -> None:
            self.sent += 1
            if not self._lose(self.sent):
                self.ends[number].receive(data)

        return send


def connect(link: Link, client: Fingerprint = OURS, server: Fingerprint = OURS) -> list[object]:
    async def both() -> list[object]:
        link.ends = [
            Dtls("client", (server,), link.to(1)),
            Dtls("server", (client,), link.to(0)),
        ]
        try:
            return await asyncio.gather(*(end.handshake() for end in link.ends), return_exceptions=True)
        finally:
            for end in link.ends:
                await end.close()

    return asyncio.run(both())


def test_both_ends_get_each_others_keys() -> None:
    client, server = connect(Link())
    assert client.suite == server.suite == "AEAD_AES_256_GCM"  # type: ignore[attr-defined]
    assert (client.send, client.receive) == (server.receive, server.send)  # type: ignore[attr-defined]
    assert client.send != client.receive  # type: ignore[attr-defined]
    packet = b"\x80\x08" + os.urandom(170)
    assert Srtp(server).open(Srtp(client).protect(packet)) == packet  # type: ignore[arg-type]


def test_a_lost_flight_is_sent_again() -> None:
    client, server = connect(Link(lambda number: number in (1, 3)))
    assert client.send == server.receive  # type: ignore[attr-defined]


@pytest.mark.parametrize("wrong", ["client", "server"])
def test_another_certificate_than_the_descriptions_gives_no_keys(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dtls, "HANDSHAKE_S", 3.0)
    results = connect(Link(), **{wrong: WRONG})
    refused = results[1 if wrong == "client" else 0]
    assert isinstance(refused, HandshakeError)
    assert "certificate" in str(refused)


def test_silence_ends_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dtls, "HANDSHAKE_S", 0.05)
    results = connect(Link(lambda number: True))
    assert all(isinstance(result, HandshakeError) for result in results)


def test_whatever_else_arrives_does_not_end_it() -> None:
    link = Link()

    async def both() -> list[object]:
        link.ends = [Dtls("client", (OURS,), link.to(1)), Dtls("server", (OURS,), link.to(0))]
        for end in link.ends:
            for _ in range(100):
                end.receive(bytes([22]) + os.urandom(60))
        try:
            return await asyncio.gather(*(end.handshake() for end in link.ends), return_exceptions=True)
        finally:
            for end in link.ends:
                await end.close()

    client, server = asyncio.run(both())
    assert client.send == server.receive  # type: ignore[attr-defined]


def test_a_peer_with_an_rsa_certificate_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """baresip and Linphone have one; aiortc alone would offer them no suite (aiortc#1434)."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    certificate = generate_certificate(key)  # type: ignore[arg-type]
    link = Link()

    async def both() -> list[object]:
        value = certificate.fingerprint(hashes.SHA256()).hex(":").upper()
        client = Dtls("client", (Fingerprint("sha-256", value),), link.to(1))
        monkeypatch.setattr(dtls, "_own_certificate", lambda: dtls._classes()[1](key, certificate))
        server = Dtls("server", (OURS,), link.to(0))
        link.ends = [client, server]
        try:
            return await asyncio.gather(*(end.handshake() for end in link.ends), return_exceptions=True)
        finally:
            for end in link.ends:
                await end.close()

    client, server = asyncio.run(both())
    assert client.send == server.receive  # type: ignore[attr-defined]


def test_what_of_aiortc_is_private_is_still_there() -> None:
    assert list(inspect.signature(RTCDtlsTransport._set_role).parameters) == ["self", "role"]
    assert list(inspect.signature(RTCDtlsTransport._setup_srtp).parameters) == ["self"]
    identity = inspect.signature(RTCDtlsTransport._validate_peer_identity)
    assert list(identity.parameters) == ["self", "remoteParameters"]
    context = inspect.signature(RTCCertificate._create_ssl_context)
    assert list(context.parameters) == ["self", "srtp_profiles"]
