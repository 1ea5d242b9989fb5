"""H.264 in RTP (RFC 6184): access units to payloads and back.

Sends single NAL units and FU-A, receives STAP-A as well (packetization modes 0 and 1; no interleaved mode).
SPS and PPS are kept and put before every IDR, each as a packet of its own, since monitors that join late or
know only single NAL units show black otherwise; AUD, SEI and filler are not sent. Timestamps, sequence numbers
and pacing are the caller's.
"""

from .packet import RtpPacket

SLICE, IDR, SEI, SPS, PPS, AUD, FILLER = 1, 5, 6, 7, 8, 9, 12
_NOT_SENT = frozenset((SEI, AUD, FILLER, 10, 11))  # 10, 11: ends of sequence and stream, nothing to show
_STAP_A, _FU_A = 24, 28
_START_CODE = b"\x00\x00\x00\x01"
_MAX_ACCESS_UNIT = 2_000_000  # bytes; a 1080p intra picture is a tenth of it
_MAX_SPS, _MAX_PPS = 256, 255  # bytes; pic_parameter_set_id (ITU-T H.264 7.4.2.2)


def split_annex_b(data: bytes) -> list[bytes]:
    """The NAL units of a byte stream (ITU-T H.264 annex B) with 3 or 4 byte start codes, without these.

    Zero bytes before a start code belong to it or are stuffing: no NAL unit ends in zero.
    """
    parts = data.split(b"\x00\x00\x01")
    del parts[0]  # before the first start code
    return [nal for part in parts if (nal := part.rstrip(b"\x00"))]


def profile_level_id_from_sps(sps: bytes) -> str:
    """The profile-level-id of RFC 6184 section 8.1 for a sequence parameter set: six hexadecimal digits."""
    if len(sps) < 4 or sps[0] & 0x1F != SPS:
        raise ValueError("not a sequence parameter set")
    return sps[1:4].hex()


class Packetizer:
    """Cuts access units into RTP payloads of at most `max_payload` bytes.

    `mode` is the peer's packetization-mode. In mode 0 there is no fragmentation in RTP: a NAL unit over
    `max_payload` goes out as one packet all the same and is left to IP to fragment, unless it exceeds what UDP
    carries; then it is left out. Encoders that can limit their slices should be told to for such a peer.

    A camera is not trusted to write H.264: NAL units of kinds that RFC 6184 uses itself (0, 24 to 31) or with the
    forbidden bit would be taken for packets of another form and are left out, as is what no picture can need.
    """

    def __init__(self, mode: int = 1, max_payload: int = 1200) -> None:
        self._fragments = mode == 1
        self._max_payload = max_payload
        self._sps = b""
        self._pps: dict[int, bytes] = {}
        self.left_out = 0  # NAL units that could not be carried

    @property
    def parameter_sets(self) -> tuple[bytes, ...]:
        """SPS and PPS seen last: what a=fmtp calls sprop-parameter-sets. Empty before the first."""
        return (self._sps, *self._pps.values()) if self._sps else ()

    def packets(self, access_unit: bytes) -> list[tuple[bytes, bool]]:
        """Payloads of one access unit (annex B), each with its marker bit; empty if there is nothing to send."""
        nals: list[bytes] = []
        has_sps = has_idr = False
        if len(access_unit) > _MAX_ACCESS_UNIT:
            self.left_out += 1
            return []
        for nal in split_annex_b(access_unit):
            kind = nal[0] & 0x1F
            if kind in _NOT_SENT:
                continue
            if not 1 <= kind <= 23 or nal[0] & 0x80:
                self.left_out += 1
                continue
            if kind == SPS and 4 <= len(nal) <= _MAX_SPS:
                has_sps = True
                if nal != self._sps:
                    self._sps = nal
                    self._pps.clear()  # they refer to the old one
            elif kind == PPS and (number := _first_exp_golomb(nal)) <= _MAX_PPS:
                self._pps[number] = nal
            elif kind == IDR and not has_idr:
                has_idr = True
                if not has_sps:
                    nals = [*self.parameter_sets, *(n for n in nals if n[0] & 0x1F != PPS)]
            nals.append(nal)
        payloads: list[bytes] = []
        limit = self._max_payload
        for nal in nals:
            if len(nal) <= limit:
                payloads.append(nal)
            elif self._fragments:
                _fragment(nal, limit, payloads)
            elif len(nal) <= 65_000:
                payloads.append(nal)
            else:
                self.left_out += 1
        last = len(payloads) - 1
        return [(payload, index == last) for index, payload in enumerate(payloads)]


