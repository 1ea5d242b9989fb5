"""What a core was told and what it did, kept as data in a bounded ring: the flight recorder of SIP.

`TracedCore` is a `Core` that notes each call into it (arguments with `now`), each message and other action that
came of it, each event, each timer that rang and the random bytes drawn. That is all that decides what a core does,
so a ring that still has its beginning can be replayed (replay.py). Noting costs microseconds: nothing is formatted,
and secrets are taken out when entries leave the ring (`Entry.encode`, by trace_json.py), which is the only way out.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from firmware.sip.actions import Action, Send
from firmware.sip.configuration import Configuration
from firmware.sip.core import Core
from firmware.sip.errors import LocalProtocolError, RemoteProtocolError
from firmware.sip.events import Event
from firmware.sip.message import Message
from firmware.sip.timers import Alarm
from firmware.sip.trace_json import Json, encode

log = logging.getLogger(__name__)

FORMAT = 1
MAX_ENTRIES = 20_000
MAX_BYTES = 3_000_000  # a hundred calls, or two days of registrations; counted with what Python adds to each
MAX_DROPPED_PER_S = 20  # messages that nobody wanted: a flood of them must not wash the calls out of the ring
QUESTIONS = frozenset({"bindings"})  # take `now` and change nothing
_STREAMED = ("receive_message", "receive_garbage")
_ENTRY_BYTES = 900  # an entry without its messages, measured


@dataclass(frozen=True, slots=True)
class Entry:
    """One call into the core. `inputs` has its arguments by name without `now`, which is `at_s`; `skipped` counts
    the unwanted messages since the entry before that were not kept."""

    number: int
    at_s: float
    do: str
    inputs: dict[str, Any]
    draws: tuple[bytes, ...]
    timers: tuple[str, ...]
    actions: tuple[Action, ...]
    events: tuple[Event, ...]
    result: object
    raised: str
    dropped: int
    skipped: int

    @property
    def registers(self) -> bool:
        """Whether a REGISTER of ours is in it: from these servers get their names."""
        return any(isinstance(action, Send) and action.data.startswith(b"REGISTER ") for action in self.actions)

    def encode(self) -> Json:
        """As JSON, without secrets. What is empty is left out; `with` holds the arguments."""
        line: Json = {"n": self.number, "at": self.at_s, "do": self.do}
        cnonces = _cnonces(self.actions)
        optional = {
            "with": {name: encode(value, name, self.inputs) for name, value in self.inputs.items()},
            "random": [_draw(draw, cnonces) for draw in self.draws],
            "timers": list(self.timers),
            "actions": [encode(action) for action in self.actions],
            "events": [encode(event) for event in self.events],
            "result": encode(self.result),
            "raised": self.raised,
            "dropped": self.dropped,
            "skipped": self.skipped,
        }
        return line | {name: value for name, value in optional.items() if value}


class Trace:
    """The ring. The oldest entries give way beyond `max_entries` or `max_bytes`; `lost` counts them."""

    def __init__(self, *, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self.lost = 0
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: deque[tuple[int, tuple[Any, ...]]] = deque()  # octets, fields of an Entry
        self._bytes = 0
        self._header: Json = {}
        self._listeners: list[Callable[[Entry], None]] = []

    def begin(self, configuration: Configuration, draws: Iterable[bytes], **more: object) -> None:
        """A core starts. Its first draws are keys (of tags, of nonces): without a password they open nothing, and
        they end with the core."""
        self._header = {
            "trace": FORMAT,
            "configuration": encode(configuration),
            "random": [draw.hex() for draw in draws],
        }
        if more:
            self._header["more"] = {name: encode(value) for name, value in more.items()}

    def header(self) -> Json:
        """The first line of a trace; `lost` entries of its beginning are missing."""
        return {**self._header, "lost": self.lost}

    def add(self, octets: int, fields: tuple[Any, ...]) -> None:
        """One entry more: the `octets` of its messages, and its fields in their order."""
        octets += _ENTRY_BYTES
        self._entries.append((octets, fields))
        self._bytes += octets
        while self._bytes > self._max_bytes or len(self._entries) > self._max_entries:
            self._bytes -= self._entries.popleft()[0]
            self.lost += 1
        if self._listeners:
            entry = Entry(*fields)
            for listener in tuple(self._listeners):
                try:
                    listener(entry)
                except Exception:
                    # A reader's bug must neither reach the call nor be repeated with every message.
                    log.exception("reader %r of the trace failed and is dropped", listener)
                    self._drop(listener)

    def entries(self) -> list[Entry]:
        """A copy: what happens later is not in it."""
        return [Entry(*fields) for _, fields in self._entries]

    def subscribe(self, listener: Callable[[Entry], None]) -> Callable[[], None]:
        """Hand each entry from now on to `listener`; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._drop(listener)

    def _drop(self, listener: Callable[[Entry], None]) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)


