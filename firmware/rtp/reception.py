"""What RFC 3550 asks a receiver to know of a source: sequence (A.1), loss (A.3), jitter (A.8), last SR (6.4.1).

One `Reception` per SSRC. Packets on probation are still to be played: a visitor's first words are not dropped
to prove a source; probation only keeps stray packets out of the statistics. No playout here, see `jitter`.
"""

from typing import NamedTuple

_MAX_DROPOUT = 3000
_MAX_MISORDER = 100
_MIN_SEQUENTIAL = 2
_NOTED = 256


class ReportBlock(NamedTuple):
    """One block of an SR or RR (RFC 3550 section 6.4.1). `jitter` in timestamp units, delays in 1/65536 s."""

    ssrc: int
    fraction_lost: int
    lost: int
    highest_sequence: int
    jitter: int
    last_sr: int
    delay_since_last_sr: int


class Reception:
    """Statistics of one source."""

    def __init__(self, ssrc: int, clock_hz: int) -> None:
        self.ssrc = ssrc
        self.received = 0
        self._clock_hz = clock_hz
        self._probation = _MIN_SEQUENTIAL
        self._base = 0
        self._highest = -1  # extended, without the random offset of the first cycle
        self._bad = -1  # the sequence number that would confirm a restart of the source
        self._transit: float | None = None
        self._jitter = 0.0
        self._expected_before = 0
        self._received_before = 0
        self._last_sr = 0
        self._last_sr_at = 0.0
        self._noted: list[tuple[int, int, float]] = []

    def note(self, sequence: int, timestamp: int, arrival_s: float) -> None:
        """Take a packet into account by the time somebody asks: the same as `update`, for a path that is walked
        once in 20 ms, where a list's append costs a tenth of finding all of this code in memory again."""
        self._noted.append((sequence, timestamp, arrival_s))
        if len(self._noted) >= _NOTED:
            self._catch_up()

    def _catch_up(self) -> None:
        noted, self._noted = self._noted, []
        for packet in noted:
            self.update(*packet)

    def update(self, sequence: int, timestamp: int, arrival_s: float) -> bool:
        """Take a packet into account; False while the source is on probation or its sequence makes no sense."""
        if self._highest < 0:
            self._restart(sequence)
            self._probation = _MIN_SEQUENTIAL - 1
            return False
        delta = (sequence - self._highest) & 0xFFFF
        if self._probation:
            if delta == 1:
                self._probation -= 1
                self._highest += 1
                if not self._probation:
                    self._restart(sequence)
                    self._arrived(timestamp, arrival_s)
                    return True
            else:
                self._probation = _MIN_SEQUENTIAL - 1
                self._highest = sequence
            return False
        if delta < _MAX_DROPOUT:
            self._highest += delta
        elif delta <= 0x10000 - _MAX_MISORDER:
            if sequence != self._bad:
                self._bad = (sequence + 1) & 0xFFFF
                return False
            self._restart(sequence)  # two in a row from elsewhere: the source began anew
        self._arrived(timestamp, arrival_s)
        return True

    def _restart(self, sequence: int) -> None:
        self._base = self._highest = sequence
        self._bad = -1
        self.received = 0
        self._expected_before = self._received_before = 0
        self._transit = None

    def _arrived(self, timestamp: int, arrival_s: float) -> None:
        self.received += 1
        transit = arrival_s * self._clock_hz - timestamp
        if self._transit is not None:
            # Modulo the timestamp's wrap; the clocks' offset falls out of the difference.
            difference = (transit - self._transit + 2147483648.0) % 4294967296.0 - 2147483648.0
            self._jitter += (abs(difference) - self._jitter) / 16
        self._transit = transit

    @property
    def expected(self) -> int:
        self._catch_up()
        return self._highest - self._base + 1 if self._highest >= 0 and not self._probation else 0

    @property
    def lost(self) -> int:
        """Packets missing so far; below zero when there were more duplicates than losses."""
        return self.expected - self.received

    @property
    def jitter_s(self) -> float:
        """Interarrival jitter of RFC 3550 section 6.4.1 in seconds."""
        self._catch_up()
        return self._jitter / self._clock_hz

    def sender_report(self, ntp: int, arrival_s: float) -> None:
        """The source's SR arrived: what the next report returns as LSR and DLSR."""
        self._last_sr = ntp >> 16 & 0xFFFFFFFF
        self._last_sr_at = arrival_s

    def report(self, now: float) -> ReportBlock:
        """The block for our next report; begins the next interval of `fraction_lost`."""
        expected = self.expected
        interval = expected - self._expected_before
        lost = interval - (self.received - self._received_before)
        self._expected_before = expected
        self._received_before = self.received
        fraction = min(255, (lost << 8) // interval) if interval > 0 and lost > 0 else 0
        delay = int((now - self._last_sr_at) * 65536) & 0xFFFFFFFF if self._last_sr else 0
        return ReportBlock(
            self.ssrc,
            fraction,
            max(-0x800000, min(0x7FFFFF, self.lost)),
            max(self._highest, 0) & 0xFFFFFFFF,
            int(self._jitter),
            self._last_sr,
            delay,
        )
