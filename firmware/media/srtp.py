"""SRTP and SRTCP of one stream (RFC 3711, RFC 7714), both ways: what is sent is protected, what comes is opened.

libsrtp does it, through pylibsrtp, which is imported with the first keys. One of its sessions a direction; each
keeps the rollover counter by itself (3.3.1), from 0 for a new key. What fails to open is dropped and counted, as
`forged` (wrong key, wrong tag, or no SRTP) or as `replayed`; neither has any effect. The keys are SDES's
(sdp.crypto) or those of a DTLS handshake. Not safe between threads: the stream's lock is held.
"""

import importlib
from typing import TYPE_CHECKING, Final, Protocol

from firmware.sdp.crypto import SrtpKeys

if TYPE_CHECKING:
    from pylibsrtp import Session

_PROFILES: Final = {
    "AES_CM_128_HMAC_SHA1_80": "SRTP_PROFILE_AES128_CM_SHA1_80",
    "AES_CM_128_HMAC_SHA1_32": "SRTP_PROFILE_AES128_CM_SHA1_32",
    "AEAD_AES_128_GCM": "SRTP_PROFILE_AEAD_AES_128_GCM",
    "AEAD_AES_256_GCM": "SRTP_PROFILE_AEAD_AES_256_GCM",
}
_LARGEST = 65_536
_PROVEN = 50  # packets under a new key: a second of sound, more than a re-INVITE's way there and back
_WINDOW = 1024  # packets: pictures come in bursts, and a repaired packet comes late


class Seal(Protocol):
    """What a stream does to its packets. Empty bytes: this one is neither sent nor taken."""

    def protect(self, packet: bytes) -> bytes: ...

    def protect_rtcp(self, packet: bytes) -> bytes: ...

    def open(self, packet: bytes) -> bytes: ...

    def open_rtcp(self, packet: bytes) -> bytes: ...


class NoKeysYet:
    """The stream is to be encrypted and the keys are still being agreed: nothing leaves, nothing is believed."""

    def protect(self, packet: bytes) -> bytes:
        return b""

    protect_rtcp = open = open_rtcp = protect


def prepare() -> None:
    """Import libsrtp's binding. The first time takes a while, and must not be under a lock that the tick wants."""
    importlib.import_module("pylibsrtp")


class Srtp:
    """ValueError for keys that the suite cannot have."""

    def __init__(self, keys: SrtpKeys) -> None:
        self.keys = keys
        self.forged = 0
        self.replayed = 0
        self.unsent = 0  # too long, or the key has been used up
        self._out = _session(keys.suite, keys.send, outbound=True)
        self._in = _session(keys.suite, keys.receive, outbound=False)
        self._in_before: Session | None = None
        self._opened = 0  # since the key changed
        from pylibsrtp import Error

        self._errors = (Error, ValueError)

    def rekey(self, keys: SrtpKeys) -> None:
        """Take the keys of a newer agreement. A direction whose key stays keeps its rollover counter.

        The peer goes on with its old key until it has seen our answer: both are good until the new one has shown
        itself for a while.
        """
        if keys.suite != self.keys.suite or keys.send != self.keys.send:
            self._out = _session(keys.suite, keys.send, outbound=True)
        if keys.suite != self.keys.suite or keys.receive != self.keys.receive:
            self._in_before, self._opened = self._in, 0
            self._in = _session(keys.suite, keys.receive, outbound=False)
        self.keys = keys

    def protect(self, packet: bytes) -> bytes:
        try:
            sealed: bytes = self._out.protect(packet)
            return sealed
        except self._errors:
            self.unsent += 1
            return b""

    def protect_rtcp(self, packet: bytes) -> bytes:
        try:
            sealed: bytes = self._out.protect_rtcp(packet)
            return sealed
        except self._errors:
            self.unsent += 1
            return b""

    def open(self, packet: bytes) -> bytes:
        try:
            opened: bytes = self._in.unprotect(packet)
        except self._errors as error:
            if self._in_before is not None:
                return self._open_before(packet)
            self._dropped(error)
            return b""
        if self._in_before is not None:
            self._opened += 1
            if self._opened == _PROVEN:
                self._in_before = None
        return opened

    def _open_before(self, packet: bytes) -> bytes:
        assert self._in_before is not None
        try:
            opened: bytes = self._in_before.unprotect(packet)
            return opened
        except self._errors as error:
            self._dropped(error)
            return b""

    def open_rtcp(self, packet: bytes) -> bytes:
        try:
            opened: bytes = self._in.unprotect_rtcp(packet)
            return opened
        except self._errors as error:
            self._dropped(error)
            return b""

    def _dropped(self, error: Exception) -> None:
        if "replay" in str(error) or "too old" in str(error):
            self.replayed += 1
        else:
            self.forged += 1


def _session(suite: str, key: bytes, *, outbound: bool) -> "Session":
    from pylibsrtp import Policy, Session
    from pylibsrtp._binding import ffi

    kind = Policy.SSRC_ANY_OUTBOUND if outbound else Policy.SSRC_ANY_INBOUND
    policy = Policy(key=key, ssrc_type=kind, srtp_profile=getattr(Policy, _PROFILES[suite]))
    policy.window_size = _WINDOW
    session = Session(policy)
    if outbound:
        # The binding's buffer has 1500 octets. In packetization mode 0 a picture's slice is one packet, however
        # long (RFC 6184 section 6.2), and phones that know that mode alone take it in IP fragments.
        session._cdata = ffi.new("char[]", _LARGEST)
        session._buffer = ffi.buffer(session._cdata)
    return session
