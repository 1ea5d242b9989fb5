"""A small transaction-stateful proxy between users of the house: RFC 3261 section 16, RFC 5658, RFC 6026 section 8.

Why not redirect them to each other: a phone on a connection, or behind NAT, can be reached over its own flow
alone, and phones refuse calls that do not come from their server. The proxy stays in the path (Record-Route), knows
of each call over which flows its Contacts and the proxies beside us are reached, and carries in-dialog requests
over those flows only: it relays nothing for anybody else, and nothing to anywhere else. Media goes from phone to
phone.

    request                 | what becomes of it
    ------------------------|------------------------------------------------------------------------------
    out of dialog           | to every target at once, each a branch (16.6)
    within a known call     | to the flow of the Route or Contact that it names, or to the phone that registered
                            | this Contact anew; 480 otherwise
    ACK to a 2xx            | the same, without a transaction
    CANCEL                  | 200; every branch that may still ring is cancelled (16.10)

    response on a branch    | what becomes of it
    ------------------------|------------------------------------------------------------------------------
    100                     | swallowed
    1xx to INVITE           | forwarded, until a final one was
    2xx                     | forwarded, to INVITE every one; the other branches are cancelled: completed elsewhere
    6xx                     | kept; the other branches are cancelled
    other, or none          | kept; with the last branch the best of all is forwarded (16.7 step 6)

Timer C (16.6 step 11) is three minutes from the last 1xx. Not here: strict routers, recursion on 3xx, aggregation
of challenges.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from firmware.sip.abnf import split_list
from firmware.sip.answers import answer
from firmware.sip.digest import Credentials
from firmware.sip.errors import RemoteProtocolError
from firmware.sip.flow_search import FlowSearch
from firmware.sip.location import Binding, Location, address_uri
from firmware.sip.message import Request, Response
from firmware.sip.sending import our_via, send_cancel
from firmware.sip.stack import Stack
from firmware.sip.timers import Alarm
from firmware.sip.transactions import MAGIC_COOKIE, Client, Server
from firmware.sip.types import DEFAULT_PORT, Flow
from firmware.sip.uri import NameAddr, Uri

# What begins something between two users.
METHODS = frozenset({"INVITE", "MESSAGE", "NOTIFY", "OPTIONS", "REFER", "SUBSCRIBE"})
BRANCH = MAGIC_COOKIE + "px"  # of our forwarded requests: their responses carry more Vias than ours
COMPLETED_ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'
DECLINED = 'SIP;cause=603;text="Declined"'
TIMER_C_S = 180.0
MOST_AT_ONCE = 64
MOST_CALLS = 128  # whose flows are remembered; more than four a user is a phone that never says BYE
MOST_WAYS = 16  # of one call: Contacts of its parties, proxies before them
_BEGIN_DIALOGS = ("INVITE", "REFER", "SUBSCRIBE")
_PREFERRED = (401, 407, 415, 420, 484)

_ContactKey = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a request goes: its Request-URI there, whom it is sent to, over which flow if that is known."""

    uri: Uri
    next_hop: Uri
    flow: Flow | None = None
    routes: tuple[NameAddr, ...] = ()

    @classmethod
    def to(cls, binding: Binding) -> "Hop":
        return cls(binding.uri, binding.next_hop, binding.flow, binding.path)


@dataclass(slots=True)
class _Call:
    """The flows over which the Contacts of one call, and what record-routed on its way, are reached."""

    subscription: bool = False  # nothing but: it ends with a NOTIFY instead of a BYE
    flows: dict[_ContactKey, Flow] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)  # numbers of those that are closed
    answered: bool = False

    def way(self, uri: Uri) -> Flow | None:
        flow = self.flows.get(_contact_key(uri))
        return flow if flow is not None and flow.number not in self.lost else None


