"""SIP messages (RFC 3261 section 7): reading, typed views of the header fields, writing.

Reading costs one split: field values stay text until somebody asks for `message.to` or `message.cseq`, which are
then kept until the field changes. Reading is lenient (bare LF, folded lines, compact names, up to six octets
missing from a body: see `Message.repairs`), writing is strict. RemoteProtocolError is all that bytes can cause.
Bytes that are not UTF-8 are taken as Latin-1, which is what phones with umlauts mean, and answered as they came.
Matching messages to transactions is not done here.
"""

from __future__ import annotations

import re

from firmware.sip.abnf import check_line, split_list, token, unsigned
from firmware.sip.errors import RemoteProtocolError
from firmware.sip.fields import Headers as Headers
from firmware.sip.headers import (
    CANONICAL,
    COMPACT,
    METHODS,
    CSeq,
    Via,
    canonical_name,
    split_addresses,
    split_values,
)
from firmware.sip.status import REASON_PHRASES
from firmware.sip.uri import NameAddr, Uri

MAX_HEAD = 65_536  # octets; a UDP datagram is smaller, a stream's head must have some bound
MAX_LINES = 200  # header lines; the longest real message seen (IMS, many Vias and Routes) has under 60

_head_end = re.compile(rb"\r?\n\r?\n")
_line_end = re.compile(r"\r?\n")
_status_line = re.compile(r"SIP/2\.0 +([1-6][0-9]{2})(?: (.*))?", re.IGNORECASE | re.DOTALL)
_version = re.compile(r"SIP/[0-9]+\.[0-9]+", re.IGNORECASE)


class Message:
    """What requests and responses share. Properties read the header fields and raise RemoteProtocolError."""

    __slots__ = ("body", "charset", "compact", "headers", "repairs")

    def __init__(self, headers: Headers | None = None, body: bytes = b"") -> None:
        self.headers = Headers() if headers is None else headers
        self.body = body
        self.charset = "utf-8"
        self.compact = False  # written with the one-letter names of 7.3.3
        self.repairs: tuple[str, ...] = ()  # what had to be mended to read it, for the ladder

    @property
    def vias(self) -> list[Via]:
        return self.headers.typed("Via", _read_vias)

    @property
    def top_via(self) -> Via:
        return self.headers.typed("Via", _read_vias)[0]

    @property
    def from_(self) -> NameAddr:
        return self.headers.typed("From", _read_from)

    @property
    def to(self) -> NameAddr:
        return self.headers.typed("To", _read_to)

    @property
    def call_id(self) -> str:
        return self.headers.typed("Call-ID", _read_call_id)

    @property
    def cseq(self) -> CSeq:
        return self.headers.typed("CSeq", _read_cseq)

    @property
    def contacts(self) -> list[NameAddr]:
        """The Contact addresses; empty for `*`, which `contact_star` tells."""
        return self.headers.typed("Contact", _read_contacts)

    @property
    def contact_star(self) -> bool:
        return self.headers.get("Contact") == "*"

    @property
    def routes(self) -> list[NameAddr]:
        return self.headers.typed("Route", _read_addresses)

    @property
    def record_routes(self) -> list[NameAddr]:
        return self.headers.typed("Record-Route", _read_addresses)

    @property
    def max_forwards(self) -> int | None:
        """0 to 255, or None where the field is absent (RFC 2543 peers)."""
        return self.headers.typed("Max-Forwards", _read_max_forwards)

    @property
    def expires(self) -> int | None:
        """Seconds; None where absent or no number (section 20.19: as if absent)."""
        return self.headers.typed("Expires", _read_seconds)

    @property
    def min_expires(self) -> int | None:
        return self.headers.typed("Min-Expires", _read_seconds)

    @property
    def retry_after(self) -> int | None:
        """Seconds, without the comment and parameters that may follow."""
        return self.headers.typed("Retry-After", _read_seconds)

    @property
    def content_type(self) -> str:
        """`type/subtype` in lower case, without parameters; "" where absent."""
        return self.headers.typed("Content-Type", _read_content_type)

    @property
    def require(self) -> frozenset[str]:
        return self.headers.typed("Require", _read_tokens)

    @property
    def proxy_require(self) -> frozenset[str]:
        return self.headers.typed("Proxy-Require", _read_tokens)

    @property
    def supported(self) -> frozenset[str]:
        return self.headers.typed("Supported", _read_tokens)

    @property
    def allow(self) -> frozenset[str]:
        return self.headers.typed("Allow", _read_tokens)

    @property
    def reason(self) -> str:
        """The Reason field (RFC 3326) as received, "" where absent."""
        return self.headers.get("Reason") or ""

    def replace_top_via(self, via: Via) -> None:
        """Put `via` in place of the first Via value, leaving the others as they were spelt."""
        lines = self.headers.get_all("Via")
        rest = split_list(lines[0])[1:] if lines else []
        self.headers.remove("Via")
        for line in reversed([str(via), *rest, *lines[1:]]):
            self.headers.prepend("Via", line)

    def start_line(self) -> str:
        raise NotImplementedError

    def serialize(self) -> bytes:
        """The message as sent; Content-Length is always written, last and right."""
        lines = [check_line(self.start_line(), "the start line")]
        names = COMPACT if self.compact else {}
        lines += [f"{names.get(name, name)}: {value}" for name, value in self.headers if name != "Content-Length"]
        lines.append(f"{names.get('Content-Length', 'Content-Length')}: {len(self.body)}\r\n\r\n")
        head = "\r\n".join(lines)
        try:
            return head.encode(self.charset) + self.body
        except UnicodeEncodeError:
            # Not Latin-1 after all (a field of ours in an answer to such a peer), or a lone surrogate.
            return head.encode("utf-8", "replace") + self.body

    __bytes__ = serialize


