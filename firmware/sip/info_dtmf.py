"""Keys in SIP INFO: `application/dtmf-relay` and `application/dtmf`, which no RFC describes.

The forms are Cisco's, and what vendors made of them: blanks round `=`, bare line feeds, no Duration, the numbers of
RFC 4733's events in place of `*`, `#` and A to D, `Signal=` within application/dtmf. Pure.
"""

from typing import Literal, NamedTuple

RELAY = "application/dtmf-relay"
PLAIN = "application/dtmf"
KEYS = "0123456789*#ABCD"  # by number of their event (RFC 4733 3.2)
_LONGEST_MS = 10_000


class InfoKey(NamedTuple):
    key: str  # 0-9 * # A-D
    held_ms: int = 0  # 0: not said


def read_key(content_type: str, body: bytes) -> InfoKey | None:
    """The key of an INFO's body; None for other bodies, flash (16), and what makes no sense."""
    if content_type not in (RELAY, PLAIN):
        return None
    key, held_ms = "", 0
    for line in body[:256].decode("ascii", "replace").replace("\r", "\n").split("\n"):
        name, separator, value = line.partition("=")
        name, value = name.strip().lower(), value.strip()
        if not separator:
            if content_type == PLAIN and not key:
                key = _key(name)
        elif name == "signal" and not key:
            key = _key(value)
        elif name == "duration" and value.isdecimal():
            held_ms = min(int(value[:9]), _LONGEST_MS)
    return InfoKey(key, held_ms) if key else None


def write_key(key: str, form: Literal["info", "info-dtmf"] = "info", *, held_ms: int = 160) -> tuple[str, bytes]:
    """(Content-Type, body) that press a key. ValueError for what is none."""
    if len(key) != 1 or key.upper() not in KEYS:
        raise ValueError("keys are 0-9, *, # and A-D")
    if form == "info-dtmf":
        return PLAIN, key.upper().encode()
    return RELAY, f"Signal={key.upper()}\r\nDuration={held_ms}\r\n".encode()


def _key(text: str) -> str:
    text = text.upper()
    if len(text) == 2 and text.isdecimal() and 10 <= int(text) < len(KEYS):
        return KEYS[int(text)]
    return text if len(text) == 1 and text in KEYS else ""