class Proxy:
    """`tag` gives the To tag of answers of our own."""

    def __init__(self, stack: Stack, location: Location, realm: str, tag: Callable[[Request], str]) -> None:
        self.stack = stack
        self.at_work = 0  # requests that wait for a final response
        self._location = location
        self._realm = realm
        self._tag = tag
        self._mark = f"house-{stack.text(6)}"  # the user part of our Record-Route
        self._key = bytes.fromhex(stack.text(16))
        self._calls: OrderedDict[str, _Call] = OrderedDict()

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def flows(self) -> Iterator[Flow]:
        """Of the calls that go through us; some may be closed."""
        return (flow for call in self._calls.values() for flow in call.flows.values())

    # --- requests -------------------------------------------------------------------------------------------

    def forward(self, request: Request, flow: Flow, hops: Sequence[Hop], now: float) -> None:
        """A request outside dialogs, from a proven user to `hops`; at least one."""
        self._forward(request, flow, hops, (), now)

    def forward_within(self, request: Request, flow: Flow, now: float) -> bool:
        """A request with a To tag. False: of no call that goes through us."""
        call = self._calls.get(request.call_id)
        if call is None or all(known.remote[0] != flow.remote[0] for known in call.flows.values()):
            return False
        self._calls.move_to_end(request.call_id)
        transactions = self.stack.transactions
        if request.method != "ACK" and transactions.strangers >= self.stack.configuration.max_transactions:
            self.stack.send(flow, bytes(self.answer(request, 503)))
            return True
        hop, routes = self._next(request, call, now)
        if request.method == "ACK":
            if hop is not None:
                self._pass_on(request, flow, hop, routes, now)
        elif hop is None:
            self.refuse(transactions.open_server(request, flow, now, stranger=True), 480, now, "Not of this call")
        else:
            self._forward(request, flow, (hop,), routes, now)
        return True

    def cancel(self, invite: Server, cancel: Request, now: float) -> None:
        if isinstance(invite.user, _Forwarding):
            invite.user.cancel(cancel.reason, now)

    def flow_closed(self, flow: Flow) -> None:
        for call in self._calls.values():
            if any(known.reliable and known.number == flow.number for known in call.flows.values()):
                call.lost.add(flow.number)

    def is_loop(self, request: Request) -> bool:
        """Whether we have forwarded just this before (16.3 step 4): a spiral names another target."""
        mine = "." + self._loop_hash(request)
        return any((via.branch or "").endswith(mine) for via in request.vias)

    def refuse(self, server: Server, status: int, now: float, reason: str = "") -> None:
        self.stack.transactions.respond(server, self.answer(server.request, status, reason), now)

    def answer(self, request: Request, status: int, reason: str = "") -> Response:
        """A response of our own."""
        return answer(self.stack, request, status, reason, to_tag=self._tag(request))

    def _forward(
        self, request: Request, flow: Flow, hops: Sequence[Hop], routes: tuple[NameAddr, ...], now: float
    ) -> None:
        server = self.stack.transactions.open_server(request, flow, now, stranger=True)
        if request.max_forwards == 0:
            self.refuse(server, 483, now)
        elif self.at_work >= MOST_AT_ONCE:
            self.refuse(server, 503, now)
        else:
            if request.to.tag is None and request.method in _BEGIN_DIALOGS:
                self._remember(request)
            self.learn(request, request, flow)
            server.user = forwarding = _Forwarding(self, server)
            forwarding.start(hops, routes, now)

    def _pass_on(self, ack: Request, flow: Flow, hop: Hop, routes: tuple[NameAddr, ...], now: float) -> None:
        """An ACK to a 2xx: nobody answers it (16.11)."""
        if ack.max_forwards == 0:
            return

        def send(out: Flow, _: float) -> None:
            self.stack.send(out, bytes(self.prepared(ack, flow, out, hop, routes)))

        FlowSearch(
            self.stack, hop.next_hop, on_flow=send, on_exhausted=lambda reason, when: None, hint=hop.flow
        ).next(now)

    def _next(self, request: Request, call: _Call, now: float) -> tuple[Hop | None, tuple[NameAddr, ...]]:
        """Where a request within a call goes next, and the Route values that stay in it (16.4, 16.5).

        Only over flows on which the call's own parties came: who knows a Call-ID sends nobody anywhere else."""
        routes = tuple(request.routes)
        while routes and routes[0].uri.user == self._mark:
            routes = routes[1:]
        flow = call.way(routes[0].uri if routes else request.uri)
        if flow is not None:
            return Hop(request.uri, address_uri(*flow.remote, flow.transport), flow), routes
        binding = None
        if not routes and _contact_key(request.uri) in call.flows:  # on a connection that was lost
            binding = self._location.at(request.uri, now)
        return (Hop.to(binding) if binding is not None else None), ()

    def prepared(
        self, request: Request, source: Flow, out: Flow, hop: Hop, routes: tuple[NameAddr, ...]
    ) -> Request:
        """The request as it is forwarded (16.6)."""
        copy = Request(request.method, hop.uri, request.headers.copy(), request.body)
        copy.charset = request.charset
        headers = copy.headers
        headers.set("Max-Forwards", str((request.max_forwards or 71) - 1))
        headers.remove("Route")
        for route in (*hop.routes, *routes):
            headers.add("Route", str(route))
        credentials = headers.get_all("Proxy-Authorization")
        headers.remove("Proxy-Authorization")
        for line in credentials:
            if not self._is_ours(line):
                headers.add("Proxy-Authorization", line)
        if request.to.tag is None and request.method in _BEGIN_DIALOGS:
            ways = [self._record_route(source)]
            if self._record_route(out) != ways[0]:
                ways.append(self._record_route(out))  # RFC 5658: each side sees a way that it can go
            for way in ways:
                headers.prepend("Record-Route", way)
        branch = f"{BRANCH}{self.stack.text(12)}.{self._loop_hash(request)}"
        headers.prepend("Via", str(our_via(out, branch)))
        return copy

    def _record_route(self, flow: Flow) -> str:
        host, port = flow.advertised
        uri = address_uri(host, port, flow.transport).replace(user=self._mark)
        return str(NameAddr("", uri.with_parameter("lr", None)))

    def _is_ours(self, credentials: str) -> bool:
        try:
            given = Credentials.parse(credentials)
        except RemoteProtocolError:
            return False
        return given is not None and given.realm == self._realm

    def _loop_hash(self, request: Request) -> str:
        what = f"{request.uri} {request.from_.tag} {request.to.tag} {request.call_id} {request.cseq}"
        return hashlib.blake2b(what.encode("utf-8", "surrogatepass"), key=self._key, digest_size=6).hexdigest()

    # --- calls ----------------------------------------------------------------------------------------------

    def _remember(self, request: Request) -> None:
        self._calls.setdefault(request.call_id, _Call(subscription=request.method == "SUBSCRIBE"))
        self._calls.move_to_end(request.call_id)
        while len(self._calls) > MOST_CALLS:
            self._calls.popitem(last=False)

    def learn(self, request: Request, message: Request | Response, flow: Flow) -> None:
        """A Contact of a call that goes through us came over `flow`, and the marks of proxies behind it."""
        call = self._calls.get(request.call_id)
        if call is None:
            return
        for contact in message.contacts[:1]:
            if contact.uri.scheme in ("sip", "sips") and len(call.flows) < MOST_WAYS:
                call.flows[_contact_key(contact.uri)] = flow
        for route in message.record_routes[:MOST_WAYS]:
            # An answer repeats the marks of the request's way: those lead to the other side, and are known.
            if route.uri.user != self._mark and len(call.flows) < MOST_WAYS:
                call.flows.setdefault(_contact_key(route.uri), flow)
        if isinstance(message, Response) and request.method == "INVITE" and message.status < 300:
            call.answered |= message.status >= 200

    def expect(self, request: Request, target: Uri, flow: Flow) -> None:
        """A request that begins a dialog goes to `target`, whose NOTIFY may be here before its 200 is."""
        call = self._calls.get(request.call_id)
        if call is not None and request.to.tag is None and len(call.flows) < MOST_WAYS:
            call.flows.setdefault(_contact_key(target), flow)

    def finished(self, request: Request, status: int) -> None:
        """A final response was forwarded: the call may be over with it."""
        call = self._calls.get(request.call_id)
        if call is None:
            return
        over = call.subscription and (request.headers.get("Subscription-State") or "").lower().startswith("term")
        if request.method == "BYE" or over or (status >= 300 and not call.answered and request.to.tag is None):
            del self._calls[request.call_id]


