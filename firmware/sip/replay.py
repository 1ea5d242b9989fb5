"""Replays a trace into a fresh core and says where it acts differently: a recorded trace is a test.

`python -m firmware.sip.replay trace.jsonl` (`--exact`: to the byte). A trace is what `doorctl sip --json` prints: a
header line, then one line for each call into the core (trace.py). It must have its beginning.

The fresh core gets the same inputs at the same times and draws the same random bytes. Compared is what matters to a
peer and to the station: each message's destination, method or status, CSeq and Call-ID, in order; each other
action; each event with its status; with `exact` also every header and the timers. Where another version draws its
random bytes in another order, branches, tags and Call-IDs differ: the recorded answers are rewritten to the ones
that this core gave out. Secrets are masked in a trace; the core gets passwords of the same mask, so its responses
differ and are masked again, and a peer's response to a challenge of ours is computed anew where it was right.
"""

import argparse
import contextlib
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from firmware.sip.configuration import Configuration
from firmware.sip.core import Core
from firmware.sip.digest import Credentials, canonical_algorithm, digest_response
from firmware.sip.errors import LocalProtocolError, RemoteProtocolError
from firmware.sip.message import Request, Response, parse_message
from firmware.sip.trace import FORMAT, Trace, TracedCore, inputs_of
from firmware.sip.trace_json import MASKED, Json, decode, mask

_STATION = (
    "call",
    "account",
    "state",
    "status",
    "by",
    "user",
    "method",
)  # fields of events that the station acts on
_CREDENTIALS = ("Authorization", "Proxy-Authorization")


class NotReplayable(ValueError):
    """The text says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`differences` are those of the first entry that differs, in words; none: the core did as it did then."""

    entries: int
    messages: int
    differences: tuple[str, ...]


def read(lines: Iterable[str]) -> tuple[Json, list[Json]]:
    """Header and entries of a trace. NotReplayable where it is none, or its beginning is lost."""
    try:
        header, *entries = (json.loads(line) for line in lines if line.strip())
    except ValueError as error:
        raise NotReplayable(f"not a trace: {error}") from None
    if not isinstance(header, dict) or "trace" not in header or not all(isinstance(each, dict) for each in entries):
        raise NotReplayable("not a trace: write one with doorctl sip --json")
    if header["trace"] != FORMAT:
        raise NotReplayable(f"a trace of format {header['trace']}; this version reads {FORMAT}")
    if header.get("lost") or header.get("part"):
        raise NotReplayable(
            "the beginning is missing, so nobody knows in which state the core was; restart the station, "
            "let it happen again, and take the whole trace (no --call, --press or --last)"
        )
    return header, entries


def replay(lines: Iterable[str], *, exact: bool = False) -> Outcome:
    """Feed the trace to a new core until it acts differently."""
    header, entries = read(lines)
    messages = 0
    try:
        again = _Replay(header)
        for number, entry in enumerate(entries, 1):
            messages += sum(1 for _ in messages_of(entry))
            differences = again.step(entry, exact)
            if differences:
                where = f"entry {entry.get('n', number)}, {entry['do']} at {entry['at']:.3f} s: "
                return Outcome(number, messages, tuple(where + each for each in differences))
    except (KeyError, TypeError, ValueError) as error:
        raise NotReplayable(f"not a trace that this version reads: {error!r}") from error
    return Outcome(len(entries), messages, ())


def messages_of(entry: Json) -> Iterator[tuple[bool, Json, bytes]]:
    """(sent, flow, bytes) of each message in an entry, in order."""
    inputs = entry.get("with", {})
    if entry["do"] in ("receive", "receive_message"):
        data = decode(inputs.get("data") or inputs.get("message"))
        if isinstance(data, bytes):
            yield False, inputs["flow"], data
    for action in entry.get("actions", ()):
        if action["$"] == "actions.Send":
            yield True, action["flow"], decode(action["data"])


