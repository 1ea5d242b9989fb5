"""Keeps UDP flows to registrars alive, and notices when one is dead (RFC 5626 sections 4.4.2 and 8).

    server    | input                | server    | what happens
    ----------|----------------------|-----------|-------------------------------------------------------
    unknown   | time                 | unknown   | STUN Binding request, repeated after 0.5, 1 and 2 s
    unknown   | its answer           | speaks    | the address in it is remembered
    unknown   | two rounds of silence| silent    | CRLF from now on: it keeps NATs open, ICMP tells of a dead port
    speaks    | time                 | speaks    | Binding request, as above
    speaks    | another address in it| speaks    | `moved`: a NAT has forgotten us, our binding leads nowhere
    speaks    | no answer            | unknown   | `failed`
    any       | ICMP says it is gone | unknown   | `failed`

No socket and no clock here: whoever has them says when, and sends.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from firmware.net import stun
from firmware.sip.stream import Keepalive
from firmware.sip.types import Flow

ROUND_S = 4.0  # as on connections: eight seconds at most from a server's last answer to our knowing
REPEATS_S = (0.5, 1.0, 2.0)  # RFC 8489 section 6.2.1
_UNANSWERED_ROUNDS = 2
_MAX_KNOWN = 64


@dataclass(slots=True)
class _Kept:
    speaks: bool | None
    began_s: float = 0.0
    next_s: float = 0.0
    transaction: bytes = b""  # waits for its answer
    sent: int = 0
    silent_rounds: int = 0
    seen: tuple[str, int] | None = None


class DatagramKeepalive:
    """`send` writes octets to a flow; `failed(flow, why)` and `moved(flow)` are told once each time."""

    def __init__(
        self,
        *,
        send: Callable[[Flow, bytes], None],
        failed: Callable[[Flow, str], None],
        moved: Callable[[Flow], None],
        random: Callable[[int], bytes],
    ) -> None:
        self._send = send
        self._failed = failed
        self._moved = moved
        self._random = random
        self._kept: dict[Flow, _Kept] = {}
        self._known: OrderedDict[tuple[str, int], bool] = OrderedDict()  # servers of earlier flows

    def keep(self, flows: Iterable[Flow], now: float) -> None:
        """These, and no others from now on."""
        wanted = set(flows)
        for flow in self._kept.keys() - wanted:
            del self._kept[flow]
        for flow in wanted - self._kept.keys():
            self._kept[flow] = _Kept(self._known.get(flow.remote), next_s=now)

    def next_deadline(self) -> float | None:
        return min((kept.next_s for kept in self._kept.values()), default=None)

    def handle_timer(self, now: float) -> None:
        for flow, kept in tuple(self._kept.items()):
            if kept.next_s <= now and self._kept.get(flow) is kept:
                self._due(flow, kept, now)

    def received(self, data: bytes, flow: Flow, now: float) -> None:
        """STUN arrived on `flow`: an answer, or a phone's own keep-alive, which gets one."""
        try:
            message = stun.parse(data)
        except stun.StunError:
            return  # no answer: a reflector of damaged octets serves nobody but those who make them
        if message.kind == "request":
            self._send(flow, _answer(message, flow))
        elif message.kind != "other":
            self._answered(message, flow, now)

    def _answered(self, message: stun.StunMessage, flow: Flow, now: float) -> None:
        kept = self._kept.get(flow)
        if kept is None or not kept.transaction or message.transaction != kept.transaction:
            return
        kept.transaction = b""
        kept.next_s = max(now, kept.began_s + ROUND_S)
        kept.silent_rounds = 0
        self._note(flow, kept, True)
        before, kept.seen = kept.seen, message.mapped or kept.seen
        if before is not None and kept.seen != before:
            self._moved(flow)

    def refused(self, flow: Flow, why: str) -> None:
        """ICMP came back for something sent on `flow`."""
        if flow in self._kept:
            self._fail(flow, why)

    def _due(self, flow: Flow, kept: _Kept, now: float) -> None:
        if kept.transaction and kept.sent <= len(REPEATS_S):
            self._request(flow, kept, now)
        elif kept.transaction:
            kept.transaction = b""
            if kept.speaks:
                self._fail(flow, "keep-alive unanswered")
                return
            kept.silent_rounds += 1
            if kept.silent_rounds >= _UNANSWERED_ROUNDS:
                self._note(flow, kept, False)
            self._begin(flow, kept, now)
        else:
            self._begin(flow, kept, now)

    def _begin(self, flow: Flow, kept: _Kept, now: float) -> None:
        kept.began_s = now
        if kept.speaks is False:
            kept.next_s = now + ROUND_S
            self._send(flow, Keepalive.PING.value)
            return
        kept.transaction = self._random(stun.TRANSACTION_BYTES)
        kept.sent = 0
        self._request(flow, kept, now)

    def _request(self, flow: Flow, kept: _Kept, now: float) -> None:
        wait_s = REPEATS_S[kept.sent] if kept.sent < len(REPEATS_S) else kept.began_s + ROUND_S - now
        kept.next_s = now + max(0.0, wait_s)
        kept.sent += 1
        self._send(flow, stun.binding_request(kept.transaction))

    def _fail(self, flow: Flow, why: str) -> None:
        del self._kept[flow]
        self._known.pop(flow.remote, None)  # what comes up there again may be something else
        self._failed(flow, why)

    def _note(self, flow: Flow, kept: _Kept, speaks: bool) -> None:
        kept.speaks = speaks
        self._known[flow.remote] = speaks
        self._known.move_to_end(flow.remote)
        while len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)


def _answer(request: stun.StunMessage, flow: Flow) -> bytes:
    if request.unknown:
        return stun.unknown_attributes(request.transaction, request.unknown)
    return stun.binding_response(request.transaction, flow.remote)
