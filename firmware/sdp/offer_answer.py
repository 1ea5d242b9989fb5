"""The offer/answer machine of one session (RFC 3264, RFC 6337), apart from dialogs and sockets.

It writes our offers and answers and says what was agreed. It knows one audio and one video stream over plain RTP
or SRTP (see protection.py); a line it has no use for is answered with port 0. It does not know which message
carries a description: the caller says whether an answer is provisional, and feeds one machine per INVITE.

| state | what happens | next state | what comes of it |
|---|---|---|---|
| STABLE | create_offer | LOCAL_OFFER | our offer |
| STABLE | repeat_offer | LOCAL_OFFER | our last description, offer or answer |
| STABLE | receive_offer | REMOTE_OFFER | |
| STABLE | receive_offer, unreadable | STABLE | SdpError: 488 |
| STABLE | receive_answer | STABLE | OutOfTurn |
| STABLE | create_answer | STABLE | OutOfTurn |
| STABLE | reject_offer | STABLE | nothing to reject |
| LOCAL_OFFER | receive_answer, provisional | LOCAL_OFFER | agreement of that early dialog |
| LOCAL_OFFER | receive_answer | STABLE | agreement |
| LOCAL_OFFER | receive_answer, empty after a provisional one | STABLE | the provisional agreement stands |
| LOCAL_OFFER | receive_answer, empty | LOCAL_OFFER | SdpError |
| LOCAL_OFFER | receive_answer, unreadable | LOCAL_OFFER | SdpError, agreement as it was |
| LOCAL_OFFER | receive_offer | LOCAL_OFFER | OutOfTurn: 491 |
| LOCAL_OFFER | create_offer | LOCAL_OFFER | OutOfTurn |
| LOCAL_OFFER | repeat_offer | LOCAL_OFFER | OutOfTurn |
| LOCAL_OFFER | create_answer | LOCAL_OFFER | OutOfTurn |
| LOCAL_OFFER | reject_offer | STABLE | the agreement before the offer stands |
| REMOTE_OFFER | create_answer | STABLE | our answer and the agreement |
| REMOTE_OFFER | create_answer, nothing in common | STABLE | SdpError: 488; the agreement stands |
| REMOTE_OFFER | receive_offer | REMOTE_OFFER | OutOfTurn: 491 |
| REMOTE_OFFER | create_offer | REMOTE_OFFER | OutOfTurn |
| REMOTE_OFFER | repeat_offer | REMOTE_OFFER | OutOfTurn |
| REMOTE_OFFER | receive_answer | REMOTE_OFFER | OutOfTurn |
| REMOTE_OFFER | reject_offer | STABLE | the agreement stands |
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from enum import Enum, auto
from typing import Final, Literal

from firmware.sdp.agreement import AgreedMedia, Agreement, Codec, LocalMedia
from firmware.sdp.codecs import AUDIO_CODECS, VIDEO_CLOCK_HZ, H264Parameters, opus_fmtp
from firmware.sdp.description import Attribute, Direction, MediaDescription, SessionDescription
from firmware.sdp.errors import OutOfTurn, SdpError
from firmware.sdp.protection import (
    SECURE_RTP,
    OwnKeys,
    answer_handshake,
    handshake_offered,
    refused_for,
    restarts_ice,
)
from firmware.sdp.reading import read_answer, read_offered_line

__all__ = ["AgreedMedia", "Agreement", "Codec", "LocalMedia", "OfferAnswer", "State"]

FIRST_DYNAMIC: Final = 96
FEEDBACK: Final = ("nack", "nack pli", "ccm fir")  # RFC 4585, RFC 5104
# Bounds of our bit rate: what browsers send if it is named (draft-alvestrand-rmcat-remb), and RFC 5104's own. Lines
# that are not AVPF are short of room: they belong to phones, whose INVITE comes as one datagram.
BOUNDS: Final = ("goog-remb", "ccm tmmbr")
_PROFILES: Final = {"mandatory": "RTP/SAVP", "dtls": "UDP/TLS/RTP/SAVPF"}


class State(Enum):
    STABLE = auto()
    LOCAL_OFFER = auto()
    REMOTE_OFFER = auto()


class OfferAnswer:
    """`session_id` (up to 63 bits) goes into our o= line and stays; its version grows with every changed SDP.
    `random` gives that many octets for a key; nobody without it can encrypt."""

    def __init__(self, session_id: int, *, random: Callable[[int], bytes] | None = None) -> None:
        self.state = State.STABLE
        self.agreement: Agreement | None = None
        self._session_id = session_id
        self._version = 0
        self._written: SessionDescription | None = None  # the last description we sent, whatever became of it
        self._slots: tuple[MediaDescription, ...] = ()  # the session's lines: a re-offer keeps their order
        self._numbers: dict[tuple[str, str], int] = {}  # dynamic payload types keep their meaning (RFC 3264 8.3.2)
        self._local: LocalMedia | None = None  # of our open offer
        self._offered: SessionDescription | None = None  # the open offer, ours or the peer's
        self._before: Agreement | None = None  # what stands if our open offer fails
        self._answered_early = False
        self._keys = OwnKeys(random)

    def create_offer(self, local: LocalMedia) -> bytes:
        """Offer all of `local`; a stream of the session that it lacks is switched off in its place."""
        self._expect(State.STABLE, "an offer is open already")
        lines = [self._switched_off(slot) for slot in self._slots]
        self._place(lines, self._audio_offer(local))
        if local.video_port is not None:
            self._place(lines, self._video_offer(local))
        self._local, self._before, self._answered_early = local, self.agreement, False
        self._offered = self._write(local, lines)
        self.state = State.LOCAL_OFFER
        return bytes(self._offered)

    def receive_answer(self, data: bytes, *, provisional: bool = False) -> Agreement:
        """Read the answer to our offer.

        A provisional one leaves the offer open: the next may come from another dialog of a forked INVITE, or
        differ in the 200. An empty one after a provisional answer confirms that answer.
        """
        self._expect(State.LOCAL_OFFER, "an answer without an offer")
        assert self._offered is not None
        assert self._local is not None
        if data or not self._answered_early or self.agreement is None:
            answer = SessionDescription.parse(data)
            self.agreement = read_answer(self._offered, answer, self._local)
        agreement = self.agreement
        if provisional:
            self._answered_early = True
        else:
            self._settle(self._offered.media, agreement)
        return agreement

    def receive_offer(self, data: bytes) -> None:
        """Take the peer's offer; create_answer or reject_offer ends it."""
        self._expect(State.STABLE, "an offer is open already")
        self._offered = SessionDescription.parse(data)
        self.state = State.REMOTE_OFFER

    def restarts(self) -> frozenset[str]:
        """The kinds of streams whose ICE the peer's open offer restarts: the answer needs new names for them."""
        offer = self._offered
        if self.state is not State.REMOTE_OFFER or offer is None:
            return frozenset()
        return frozenset(
            media.kind for media in offer.media if restarts_ice(offer, media, self._agreed(media.kind))
        )

    def create_answer(self, local: LocalMedia) -> tuple[bytes, Agreement]:
        """Answer line by line, in order. Raises SdpError where nothing offered can be used: answer 488."""
        self._expect(State.REMOTE_OFFER, "an answer without an offer")
        offer = self._offered
        assert offer is not None
        self.state, self._offered = State.STABLE, None
        streams: dict[str, AgreedMedia] = {}
        lines = []
        for media in offer.media:
            agreed = None
            if media.kind not in streams:
                agreed = read_offered_line(offer, media, local)
            if agreed is None:
                lines.append(self._switched_off(media))
                continue
            keys, more = self._keys.answer(media, local, self._agreed(media.kind))
            if agreed.rtcp_mux:
                more.append(("rtcp-mux", ""))
            before = self._agreed(media.kind)
            agreed, handshake = answer_handshake(offer, media, replace(agreed, keys=keys), local, before)
            streams[media.kind] = agreed
            more += handshake
            lines.append(self._answer_line(media, agreed, local, more))
        self._check_common(offer, streams, local)
        self.agreement = Agreement(streams.get("audio"), streams.get("video"))
        description = self._write(local, lines)
        self._settle(description.media, self.agreement)
        return bytes(description), self.agreement

    def repeat_offer(self, local: LocalMedia) -> bytes:
        """Our last description once more, to the letter: a refresh, whose answer may still bring news."""
        self._expect(State.STABLE, "an offer is open already")
        assert self._written is not None
        self._local, self._before, self._answered_early = local, self.agreement, False
        self._offered = self._written
        self.state = State.LOCAL_OFFER
        return bytes(self._offered)

    def fork(self) -> "OfferAnswer":
        """A machine of its own for one early dialog of a forked INVITE (RFC 3261 13.2.2.4): all that was said is
        the same, what is answered from now on is not."""
        other = copy(self)
        other._numbers = dict(self._numbers)
        other._keys = self._keys.copy()
        return other

    def reject_offer(self) -> None:
        """The open offer, whoever's it was, has been refused; the session goes on as before it."""
        if self.state is State.LOCAL_OFFER:
            self.agreement = self._before
        self.state, self._offered = State.STABLE, None

    # --- lines we write ------------------------------------------------------------------------------------

    def _audio_offer(self, local: LocalMedia) -> MediaDescription:
        formats: list[str] = []
        attributes: list[Attribute] = []
        for name in local.audio_codecs:
            ours = AUDIO_CODECS[name]
            number = self._number("audio", name, ours.payload_type) if ours.dynamic else ours.payload_type
            formats.append(str(number))
            attributes += _audio_attributes(local, number, name)
        # One telephone-event per clock: phones scale durations by the codec's. The lowest clock gets the number
        # that phones use for events which they never agreed on.
        for clock_hz in sorted({AUDIO_CODECS[name].clock_hz for name in local.audio_codecs}):
            number = self._number("audio", f"telephone-event/{clock_hz}", local.dtmf_payload_type)
            formats.append(str(number))
            attributes += _dtmf_attributes(number, clock_hz)
        return self._protected(_media("audio", local, formats, attributes, local.audio_direction), local)

    def _video_offer(self, local: LocalMedia) -> MediaDescription:
        formats: list[str] = []
        attributes: list[Attribute] = []
        for mode in (1, 0):
            number = self._number("video", f"H264/{mode}", FIRST_DYNAMIC + 1 - mode)
            formats.append(str(number))
            # The parameter sets are one encoder's and long: said once, and with every key frame in the stream.
            # Phones that know mode 0 alone are older than asymmetric levels.
            once = local if mode else replace(local, sprop_parameter_sets="")
            attributes += _h264_attributes(once, number, local.video_profile_level_id, mode, asymmetry=bool(mode))
        return self._protected(_media("video", local, formats, attributes, local.video_direction), local)

    def _protected(self, line: MediaDescription, local: LocalMedia) -> MediaDescription:
        """The line with our keys and under the profile that goes with them; one in use keeps its profile."""
        kind = line.kind
        attributes = [*line.attributes, *self._keys.offer(kind, local, self._agreed(kind))]
        handshake = handshake_offered(kind, local)
        attributes += handshake
        if local.rtcp_mux or handshake:
            attributes.append(("rtcp-mux", ""))
        used = [slot.protocol for slot in self._slots if slot.kind == kind and slot.port]
        protocol = used[0] if used else _PROFILES.get(local.srtp, line.protocol)
        if local.srtp == "off" and protocol.upper() in SECURE_RTP:
            protocol = line.protocol
        return _with_bounds(replace(line, protocol=protocol, attributes=tuple(attributes)), BOUNDS)

    def _agreed(self, kind: str) -> AgreedMedia | None:
        if self.agreement is None:
            return None
        return self.agreement.audio if kind == "audio" else self.agreement.video

    def _answer_line(
        self, offered: MediaDescription, agreed: AgreedMedia, local: LocalMedia, more: list[Attribute]
    ) -> MediaDescription:
        """One codec, and the event format that goes with it: no change of codec in mid-call."""
        number = agreed.codec.receive_payload_type
        formats = [str(number)]
        if agreed.kind == "audio":
            attributes = _audio_attributes(local, number, agreed.codec.name)
            if AUDIO_CODECS[agreed.codec.name].dynamic:
                self._keep_number("audio", agreed.codec.name, number)
            if agreed.dtmf is not None:
                event, clock_hz = agreed.dtmf.receive_payload_type, agreed.dtmf.clock_hz
                formats.append(str(event))
                attributes += _dtmf_attributes(event, clock_hz)
                self._keep_number("audio", f"telephone-event/{clock_hz}", event)
        else:
            theirs = H264Parameters.from_fmtp(agreed.codec.fmtp)
            # The profile must be the offer's (RFC 6184 section 8.2.2), the level is ours.
            profile_level_id = theirs.profile_level_id[:4] + local.video_profile_level_id[4:]
            attributes = _h264_attributes(
                local, number, profile_level_id, agreed.packetization_mode, asymmetry=theirs.level_asymmetry_allowed
            )
            self._keep_number("video", f"H264/{agreed.packetization_mode}", number)
        line = _media(agreed.kind, local, formats, attributes, agreed.direction)
        line = replace(line, protocol=offered.protocol, attributes=(*line.attributes, *more))
        wanted = {value.partition(" ")[2] for value in offered.attribute_values("rtcp-fb")}
        return _with_bounds(line, [each for each in BOUNDS if each in wanted])

    @staticmethod
    def _switched_off(media: MediaDescription) -> MediaDescription:
        """The line refused: its own kind, protocol and formats with port 0 (RFC 3264 section 6)."""
        return MediaDescription(media.kind, 0, media.protocol, media.formats)

    def _place(self, lines: list[MediaDescription], line: MediaDescription) -> None:
        """Put the line where its kind is in the session: the place in use, else the first, else a new last one."""
        places = [index for index, slot in enumerate(self._slots) if slot.kind == line.kind]
        if places:
            lines[next((index for index in places if self._slots[index].port), places[0])] = line
        else:
            lines.append(line)

    def _write(self, local: LocalMedia, lines: list[MediaDescription]) -> SessionDescription:
        """The description around the lines; the version grows only if something else differs (RFC 3264 8)."""
        last = self._written
        origin = "" if last is None else last.origin
        description = SessionDescription(origin, local.session_name, local.host, (), tuple(lines))
        if description != last:
            self._version += 1
            family = "IP6" if ":" in local.host else "IP4"
            origin = f"- {self._session_id} {self._version} IN {family} {local.host}"
            description = replace(description, origin=origin)
        self._written = description
        return description

    # --- the session's memory ------------------------------------------------------------------------------

    def _number(self, kind: str, key: str, preferred: int) -> int:
        """The payload type that `key` has in this session, or the next free one from `preferred` on."""
        known = self._numbers.get((kind, key))
        if known is not None:
            return known
        taken = {number for (other, _), number in self._numbers.items() if other == kind}
        while preferred in taken:
            preferred = FIRST_DYNAMIC + (preferred + 1 - FIRST_DYNAMIC) % (128 - FIRST_DYNAMIC)
        self._numbers[kind, key] = preferred
        return preferred

    def _keep_number(self, kind: str, key: str, number: int) -> None:
        """The peer's offer gave `key` this number; whatever of ours had it gets another one next time."""
        self._numbers = {k: n for k, n in self._numbers.items() if k[0] != kind or n != number}
        self._numbers[kind, key] = number

    def _settle(self, lines: tuple[MediaDescription, ...], agreement: Agreement) -> None:
        self._slots = lines
        self._before = agreement
        self._local = self._offered = None
        self.state = State.STABLE

    def _expect(self, state: State, otherwise: str) -> None:
        if self.state is not state:
            raise OutOfTurn(otherwise)

    @staticmethod
    def _check_common(offer: SessionDescription, streams: dict[str, AgreedMedia], local: LocalMedia) -> None:
        """No picture in common must not cost the call, no sound does (a line with port 0 asks for none)."""
        wanted = [media for media in offer.media if media.port]
        sound = [media for media in wanted if media.kind == "audio"]
        if sound and "audio" not in streams:
            why = [refused_for(offer, media, local) for media in sound]
            if "" in why:
                raise SdpError("no common audio codec")
            raise SdpError(f"no common audio transport: {'; '.join(dict.fromkeys(why))}")
        if wanted and not streams:
            raise SdpError("no media in common")


