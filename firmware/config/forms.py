"""The forms that texts of the configuration take (SIP URI, number to ring, address to listen on, name ...).

A `Form` is put into a field's `Annotated`: it names the form in the documentation and says of a text what is wrong
with it and what to write instead. The checks are cheap and syntactic; whether a host answers is seen at run time.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass

from firmware.net.nat_discovery import NatError
from firmware.net.nat_discovery import split as split_server
from firmware.net.sip_tls import plain_fingerprint

Complaint = tuple[str, str]  # what is wrong, what to write instead


@dataclass(frozen=True, slots=True)
class Form:
    """A form of text. `complain` returns None for a good text; it never sees a secret's text in its answer."""

    name: str
    complain: Callable[[str], Complaint | None]


# RFC 3261 25.1, as far as a user or a host can be typed wrongly; the SIP layer's own reader is more lenient.
_SIP_URI = re.compile(
    r"sips?:(?:(?P<user>[^@<>\s\"]+)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::(?P<port>\d{1,5}))?"
    r"(?P<parameters>(?:;[^;?\s<>\"]+)*)(?:\?[^\s<>\"]*)?",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[A-Za-z0-9*#+_.!~'()&=$,/-]+")
_LISTEN = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9.]+):(?P<port>\d{1,5})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def sip_uri(text: str) -> Complaint | None:
    """Complain of what is no SIP URI, or is one that this version cannot reach."""
    if "<" in text or ">" in text:
        return f'"{text}" has angle brackets', f'"{text[text.find("<") + 1 :].rstrip("> ")}"'
    found = _SIP_URI.fullmatch(text)
    if found is None:
        bare = re.sub(r"^[a-z]*:/*|\s", "", text, flags=re.IGNORECASE)
        guess = f"sip:{bare}"
        return (
            f'"{text}" is not a SIP URI',
            f'"{guess if _SIP_URI.fullmatch(guess) else "sip:door@pbx.example.org"}"',
        )
    host = found["host"]
    if wrong := _host_complaint(host):
        return f'"{text}": {wrong}', f'"{text.replace(host, "pbx.example.org", 1)}", or the right address'
    if found["port"] and not 1 <= int(found["port"]) <= 65535:
        return f'"{text}": there is no port {found["port"]}', f'"{text.replace(":" + found["port"], ":5060", 1)}"'
    for parameter in found["parameters"].lower().split(";"):
        if not parameter.startswith("transport="):
            continue
        if parameter[10:] not in ("udp", "tcp", "tls", "ws", "wss"):
            return f'"{text}" asks for {parameter[10:]}; there are udp, tcp, tls, ws, wss', "transport=tcp"
        if parameter == "transport=udp" and text[:5].lower() == "sips:":
            return f'"{text}" asks for TLS and for UDP, which do not go together', f'"{text[:-14]}"'
    return None


def sip_uri_with_user(text: str) -> Complaint | None:
    if complaint := sip_uri(text):
        return complaint
    found = _SIP_URI.fullmatch(text)
    if found is not None and not found["user"]:
        scheme, _, rest = text.partition(":")
        return f'"{text}" names no user', f'"{scheme}:door@{rest}"'
    return None


def target(text: str) -> Complaint | None:
    """A number or user at the account's domain, or a SIP URI."""
    if text.lower().startswith(("sip:", "sips:")) or "<" in text:
        return sip_uri(text)
    if _NUMBER.fullmatch(text):
        return None
    if _SIP_URI.fullmatch(f"sip:{text}"):
        return f'"{text}" is neither a number nor a SIP URI', f'"sip:{text}"'
    return f'"{text}" is neither a number nor a SIP URI', '"101", or "sip:101@192.168.1.20"'


def caller(text: str) -> Complaint | None:
    """Who may call: a SIP URI, or the name of a user of the house."""
    if ":" in text or "@" in text or "<" in text:
        return sip_uri(text)
    return name(text)


