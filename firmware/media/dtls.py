"""The DTLS handshake that keys a stream's SRTP (RFC 5763, RFC 5764), as client or server, over whatever way the
stream has. OpenSSL's, through aiortc; both are imported with the first handshake.

aiortc offers ECDSA suites alone, and a phone with an RSA certificate could not answer us as a client: the suites of
both are offered here. Of its `RTCDtlsTransport` this uses, besides what is public, `_set_role`, `_setup_srtp` and
the transport's `_recv` and `_send`; tests/unit/media/test_dtls.py holds it to them.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

from firmware.sdp.crypto import SrtpKeys
from firmware.sdp.keying import Fingerprint

if TYPE_CHECKING:
    from aiortc import RTCCertificate

Role = Literal["client", "server"]

HANDSHAKE_S = 10.0  # OpenSSL repeats after 1, 2 and 4 s
_MOST_WAITING = 32  # datagrams; a flight has a handful
_SUITES = b":".join(
    b"ECDHE-%b-%b" % (key, cipher)
    for cipher in (b"AES128-GCM-SHA256", b"CHACHA20-POLY1305", b"AES128-SHA")
    for key in (b"ECDSA", b"RSA")
)
_PROFILES: Final = {
    b"SRTP_AEAD_AES_256_GCM": "AEAD_AES_256_GCM",
    b"SRTP_AEAD_AES_128_GCM": "AEAD_AES_128_GCM",
    b"SRTP_AES128_CM_SHA1_80": "AES_CM_128_HMAC_SHA1_80",
}
_CERTIFICATE_S = 7 * 86400.0  # of the thirty days that it is valid for
_closing: "set[asyncio.Task[None]]" = set()
_certificate: "tuple[RTCCertificate, float] | None" = None


class HandshakeError(Exception):
    """No keys came of it. The text says why."""


def is_handshake(data: bytes) -> bool:
    """Whether a datagram of a stream's port is DTLS (RFC 7983 section 7)."""
    return bool(data) and 20 <= data[0] <= 63


def own_fingerprint() -> Fingerprint:
    """Of the certificate that every handshake of this process shows."""
    for each in _own_certificate().getFingerprints():
        if each.algorithm == "sha-256":
            return Fingerprint("sha-256", each.value.upper())
    raise AssertionError("aiortc makes sha-256 fingerprints")


def _own_certificate() -> "RTCCertificate":
    global _certificate
    if _certificate is None or time.monotonic() > _certificate[1]:
        _certificate = _classes()[1].generateCertificate(), time.monotonic() + _CERTIFICATE_S
    return _certificate[0]


class Dtls:
    """One handshake. Loop thread only."""

    def __init__(self, role: Role, peer: tuple[Fingerprint, ...], send: Callable[[bytes], None]) -> None:
        """`peer`: one of these the other side's certificate has to have. `send` must not wait."""
        transport, _ = _classes()
        self._way = _Way(send)
        self._transport = transport(self._way, [_own_certificate()])
        self._transport._set_role(role)
        self._peer = peer

    def receive(self, datagram: bytes) -> None:
        if is_handshake(datagram):  # aiortc fails over an empty one
            self._way.received.append(datagram)

    async def handshake(self) -> SrtpKeys:
        """The keys agreed on. HandshakeError where there are none."""
        from aiortc import RTCDtlsFingerprint, RTCDtlsParameters

        peer = RTCDtlsParameters([RTCDtlsFingerprint(each.algorithm, each.value) for each in self._peer])
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                await self._transport.start(peer)
        except TimeoutError:
            raise HandshakeError(f"the peer did not finish the DTLS handshake within {HANDSHAKE_S:.0f} s") from None
        except Exception as error:  # aiortc's and OpenSSL's, whatever the peer sent
            raise HandshakeError(f"the DTLS handshake broke: {str(error) or type(error).__name__}") from error
        keys: SrtpKeys | None = self._transport.keys
        if keys is None:
            raise HandshakeError(self._transport.why or "the DTLS handshake failed")
        return keys

    def stop(self) -> None:
        """Say goodbye, in the background."""
        task = asyncio.get_running_loop().create_task(self.close())
        _closing.add(task)
        task.add_done_callback(_closing.discard)

    async def close(self) -> None:
        """Say goodbye."""
        with contextlib.suppress(Exception):
            await self._transport.stop()
        self._way.received.close()


class _Queue:
    """Datagrams for aiortc; the oldest are dropped where too many wait, as a network would."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()

    def append(self, datagram: bytes) -> None:
        if self._queue.qsize() < _MOST_WAITING:
            self._queue.put_nowait(datagram)

    def close(self) -> None:
        self._queue.put_nowait(None)

    async def get(self) -> bytes:
        datagram = await self._queue.get()
        if datagram is None:
            raise ConnectionError
        return datagram


class _Way:
    """What aiortc takes for its ICE transport."""

    role = "controlled"

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self.received = _Queue()
        self._out = send

    async def _recv(self) -> bytes:
        return await self.received.get()

    async def _send(self, data: bytes) -> None:
        self._out(data)


@functools.cache
def _classes() -> tuple[Any, Any]:
    """Our transport and certificate, on aiortc's: made late, since aiortc is imported late."""
    from aiortc import RTCCertificate, RTCDtlsTransport

    class Certificate(RTCCertificate):
        def _create_ssl_context(self, srtp_profiles: Any) -> Any:
            context = super()._create_ssl_context(srtp_profiles)
            context.set_cipher_list(_SUITES)
            return context

    class Transport(RTCDtlsTransport):
        keys: SrtpKeys | None = None
        why = ""

        def _validate_peer_identity(self, remoteParameters: Any) -> None:  # noqa: N803 — aiortc's spelling
            super()._validate_peer_identity(remoteParameters)
            if self.state == "failed":
                self.why = "the peer's certificate is not the one of its session description"

        def _setup_srtp(self) -> None:
            """The keys, in place of SRTP sessions of aiortc's own."""
            super()._setup_srtp()
            if self.state == "failed":
                self.why = "the peer knows no SRTP profile of ours"
                return
            assert self._ssl is not None
            name = self._ssl.get_selected_srtp_profile()
            profile = next(each for each in self._srtp_profiles if each.openssl_profile == name)
            size = 2 * (profile.key_length + profile.salt_length)
            view = self._ssl.export_keying_material(b"EXTRACTOR-dtls_srtp", size)
            client, server = profile.get_key_and_salt(view, 0), profile.get_key_and_salt(view, 1)
            ours, theirs = (server, client) if self._role == "server" else (client, server)
            self.keys = SrtpKeys(_PROFILES[name], ours, theirs)

    return Transport, Certificate
