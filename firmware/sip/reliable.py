"""Provisional responses that must arrive: RFC 3262, both roles.

As server: one at a time, in order, each repeated until its PRACK.

    state    | input                        | next     | what happens
    ---------|------------------------------|----------|---------------------------------------------------
    idle     | send                         | waiting  | sent with Require: 100rel and the next RSeq
    waiting  | send                         | waiting  | queued
    waiting  | repeat                       | waiting  | sent again after T1, doubling without bound
    waiting  | PRACK, none queued           | idle     |
    waiting  | PRACK, more queued           | waiting  | the next one is sent
    waiting  | PRACK of another             | waiting  | 481 to it
    idle     | PRACK of another             | idle     | 481 to it
    waiting  | 64*T1                        | stopped  | on_silence: the INVITE is refused with 5xx
    idle     | stop                         | stopped  |
    waiting  | stop                         | stopped  | the final response makes all of them moot
    stopped  | send                         | stopped  |
    stopped  | PRACK of another             | stopped  | 481 to it

As client: per early dialog and INVITE, in order. What is older is a repeat whose PRACK repeats itself, what comes
too soon is repeated by the peer: neither is acknowledged, neither counts. Two forks may well use the same RSeq.
"""

import re
from collections import deque
from collections.abc import Callable
from typing import Literal

from firmware.sip.message import Message, Request, Response
from firmware.sip.stack import Stack
from firmware.sip.timers import nobody
from firmware.sip.transactions import Server

_number = re.compile(r"[0-9]{1,10}")
_rack = re.compile(r"\s*([0-9]{1,10})\s+([0-9]{1,10})\s+(\S+)\s*")


class ReliableResponses:
    """Of one INVITE that we serve."""

    def __init__(self, stack: Stack, server: Server, on_silence: Callable[[float], None]) -> None:
        self.state: Literal["idle", "waiting", "stopped"] = "idle"
        self._stack = stack
        self._server = server
        self._on_silence = on_silence
        self._next = int(stack.between(1, 2**30))
        self._queue: deque[Response] = deque()
        self._sent: Response | None = None
        self._repeat_s = 0.0

    @property
    def unacknowledged_description(self) -> bool:
        """Whether SDP is under way: no 2xx may overtake it (section 3)."""
        waiting = [self._sent] if self._sent is not None else []
        return self.state == "waiting" and any(response.body for response in (*waiting, *self._queue))

    def send(self, response: Response, now: float) -> None:
        if self.state == "stopped":
            return
        response.headers.add("Require", "100rel")
        self._queue.append(response)
        if self.state == "idle":
            self._send_next(now)

    def acknowledge(self, prack: Request, now: float) -> Response | None:
        """The response that a PRACK is for; None where it is for none that waits: 481."""
        match = _rack.fullmatch(prack.headers.get("RAck") or "")
        sent = self._sent
        if self.state != "waiting" or sent is None or match is None:
            return None
        expected = (int(sent.headers.get("RSeq") or "0"), self._server.request.cseq.number, "INVITE")
        if (int(match[1]), int(match[2]), match[3].upper()) != expected:
            return None
        self._repeat.cancel()
        self._limit.cancel()
        self._sent = None
        if self._queue:
            self._send_next(now)
        else:
            self.state = "idle"
        return sent

    def stop(self) -> None:
        if self.state == "waiting":
            self._repeat.cancel()
            self._limit.cancel()
        self.state = "stopped"
        self._queue.clear()
        self._sent = None
        self._on_silence = nobody  # what it holds of the call ends with the call, not when cycles are searched

    def _send_next(self, now: float) -> None:
        self.state = "waiting"
        self._sent = self._queue.popleft()
        self._sent.headers.set("RSeq", str(self._next))
        self._next += 1
        self._repeat_s = self._stack.timers.t1_s
        self._limit = self._stack.schedule.set(now + self._stack.timers.transaction_s, self._silence)
        self._transmit(now)

    def _transmit(self, now: float) -> None:
        assert self._sent is not None
        self._stack.transactions.respond(self._server, self._sent, now)
        self._repeat = self._stack.schedule.set(now + self._repeat_s, self._transmit)
        self._repeat_s *= 2

    def _silence(self, now: float) -> None:
        on_silence = self._on_silence
        self.stop()
        on_silence(now)


class ReliableReceived:
    """Of one INVITE of ours: which of a peer's provisional responses have had their PRACK."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}  # by the fork's tag

    def judge(self, response: Response) -> Literal["plain", "next", "repeat"]:
        """ "plain": nothing is to be acknowledged; "next": to be acknowledged now; "repeat": to be dropped."""
        number = _rseq(response)
        if number is None or response.status == 100 or "100rel" not in response.require:
            return "plain"
        tag = response.to.tag or ""
        last = self._last.get(tag)
        if last is not None and number != last + 1:
            return "repeat"
        self._last[tag] = number
        return "next"


def rack_for(response: Response) -> str:
    """The RAck field of the PRACK for `response`."""
    return f"{_rseq(response)} {response.cseq.number} {response.cseq.method}"


def _rseq(message: Message) -> int | None:
    match = _number.fullmatch((message.headers.get("RSeq") or "").strip())
    return int(match[0]) if match is not None else None
