"""The JSON of a trace, and what is taken out of it: passwords, digest responses and cnonces, keys, codes and texts.

    value of the core           | JSON
    ----------------------------|-------------------------------------------------
    str, int, float, bool, None | itself
    bytes                       | {"text": "..."}, {"base64": "..."} where that is not UTF-8
    Uri, NameAddr               | {"uri": "sip:..."}, {"name-addr": "..."}
    a dataclass of firmware.sip | {"$": "types.Flow", "transport": "udp", ...}
    tuple, list, set            | list; read back as a tuple
    dict                        | object

A secret becomes as many `x` as it had octets, so that lengths stay true and a trace can still be replayed. A field
that its dataclass hides from repr is a secret: it becomes "masked".
"""

import base64
import dataclasses
import importlib
import re
from collections.abc import Mapping
from typing import Any

from firmware.sip.uri import NameAddr, Uri

Json = dict[str, Any]

MASKED = "masked"
_MODULE = "firmware.sip."
_class_name = re.compile(r"([a-z_]+)\.([A-Z][A-Za-z]*)")

# --- masks -------------------------------------------------------------------------------------------------

_CREDENTIALS = frozenset(
    {"authorization", "proxy-authorization", "authentication-info", "proxy-authentication-info"}
)
_credentials_line = re.compile(
    rb"^((?:(?:Proxy-)?Authorization|(?:Proxy-)?Authentication-Info)[ \t]*:)([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)",
    re.IGNORECASE | re.MULTILINE,
)
_credentials = re.compile(
    rb'\b((?:response|cnonce|rspauth)[ \t]*=[ \t]*)("(?:[^"\\]|\\.)*"?|[^",\s]+)', re.IGNORECASE
)
_other_scheme = re.compile(rb"[ \t]*(?!Digest\b)[A-Za-z0-9\-]+[ \t]", re.IGNORECASE)
# Bounded, for a header may be 64 kB of "sip:sip:".
_uri_password = re.compile(rb"(sips?:[^\s:@<>\"]{0,128}:)([^\s@<>\"]{1,128})(?=@)", re.IGNORECASE)
_sdp_secret = re.compile(
    rb"(^a=crypto:[^\r\n]*?inline:|^a=ice-pwd:|^a=key-mgmt:|^k=)([^\r\n|]*)", re.IGNORECASE | re.MULTILINE
)
_content_type = re.compile(rb"^(?:Content-Type|c)[ \t]*:[ \t]*([^\r\n;]*)", re.IGNORECASE | re.MULTILINE)
_private_method = re.compile(rb"(?:INFO|MESSAGE) ")
_HARMLESS = b"application/media_control+xml"  # asks for a keyframe


def mask(message: bytes) -> bytes:
    """A message without its secrets, of the same length."""
    head, gap, body = message.partition(b"\r\n\r\n")
    if not gap:
        head, gap, body = message.partition(b"\n\n")
    head = _mask_head(head)
    if body:
        kind = _content_type.search(head)
        private = _private_method.match(head) is not None
        body = mask_text(body, kind[1] if kind is not None else b"") if private else mask_sdp(body)
    return head + gap + body


def mask_sdp(sdp: bytes) -> bytes:
    return _sdp_secret.sub(_second, sdp) if b"\na=" in sdp or b"\nk=" in sdp else sdp


def mask_text(body: bytes, content_type: bytes) -> bytes:
    """A body with keys or a text: all but blanks and line ends; `Signal=` stays, its value goes."""
    if content_type.strip().lower() == _HARMLESS:
        return body
    return re.sub(rb"^(signal|duration)([ \t]*=)|[^\s]", lambda m: m[0] if m[1] else b"x", body, flags=re.I | re.M)


def _mask_head(head: bytes) -> bytes:
    lower = head.lower()
    if b"authorization" in lower or b"authentication-info" in lower:
        head = _credentials_line.sub(lambda line: line[1] + _mask_credentials(line[2]), head)
    return _uri_password.sub(_second, head) if b"@" in head else head


