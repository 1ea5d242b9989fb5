"""Packets sent a moment ago, for peers that say which they miss (generic NACK, RFC 4585 section 6.2.1).

What is kept is the datagram as it left, encrypted or not: sent once more it is the same to the letter, which is
what SRTP wants of a repetition (RFC 3711 section 9.1: never the same index over other text). Pure; bounded three
times: in number, in age, and in how often one packet is sent again, lest somebody make us shout.
"""

PACKETS = 128  # two IDRs, or half a second of ordinary pictures
MAX_AGE_S = 0.5  # later than that its picture has been passed over
_AGAIN = 2


class History:
    """The last PACKETS datagrams of one stream."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, bytes, float]] = [(-1, b"", 0.0)] * PACKETS
        self._again: dict[int, int] = {}

    def sent(self, sequence: int, datagram: bytes, now: float) -> None:
        self._kept[sequence % PACKETS] = (sequence, datagram, now)
        self._again.pop(sequence, None)

    def wanted(self, sequence: int, now: float) -> bytes:
        """The datagram to send again; empty where there is none, or it has been sent often enough."""
        kept, datagram, at_s = self._kept[sequence % PACKETS]
        if kept != sequence or now - at_s > MAX_AGE_S:
            return b""
        times = self._again.get(sequence, 0)
        if times >= _AGAIN:
            return b""
        if len(self._again) >= PACKETS:
            self._again.clear()
        self._again[sequence] = times + 1
        return datagram
