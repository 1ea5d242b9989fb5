"""A SIP trace as a ladder diagram for the terminal: a column a party, a line a message, timers and decisions too.

Pure: lines of JSON as `doorctl sip` gets them (firmware/sip/trace.py) in, lines of text out. The door stands left,
then whom it spoke with, in the order of their first message: an account's server under the account's name, others
under the user they were called by. A message of the same octets as one before is marked as repeated. Where the
parties do not fit the width, the later ones share the last column and their arrows name them.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from firmware.sip.errors import ProtocolError
from firmware.sip.message import Message, Request, check_request, check_response, parse_message
from firmware.sip.trace_json import Json

LEAST_SPAN = 26  # columns between two parties: "183 Session Progress sdp" and its arrow
MOST_SPAN = 44
_TIME = 11


@dataclass(frozen=True, slots=True)
class Marks:
    """What the diagram is drawn with."""

    line: str
    right: str
    left: str
    dash: str
    told: str  # what the station heard of it
    asked: str  # what the station, or another part of it, wanted
    again: str


UNICODE = Marks("│", "▶", "◀", "─", "·", "»", "↻")
ASCII = Marks("|", ">", "<", "-", ".", "*", "(again)")


@dataclass(slots=True)
class Party:
    """One remote address, and the transport by which it was met."""

    address: str
    transport: str
    name: str
    column: int


Stamp = Callable[[float], str]


def since(origin_s: float) -> Stamp:
    """Milliseconds since a moment of the core's clock."""
    return lambda at_s: f"{(at_s - origin_s) * 1000:.1f} ms"


def clock(offset_s: float) -> Stamp:
    """Local time of day; `offset_s` makes Unix time of the core's clock."""

    def stamp(at_s: float) -> str:
        unix_s = at_s + offset_s
        return time.strftime("%H:%M:%S", time.localtime(unix_s)) + f".{int(unix_s * 1000) % 1000:03}"

    return stamp