def _mask_credentials(value: bytes) -> bytes:
    other = _other_scheme.match(value)
    if other is not None:  # Basic, Bearer: all of it is secret
        return other[0] + re.sub(rb"\S", b"x", value[other.end() :])
    return _credentials.sub(_second, value)


def _second(match: re.Match[bytes]) -> bytes:
    """The first group as it is, the second, without its quotes, as x."""
    secret = match[2]
    if secret.startswith(b'"'):
        return match[1] + b'"' + b"x" * (len(secret) - 2) + b'"' if len(secret) > 1 else match[1] + secret
    return match[1] + b"x" * len(secret)


def _masked_field(name: str, value: str) -> str:
    if name.lower() in _CREDENTIALS:
        return _mask_credentials(value.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")
    return mask_uri(value)


def mask_uri(text: str) -> str:
    if "@" not in text:
        return text
    return _uri_password.sub(_second, text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


# --- writing -----------------------------------------------------------------------------------------------


def encode(value: Any, name: str = "", beside: Mapping[str, Any] | None = None) -> Any:
    """`value` as JSON without secrets. `name` is what it is called, `beside` what stands beside it by name."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes(_mask_bytes(bytes(value), name, beside or {}))
    if isinstance(value, str):
        if name in ("body", "text"):
            return mask_text(value.encode("utf-8", "replace"), b"").decode()
        return mask_uri(value)
    if isinstance(value, Uri):
        return {"uri": mask_uri(str(value))}
    if isinstance(value, NameAddr):
        return {"name-addr": mask_uri(str(value))}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        named = {field.name: getattr(value, field.name) for field in fields}
        encoded: Json = {"$": f"{type(value).__module__.removeprefix(_MODULE)}.{type(value).__name__}"}
        for field in fields:
            if not field.init:
                continue
            item = named[field.name]
            encoded[field.name] = encode(item, field.name, named) if field.repr else MASKED if item else item
        return encoded
    if isinstance(value, Mapping):
        return {str(key): encode(item, str(key), value) for key, item in value.items()}
    if isinstance(value, tuple) and len(value) == 2 and all(isinstance(item, str) for item in value):
        return [value[0], _masked_field(*value)]  # perhaps a header field
    if isinstance(value, tuple | list | set | frozenset):
        return [encode(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    return f"<{type(value).__name__}>"  # shown, not replayed


def _mask_bytes(data: bytes, name: str, beside: Mapping[str, Any]) -> bytes:
    if name in ("body", "text"):
        kind = beside.get("content_type", "")
        return mask_text(data, kind.encode("utf-8", "replace") if isinstance(kind, str) else b"")
    if name == "sdp" or data[:2] == b"v=":
        return mask_sdp(data)
    return mask(data)


def _bytes(data: bytes) -> Json:
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


# --- reading -----------------------------------------------------------------------------------------------


def decode(value: Any) -> Any:
    """The inverse of `encode`. Fields that a dataclass no longer has are left out.

    ValueError or TypeError for what no trace holds.
    """
    if isinstance(value, list):
        return tuple(decode(item) for item in value)
    if not isinstance(value, dict):
        return value
    if "$" in value:
        kind = _class(value["$"])
        known = {field.name for field in dataclasses.fields(kind) if field.init}
        return kind(**{name: decode(item) for name, item in value.items() if name in known})
    match value:
        case {"text": str(text)}:
            return text.encode()
        case {"base64": str(text)}:
            return base64.b64decode(text)
        case {"uri": str(text)}:
            return Uri.parse(text)
        case {"name-addr": str(text)}:
            return NameAddr.parse(text)
    return {name: decode(item) for name, item in value.items()}


def _class(name: str) -> Any:
    match = _class_name.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is no class of a trace")
    try:
        kind = getattr(importlib.import_module(_MODULE + match[1]), match[2])
    except (ImportError, AttributeError) as error:
        raise ValueError(f"this version has no {name}") from error
    if not dataclasses.is_dataclass(kind):
        raise ValueError(f"{name} is no data")
    return kind
