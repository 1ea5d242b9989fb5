"""The responses of a user agent server, with the header fields that each ought to carry (RFC 3261 8.2.6, 11.2, 20).

What the user agent can do stands here once: methods, bodies of INFO, extensions.
"""

import re

from firmware.sip.bodies import find_part, is_optional
from firmware.sip.message import Message, Request, Response, response_to
from firmware.sip.stack import Stack
from firmware.sip.uri import NameAddr

METHODS = (
    *("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO", "NOTIFY"),
    *("PRACK", "UPDATE", "MESSAGE", "REFER", "SUBSCRIBE"),
)
ALLOW = ",".join(METHODS)
KNOWN_METHODS = frozenset((*METHODS, "REGISTER", "PUBLISH"))
# Option tags that Require may name. 199: we listen for it, and never send it (RFC 6228).
EXTENSIONS = frozenset(("100rel", "199", "norefersub", "replaces", "timer"))
SUPPORTED = ",".join(sorted(EXTENSIONS))
EVENTS = "dialog"  # the event packages that are served (notifier.py)
SDP, TEXT = "application/sdp", "text/plain"
INFO_BODIES = (
    "application/dtmf-relay",
    "application/dtmf",
    "audio/telephone-event",
    "application/media_control+xml",
    "application/trickle-ice-sdpfrag",
)
_ACCEPT = ", ".join((SDP, "multipart/mixed", TEXT, *INFO_BODIES))
_reason_text = re.compile(r';\s*text\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]+))', re.IGNORECASE)


def answer(
    stack: Stack,
    request: Request,
    status: int,
    reason: str = "",
    *,
    to_tag: str | None = None,
    contact: NameAddr | None = None,
    sdp: bytes = b"",
    headers: tuple[tuple[str, str], ...] = (),
) -> Response:
    response = response_to(request, status, reason, to_tag=to_tag)
    fields = response.headers
    if contact is not None:
        fields.add("Contact", str(contact))
    if (request.method in ("INVITE", "OPTIONS", "UPDATE") and 200 <= status < 300) or status == 405:
        fields.add("Allow", ALLOW)
    if (request.method == "OPTIONS" and status == 200) or status == 415:
        fields.add("Accept", _ACCEPT)
    if status == 489 or (request.method in ("OPTIONS", "SUBSCRIBE") and 200 <= status < 300):
        fields.add("Allow-Events", EVENTS)
    gruu = contact is not None and is_gruu(contact)
    if gruu or (request.method in ("INVITE", "OPTIONS") and 200 <= status < 300):
        fields.add("Supported", f"{SUPPORTED},gruu" if gruu else SUPPORTED)
    for name, value in headers:
        fields.add(name, value)
    fields.add("Server", stack.configuration.user_agent)
    if sdp:
        fields.add("Content-Type", SDP)
        response.body = sdp
    return response


def add_contact(request: Request, contact: NameAddr) -> None:
    """Say where we are; of a GRUU also that it is one (RFC 5627)."""
    headers = request.headers
    headers.add("Contact", str(contact))
    if is_gruu(contact):
        supported = headers.get("Supported")
        headers.set("Supported", f"{supported},gruu" if supported else "gruu")


def is_gruu(contact: NameAddr) -> bool:
    return contact.uri.has_parameter("gr")


def accepts(request: Request, kind: str) -> bool:
    """Whether the sender could read an answer of that type (8.2.3, 20.1): no Accept at all says that it can."""
    if "Accept" not in request.headers:
        return True
    ranges = {value.partition(";")[0].strip().lower() for value in request.headers.values("Accept")}
    return not ranges.isdisjoint((kind, kind.partition("/")[0] + "/*", "*/*"))


def refused_method(method: str) -> int:
    """405 for a method that exists but not here, 501 for one we never heard of (8.2.1, 21.5.2)."""
    return 405 if method in KNOWN_METHODS else 501


def unsupported(request: Request) -> tuple[str, ...]:
    """Option tags that the peer insists on and we do not have (8.2.2.3)."""
    return tuple(sorted(request.require - EXTENSIONS))


def offer_of(message: Message) -> bytes:
    """The SDP in a message, alone or among other parts; b"" where there is none."""
    if not message.body.strip():
        return b""
    return find_part(message.headers.get("Content-Type") or SDP, message.body, SDP)


def unreadable(message: Message) -> bool:
    """Whether a body that is meant to be understood is not: 415."""
    if not message.body.strip() or offer_of(message):
        return False
    return not is_optional(message.headers.get("Content-Disposition") or "")


def reason_text(reason: str) -> str:
    """What a Reason field's value says in words (RFC 3326); all of it where it has none."""
    found = _reason_text.search(reason)
    if found is None:
        return reason
    return re.sub(r"\\(.)", r"\1", found[1]) if found[1] is not None else found[2]