class _Forwarding:
    """One request on its branches: the response context of 16.7. It is the server transaction's user."""

    def __init__(self, proxy: Proxy, server: Server) -> None:
        self.proxy = proxy
        self.server = server
        self.routes: tuple[NameAddr, ...] = ()
        self._branches: list[_Branch] = []
        self._final = False

    @property
    def request(self) -> Request:
        return self.server.request

    def start(self, hops: Sequence[Hop], routes: tuple[NameAddr, ...], now: float) -> None:
        self.proxy.at_work += 1
        self.routes = routes
        self._branches = [_Branch(self, hop) for hop in hops]
        for branch in self._branches:
            branch.start(now)

    def cancel(self, reason: str, now: float) -> None:
        for branch in self._branches:
            branch.cancel(reason, now)

    def provisional(self, response: Response, flow: Flow, now: float) -> None:
        self.proxy.learn(self.request, response, flow)
        if not self._final and self.request.method == "INVITE":
            self.proxy.stack.transactions.respond(self.server, _upstream(response), now)

    def success(self, response: Response, flow: Flow, now: float) -> None:
        self.proxy.learn(self.request, response, flow)
        self._send(_upstream(response), now)
        self.cancel(COMPLETED_ELSEWHERE, now)

    def settled(self, branch: "_Branch", now: float) -> None:
        """A branch has its refusal, in `outcome`."""
        if branch.status >= 600:
            self.cancel(DECLINED, now)
        if self._final or any(not other.status for other in self._branches):
            return
        best = min(self._branches, key=lambda each: _rank(each.status))
        if best.response is not None and best.status != 503:
            self._send(_upstream(best.response), now)
            return
        status = 500 if best.status == 503 and best.response is not None else best.status
        self._send(self.proxy.answer(self.request, status, best.reason), now)

    def _send(self, response: Response, now: float) -> None:
        first, self._final = not self._final, True
        self.proxy.stack.transactions.respond(self.server, response, now)
        if first:
            self.proxy.at_work -= 1
            self.proxy.finished(self.request, response.status)

    # --- the server transaction's side ----------------------------------------------------------------------

    def acknowledged(self, ack: Request, now: float) -> None:
        """An ACK to a 2xx under the INVITE's own branch, as some phones send it."""
        self.proxy.forward_within(ack, self.server.flow, now)

    def unacknowledged(self, now: float) -> None:
        pass


