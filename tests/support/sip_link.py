"""SIP cores without a network: a seeded lossy link under a virtual clock, and a bench for one core alone.

`Link` carries the datagrams of many cores and loses, duplicates, delays and so reorders them by its seed; TCP
connections lose nothing and keep order. `Bench` holds one core and speaks to it with hand-written messages.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from firmware.sip.actions import CloseFlow, OpenFlow, Resolve, Send
from firmware.sip.configuration import Configuration
from firmware.sip.core import Core
from firmware.sip.events import Event
from firmware.sip.message import Request, Response, parse_message, response_to
from firmware.sip.types import Flow, Target
from firmware.sip.uri import Uri


def seeded(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


@dataclass(eq=False)
class Node:
    """A core with an address. `react` is called with each of its events, as a station would be."""

    name: str
    host: str
    core: Core
    events: list[tuple[float, Event]] = field(default_factory=list)
    react: Callable[["Node", Event], None] | None = None
    alive: bool = True

    def of(self, kind: type) -> list[Event]:
        return [event for _, event in self.events if isinstance(event, kind)]


class Link:
    def __init__(
        self,
        seed: int = 1,
        *,
        loss: float = 0.0,
        duplicates: float = 0.0,
        delay_s: tuple[float, float] = (0.002, 0.03),
    ) -> None:
        self.now = 0.0
        self.names: dict[str, str] = {}  # DNS
        self.tcp: dict[str, str] = {}  # host -> "accept" (default), "refuse" or "ignore"
        self.trace: list[tuple[float, str, str, bytes]] = []  # every message as sent
        self.arrived: list[tuple[str, bytes]] = []  # (at which host, what)
        self.nodes: dict[str, Node] = {}
        self._seed = seed
        self._random = random.Random(seed)
        self._loss = loss
        self._duplicates = duplicates
        self._delay_s = delay_s
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._numbers = count(100)
        self._connections: dict[int, tuple[Node, Flow, Node, Flow]] = {}
        self._last_arrival: dict[int, float] = {}

    def add(self, name: str, host: str, configuration: Configuration | None = None) -> Node:
        core = Core(configuration or Configuration(), random=seeded(self._seed * 1000 + len(self.nodes)))
        node = self.nodes[host] = Node(name, host, core)
        return node

    # --- time -----------------------------------------------------------------------------------------------

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (when, next(self._order), what))

    def run(self, until: float) -> None:
        """Turn the clock on to `until`, doing all that is due on the way."""
        while True:
            self.settle()
            deadlines = [
                deadline
                for node in self.nodes.values()
                if node.alive and (deadline := node.core.next_deadline()) is not None
            ]
            soonest = min([*deadlines, *([self._queue[0][0]] if self._queue else [])], default=until)
            if soonest > until:
                break
            self.now = max(self.now, soonest)
            while self._queue and self._queue[0][0] <= self.now:
                heapq.heappop(self._queue)[2]()
                self.settle()
            for node in tuple(self.nodes.values()):
                if node.alive:
                    node.core.handle_timer(self.now)
            if not deadlines and not self._queue:
                break
        self.now = max(self.now, until)

    def run_until(self, done: Callable[[], bool], limit: float) -> None:
        while not done():
            assert self.now < limit, "the condition did not come true in time"
            self.run(self.now + 0.05)

    # --- the shell of every node ----------------------------------------------------------------------------

    def settle(self) -> None:
        busy = True
        while busy:
            busy = False
            for node in tuple(self.nodes.values()):
                for action in node.core.take_actions():
                    busy = True
                    if node.alive:
                        self._do(node, action)
                while (event := node.core.next_event()) is not None:
                    busy = True
                    node.events.append((self.now, event))
                    if node.react is not None:
                        node.react(node, event)

    def _do(self, node: Node, action: Send | Resolve | OpenFlow | CloseFlow) -> None:
        if isinstance(action, Send):
            self._send(node, action.flow, action.data)
        elif isinstance(action, Resolve):
            host = self.names.get(action.uri.host)
            targets = () if host is None else (_target(action.uri, host),)
            node.core.resolved(action.token, targets, "" if host else "name not found", self.now)
        elif isinstance(action, CloseFlow):
            self.close(action.flow.number)
        elif action.target.transport == "udp":
            node.core.flow_opened(action.token, self._datagram(node.host, action.target), self.now)
        else:
            self._connect(node, action)

    def _datagram(self, host: str, target: Target) -> Flow:
        return Flow("udp", (host, 5060), (target.host, target.port), (host, 5060), 1)

    def _connect(self, node: Node, action: OpenFlow) -> None:
        target = action.target
        peer = self.nodes.get(target.host)
        policy = self.tcp.get(target.host, "accept") if peer is not None and peer.alive else "refuse"
        if policy == "refuse":
            node.core.flow_failed(action.token, "connection refused", self.now)
        elif policy == "accept":
            assert peer is not None
            number = next(self._numbers)
            ours = Flow("tcp", (node.host, 30000 + number), (target.host, 5060), (node.host, 5060), number)
            theirs = Flow("tcp", (target.host, 5060), (node.host, 30000 + number), (target.host, 5060), number)
            self._connections[number] = (node, ours, peer, theirs)
            node.core.flow_opened(action.token, ours, self.now)

    def close(self, number: int) -> None:
        """End a connection; both ends hear of it."""
        ends = self._connections.pop(number, None)
        if ends is not None:
            for node, flow in (ends[:2], ends[2:]):
                node.core.flow_closed(flow, "connection closed", self.now)

    def _send(self, node: Node, flow: Flow, data: bytes) -> None:
        self.trace.append((self.now, node.host, flow.remote[0], data))
        if flow.reliable:
            ends = self._connections.get(flow.number)
            if ends is None:
                node.core.flow_closed(flow, "connection closed", self.now)
                return
            other, arrival = ends[2:] if ends[0] is node else ends[:2]
            when = max(self.now + self._delay(), self._last_arrival.get(flow.number, 0.0))
            self._last_arrival[flow.number] = when
            self.at(when, lambda: self._arrive(other, data, arrival))
            return
        peer = self.nodes.get(flow.remote[0])
        if peer is None or flow.remote[1] != 5060:
            return
        arrival = Flow("udp", (peer.host, 5060), (node.host, 5060), (peer.host, 5060), 1)
        for _ in range(1 + (self._random.random() < self._duplicates)):
            if self._random.random() >= self._loss:
                self.at(self.now + self._delay(), lambda: self._arrive(peer, data, arrival))

    def _arrive(self, node: Node, data: bytes, flow: Flow) -> None:
        if node.alive:
            self.arrived.append((node.host, data))
            node.core.receive(data, flow, self.now)

    def _delay(self) -> float:
        return self._random.uniform(*self._delay_s)


def _target(uri: Uri, host: str) -> Target:
    return Target("tcp" if uri.transport == "tcp" else "udp", host, uri.port or 5060)


class Bench:
    """One core at 10.0.0.1 whose peer, at 10.0.0.2, is the test."""

    def __init__(self, configuration: Configuration | None = None, seed: int = 1) -> None:
        self.core = Core(configuration or Configuration(), random=seeded(seed))
        self.now = 0.0
        self.flow = self.flow_to("10.0.0.2")
        self.opened: list[Target] = []
        self.names: dict[str, tuple[Target, ...]] = {}
        self.refused: dict[Target, str] = {}  # targets that cannot be opened, and why
        self.silent: set[Target] = set()  # targets whose opening is never answered
        self.waiting: list[OpenFlow] = []
        self.closed: list[Flow] = []
        self._numbers = count(50)

    def flow_to(self, host: str, port: int = 5060) -> Flow:
        return Flow("udp", ("10.0.0.1", 5060), (host, port), ("10.0.0.1", 5060), 1)

    def sent_on(self) -> list[tuple[Flow, Request | Response]]:
        """What the core has sent since the last look, flows opened and names resolved on the way."""
        messages: list[tuple[Flow, Request | Response]] = []
        while actions := self.core.take_actions():
            for action in actions:
                if isinstance(action, Send):
                    messages.append((action.flow, parse_message(action.data)))
                elif isinstance(action, Resolve):
                    targets = self.names.get(action.uri.host, ())
                    self.core.resolved(action.token, targets, "" if targets else "name not found", self.now)
                elif isinstance(action, OpenFlow):
                    self._open(action)
                else:
                    self.closed.append(action.flow)
        return messages

    def sent(self) -> list[Request | Response]:
        return [message for _, message in self.sent_on()]

    def one(self) -> Request | Response:
        """The only message sent since the last look."""
        (message,) = self.sent()
        return message

    def request(self, method: str) -> Request:
        """The last request of that method among those sent since the last look."""
        found = [m for m in self.sent() if isinstance(m, Request) and m.method == method]
        assert found, f"no {method} was sent"
        return found[-1]

    def statuses(self) -> list[int]:
        return [message.status for message in self.sent() if isinstance(message, Response)]

    def methods(self) -> list[str]:
        return [message.method for message in self.sent() if isinstance(message, Request)]

    def events(self) -> list[Event]:
        events = []
        while (event := self.core.next_event()) is not None:
            events.append(event)
        return events

    def of(self, kind: type) -> list[Event]:
        return [event for event in self.events() if isinstance(event, kind)]

    def receive(self, message: Request | Response | str | bytes, flow: Flow | None = None) -> None:
        if isinstance(message, str):
            message = message.replace("\r\n", "\n").replace("\n", "\r\n").encode()
        self.core.receive(bytes(message), flow or self.flow, self.now)

    def advance(self, seconds: float) -> None:
        """Turn the clock, ringing every alarm at its own time."""
        until = self.now + seconds
        while (deadline := self.core.next_deadline()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.core.handle_timer(self.now)
        self.now = until

    def _open(self, action: OpenFlow) -> None:
        target = action.target
        self.opened.append(target)
        if target in self.refused:
            self.core.flow_failed(action.token, self.refused[target], self.now)
        elif target in self.silent:
            self.waiting.append(action)
        elif target.transport == "udp":
            self.core.flow_opened(action.token, self.flow_to(target.host, target.port), self.now)
        else:
            number = next(self._numbers)
            flow = Flow("tcp", ("10.0.0.1", 40000 + number), (target.host, target.port), ("10.0.0.1", 5060), number)
            self.core.flow_opened(action.token, flow, self.now)


def reply(
    request: Request,
    status: int,
    tag: str = "peer",
    *,
    contact: str = "<sip:mon@10.0.0.2>",
    sdp: bytes = b"",
    headers: tuple[tuple[str, str], ...] = (),
    reason: str = "",
) -> Response:
    """A peer's response to what the core sent."""
    response = response_to(request, status, reason, to_tag=tag or None)
    if contact and request.method in ("INVITE", "REGISTER"):
        response.headers.add("Contact", contact)
    for name, value in headers:
        response.headers.add(name, value)
    if sdp:
        response.headers.add("Content-Type", "application/sdp")
        response.body = sdp
    return response


