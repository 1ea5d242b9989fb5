"""STUN Binding requests and their answers (RFC 8489), as far as SIP keeps its UDP flows alive with them (RFC 5626
section 4.4.2) and NATs are explored with them (RFC 5780): no authentication, no other method. Bytes in, bytes out.
"""

import ipaddress
import struct
import zlib
from dataclasses import dataclass
from typing import Literal

REQUEST = 0x0001
RESPONSE = 0x0101
ERROR = 0x0111
TRANSACTION_BYTES = 12

_MAGIC = 0x2112A442
_MAPPED_ADDRESS = 0x0001
_CHANGE_REQUEST = 0x0003
_ERROR_CODE = 0x0009
_UNKNOWN_ATTRIBUTES = 0x000A
_XOR_MAPPED_ADDRESS = 0x0020
_FINGERPRINT = 0x8028
_OTHER_ADDRESS = 0x802C
_FINGERPRINT_XOR = 0x5354554E
_KINDS: dict[int, Literal["request", "response", "error"]] = {
    REQUEST: "request",
    RESPONSE: "response",
    ERROR: "error",
}


class StunError(Exception):
    """Octets that are no STUN message of ours."""


@dataclass(frozen=True, slots=True)
class StunMessage:
    """`mapped` is the address that the server saw, `other` the second one that it has itself (RFC 5780 section
    7.4); `unknown` are attributes that had to be understood, and were not."""

    kind: Literal["request", "response", "error", "other"]
    transaction: bytes
    mapped: tuple[str, int] | None = None
    error: int = 0
    unknown: tuple[int, ...] = ()
    other: tuple[str, int] | None = None


def is_stun(data: bytes) -> bool:
    """Whether a datagram on a SIP port is STUN: no SIP message starts like that (RFC 5626 section 8)."""
    return len(data) >= 20 and data[0] < 4 and data[4:8] == b"\x21\x12\xa4\x42"


def binding_request(transaction: bytes, *, change_ip: bool = False, change_port: bool = False) -> bytes:
    """With a change, the answer is wanted from the server's other address or port (RFC 5780 section 7.2)."""
    flags = (4 if change_ip else 0) | (2 if change_port else 0)
    return _message(REQUEST, transaction, _attribute(_CHANGE_REQUEST, struct.pack("!I", flags)) if flags else b"")


def binding_response(transaction: bytes, seen: tuple[str, int]) -> bytes:
    """`seen` is where the request came from."""
    return _message(RESPONSE, transaction, _attribute(_XOR_MAPPED_ADDRESS, _address(seen, transaction)))


def unknown_attributes(transaction: bytes, types: tuple[int, ...]) -> bytes:
    """Error 420: the request wants what is not understood (RFC 8489 section 6.3.1)."""
    body = _attribute(_ERROR_CODE, b"\0\0\x04\x14Unknown Attribute")
    body += _attribute(_UNKNOWN_ATTRIBUTES, b"".join(struct.pack("!H", each) for each in types[:32]))
    return _message(ERROR, transaction, body)


def parse(data: bytes) -> StunMessage:
    """One datagram. StunError for what is broken; a FINGERPRINT that is there has to be right."""
    if not is_stun(data):
        raise StunError("no STUN header")
    kind, length = struct.unpack_from("!HH", data)
    if length % 4 or length + 20 != len(data):
        raise StunError("wrong length")
    transaction = data[8:20]
    mapped: tuple[str, int] | None = None
    plain: tuple[str, int] | None = None
    other: tuple[str, int] | None = None
    error = 0
    unknown: list[int] = []
    at = 20
    while at < len(data):
        if at + 4 > len(data):
            raise StunError("torn attribute")
        name, size = struct.unpack_from("!HH", data, at)
        value = data[at + 4 : at + 4 + size]
        if len(value) != size:
            raise StunError("torn attribute")
        if name == _XOR_MAPPED_ADDRESS:
            mapped = _read_address(value, transaction)
        elif name == _MAPPED_ADDRESS:
            plain = _read_address(value, None)
        elif name == _OTHER_ADDRESS:
            other = _read_address(value, None)
        elif name == _ERROR_CODE:
            error = (value[2] & 7) * 100 + value[3] if size >= 4 else 0
        elif name == _FINGERPRINT:
            if size != 4 or struct.unpack("!I", value)[0] != _fingerprint(data[:at]):
                raise StunError("wrong fingerprint")
            break  # it is the last by definition
        elif name < 0x8000 and name != _UNKNOWN_ATTRIBUTES:
            unknown.append(name)
        at += 4 + size + -size % 4
    return StunMessage(_KINDS.get(kind, "other"), transaction, mapped or plain, error, tuple(unknown), other)


def _message(kind: int, transaction: bytes, body: bytes) -> bytes:
    head = struct.pack("!HHI", kind, len(body) + 8, _MAGIC) + transaction + body
    return head + _attribute(_FINGERPRINT, struct.pack("!I", _fingerprint(head)))


def _fingerprint(data: bytes) -> int:
    return zlib.crc32(data) ^ _FINGERPRINT_XOR


def _attribute(name: int, value: bytes) -> bytes:
    return struct.pack("!HH", name, len(value)) + value + b"\0" * (-len(value) % 4)


def _address(address: tuple[str, int], transaction: bytes) -> bytes:
    packed = ipaddress.ip_address(address[0].partition("%")[0]).packed
    family = 1 if len(packed) == 4 else 2
    masked = bytes(a ^ b for a, b in zip(packed, _mask(transaction), strict=False))
    return struct.pack("!BBH", 0, family, address[1] ^ (_MAGIC >> 16)) + masked


def _read_address(value: bytes, transaction: bytes | None) -> tuple[str, int]:
    if len(value) not in (8, 20) or value[1] != (1 if len(value) == 8 else 2):
        raise StunError("broken address")
    port = int.from_bytes(value[2:4], "big")
    packed = value[4:]
    if transaction is not None:
        port ^= _MAGIC >> 16
        packed = bytes(a ^ b for a, b in zip(packed, _mask(transaction), strict=False))
    return str(ipaddress.ip_address(packed)), port


def _mask(transaction: bytes) -> bytes:
    return struct.pack("!I", _MAGIC) + transaction
