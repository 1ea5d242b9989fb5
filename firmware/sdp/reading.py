"""What a peer's media lines amount to for us: codec, numbers, direction, address (RFC 3264 sections 5 to 8).

Functions of descriptions only; whose turn it is, and what is written back, is offer_answer.py's business.
"""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Final, Literal

from firmware.sdp.agreement import RECEIVES, SENDS, AgreedMedia, Agreement, Codec, LocalMedia
from firmware.sdp.codecs import AUDIO_CODECS, VIDEO_CLOCK_HZ, Format, H264Parameters, opus_bit_rate
from firmware.sdp.description import Direction, MediaDescription, SessionDescription
from firmware.sdp.errors import SdpError
from firmware.sdp.protection import answered_handshake, answered_keys, found_by_ice, refused_for

# RFC 3264 section 6.1: what may answer a direction.
_LEGAL_ANSWERS: Final[dict[Direction, frozenset[Direction]]] = {
    "sendrecv": frozenset(("sendrecv", "sendonly", "recvonly", "inactive")),
    "sendonly": frozenset(("recvonly", "inactive")),
    "recvonly": frozenset(("sendonly", "inactive")),
    "inactive": frozenset(("inactive",)),
}


def read_offered_line(offer: SessionDescription, media: MediaDescription, local: LocalMedia) -> AgreedMedia | None:
    """What we make of one offered line; None refuses it."""
    if media.kind == "audio":
        ours = local.audio_direction
    elif media.kind == "video" and local.video_port is not None:
        ours = local.video_direction
    else:
        return None
    if refused_for(offer, media, local):
        return None
    return _read_line(offer, media, local, _common(ours, _mirror(offer.direction_of(media))))


def read_answer(offer: SessionDescription, answer: SessionDescription, local: LocalMedia) -> Agreement:
    """Pair the answer's lines with the offer's. Lines left out count as refused, lines too many as not there.

    An answer must have the offer's lines in the offer's order, but gateways drop a line they do not know, and
    then the others move up (Restcomm-Connect#983): where the kinds differ, the first unread line of our kind
    is taken.
    """
    unread = list(answer.media)
    streams: dict[str, AgreedMedia] = {}
    for index, ours in enumerate(offer.media):
        if ours.port == 0:
            continue
        theirs = answer.media[index] if index < len(answer.media) else None
        if theirs is None or theirs.kind != ours.kind or theirs not in unread:
            theirs = next((media for media in unread if media.kind == ours.kind), None)
        if theirs is None:
            continue
        unread.remove(theirs)
        offered_direction = offer.direction_of(ours)
        answered_direction = answer.direction_of(theirs)
        if answered_direction not in _LEGAL_ANSWERS[offered_direction]:
            # A monitor that copies our a=sendonly into its answer wants the picture all the same.
            answered_direction = _mirror(offered_direction)
        direction = _common(offered_direction, _mirror(answered_direction))
        keys = answered_keys(ours, theirs)
        if keys is None and (local.srtp == "mandatory" or refused_for(answer, theirs, local)):
            continue
        if keys is None and theirs.attribute("crypto") is not None and ours.attribute("crypto") is not None:
            continue  # it wants to encrypt, with what we cannot
        agreed = _read_line(answer, theirs, local, direction)
        if agreed is not None:
            mux = agreed.rtcp_mux and ours.attribute("rtcp-mux") is not None
            agreed = replace(_with_our_numbers(agreed, ours), keys=keys, rtcp_mux=mux)
            agreed = answered_handshake(ours, answer, theirs, agreed)
        if agreed is not None:
            streams[ours.kind] = agreed
    return Agreement(streams.get("audio"), streams.get("video"))


def _read_line(
    session: SessionDescription, media: MediaDescription, local: LocalMedia, direction: Direction
) -> AgreedMedia | None:
    if media.port == 0:
        return None
    dtmf = None
    packetization_mode = bit_rate = 0
    kind: Literal["audio", "video"] = "audio"
    if media.kind == "audio":
        formats = media.rtp_formats()
        codec = _select_audio(formats, local.audio_codecs)
        if codec is not None:
            dtmf = _select_dtmf(formats, codec.clock_hz)
            if codec.name == "opus":
                bit_rate = opus_bit_rate(codec.fmtp, local.opus_bit_rate)
    else:
        kind = "video"
        codec, packetization_mode = _select_video(media.rtp_formats(), local.video_profile_level_id)
    if codec is None:
        return None
    named = session.host_of(media)
    if named is None:
        raise SdpError(f"no address for {media.kind}: no c= line")
    host = _sendable(named)
    rtcp_port, rtcp_host = media.rtcp
    if host is None:
        host = rtcp_host = "::" if ":" in named else "0.0.0.0"
        if not found_by_ice(session, media, local):  # with candidates yet to come, no address is named (RFC 8840)
            direction = _common(direction, "recvonly")
    elif rtcp_host is not None:
        rtcp_host = _sendable(rtcp_host)
    return AgreedMedia(
        kind,
        direction,
        host,
        media.port,
        rtcp_host or host,
        rtcp_port,
        codec,
        dtmf,
        _ptime_ms(media, local),
        packetization_mode,
        bit_rate=bit_rate,
        event_types=() if dtmf is None else (dtmf.receive_payload_type,),
        rtcp_mux=media.attribute("rtcp-mux") is not None,
    )