def invite(
    *,
    branch: str = "z9hG4bKpeer1",
    call_id: str = "call@peer",
    tag: str = "peer",
    cseq: int = 1,
    uri: str = "sip:door@10.0.0.1",
    sdp: bytes = b"v=0\r\n",
    headers: tuple[tuple[str, str], ...] = (),
) -> Request:
    """An INVITE of the peer at 10.0.0.2."""
    return request_of(
        "INVITE",
        branch=branch,
        call_id=call_id,
        tag=tag,
        cseq=cseq,
        uri=uri,
        body=sdp,
        headers=(
            ("Contact", "<sip:mon@10.0.0.2>"),
            *((("Content-Type", "application/sdp"),) if sdp else ()),
            *headers,
        ),
    )


def request_of(
    method: str,
    *,
    branch: str,
    call_id: str = "call@peer",
    tag: str = "peer",
    to_tag: str = "",
    cseq: int = 1,
    uri: str = "sip:door@10.0.0.1",
    body: bytes = b"",
    headers: tuple[tuple[str, str], ...] = (),
) -> Request:
    """Any request of the peer at 10.0.0.2."""
    request = Request(method, Uri.parse(uri))
    fields = request.headers
    fields.add("Via", f"SIP/2.0/UDP 10.0.0.2:5060;branch={branch}")
    fields.add("Max-Forwards", "70")
    fields.add("From", f"<sip:mon@10.0.0.2>{f';tag={tag}' if tag else ''}")
    fields.add("To", f"<sip:door@10.0.0.1>{f';tag={to_tag}' if to_tag else ''}")
    fields.add("Call-ID", call_id)
    fields.add("CSeq", f"{cseq} {method}")
    for name, value in headers:
        fields.add(name, value)
    request.body = body
    return request
