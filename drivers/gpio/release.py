"""Sets lines of real chips inactive, as fast as Python starts: for when the process that held them was killed.

    python3 -I -S release.py FILE

FILE has a line for each: the chip's device, the line's number, 1 where low is active, its name. The lock process
writes it when it has its lines. A relay stays on until this is done, and the libraries that the lock process goes
by (TOML, gpiod) take a slow board seconds to load; so this speaks to the kernel itself. Requesting an output sets
it inactive: GPIO_V2_GET_LINE_IOCTL of linux/gpio.h.
"""

import fcntl
import os
import struct
import sys

CONSUMER = b"portero-release"
GET_LINE = 0xC250B407  # _IOWR(0xB4, 7, struct gpio_v2_line_request)
ACTIVE_LOW, OUTPUT = 1 << 1, 1 << 3  # of its flags; attributes that are not there leave outputs at 0: inactive
# struct gpio_v2_line_request: offsets, consumer, config (flags, and 264 bytes of attributes), num_lines,
# event_buffer_size with padding, fd. Native: the kernel's.
_REQUEST = struct.Struct("=64I32sQ264xI24xi")


def request(line: int, *, active_low: bool) -> bytearray:
    """What asks the kernel for this output, inactive."""
    flags = OUTPUT | (ACTIVE_LOW if active_low else 0)
    return bytearray(_REQUEST.pack(line, *[0] * 63, CONSUMER, flags, 1, -1))


def release(file: str) -> int:
    """All that the file names, whatever becomes of one of them; says how it went, on standard error where it went
    wrong. 0, or 1 where anything did."""
    try:
        with open(file, encoding="utf-8", errors="replace") as text:
            places = [line.split(maxsplit=3) for line in text.read().splitlines()]
    except OSError as error:
        print(f"portero-door: {file}: {error.strerror}: no relay was held, or none is released", file=sys.stderr)
        return 1
    released, failed = [], 0
    for place in places:
        try:
            device, line, active_low, name = place
            chip = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            try:
                asked = request(int(line), active_low=active_low == "1")
                fcntl.ioctl(chip, GET_LINE, asked)
                os.close(_REQUEST.unpack(asked)[-1])
            finally:
                os.close(chip)
            released.append(name)
        except (OSError, ValueError, struct.error) as error:
            print(f"portero-door: not released: {' '.join(place)}: {error}", file=sys.stderr)
            failed = 1
    print(f"portero-door: released {', '.join(released) or 'nothing'}")
    return failed


if __name__ == "__main__":
    sys.exit(release(sys.argv[1]))
