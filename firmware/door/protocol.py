"""What is said on the lock's socket: one JSON object a line, UTF-8, at most 4096 bytes with its line end. PURE.

Requests. `request` is a number the client chooses; answers carry it. `sent_s` is the client's monotonic clock,
the machine's own: a request that waited too long is refused. `evidence` says why the door was to open and is
journalled as it is: up to 24 names with short texts, numbers, true, false or null.

    {"op": "pulse", "request": 7, "door": "street", "pulse_ms": 3000, "sent_s": 81.25, "evidence": {"by": "code"}}
    {"op": "status", "request": 8}

`pulse_ms` may be left out: the door's own. To every client, as they happen (to others than who asked, `request`
is null; all `at_s` are monotonic seconds):

    {"event": "hello", "version": 1, "doors": [{"name", "state", "pulse_ms", "max_pulse_ms", "on_ms"}],
     "faults": [{"where", "what", "remedy"}]}
    {"event": "line-on", "request", "door", "pulse_ms", "at_s"}
    {"event": "read-back", "request", "door", "active", "expected", "at_s"}
    {"event": "line-off", "request", "door", "on_ms", "reason", "at_s"}
    {"event": "fault", "where", "what", "remedy"}      {"event": "fault-cleared", "where"}

To who asked:

    {"event": "accepted", "request", "door", "pulse_ms", "at_s"}
    {"event": "refused", "request", "door", "reason", "at_s"}       `request` null where none could be read
    {"event": "status", "request", "doors", "faults"}               as in hello

A client that asks for too much, sends lines without end or does not read is refused, then let go of. When a
client is gone, the doors it opened are released.
"""

import json
import math
from dataclasses import dataclass
from typing import Any, TypeGuard

VERSION = 1
MAX_LINE = 4096
MAX_NUMBER = 2**53  # beyond it, JSON numbers are no longer whole for everybody
MAX_EVIDENCE = 24
MAX_TEXT = 256


class Malformed(Exception):
    """A line that is no request. `request` is its number, where that could be read."""

    def __init__(self, reason: str, request: int | None = None) -> None:
        super().__init__(reason)
        self.request = request


@dataclass(frozen=True, slots=True)
class PulseRequest:
    request: int
    door: str
    pulse_ms: int | None
    sent_s: float
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StatusRequest:
    request: int


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_no_constant).decode
_encode = json.JSONEncoder(separators=(",", ":")).encode


def parse_request(line: bytes) -> PulseRequest | StatusRequest:
    """The request of one line, without its line end. Malformed for anything else, and nothing but Malformed."""
    try:
        values = _decode(line.decode())
    except (ValueError, RecursionError) as error:
        raise Malformed("not a JSON object") from error
    if not isinstance(values, dict):
        raise Malformed("not a JSON object")
    request = values.get("request")
    if not _is_number(request) or request < 0:
        raise Malformed("request is not a number")
    match values.get("op"):
        case "pulse":
            return _pulse(request, values)
        case "status":
            _check_keys(request, values, ("op", "request"))
            return StatusRequest(request)
        case _:
            raise Malformed('op is neither "pulse" nor "status"', request)


def encode(message: dict[str, Any]) -> bytes:
    """The message as a line, with its line end."""
    return _encode(message).encode() + b"\n"


def _pulse(request: int, values: dict[str, Any]) -> PulseRequest:
    _check_keys(request, values, ("op", "request", "door", "pulse_ms", "sent_s", "evidence"))
    door, pulse_ms, sent_s = values.get("door"), values.get("pulse_ms"), values.get("sent_s")
    if not isinstance(door, str) or len(door) > MAX_TEXT:
        raise Malformed("door is not a name", request)
    if pulse_ms is not None and not _is_number(pulse_ms):
        raise Malformed("pulse_ms is not a whole number", request)
    if not (isinstance(sent_s, float) or _is_number(sent_s)):
        raise Malformed("sent_s is not a time", request)
    evidence = values.get("evidence", {})
    if not isinstance(evidence, dict) or len(evidence) > MAX_EVIDENCE:
        raise Malformed(f"evidence is not an object of up to {MAX_EVIDENCE} names", request)
    for name, value in evidence.items():
        if len(name) > MAX_TEXT or not _is_plain(value):
            raise Malformed("evidence holds more than short texts, numbers, true, false and null", request)
    return PulseRequest(request, door, pulse_ms, float(sent_s), evidence)


def _check_keys(request: int, values: dict[str, Any], known: tuple[str, ...]) -> None:
    if not values.keys() <= set(known):
        raise Malformed(f"a key is not one of {', '.join(known)}", request)


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and -MAX_NUMBER <= value <= MAX_NUMBER


def _is_plain(value: object) -> bool:
    match value:
        case None | bool():
            return True
        case float():
            return math.isfinite(value)
        case int():
            return _is_number(value)
        case str():
            return len(value) <= MAX_TEXT
        case _:
            return False
