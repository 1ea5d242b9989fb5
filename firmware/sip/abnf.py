"""The small words of SIP's grammar (RFC 3261 section 25.1): tokens, quoted strings, escapes, parameters, lists.

Regular expressions are compiled once and carry the names of the RFC's rules. Reading is lenient where the field
is known to be dirty (each place says so), writing is strict. Values wider than a number may be are clamped, so
that no digit string, however long, costs more than its scan.
"""

from __future__ import annotations

import re

from firmware.sip.errors import LocalProtocolError, RemoteProtocolError

Parameters = tuple[tuple[str, str | None], ...]

_CHAR = r"[A-Za-z0-9\-.!%*_+`'~]"
token = re.compile(f"{_CHAR}+")
# Host, unquoted generic parameter values, quoted string: what may follow "=" in a header parameter.
_gen_value = re.compile(rf"{_CHAR}+|\[[0-9A-Fa-f:.]+\]|\"[^\"\\]*(?:\\.[^\"\\]*)*\"", re.DOTALL)
quoted_string = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_quoted_pair = re.compile(r"\\(.)", re.DOTALL)
_escaped_octets = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_separator = re.compile(r'[,"<]')

UINT32_MAX = 0xFFFF_FFFF


def unquote(text: str) -> str:
    """The inside of a quoted string, escapes resolved; any other text as it is."""
    if len(text) > 1 and text[0] == '"' == text[-1]:
        inside = text[1:-1]
        return _quoted_pair.sub(r"\1", inside) if "\\" in inside else inside
    return text


def quote(text: str) -> str:
    """`text` as a quoted string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unescape(text: str) -> str:
    """%HH octets resolved, read as UTF-8; undecodable octets stay escaped."""
    if "%" not in text:
        return text

    def octets(match: re.Match[str]) -> str:
        try:
            return bytes.fromhex(match[0].replace("%", "")).decode()
        except UnicodeDecodeError:
            return match[0]

    return _escaped_octets.sub(octets, text)


def escape(text: str, allowed: re.Pattern[str]) -> str:
    """`text` with every character that `allowed` (one character) does not match as %HH; escapes are kept."""
    out = []
    for index, char in enumerate(text):
        if allowed.fullmatch(char) or (char == "%" and _escaped_octets.match(text, index)):
            out.append(char)
        else:
            out += [f"%{octet:02X}" for octet in char.encode("utf-8", "surrogatepass")]
    return "".join(out)


def unsigned(text: str, limit: int = UINT32_MAX) -> int | None:
    """A decimal number clamped to `limit`, or None if `text` is not one."""
    if not (text.isascii() and text.isdigit()):
        text = text.strip()
        if not (text.isascii() and text.isdigit()):
            return None
    if len(text) < 9:
        return min(int(text), limit)
    text = text.lstrip("0")
    return min(int(text or "0"), limit) if len(text) <= 12 else limit


def split_list(text: str, separator: str = ",") -> list[str]:
    """The items of a separated list, stripped; separators in quoted strings and <> do not count.

    Empty items are dropped (RFC 3261 section 7.3.1 knows none, peers send trailing commas). An unterminated
    quote or bracket runs to the end of the text: whoever types the item refuses it.
    """
    if separator not in text:
        text = text.strip()
        return [text] if text else []
    if '"' not in text and "<" not in text:
        return [item for part in text.split(separator) if (item := part.strip())]
    items: list[str] = []
    pattern = _separator if separator == "," else re.compile(rf'[{separator}"<]')
    start = position = 0
    while found := pattern.search(text, position):
        char, position = found[0], found.end()
        if char == separator:
            items.append(text[start : position - 1])
            start = position
        elif char == '"':
            closed = quoted_string.match(text, position - 1)
            position = closed.end() if closed else len(text)
        else:
            end = text.find(">", position)
            position = len(text) if end < 0 else end + 1
    items.append(text[start:])
    return [item for part in items if (item := part.strip())]


def parse_parameters(text: str, *, allow_empty: bool) -> Parameters:
    """`;name=value;flag` as pairs, names and values as spelt (quoted strings with their quotes).

    `text` starts at the first semicolon. With `allow_empty` a parameter of no characters is passed over: peers
    end header fields with a semicolon.
    """
    if not text:
        return ()
    if text[0] != ";":
        raise RemoteProtocolError(f"expected a parameter, not {text[:40]!r}")
    text = text[1:]
    pairs: list[tuple[str, str | None]] = []
    for part in text.split(";") if '"' not in text else split_quoted(text, ";"):
        name, equals, value = part.partition("=")
        name = name.strip()
        if not name:
            if allow_empty and not equals:
                continue
            raise RemoteProtocolError(f"parameter without a name in {text[:80]!r}")
        if equals:
            value = value.strip()
            if value and value[0] == '"' and not quoted_string.fullmatch(value):
                raise RemoteProtocolError(f"unterminated quoted string in parameter {name[:40]!r}")
            pairs.append((name, value))
        else:
            pairs.append((name, None))
    return tuple(pairs)


def split_quoted(text: str, separator: str) -> list[str]:
    """Like str.split, but separators in quoted strings do not count; an unterminated quote is an error."""
    items = []
    pattern = re.compile(rf'[{separator}"]')
    start = position = 0
    while found := pattern.search(text, position):
        position = found.end()
        if found[0] == separator:
            items.append(text[start : position - 1])
            start = position
        else:
            closed = quoted_string.match(text, position - 1)
            if closed is None:
                raise RemoteProtocolError(f"unterminated quoted string in {text[:80]!r}")
            position = closed.end()
    items.append(text[start:])
    return items


def format_parameters(parameters: Parameters) -> str:
    """Header parameters as written: values that are neither token, host nor quoted string are quoted."""
    out = ""
    for name, value in parameters:
        if value is None:
            out += f";{name}"
        else:
            out += f";{name}={value if _gen_value.fullmatch(value) else quote(value)}"
    return out


def find_parameter(parameters: Parameters, name: str) -> str | None:
    """The value of parameter `name` (lower case), unquoted; "" for a flag; None where it is absent."""
    for key, value in parameters:
        if key == name or key.lower() == name:
            return "" if value is None else unquote(value)
    return None


def with_parameter(parameters: Parameters, name: str, value: str | None) -> Parameters:
    """`parameters` with `name` replaced in its place, or appended."""
    pair = (name, value)
    if any(key.lower() == name for key, _ in parameters):
        return tuple(pair if key.lower() == name else (key, old) for key, old in parameters)
    return (*parameters, pair)


def check_line(text: str, what: str) -> str:
    """`text` if it stays on one line, else LocalProtocolError: a line break would smuggle in a header field."""
    if "\r" in text or "\n" in text:
        raise LocalProtocolError(f"line break in {what}")
    return text
