"""Adaptive jitter buffer for audio: packets in at their arrival, exactly one tick of sound out per tick.

Works in samples of the RTP clock, so packets of 10 to 60 ms, mixed, fit a 20 ms tick. How late packets are is
measured against the earliest of the last 150; the target delay covers nearly all of that. A dry buffer conceals
without advancing, which is how delay grows; a packet known to be lost is concealed and passed over. Delay shrinks
a frame at a time. A talker who pauses is granted more of it: enough for the latest packet of the last 5 to 10 s
and a seventh more, and a reserve in the first half minute. In his next pause it is given back unheard if it has
been too long for two seconds; from one who never pauses it is taken after half a second. Telephone-events and
comfort noise are "present, not audio". Decoding and concealment are the caller's, see `concealment`.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from .packet import RtpPacket

COMFORT_NOISE = 13  # static payload type of RFC 3389
_UNSORTED = 8
_WINDOW = 150
_MAX_QUEUE = 64  # packets: over a second of the shortest ones
_MAX_EVENTS = 64
_PAUSES_TICKS = 250  # who fell silent so long ago will do so again
_PATIENCE_TICKS, _NO_PATIENCE_TICKS = 100, 25  # delay has been too long for, with pauses to come and without
_MUCH_TICKS = 3  # left over when the network stood still: it goes in the first pause
_STEADY_TICKS = 10  # for so long, that is: a tick that is late itself sees too much for a moment
_LOOK_AHEAD_TICKS = 500
_WARY_TICKS = 1500  # a network that stood still once does so again: more stays in reserve this long
_PEAK_TICKS = 250  # how late the latest packet was is remembered for this long, and up to twice as long


class Play(NamedTuple):
    """Samples `start` to `start + samples` of a packet's payload. `follows`: no sample is missing before them."""

    payload: bytes
    start: int
    samples: int
    follows: bool


class Conceal(NamedTuple):
    """Sound is missing. `following`: the payload that begins where it ends, if that has come: it may tell."""

    samples: int
    following: bytes = b""


class Noise(NamedTuple):
    """The peer is silent and said how its room sounds (RFC 3389 payload)."""

    payload: bytes
    samples: int


class Empty(NamedTuple):
    """There is nothing to play and nothing is missing: before the first packet, in pauses, during events."""

    samples: int


Piece = Play | Conceal | Noise | Empty


_NEW = tuple.__new__  # a NamedTuple without the Python function that its own constructor is


class _Queued(NamedTuple):
    timestamp: int  # extended
    sequence: int  # extended
    payload: bytes
    samples: int
    noise: bool


