"""A SIP trace as a pcapng file for Wireshark (draft-ietf-opsawg-pcapng): one packet a message, headers made up.

Pure: JSON lines of a trace in, bytes out. Packets are raw IP (LINKTYPE_RAW) with the flow's own addresses and
ports and right checksums: UDP datagrams as they were, streams as TCP segments whose numbers continue. What went in
TLS or WebSocket is shown as the SIP within: so that Wireshark does not look for TLS on 5061 or HTTP on 80, these
packets go by a second interface, of LINKTYPE_WIRESHARK_UPPER_PDU, which names addresses, ports and dissector.
Timers and decisions stand as comments of the packet that followed. No handshakes, no real Ethernet.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

from firmware.sip.trace_json import Json

LINKTYPE_RAW = 101
LINKTYPE_WIRESHARK_UPPER_PDU = 252
_SNAPLEN = 262_144
_SEGMENT = 60_000  # bytes of a message in one TCP segment: an IPv4 packet has 65535
_UDP, _TCP = 17, 6


def write(entries: Iterable[Json], offset_s: float, *, program: str = "portero") -> Iterator[bytes]:
    """The blocks of a file. `offset_s` makes Unix time of the core's clock (`offset_s` of the trace's header)."""
    from firmware.diagnostics.ladder import notes_of
    from firmware.sip.replay import messages_of

    yield _section(program)
    yield _interface(LINKTYPE_RAW, "sip")
    yield _interface(LINKTYPE_WIRESHARK_UPPER_PDU, "sip in tls or websocket")
    streams = _Streams()
    comments: list[str] = []
    for entry in entries:
        comments += notes_of(entry)
        microseconds = round((entry["at"] + offset_s) * 1e6)
        for sent, flow, data in messages_of(entry):
            ends = _ends(flow, sent)
            if flow["transport"] == "udp":
                packets = [(0, _ip(_UDP, *ends, _udp(*ends, data[:65_000])))]
            elif flow["transport"] == "tcp":
                packets = [(0, packet) for packet in streams.segments(flow, ends, data)]
            else:
                packets = [(1, _upper_pdu(*ends, data))]
            for interface, packet in packets:
                yield _packet(interface, microseconds, packet, sent, comments)
                comments = []


_End = tuple[str, int]


def _ends(flow: Json, sent: bool) -> tuple[_End, _End]:
    """(from, to). A socket that is bound to all addresses has told its peers a real one."""
    host, port = flow["local"]
    if ip_address(host).is_unspecified:
        host = flow["advertised"][0]
    local, remote = (_literal(host), int(port)), (_literal(flow["remote"][0]), int(flow["remote"][1]))
    return (local, remote) if sent else (remote, local)


def _literal(host: str) -> str:
    """`host` where it is an address; a WebSocket client's name for itself (RFC 7118 5) has none."""
    try:
        return str(ip_address(host.partition("%")[0]))
    except ValueError:
        return "0.0.0.0"  # shown, not bound


# --- network and transport headers -------------------------------------------------------------------------


@dataclass(slots=True)
class _Streams:
    """TCP sequence numbers: how much went from one end to the other of each connection."""

    _sent: dict[tuple[int, _End, _End], int] = field(default_factory=dict)

    def segments(self, flow: Json, ends: tuple[_End, _End], data: bytes) -> Iterator[bytes]:
        number = int(flow.get("number", 0))
        there, back = (number, *ends), (number, ends[1], ends[0])
        for start in range(0, len(data), _SEGMENT):
            part = data[start : start + _SEGMENT]
            sequence = self._sent.get(there, 1)
            self._sent[there] = sequence + len(part)
            header = struct.pack(
                "!HHIIBBHHH",
                *(ends[0][1], ends[1][1], sequence & 0xFFFFFFFF, self._sent.get(back, 1) & 0xFFFFFFFF),
                *(5 << 4, 0x18, 65_535, 0, 0),  # PSH, ACK
            )
            checksum = _transport_checksum(_TCP, ends, header + part)
            yield _ip(_TCP, *ends, header[:16] + struct.pack("!H", checksum) + header[18:] + part)


def _udp(source: _End, target: _End, data: bytes) -> bytes:
    header = struct.pack("!HHHH", source[1], target[1], 8 + len(data), 0)
    checksum = _transport_checksum(_UDP, (source, target), header + data) or 0xFFFF
    return header[:6] + struct.pack("!H", checksum) + data


def _ip(protocol: int, source: _End, target: _End, payload: bytes) -> bytes:
    addresses = _addresses(source, target)
    if len(addresses[0]) == 16:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + b"".join(addresses) + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, 0) + b"".join(addresses)
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + payload


def _addresses(source: _End, target: _End) -> tuple[bytes, bytes]:
    """Both of one family: where one end is unknown, nobody of the other's."""
    ends = [ip_address(source[0]), ip_address(target[0])]
    if ends[0].version != ends[1].version:
        ends = [end if end.version == 6 else ip_address("::") for end in ends]
    return ends[0].packed, ends[1].packed


def _transport_checksum(protocol: int, ends: tuple[_End, _End], segment: bytes) -> int:
    addresses = b"".join(_addresses(*ends))
    return _checksum(addresses + struct.pack("!II", len(segment), protocol) + segment)


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _upper_pdu(source: _End, target: _End, data: bytes) -> bytes:
    """Tags of Wireshark's wsutil/exported_pdu_tlvs.h: dissector, addresses, port type (2 is TCP), ports."""
    addresses = _addresses(source, target)
    first = 22 if len(addresses[0]) == 16 else 20
    tags = [
        (12, b"sip\0"),
        (first, addresses[0]),
        (first + 1, addresses[1]),
        (24, struct.pack("!I", 2)),
        (25, struct.pack("!I", source[1])),
        (26, struct.pack("!I", target[1])),
    ]
    head = b"".join(struct.pack("!HH", tag, len(value)) + value for tag, value in tags)
    return head + struct.pack("!HH", 0, 0) + data


# --- blocks --------------------------------------------------------------------------------------------------


def _section(program: str) -> bytes:
    body = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
    return _block(0x0A0D0D0A, body + _options([(4, program.encode())]))


def _interface(link_type: int, name: str) -> bytes:
    return _block(1, struct.pack("<HHI", link_type, 0, _SNAPLEN) + _options([(2, name.encode()), (9, b"\x06")]))


def _packet(interface: int, microseconds: int, packet: bytes, sent: bool, comments: list[str]) -> bytes:
    stamp = max(0, microseconds)
    head = struct.pack("<IIIII", interface, stamp >> 32, stamp & 0xFFFFFFFF, len(packet), len(packet))
    options = [(1, comment.encode("utf-8", "replace")[:1000]) for comment in comments[-20:]]
    options.append((2, struct.pack("<I", 2 if sent else 1)))  # outbound, inbound
    return _block(6, head + _padded(packet) + _options(options))


def _options(options: list[tuple[int, bytes]]) -> bytes:
    written = (struct.pack("<HH", code, len(value)) + _padded(value) for code, value in options)
    return b"".join(written) + struct.pack("<HH", 0, 0)


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + length + body + length


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