def _media(
    kind: Literal["audio", "video"],
    local: LocalMedia,
    formats: Sequence[str],
    attributes: list[Attribute],
    direction: Direction,
) -> MediaDescription:
    if kind == "audio":
        port, rtcp_port = local.audio_port, local.audio_rtcp_port
        attributes = [*attributes, ("ptime", str(local.ptime_ms))]
    else:
        port, rtcp_port = local.video_port or 0, local.video_rtcp_port
        # Phones that find these send them under RTP/AVP as well.
        attributes = [*attributes, *(("rtcp-fb", f"* {kind}") for kind in FEEDBACK)]
    if rtcp_port is not None and rtcp_port != port + 1:
        attributes.append(("rtcp", str(rtcp_port)))
    attributes.append((direction, ""))
    return MediaDescription(kind, port, "RTP/AVP", tuple(formats), None, tuple(attributes))


def _with_bounds(line: MediaDescription, bounds: Sequence[str]) -> MediaDescription:
    """A line of pictures says that we obey these, too."""
    if line.kind != "video" or not line.protocol.upper().endswith("AVPF"):
        return line
    return replace(line, attributes=(*line.attributes, *(("rtcp-fb", f"* {each}") for each in bounds)))


def _audio_attributes(local: LocalMedia, number: int, name: str) -> list[Attribute]:
    ours = AUDIO_CODECS[name]
    channels = f"/{ours.channels}" if ours.channels > 1 else ""
    attributes = [("rtpmap", f"{number} {name}/{ours.clock_hz}{channels}")]
    if name == "opus":
        attributes.append(("fmtp", f"{number} {opus_fmtp(local.opus_bit_rate)}"))
    return attributes


def _dtmf_attributes(number: int, clock_hz: int) -> list[Attribute]:
    return [("rtpmap", f"{number} telephone-event/{clock_hz}"), ("fmtp", f"{number} 0-16")]


def _h264_attributes(
    local: LocalMedia, number: int, profile_level_id: str, mode: int, *, asymmetry: bool
) -> list[Attribute]:
    fmtp = f"{number} profile-level-id={profile_level_id}"
    if mode:
        fmtp += f";packetization-mode={mode}"  # 0 is what none means (RFC 6184 8.1)
    if asymmetry:
        fmtp += ";level-asymmetry-allowed=1"
    if local.sprop_parameter_sets:
        fmtp += f";sprop-parameter-sets={local.sprop_parameter_sets}"
    return [("rtpmap", f"{number} H264/{VIDEO_CLOCK_HZ}"), ("fmtp", fmtp)]
