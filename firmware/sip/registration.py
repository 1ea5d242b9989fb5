"""One registration of an account, over one flow: RFC 3261 section 10, RFC 5626 section 4, RFC 3327, 3608, 5627.

    state         | input                     | next          | what happens
    --------------|---------------------------|---------------|---------------------------------------------
    idle          | start                     | registering   | REGISTER, at once or after the fleet's jitter
    registering   | 2xx                       | registered    | refresh at 85 % of our own binding's expiry
    registering   | 2xx, seen at another host | registering   | Contact rewritten, the old one removed, again
    registering   | 439                       | registering   | again without reg-id: the proxy knows no outbound
    registering   | 401, 403, 404, 407        | failed        | slow retry: the password does not mend itself
    registering   | other refusal, nobody     | failed        | back-off with jitter, at least Retry-After
    registered    | refresh is due            | registered    | REGISTER there, same Call-ID, CSeq + 1
    registered    | not the best server, 60 s | registered    | REGISTER, the best server first
    registered    | flow lost                 | registered    | REGISTER, the lost server last
    registered    | our address there changed | registered    | REGISTER there
    registered    | a call found nobody there | registered    | REGISTER, the lost server last
    registered    | refresh failed            | failed        | as above
    failed        | retry is due              | registering   | REGISTER, the best server first
    any           | network changed           |               | REGISTER at once, whatever was under way
    any           | stop                      | unregistering | our binding removed; `unregistered` if none
    unregistering | answer, nobody            | unregistered  | that was all

Challenges, 423 and the next server are mended below (outgoing_request.py). The Contact is rewritten at once only
when the registrar sees another host, and once per refresh: a NAT that changes ports at each request must not make
a loop of it. A changed port alone is used from the next refresh on. With outbound the registrar sends what comes
for us down the flow, and nothing is rewritten. Which of several registrations speaks for the account is
outbound.py's affair.
"""

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Literal

from firmware.sip.answers import ALLOW
from firmware.sip.errors import RemoteProtocolError
from firmware.sip.events import RegistrationChanged, RegistrationState
from firmware.sip.identity import Identity, Registered
from firmware.sip.message import Request, Response
from firmware.sip.outgoing_request import OutgoingRequest, Place
from firmware.sip.stack import Stack
from firmware.sip.timers import Alarm
from firmware.sip.types import DEFAULT_PORT, Flow, Target, Transport
from firmware.sip.uri import NameAddr, Uri

_REFRESH = 0.85
_SHORTEST_S = 5.0  # whatever a registrar grants, we do not come back sooner
_SUSPICIOUS_S = 5.0  # a registration younger than that is not doubted yet
_REFUSALS = (401, 403, 404, 407)
_LONGEST_ROUTE = 8  # entries of a Service-Route