@dataclass(slots=True)
class Ladder:
    """Draws entries as they come; a new party draws the heading anew. `width` in columns of the terminal, `names`
    of addresses that the entries themselves do not tell (`servers_of` the whole trace)."""

    stamp: Stamp
    width: int = 100
    marks: Marks = UNICODE
    names: Json = field(default_factory=dict)
    _parties: dict[str, Party] = field(default_factory=dict)
    _calls: "CallNumbers" = field(default_factory=lambda: CallNumbers())
    _seen: set[tuple[bool, str, bytes]] = field(default_factory=set)
    _last_stamp: str = ""

    def draw(self, entries: Iterable[Json]) -> Iterator[str]:
        """A whole trace, with one heading."""
        kept = list(entries)
        for entry in kept:
            self._meet(entry, list(_messages(entry)))
        if self._parties:
            yield from self.heading()
        for entry in kept:
            yield from self.feed(entry)

    def feed(self, entry: Json) -> Iterator[str]:
        """One more entry."""
        known = len(self._parties)
        messages = list(_messages(entry))
        self._meet(entry, messages)
        if len(self._parties) != known:
            yield from self.heading()
        stamp = self.stamp(entry["at"])
        arrived = [each for each in messages if not each[0]]
        for each in arrived:
            yield self._arrow(stamp, *each)
            if each[2] is not None and each[2].repairs:
                yield self._note(stamp, "!", f"mended to be read: {', '.join(each[2].repairs)}")
        for kind, note in _notes_before(entry, bool(arrived)):
            yield self._note(stamp, self.marks.asked if kind == "asked" else kind, note)
        for each in messages:
            if each[0]:
                yield self._arrow(stamp, *each)
        for note in _notes_after(entry):
            yield self._note(stamp, self.marks.told, note)

    def heading(self) -> Iterator[str]:
        """The parties' names and addresses above their lines."""
        columns = self._columns()
        names: list[list[str]] = [["door"], *([] for _ in range(columns))]
        addresses: list[list[str]] = [[""], *([] for _ in range(columns))]
        for party in self._parties.values():
            names[self._column(party)].append(party.name)
            addresses[self._column(party)].append(f"{party.address} {party.transport}")
        span = self._span()
        yield ""
        for row in (names, addresses):
            line = " " * (_TIME + 2)
            for position, cell in enumerate(row):
                text = cell[0] if len(cell) == 1 else f"{len(cell)} others" if cell and row is names else ""
                start = _TIME + 2 + position * span - (len(text) // 2 if position else 0)
                start = min(start, self.width - len(text))
                line = line.ljust(start)[: max(start, 0)] + text if start >= len(line) else f"{line} {text}"
            yield line.rstrip()

    # --- parties --------------------------------------------------------------------------------------------

    def _meet(self, entry: Json, messages: list["_Found"]) -> None:
        self._calls.learn(entry, [message for _, _, message, _ in messages])
        for sent, flow, message, _ in messages:
            address = _address(flow)
            party = self._parties.get(address)
            if party is None:
                name = str(self.names.get(address, ""))
                party = Party(address, flow["transport"], name, len(self._parties) + 1)
                self._parties[address] = party
            if isinstance(message, Request) and not party.name:
                party.name = _name(message, flow, sent)

    def _columns(self) -> int:
        return max(1, min(len(self._parties), (self.width - _TIME - 4) // LEAST_SPAN))

    def _span(self) -> int:
        return max(LEAST_SPAN, min(MOST_SPAN, (self.width - _TIME - 4) // self._columns()))

    def _column(self, party: Party) -> int:
        return min(party.column, self._columns())

    # --- lines ----------------------------------------------------------------------------------------------

    def _arrow(self, stamp: str, sent: bool, flow: Json, message: Message | None, data: bytes) -> str:
        party = self._parties[_address(flow)]
        column, columns, span, marks = self._column(party), self._columns(), self._span(), self.marks
        key = (sent, party.address, data)
        again = key in self._seen
        if len(self._seen) > 20_000:
            self._seen.clear()  # a follower of a busy day; repeats come within seconds
        self._seen.add(key)
        room = column * span - 1
        more = f" {flow['transport']}" if flow["transport"] != party.transport else ""
        number = self._calls.of(message)
        if number and len(self._calls) > 1:
            more += f" [{number}]"
        if again:
            more += f" {marks.again}"
        if column == columns and len(self._parties) > columns:
            more += f" {party.name or party.address}"
        text = label(message, data, room - 5 - len(more)) + more
        text = text[: room - 5]
        filled = marks.dash * (room - len(text) - 4)
        if sent:
            arrow = f"{marks.dash} {text} {filled}{marks.right}"
        else:
            arrow = f"{marks.left}{filled} {text} {marks.dash}"
        rest = "".join(" " * (span - 1) + marks.line for _ in range(columns - column))
        return self._line(stamp, marks.line + arrow + marks.line + rest)

    def _note(self, stamp: str, mark: str, text: str) -> str:
        return self._line(stamp, f"{self.marks.line} {mark} {text}")

    def _line(self, stamp: str, text: str) -> str:
        shown = "" if stamp == self._last_stamp else stamp
        self._last_stamp = stamp
        return f"{shown:>{_TIME}}  {text}"[: self.width].rstrip()


def label(message: Message | None, data: bytes, room: int = 200) -> str:
    """What an arrow says: "INVITE 1 sdp", "183 Session Progress INVITE 1 sdp". Where the room is short, the reason
    phrase is cut."""
    if message is None:
        return f"not SIP, {len(data)} bytes"
    try:
        cseq = message.cseq
        number, method = str(cseq.number), cseq.method
    except ProtocolError:
        number, method = "?", ""
    body = ""
    if message.body:
        kind = message.content_type
        body = " sdp" if kind == "application/sdp" else f" {kind.removeprefix('application/') or 'body'}"
    if isinstance(message, Request):
        return f"{message.method} {number}{body}"
    rest = f"{method} {number}{body}"
    status, phrase = getattr(message, "status", 0), getattr(message, "reason_phrase", "")
    room -= len(f"{status}  ") + len(rest)
    if len(phrase) > room:
        phrase = phrase[: max(0, room - 2)].rstrip() + ".."
    return f"{status} {phrase} {rest}"


_Found = tuple[bool, Json, Message | None, bytes]

# --- entries -------------------------------------------------------------------------------------------------


def _messages(entry: Json) -> Iterator[_Found]:
    """(sent, flow, message or None where it is unreadable, bytes), in order."""
    from firmware.sip.replay import messages_of

    for sent, flow, data in messages_of(entry):
        try:
            message: Message | None = parse_message(data)
        except ProtocolError as error:
            message = getattr(error, "request", None)
        yield sent, flow, message, data


def _address(flow: Json) -> str:
    host, port = flow["remote"]
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{port}"


def _name(request: Request, flow: Json, sent: bool) -> str:
    """A phone by its user, a server by its host: a Request-URI that is not the address it was sent to."""
    try:
        if not sent:
            return (request.to if request.method == "REGISTER" else request.from_).uri.user or ""
        if request.method == "REGISTER":
            return request.to.uri.host
        uri = request.uri
        if uri.host != flow["remote"][0] or request.headers.get("Route"):
            return uri.host
        return uri.user or uri.host
    except ProtocolError:
        return ""


def servers_of(entries: Iterable[Json]) -> dict[str, str]:
    """Address -> the domain whose account registers there."""
    return {
        _address(flow): _name(message, flow, sent)
        for entry in entries
        for sent, flow, message, _ in _messages(entry)
        if sent and isinstance(message, Request) and message.method == "REGISTER"
    }


_COMMANDS: dict[str, Callable[[Json], str]] = {
    "start": lambda given: "start",
    "stop": lambda given: "stop: hang up and un-register",
    "invite": lambda given: (
        f"call {given['target']['uri']}" + (f" by account {given['account']}" if given.get("account") else "")
    ),
    "hangup": lambda given: (
        f"hang up call {given['call']}" + (f" with {given['status']}" if given.get("status") else "")
    ),
    "ring": lambda given: f"ring for call {given['call']}",
    "accept": lambda given: f"accept call {given['call']}",
    "answer_offer": lambda given: f"answer the offer of call {given['call']}",
    "reject_offer": lambda given: f"reject the offer of call {given['call']} with {given['status']}",
    "flow_failed": lambda given: f"no way there: {given.get('error')}",
    "flow_closed": lambda given: f"connection to {_address(given['flow'])} closed: {given.get('error')}",
    "send_failed": lambda given: f"not sent to {_address(given['flow'])}: {given.get('error')}",
    "receive_garbage": lambda given: f"not SIP, connection closed: {given['error'][0]}",
}
_BEGINNINGS = (".InviteSent", ".IncomingCall")
_FAILURES = ("flow_failed", "flow_closed", "send_failed", "receive_garbage")
_SILENT = ("other", "fall_back", "receive", "receive_message", "handle_timer", "flow_opened", "resolved")


def _notes_before(entry: Json, received: bool) -> Iterator[tuple[str, str]]:
    """What was asked or came before the messages that were sent."""
    do, given = entry["do"], entry.get("with", {})
    if entry.get("skipped"):
        yield "!", f"{entry['skipped']} more messages that nobody wanted are not kept"
    if do == "resolved":
        targets = [f"{each['host']}:{each['port']} {each['transport']}" for each in given.get("targets", ())]
        yield "?", f"found {', '.join(targets)}" if targets else f"name not found: {given.get('error')}"
    elif do not in _SILENT:
        known = _COMMANDS.get(do)
        try:
            text = known(given) if known is not None else do.replace("_", " ") + _arguments(given)
        except (KeyError, TypeError, IndexError):
            text = do.replace("_", " ")
        yield "!" if do in _FAILURES else "asked", text
    if entry.get("actions") or entry.get("events"):
        for timer in entry.get("timers", ()):  # most only end the wait for repeats
            yield "t", timer
    if entry.get("dropped") and received:
        yield "!", f"dropped: {_why_dropped(entry)}"
    if entry.get("raised"):
        yield "!", f"refused: {entry['raised']}"
    for action in entry.get("actions", ()):
        if action["$"] == "actions.Resolve":
            yield "?", f"look up {action['uri']['uri']}"
        elif action["$"] == "actions.OpenFlow" and action["target"]["transport"] != "udp":
            target = action["target"]
            yield "?", f"connect to {target['host']}:{target['port']} {target['transport']}"


def notes_of(entry: Json) -> list[str]:
    """What the diagram says of an entry besides its messages."""
    return [note for _, note in _notes_before(entry, received=True)] + list(_notes_after(entry))


def _arguments(given: Json) -> str:
    plain = {key: value for key, value in given.items() if isinstance(value, str | int) and value != ""}
    return "".join(f" {key}={value}" for key, value in plain.items())


def _why_dropped(entry: Json) -> str:
    for _, _, message, data in _messages(entry):
        try:
            parsed = parse_message(data)
            if isinstance(parsed, Request):
                check_request(parsed)
            else:
                check_response(parsed)
        except ProtocolError as error:
            return str(error)
        if isinstance(message, Request):
            return "no call that it belongs to" if message.method == "ACK" else "over the bounds"
        return "no request waits for it"
    return "nobody wanted it"


def _notes_after(entry: Json) -> Iterator[str]:
    for event in entry.get("events", ()):
        text = _EVENTS.get(event["$"].rpartition(".")[2])
        if text is not None:
            yield text(event)


def _registration(event: Json) -> str:
    text = f"account {event['account']} {event['state']}"
    if event["state"] == "registered":
        return f"{text} for {event['expires_s']:.0f} s"
    if event["status"]:
        text += f": {event['status']} {event['reason']}"
    elif event["reason"]:
        text += f": {event['reason']}"
    return text + (f", again in {event['retry_s']:.0f} s" if event["retry_s"] else "")


_EVENTS: dict[str, Callable[[Json], str]] = {
    "InviteSent": lambda event: f"call {event['call']} begins",
    "IncomingCall": lambda event: f"call {event['call']} comes in",
    "CallAnswered": lambda event: f"call {event['call']} answered",
    "CallEnded": lambda event: f"call {event['call']} ended by {event['by']}: {event['status']} {event['reason']}",
    "RegistrationChanged": _registration,
    "UserRegistered": lambda event: "a phone of the house registered",
    "UserRefused": lambda event: f"{event.get('user')} refused: {event.get('status')} {event.get('reason', '')}",
}


# --- choosing ------------------------------------------------------------------------------------------------


def of_calls(entries: Iterable[Json], chosen: "CallFilter") -> list[Json]:
    """What belongs to some calls: their messages, commands, look-ups, timers and events."""
    return [part for entry in entries if (part := chosen.part(entry)) is not None]


class CallFilter:
    """Picks calls, by the core's numbers, out of entries in their order; it must see their INVITEs go or come."""

    def __init__(self, calls: set[int]) -> None:
        self._calls = calls
        self._numbers = CallNumbers()
        self._tokens: set[int] = set()

    def part(self, entry: Json) -> Json | None:
        """What of an entry belongs to the calls."""
        given, events = entry.get("with", {}), entry.get("events", ())
        messages = [message for _, _, message, _ in _messages(entry)]
        self._numbers.learn(entry, messages)
        number = entry.get("result") if entry["do"] == "invite" else given.get("call")
        own = number in self._calls or given.get("token") in self._tokens
        wanted = [self._numbers.of(message) in self._calls for message in messages]
        happened = [event for event in events if event.get("call") in self._calls]
        if not (own or any(wanted) or happened):
            return None
        part = dict(entry)
        actions = entry.get("actions", [])
        positions = iter(wanted)
        if entry["do"] in ("receive", "receive_message") and not next(positions, False):
            part["do"], part["with"] = "other", {}
        part["actions"] = [
            action
            for action in actions
            if (next(positions, False) if action["$"] == "actions.Send" else own or any(wanted))
        ]
        part["events"] = happened
        if len(part["actions"]) != len(actions):
            part["timers"] = []  # several rang; whose is whose is not known
        self._tokens |= {action["token"] for action in part["actions"] if "token" in action}
        return part


class CallNumbers:
    """Which call of the core a message belongs to, by its Call-ID."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def learn(self, entry: Json, messages: list[Message | None]) -> None:
        """Calls begin in the order of their INVITEs."""
        begun = [event["call"] for event in entry.get("events", ()) if event["$"].endswith(_BEGINNINGS)]
        if not begun:
            return
        invites = [each for each in messages if isinstance(each, Request) and each.method == "INVITE"]
        new = dict.fromkeys(each for each in map(_call_id, invites) if each and each not in self._numbers)
        self._numbers.update(zip(new, begun, strict=False))

    def of(self, message: Message | None) -> int:
        """0 for none."""
        return self._numbers.get(_call_id(message), 0)

    def __len__(self) -> int:
        return len(self._numbers)


def _call_id(message: Message | None) -> str:
    try:
        return message.call_id if message is not None else ""
    except ProtocolError:
        return ""
