"""Durations of Opus packets as RFC 6716 section 3 counts them."""

import pytest

from firmware.rtp.opus import duration


@pytest.mark.parametrize(
    ("payload", "samples"),
    [
        (b"\x48", 960),  # SILK wideband, 20 ms
        (b"\x40", 480),
        (b"\x50", 1920),
        (b"\x58", 2880),
        (b"\x78", 960),  # hybrid
        (b"\x80", 120),  # CELT, 2.5 ms
        (b"\xf8", 960),
        (b"\x49", 1920),  # two frames
        (b"\x4a", 1920),
        (b"\x4b\x03", 2880),  # three
        (b"\x4b\x86", 5760),  # six, of changing length: 120 ms
        (b"\x4b\x07", 0),  # 140 ms
        (b"\x4b\x00", 0),
        (b"\x4b", 0),
        (b"", 0),
    ],
)
def test_the_first_octets_say_how_long_a_packet_is(payload: bytes, samples: int) -> None:
    assert duration(payload) == samples
