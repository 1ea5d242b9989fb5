"""How much picture the network carries: bit rate and frame rate of one encode, from what its legs report.

Each leg has a wish of its own. Loss takes it down as the loss-based controller of draft-ietf-rmcat-gcc-02 section
6 does: above 10 % by half of the share that was lost, between 2 % and 10 % it stays, below 2 % it grows by 5 % a
second. REMB and TMMBR (RFC 5104 section 4.2) are obeyed at once, as bounds; but a REMB is an estimate from what
came: libwebrtc's begins with just that, and grows only as more comes. One that is about what is sent says that all
gets through, and an older bound is lifted by a tenth each time. The picture is encoded once, so somebody must
win:

- while somebody talks with the visitor, that leg's: the others only look on, or are about to be cancelled;
- else the lowest, but no lower than half of the full rate: one monitor on bad Wi-Fi must not spoil the picture for
  the five others that ring.

The frame rate is full down to half of the bit rate, and goes down with it from there: fewer good pictures are worth
more at a door than many bad ones. Pure: reports and `now` in, the wish out.
"""

from dataclasses import dataclass

LEAST_SHARE = 0.1  # of the full bit rate; below it there is no picture worth sending
LEAST_BPS = 64_000
LEAST_FPS = 5.0
_HIGH_LOSS, _LOW_LOSS = 0.10, 0.02
_GROWTH = 0.05  # a second
_BOUND_S = 15.0  # a REMB that is not repeated is forgotten; libwebrtc repeats it every second
_THROUGH = 0.85  # of what is sent: libwebrtc says that share of what came, where it sees a queue grow
_LIFT = 1.1
_STEP = 0.08  # smaller changes are not worth an encoder's trouble


@dataclass(slots=True)
class _Leg:
    share: float  # of the full bit rate, at `at_s`
    at_s: float
    steady: bool = False  # the last report was of some loss: it does not grow
    remb_bps: float = 0.0
    remb_until_s: float = 0.0
    tmmbr_bps: float = 0.0
    said: tuple[float, float] = (0.0, 0.0)  # the last REMB, and until when it is news

    def wish(self, now: float, full_bps: float) -> float:
        growth = 1.0 if self.steady else (1 + _GROWTH) ** min(100.0, max(0.0, now - self.at_s))
        wish = min(self.share * growth, 1.0) * full_bps
        if self.remb_bps and now < self.remb_until_s:
            wish = min(wish, self.remb_bps)
        return min(wish, self.tmmbr_bps) if self.tmmbr_bps else wish


class RateControl:
    """One encode for any number of legs, each known by a key of the caller's. Any thread may call."""

    def __init__(self) -> None:
        self._full_bps, self._full_fps = 0.0, 0.0
        self._legs: dict[object, _Leg] = {}  # replaced as a whole: another thread may be going through it
        self._talking: object = None
        self.bit_rate, self.frame_rate = 0, 0.0

    def grant(self, full_bps: int, full_fps: float) -> None:
        """What the encoder does by itself, before any step."""
        if (full_bps, full_fps) != (self._full_bps, self._full_fps):
            self._full_bps, self._full_fps = float(full_bps), full_fps
            self.bit_rate, self.frame_rate = full_bps, full_fps

    def join(self, leg: object, now: float) -> None:
        if leg not in self._legs:
            self._legs = {**self._legs, leg: _Leg(1.0, now)}

    def leave(self, leg: object) -> None:
        self._legs = {other: known for other, known in self._legs.items() if other is not leg}
        self.talks(leg, on=False)

    def talks(self, leg: object, *, on: bool) -> None:
        """This leg talks with the visitor, or no longer does."""
        if on:
            self._talking = leg
        elif self._talking is leg:
            self._talking = None

    def lost(self, leg: object, share: float, now: float) -> None:
        """A receiver report: the share of packets that did not arrive since the one before, 0 to 1."""
        known = self._legs.get(leg)
        if known is None or not self._full_bps:
            return
        wish = known.wish(now, self._full_bps)
        if share > _HIGH_LOSS:
            wish *= 1 - share / 2
        known.steady = share >= _LOW_LOSS
        known.share, known.at_s = max(wish, self._least_bps) / self._full_bps, now

    def remb(self, leg: object, bit_rate: float, now: float, sent_bps: float) -> None:
        """`sent_bps`: what went to the leg over the last seconds."""
        known = self._legs.get(leg)
        if known is None:
            return
        known.said = bit_rate, now + _BOUND_S
        bound_bps = known.remb_bps if now < known.remb_until_s else 0.0
        if bit_rate < _THROUGH * sent_bps:
            known.remb_bps, known.remb_until_s = known.said
        elif bound_bps:
            known.remb_bps, known.remb_until_s = max(bit_rate, _LIFT * bound_bps), now + _BOUND_S

    def tmmbr(self, leg: object, bit_rate: float) -> None:
        """Stands until the leg says another."""
        known = self._legs.get(leg)
        if known is not None:
            known.tmmbr_bps = bit_rate

    def said(self, leg: object, now: float) -> int:
        """The most that this leg says it wants, obeyed or not, bits a second; 0 where it has not said of late."""
        known = self._legs.get(leg)
        if known is None:
            return 0
        remb_bps, until_s = known.said
        told = [known.tmmbr_bps, remb_bps if now < until_s else 0.0]
        return round(min((each for each in told if each), default=0.0))

    @property
    def _least_bps(self) -> float:
        return min(self._full_bps, max(LEAST_BPS, LEAST_SHARE * self._full_bps))

    def wanted(self, now: float) -> tuple[int, float] | None:
        """(bits a second, pictures a second) where they are to change; None while they are right."""
        if not self._full_bps:
            return None
        wish = round(max(self._wish(now), self._least_bps))
        at_an_end = wish >= self._full_bps or wish <= self._least_bps
        if wish == self.bit_rate or (abs(wish - self.bit_rate) < _STEP * self.bit_rate and not at_an_end):
            return None
        share = wish / self._full_bps
        least_fps = min(LEAST_FPS, self._full_fps)
        frame_rate = self._full_fps if share >= 0.5 else max(least_fps, round(2 * share * self._full_fps, 1))
        self.bit_rate, self.frame_rate = wish, frame_rate
        return wish, frame_rate

    def _wish(self, now: float) -> float:
        talking = self._legs.get(self._talking)
        if talking is not None:
            return talking.wish(now, self._full_bps)
        lowest = min((leg.wish(now, self._full_bps) for leg in self._legs.values()), default=self._full_bps)
        return lowest if len(self._legs) == 1 else max(lowest, self._full_bps / 2)
