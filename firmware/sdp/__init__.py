"""Session descriptions and their exchange. Pure: bytes in, agreements out."""

from firmware.sdp.agreement import AgreedMedia, Agreement, Codec, LocalMedia
from firmware.sdp.description import Direction, MediaDescription, SessionDescription
from firmware.sdp.errors import OutOfTurn, SdpError
from firmware.sdp.offer_answer import OfferAnswer, State

__all__ = [
    "AgreedMedia",
    "Agreement",
    "Codec",
    "Direction",
    "LocalMedia",
    "MediaDescription",
    "OfferAnswer",
    "OutOfTurn",
    "SdpError",
    "SessionDescription",
    "State",
]
