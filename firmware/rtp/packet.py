"""RTP packets: RFC 3550 section 5.1 header read and written, and the test that tells RTCP from RTP (RFC 5761).

Reading tolerates what the RFC allows (CSRC list, header extension, padding) and drops it: nothing above uses it.
No profile, payload or sequence logic here; see `reception` for sequence numbers.
"""

import struct
from typing import NamedTuple

_HEADER = struct.Struct("!BBHII")
_PACK = _HEADER.pack
_UNPACK_FROM = _HEADER.unpack_from
_NEW = tuple.__new__  # a NamedTuple without the Python function that its own constructor is


class RtpError(ValueError):
    """The bytes are not a valid RTP or RTCP packet: the only exception that a parser of this package raises."""


class RtpPacket(NamedTuple):
    """One packet. `timestamp` is in units of the payload's clock, `sequence` is 16 and `timestamp` 32 bit."""

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


def parse_rtp(data: bytes) -> RtpPacket:
    """Read one datagram. Raises RtpError where it is not RTP version 2 or its lengths do not add up."""
    size = len(data)
    if size < 12:
        raise RtpError("RTP packet shorter than its header")
    first, second, sequence, timestamp, ssrc = _UNPACK_FROM(data)
    if first == 0x80:  # no padding, extension or CSRC: nearly every packet
        return _NEW(RtpPacket, (second & 0x7F, second > 0x7F, sequence, timestamp, ssrc, data[12:]))
    if first >> 6 != 2:
        raise RtpError("RTP version is not 2")
    start = 12 + 4 * (first & 0x0F)
    if first & 0x10:
        if size < start + 4:
            raise RtpError("RTP header extension truncated")
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
    end = size
    if first & 0x20:
        padding = data[-1]
        if not padding:
            raise RtpError("RTP padding of zero bytes")
        end -= padding
    if start > end:
        raise RtpError("RTP header, CSRC list, extension or padding exceed the packet")
    return RtpPacket(second & 0x7F, second > 0x7F, sequence, timestamp, ssrc, data[start:end])


def pack_rtp(payload_type: int, marker: bool, sequence: int, timestamp: int, ssrc: int, payload: bytes) -> bytes:
    """Write one packet without CSRC, extension or padding; `sequence` and `timestamp` wrap by themselves."""
    return (
        _PACK(
            0x80, payload_type | 0x80 if marker else payload_type, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc
        )
        + payload
    )


def is_rtcp(data: bytes) -> bool:
    """Whether a datagram of a port that carries both is RTCP: packet types 192..223 (RFC 5761 section 4)."""
    return len(data) >= 2 and 192 <= data[1] <= 223
