"""Names of header fields (RFC 3261 section 7.3, compact forms section 7.3.3) and the typed values Via and CSeq.

Which fields are comma-separated lists stands here too: a comma in any other field (a date, a challenge) is text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from dataclasses import replace as _replace
from typing import Self

from firmware.sip.abnf import (
    UINT32_MAX,
    Parameters,
    find_parameter,
    format_parameters,
    parse_parameters,
    split_list,
    token,
    unsigned,
    with_parameter,
)
from firmware.sip.errors import RemoteProtocolError

_NAMES = """
Accept Accept-Contact Accept-Encoding Accept-Language Alert-Info Allow Allow-Events Answer-Mode
Authentication-Info Authorization Call-ID Call-Info Contact Content-Disposition Content-Encoding
Content-Language Content-Length Content-Type CSeq Date Diversion Error-Info Event Expires From Geolocation
History-Info Identity In-Reply-To Info-Package Max-Forwards MIME-Version Min-Expires Min-SE Organization
P-Access-Network-Info P-Asserted-Identity P-Charging-Vector P-Early-Media P-Preferred-Identity Path Priority
Priv-Answer-Mode Privacy Proxy-Authenticate Proxy-Authentication-Info Proxy-Authorization Proxy-Require RAck
Reason Record-Route Recv-Info Refer-Sub Refer-To Referred-By Reject-Contact Remote-Party-ID Replaces Reply-To
Request-Disposition Require Retry-After Route RSeq Security-Client Security-Server Security-Verify Server
Service-Route Session-Expires SIP-ETag SIP-If-Match Subject Subscription-State Supported Timestamp To
Unsupported User-Agent Via Warning WWW-Authenticate
""".split()  # noqa: SIM905  # ninety names read better as text

# Compact forms of the IANA registry (RFC 3261, 3265, 3515, 3841, 3892, 4028, 8224).
_COMPACT = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}
COMPACT = {name: short for short, name in _COMPACT.items()}

# Fields whose grammar is #(value): several values on one line are several lines (RFC 3261 section 7.3.1).
LIST_FIELDS = frozenset(
    """