def _select_audio(formats: Sequence[Format], names: Sequence[str]) -> Codec | None:
    """The first format in the peer's order that is one of ours."""
    ours = {name.upper(): name for name in names}
    for each in formats:
        name = ours.get(each.name.upper())
        if name is None or each.clock_hz != AUDIO_CODECS[name].clock_hz:
            continue
        channels = AUDIO_CODECS[name].channels
        if each.channels == channels or name == "opus":  # its channels say nothing; some phones leave them out
            return Codec(name, each.clock_hz, each.payload_type, each.payload_type, channels, each.fmtp)
    return None


def _select_dtmf(formats: Sequence[Format], clock_hz: int) -> Codec | None:
    """telephone-event at the codec's clock; at another one where that is all there is, as Polycom's /8000."""
    events = [each for each in formats if each.name.lower() == "telephone-event"]
    events.sort(key=lambda each: each.clock_hz != clock_hz)
    if not events:
        return None
    best = events[0]
    return Codec("telephone-event", best.clock_hz, best.payload_type, best.payload_type, 1, best.fmtp)


def _select_video(formats: Sequence[Format], profile_level_id: str) -> tuple[Codec | None, int]:
    """H.264 by mode, 1 before 0 (fragmented pictures), then by nearness of the profile; with its mode."""
    best: tuple[int, int, Format] | None = None
    for each in formats:
        if each.name.upper() != "H264" or each.clock_hz != VIDEO_CLOCK_HZ:
            continue
        parameters = H264Parameters.from_fmtp(each.fmtp)
        distance = parameters.shows(profile_level_id)
        if distance is None or parameters.packetization_mode > 1:  # mode 2 interleaves; nobody needs it
            continue
        rank = (1 - parameters.packetization_mode, distance)
        if best is None or rank < best[:2]:
            best = (*rank, each)
    if best is None:
        return None, 0
    number = best[2].payload_type
    return Codec("H264", VIDEO_CLOCK_HZ, number, number, 1, best[2].fmtp), 1 - best[0]


def _with_our_numbers(agreed: AgreedMedia, ours: MediaDescription) -> AgreedMedia:
    """The peer sends with the numbers of our offer, whatever numbers its answer has."""
    formats = ours.rtp_formats()

    def ours_for(codec: Codec) -> Codec:
        for each in formats:
            if (
                each.name == codec.name
                and each.clock_hz == codec.clock_hz
                and (
                    codec.name != "H264"
                    or H264Parameters.from_fmtp(each.fmtp).packetization_mode == agreed.packetization_mode
                )
            ):
                return replace(codec, receive_payload_type=each.payload_type)
        return codec  # an event clock that we did not offer: whatever comes will have the peer's number

    if agreed.dtmf is None:
        return replace(agreed, codec=ours_for(agreed.codec))
    dtmf = ours_for(agreed.dtmf)
    events = [each.payload_type for each in formats if each.name == dtmf.name]
    types = tuple(dict.fromkeys((dtmf.receive_payload_type, *events)))
    return replace(agreed, codec=ours_for(agreed.codec), dtmf=dtmf, event_types=types)


def _sendable(host: str) -> str | None:
    """The address in its normal form if media can be sent there; None for names, null, multicast, broadcast.

    Names are legal (RFC 4566 section 5.7) and not resolved: media to an address that the peer does not send
    from is what latching is for, and a look-up would stop the call for as long as it takes.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if address.is_unspecified or address.is_multicast or host == "255.255.255.255":
        return None
    return str(address)


def _ptime_ms(media: MediaDescription, local: LocalMedia) -> int:
    """What the peer asks for within what a packet of ours can carry, else ours."""
    wanted = media.ptime_ms or local.ptime_ms
    return max(10, min(wanted, media.maxptime_ms or wanted, 60))


def _mirror(direction: Direction) -> Direction:
    if direction == "sendonly":
        return "recvonly"
    return "sendonly" if direction == "recvonly" else direction


def _common(ours: Direction, wanted: Direction) -> Direction:
    """What two directions of one side have in common: send if both send, receive if both receive."""
    if ours in SENDS and wanted in SENDS:
        return "sendrecv" if ours in RECEIVES and wanted in RECEIVES else "sendonly"
    return "recvonly" if ours in RECEIVES and wanted in RECEIVES else "inactive"
