"""Plain or encrypted: which m= lines we take, with which keys, and what we write: RFC 4568, 8643, 5764; and ICE
beside it (RFC 8839).

| policy | we offer | of an offer we take |
|---|---|---|
| off | RTP/AVP | RTP/AVP, whatever keys it has; nothing else |
| optional | RTP/AVP with keys | UDP/TLS/RTP/SAVP; RTP/SAVP with keys; RTP/AVP with keys, or plain without |
| mandatory | RTP/SAVP with keys | UDP/TLS/RTP/SAVP; RTP/SAVP or RTP/AVP, each with keys only |
| dtls | UDP/TLS/RTP/SAVPF | UDP/TLS/RTP/SAVP |

RTP/AVP with keys is what the field does in place of capability negotiation: who has no a=crypto reads over it. Our
key for a line lasts as long as the line's address and the peer's key: another end may stand behind a new one, and
would begin to count rollovers at 0 (RFC 3711 3.3.1). UDP/TLS/RTP/SAVP stands for lines with a fingerprint, whose
keys a handshake makes (DTLS). With ICE, RTCP goes to RTP's port, or there is no ICE.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from firmware.sdp.agreement import AgreedMedia, DtlsAgreement, LocalMedia
from firmware.sdp.crypto import KEY_OCTETS, OFFERED, Crypto, SrtpKeys, usable
from firmware.sdp.description import Attribute, MediaDescription, SessionDescription
from firmware.sdp.errors import SdpError
from firmware.sdp.keying import DtlsDescription, IceDescription, answer_to, read_dtls, read_ice

PLAIN_RTP: Final = frozenset(("RTP/AVP", "RTP/AVPF"))
SECURE_RTP: Final = frozenset(("RTP/SAVP", "RTP/SAVPF"))
DTLS_RTP: Final = frozenset(("UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF"))


def refused_for(session: SessionDescription, media: MediaDescription, local: LocalMedia) -> str:
    """Why an offered line cannot be taken, in a few words; empty where it can."""
    protocol, policy = media.protocol.upper(), local.srtp
    if protocol in DTLS_RTP:
        if policy == "off" or local.fingerprint is None:
            return f"{media.protocol} is offered, and encryption is switched off here"
        if read_dtls(session, media, offer=True) is None:
            return f"{media.protocol} is offered without a fingerprint that proves anything"
        return ""
    if policy == "dtls":
        return f"{media.protocol} is offered, and keys have to be made by DTLS here"
    if protocol in SECURE_RTP:
        if policy == "off":
            return f"{media.protocol} is offered, and encryption is switched off here"
        return "" if key_line(media) is not None else f"{media.protocol} is offered without a key that can be used"
    if protocol not in PLAIN_RTP:
        return f"{media.protocol} is offered"
    if policy == "mandatory" and key_line(media) is None:
        return "no key is offered, and what is not encrypted is refused here"
    return ""


def key_line(media: MediaDescription) -> Crypto | None:
    """The peer's preferred one of the keys that we can use."""
    return next(usable(media.attribute_values("crypto")), None)


def answered_keys(ours: MediaDescription, theirs: MediaDescription) -> SrtpKeys | None:
    """What the answer chose of the keys that we offered; by the suite where it has another tag, as some write."""
    offered = list(usable(ours.attribute_values("crypto")))
    for answered in usable(theirs.attribute_values("crypto")):
        fitting = [line for line in offered if line.suite == answered.suite]
        fitting.sort(key=lambda line: line.tag != answered.tag)
        if fitting:
            return SrtpKeys(answered.suite, fitting[0].key, answered.key)
    return None


def wants_handshake(offer: bytes) -> tuple[bool, bool]:
    """(keys by DTLS, ICE): what our answer needs beyond our ports; nothing for one that cannot be read."""
    try:
        session = SessionDescription.parse(offer)
    except SdpError:
        return False, False
    lines = [media for media in session.media if media.port]
    return (
        any(media.protocol.upper() in DTLS_RTP for media in lines),
        any(read_ice(session, media) is not None for media in lines),
    )


def ice_of(kind: str, local: LocalMedia) -> IceDescription | None:
    return local.audio_ice if kind == "audio" else local.video_ice


def found_by_ice(session: SessionDescription, media: MediaDescription, local: LocalMedia) -> bool:
    """Whether the peer's line has ICE that we have as well, so that its addresses do not count."""
    return (
        ice_of(media.kind, local) is not None
        and media.attribute("rtcp-mux") is not None
        and read_ice(session, media) is not None
    )


def handshake_offered(kind: str, local: LocalMedia) -> list[Attribute]:
    """What an offer says of handshake and ICE."""
    lines: list[Attribute] = []
    if local.srtp == "dtls" and local.fingerprint is not None:
        lines += DtlsDescription((local.fingerprint,), "actpass").attributes()
    ice = ice_of(kind, local)
    return lines if ice is None else lines + ice.attributes()