class _Replay:
    def __init__(self, header: Json) -> None:
        configuration = decode(header["configuration"])
        if not isinstance(configuration, Configuration):
            raise NotReplayable("the header has no configuration")
        self._random = _Draws()
        self._random.next = [bytes.fromhex(draw) for draw in header["random"]]
        self._lines: list[Json] = []
        trace = Trace()
        trace.subscribe(lambda entry: self._lines.append(entry.encode()))
        more = {name: decode(value) for name, value in header.get("more", {}).items()}
        self._core = TracedCore(configuration, random=self._random, trace=trace, **more)
        self._known = inputs_of(Core)
        self._given: dict[str, str] = {}  # recorded branch, tag, Call-ID, nonce -> this core's
        self._tokens: dict[int, int] = {}

    def step(self, entry: Json, exact: bool) -> list[str]:
        name = entry["do"]
        if name not in self._known:
            return [f"a core of this version has no {name}"]
        inputs = {key: self._input(key, value, entry) for key, value in entry.get("with", {}).items()}
        self._random.next = [bytes.fromhex(draw) for draw in entry.get("random", ())]
        self._lines.clear()
        with contextlib.suppress(LocalProtocolError):  # compared below
            getattr(self._core, name)(**inputs, now=entry["at"])
        while self._core.take_actions() or self._core.next_event() is not None:
            pass
        # An input that changed nothing leaves no line: an alarm that this version no longer sets.
        now = self._lines[0] if self._lines else {"do": name}
        self._learn(entry, now)
        return list(self._compare(entry, now, exact))

    # --- inputs -----------------------------------------------------------------------------------------------

    def _input(self, key: str, value: Any, entry: Json) -> Any:
        decoded = decode(value)
        if key == "token":
            return self._tokens.get(decoded, decoded)
        if key in ("data", "message") and isinstance(decoded, bytes):
            for recorded, own in self._given.items():
                decoded = decoded.replace(recorded.encode(), own.encode())
            decoded = _with_credentials(decoded, entry)
            return parse_message(decoded) if key == "message" else decoded
        if key == "error" and isinstance(decoded, tuple):
            text, status, request = decoded
            try:
                readable = parse_message(request) if request else None
            except RemoteProtocolError as error:
                readable = error.request
            return RemoteProtocolError(
                text, status=status, request=readable if isinstance(readable, Request) else None
            )
        return decoded

    def _learn(self, then: Json, now: Json) -> None:
        """Which identifiers and tokens of this core stand for the recorded ones."""
        for old, new in zip(then.get("actions", ()), now.get("actions", ()), strict=False):
            if old["$"] != new["$"]:
                return
            if "token" in old:
                self._tokens[old["token"]] = new["token"]
            elif old["$"] == "actions.Send" and old["data"] != new["data"]:
                for recorded, own in zip(_identifiers(old["data"]), _identifiers(new["data"]), strict=False):
                    if recorded != own and recorded and own:
                        self._given[recorded] = own

    # --- comparing --------------------------------------------------------------------------------------------

    def _compare(self, then: Json, now: Json, exact: bool) -> Iterator[str]:
        for kind in ("actions", "events", "result", "raised", "timers"):
            old, new = then.get(kind, []), now.get(kind, [])
            if not exact:
                if kind in ("timers", "raised"):
                    old, new = bool(old) if kind == "raised" else 0, bool(new) if kind == "raised" else 0
                elif kind != "result":
                    old = [self._essence(each, self._given) for each in old]
                    new = [self._essence(each, {}) for each in new]
            if old == new:
                continue
            if not isinstance(old, list) or not isinstance(new, list):
                yield f"{kind} was {_short(old)}, is {_short(new)}"
                continue
            for position in range(max(len(old), len(new))):
                before = old[position] if position < len(old) else None
                after = new[position] if position < len(new) else None
                if before != after:
                    yield f"{kind[:-1]} {position + 1} was {_short(before)}, is {_short(after)}"

    def _essence(self, each: Json, given: dict[str, str]) -> str:
        kind = each["$"]
        if kind == "actions.Send":
            flow = each["flow"]
            to = f"{flow['transport']} {flow['remote'][0]}:{flow['remote'][1]}"
            try:
                message = parse_message(decode(each["data"]))
                what = message.method if isinstance(message, Request) else str(message.status)
                call_id = given.get(message.call_id, message.call_id)
                return f"Send {what} ({message.cseq}) to {to}, Call-ID {call_id}"
            except RemoteProtocolError as error:
                return f"Send to {to}: {error}"
        if kind.startswith("actions."):
            rest = {key: value for key, value in each.items() if key not in ("$", "token")}
            return f"{kind[8:]} {_short(rest)}"
        return f"{kind} {_short({key: each[key] for key in _STATION if key in each})}"


