"""RTCP (RFC 3550 section 6; feedback of RFC 4585 and 5104): packets read and written, and when to report.

Reads SR, RR, SDES, BYE, PLI, FIR, generic NACK, TMMBR, TMMBN and REMB; other types are passed over. Reading accepts
compounds that begin with anything (reduced-size RTCP, RFC 5506, and peers that send a lone PLI or RR); writing
keeps the compound rules.
A feedback packet means the same whether or not SDP agreed on feedback: many phones never say so (meetecho
janus-gateway#3517). Who is listened to is the caller's decision.
"""

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .packet import RtpError
from .reception import Reception, ReportBlock

SR, RR, SDES, BYE, APP, RTPFB, PSFB = 200, 201, 202, 203, 204, 205, 206
_CNAME = 1
_PLI, _FIR, _AFB = 1, 4, 15
_NACK, _TMMBR, _TMMBN = 1, 3, 4
_REMB = b"REMB"
_NTP_EPOCH_S = 2_208_988_800  # from 1900 to 1970

_BLOCK = struct.Struct("!IIIIII")
_SENDER = struct.Struct("!IQIII")


class SenderReport(NamedTuple):
    """SR: `ntp` is the 64-bit NTP time of `rtp_timestamp`."""

    ssrc: int
    ntp: int
    rtp_timestamp: int
    packets: int
    octets: int
    reports: tuple[ReportBlock, ...] = ()


class ReceiverReport(NamedTuple):
    ssrc: int
    reports: tuple[ReportBlock, ...] = ()


class Sdes(NamedTuple):
    """Source description: for each SSRC its items as (type, value)."""

    chunks: tuple[tuple[int, tuple[tuple[int, bytes], ...]], ...]


class Bye(NamedTuple):
    sources: tuple[int, ...]
    reason: bytes = b""


class PictureLossIndication(NamedTuple):
    ssrc: int
    media_ssrc: int


class FullIntraRequest(NamedTuple):
    """FIR: `requests` are (SSRC of the video, command number); a repeated number is the same request."""

    ssrc: int
    requests: tuple[tuple[int, int], ...]


class GenericNack(NamedTuple):
    """RFC 4585 section 6.2.1: sequence numbers that did not arrive."""

    ssrc: int
    media_ssrc: int
    lost: tuple[int, ...]


class MaximumBitRate(NamedTuple):
    """TMMBR, or with `granted` the TMMBN that answers it (RFC 5104 section 4.2): `entries` are (SSRC, bits a
    second, overhead in octets a packet)."""

    ssrc: int
    entries: tuple[tuple[int, int, int], ...]
    granted: bool = False


class ReceiverEstimate(NamedTuple):
    """REMB (draft-alvestrand-rmcat-remb-03): all of `sources` together may have so many bits a second."""

    ssrc: int
    bit_rate: int
    sources: tuple[int, ...]


RtcpPacket = (
    SenderReport
    | ReceiverReport
    | Sdes
    | Bye
    | PictureLossIndication
    | FullIntraRequest
    | GenericNack
    | MaximumBitRate
    | ReceiverEstimate
)
Feedback = PictureLossIndication | FullIntraRequest | GenericNack | MaximumBitRate


def parse_rtcp(data: bytes) -> list[RtcpPacket]:
    """Read a datagram of one or more RTCP packets. Raises RtpError where lengths or versions do not fit."""
    packets: list[RtcpPacket] = []
    at = 0
    size = len(data)
    while at < size:
        if size - at < 4:
            raise RtpError("RTCP packet shorter than its header")
        first, kind, words = data[at], data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if first >> 6 != 2:
            raise RtpError("RTCP version is not 2")
        end = at + 4 + 4 * words
        if end > size:
            raise RtpError("RTCP packet truncated")
        body = data[at + 4 : end]
        if first & 0x20:
            padding = body[-1] if body else 0
            if not padding or padding > len(body):
                raise RtpError("RTCP padding exceeds the packet")
            body = body[: len(body) - padding]
        packet = _parse_one(kind, first & 0x1F, body)
        if packet is not None:
            packets.append(packet)
        at = end
    return packets