def answer_handshake(
    session: SessionDescription,
    media: MediaDescription,
    agreed: AgreedMedia,
    local: LocalMedia,
    before: AgreedMedia | None = None,
) -> tuple[AgreedMedia, list[Attribute]]:
    """What our answer to the line agrees on, and says of it. A handshake of `before` that goes on keeps its roles
    (RFC 8842 section 5.3)."""
    lines: list[Attribute] = []
    theirs = read_dtls(session, media, offer=True) if media.protocol.upper() in DTLS_RTP else None
    if theirs is not None and local.fingerprint is not None:
        setup = answer_to(theirs.setup)
        known = before.dtls if before is not None else None
        if known is not None and known.fingerprints == theirs.fingerprints and theirs.setup == "actpass":
            setup = "active" if known.role == "client" else "passive"
        role: Literal["client", "server"] = "client" if setup == "active" else "server"
        agreed = replace(agreed, dtls=DtlsAgreement(role, theirs.fingerprints))
        lines += DtlsDescription((local.fingerprint,), setup).attributes()
    ours, their_ice = ice_of(media.kind, local), read_ice(session, media)
    if ours is not None and their_ice is not None and found_by_ice(session, media, local):
        agreed = replace(agreed, ice=their_ice, controlling=False, own_ufrag=ours.ufrag)
        lines += ours.attributes()
    return agreed, lines


def answered_handshake(
    ours: MediaDescription, session: SessionDescription, theirs: MediaDescription, agreed: AgreedMedia
) -> AgreedMedia | None:
    """The agreement with what the answer says of handshake and ICE; None where it has no handshake for ours."""
    if ours.protocol.upper() in DTLS_RTP:
        dtls = read_dtls(session, theirs, offer=False)
        if dtls is None or theirs.protocol.upper() not in DTLS_RTP:
            return None
        agreed = replace(
            agreed, dtls=DtlsAgreement("client" if dtls.setup == "passive" else "server", dtls.fingerprints)
        )
    if ours.attribute("ice-ufrag") is not None and agreed.rtcp_mux:
        agreed = replace(agreed, ice=read_ice(session, theirs), own_ufrag=ours.attribute("ice-ufrag") or "")
    return agreed


def restarts_ice(session: SessionDescription, media: MediaDescription, before: AgreedMedia | None) -> bool:
    """Whether the peer's offer gives the stream other names than it had (RFC 8839 section 4.4.3.1.1)."""
    known, offered = before.ice if before is not None else None, read_ice(session, media)
    return known is not None and offered is not None and (known.ufrag, known.pwd) != (offered.ufrag, offered.pwd)


@dataclass(slots=True)
class _Own:
    place: tuple[str, int]
    key: bytes = field(repr=False)


class OwnKeys:
    """The keys that we send with, by kind of stream and suite. `random` gives that many octets."""

    def __init__(self, random: Callable[[int], bytes] | None) -> None:
        self._random = random
        self._keys: dict[tuple[str, str], _Own] = {}

    def copy(self) -> "OwnKeys":
        other = OwnKeys(self._random)
        other._keys = dict(self._keys)
        return other

    def offer(self, kind: str, local: LocalMedia, before: AgreedMedia | None) -> list[Attribute]:
        """The a=crypto lines of an offer; in a call that has keys already, that of the suite in use alone."""
        if local.srtp in ("off", "dtls"):
            return []
        suites = (before.keys.suite,) if before is not None and before.keys is not None else OFFERED
        lines = (Crypto(tag, suite, self._own(kind, suite, local)) for tag, suite in enumerate(suites, 1))
        return [("crypto", str(line)) for line in lines]

    def answer(
        self, media: MediaDescription, local: LocalMedia, before: AgreedMedia | None
    ) -> tuple[SrtpKeys | None, list[Attribute]]:
        """What an offered line is encrypted with, and the a=crypto line of its answer; nothing for a plain one."""
        theirs = key_line(media) if local.srtp != "off" and media.protocol.upper() not in DTLS_RTP else None
        if theirs is None:
            return None, []
        if before is None or before.keys is None or before.keys.receive != theirs.key:
            self._keys.pop((media.kind, theirs.suite), None)
        own = self._own(media.kind, theirs.suite, local)
        return SrtpKeys(theirs.suite, own, theirs.key), [("crypto", str(Crypto(theirs.tag, theirs.suite, own)))]

    def _own(self, kind: str, suite: str, local: LocalMedia) -> bytes:
        place = (local.host, local.audio_port if kind == "audio" else local.video_port or 0)
        known = self._keys.get((kind, suite))
        if known is None or known.place != place:
            if self._random is None:
                raise ValueError("keys need a source of randomness; give OfferAnswer one")
            known = self._keys[kind, suite] = _Own(place, self._random(KEY_OCTETS[suite]))
        return known.key
