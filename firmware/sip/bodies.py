"""Bodies of several parts (RFC 5621, RFC 2046 5.1): the session description among them, and how it is handled.

Gateways put SDP beside ISUP, locations and resource lists. Parts that are not understood are passed over,
whatever their handling: to refuse a visitor's call for a part that nobody needs helps nobody. Nested one level.
"""

import re

_boundary = re.compile(r';\s*boundary\s*=\s*(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_end_of_head = re.compile(rb"\r?\n\r?\n")
_type = re.compile(rb"^content-type[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_MOST_PARTS = 16
_DEEPEST = 2


def find_part(content_type: str, body: bytes, wanted: str, *, depth: int = 0) -> bytes:
    """The first part of type `wanted` in a body whose Content-Type is `content_type`; b"" where there is none."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == wanted:
        return body
    found = _boundary.search(content_type)
    if not kind.startswith("multipart/") or found is None or depth >= _DEEPEST:
        return b""
    delimiter = b"--" + (found[1] or found[2]).encode("utf-8", "replace")
    pieces = (b"\r\n" + body).split(b"\n" + delimiter, _MOST_PARTS + 1)
    for piece in pieces[1:]:
        if piece.startswith(b"--"):
            break  # the close-delimiter; what follows is an epilogue
        head, part = _split(piece)
        inner = _type.search(head)
        if inner is not None:
            text = inner[1].decode("utf-8", "replace")
            if sdp := find_part(text, part, wanted, depth=depth + 1):
                return sdp
    return b""


def is_optional(disposition: str) -> bool:
    """Whether a Content-Disposition says that the body may be passed over (RFC 3261 20.11)."""
    return re.search(r";\s*handling\s*=\s*optional\b", disposition, re.IGNORECASE) is not None


def _split(piece: bytes) -> tuple[bytes, bytes]:
    """Header lines and content of one part; the line break before the next delimiter belongs to that."""
    rest = piece.partition(b"\n")[2]
    if rest[:1] == b"\n" or rest[:2] == b"\r\n":
        return b"", rest.lstrip(b"\r\n")
    end = _end_of_head.search(rest)
    if end is None:
        return rest, b""
    part = rest[end.end() :]
    return rest[: end.start()], part.removesuffix(b"\r")