class Registration:
    """`hops` are the servers, best first; `tell` hears of every change, `others_up` says whether another
    registration of the account stands."""

    def __init__(
        self,
        stack: Stack,
        identity: Identity,
        *,
        reg_id: int,
        hops: Sequence[Uri],
        tell: Callable[["Registration", RegistrationChanged, float], None],
        others_up: Callable[["Registration"], bool],
    ) -> None:
        self.identity = identity
        self.state: Literal["idle", "registering", "registered", "failed", "unregistering", "unregistered"] = "idle"
        self.reg_id = reg_id
        self.hops = tuple(hops)
        self._stack = stack
        self._account = identity.account
        self._tell = tell
        self._others_up = others_up
        self._call_id = stack.text(16)
        self._tag = stack.text()
        self._cseq = 0
        self._expires_s = identity.account.expires_s
        self._request: OutgoingRequest | None = None
        self._contact: NameAddr | None = None  # as last sent
        self._advertised: tuple[str, int] | None = None
        self._learned: tuple[str, int] | None = None  # our address as the registrar sees it
        self._bound = False  # the registrar may hold a binding of ours
        self._bound_before = False  # ... even if it refuses the request that is out now
        self._stale: NameAddr | None = None  # a binding under our former address, to be removed
        self._seen: tuple[str, int] | None = None  # a changed port, for the next refresh
        self._rewritten = False
        self._outbound = identity.account.outbound and bool(stack.configuration.instance)
        self._at_best = True
        self._back_at = 0.0  # when the best server is tried again, where we are not there
        self._failures = 0
        self._since = 0.0  # of the last success
        self._alarm: Alarm | None = None
        self._stayed = False  # the request that is out went to the server that has us
        self._stopping = False

    @property
    def finished(self) -> bool:
        """Nothing is under way and nothing is bound."""
        return self.state in ("idle", "unregistered")

    @property
    def registered(self) -> Registered | None:
        """Where; None while it does not stand."""
        return self.identity.registered.get(self.reg_id)

    def start(self, now: float, after_s: float = 0.0) -> None:
        if after_s > 0:
            self._alarm = self._stack.schedule.set(now + after_s, self._register)
        else:
            self._register(now)

    def stop(self, now: float) -> None:
        if self._stopping:
            return
        self._stopping = True
        if self._alarm is not None:
            self._alarm.cancel()
        if self._request is None or self._request.done:
            self._unregister(now)
        else:
            self._request.cancelled = True  # its answer, or silence, leads to _unregister

    def flow_closed(self, flow: Flow, now: float) -> None:
        registered = self.registered
        if registered is None or registered.flow != flow:
            return
        del self.identity.registered[self.reg_id]
        if not flow.reliable:
            self._stack.avoid(flow.target, now)  # its keep-alives are not answered: it is gone, not restarted
        if self.state == "registered" and not self._busy:
            # A registrar that restarts loses all its stations at once; each waits its own moment (RFC 5626 4.5).
            spread_s = min(self._stack.configuration.spread_s, self._stack.configuration.backoff.base_s)
            self._again_after(self._stack.between(0, spread_s) if spread_s else 0.0, now)

    def flow_moved(self, flow: Flow, now: float) -> None:
        """Our binding names an address that leads to us no more."""
        registered = self.registered
        if registered is not None and registered.flow == flow and self.state == "registered" and not self._busy:
            self._register(now, stay=True)

    def doubt(self, target: Target, now: float) -> None:
        """A request of the account found nobody there. A server that answers REGISTER alone is asked no more often
        than every few seconds."""
        registered = self.registered
        here = registered is not None and registered.flow.remote == (target.host, target.port)
        if here and self.state == "registered" and not self._busy:
            self._again_after(self._since + _SUSPICIOUS_S - now, now)

    def network_changed(self, now: float) -> None:
        """Our address may be another one, and what is under way may never be answered."""
        if self._stopping or self.state == "idle":
            return
        self._failures = 0
        if self._request is not None and not self._request.done:
            self._request.give_up(now)
        self._register(now)

    @property
    def _busy(self) -> bool:
        return self._request is not None and not self._request.done

    # --- requests -------------------------------------------------------------------------------------------

    def _again_after(self, wait_s: float, now: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if wait_s > 0:
            self._alarm = self._stack.schedule.set(now + wait_s, self._register)
        else:
            self._register(now)

    def _refresh(self, now: float) -> None:
        """Stay with the server that has us."""
        self._register(now, stay=True)

    def _register(self, now: float, *, stay: bool = False) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if self.state != "registered":
            self._change("registering", now)
        self._rewritten = False
        if self._seen is not None:
            self._rewrite(self._seen)
        self._send(self._expires_s, now, stay=stay)

    def _unregister(self, now: float) -> None:
        if not self._bound:
            self._change("unregistered", now)
            return
        self.state = "unregistering"
        self._send(0, now, stay=True)

    def _send(self, expires_s: int, now: float, *, stay: bool) -> None:
        account = self._account
        request = Request("REGISTER", account.server)
        headers = request.headers
        headers.add("Max-Forwards", "70")
        address = NameAddr(account.display_name, account.address)
        headers.add("From", str(address.with_tag(self._tag)))
        headers.add("To", str(address))
        headers.add("Call-ID", self._call_id)
        headers.add("CSeq", f"{self._next_cseq()} REGISTER")
        headers.add("Expires", str(expires_s))
        headers.add("Allow", ALLOW)
        headers.add("Supported", ", ".join(self._supported()))
        headers.add("User-Agent", self._stack.configuration.user_agent)
        registered = self.registered
        here = registered if stay and registered is not None and registered.hop in self.hops else None
        self._request = OutgoingRequest(
            self._stack,
            request,
            self.hops[0],
            self,
            identity=self.identity,
            next_cseq=self._next_cseq,
            prepare=self._prepare,
            # A datagram flow is asked for anew each time: our own address may have changed since.
            hint=here.flow if here is not None and here.flow.reliable else None,
            hops=self.hops,
            first=(here.hop, here.target) if here is not None else None,
        )
        self._stayed = here is not None
        self._bound_before = self._bound
        self._request.start(now)

    def _supported(self) -> list[str]:
        return ["path", *(["outbound"] if self._outbound else []), *(["gruu"] if self._account.gruu else [])]

    def _prepare(self, request: Request, flow: Flow, transport: Transport) -> None:
        assert self._request is not None
        hop = self._request.next_hop
        if self._account.outbound_proxy is None:
            request.uri = hop
        for route in self.identity.proxy_route(hop):
            request.headers.add("Route", str(route))
        if self._advertised not in (None, flow.advertised):
            self._learned = None  # learned of an address that we have left
        self._advertised = flow.advertised
        contact = self.identity.address(flow, transport, self._learned)
        if self._contact is not None and contact != self._contact:
            self._stale = self._contact
        self._contact = contact
        request.headers.add("Contact", f"{contact}{self._device()}")
        if self._stale is not None and not self._by_flow:
            request.headers.add("Contact", f"{self._stale};expires=0")

    def _device(self) -> str:
        """Which device and which of its flows this is: what replaces the binding of before a power cut."""
        instance = self._stack.configuration.instance
        if not instance:
            return ""
        return f';+sip.instance="<{instance}>"' + (f";reg-id={self.reg_id}" if self._outbound else "")

    @property
    def _by_flow(self) -> bool:
        registered = self.registered
        return registered is not None and registered.outbound

    def _next_cseq(self) -> int:
        self._cseq += 1
        return self._cseq

    # --- what comes back (RequestUser) ----------------------------------------------------------------------

    def sent(self, flow: Flow, now: float) -> None:
        self._bound = True  # the answer may be lost, the binding not

    def provisional(self, response: Response, now: float) -> None:
        pass

    def final(self, response: Response, now: float) -> None:
        if self.state == "unregistering":
            self._over(response.status, response.reason_phrase, now)
        elif response.status < 300:
            self._accepted(response, now)
        else:
            self._bound = self._bound_before
            reason = response.reason_phrase
            if self._request is not None and self._request.failure:
                reason = f"{reason}: {self._request.failure}"
            if response.status == 439 and self._outbound and not self._stopping:
                self._outbound = False
                self._send(self._expires_s, now, stay=self._stayed)
                return
            self._failed(response.status, reason, now, retry_after_s=response.retry_after or 0)

    def unreachable(self, status: int, reason: str, now: float) -> None:
        if self.state == "unregistering":
            self._over(status, reason, now)
        else:
            self._failed(status, reason, now)

    def _over(self, status: int, reason: str, now: float) -> None:
        self.identity.registered.pop(self.reg_id, None)
        self._change("unregistered", now, status, reason)

    def _accepted(self, response: Response, now: float) -> None:
        assert self._request is not None
        assert self._request.client is not None
        flow = self._request.client.flow
        self._stale = None
        self._failures = 0
        assert self._request.place is not None
        if not self._stayed:
            self._at_best = self._request.place.best
            if not self._at_best:
                failback_s = self._stack.configuration.backoff.failback_s
                self._back_at = now + self._stack.between(failback_s / 2, failback_s)
        self._note(response, flow, self._request.place)
        if self._stopping:
            self._unregister(now)
            return
        self._expires_s = self._request.request.expires or self._expires_s  # a 423 may have lengthened it
        granted_s = self._granted_s(response)
        if granted_s <= 0:
            self._failed(response.status, "the registrar kept no binding of ours", now)
            return
        if not self._by_flow and self._moved(response, flow, self._request.place, now):
            return
        self._since = now
        self._change("registered", now, response.status, response.reason_phrase, expires_s=granted_s)
        after_s = max(_SHORTEST_S, _REFRESH * granted_s)
        if not self._at_best and self._back_at < now + after_s:
            self._alarm = self._stack.schedule.set(max(self._back_at, now), self._register)
        else:
            self._alarm = self._stack.schedule.set(now + after_s, self._refresh)

    def _moved(self, response: Response, flow: Flow, place: Place, now: float) -> bool:
        """Whether the registrar sees us at another host, and was told so in another REGISTER."""
        seen = self._seen_at(response, flow)
        host, port = self._learned or flow.advertised
        if seen is not None and seen[0] != host and not self._rewritten:
            self._rewritten = True
            self._rewrite(seen)
            self._note(response, flow, place)
            self._send(self._expires_s, now, stay=True)
            return True
        self._seen = seen if seen is not None and seen != (host, port) else None
        return False

    def _note(self, response: Response, flow: Flow, place: Place) -> None:
        """What the account's calls need to know of the registrar's answer."""
        binding = self._binding(response)
        self.identity.registered[self.reg_id] = Registered(
            hop=place.hop,
            target=place.target,
            flow=flow,
            learned=self._learned,
            outbound=self._outbound and "outbound" in response.require,
            service_route=_service_route(response),
            gruu=_public_gruu(binding) if self._account.gruu and binding is not None else None,
        )

    def _failed(self, status: int, reason: str, now: float, *, retry_after_s: int = 0) -> None:
        if self._stopping:
            self._unregister(now)
            return
        self.identity.registered.pop(self.reg_id, None)
        backoff = self._stack.configuration.backoff
        if status in _REFUSALS:
            longest_s = backoff.refused_s
        else:
            self._failures += 1
            base_s = backoff.base_s * (3 if self._others_up(self) else 1)
            longest_s = min(backoff.longest_s, base_s * 2 ** min(self._failures, 16))
        retry_s = self._stack.between(longest_s / 2, longest_s)
        if retry_after_s > retry_s:
            retry_s = retry_after_s * self._stack.between(1.0, 1.1)
        self._change("failed", now, status, reason, retry_s=retry_s)
        self._alarm = self._stack.schedule.set(now + retry_s, self._register)

    def _change(
        self,
        state: RegistrationState,
        now: float,
        status: int = 0,
        reason: str = "",
        *,
        retry_s: float = 0,
        expires_s: float = 0,
    ) -> None:
        self.state = state
        registered = self.registered
        self._tell(
            self,
            RegistrationChanged(
                self._account.name,
                state,
                status,
                reason,
                retry_s=retry_s,
                expires_s=expires_s,
                server=str(registered.flow.target) if registered is not None and state == "registered" else "",
            ),
            now,
        )

    # --- our binding and our address --------------------------------------------------------------------------

    def _binding(self, response: Response) -> NameAddr | None:
        """Ours among all that the registrar lists (10.2.4)."""
        assert self._contact is not None
        for binding in response.contacts:
            if _same_address(binding.uri, self._contact.uri):
                return binding
        return None

    def _granted_s(self, response: Response) -> int:
        binding = self._binding(response)
        expires = binding.parameter("expires") if binding is not None else None
        if expires is not None and expires.isdecimal():
            return int(expires[:9])
        return self._expires_s if response.expires is None else response.expires

    def _seen_at(self, response: Response, flow: Flow) -> tuple[str, int] | None:
        """Our address as the registrar saw it; None where it says nothing, or nothing of use."""
        via = response.top_via
        host, port = flow.advertised
        if via.received is not None:
            try:
                if ip_address(via.received) != ip_address(host):  # one IPv6 address has many spellings
                    host = via.received
            except ValueError:
                return None
        if flow.reliable and host == flow.advertised[0]:
            return None  # the port is the connection's own; who calls us connects to the listening one
        return (host, via.rport or port) if via.received or via.rport else None

    def _rewrite(self, seen: tuple[str, int]) -> None:
        self._seen = None
        self._learned = seen


def _public_gruu(binding: NameAddr) -> Uri | None:
    """The address of this very station (RFC 5627 4.3); None if it is none, or none that could be called."""
    try:
        gruu = Uri.parse(binding.parameter("pub-gruu") or "")
    except RemoteProtocolError:
        return None
    return gruu if gruu.has_parameter("gr") and not gruu.headers else None


def _service_route(response: Response) -> tuple[NameAddr, ...]:
    """What later requests of the account have to pass (RFC 3608 5); none if it cannot be read."""
    try:
        found = tuple(NameAddr.parse(value) for value in response.headers.values("Service-Route"))
    except RemoteProtocolError:
        return ()
    usable = all(route.uri.scheme in ("sip", "sips") for route in found)
    return found if usable and len(found) <= _LONGEST_ROUTE else ()


def _same_address(one: Uri, other: Uri) -> bool:
    """Registrars add and drop parameters; user, host and port name a binding of ours well enough."""
    return (
        (one.user or "") == (other.user or "")
        and one.host.lower() == other.host.lower()
        and (one.port or DEFAULT_PORT) == (other.port or DEFAULT_PORT)
    )
