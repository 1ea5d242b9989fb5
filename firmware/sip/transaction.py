"""What the four transaction machines of RFC 3261 section 17 have in common: how a table is walked.

A machine is a table from (state, input) to (next state, steps). `step` walks one row and returns outputs in
the order in which they must happen; a pair that is not in the table is ignored, which is what section 17
asks for repeats and strays. The machine sends nothing and knows no clock: transactions.py does its outputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from firmware.sip.message import Request, Response
from firmware.sip.timers import Timers

Table = Mapping[tuple[str, str], tuple[str, tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class Transmit:
    data: bytes


@dataclass(frozen=True, slots=True)
class StartTimer:
    name: str
    after_s: float


@dataclass(frozen=True, slots=True)
class StopTimer:
    name: str


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand the message that came to the transaction's user."""

    message: Request | Response


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The peer never answered (Timers B, F) or never acknowledged (Timer H)."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The transport gave up."""

    reason: str


@dataclass(frozen=True, slots=True)
class Terminated:
    pass


Output = Transmit | StartTimer | StopTimer | Deliver | TimedOut | Failed | Terminated


def response_input(status: int) -> str:
    """The input that a response is to an INVITE client transaction."""
    if status < 200:
        return "1xx"
    return "2xx" if status < 300 else "3xx-6xx"


class Transaction:
    """Walks `table`. Subclasses say how long a timer runs and make the bytes of each kind of step."""

    table: ClassVar[Table]

    def __init__(self, initial: str, timers: Timers, *, reliable: bool) -> None:
        self.state = initial
        self.timers = timers
        self.reliable = reliable

    def step(self, name: str, message: Request | Response | None = None, reason: str = "") -> list[Output]:
        """Apply one input. Steps read as in the tables: "send", "start A", "stop A", "deliver", "ack" ..."""
        row = self.table.get((self.state, name))
        if row is None:
            return []
        self.state, steps = row
        outputs: list[Output] = []
        elapsed = ""
        for step in steps:
            if step.startswith("start "):
                after_s = self.duration_s(step[6:])
                if after_s is None:
                    continue  # this timer does not exist on a reliable transport
                if after_s == 0:
                    elapsed = f"timer {step[6:]}"
                else:
                    outputs.append(StartTimer(step[6:], after_s))
            elif step.startswith("stop "):
                outputs.append(StopTimer(step[5:]))
            elif step == "deliver":
                assert message is not None
                outputs.append(Deliver(message))
            elif step == "timeout":
                outputs.append(TimedOut())
            elif step == "fail":
                outputs.append(Failed(reason))
            else:
                data = self.bytes_of(step, message)
                if data is not None:
                    outputs.append(Transmit(data))
        if self.state == "terminated":
            outputs.append(Terminated())
        elif elapsed:
            outputs += self.step(elapsed)
        return outputs

    def duration_s(self, timer: str) -> float | None:
        raise NotImplementedError

    def bytes_of(self, step: str, message: Request | Response | None) -> bytes | None:
        raise NotImplementedError
