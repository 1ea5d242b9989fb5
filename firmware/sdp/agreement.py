"""What we bring to an exchange of descriptions and what comes of it: plain data for media and station."""

from dataclasses import dataclass
from typing import Final, Literal

from firmware.sdp.crypto import SrtpKeys
from firmware.sdp.description import Direction
from firmware.sdp.keying import Fingerprint, IceDescription

SrtpPolicy = Literal["off", "optional", "mandatory", "dtls"]

SENDS: Final[frozenset[Direction]] = frozenset(("sendrecv", "sendonly"))
RECEIVES: Final[frozenset[Direction]] = frozenset(("sendrecv", "recvonly"))


@dataclass(frozen=True, slots=True)
class Codec:
    """One agreed format. Each side names the payload type it wants to get, so the two may differ."""

    name: str  # as we spell it
    clock_hz: int
    payload_type: int  # what we send with
    receive_payload_type: int  # what the peer sends with
    channels: int = 1
    fmtp: str = ""  # the peer's parameters as written


@dataclass(frozen=True, slots=True)
class LocalMedia:
    """What we bring: addresses of the bound sockets, codecs in order of preference, directions as we see them."""

    host: str
    audio_port: int
    video_port: int | None = None
    audio_codecs: tuple[str, ...] = ("PCMA", "PCMU")
    video_profile_level_id: str = "42e01f"
    sprop_parameter_sets: str = ""
    audio_direction: Direction = "sendrecv"
    video_direction: Direction = "sendonly"
    session_name: str = "Portero"
    dtmf_payload_type: int = 101
    ptime_ms: int = 20
    opus_bit_rate: int = 0  # bits a second, either way; 0: whatever the coder likes
    audio_rtcp_port: int | None = None  # None: the port above RTP's
    video_rtcp_port: int | None = None
    srtp: SrtpPolicy = "off"  # see sdp.protection
    rtcp_mux: bool = False  # offer RTCP on RTP's port; a peer that offers it gets it in any case
    fingerprint: Fingerprint | None = None  # of the certificate that a handshake shows; None: no handshakes here
    audio_ice: IceDescription | None = None  # None: no ICE for this stream
    video_ice: IceDescription | None = None


@dataclass(frozen=True, slots=True)
class DtlsAgreement:
    """A handshake makes the keys: our role in it, and what the peer's certificate is known by."""

    role: Literal["client", "server"]
    fingerprints: tuple[Fingerprint, ...]


@dataclass(frozen=True, slots=True)
class AgreedMedia:
    """One stream that both sides want. `direction` is ours.

    A null address (0.0.0.0, ::) stands for a peer that is not to be sent anything, RTCP neither: it holds the
    call the old way, or named an address we do not send to (a host name, multicast); `direction` has no send.
    """

    kind: Literal["audio", "video"]
    direction: Direction
    remote_host: str
    remote_rtp_port: int
    remote_rtcp_host: str
    remote_rtcp_port: int
    codec: Codec
    dtmf: Codec | None = None
    ptime_ms: int = 20  # how much the peer wants in a packet: 10 to 60
    packetization_mode: int = 0  # video
    keys: SrtpKeys | None = None  # of SRTP; None: plain RTP
    rtcp_mux: bool = False  # RTCP goes to RTP's port (RFC 5761)
    bit_rate: int = 0  # the most that both allow in what we send, for Opus; 0: nobody said
    # Payload types that may bring telephone-events: a peer that answered with several clocks uses any of them.
    event_types: tuple[int, ...] = ()
    dtls: DtlsAgreement | None = None
    ice: IceDescription | None = None  # the peer's; None: media go to the addresses above
    controlling: bool = True  # in ICE: whoever offered
    own_ufrag: str = ""  # ours in this exchange: after a restart the peer may still answer an earlier offer

    @property
    def sends(self) -> bool:
        return self.direction in SENDS

    @property
    def receives(self) -> bool:
        return self.direction in RECEIVES


@dataclass(frozen=True, slots=True)
class Agreement:
    """None: that stream was refused, is absent, or is switched off by port 0."""

    audio: AgreedMedia | None
    video: AgreedMedia | None
