"""Formats of a media line: static payload types, format parameters, and what makes two H.264 formats one.

RFC 3551 section 6 (static payload types), RFC 4566 section 6 (rtpmap, fmtp), RFC 6184 section 8 (H.264). It
knows nothing of lines, directions or who offers.
"""

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Format:
    """One RTP format of a media line. `fmtp` is the text behind the payload type, empty where there is none."""

    payload_type: int  # 0 to 127
    name: str  # as written; names compare without case
    clock_hz: int
    channels: int = 1
    fmtp: str = ""


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """A codec that LocalMedia.audio_codecs can name, as rtpmap writes it."""

    payload_type: int  # the static one, or where to look for a free dynamic one
    clock_hz: int
    channels: int = 1

    @property
    def dynamic(self) -> bool:
        return self.payload_type >= 96


# G.722 is sampled at 16 kHz; its clock is 8 kHz (RFC 3551 4.5.2). Opus is always opus/48000/2, whatever is in it
# (RFC 7587 section 7). L16 (RFC 3551 4.5.11) is for tests: nobody but a laboratory has the bandwidth.
AUDIO_CODECS: Final[dict[str, AudioFormat]] = {
    "opus": AudioFormat(111, 48_000, 2),  # the numbers that browsers use
    "G722": AudioFormat(9, 8000),
    "PCMA": AudioFormat(8, 8000),
    "PCMU": AudioFormat(0, 8000),
    "L16": AudioFormat(112, 16_000),
}
VIDEO_CLOCK_HZ: Final = 90_000

# Phones leave rtpmap out for these, as RFC 3551 lets them. Channels are 1 but for L16 on 10.
STATIC_FORMATS: Final[dict[int, tuple[str, int, int]]] = {
    0: ("PCMU", 8000, 1),
    3: ("GSM", 8000, 1),
    4: ("G723", 8000, 1),
    5: ("DVI4", 8000, 1),
    6: ("DVI4", 16000, 1),
    7: ("LPC", 8000, 1),
    8: ("PCMA", 8000, 1),
    9: ("G722", 8000, 1),  # sampled at 16 kHz; its RTP clock is 8 kHz by an old mistake kept (RFC 3551 4.5.2)
    10: ("L16", 44100, 2),
    11: ("L16", 44100, 1),
    12: ("QCELP", 8000, 1),
    13: ("CN", 8000, 1),
    14: ("MPA", 90000, 1),
    15: ("G728", 8000, 1),
    16: ("DVI4", 11025, 1),
    17: ("DVI4", 22050, 1),
    18: ("G729", 8000, 1),
    25: ("CelB", 90000, 1),
    26: ("JPEG", 90000, 1),
    28: ("nv", 90000, 1),
    31: ("H261", 90000, 1),
    32: ("MPV", 90000, 1),
    33: ("MP2T", 90000, 1),
    34: ("H263", 90000, 1),
}


def format_parameters(fmtp: str) -> dict[str, str]:
    """`"a=1; B=2;c"` as `{"a": "1", "b": "2", "c": ""}`, with or without blanks, in any order; first one wins."""
    parameters: dict[str, str] = {}
    for item in fmtp.split(";"):
        name, _, value = item.partition("=")
        name = name.strip().lower()
        if name:
            parameters.setdefault(name, value.strip())
    return parameters


def opus_fmtp(bit_rate: int) -> str:
    """What we say of our Opus (RFC 7587 section 6.1): 16 kHz is all we can use, and what is lost we take from the
    next packet. `bit_rate` 0 leaves the rate to the peer."""
    fmtp = "useinbandfec=1;maxplaybackrate=16000"
    return f"{fmtp};maxaveragebitrate={bit_rate}" if bit_rate else fmtp


def opus_bit_rate(fmtp: str, ours: int) -> int:
    """The lower of the peer's maxaveragebitrate and `ours`, bits a second; 0 where neither is said."""
    text = format_parameters(fmtp).get("maxaveragebitrate", "")
    theirs = int(text) if text.isdecimal() and len(text) < 8 else 0
    wanted = min(ours or theirs, theirs or ours)
    return max(6000, min(wanted, 510_000)) if wanted else 0  # RFC 7587's bounds


# RFC 6184 table 5: profile_idc and the constraint bits (x: either) that together name a profile.
_H264_PROFILES: Final = (
    (0x42, "x1xx0000", "constrained baseline"),
    (0x4D, "1xxx0000", "constrained baseline"),
    (0x58, "11xx0000", "constrained baseline"),
    (0x42, "x0xx0000", "baseline"),
    (0x58, "10xx0000", "baseline"),
    (0x4D, "0x0x0000", "main"),
    (0x58, "00xx0000", "extended"),
    (0x64, "00000000", "high"),
    (0x64, "00001100", "constrained high"),
    (0x6E, "00000000", "high 10"),
)

# Which decoders can show a stream of the profile, nearest first (H.264 annex A.2).
_H264_DECODERS: Final[dict[str, tuple[str, ...]]] = {
    "constrained baseline": (
        "constrained baseline",
        "baseline",
        "main",
        "constrained high",
        "high",
        "extended",
        "high 10",
    ),
    "baseline": ("baseline", "extended"),
    "main": ("main", "high", "high 10"),
    "constrained high": ("constrained high", "high", "high 10"),
    "high": ("high", "high 10"),
}

_PROFILE_LEVEL_ID = re.compile(r"[0-9A-Fa-f]{6}")
_DEFAULT_PROFILE_LEVEL_ID: Final = "420010"  # RFC 6184 section 8.1: baseline, level 1


def h264_profile(profile_level_id: str) -> str:
    """The profile a profile-level-id names ("constrained baseline", "main" …), whatever the level; "" if none."""
    if _PROFILE_LEVEL_ID.fullmatch(profile_level_id) is None:
        return ""
    idc = int(profile_level_id[:2], 16)
    constraints = f"{int(profile_level_id[2:4], 16):08b}"
    for candidate_idc, pattern, name in _H264_PROFILES:
        if idc == candidate_idc and all(p in ("x", c) for p, c in zip(pattern, constraints, strict=True)):
            return name
    return ""


@dataclass(frozen=True, slots=True)
class H264Parameters:
    """What counts of an H.264 fmtp. The level does not: a mismatch of levels must not cost the picture."""

    profile_level_id: str
    packetization_mode: int
    level_asymmetry_allowed: bool

    @classmethod
    def from_fmtp(cls, fmtp: str) -> "H264Parameters":
        """Absent or unreadable parameters are the RFC's defaults: mode 0, 420010."""
        parameters = format_parameters(fmtp)
        profile_level_id = parameters.get("profile-level-id", "")
        if _PROFILE_LEVEL_ID.fullmatch(profile_level_id) is None:
            profile_level_id = _DEFAULT_PROFILE_LEVEL_ID
        mode = parameters.get("packetization-mode", "0")
        return cls(
            profile_level_id.lower(),
            int(mode) if mode in ("0", "1", "2") else 0,
            parameters.get("level-asymmetry-allowed") == "1",
        )

    def shows(self, profile_level_id: str) -> int | None:
        """How near this decoder is to a stream of `profile_level_id`: 0 is its very profile; None, no match."""
        own = h264_profile(self.profile_level_id)
        decoders = _H264_DECODERS.get(h264_profile(profile_level_id), ())
        return decoders.index(own) if own in decoders else None
