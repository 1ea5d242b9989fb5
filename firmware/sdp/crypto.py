"""Keys in the session description: a=crypto of RFC 4568 (SDES), for the suites that libsrtp's Python binding has.

A line that cannot be used is skipped and the next one taken: another suite (AES_192_CM, AES_256_CM, F8), a key of
the wrong length, several keys or a master key identifier (MKI), a parameter that changes the packets
(UNENCRYPTED_SRTP, a key derivation rate). A lifetime is read over: 2^20 packets are six hours of sound.
Pure; where keys come from and who gets which is offer_answer.py's affair.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

# Master key and salt together, in octets: RFC 4568 6.2, RFC 7714 14.2.
KEY_OCTETS: Final = {
    "AES_CM_128_HMAC_SHA1_80": 30,
    "AES_CM_128_HMAC_SHA1_32": 30,
    "AEAD_AES_128_GCM": 28,
    "AEAD_AES_256_GCM": 44,
}
# What everybody with SDES has (RFC 4568 6.2.1). More would only make the INVITE too long for one datagram; the
# others are taken where they are offered.
OFFERED: Final = ("AES_CM_128_HMAC_SHA1_80",)

_LINE = re.compile(r"([0-9]{1,9})[ \t]+([A-Za-z0-9_]{1,64})[ \t]+(\S+)((?:[ \t]+\S+)*)[ \t]*")
_INLINE = re.compile(r"(?i:inline):([A-Za-z0-9+/]+={0,2})(?:\|(?:2\^[0-9]{1,2}|[0-9]{1,15}))?")
_HARMLESS = re.compile(r"KDR=0|WSH=[0-9]{2,6}|-\S+")  # of the parameters of a session (6.3); "-": may be ignored


@dataclass(frozen=True, slots=True)
class SrtpKeys:
    """What a stream is encrypted with. Each side chose the master key and salt that it sends with."""

    suite: str  # one of KEY_OCTETS
    send: bytes = field(repr=False)
    receive: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Crypto:
    """One a=crypto line; `key` is master key and salt of whoever wrote it."""

    tag: int
    suite: str
    key: bytes = field(repr=False)

    def __str__(self) -> str:
        return f"{self.tag} {self.suite} inline:{b64encode(self.key).decode()}"


def usable(values: Iterable[str]) -> Iterator[Crypto]:
    """The lines that we can do, in the writer's order of preference."""
    for value in values:
        crypto = parse(value)
        if crypto is not None:
            yield crypto


def parse(value: str) -> Crypto | None:
    """One a=crypto value; None where it cannot be used."""
    line = _LINE.fullmatch(value.strip())
    if line is None:
        return None
    tag, suite, keys, parameters = line.groups()
    suite = suite.upper()
    inline = _INLINE.fullmatch(keys)
    if suite not in KEY_OCTETS or inline is None:
        return None
    if not all(_HARMLESS.fullmatch(each) for each in parameters.split()):
        return None
    text = inline[1].rstrip("=")  # some leave the padding out
    try:
        key = b64decode(text + "=" * (-len(text) % 4), validate=True)
    except Error:
        return None
    return Crypto(int(tag), suite, key) if len(key) == KEY_OCTETS[suite] else None