def _parse_one(kind: int, count: int, body: bytes) -> RtcpPacket | None:
    if kind == SR:
        if len(body) < 24 + 24 * count:
            raise RtpError("RTCP sender report truncated")
        ssrc, ntp, rtp_timestamp, packets, octets = _SENDER.unpack_from(body)
        return SenderReport(ssrc, ntp, rtp_timestamp, packets, octets, _parse_blocks(body, 24, count))
    if kind == RR:
        if len(body) < 4 + 24 * count:
            raise RtpError("RTCP receiver report truncated")
        return ReceiverReport(_word(body, 0), _parse_blocks(body, 4, count))
    if kind == SDES:
        return _parse_sdes(body, count)
    if kind == BYE:
        if len(body) < 4 * count:
            raise RtpError("RTCP BYE truncated")
        return Bye(tuple(_word(body, 4 * i) for i in range(count)), _parse_reason(body[4 * count :]))
    if kind in (PSFB, RTPFB):
        if len(body) < 8:
            raise RtpError("RTCP feedback truncated")
        return _parse_picture_feedback(count, body) if kind == PSFB else _parse_transport_feedback(count, body)
    return None


def _parse_picture_feedback(kind: int, body: bytes) -> RtcpPacket | None:
    ssrc = _word(body, 0)
    if kind == _PLI:
        return PictureLossIndication(ssrc, _word(body, 4))
    if kind == _FIR:
        return FullIntraRequest(ssrc, tuple((_word(body, i), body[i + 4]) for i in range(8, len(body) - 7, 8)))
    if kind == _AFB and body[8:12] == _REMB and len(body) >= 16:
        bit_rate = _floating(_word(body, 12), 6, 18, 0)
        count = min(body[12], (len(body) - 16) // 4)
        return ReceiverEstimate(ssrc, bit_rate, tuple(_word(body, 16 + 4 * i) for i in range(count)))
    return None


def _parse_transport_feedback(kind: int, body: bytes) -> RtcpPacket | None:
    ssrc = _word(body, 0)
    if kind == _NACK:
        lost = []
        for at in range(8, len(body) - 3, 4):
            first, after = int.from_bytes(body[at : at + 2], "big"), int.from_bytes(body[at + 2 : at + 4], "big")
            lost += [first] + [first + 1 + bit & 0xFFFF for bit in range(16) if after >> bit & 1]
        return GenericNack(ssrc, _word(body, 4), tuple(lost))
    if kind in (_TMMBR, _TMMBN):
        entries = tuple(
            (_word(body, at), _floating(_word(body, at + 4), 6, 17, 9), _word(body, at + 4) & 0x1FF)
            for at in range(8, len(body) - 7, 8)
        )
        return MaximumBitRate(ssrc, entries, kind == _TMMBN)
    return None


def _floating(word: int, exponent_bits: int, mantissa_bits: int, below: int) -> int:
    """The number of an exponent and a mantissa that have `below` bits behind them in `word`."""
    mantissa = word >> below & (1 << mantissa_bits) - 1
    return mantissa << (word >> below + mantissa_bits & (1 << exponent_bits) - 1)


def _to_floating(value: int, mantissa_bits: int) -> tuple[int, int]:
    """Exponent and mantissa, rounded down."""
    exponent = max(0, value.bit_length() - mantissa_bits)
    return exponent, value >> exponent


def _word(body: bytes, at: int) -> int:
    return int.from_bytes(body[at : at + 4], "big")


def _parse_blocks(body: bytes, at: int, count: int) -> tuple[ReportBlock, ...]:
    blocks = []
    for index in range(count):
        ssrc, loss, highest, jitter, lsr, dlsr = _BLOCK.unpack_from(body, at + 24 * index)
        lost = loss & 0xFFFFFF
        blocks.append(ReportBlock(ssrc, loss >> 24, lost - (lost >> 23 << 24), highest, jitter, lsr, dlsr))
    return tuple(blocks)


def _parse_sdes(body: bytes, count: int) -> Sdes:
    chunks = []
    at = 0
    for _ in range(count):
        if len(body) < at + 4:
            raise RtpError("RTCP SDES source truncated")
        ssrc = _word(body, at)
        at += 4
        items = []
        while at < len(body) and body[at]:
            if len(body) < at + 2 or len(body) < at + 2 + body[at + 1]:
                raise RtpError("RTCP SDES item truncated")
            end = at + 2 + body[at + 1]
            items.append((body[at], body[at + 2 : end]))
            at = end
        chunks.append((ssrc, tuple(items)))
        at = (at // 4 + 1) * 4  # at least one zero, up to the next word
    return Sdes(tuple(chunks))


def _parse_reason(rest: bytes) -> bytes:
    if not rest:
        return b""
    if len(rest) < 1 + rest[0]:
        raise RtpError("RTCP BYE reason truncated")
    return rest[1 : 1 + rest[0]]


def pack_rtcp(packet: RtcpPacket) -> bytes:
    """Write one packet. A compound begins with SR or RR followed by SDES (section 6.1); join with b"".join."""
    match packet:
        case SenderReport():
            head = _SENDER.pack(packet.ssrc, packet.ntp, packet.rtp_timestamp, packet.packets, packet.octets)
            return _pack(SR, len(packet.reports), head + _pack_blocks(packet.reports))
        case ReceiverReport():
            return _pack(RR, len(packet.reports), struct.pack("!I", packet.ssrc) + _pack_blocks(packet.reports))
        case Sdes():
            return _pack(SDES, len(packet.chunks), b"".join(_pack_chunk(*chunk) for chunk in packet.chunks))
        case Bye():
            body = struct.pack(f"!{len(packet.sources)}I", *packet.sources)
            if packet.reason:
                reason = bytes((len(packet.reason),)) + packet.reason
                body += reason + bytes(-len(reason) % 4)
            return _pack(BYE, len(packet.sources), body)
        case PictureLossIndication():
            return _pack(PSFB, _PLI, struct.pack("!II", packet.ssrc, packet.media_ssrc))
        case FullIntraRequest():
            body = struct.pack("!II", packet.ssrc, 0)
            body += b"".join(struct.pack("!IB3x", ssrc, number) for ssrc, number in packet.requests)
            return _pack(PSFB, _FIR, body)
        case GenericNack():
            return _pack(RTPFB, _NACK, struct.pack("!II", packet.ssrc, packet.media_ssrc) + _pack_lost(packet.lost))
        case MaximumBitRate():
            body = struct.pack("!II", packet.ssrc, 0)
            for ssrc, bit_rate, overhead in packet.entries:
                exponent, mantissa = _to_floating(bit_rate, 17)
                body += struct.pack("!II", ssrc, exponent << 26 | mantissa << 9 | overhead & 0x1FF)
            return _pack(RTPFB, _TMMBN if packet.granted else _TMMBR, body)
        case ReceiverEstimate():
            exponent, mantissa = _to_floating(packet.bit_rate, 18)
            body = struct.pack("!II", packet.ssrc, 0) + _REMB
            body += struct.pack("!I", len(packet.sources) << 24 | exponent << 18 | mantissa)
            return _pack(PSFB, _AFB, body + struct.pack(f"!{len(packet.sources)}I", *packet.sources))


def _pack_lost(lost: Sequence[int]) -> bytes:
    """Each entry names one number and, in its mask, those of the sixteen after it."""
    body = b""
    at = 0
    while at < len(lost):
        first, mask = lost[at], 0
        at += 1
        while at < len(lost) and 0 < (lost[at] - first & 0xFFFF) <= 16:
            mask |= 1 << (lost[at] - first & 0xFFFF) - 1
            at += 1
        body += struct.pack("!HH", first, mask)
    return body


def _pack(kind: int, count: int, body: bytes) -> bytes:
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4) + body


def _pack_blocks(blocks: Sequence[ReportBlock]) -> bytes:
    return b"".join(
        _BLOCK.pack(
            block.ssrc,
            block.fraction_lost << 24 | max(-0x800000, min(0x7FFFFF, block.lost)) & 0xFFFFFF,
            block.highest_sequence,
            block.jitter,
            block.last_sr,
            block.delay_since_last_sr,
        )
        for block in blocks
    )


def _pack_chunk(ssrc: int, items: Sequence[tuple[int, bytes]]) -> bytes:
    chunk = struct.pack("!I", ssrc) + b"".join(bytes((kind, len(value))) + value for kind, value in items)
    return chunk + bytes(4 - len(chunk) % 4)


class Sent(NamedTuple):
    """What we have sent so far on a stream; `rtp_timestamp` is the stream's at the moment of the report."""

    rtp_timestamp: int
    packets: int
    octets: int


class ReportScheduler:
    """When to send reports and what is in them (RFC 3550 sections 6.2, 6.3, 6.4), for a session of two parties.

    A report every 5 s on average, spread from half to one and a half times that, the first after half of it.
    `uniform` gives numbers in [0, 1); `wall_offset_s` is wall clock minus `now` at construction: NTP times keep
    running on the monotonic clock, so a corrected wall clock does not spoil a round trip.
    """

    def __init__(
        self,
        ssrc: int,
        cname: str,
        uniform: Callable[[], float],
        now: float,
        *,
        wall_offset_s: float,
        session_bits_per_s: int = 64_000,
        minimum_interval_s: float = 5.0,
    ) -> None:
        self._ssrc = ssrc
        self._sdes = pack_rtcp(Sdes(((ssrc, ((_CNAME, cname.encode()[:255]),)),)))
        self._uniform = uniform
        self._wall_offset_s = wall_offset_s
        self._bytes_per_s = session_bits_per_s * 0.05 / 8
        self._minimum_s = minimum_interval_s
        self._average_size = 28.0 + 8 + len(self._sdes)  # RR + IPv4 and UDP headers: section 6.3.2
        self.round_trip_s: float | None = None
        self.heard: ReportBlock | None = None  # what the peer last said of our stream
        self.deadline = now + self._interval(minimum_interval_s / 2)

    def _interval(self, minimum_s: float) -> float:
        deterministic = max(minimum_s, 2 * self._average_size / self._bytes_per_s)
        # The constant makes up for what timer reconsideration would shift (section 6.3.1).
        return deterministic * (self._uniform() + 0.5) / 1.21828

    def ntp(self, now: float) -> int:
        """`now` as a 64-bit NTP time."""
        seconds = now + self._wall_offset_s + _NTP_EPOCH_S
        return int(seconds * 4294967296) & 0xFFFFFFFFFFFFFFFF

    def report(self, now: float, sent: Sent | None, receptions: Sequence[Reception]) -> bytes:
        """The compound to send now (call at `deadline` or later); sets the next deadline.

        `sent` is None while we send nothing: an RR then, else an SR.
        """
        data = self._compound(now, sent, receptions)
        self._observe(len(data))
        self.deadline = now + self._interval(self._minimum_s)
        return data

    def feedback(self, now: float, packet: Feedback) -> bytes:
        """An immediate compound that carries `packet` and disturbs neither the timer nor the loss intervals."""
        return pack_rtcp(ReceiverReport(self._ssrc)) + self._sdes + pack_rtcp(packet)

    def bye(self, now: float, sent: Sent | None, receptions: Sequence[Reception]) -> bytes:
        """The last compound, with BYE. Two parties: no back-off (section 6.3.7 begins at 50 members)."""
        return self._compound(now, sent, receptions) + pack_rtcp(Bye((self._ssrc,)))

    def _compound(self, now: float, sent: Sent | None, receptions: Sequence[Reception]) -> bytes:
        blocks = tuple(reception.report(now) for reception in receptions[:31])
        if sent is None:
            head = pack_rtcp(ReceiverReport(self._ssrc, blocks))
        else:
            head = pack_rtcp(
                SenderReport(
                    self._ssrc,
                    self.ntp(now),
                    sent.rtp_timestamp & 0xFFFFFFFF,
                    sent.packets & 0xFFFFFFFF,
                    sent.octets & 0xFFFFFFFF,
                    blocks,
                )
            )
        return head + self._sdes

    def received(self, packets: Sequence[RtcpPacket], size: int, arrival_s: float) -> None:
        """Take what concerns us from a compound of `size` bytes: the round trip from blocks about our stream."""
        self._observe(size)
        for packet in packets:
            if isinstance(packet, SenderReport | ReceiverReport):
                for block in packet.reports:
                    if block.ssrc == self._ssrc:
                        self.heard = block
                        if block.last_sr:
                            self._round_trip(block, arrival_s)

    def _round_trip(self, block: ReportBlock, arrival_s: float) -> None:
        middle = self.ntp(arrival_s) >> 16 & 0xFFFFFFFF
        trip = (middle - block.last_sr - block.delay_since_last_sr) & 0xFFFFFFFF
        if trip < 0x80000000:  # negative: clocks of different speed over a very short way, or nonsense
            trip_s = trip / 65536
            if trip_s < 60:
                self.round_trip_s = trip_s

    def _observe(self, size: int) -> None:
        self._average_size += (size + 28 - self._average_size) / 16