class JitterBuffer:
    """Playout of one audio stream. `samples_of` gives the samples of a payload: its length for G.711 and G.722.

    `look_ahead`: the codec reads what was lost out of the packet after it (`Conceal.following`), which is worth a
    tick of delay while packets are being lost.
    """

    def __init__(
        self,
        clock_hz: int = 8000,
        *,
        tick_ms: int = 20,
        max_delay_ms: int = 240,
        samples_of: Callable[[bytes], int] = len,
        look_ahead: bool = False,
    ) -> None:
        self._clock_hz = clock_hz
        self._tick = clock_hz * tick_ms // 1000
        self._max = clock_hz * max_delay_ms // 1000
        self._samples_of = samples_of
        self._look_ahead = look_ahead
        self._ample = clock_hz * 60 // 1000
        self._least = clock_hz * 8 // 1000  # what a tick may be late on a busy machine
        self._margin = clock_hz * 2 // 1000  # a tick that is a little early still finds the latest packet there

        self._ssrc = -1
        self._queue: list[_Queued] = []
        self._window: deque[int] = deque(maxlen=_WINDOW)
        self._sorted: list[int] = []
        self._unsorted: list[int] = []
        self._peak = self._peak_before = 0  # the widest spread in this stretch of ticks, and in the one before
        self._peak_until = _PEAK_TICKS
        self._last_timestamp = 0
        self._highest = 0  # extended sequence
        self._seen = 0  # bit i: highest - i was received
        self._bad = -1  # the number that would confirm a new sequence
        self._events: deque[int] = deque(maxlen=_MAX_EVENTS)

        self._playing = False
        self._next = 0  # extended timestamp of the next sample to play
        self._played = 0  # extended sequence of the packet played last
        self._held = 0  # samples concealed in this dry spell without advancing
        self._pause = b""  # comfort noise payload, b"" for events
        self._pause_at = -1  # where in the sequence the peer fell silent on purpose
        self._follows = True
        self._over = 0
        self._quiet = 0
        self._wary_until = 0
        self._paused = -_PAUSES_TICKS  # when the talker was last silent
        self._losing_until = 0

        self.received = 0
        self.late = 0
        self.duplicates = 0
        self.ticks = 0  # while playing
        self.concealed = 0  # samples
        self.played = 0  # samples
        self.skipped = 0  # samples passed over to shorten the delay
        self.stretched = 0  # samples of silence inserted to lengthen it

    # --- in ------------------------------------------------------------------------------------------------

    def put(self, packet: RtpPacket, arrival_s: float) -> None:
        """Take an audio or comfort noise packet that arrived at `arrival_s`, on the clock of `pop`'s `now_s`."""
        arrival = int(arrival_s * self._clock_hz)
        if packet.ssrc != self._ssrc:
            self._begin(packet, arrival)
        if packet.sequence == self._highest + 1 & 0xFFFF:  # nearly every packet
            self._highest += 1
            self._seen = (self._seen << 1 | 1) & 0xFFFFFFFFFFFFFFFF
            sequence = self._highest + 0x10000
        else:
            sequence = self._sequence(packet.sequence)
            if sequence < 0:
                self.duplicates += 1
                return
        self.received += 1
        last = self._last_timestamp
        timestamp = last + ((packet.timestamp - last + 0x80000000) & 0xFFFFFFFF) - 0x80000000
        lateness = arrival - timestamp
        if self._sorted and abs(lateness - self._sorted[0]) > self._clock_hz:
            self._begin(packet, arrival)
            sequence = self._sequence(packet.sequence)
            timestamp = packet.timestamp
            lateness = arrival - timestamp
        if timestamp > last:
            self._last_timestamp = timestamp
        ordered = self._sorted
        if not self._playing and not self._queue and ordered and lateness - ordered[0] > self._max // 2:
            # The peer's timestamps stood still in a pause, or the path changed: measure anew.
            self._window.clear()
            self._unsorted.clear()
            ordered.clear()
        self._unsorted.append(lateness)
        # One that moves neither end of the order may wait until there are several.
        if len(self._unsorted) >= _UNSORTED or not ordered or not ordered[0] <= lateness <= ordered[-1]:
            self._sort()

        noise = packet.payload_type == COMFORT_NOISE
        samples = 0 if noise else self._samples_of(packet.payload)
        queue = self._queue
        if self._playing and timestamp + samples <= self._next and not noise:
            self.late += 1
            return
        queued = _NEW(_Queued, (timestamp, sequence, packet.payload, samples, noise))
        if not queue or timestamp > queue[-1].timestamp:
            queue.append(queued)
        else:
            insort(queue, queued)
        if len(queue) > _MAX_QUEUE:
            del queue[0]

    def put_next(self, ssrc: int, sequence: int, timestamp: int, payload: bytes, arrival_s: float) -> bool:
        """Take the packet that goes on exactly where the last one ended; False leaves it to `put`.

        Does what `put` does for it, in a fifth of the code: a tick finds none of it in the caches, so it
        costs what it walks through.
        """
        tick = self._tick
        expected = self._last_timestamp + tick
        if (
            sequence != self._highest + 1 & 0xFFFF
            or ssrc != self._ssrc
            or timestamp != expected & 0xFFFFFFFF
            or not self._playing
            or self._samples_of(payload) != tick
            or expected + tick <= self._next
        ):
            return False
        lateness = int(arrival_s * self._clock_hz) - expected
        queue, unsorted, ordered = self._queue, self._unsorted, self._sorted
        if len(unsorted) >= _UNSORTED - 1 or len(queue) >= _MAX_QUEUE or not ordered[0] <= lateness <= ordered[-1]:
            return False
        unsorted.append(lateness)
        self._last_timestamp = expected
        self._highest += 1
        self._seen = (self._seen << 1 | 1) & 0xFFFFFFFFFFFFFFFF
        self.received += 1
        queue.append(_NEW(_Queued, (expected, self._highest + 0x10000, payload, tick, False)))
        return True

    def _sort(self) -> None:
        ordered, window = self._sorted, self._window
        for lateness in self._unsorted:
            if len(window) == _WINDOW:
                del ordered[bisect_left(ordered, window[0])]
            window.append(lateness)
            insort(ordered, lateness)
        self._unsorted.clear()
        spread = ordered[-1] - ordered[0]
        if self.ticks >= self._peak_until:
            self._peak_before, self._peak = self._peak, spread
            self._peak_until = self.ticks + _PEAK_TICKS
        elif spread > self._peak:
            self._peak = spread

    def put_event(self, packet: RtpPacket) -> None:
        """A telephone-event packet of the same stream: its sequence number is not lost, and no sound is due."""
        if packet.ssrc != self._ssrc:
            return
        sequence = self._sequence(packet.sequence)
        if sequence < 0:
            return
        self._events.append(sequence)
        if sequence - 0x10000 == self._highest:
            self._pause = b""
            self._pause_at = sequence

    def _begin(self, packet: RtpPacket, arrival: int) -> None:
        """Another source, or the same one with another clock: forget what was learnt."""
        self._ssrc = packet.ssrc
        self._queue.clear()
        self._window.clear()
        self._sorted.clear()
        self._unsorted.clear()
        self._events.clear()
        self._last_timestamp = packet.timestamp
        self._highest = packet.sequence - 1
        self._seen = 0
        self._playing = False
        self._follows = False
        self._pause_at = -1
        self._held = 0
        self._bad = -1

    def _sequence(self, sequence: int) -> int:
        """Extended sequence number; -1 for one that was received before (or is older than can be told)."""
        delta = ((sequence - self._highest + 0x8000) & 0xFFFF) - 0x8000
        if delta <= -64:
            if sequence != self._bad:
                self._bad = (sequence + 1) & 0xFFFF
                return -1
            delta += 0x10000  # two in a row from elsewhere: the peer began a new sequence (RFC 3550 A.1)
        if delta > 0:
            self._highest += delta
            self._seen = (self._seen << min(delta, 64) | 1) & 0xFFFFFFFFFFFFFFFF
            return self._highest + 0x10000  # never below zero, whatever is reordered at the beginning
        bit = 1 << -delta
        if self._seen & bit:
            return -1
        self._seen |= bit
        return self._highest + delta + 0x10000

    # --- out -----------------------------------------------------------------------------------------------

    def target(self) -> int:
        """The delay to keep over the earliest packets, in samples."""
        ordered = self._sorted
        if len(ordered) < 2:
            return self._least
        spread = ordered[len(ordered) * 9 // 10] - ordered[0]
        # Three times the 90th percentile is the 99.9th of exponential jitter, told from far fewer packets than that
        # one itself; past 70 ms more delay is minded more than a rare gap.
        wanted = min(3 * spread, self._ample + 2 * spread // 5)
        wanted = max(wanted, ordered[len(ordered) * 96 // 100] - ordered[0])
        if self._pauses:
            latest = max(ordered[-1] - ordered[0], self._peak, self._peak_before)
            # Nobody knows the network of a call that has just begun, nor the machine's evening.
            ready = (3 if self.ticks < _WARY_TICKS else 2) * self._least
            latest += latest * 3 // 20 + self._margin  # the latest of the next seconds may well be later
            wanted = max(wanted, min(latest, 5 * self._ample // 2), ready)
        if self.ticks < self._losing_until:
            wanted = max(wanted, self._tick + self._least)
        wanted = max(wanted, 3 * self._least if self.ticks < self._wary_until else self._least)
        return min(wanted, self._max)

    @property
    def _pauses(self) -> bool:
        return self.ticks - self._paused < _PAUSES_TICKS

    def pop(self, now_s: float, *, quiet: bool = False) -> list[Piece]:
        """The next tick's sound: pieces that add up to exactly one tick.

        `quiet`: what was played last was silence, so that delay may change unheard.
        """
        now = int(now_s * self._clock_hz)
        queue = self._queue
        tick = self._tick
        if not self._playing:
            if not queue or now - queue[0].timestamp - self._sorted[0] < self.target():
                return [self._silence(tick)]
            self._playing = True
            self._next = queue[0].timestamp
            self._played = queue[0].sequence - 1
            self._held = 0
            self._over = 0
            self._follows = False
        self.ticks += 1
        self._quiet = self._quiet + 1 if quiet else 0
        if self._quiet >= 5:
            self._paused = self.ticks
        if self._look_ahead and self._seen.bit_count() < 63 < self.received:
            self._losing_until = self.ticks + _LOOK_AHEAD_TICKS
        delay = now - self._next - self._sorted[0] if self._sorted else 0
        if delay > 2 * self._max and queue:
            delay = self._leap(delay)
        if queue and queue[0].timestamp <= self._next:
            if self._held:
                self._resume(delay)
            elif self._adjust(delay):
                self.stretched += tick
                return [Conceal(tick)]
        if queue:
            timestamp, sequence, payload, samples, noise = queue[0]
            if timestamp == self._next and samples == tick and not noise:  # nearly every tick
                del queue[0]
                follows, self._follows = self._follows, True
                self._held = 0
                self._next += tick
                self.played += tick
                self._played = sequence
                return [_NEW(Play, (payload, 0, tick, follows))]
        pieces: list[Piece] = []
        need = tick
        while need:
            if not queue:
                pieces.append(self._dry(need))
                break
            timestamp, sequence, payload, samples, noise = queue[0]
            if timestamp + samples <= self._next:
                del queue[0]
                if noise:
                    self._pause = payload
                    self._pause_at = self._played = sequence
            elif timestamp <= self._next:
                start = self._next - timestamp
                count = min(samples - start, need)
                pieces.append(Play(payload, start, count, self._follows))
                self._follows = True
                self._held = 0
                self._next += count
                need -= count
                self.played += count
                self._played = sequence
                if start + count == samples:
                    del queue[0]
            elif self._held:  # the wait for what is lost was its concealment
                passed = min(timestamp - self._next, self._held)
                self._next += passed
                self._held -= passed
                self._follows = False
            else:
                count = min(timestamp - self._next, need)
                if self._pause_at > self._played or self._nothing_lost(sequence):
                    pieces.append(self._silence(count))
                else:
                    follows = timestamp - self._next == count and not noise
                    pieces.append(Conceal(count, payload if follows else b""))
                    self.concealed += count
                    if self._too_short(delay):  # overtaken rather than lost, it may be: wait for it
                        self._held += count
                        need -= count
                        continue
                self._next += count
                need -= count
        return pieces

    def _silence(self, samples: int) -> Piece:
        if self._pause and self._pause_at >= self._played:
            return Noise(self._pause, samples)
        return Empty(samples)

    def _dry(self, samples: int) -> Piece:
        """Nothing to play: silence in a pause, else concealment, and playout waits where it is."""
        if self._pause_at >= self._played:
            self._playing = False  # talk begins again at the target delay
            return self._silence(samples)
        if self._held >= self._max:
            self._playing = False
            return Empty(samples)
        self._held += samples
        if self._held > self._tick:
            self._wary_until = self.ticks + _WARY_TICKS
        self.concealed += samples
        self._follows = True  # concealment goes on from what was played, and joins by itself
        return Conceal(samples)

    def _nothing_lost(self, sequence: int) -> bool:
        """Whether every packet between the one played last and `sequence` was an event."""
        missing = sequence - self._played - 1
        return missing <= 0 or (
            missing <= _MAX_EVENTS and all(number in self._events for number in range(self._played + 1, sequence))
        )

    def _resume(self, delay: int) -> None:
        """Sound is back after a dry spell: if it came a moment late, pass over that moment and keep the delay."""
        if self._held <= self._tick and not self._too_short(delay - self._held):
            self._next += self._held
            self.skipped += self._held
            self._follows = False
        self._held = 0

    def _leap(self, delay: int) -> int:
        """More waits than any network asks for: whoever plays it is too slow for it, by his clock or for want of a
        processor. On to the target at once, lest it grow until all that is left of the sound is what is dropped."""
        last = self._queue[-1]
        passed = max(0, min(delay - self.target(), last.timestamp + last.samples - self._tick - self._next))
        self._next += passed
        self.skipped += passed
        self._held = 0
        self._follows = False
        return delay - passed

    def _too_short(self, delay: int) -> bool:
        """An eighth below the target is near enough: delay comes in whole ticks."""
        target = self.target()
        return delay < target - target // 8

    def _adjust(self, delay: int) -> bool:
        """Move the delay toward the target by a tick; True where a tick of silence is to be inserted."""
        tick = self._tick
        target = self.target()
        enough = target if self._pauses else target - target // 8  # as in _too_short
        if delay - tick >= enough:
            self._over += 1
            pauses = self._pauses
            patience = _PATIENCE_TICKS if pauses else _NO_PATIENCE_TICKS
            much = delay - enough >= _MUCH_TICKS * tick and self._over >= _STEADY_TICKS
            if (self._over >= patience and not pauses) or (self._quiet >= 5 and (self._over >= patience or much)):
                last = self._queue[-1]
                if last.timestamp + last.samples - self._next >= 2 * tick:
                    passed = self._short_cut()
                    self._next += passed
                    self.skipped += passed
                    self._follows = False
                    self._over = patience // 2 if pauses else patience - 5
                    self._quiet = 0
            return False
        self._over = 0
        if self._quiet >= 5 and delay < enough:
            self._quiet = 0
            return True
        return False

    def _short_cut(self) -> int:
        """How much to pass over: to a packet's beginning if one is within a tick, lest every tick need two."""
        end = self._next + self._tick
        starts = [queued.timestamp for queued in self._queue[:4] if self._next < queued.timestamp <= end]
        return starts[-1] - self._next if starts else self._tick

    # --- what it knows -------------------------------------------------------------------------------------

    @property
    def depth_s(self) -> float:
        """Sound waiting in the buffer."""
        if not self._queue or not self._playing:
            return 0.0
        last = self._queue[-1]
        return max(0, last.timestamp + last.samples - self._next) / self._clock_hz

    @property
    def target_s(self) -> float:
        """The delay aimed at, over the earliest packets."""
        return self.target() / self._clock_hz

    @property
    def concealed_share(self) -> float:
        """Concealed samples of all that were due, 0 to 1."""
        due = self.played + self.concealed
        return self.concealed / due if due else 0.0
