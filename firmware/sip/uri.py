"""SIP and SIPS URIs (RFC 3261 section 19.1), name-addr (section 20.10); other schemes are kept unread.

Reading is lenient: escapes stay as they are spelt, characters that should have been escaped are escaped, the
IPv6 reference with three colons of RFC 5118 section 4.10 is repaired. Writing is strict. A scheme that is not
SIP's is never an exception here; who must reach it answers 416.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from dataclasses import replace as _replace
from functools import lru_cache
from typing import Any, Self

from firmware.sip.abnf import (
    Parameters,
    escape,
    find_parameter,
    format_parameters,
    parse_parameters,
    quote,
    quoted_string,
    token,
    unescape,
    unquote,
    with_parameter,
)
from firmware.sip.errors import LocalProtocolError, RemoteProtocolError

_scheme = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*")
_unreserved = r"A-Za-z0-9\-_.!~*'()"
_user = re.compile(rf"(?:[{_unreserved}&=+$,;?/]|%[0-9A-Fa-f]{{2}})*")
_user_char = re.compile(rf"[{_unreserved}&=+$,;?/]")
_password_char = re.compile(rf"[{_unreserved}&=+$,]")
_parameter_char = re.compile(rf"[{_unreserved}\[\]/:&+$]")
_header_char = re.compile(rf"[{_unreserved}\[\]/?:+$]")
_parameters = re.compile(rf"(?:[{_unreserved}\[\]/:&+$;=]|%[0-9A-Fa-f]{{2}})*")
# host [":" port] [";" parameters] ["?" headers]; underscores in host names are common in LANs
_host_port = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[0-9A-Za-z_.\-]+)?)\]|(?P<host>[A-Za-z0-9_](?:[A-Za-z0-9._\-]*)))"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<parameters>;[^?]*)?(?:\?(?P<headers>.*))?",
    re.DOTALL,
)
# Nearly every URI: no password, no headers, nothing to mend.
_plain = re.compile(
    rf"(sips?):(?:((?:[{_unreserved}&=+$,;?/]|%[0-9A-Fa-f]{{2}})*)@)?([A-Za-z0-9][A-Za-z0-9.\-]*)"
    rf"(?::([0-9]{{1,4}}))?((?:;[{_unreserved}]+(?:=[{_unreserved}:/]+)?)*)"
)
_blank_or_control = re.compile(r"[\x00-\x20\x7f<>\"]")
# Parameters that change the meaning of a URI: present in one only, the URIs differ (RFC 3261 section 19.1.4).
_DISTINGUISHING = ("user", "ttl", "method", "maddr", "transport")


@dataclass(frozen=True, slots=True)
class Uri:
    """A URI. `host` is without the brackets of an IPv6 reference; `user` keeps its escapes.

    For a scheme other than sip and sips all but `scheme` and `opaque` (what follows the colon) is empty.
    """

    scheme: str
    user: str | None = None
    password: str | None = None
    host: str = ""
    port: int | None = None
    parameters: Parameters = ()
    headers: tuple[tuple[str, str], ...] = ()
    opaque: str = ""

    @classmethod
    def parse(cls, text: str) -> Uri:
        """Read a URI; RemoteProtocolError if it is none. Blanks around it are not part of it."""
        return _read_before(text) if len(text) <= _SHORT else cls._read(text)

    @classmethod
    def _read(cls, text: str) -> Self:
        if plain := _plain.fullmatch(text):
            scheme, user, host, port_text, parameter_text = plain.groups()
            return cls(
                scheme,
                user,
                None,
                host,
                int(port_text) if port_text else None,
                parse_parameters(parameter_text, allow_empty=False) if parameter_text else (),
            )
        scheme, colon, rest = text.partition(":")
        lower = scheme.lower()
        if not colon or not rest or _blank_or_control.search(text):
            raise RemoteProtocolError(f"not a URI: {text[:80]!r}")
        if lower not in ("sip", "sips"):
            if not _scheme.fullmatch(scheme):
                raise RemoteProtocolError(f"not a URI: {text[:80]!r}")
            return cls(lower, opaque=rest)
        userinfo, at, host_port = rest.rpartition("@")
        match = _host_port.fullmatch(host_port)
        if match is None:
            raise RemoteProtocolError(f"no host in the URI {text[:80]!r}")
        v6, host, port_text, parameter_text, header_text = match.groups()
        port = int(port_text) if port_text else None
        if port is not None and port > 65535:
            raise RemoteProtocolError(f"port out of range in the URI {text[:80]!r}")
        user = password = None
        if at:
            user, has_password, password = userinfo.partition(":")
            if not has_password:
                password = None
            elif password is not None:
                password = escape(password, _password_char)
            if not _user.fullmatch(user):
                user = escape(user, _user_char)
        parameters: Parameters = ()
        if parameter_text:
            if not _parameters.fullmatch(parameter_text):
                parameter_text = escape(parameter_text, re.compile(r"[;=]|" + _parameter_char.pattern))
            parameters = parse_parameters(parameter_text, allow_empty=True)
        return cls(
            lower,
            user,
            password,
            v6.replace(":::", "::") if v6 else host,
            port,
            parameters,
            _parse_headers(header_text) if header_text else (),
        )

    def __str__(self) -> str:
        if self.scheme not in ("sip", "sips"):
            return f"{self.scheme}:{self.opaque}"
        out = self.scheme + ":"
        if self.user is not None:
            out += self.user if _user.fullmatch(self.user) else escape(self.user, _user_char)
            if self.password is not None:
                out += ":" + escape(self.password, _password_char)
            out += "@"
        out += f"[{self.host}]" if ":" in self.host else self.host
        if self.port is not None:
            out += f":{self.port}"
        for name, value in self.parameters:
            out += ";" + escape(name, _parameter_char)
            if value is not None:
                out += "=" + escape(value, _parameter_char)
        if self.headers:
            out += "?" + "&".join(
                f"{escape(name, _header_char)}={escape(value, _header_char)}" for name, value in self.headers
            )
        return out

    def parameter(self, name: str) -> str | None:
        """The value of parameter `name` (lower case), "" for a flag, None where it is absent."""
        return find_parameter(self.parameters, name)

    def has_parameter(self, name: str) -> bool:
        return find_parameter(self.parameters, name) is not None

    @property
    def transport(self) -> str | None:
        """The transport parameter in lower case, or None."""
        transport = find_parameter(self.parameters, "transport")
        return transport.lower() if transport else None

    def replace(self, **changes: Any) -> Self:
        return _replace(self, **changes)

    def with_parameter(self, name: str, value: str | None) -> Self:
        return _replace(self, parameters=with_parameter(self.parameters, name, value))

    def without_parameter(self, name: str) -> Self:
        return _replace(self, parameters=tuple(p for p in self.parameters if p[0].lower() != name))

    def matches(self, other: Uri) -> bool:
        """Whether both name the same resource: RFC 3261 section 19.1.4."""
        if self.scheme != other.scheme:
            return False
        if self.scheme not in ("sip", "sips"):
            return self.opaque == other.opaque
        if (
            _same(self.user) != _same(other.user)
            or _same(self.password) != _same(other.password)
            or self.host.lower() != other.host.lower()
            or self.port != other.port
        ):
            return False
        mine = {name.lower(): unescape(value or "").lower() for name, value in self.parameters}
        theirs = {name.lower(): unescape(value or "").lower() for name, value in other.parameters}
        if any(mine.get(name) != theirs.get(name) for name in _DISTINGUISHING):
            return False
        if any(mine[name] != theirs[name] for name in mine.keys() & theirs.keys()):
            return False
        return sorted((n.lower(), unescape(v)) for n, v in self.headers) == sorted(
            (n.lower(), unescape(v)) for n, v in other.headers
        )


def _same(part: str | None) -> str | None:
    return None if part is None else unescape(part)


def _parse_headers(text: str) -> tuple[tuple[str, str], ...]:
    pairs = []
    for part in text.split("&"):
        name, _, value = part.partition("=")
        if name:
            pairs.append((escape(name, _header_char), escape(value, _header_char)))
    return tuple(pairs)


# A message has some five, and so has the next of the same phone. The two numbers bound what a flood leaves here.
_SHORT = 120  # characters
_KEPT = 256


@lru_cache(maxsize=_KEPT)
def _read_before(text: str) -> Uri:
    return Uri._read(text)


@dataclass(frozen=True, slots=True)
class NameAddr:
    """A name-addr or addr-spec with its header parameters: From, To, Contact, Route ... `display_name` is plain."""

    display_name: str
    uri: Uri
    parameters: Parameters = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one value; RemoteProtocolError if it is none.

        A display name that should have been quoted ("Bell, Alexander", RFC 4475 section 3.1.2.15) is taken as
        it stands. Without <> parameters belong to the header field, and a "?" is refused (section 3.1.2.13).
        """
        text = text.strip()
        name = ""
        if text[:1] == '"':
            quoted = quoted_string.match(text)
            if quoted is None:
                raise RemoteProtocolError(f"unterminated quoted string in {text[:80]!r}")
            name = unquote(quoted[0])
            text = text[quoted.end() :].lstrip()
            if text[:1] != "<":
                raise RemoteProtocolError(f"no <URI> after the display name in {text[:80]!r}")
        opening = text.find("<")
        if opening < 0:
            spec, semicolon, rest = text.partition(";")
            if "?" in spec or "," in spec:
                raise RemoteProtocolError(f"this URI must stand in <>: {text[:80]!r}")
            return cls("", Uri.parse(spec.rstrip()), parse_parameters(semicolon + rest, allow_empty=True))
        closing = text.find(">", opening)
        if closing < 0:
            raise RemoteProtocolError(f"unterminated < in {text[:80]!r}")
        if opening:
            name = text[:opening].rstrip()
            if '"' in name:
                raise RemoteProtocolError(f"stray quote in the display name of {text[:80]!r}")
        return cls(
            name,
            Uri.parse(text[opening + 1 : closing]),
            parse_parameters(text[closing + 1 :].strip(), allow_empty=True),
        )

    def __str__(self) -> str:
        name = self.display_name
        if "\r" in name or "\n" in name:
            raise LocalProtocolError("line break in a display name")
        if name:
            words = name.split(" ")
            name = f"{name} " if all(token.fullmatch(word) for word in words) else f"{quote(name)} "
        return f"{name}<{self.uri}>{format_parameters(self.parameters)}"

    @property
    def tag(self) -> str | None:
        return find_parameter(self.parameters, "tag") or None

    def parameter(self, name: str) -> str | None:
        """The value of header parameter `name` (lower case), unquoted, "" for a flag, None where absent."""
        return find_parameter(self.parameters, name)

    def with_tag(self, tag: str) -> Self:
        return _replace(self, parameters=with_parameter(self.parameters, "tag", tag))
