"""One request of ours until its final answer, over as many transactions as that takes.

RFC 3261 8.1.3, 14.1, 21.5.4 and 22, RFC 3263 4.3, RFC 4028 7.4.

    state     | input                      | next      | what happens
    ----------|----------------------------|-----------|--------------------------------------------
    searching | flow                       | waiting   | sent; over 1300 bytes by TCP where it is taken
    searching | no flow left               | done      | user.unreachable
    waiting   | 1xx                        | waiting   | user.provisional
    waiting   | final, restart at once     | waiting   | amended and sent again, CSeq + 1, new branch
    waiting   | final, restart elsewhere   | searching | the same, to another target
    waiting   | final, restart later       | pausing   | the same, after the pause that the status asks for
    waiting   | final                      | done      | user.final
    waiting   | timeout, transport error   | searching | next target; user.unreachable without one
    waiting   | 4 s of silence             | searching | next target as well, if there is one (below)
    pausing   | pause is over, or resume   | waiting   | sent again, if it is still wanted; else user.final
    done      | 2xx to INVITE              | done      | user.final: every fork and every repeat

What can be mended and sent again stands in one table, `_RESTARTS`; whoever made the request never learns of it,
unless it must give a new body (`renew`). What may be tried once is tried once, and nothing more than eight times.
Which dialog a response belongs to, and what it means, is the user's affair.

A server that says nothing would cost 32 s (Timers B and F) before RFC 3263 4.3 lets us go on to the next. A door
cannot wait for that: after 8*T1, four transmissions, the next target is asked too, as a transaction of its own
with the same Call-ID and CSeq, so that a phone reached both ways takes the second for a merged request. Whoever
says something first is the server from then on. What comes later from another is cancelled, or acknowledged and
ended if it is an answer; nobody is told.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

from firmware.sip.flow_search import FlowSearch
from firmware.sip.identity import Identity
from firmware.sip.message import Request, Response
from firmware.sip.sending import fits_datagram, our_via, send_cancel
from firmware.sip.session_timer import lengthened
from firmware.sip.stack import Stack
from firmware.sip.timers import Alarm
from firmware.sip.transactions import Client
from firmware.sip.types import Flow, Target, Transport
from firmware.sip.uri import NameAddr, Uri

_MOST_RESTARTS = 8
_LONGEST_PAUSE_S = 10.0  # a visitor waits; whoever asks for more has refused the call


class RequestUser(Protocol):
    def sent(self, flow: Flow, now: float) -> None:
        """The request left, once per attempt."""

    def provisional(self, response: Response, now: float) -> None: ...

    def final(self, response: Response, now: float) -> None: ...

    def unreachable(self, status: int, reason: str, now: float) -> None:
        """Nobody answered: 408 or 503, and what failed."""


@dataclass(frozen=True, slots=True)
class Mending:
    """What the user of a request allows beyond credentials and the next server; by default nothing.

    `renew(status)` gives the body of the next attempt: after 488 and its like another offer, after 491
    the offer as it should be by then. b"": there is none to give; None: `resume` will bring it. `glare_s` bounds
    the pause after a 491 (14.1). `redirect` judges the target of a 3xx, `through` says where a request to it goes
    first. `patience`: a server that says 503 and when to come back is asked once more.
    """

    renew: Callable[[int], bytes | None] | None = None
    glare_s: tuple[float, float] | None = None
    postponed: Callable[[Response], None] | None = None  # a 491 was received, the request will be tried again
    redirect: Callable[[Uri], bool] | None = None
    through: Callable[[Uri], Uri] = lambda uri: uri
    patience: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where an attempt goes: the server as it was written down, and what that led to. `best`: no better one was
    passed over."""

    hop: Uri
    target: Target
    best: bool