def host(text: str) -> Complaint | None:
    """A host name or an address, without a port."""
    if not re.fullmatch(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+", text):
        bare = re.sub(r"^sips?:|^.*@|:\d+$", "", text)
        return f'"{text}" is no host name', f'"{bare}"' if re.fullmatch(r"[A-Za-z0-9_.-]+", bare) else '"house.lan"'
    if wrong := _host_complaint(text):
        return f'"{text}": {wrong}', '"house.lan"'
    return None


def listen_address(text: str) -> Complaint | None:
    found = _LISTEN.fullmatch(text)
    if found is None:
        if re.fullmatch(r"\d{1,5}", text):
            return f'"{text}" names no address', f'"0.0.0.0:{text}"'
        if text.count(":") > 1 and "[" not in text:
            return f'"{text}" is no address and port', f'"[{text}]:5060"'
        if re.fullmatch(r"[0-9.]+|\[[0-9A-Fa-f:.]+\]", text):
            return f'"{text}" names no port', f'"{text}:5060"'
        return f'"{text}" is no address and port', '"0.0.0.0:5060", or "[::]:5060" for IPv6'
    if wrong := _host_complaint(found["host"]):
        return f'"{text}": {wrong}', f'"0.0.0.0:{found["port"]}"'
    if int(found["port"]) > 65535:
        return f'"{text}": there is no port {found["port"]}', '"0.0.0.0:5060"'
    return None


def name_server(text: str) -> Complaint | None:
    """An address, with or without a port."""
    address, port = split_name_server(text)
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return f'"{text}" is no address', '"192.168.1.1", or "192.168.1.1:5353" with a port'
    if not 1 <= port <= 65535:
        return f'"{text}": there is no such port', f'"{address}"'
    return None


def split_name_server(text: str) -> tuple[str, int]:
    """(address without brackets, port) of a text that `name_server` accepts; (text, 0) of another."""
    found = re.fullmatch(r"\[(?P<v6>[^\]]+)\](:(?P<p6>\d{1,5}))?|(?P<v4>[0-9.]+):(?P<p4>\d{1,5})", text)
    if found is None:
        return text, 53
    return found["v6"] or found["v4"], int(found["p6"] or found["p4"] or 53)


def split_listen_address(text: str) -> tuple[str, int]:
    """(host without brackets, port) of a text that `listen_address` accepts."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def name(text: str) -> Complaint | None:
    """A name that other keys, events and command lines use: one word."""
    if _NAME.fullmatch(text):
        return None
    guess = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-_.") or "name"
    return f'"{text}" is no name: letters, digits, "-", "_" and "." only, as it is typed in commands', f'"{guess}"'


def country(text: str) -> Complaint | None:
    if re.fullmatch(r"[a-z]{2}", text):
        return None
    if re.fullmatch(r"[A-Za-z]{2}", text):
        return f'"{text}" is written in capitals', f'"{text.lower()}"'
    return f'"{text}" is no country code of two letters', '"es", "de", "fr", "gb" ...'


def absolute_path(text: str) -> Complaint | None:
    if text.startswith("/"):
        return None
    return (
        f'"{text}" depends on the folder the station is started in',
        f'"/{text.lstrip("./~")}" or another absolute path',
    )


def some_text(text: str) -> Complaint | None:
    return None if text.strip() else ("is empty", "a text, or leave the key out")


def fingerprint(text: str) -> Complaint | None:
    """SHA-256 of a certificate, in one of the spellings that tools print."""
    digits = plain_fingerprint(text)
    if len(digits) == 64:
        return None
    if len(digits) == 40:
        return "is a SHA-1 fingerprint", "the SHA-256 one: openssl x509 -noout -fingerprint -sha256 -in ..."
    return f"has {len(digits)} hexadecimal digits, not 64", "what openssl x509 -noout -fingerprint -sha256 prints"


def origin(text: str) -> Complaint | None:
    if re.fullmatch(r"https?://[A-Za-z0-9_.\[\]:-]+", text):
        return None
    bare = re.sub(r"^[a-z]*:/+|^/+", "", text, flags=re.IGNORECASE).partition("/")[0]
    return f'"{text}" is no page\'s origin', f'"https://{bare or "door.example.org"}"'


def http_path(text: str) -> Complaint | None:
    if re.fullmatch(r"/[!-~]*", text):
        return None
    return f'"{text}" is no path', f'"/{re.sub(r"[^!-~]+", "", text).lstrip("/")}"'


def code_digits(text: str) -> Complaint | None:
    """The text is a secret: nothing of it comes back."""
    if re.fullmatch(r"[0-9*#]+", text):
        return None
    return "holds something other than 0-9, * and #", "keys a telephone has"


def _host_complaint(host: str) -> str:
    bare = host.strip("[]")
    if host.startswith("[") or re.fullmatch(r"[0-9.]+", host):
        try:
            ipaddress.ip_address(bare)
        except ValueError:
            return f"{bare} is no IP address"
    return ""


def time_of_day(text: str) -> Complaint | None:
    if re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        return None
    return f'"{text}" is no time of day', 'it as hours and minutes, "22:00"'


def minutes(text: str) -> int:
    """Of the day, of a text that `time_of_day` finds nothing wrong with."""
    hour, _, minute = text.partition(":")
    return int(hour) * 60 + int(minute)


def server(text: str) -> Complaint | None:
    """Complain of what is no host, with or without a port."""
    try:
        split_server(text)
    except NatError:
        return f'"{text}" is no server', '"server.example.org" or "192.0.2.1:3478"'
    return None


SIP_URI = Form("SIP URI", sip_uri)
SIP_ADDRESS = Form("SIP URI with a user", sip_uri_with_user)
TARGET = Form("number or SIP URI", target)
CALLER = Form("SIP URI or name of a user", caller)
HOST = Form("host name", host)
NAME_SERVER = Form("address, or address:port", name_server)
SERVER = Form("host, or host:port", server)
LISTEN = Form("address:port", listen_address)
NAME = Form("name", name)
COUNTRY = Form("country code", country)
ABSOLUTE_PATH = Form("absolute path", absolute_path)
SOME_TEXT = Form("text", some_text)
FINGERPRINT = Form("SHA-256 fingerprint", fingerprint)
ORIGIN = Form("origin", origin)
HTTP_PATH = Form("path", http_path)
TIME_OF_DAY = Form("time of day", time_of_day)
CODE = Form("secret digits", code_digits)
