"""What can be wrong with a session description, and with the order in which descriptions are exchanged."""


class SdpError(ValueError):
    """The description cannot be used: not SDP, a broken line, or nothing in common. An offer is answered 488."""


class OutOfTurn(SdpError):
    """An offer or answer for which the exchange has no place now (RFC 3264 section 4): two offers crossed,
    an answer without an offer. An offer is answered 491 (RFC 3261 section 14.2)."""
