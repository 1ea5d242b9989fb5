"""What a camera's driver has to know of the H.264 that it passes through: kinds of NAL units, and the profile.

ITU-T H.264 7.3.1 (NAL unit header), 7.3.2.1.1 (the sequence parameter set's first three bytes), annex B.
"""

import re
from collections.abc import Iterator

IDR, SPS = 5, 7
BASELINE = 66  # profile_idc
_NAL = re.compile(rb"\x00\x00\x01([\s\S])")


def nal_units(data: bytes) -> Iterator[tuple[int, int]]:
    """(kind, where its header byte is) of each NAL unit."""
    for match in _NAL.finditer(data):
        yield match[1][0] & 0x1F, match.start(1)


def has_idr(data: bytes) -> bool:
    return any(kind == IDR for kind, _ in nal_units(data))


def profile_idc(data: bytes) -> int | None:
    """Of the first sequence parameter set; None where there is none."""
    for kind, at in nal_units(data):
        if kind == SPS and at + 3 < len(data):
            return data[at + 1]
    return None


def with_profile_level(data: bytes, profile_level_id: str) -> bytes:
    """The unit with its parameter sets saying `profile_level_id` (RFC 6184 8.1).

    For an encoder that keeps to a lower level than it writes, as the Raspberry Pi's does: it always writes 4.
    """
    changed = bytearray(data)
    for kind, at in nal_units(data):
        if kind == SPS and at + 3 < len(data):
            changed[at + 1 : at + 4] = bytes.fromhex(profile_level_id)
    return bytes(changed)