class OutgoingRequest:
    """`request` is complete but for Via and what `prepare` adds once the flow is known (Contact)."""

    def __init__(
        self,
        stack: Stack,
        request: Request,
        next_hop: Uri,
        user: RequestUser,
        *,
        identity: Identity | None,
        next_cseq: Callable[[], int],
        prepare: Callable[[Request, Flow, Transport], None] | None = None,
        hint: Flow | None = None,
        mending: Mending = Mending(),
        hops: Sequence[Uri] | None = None,
        first: tuple[Uri, Target] | None = None,
    ) -> None:
        """`hops` are the servers to try in turn, `first` the one to begin with; by default the account's own if
        the request is to go through its server."""
        if hops is None:
            through_server = identity is not None and next_hop == identity.next_hop
            hops, first = (identity.hops, identity.first) if identity is not None and through_server else ((), None)
        self.request = request
        self.place: Place | None = None  # where `client` went to
        self.client: Client | None = None
        self.paused: Response | None = None  # the answer after which it waits to be sent again
        self.cancelled = False  # no restart, no further target: the caller has lost interest
        self.in_flight = False  # sent, and no final response yet
        self.done = False
        self.failure = ""  # why a challenge could not be met
        self._stack = stack
        self._user = user
        self._exchange = identity.digest.exchange() if identity is not None else None
        self._next_cseq = next_cseq
        self._prepare = prepare
        self._mending = mending
        self._waited = False  # for a name or a connection
        self._restarts = 0
        self._tried: set[int] = set()  # statuses that are worth one more attempt, and have had it
        self._targets = {str(request.uri)}
        self._pause: Alarm | None = None
        self._unreachable_status = 503
        self._patience: Alarm | None = None
        self._silent: list[Client] = []  # earlier attempts that have no answer either
        self._late: list[Client] = []  # those that were slower than the one that answered
        self._cancelled: list[Client] = []
        self._identity = identity
        self._account = identity.account.name if identity is not None else ""
        self._search = self._search_from(next_hop, hint, hops, first)

    def start(self, now: float) -> None:
        self._stack.pending_requests += 1
        self._search.next(now)
        self._waited = self.client is None

    def cancel(self, now: float, reason: str = "") -> None:
        """Send the CANCEL of an INVITE that has had a provisional answer (9.1)."""
        assert self.client is not None
        send_cancel(self._stack, self.client, reason, now)

    def withdraw(self, now: float) -> None:
        """Nobody needs it any more: what has not left stays here, what has is sent nowhere else."""
        self.cancelled = True
        if not self.done and not self.in_flight:
            self.give_up(now)

    def give_up(self, now: float) -> None:
        """Wait no longer for a final response."""
        self._finish()
        self._search.cancel()
        for alarm in (self._pause, self._patience):
            if alarm is not None:
                alarm.cancel()
        if self.client is not None:
            self._stack.transactions.abandon(self.client, now)
        if self.request.method != "INVITE":
            for other in self._silent:
                self._stack.transactions.abandon(other, now)

    # --- flows ----------------------------------------------------------------------------------------------

    @property
    def next_hop(self) -> Uri:
        """Whose server is being tried."""
        return self._search.next_hop

    def _search_from(
        self, next_hop: Uri, hint: Flow | None, hops: Sequence[Uri] = (), first: tuple[Uri, Target] | None = None
    ) -> FlowSearch:
        return FlowSearch(
            self._stack,
            next_hop,
            on_flow=self._send,
            on_exhausted=self._exhausted,
            hint=hint,
            account=self._account,
            backups=hops[1:],
            first=first,
        )

    def _send(self, flow: Flow, now: float) -> None:
        if self.request.uri.scheme == "sips" and not flow.secure:
            # Who dials sips wants every hop encrypted, this first one too (RFC 5630 3.1.3); nothing is downgraded.
            self._search.error = f"{flow.target}: a sips address is called over TLS or not at all"
            self._search.next(now)
            return
        if self._waited and self.request.to.tag is not None:
            # Others of the dialog may have left while this one looked for a way: numbers rise as requests leave.
            self.request.headers.set("CSeq", f"{self._next_cseq()} {self.request.method}")
        self._waited = False
        request = Request(self.request.method, self.request.uri, self.request.headers.copy(), self.request.body)
        self._reroute(request)
        intended = self._search.target.transport if self._search.target is not None else flow.transport
        if self._prepare is not None:
            self._prepare(request, flow, intended)
        if self._exchange is not None:
            self._exchange.authorize(request)
        request.headers.prepend("Via", str(our_via(flow, self._stack.branch())))
        if not flow.reliable and not fits_datagram(request) and self._search.prefer_tcp(flow, now):
            return
        self.in_flight = True
        name = self._search.target.name if self._search.target is not None else ""
        place = Place(self._search.next_hop, replace(flow.target, name=name), self._search.at_best)
        attempt = Attempt(self, place)
        self.place = place
        attempt.client = self.client = self._stack.transactions.request(request, flow, attempt, now)
        if self._search.has_target:
            self._patience = self._stack.schedule.set(now + self._stack.timers.next_target_s, self._impatient)
        self._user.sent(flow, now)

    def _reroute(self, request: Request) -> None:
        """A preloaded Route through the account's server names the one that this attempt goes to."""
        if self._identity is None or self._search.next_hop not in self._identity.account.hops[1:]:
            return
        usual = [str(route) for route in self._identity.routes()]
        given = request.headers.get_all("Route")
        if usual and given[: len(usual)] == usual:
            request.headers.remove("Route")
            for route in self._identity.routes(self._search.next_hop):
                request.headers.add("Route", str(route))
            for value in given[len(usual) :]:
                request.headers.add("Route", value)

    def _impatient(self, now: float) -> None:
        """The server has said nothing: ask the next as well."""
        if self.client is None or self.done or self.cancelled or not self._search.has_target:
            return
        self._missed(self.client, now)
        self._silent.append(self.client)
        self._search.next_place(now)

    def _exhausted(self, reason: str, now: float) -> None:
        if self._silent and not self.done:
            self.client = self._silent.pop()  # who has said nothing yet may still do so
            self.in_flight = True
            return
        self._finish()
        self._user.unreachable(self._unreachable_status, reason, now)

    def _finish(self) -> None:
        if not self.done:
            self.done = True
            self._stack.pending_requests -= 1

    # --- answers (ClientUser) -------------------------------------------------------------------------------

    def _missed(self, client: Client, now: float) -> None:
        self._stack.avoid(client.flow.target, now)
        if self._identity is not None:
            self._identity.suspect(client.flow.target, now)

    def heard(self, attempt: "Attempt", response: Response, now: float) -> None:
        """One of our attempts has an answer."""
        client = attempt.client
        self._stack.heard(client.flow.target)
        if self._patience is not None:
            self._patience.cancel()
        if client in self._silent:
            self._search.cancel()  # for the next target, if it was under way
            if self.client is not None and self.client is not client:
                self._silent.append(self.client)
            self._silent.remove(client)
            self.client, self.in_flight = client, True
            self.place = attempt.place
            self._user.sent(client.flow, now)  # this is the attempt that counts, after all
        if client is self.client:
            if self.request.method == "INVITE":
                self._late += self._silent
            else:
                for other in self._silent:
                    self._stack.transactions.abandon(other, now)  # one answer is enough
            self._silent.clear()
            self.received(response, now)
        elif client in self._late:
            self._received_late(client, response, now)

    def lost(self, client: Client, status: int, reason: str, now: float) -> None:
        """One of our attempts failed."""
        self._missed(client, now)
        if client in self._silent:
            self._silent.remove(client)
        elif client is self.client:
            if self._patience is not None:
                self._patience.cancel()
            self._next_target(status, reason, now)

    def _received_late(self, client: Client, response: Response, now: float) -> None:
        """Another server answered before; this one's phones must not ring on, or be answered unheard."""
        if response.status < 200:
            if client not in self._cancelled:
                self._cancelled.append(client)
                send_cancel(self._stack, client, "", now)
        elif response.status < 300:
            current, self.client = self.client, client
            if not self.done and current is not None:
                self._late.append(current)
                self._late.remove(client)
                if current.machine.state == "proceeding":
                    self._cancelled.append(current)
                    send_cancel(self._stack, current, "", now)
                self._finish()
                current = client
            self._user.final(response, now)  # a fork like any other
            self.client = current

    def received(self, response: Response, now: float) -> None:
        if response.status < 200:
            self._user.provisional(response, now)
            return
        self.in_flight = False
        restart = self._RESTARTS.get(response.status)
        if restart is not None and not self.cancelled and not self.done and self._restarts < _MOST_RESTARTS:
            self._restarts += 1
            if restart(self, response, now):
                return
        self._finish()
        self._user.final(response, now)

    def _next_target(self, status: int, reason: str, now: float) -> None:
        self.in_flight = False
        self._unreachable_status = status
        self._search.error = f"{self._search.target}: {reason}"
        if self.cancelled:
            self._exhausted(self._search.error, now)
        else:
            self._search.next(now)

    # --- restarts: each says whether it sent the request again ------------------------------------------------

    def _authenticate(self, response: Response, now: float) -> bool:
        if self._exchange is None:
            self.failure = "credentials wanted, none configured"
            return False
        if not self._exchange.challenged(response):
            self.failure = self._exchange.failure
            return False
        self._again(now)
        return True

    def _lengthen(self, response: Response, now: float) -> bool:
        """423: the registrar's least expiry is longer than we asked for (10.2.8)."""
        asked, least = self.request.expires, response.min_expires
        if asked is None or not asked or least is None or least <= asked:
            return False
        self.request.headers.set("Expires", str(least))
        self._again(now)
        return True

    def _lengthen_session(self, response: Response, now: float) -> bool:
        """422: the least session interval of somebody on the way is longer than ours (RFC 4028 7.4)."""
        if not lengthened(self.request, response):
            return False
        self._again(now)
        return True

    def _elsewhere(self, response: Response, now: float) -> bool:
        """503: this server is out of service, the next may not be (RFC 3263 4.3); or this one, a little later."""
        if self._search.has_next:
            self._next_target(503, f"503 {response.reason_phrase}", now)
            return True
        after_s = response.retry_after
        if not self._mending.patience or after_s is None or after_s > _LONGEST_PAUSE_S or not self._first(503):
            return False
        self._later(after_s, response, now)
        return True

    def _after_glare(self, response: Response, now: float) -> bool:
        """491: the peer has an offer out as well; who owns the Call-ID waits longer (14.1)."""
        if self._mending.glare_s is None or not self._first(491):
            return False
        if self._mending.postponed is not None:
            self._mending.postponed(response)
        self._later(self._stack.between(*self._mending.glare_s), response, now)
        return True

    def _otherwise(self, response: Response, now: float) -> bool:
        """488 and its like: the same request with another body, while there is one."""
        if self._mending.renew is None:
            return False
        body = self._mending.renew(response.status)
        if not body:
            return False
        self.request.body = body
        self._again(now)
        return True

    def _redirected(self, response: Response, now: float) -> bool:
        """300, 301, 302: the best target that we may follow and have not asked yet (8.1.3.4)."""
        allowed = self._mending.redirect
        if allowed is None:
            return False
        for contact in sorted(response.contacts, key=_preference, reverse=True):
            uri = contact.uri.without_parameter("method").replace(headers=())
            if str(uri) not in self._targets and allowed(uri):
                break
        else:
            self.failure = "redirected to where we may not follow"
            return False
        self._targets.add(str(uri))
        self.request.uri = uri
        self.request.headers.set("CSeq", f"{self._next_cseq()} {self.request.method}")
        self._search = self._search_from(self._mending.through(uri), None)
        self._search.next(now)
        return True

    _RESTARTS: ClassVar[Mapping[int, Callable[["OutgoingRequest", Response, float], bool]]] = {
        300: _redirected,
        301: _redirected,
        302: _redirected,
        401: _authenticate,
        407: _authenticate,
        415: _otherwise,
        422: _lengthen_session,
        423: _lengthen,
        488: _otherwise,
        491: _after_glare,
        503: _elsewhere,
        580: _otherwise,
        606: _otherwise,
    }

    def _first(self, status: int) -> bool:
        """Whether this is the first time that `status` is answered with another attempt."""
        if status in self._tried:
            return False
        self._tried.add(status)
        return True

    def _later(self, after_s: float, response: Response, now: float) -> None:
        def pause_is_over(when: float) -> None:
            renew = self._mending.renew if response.status == 491 else None
            body = renew(491) if renew is not None else self.request.body
            if body is not None:
                self.resume(body if body or renew is None else None, when)

        self.paused = response
        self._pause = self._stack.schedule.set(now + after_s, pause_is_over)

    def resume(self, body: bytes | None, now: float) -> None:
        """The pause is over; None: for good."""
        response, self.paused = self.paused, None
        if self._pause is not None:
            self._pause.cancel()
        if self.done or response is None:
            return
        if self.cancelled or body is None:
            self._finish()
            self._user.final(response, now)
        else:
            self.request.body = body
            self._again(now)

    def _again(self, now: float) -> None:
        assert self.client is not None
        self.request.headers.set("CSeq", f"{self._next_cseq()} {self.request.method}")
        self._send(self.client.flow, now)


def _preference(contact: NameAddr) -> float:
    """The q of a Contact (20.10); 1 where it has none, 0 where it has nonsense."""
    try:
        return min(1.0, float(contact.parameter("q") or "1"))
    except ValueError:
        return 0.0


class Attempt:
    """One transaction of a request (ClientUser)."""

    def __init__(self, request: OutgoingRequest, place: Place) -> None:
        self.client: Client
        self.place = place
        self._request = request

    def received(self, response: Response, now: float) -> None:
        self._request.heard(self, response, now)

    def timed_out(self, now: float) -> None:
        self._request.lost(self.client, 408, "no answer", now)

    def failed(self, reason: str, now: float) -> None:
        self._request.lost(self.client, 503, reason, now)
