"""TLS for SIP: whom we trust, what we show, and what went wrong in words (RFC 5922, RFC 8446, RFC 8996).

A server's certificate has to come from a known authority and to be for the domain that was typed into the
configuration: not for the SRV target nor for the address, which DNS says and nobody has proved (RFC 5922 section
7.2). Or its SHA-256 fingerprint was typed; then that very certificate is good, whoever signed it, and no other.
There is no way to switch the check off. The chain is checked by OpenSSL, the names here, so that an error can say
for whom the certificate is.
"""

import hashlib
import ipaddress
import os
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HANDSHAKE_S = 4.0  # ours with a server; a hung one must not hold up the next target


class TlsError(Exception):
    """The text says what is wrong with a certificate, a key or a file, for the technician."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """One account's. `domain` is that of its address: good for a server that was typed as an address.

    `fingerprint` is SHA-256 over the certificate, hexadecimal in any of its spellings."""

    domain: str = ""
    ca_file: Path | None = None
    fingerprint: str = ""
    certificate_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """What our listeners show."""

    certificate_file: Path
    key_file: Path


class TlsContexts:
    """Contexts made once, and again when a file has changed: a renewed certificate needs no restart."""

    def __init__(self) -> None:
        self._made: dict[object, ssl.SSLContext] = {}

    def client(self, settings: TlsSettings) -> ssl.SSLContext:
        """TlsError where a file cannot be used."""
        files = (settings.ca_file, settings.certificate_file, settings.key_file)
        key = (settings, _stamps(files))
        context = self._made.get(key)
        if context is None:
            self._forget(settings)
            context = self._made[key] = client_context(settings)
        return context

    def server(self, identity: ServerIdentity) -> ssl.SSLContext:
        """TlsError where a file cannot be used."""
        key = (identity, _stamps((identity.certificate_file, identity.key_file)))
        context = self._made.get(key)
        if context is None:
            self._forget(identity)
            context = self._made[key] = server_context(identity)
        return context

    def _forget(self, owner: object) -> None:
        for key in [key for key in self._made if isinstance(key, tuple) and key[0] == owner]:
            del self._made[key]


def client_context(settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # Python's choice: forward secrecy and AEAD first, no SHA-1
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # `check_peer` does, and can say what it found
    if settings.fingerprint:
        context.verify_mode = ssl.CERT_NONE  # `check_peer` compares the certificate itself
    elif settings.ca_file is not None:
        try:
            context.load_verify_locations(cafile=settings.ca_file)
        except (OSError, ValueError) as error:
            raise TlsError(f"{settings.ca_file}: {_file_words(error, 'no certificate authority in it')}") from None
        # An installation's own authority is enough, whether or not it is the root (RFC 5280 leaves that open).
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if settings.certificate_file is not None:
        _load_chain(context, settings.certificate_file, settings.key_file)
    return context


def server_context(identity: ServerIdentity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_chain(context, identity.certificate_file, identity.key_file)
    return context


def check_peer(peer: ssl.SSLObject, typed: Sequence[str], fingerprint: str) -> None:
    """TlsError unless the certificate shown is the pinned one, or is for one of the names `typed`."""
    shown = peer.getpeercert(binary_form=True)
    if not shown:
        raise TlsError("the server shows no certificate")
    if fingerprint:
        found = hashlib.sha256(shown).hexdigest()
        if found != plain_fingerprint(fingerprint):
            raise TlsError(
                f"the certificate's SHA-256 fingerprint is {spelt(found)}, not the one that is configured"
            )
        return
    certificate: Mapping[str, Any] = peer.getpeercert() or {}
    names = names_of(certificate)
    wanted = [name for name in typed if name]
    if not any(is_for(name, certificate) for name in wanted):
        whose = " or ".join(dict.fromkeys(wanted))
        raise TlsError(f"the certificate is not for {whose}; it is for {', '.join(names) or 'nobody by name'}")


def names_of(certificate: Mapping[str, Any]) -> list[str]:
    """For whom a certificate (as of `getpeercert`) is: domains, addresses, SIP URIs; the subject where none."""
    names = [text for kind, text in certificate.get("subjectAltName", ()) if kind in ("DNS", "IP Address", "URI")]
    if names:
        return [name.strip() for name in names]
    # RFC 5922 section 7.1: the common name only counts where there is no alternative at all.
    return [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]


def is_for(typed: str, certificate: Mapping[str, Any]) -> bool:
    """RFC 5922 section 7.2, and one label of wildcard, which it forbids and half the providers have."""
    typed = typed.lower().rstrip(".")
    address = _address(typed)
    for name in names_of(certificate):
        lower = name.lower().rstrip(".")
        if address is not None:
            if _address(lower) == address:
                return True
        elif (
            lower == typed
            or lower == f"sip:{typed}"
            or (lower.startswith("*.") and typed.partition(".")[2] == lower[2:] and "." in lower[2:])
        ):
            return True
    return False


def plain_fingerprint(text: str) -> str:
    """Hexadecimal digits alone, of "AA:BB…", "sha256 aa bb…", "SHA256 Fingerprint=…"."""
    return re.sub(r"[^0-9a-f]", "", re.sub(r"^\s*sha-?256(\s*fingerprint)?\s*[=:]?", "", text.lower()))


def spelt(digits: str) -> str:
    """As `openssl x509 -fingerprint` writes it."""
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2)).upper()


# X509_V_ERR_* of OpenSSL's x509_vfy.h, as far as a SIP server's certificate meets them.
_VERIFY = {
    9: "the certificate is not valid yet; is the station's clock right?",
    10: "the certificate has expired; is the station's clock right?",
    18: "the certificate is self-signed, by no authority that is known; write its fingerprint, or a ca_file",
    19: "the certificate is of an authority that is not known; write ca_file",
    20: "the certificate is of an authority that is not known; write ca_file",
    21: "the certificate is of an authority that is not known; write ca_file",
    23: "the certificate was revoked",
    26: "the certificate is not for servers",
}
_REASONS = {
    "WRONG_VERSION_NUMBER": "no TLS is spoken there",
    "HTTP_REQUEST": "no TLS is spoken there",
    "UNKNOWN_PROTOCOL": "no TLS is spoken there",
    "PACKET_LENGTH_TOO_LONG": "no TLS is spoken there",
    "UNSUPPORTED_PROTOCOL": "only TLS older than 1.2 is spoken there",
    "TLSV1_ALERT_PROTOCOL_VERSION": "only TLS older than 1.2 is spoken there",
    "NO_PROTOCOLS_AVAILABLE": "only TLS older than 1.2 is spoken there",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "no common cipher, or a client certificate is wanted",
    "NO_SHARED_CIPHER": "no common cipher",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server wants a client certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the server refuses our certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "our certificate is refused",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate has expired, says the server",
    "TLSV1_ALERT_UNKNOWN_CA": "our certificate's authority is not known there",
    "TLSV1_UNRECOGNIZED_NAME": "the server knows no such domain",
    "SSLV3_ALERT_ILLEGAL_PARAMETER": "TLS failed",
}


def words(error: Exception) -> str:
    """What went wrong with a connection, without OpenSSL's source lines."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFY.get(error.verify_code, f"the certificate cannot be trusted: {error.verify_message}")
    if isinstance(error, ssl.SSLEOFError) or (isinstance(error, ConnectionError) and not error.errno):
        return "closed in the middle of TLS"  # the latter is asyncio's
    if isinstance(error, ssl.SSLError):
        reason = error.reason or ""
        return _REASONS.get(reason, f"TLS: {reason.replace('_', ' ').lower() or 'failed'}")
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


def _load_chain(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    def no_password() -> str:
        raise TlsError(f"{key or certificate}: the key is encrypted, and nobody is there to type its password")

    try:
        context.load_cert_chain(certificate, key, password=no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsError(f"{key or certificate}: the key is not that of {certificate}") from None
        raise TlsError(f"{certificate}, {key or 'and its key'}: no certificate and key in PEM") from None
    except OSError as error:
        unreadable = next(
            (file for file in (certificate, key) if file and not os.access(file, os.R_OK)), certificate
        )
        raise TlsError(f"{unreadable}: {_file_words(error, 'cannot be used')}") from None


def _file_words(error: Exception, otherwise: str) -> str:
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.errno:
        return os.strerror(error.errno)
    return otherwise


def _stamps(files: Sequence[Path | None]) -> tuple[int, ...]:
    stamps = []
    for file in files:
        try:
            stamps.append(file.stat().st_mtime_ns if file is not None else 0)
        except OSError:
            stamps.append(-1)
    return tuple(stamps)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