Accept Accept-Contact Accept-Encoding Accept-Language Alert-Info Allow Allow-Events Call-Info Contact
Content-Encoding Content-Language Diversion Error-Info History-Info In-Reply-To P-Asserted-Identity P-Early-Media
P-Preferred-Identity Path Proxy-Require Reason Record-Route Recv-Info Reject-Contact Remote-Party-ID Require
Route Security-Client Security-Server Security-Verify Service-Route Supported Unsupported Via Warning
""".split()  # noqa: SIM905  # as above
)

# Spelt as known, in lower case, compact in both cases: one look-up names nearly every field received.
CANONICAL: dict[str, str] = {}
for _name in _NAMES:
    CANONICAL[_name] = CANONICAL[_name.lower()] = _name
for _letter, _name in _COMPACT.items():
    CANONICAL[_letter] = CANONICAL[_letter.upper()] = _name
# Spellings seen in the field; without these entries they would only be slower.
CANONICAL |= {"Call-Id": "Call-ID", "Cseq": "CSeq", "CSEQ": "CSeq", "VIA": "Via"}


def canonical_name(name: str) -> str:
    """The one spelling under which a field is kept, compact forms expanded; for unknown fields Title-Case."""
    return CANONICAL.get(name) or CANONICAL.get(name.lower()) or name.title()


# SIP's methods; a lower-case spelling of one in CSeq is a peer's dirt, of any other token a method of its own.
METHODS = frozenset(
    {
        *("ACK", "BYE", "CANCEL", "INFO", "INVITE", "MESSAGE", "NOTIFY"),
        *("OPTIONS", "PRACK", "PUBLISH", "REFER", "REGISTER", "SUBSCRIBE", "UPDATE"),
    }
)

_via = re.compile(
    r"\s*[Ss][Ii][Pp]\s*/\s*2\.0\s*/\s*(?P<transport>[A-Za-z0-9\-.!%*_+`'~]+)\s+"
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[0-9A-Za-z_.\-]+)?)\]|(?P<host>[A-Za-z0-9_][A-Za-z0-9._\-]*))"
    r"(?:\s*:\s*(?P<port>[0-9]{1,5}))?\s*(?P<parameters>;.*)?",
    re.DOTALL,
)

COOKIE = "z9hG4bK"


@dataclass(frozen=True, slots=True)
class Via:
    """One Via value (section 20.42). `transport` is upper case as in the header, `host` without IPv6 brackets."""

    transport: str
    host: str
    port: int | None = None
    parameters: Parameters = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        match = _via.fullmatch(text)
        if match is None:
            raise RemoteProtocolError(f"not a Via: {text[:80]!r}")
        transport, v6, host, port_text, parameters = match.groups()
        port = int(port_text) if port_text else None
        if port is not None and port > 65535:
            raise RemoteProtocolError(f"port out of range in Via: {text[:80]!r}")
        return cls(
            transport.upper(),
            v6 or host,
            port,
            parse_parameters(parameters, allow_empty=False) if parameters else (),
        )

    def __str__(self) -> str:
        return f"SIP/2.0/{self.transport} {self.sent_by}{format_parameters(self.parameters)}"

    @property
    def sent_by(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def branch(self) -> str | None:
        return find_parameter(self.parameters, "branch") or None

    @property
    def received(self) -> str | None:
        """The address the message came from, without brackets (both are sent: RFC 5118 section 4.5)."""
        received = find_parameter(self.parameters, "received")
        return received.strip("[]") if received else None

    @property
    def rport(self) -> int | None:
        """The port of `;rport=...`; None where it is absent, still empty, or no port."""
        value = find_parameter(self.parameters, "rport")
        port = unsigned(value) if value else None
        return port if port is not None and 0 < port <= 65535 else None

    def parameter(self, name: str) -> str | None:
        """The value of parameter `name` (lower case), "" for a flag, None where it is absent."""
        return find_parameter(self.parameters, name)

    def has_parameter(self, name: str) -> bool:
        return find_parameter(self.parameters, name) is not None

    def with_parameter(self, name: str, value: str | None) -> Self:
        return _replace(self, parameters=with_parameter(self.parameters, name, value))

    def with_source(self, host: str, port: int) -> Self:
        """This Via as its receiver completes it: received (section 18.2.1), rport if asked (RFC 3581)."""
        via = self
        if via.has_parameter("rport"):
            via = via.with_parameter("rport", str(port)).with_parameter("received", host)
        elif via.host.lower() != host.lower():
            via = via.with_parameter("received", host)
        return via


@dataclass(frozen=True, slots=True)
class CSeq:
    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> Self:
        parts = text.split()
        if len(parts) != 2:
            raise RemoteProtocolError(f"not a CSeq: {text[:80]!r}")
        method = parts[1]
        if method not in METHODS:
            if not token.fullmatch(method):
                raise RemoteProtocolError(f"not a CSeq: {text[:80]!r}")
            if method.upper() in METHODS:
                method = method.upper()
        number = unsigned(parts[0], UINT32_MAX + 1)
        # The RFC's bound is 2**31; peers that start at a random 32-bit number are left alone.
        if number is None or number > UINT32_MAX:
            raise RemoteProtocolError(f"CSeq out of range: {text[:80]!r}")
        return cls(number, method)

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


MAX_VALUES = 500  # on one line; a Via or Route of a dozen is long, and each value costs microseconds


def split_values(text: str) -> list[str]:
    """The values of a Via line. RemoteProtocolError for more than anybody would write."""
    if text.count(",") > MAX_VALUES:
        raise RemoteProtocolError(f"over {MAX_VALUES} values on a line")
    return split_list(text)


def split_addresses(text: str) -> list[str]:
    """The values of a Contact, Route ... line. An unquoted comma in a display name is put back in its place.

    `Bell, Alexander <sip:bell@example.com>` (RFC 4475 section 3.1.2.15) is one value, not two.
    """
    items = split_values(text)
    if len(items) < 2:
        return items
    joined: list[str] = []
    for item in reversed(items):
        if joined and ":" not in item and "<" not in item:
            joined[-1] = f"{item}, {joined[-1]}"
        else:
            joined.append(item)
    joined.reverse()
    return joined
