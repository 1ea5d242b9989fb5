"""Telephone-events (DTMF over RTP, RFC 4733 section 2), received and sent.

An event is known by its (SSRC, RTP timestamp), as the RFC says, and is reported with the first packet that
arrives of it, whatever that packet's M and E bits: any of its packets may be the one that survives. Digits only;
which source and payload type are to be believed is the caller's decision, and so is what a digit does.
"""

import struct
from typing import NamedTuple

from .packet import RtpPacket

DIGITS = "0123456789*#ABCD"
_EVENT = struct.Struct("!BBH")
_END = 0x80
_SEGMENT = 0xFFFF  # an event longer than the duration field goes on as a new segment this much later (2.5.1.3)
_HISTORY = 256  # presses remembered against replays: hours of an ordinary call, 30 kB at most


class Receiver:
    """Turns the telephone-event packets of one leg into digits, each press once."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], None] = {}
        # The press that is going on: SSRC, event, latest timestamp, longest duration seen there, E bit seen.
        self._ssrc = -1
        self._event = -1
        self._timestamp = 0
        self._duration = 0
        self._ended = True

    def receive(self, packet: RtpPacket) -> str | None:
        """The digit when `packet` is the first of a press; None for the rest, other events and rubbish.

        Only the first event of a payload counts: bytes after it are as likely padding as a second event, and
        padding of zeros would read as the digit 0.
        """
        payload = packet.payload
        if len(payload) < 4:
            return None
        event, flags, duration = _EVENT.unpack_from(payload)
        if event > 15:
            return None
        ssrc = packet.ssrc
        timestamp = packet.timestamp
        key = (ssrc, timestamp)
        if key in self._seen:
            if ssrc == self._ssrc and timestamp == self._timestamp:
                if duration > self._duration:
                    self._duration = duration
                if flags & _END:
                    self._ended = True
            return None
        same_press = ssrc == self._ssrc and event == self._event and not packet.marker and self._goes_on(timestamp)
        self._remember(key)
        self._ssrc = ssrc
        self._event = event
        self._timestamp = timestamp
        self._duration = duration
        self._ended = bool(flags & _END)
        return None if same_press else DIGITS[event]

    def _goes_on(self, timestamp: int) -> bool:
        """Whether the same event at `timestamp`, without M bit, continues the press at hand.

        Long presses go on in segments of 0xFFFF; some gateways move the timestamp with every packet of a press
        (sipwise/rtpengine#1929). A new press cannot begin before the old one's known end.
        """
        if self._ended:
            return False
        gap = (timestamp - self._timestamp) & 0xFFFFFFFF
        return gap <= self._duration or (gap % _SEGMENT == 0 and gap <= 8 * _SEGMENT)

    def _remember(self, key: tuple[int, int]) -> None:
        self._seen[key] = None
        if len(self._seen) > _HISTORY:
            del self._seen[next(iter(self._seen))]


class EventPacket(NamedTuple):
    """What the sender puts into RTP: `timestamp` is the event's own, the start of the press."""

    payload: bytes
    marker: bool
    timestamp: int


class Sender:
    """Plays queued digits as event packets, one per 20 ms tick (RFC 4733 section 2.5.1).

    M on the first packet only, one timestamp a press, the duration grows with every tick, the last packet is sent
    three times. While `active`, the caller sends these in place of audio; the stream's sequence numbers and
    timestamps run on.
    """

    def __init__(
        self, *, clock_hz: int = 8000, tone_ms: int = 100, gap_ms: int = 100, volume_dbm0: int = -10
    ) -> None:
        self.clock_hz = clock_hz
        self._tick = clock_hz // 50
        self._tone_ticks = max(2, -(-tone_ms // 20))
        # Receivers count a new press only after a pause; the repeated ends are part of it.
        self._gap_ticks = max(3, -(-gap_ms // 20))
        self._volume = -volume_dbm0
        self._queue: list[int] = []
        self._step = 0
        self._start = 0

    @property
    def active(self) -> bool:
        """Whether a press or the pause after it is going on or waiting."""
        return bool(self._queue)

    def press(self, digits: str) -> None:
        """Queue `digits` (0-9 * # A-D). ValueError for anything else."""
        self._queue += [DIGITS.index(digit) for digit in digits.upper()]

    def tick(self, timestamp: int) -> EventPacket | None:
        """The packet of this tick, where `timestamp` is the stream's now; None in pauses and when idle."""
        if not self._queue:
            return None
        step = self._step
        self._step += 1
        if step == 0:
            self._start = timestamp
        tone = self._tone_ticks
        if step >= tone + 2:  # the tone and two more ends are out: pause
            if step + 1 >= tone + self._gap_ticks:
                del self._queue[0]
                self._step = 0
            return None
        flags = self._volume | (_END if step >= tone - 1 else 0)
        duration = min((step + 1) * self._tick, tone * self._tick, 0xFFFF)
        return EventPacket(_EVENT.pack(self._queue[0], flags, duration), step == 0, self._start)