def _fragment(nal: bytes, limit: int, payloads: list[bytes]) -> None:
    """FU-A packets of one NAL unit (section 5.8), as even in size as they can be: no tiny last packet."""
    body = len(nal) - 1
    count = -(-body // (limit - 2))
    size, larger = divmod(body, count)
    indicator = nal[0] & 0xE0 | _FU_A
    kind = nal[0] & 0x1F
    start = bytes((indicator, kind | 0x80))
    middle = bytes((indicator, kind))
    end = bytes((indicator, kind | 0x40))
    at = 1
    for index in range(count):
        to = at + size + (index < larger)
        header = start if index == 0 else end if index == count - 1 else middle
        payloads.append(header + nal[at:to])
        at = to


def _first_exp_golomb(nal: bytes) -> int:
    """The first ue(v) after the NAL header: a PPS's own number (ITU-T H.264 7.3.2.2, 9.1)."""
    bits = int.from_bytes(nal[1:6].ljust(5, b"\xff"), "big")
    zeros = 40 - bits.bit_length()
    return (bits >> (39 - 2 * zeros)) - 1 if zeros < 16 else 0


def _begins_keyframe(payload: bytes) -> bool:
    kind = payload[0] & 0x1F if payload else 0
    return kind == SPS or (kind == _STAP_A and len(payload) > 3 and payload[3] & 0x1F == SPS)


class Depacketizer:
    """Puts access units together again. After a loss nothing is delivered until the next complete IDR.

    Packets must come in order: one that does not follow its predecessor counts as a loss. A marker bit or a new
    timestamp ends an access unit.
    """

    def __init__(self) -> None:
        self._sequence = -1
        self._timestamp = -1
        self._nals: list[bytes] = []
        self._fragments: list[bytes] = []
        self._size = 0
        self._broken = True  # this access unit misses something
        self.waiting_for_keyframe = True  # ask the sender for one while this stands
        self.damaged = 0  # access units not delivered

    def receive(self, packet: RtpPacket) -> bytes | None:
        """A complete access unit (annex B, 4 byte start codes) when `packet` ends one."""
        follows = self._sequence < 0 or packet.sequence == (self._sequence + 1) & 0xFFFF
        if not follows and (self._sequence - packet.sequence) & 0xFFFF < 100:
            return None  # a duplicate, or too late
        self._sequence = packet.sequence
        finished = None
        if packet.timestamp != self._timestamp:
            if self._nals or self._fragments:
                finished = self._finish(complete=follows)
            self._timestamp = packet.timestamp
            # What was lost may be this unit's beginning, unless the beginning is plainly here.
            self._broken = not follows and not _begins_keyframe(packet.payload)
            self.waiting_for_keyframe |= not follows
        elif not follows:
            self._broken = True
            self._fragments = []
            self.waiting_for_keyframe = True
        self._add(packet.payload)
        if packet.marker and finished is None:
            finished = self._finish(complete=True)
        return finished

    def _add(self, payload: bytes) -> None:
        if not payload:
            return
        self._size += len(payload)
        if self._size > _MAX_ACCESS_UNIT:
            self._drop()
            return
        kind = payload[0] & 0x1F
        if 1 <= kind <= 23:
            self._nals.append(payload)
        elif kind == _STAP_A:
            at = 1
            while at + 2 < len(payload):
                end = at + 2 + int.from_bytes(payload[at : at + 2], "big")
                if end > len(payload) or end == at + 2:
                    self._broken = True
                    return
                self._nals.append(payload[at + 2 : end])
                at = end
        elif kind == _FU_A and len(payload) > 2:
            flags = payload[1]
            if flags & 0x80:
                self._broken |= bool(self._fragments)
                self._fragments = [bytes((payload[0] & 0xE0 | flags & 0x1F,))]
            elif not self._fragments:
                self._broken = True  # its start is missing
                return
            self._fragments.append(payload[2:])
            if flags & 0x40:
                self._nals.append(b"".join(self._fragments))
                self._fragments = []
        else:
            self._broken = True  # interleaved modes were not negotiated

    def _drop(self) -> None:
        self._nals = []
        self._fragments = []
        self._size = 0
        self._broken = True

    def _finish(self, *, complete: bool) -> bytes | None:
        nals = self._nals
        intact = complete and not self._broken and not self._fragments and bool(nals)
        self._nals = []
        self._fragments = []
        self._size = 0
        if intact and self.waiting_for_keyframe:
            self.waiting_for_keyframe = not any(nal[0] & 0x1F == IDR for nal in nals)
            if self.waiting_for_keyframe:
                return None
        if not intact:
            self.damaged += 1
            self.waiting_for_keyframe = True
            return None
        return _START_CODE + _START_CODE.join(nals)