class TracedCore(Core):
    """A core whose every input is noted in `trace`."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        random: Callable[[int], bytes],
        trace: Trace,
        **more: Any,
    ) -> None:
        self._trace = trace
        self._source = random
        self._draws: list[bytes] = []
        self._rung: list[str] = []
        self._inside = False
        self._entries = 0
        self._skipped = 0
        self._dropped_second = 0.0
        self._dropped_in_second = 0
        super().__init__(configuration, random=self._draw, **more)
        self._stack.schedule.on_ring = lambda alarm: self._rung.append(timer_name(alarm))
        trace.begin(configuration, self._taken(), **more)

    def _draw(self, size: int) -> bytes:
        draw = self._source(size)
        self._draws.append(draw)
        return draw

    def _taken(self) -> list[bytes]:
        draws, self._draws = self._draws, []
        return draws

    def _observed(
        self, name: str, plain: Callable[..., Any], inputs: dict[str, Any], arguments: Any, options: Any
    ) -> Any:
        """Carry out one input and note it."""
        stack = self._stack
        actions, events, dropped = len(stack.actions), len(stack.events), self.dropped
        if name in _STREAMED:
            # Messages are completed while they are handled; what arrived is what is noted.
            inputs.update((key, _as_it_came(value)) for key, value in inputs.items())
        result, raised = None, ""
        self._inside = True
        try:
            result = plain(self, *arguments, **options)
        except LocalProtocolError as error:
            raised = str(error)
            raise
        except BaseException as error:
            raised = type(error).__name__
            raise
        finally:
            self._inside = False
            draws, rung = self._draws, self._rung
            if draws:
                self._draws = []
            if rung:
                self._rung = []
            at_s = inputs.pop("now", 0.0)
            dropped = self.dropped - dropped
            if (rung or raised or name != "handle_timer") and (not dropped or self._wanted(at_s)):
                self._entries += 1
                skipped, self._skipped = self._skipped, 0
                new = tuple(stack.actions[actions:])
                told = tuple(islice(stack.events, events, None)) if len(stack.events) > events else ()
                octets = len(inputs["data"]) if "data" in inputs else _octets(inputs)
                for action in new:
                    if action.__class__ is Send:
                        octets += len(action.data)
                self._trace.add(
                    octets,
                    (
                        *(self._entries, at_s, name, inputs, tuple(draws), tuple(rung), new, told),
                        *(result, raised, dropped, skipped),
                    ),
                )
        return result

    def _wanted(self, now: float) -> bool:
        """Whether one more message that nobody wanted is kept."""
        if now - self._dropped_second >= 1.0:
            self._dropped_second, self._dropped_in_second = now, 0
        self._dropped_in_second += 1
        if self._dropped_in_second <= MAX_DROPPED_PER_S:
            return True
        self._skipped += 1
        return False


def _noted(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    code = plain.__code__
    names = code.co_varnames[1 : code.co_argcount]

    def call(self: TracedCore, *arguments: Any, **options: Any) -> Any:
        if self._inside:
            return plain(self, *arguments, **options)
        return self._observed(name, plain, dict(zip(names, arguments, strict=False)) | options, arguments, options)

    call.__doc__ = plain.__doc__
    return call


def inputs_of(core: type[Core]) -> dict[str, Callable[..., Any]]:
    """The calls that can change a core: whatever takes `now`, but for questions."""
    return {
        name: member
        for name, member in vars(core).items()
        if not name.startswith("_")
        and name not in QUESTIONS
        and callable(member)
        and "now" in member.__code__.co_varnames[: member.__code__.co_argcount + member.__code__.co_kwonlyargcount]
    }


for _name, _member in inputs_of(Core).items():
    setattr(TracedCore, _name, _noted(_name, _member))


def timer_name(alarm: Alarm) -> str:
    """In words: "Timer A of INVITE", "Registration: register"."""
    ring = alarm.rings
    if isinstance(ring, partial):
        machine, letter = ring.args[:2] if len(ring.args) == 2 else (None, "")
        request = getattr(machine, "request", None)
        if request is not None:
            return f"Timer {letter} of {request.method}"
        ring = ring.func
    owner = getattr(ring, "__self__", None)
    words = getattr(ring, "__name__", "timer").strip("_").replace("_", " ")
    whose = type(owner).__name__ if owner is not None else getattr(ring, "__qualname__", "").partition(".")[0]
    return f"{whose}: {words}"


def _octets(inputs: dict[str, Any]) -> int:
    return sum(len(value) for value in inputs.values() if isinstance(value, bytes | str))


def _as_it_came(value: Any) -> Any:
    """A message off a stream as octets: its fields in their order, names canonical, folding undone."""
    if isinstance(value, RemoteProtocolError):
        return str(value), value.status, _as_it_came(value.request) if value.request is not None else b""
    if not isinstance(value, Message):
        return value
    lines = [value.start_line(), *(f"{name}: {text}" for name, text in value.headers), "", ""]
    head = "\r\n".join(lines)
    try:
        return head.encode(value.charset) + value.body
    except UnicodeEncodeError:
        return head.encode("utf-8", "replace") + value.body


def _cnonces(actions: Iterable[Action]) -> bytes:
    """All that was sent with credentials: where a draw's hexadecimal digits are in it, the draw was a cnonce."""
    return b"".join(action.data for action in actions if isinstance(action, Send) and b"cnonce=" in action.data)


def _draw(draw: bytes, sent: bytes) -> str:
    """Hexadecimal. A cnonce becomes zeros, for with it and the response a password could be guessed at leisure."""
    secret = sent and b'cnonce="' + draw.hex().encode() in sent
    return (bytes(len(draw)) if secret else draw).hex()
