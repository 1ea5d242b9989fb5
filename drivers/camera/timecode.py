"""A clock that a program reads off the picture: 40 blocks of black or white in the top 16 rows.

The blocks hold a 32-bit count of milliseconds, most significant bit first, then 8 bits of check (the exclusive
or of the count's four bytes and 0x5A). Large, hard-edged and static within a frame, they survive x264 at
300 kb/s; the difference to the reader's own clock is the latency from lens to screen. Works on the luma plane.
"""

ROWS = 16
BITS = 40
_BLACK, _WHITE = 16, 235
_MIDDLE = (_BLACK + _WHITE) // 2


def block_width(width: int) -> int:
    """Pixels of one block in a picture of this width; what remains at the right edge is left alone."""
    return width // BITS


def timecode_row(milliseconds: int, width: int) -> bytes:
    """One row of luma samples, `BITS` blocks long, for `milliseconds` (taken modulo 2^32)."""
    count = milliseconds & 0xFFFFFFFF
    size = block_width(width)
    blocks = (bytes((_BLACK,)) * size, bytes((_WHITE,)) * size)
    code = (*count.to_bytes(4, "big"), _check(count))
    return b"".join(blocks[bit] for byte in code for bit in map(int, f"{byte:08b}"))


def read_timecode(luma: bytes | bytearray | memoryview, line_size: int, width: int) -> int | None:
    """The milliseconds shown in a luma plane of `width`, rows `line_size` bytes apart; None where unreadable.

    Reads the mean of each block's inner half, so that a codec's ringing at the edges does not count.
    """
    size = block_width(width)
    margin = size // 4
    rows = range(ROWS // 4, ROWS * 3 // 4, 2)
    if size < 2 or len(luma) < ROWS * line_size:
        return None
    code = 0
    for block in range(BITS):
        first = block * size + margin
        last = (block + 1) * size - margin
        total = sum(sum(luma[row * line_size + first : row * line_size + last]) for row in rows)
        code = code << 1 | (total > _MIDDLE * len(rows) * (last - first))
    count, check = code >> 8, code & 0xFF
    return count if check == _check(count) else None


def _check(count: int) -> int:
    # With the constant an all-black or all-white picture is no timecode.
    return (count ^ count >> 8 ^ count >> 16 ^ count >> 24) & 0xFF ^ 0x5A