class Request(Message):
    """A request. `uri` is read when first asked for; `uri_text` is the Request-URI as it stood."""

    __slots__ = ("_uri", "method")

    def __init__(self, method: str, uri: Uri | str, headers: Headers | None = None, body: bytes = b"") -> None:
        self.headers = Headers() if headers is None else headers
        self.body = body
        self.charset = "utf-8"
        self.compact = False
        self.repairs = ()
        self.method = method
        self._uri: Uri | str = uri

    @property
    def uri(self) -> Uri:
        uri = self._uri
        if isinstance(uri, str):
            uri = self._uri = Uri.parse(uri)
        return uri

    @uri.setter
    def uri(self, uri: Uri) -> None:
        self._uri = uri

    @property
    def uri_text(self) -> str:
        return str(self._uri)

    def start_line(self) -> str:
        return f"{self.method} {self._uri} SIP/2.0"

    def __repr__(self) -> str:
        return f"<{self.method} {self._uri}>"


class Response(Message):
    __slots__ = ("reason_phrase", "status")

    def __init__(
        self, status: int, reason_phrase: str = "", headers: Headers | None = None, body: bytes = b""
    ) -> None:
        super().__init__(headers, body)
        self.status = status
        self.reason_phrase = reason_phrase

    def start_line(self) -> str:
        return f"SIP/2.0 {self.status} {self.reason_phrase}"

    def __repr__(self) -> str:
        return f"<{self.status} {self.reason_phrase}>"


# --- reading -----------------------------------------------------------------------------------------------


def parse_message(data: bytes | memoryview) -> Request | Response:
    """The message in one datagram; octets beyond Content-Length are dropped (RFC 3261 section 18.3).

    RemoteProtocolError where it is none; its `request` is set where enough was read to answer.
    """
    data = bytes(data)
    if data[:1] in (b"\r", b"\n"):
        data = data.lstrip(b"\r\n")
    message, start = parse_head(data, complete=True)
    length = content_length(message)
    if length is None:
        message.body = data[start:]
        return message
    missing = start + length - len(data)
    if missing > 0:
        # Peers miscount by a line end or two; RFC 4475 section 3.1.2.2 is about more than that.
        if missing > 6 or start == len(data):
            raise _error(f"Content-Length {length} is {missing} more than the datagram holds", message)
        message.repairs += ("short-body",)
    elif missing < 0:
        message.repairs += ("octets-after-body",)
    message.body = data[start : start + length]
    return message


