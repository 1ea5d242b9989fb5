"""Symmetric RTP (RFC 4961; RFC 7362 section 4): where to send, and whose packets count.

A peer behind a NAT sends from another address than its SDP says. The latch starts at the SDP's address and
follows the first plausible source, the more willingly the nearer it is to that address:

| source               | taken                        | locked after       |
|----------------------|------------------------------|--------------------|
| the SDP's IP, port   | always, even from a lock     | its first packet   |
| the SDP's IP         | before a foreign one is locked | NEAR_PACKETS     |
| another IP           | when nothing better came     | FOREIGN_PACKETS    |

Once locked, other sources are refused until the session description moves the target. Pure; the caller
checks the payload type and holds the lock of its stream.
"""

Address = tuple[str, int]

NEAR_PACKETS = 3  # a stray packet of the previous call on that host must not hold us
FOREIGN_PACKETS = 25  # half a second of audio: time for the real peer to show itself

_FOREIGN, _NEAR, _EXACT = 1, 2, 3


class Latch:
    """`remote` is where to send, None before a target is known. `refused` counts packets of strangers."""

    def __init__(self) -> None:
        self.remote: Address | None = None
        self.refused = 0
        self._target: Address | None = None
        self._rank = 0
        self._packets = 0
        self._locked = False

    @property
    def locked(self) -> bool:
        return self._locked

    @property
    def trusted(self) -> bool:
        """A packet of the source we follow may open a door: it is locked, or at the signalled IP."""
        return self._locked or self._rank >= _NEAR

    @property
    def moved(self) -> bool:
        """The peer sends from elsewhere than its SDP says."""
        return self.remote != self._target

    def aim(self, target: Address) -> bool:
        """Follow the session description. True when the address changed and the window opens again."""
        if target == self._target:
            return False
        self._target = self.remote = target
        self._rank = self._packets = 0
        self._locked = False
        return True

    def reopen(self) -> None:
        """We have another address ourselves: a NAT of the peer's may show it at another one from now on."""
        self._rank = self._packets = 0
        self._locked = False

    def admit(self, source: Address) -> bool:
        """One plausible RTP packet came from `source`: does it count?"""
        if self._locked and source == self.remote:
            return True
        target = self._target
        if target is None:
            self.refused += 1
            return False
        rank = _EXACT if source == target else _NEAR if source[0] == target[0] else _FOREIGN
        if rank > self._rank and (rank == _EXACT or not self._locked):
            self.remote, self._rank, self._packets = source, rank, 0
        elif source != self.remote:
            self.refused += 1
            return False
        self._packets += 1
        if rank == _EXACT or self._packets >= (NEAR_PACKETS if rank == _NEAR else FOREIGN_PACKETS):
            self._locked = True
        return True
