"""One dialog of a call and whose offer is open in it: RFC 3264, RFC 6337 2, RFC 3311 5.2, RFC 3261 14.

    offer  | input                  | next   | a further offer of the peer gets
    -------|------------------------|--------|----------------------------------
    none   | we offer               | ours   |
    none   | the peer offers        | theirs |
    ours   | the peer answers       | none   |
    ours   | our offer is refused   | none   |
    ours   | the peer offers        | ours   | 491
    theirs | we answer              | none   |
    theirs | we refuse              | none   |
    theirs | the peer offers        | theirs | 500

An offer travels in INVITE, UPDATE, PRACK, a reliable 1xx or a 2xx; which of them is the call's affair. A forked
INVITE has one session per early dialog, and its offer is open in each of them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from firmware.sip.dialog import Dialog
from firmware.sip.message import Request
from firmware.sip.transactions import Server

if TYPE_CHECKING:
    from firmware.sip.modification import Modification

Offer = Literal["none", "ours", "theirs"]
Input = Literal["we offer", "the peer offers", "the peer answers", "our offer is refused", "we answer", "we refuse"]
TABLE: dict[tuple[Offer, Input], Offer] = {
    ("none", "we offer"): "ours",
    ("none", "the peer offers"): "theirs",
    ("ours", "the peer answers"): "none",
    ("ours", "our offer is refused"): "none",
    ("theirs", "we answer"): "none",
    ("theirs", "we refuse"): "none",
}
COLLISIONS: dict[Offer, int] = {"none": 0, "ours": 491, "theirs": 500}


@dataclass(slots=True, eq=False)
class Session:
    dialog: Dialog
    offer: Offer = "none"
    waiting: Server | None = None  # the peer's re-INVITE, UPDATE or PRACK that the station must answer
    modification: "Modification | None" = None  # our re-INVITE or UPDATE that is under way
    local_sdp: bytes = b""  # as we described ourselves last: what a refresh repeats

    def step(self, what: Input) -> None:
        """Note who offered or answered; what does not fit the state changes nothing."""
        self.offer = TABLE.get((self.offer, what), self.offer)

    def collision(self, request: Request, *, offers: bool) -> int:
        """What keeps a re-INVITE or an UPDATE of the peer from being served: 491, 500, or 0."""
        if self.waiting is not None:
            return 500
        ours = self.modification
        if request.method == "INVITE" and ours is not None and ours.method == "INVITE" and not ours.pausing:
            return 491
        return COLLISIONS[self.offer] if offers or request.method == "INVITE" else 0

    @property
    def at_rest(self) -> bool:
        """Whether we may make an offer now."""
        return self.waiting is None and self.modification is None and self.offer == "none"