def parse_head(data: bytes, *, complete: bool) -> tuple[Request | Response, int]:
    """The start line and header fields at the beginning of `data`, and the offset of the body.

    With `complete` the data ends with the message, so that the closing empty line may be missing.
    """
    repairs: tuple[str, ...] = ()
    end = data.find(b"\r\n\r\n")
    start = end + 4
    lines, charset = _decode(data[:end] if end >= 0 else data)
    # Every line break a CRLF? Counting two octets is the cheapest way to know.
    breaks = len(lines) - 1
    if end < 0 or data.count(b"\n", 0, end) != breaks or data.count(b"\r", 0, end) != breaks:
        found = _head_end.search(data)
        if found is not None:
            end, start = found.span()
        elif complete:
            end = start = len(data)
            repairs = ("no-empty-line",)
        else:
            raise RemoteProtocolError("no end of the header fields")
        lines, charset = _decode(data[:end])
        if data.count(b"\n", 0, end) != len(lines) - 1:
            lines = _line_end.split("\r\n".join(lines))
            repairs += ("bare-lf",)
        if any("\r" in line for line in lines):
            raise RemoteProtocolError("CR without LF in the header fields")
    if end > MAX_HEAD:
        raise RemoteProtocolError(f"header fields of {end} octets", status=513)
    if len(lines) > MAX_LINES:
        raise RemoteProtocolError(f"{len(lines)} header lines", status=513)
    if charset != "utf-8":
        repairs += ("latin-1",)
    fields: list[tuple[str, str]] = []
    broken = ""
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        known = CANONICAL.get(name)
        if known is None:
            if line[:1] in (" ", "\t") and fields:
                known, value = fields.pop()  # section 7.3.1: a folded line is one blank
                value += " " + line.strip(" \t")
            elif colon and token.fullmatch(name := name.rstrip()):
                known = canonical_name(name)
            else:
                broken = broken or line
                continue
        fields.append((known, value.strip(" \t")))
    message, wrong = _start(lines[0], Headers.received(fields))
    message.charset = charset
    message.repairs = repairs
    if wrong is not None:
        raise _error(str(wrong), message, wrong.status)
    if broken:
        raise _error(f"not a header field: {broken[:80]!r}", message)
    return message, start


def _decode(head: bytes) -> tuple[list[str], str]:
    """Lines that end in CRLF, and the charset they are in."""
    try:
        return head.decode().split("\r\n"), "utf-8"
    except UnicodeDecodeError:
        return head.decode("latin-1").split("\r\n"), "latin-1"


def content_length(message: Message) -> int | None:
    """The value of Content-Length, None where absent; RemoteProtocolError if it is none or contradicts itself."""
    lines = message.headers.get_all("Content-Length")
    if not lines:
        return None
    length = unsigned(lines[0])
    if length is None or (len(lines) > 1 and any(unsigned(line) != length for line in lines[1:])):
        raise _error(f"Content-Length {', '.join(lines)[:80]!r}", message)
    return length


def _start(line: str, headers: Headers) -> tuple[Request | Response, RemoteProtocolError | None]:
    """The message that a start line begins, and what is wrong with it if a request can yet be answered."""
    if line[:4] in ("SIP/", "sip/"):
        status = _status_line.fullmatch(line)
        if status is None:
            raise RemoteProtocolError(f"not a status line: {line[:80]!r}")
        return Response(int(status[1]), status[2] or "", headers), None
    parts = line.split(" ")
    method = parts[0]
    if method in METHODS or token.fullmatch(method):
        if len(parts) == 3:
            version = parts[2].upper()
            if version == "SIP/2.0":
                return Request(method, parts[1], headers), None
            if _version.fullmatch(version):
                wrong = RemoteProtocolError(f"version {version[:20]}", status=505)
                return Request(method, parts[1], headers), wrong
        # Blanks where none may be (RFC 4475 sections 3.1.2.8 to 3.1.2.10): answered, not repaired.
        elif len(parts) > 3 and line.rstrip().upper().endswith(" SIP/2.0"):
            wrong = RemoteProtocolError(f"blanks in the request line {line[:80]!r}")
            return Request(method, parts[1], headers), wrong
    raise RemoteProtocolError(f"not a SIP message: {line[:80]!r}")


def _error(what: str, message: Message, status: int = 400) -> RemoteProtocolError:
    return RemoteProtocolError(what, status=status, request=message if isinstance(message, Request) else None)