class _Draws:
    """The recorded draws; beyond them, or of another size, bytes that depend on their number alone."""

    def __init__(self) -> None:
        self.next: list[bytes] = []
        self._made = 0

    def __call__(self, size: int) -> bytes:
        if self.next and len(self.next[0]) == size:
            return self.next.pop(0)
        self.next.clear()
        self._made += 1
        return hashlib.shake_128(b"draw %d" % self._made).digest(size)


def _identifiers(data: Any) -> list[str]:
    """What a peer repeats of a message of ours: Call-ID, branch, our tag, nonces."""
    try:
        message = parse_message(decode(data))
        own = message.from_.tag if isinstance(message, Request) else message.to.tag
        via = message.top_via.branch if isinstance(message, Request) else ""
        found = [message.call_id if isinstance(message, Request) else "", via or "", own or ""]
    except RemoteProtocolError:
        return []
    for name in ("WWW-Authenticate", "Proxy-Authenticate"):
        for line in message.headers.get_all(name):
            _, _, rest = line.partition('nonce="')
            found.append(rest.partition('"')[0])
    return found


def _with_credentials(data: bytes, entry: Json) -> bytes:
    """A peer's masked digest response becomes the right one to the masked password, unless it was refused."""
    if b"uthorization:" not in data or any(event["$"] == "events.UserRefused" for event in entry.get("events", ())):
        return data
    try:
        request = parse_message(data)
    except RemoteProtocolError:
        return data
    if isinstance(request, Response):
        return data
    for name in _CREDENTIALS:
        lines = request.headers.get_all(name)
        request.headers.remove(name)
        for line in lines:
            request.headers.add(name, _right(line, request))
    return bytes(request)


def _right(line: str, request: Request) -> str:
    try:
        given = Credentials.parse(line)
    except RemoteProtocolError:
        return line
    algorithm = canonical_algorithm(given.algorithm) if given is not None else None
    if given is None or algorithm is None:
        return line
    response = digest_response(
        MASKED, request.method, request.body,
        username=given.username, realm=given.realm, nonce=given.nonce, uri=given.uri,
        algorithm=algorithm, qop=given.qop, nc=given.nc, cnonce=given.cnonce,
    )  # fmt: skip
    return str(replace(given, response=response))


def _short(value: Any) -> str:
    if isinstance(value, dict) and value.get("$") == "actions.Send":
        return mask(decode(value["data"])).decode("utf-8", "replace")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)[:300]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m firmware.sip.replay", description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", metavar="FILE", help="what doorctl sip --json wrote")
    parser.add_argument("--exact", action="store_true", help="compare every header and timer too")
    arguments = parser.parse_args(argv)
    worst = 0
    for path in arguments.files:
        try:
            with open(path, encoding="utf-8") as stream:
                outcome = replay(stream, exact=arguments.exact)
        except (OSError, NotReplayable) as error:
            print(f"{path}: {error}", file=sys.stderr)
            worst = 2
            continue
        if not outcome.differences:
            print(f"{path}: {outcome.entries} inputs, {outcome.messages} messages, as recorded")
            continue
        worst = max(worst, 1)
        print("\n".join(f"{path}: {each}" for each in outcome.differences))
    return worst


if __name__ == "__main__":
    sys.exit(main())
