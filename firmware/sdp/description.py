"""Session descriptions: a reader for what phones send, a writer for what RFC 4566 asks.

The reader keeps origin, name, connection, attributes and media lines and skips every other line, known or
not; attributes get their types on demand, and one that makes no sense counts as absent. It refuses only what
leaves nothing to work with: no v= line, a media or connection line it cannot read, more bytes or lines than a
description needs. Who may say what when is offer_answer.py's business.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal, cast

from firmware.sdp.codecs import STATIC_FORMATS, Format
from firmware.sdp.errors import SdpError

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
DIRECTIONS: Final = frozenset(("sendrecv", "sendonly", "recvonly", "inactive"))

# A browser's offer with ten media lines and all its candidates has 30 kB and 600 lines.
MAX_BYTES: Final = 65_536
MAX_LINES: Final = 2_000
MAX_MEDIA: Final = 64

Attribute = tuple[str, str]  # name and value; the value of a flag is empty

_MEDIA = re.compile(r"([!-~]+)[ \t]+([0-9]{1,5})(?:/[0-9]+)?[ \t]+([!-~]+)((?:[ \t]+[!-~]+)*)[ \t]*")
_CONNECTION = re.compile(r"(?i:IN)[ \t]+(?i:(IP4|IP6))[ \t]+([!-~]+)[ \t]*")
_RTPMAP = re.compile(r"([0-9]{1,3})[ \t]+([!-.0-~]+)/([1-9][0-9]{0,6})(?![0-9])(?:/([1-9][0-9]?))?")
_FMTP = re.compile(r"([0-9]{1,3})[ \t]+(.+)")
_RTCP = re.compile(r"([0-9]{1,5})(?:[ \t]+(.*))?")


@dataclass(frozen=True, slots=True)
class MediaDescription:
    """One m= line with what belongs to it. `host` is its own c= address, None where the session's counts."""

    kind: str  # lower case: "audio", "video", "application" …
    port: int  # 0: refused, or switched off
    protocol: str
    formats: tuple[str, ...]
    host: str | None = None
    attributes: tuple[Attribute, ...] = ()

    def attribute(self, name: str) -> str | None:
        """The value of the first attribute of that name; "" for a flag, None where it is absent."""
        for key, value in self.attributes:
            if key == name:
                return value
        return None

    def attribute_values(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]

    @property
    def direction(self) -> Direction | None:
        return _direction(self.attributes)

    @property
    def ptime_ms(self) -> int | None:
        return _milliseconds(self.attribute("ptime"))

    @property
    def maxptime_ms(self) -> int | None:
        return _milliseconds(self.attribute("maxptime"))

    @property
    def rtcp(self) -> tuple[int, str | None]:
        """Port and, where the line names one, address for RTCP: a=rtcp (RFC 3605), else the port above RTP's."""
        match = _RTCP.fullmatch(self.attribute("rtcp") or "")
        if match is None or not 0 < int(match[1]) <= 65535:
            return min(self.port + 1, 65535), None
        connection = _CONNECTION.fullmatch(match[2] or "")
        return int(match[1]), _bare_host(connection[2]) if connection else None

    def rtp_formats(self) -> list[Format]:
        """The formats in order of preference. A payload type that neither rtpmap nor RFC 3551 names is left out."""
        maps: dict[str, tuple[str, int, int]] = {}
        parameters: dict[str, str] = {}
        for name, value in self.attributes:
            if name == "rtpmap":
                match = _RTPMAP.match(value.strip())
                if match is not None:
                    maps.setdefault(match[1], (match[2], int(match[3]), int(match[4] or 1)))
            elif name == "fmtp":
                match = _FMTP.match(value.strip())
                if match is not None:
                    known = parameters.get(match[1])
                    parameters[match[1]] = match[2] if known is None else f"{known};{match[2]}"
        formats = []
        for number in dict.fromkeys(self.formats):
            if not (number.isdigit() and len(number) <= 3 and int(number) <= 127):
                continue
            codec = maps.get(number) or STATIC_FORMATS.get(int(number))
            if codec is not None:
                formats.append(Format(int(number), *codec, parameters.get(number, "")))
        return formats

    def lines(self) -> list[str]:
        formats = " ".join(self.formats) or "0"  # the grammar wants one, phones refuse a line without any
        lines = [f"m={self.kind} {self.port} {self.protocol} {formats}"]
        if self.host is not None:
            lines.append(_connection_line(self.host))
        lines += [f"a={name}:{value}" if value else f"a={name}" for name, value in self.attributes]
        return lines


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """`origin` is the o= line's value as written, `host` the session's own c= address."""

    origin: str
    name: str = "-"
    host: str | None = None
    attributes: tuple[Attribute, ...] = ()
    media: tuple[MediaDescription, ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> "SessionDescription":
        """Read a description; CRLF, LF or CR end a line, the last line may lack its end. Raises SdpError only."""
        if len(data) > MAX_BYTES:
            raise SdpError(f"{len(data)} bytes; a description may have {MAX_BYTES}")
        text = str(data, "utf-8", "replace")
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        lines = text.rstrip("\0\n\t ").split("\n")  # some phones pad with NULs
        if len(lines) > MAX_LINES:
            raise SdpError(f"{len(lines)} lines; a description may have {MAX_LINES}")
        return cls._read(lines)

    @classmethod
    def _read(cls, lines: list[str]) -> "SessionDescription":
        version = origin = name = session_host = None
        media: list[MediaDescription] = []
        media_line = ""
        host: str | None = None
        attributes: list[Attribute] = []
        session_attributes = attributes
        for line in lines:
            prefix = line[:2]
            if prefix == "a=":
                key, _, value = line[2:].partition(":")
                attributes.append((key.strip(), value.strip()))
            elif prefix == "m=":
                if media_line:
                    media.append(_media(media_line, host, attributes))
                else:
                    session_host = host
                media_line, host, attributes = line, None, []
            elif prefix == "c=":
                if host is None:
                    host = _connection_host(line)
            elif prefix == "o=":
                origin = origin or line[2:].strip()  # two o= lines have been seen: the first counts
            elif prefix == "s=":
                name = name or line[2:].strip()
            elif prefix == "v=":
                version = line
        if media_line:
            media.append(_media(media_line, host, attributes))
        else:
            session_host = host
        if version is None:
            raise SdpError("not a session description: no v= line")
        if len(media) > MAX_MEDIA:
            raise SdpError(f"{len(media)} media lines; a description may have {MAX_MEDIA}")
        return cls(origin or "", name or "-", session_host, tuple(session_attributes), tuple(media))

    def host_of(self, media: MediaDescription) -> str | None:
        """The address the line's media goes to: its own c=, else the session's, else None."""
        return self.host if media.host is None else media.host

    def direction_of(self, media: MediaDescription) -> Direction:
        """The line's direction: its own, else the session's, else sendrecv (RFC 3264 section 5.1)."""
        return media.direction or _direction(self.attributes) or "sendrecv"

    def __bytes__(self) -> bytes:
        lines = ["v=0", f"o={self.origin}", f"s={self.name or '-'}"]
        if self.host is not None:
            lines.append(_connection_line(self.host))
        lines.append("t=0 0")
        lines += [f"a={name}:{value}" if value else f"a={name}" for name, value in self.attributes]
        for media in self.media:
            lines += media.lines()
        lines.append("")
        return "\r\n".join(lines).encode()

    def __str__(self) -> str:
        return bytes(self).decode()


def address_type(host: str) -> Literal["IP4", "IP6"]:
    return "IP6" if ":" in host else "IP4"


def _media(line: str, host: str | None, attributes: list[Attribute]) -> MediaDescription:
    match = _MEDIA.fullmatch(line, 2)
    if match is None:
        raise SdpError(f"media line {line[:80]!r}: write m=<kind> <port> <protocol> <formats>")
    kind, port, protocol, formats = match.groups()
    number = int(port)
    if number > 65535:
        raise SdpError(f"media line {line[:80]!r}: port above 65535")
    return MediaDescription(kind.lower(), number, protocol, tuple(formats.split()), host, tuple(attributes))


def _connection_host(line: str) -> str:
    match = _CONNECTION.fullmatch(line, 2)
    host = _bare_host(match[2]) if match is not None else ""
    if not host:
        raise SdpError(f"connection line {line[:80]!r}: write c=IN IP4 <address> or c=IN IP6 <address>")
    return host


def _bare_host(address: str) -> str:
    """Without the time to live and the count of a multicast address, and without brackets that do not belong."""
    return address.partition("/")[0].strip("[]")


def _connection_line(host: str) -> str:
    return f"c=IN {address_type(host)} {host}"


def _direction(attributes: tuple[Attribute, ...]) -> Direction | None:
    """The last direction among the attributes; a second one is a phone's correction of its own template."""
    for name, _ in reversed(attributes):
        if name.lower() in DIRECTIONS:
            return cast(Direction, name.lower())
    return None


def _milliseconds(value: str | None) -> int | None:
    if value is None or not re.fullmatch(r"[0-9]{1,4}", value):
        return None
    return int(value) or None