def _only(lines: list[str], name: str) -> str:
    if len(lines) != 1:
        raise RemoteProtocolError(f"{len(lines)} {name} header fields" if lines else f"no {name} header field")
    return lines[0]


def _read_vias(lines: list[str]) -> list[Via]:
    vias = [Via.parse(item) for line in lines for item in split_values(line)]
    if not vias:
        raise RemoteProtocolError("no Via header field")
    return vias


def _read_from(lines: list[str]) -> NameAddr:
    return NameAddr.parse(_only(lines, "From"))


def _read_to(lines: list[str]) -> NameAddr:
    return NameAddr.parse(_only(lines, "To"))


def _read_call_id(lines: list[str]) -> str:
    call_id = _only(lines, "Call-ID")
    if not call_id or " " in call_id or "\t" in call_id:
        raise RemoteProtocolError(f"not a Call-ID: {call_id[:80]!r}")
    return call_id


def _read_cseq(lines: list[str]) -> CSeq:
    return CSeq.parse(_only(lines, "CSeq"))


def _read_contacts(lines: list[str]) -> list[NameAddr]:
    return [] if lines == ["*"] else _read_addresses(lines)


def _read_addresses(lines: list[str]) -> list[NameAddr]:
    return [NameAddr.parse(item) for line in lines for item in split_addresses(line)]


def _read_max_forwards(lines: list[str]) -> int | None:
    if not lines:
        return None
    hops = unsigned(_only(lines, "Max-Forwards"))
    if hops is None or hops > 255:
        raise RemoteProtocolError(f"Max-Forwards {lines[0][:40]!r}")
    return hops


_leading_number = re.compile(r"[0-9]+")


def _read_seconds(lines: list[str]) -> int | None:
    number = _leading_number.match(lines[0]) if lines else None
    return unsigned(number[0]) if number else None


def _read_content_type(lines: list[str]) -> str:
    return lines[0].partition(";")[0].strip().lower() if lines else ""


def _read_tokens(lines: list[str]) -> frozenset[str]:
    return frozenset(item for line in lines for item in split_list(line))


# --- checking and answering --------------------------------------------------------------------------------


def check_request(request: Request) -> None:
    """What the transaction layer relies on (RFC 3261 section 8.1.1), read once; RemoteProtocolError otherwise.

    A missing Max-Forwards, branch or From tag is RFC 2543's, not an error (RFC 4475 section 3.4.1).
    """
    try:
        _check_common(request)
        request.uri  # noqa: B018  # typed here, so that whoever routes it meets no error
        if request.cseq.method != request.method:
            raise RemoteProtocolError(f"CSeq method {request.cseq.method[:40]!r} in {request.method[:40]!r}")
        request.max_forwards  # noqa: B018
        request.routes  # noqa: B018
    except RemoteProtocolError as error:
        raise _error(str(error), request, error.status) from None


def check_response(response: Response) -> None:
    """As check_request for a response; whoever gets the error drops the response (section 8.1.3.1)."""
    _check_common(response)


def _check_common(message: Message) -> None:
    for read in ("vias", "from_", "to", "call_id", "cseq", "contacts", "record_routes"):
        getattr(message, read)


def response_to(request: Request, status: int, reason: str = "", *, to_tag: str | None = None) -> Response:
    """The skeleton of a response (RFC 3261 section 8.2.6): what must be copied, as it was spelt.

    `to_tag` is put on To unless it has a tag or the response is a 100. Record-Route is copied where a dialog may
    come of it (section 12.1.1).
    """
    fields = [field for field in request.headers if field[0] == "Via"]
    with_route = 100 < status < 300
    for name, value in request.headers:
        if name in ("From", "Call-ID", "CSeq") or (with_route and name == "Record-Route"):
            fields.append((name, value))
        elif name == "To":
            if to_tag and status > 100 and _to_tag_of(request, value) is None:
                value += f";tag={to_tag}"
            fields.append((name, value))
    response = Response(status, reason or REASON_PHRASES.get(status, ""), Headers.received(fields))
    response.charset = request.charset
    return response


def _to_tag_of(request: Request, value: str) -> str | None:
    try:
        return request.to.tag  # read before, as a rule
    except RemoteProtocolError:
        pass
    try:
        return NameAddr.parse(value).tag
    except RemoteProtocolError:
        return None  # it is being refused for this very field
