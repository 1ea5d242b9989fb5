"""How long an Opus packet is: its first octets, read as RFC 6716 section 3 says. The sound is libopus' work."""

CLOCK_HZ = 48_000
_LONGEST = CLOCK_HZ * 120 // 1000

# Samples of one frame by configuration number (RFC 6716 table 2): SILK, hybrid, CELT.
_FRAME = (
    *(3 * (480, 960, 1920, 2880)),
    *(2 * (480, 960)),
    *(4 * (120, 240, 480, 960)),
)


def duration(payload: bytes) -> int:
    """Samples of the RTP clock in a packet; 0 for one that is none: too long, or without its frame count."""
    if not payload:
        return 0
    first = payload[0]
    code = first & 3
    if code == 3:
        if len(payload) < 2:
            return 0
        count = payload[1] & 0x3F
    else:
        count = 2 if code else 1
    samples = count * _FRAME[first >> 3]
    return samples if samples <= _LONGEST else 0