class _Branch:
    """One target of a forwarded request. `status` is 0 until it is settled."""

    def __init__(self, forwarding: _Forwarding, hop: Hop) -> None:
        self.status = 0
        self.reason = ""
        self.response: Response | None = None
        self._forwarding = forwarding
        self._stack = forwarding.proxy.stack
        self._hop = hop
        self._client: Client | None = None
        self._cancel: str | None = None  # asked for, with this Reason
        self._cancel_sent = False
        self._alarm: Alarm | None = None  # Timer C, and after CANCEL 64*T1
        self._search = FlowSearch(
            self._stack, hop.next_hop, on_flow=self._send, on_exhausted=self._unreachable, hint=hop.flow
        )

    def start(self, now: float) -> None:
        self._search.next(now)

    def cancel(self, reason: str, now: float) -> None:
        if self.status or self._cancel is not None or self._forwarding.request.method != "INVITE":
            return
        self._cancel = reason
        if self._client is None:
            self._search.cancel()
            self._settle(487, "", now)
        elif self._client.machine.state == "proceeding":
            self._send_cancel(now)

    def _send(self, flow: Flow, now: float) -> None:
        forwarding = self._forwarding
        request = forwarding.proxy.prepared(
            forwarding.request, forwarding.server.flow, flow, self._hop, forwarding.routes
        )
        forwarding.proxy.expect(forwarding.request, self._hop.uri, flow)
        self._client = self._stack.transactions.request(request, flow, self, now)
        if request.method == "INVITE":
            self._start_timer_c(now)

    def _send_cancel(self, now: float) -> None:
        assert self._client is not None
        self._cancel_sent = True
        send_cancel(self._stack, self._client, self._cancel or "", now)
        self._stop()
        self._alarm = self._stack.schedule.set(now + self._stack.timers.transaction_s, self._give_up)

    # --- what comes back (ClientUser) -----------------------------------------------------------------------

    def received(self, response: Response, now: float) -> None:
        assert self._client is not None
        flow = self._client.flow
        if response.status < 200:
            if self.status:
                return
            if self._cancel is not None and not self._cancel_sent:
                self._send_cancel(now)
            elif response.status > 100:
                if not self._cancel_sent:
                    self._start_timer_c(now)
                self._forwarding.provisional(response, flow, now)
        elif response.status < 300:
            self._stop()
            self.status = response.status
            self._forwarding.success(response, flow, now)
        elif not self.status:
            self.response = response
            self._settle(response.status, response.reason_phrase, now)

    def timed_out(self, now: float) -> None:
        # A 408 to another request than INVITE only adds to the harm (RFC 4320 4.1).
        self._settle(408 if self._forwarding.request.method == "INVITE" else 480, "No answer", now)

    def failed(self, reason: str, now: float) -> None:
        self._client = None
        self._search.next(now)

    def _unreachable(self, reason: str, now: float) -> None:
        self._settle(480, "Not reachable", now)

    def _settle(self, status: int, reason: str, now: float) -> None:
        if self.status:
            return
        self._stop()
        self.status, self.reason = status, reason
        self._forwarding.settled(self, now)

    def _start_timer_c(self, now: float) -> None:
        self._stop()
        self._alarm = self._stack.schedule.set(now + TIMER_C_S, self._rang_too_long)

    def _rang_too_long(self, now: float) -> None:
        self.cancel("", now)

    def _give_up(self, now: float) -> None:
        if self._client is not None:
            self._stack.transactions.abandon(self._client, now)
        self._settle(487, "", now)

    def _stop(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()


def _rank(status: int) -> tuple[int, int]:
    """Best first (16.7 step 6): 6xx, else the lowest class; what tells the caller most within it."""
    if status >= 600:
        return 0, 0
    if status in _PREFERRED:
        return status // 100, 0
    return status // 100, 2 if status in (408, 480, 487) else 1


def _upstream(response: Response) -> Response:
    """The response without our Via."""
    copy = Response(response.status, response.reason_phrase, response.headers.copy(), response.body)
    copy.charset = response.charset
    lines = copy.headers.get_all("Via")
    copy.headers.remove("Via")
    for line in reversed([*split_list(lines[0])[1:], *lines[1:]]):
        copy.headers.prepend("Via", line)
    return copy


def _contact_key(uri: Uri) -> _ContactKey:
    return uri.user or "", uri.host.lower(), uri.port or DEFAULT_PORT
