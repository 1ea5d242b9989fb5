"""The registration of one account: RFC 3261 section 10, back-off of RFC 5626 section 4.5.

    state         | input                     | next          | what happens
    --------------|---------------------------|---------------|---------------------------------------------
    idle          | start                     | registering   | REGISTER at once
    registering   | 2xx                       | registered    | refresh at 85 % of our own binding's expiry
    registering   | 2xx, seen at another host | registering   | Contact rewritten, the old one removed, again
    registering   | 401, 403, 404, 407        | failed        | slow retry: the password does not mend itself
    registering   | other refusal, nobody     | failed        | back-off with jitter, at least Retry-After
    registered    | refresh is due            | registered    | REGISTER, same Call-ID, CSeq + 1
    registered    | connection lost           | registered    | REGISTER at once
    registered    | refresh failed            | failed        | as above
    failed        | retry is due              | registering   | REGISTER
    any           | stop                      | unregistering | our binding removed; `unregistered` if none
    unregistering | answer, nobody            | unregistered  | that was all

Challenges and 423 are mended below (outgoing_request.py). The Contact is rewritten at once only when the
registrar sees another host, and once per refresh: a NAT that changes ports at each request must not make a loop
of it. A changed port alone is used from the next refresh on.
"""

from ipaddress import ip_address
from typing import Literal

from firmware.sip.answers import ALLOW
from firmware.sip.events import RegistrationChanged, RegistrationState
from firmware.sip.identity import Identity
from firmware.sip.message import Request, Response
from firmware.sip.outgoing_request import OutgoingRequest
from firmware.sip.stack import Stack
from firmware.sip.timers import Alarm
from firmware.sip.types import DEFAULT_PORT, Flow, Transport
from firmware.sip.uri import NameAddr, Uri

_REFRESH = 0.85
_SHORTEST_S = 5.0  # whatever a registrar grants, we do not come back sooner
_REFUSALS = (401, 403, 404, 407)


class Registration:
    def __init__(self, stack: Stack, identity: Identity) -> None:
        self.identity = identity
        self.state: Literal["idle", "registering", "registered", "failed", "unregistering", "unregistered"] = "idle"
        self._stack = stack
        self._account = identity.account
        self._call_id = stack.text(16)
        self._tag = stack.text()
        self._cseq = 0
        self._expires_s = identity.account.expires_s
        self._request: OutgoingRequest | None = None
        self._contact: NameAddr | None = None  # as last sent
        self._advertised: tuple[str, int] | None = None
        self._bound = False  # the registrar may hold a binding of ours
        self._bound_before = False  # ... even if it refuses the request that is out now
        self._stale: NameAddr | None = None  # a binding under our former address, to be removed
        self._seen: tuple[str, int] | None = None  # a changed port, for the next refresh
        self._rewritten = False
        self._failures = 0
        self._alarm: Alarm | None = None
        self._stopping = False

    @property
    def finished(self) -> bool:
        """Nothing is under way and nothing is bound."""
        return self.state in ("idle", "unregistered")

    def start(self, now: float) -> None:
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
        if self.identity.flow == flow and flow.reliable:
            self.identity.flow = None
            if self.state == "registered" and (self._request is None or self._request.done):
                self._register(now)

    # --- requests -------------------------------------------------------------------------------------------

    def _register(self, now: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if self.state != "registered":
            self._change("registering")
        self._rewritten = False
        if self._seen is not None:
            self._rewrite(self._seen)
        self._send(self._expires_s, now)

    def _unregister(self, now: float) -> None:
        if not self._bound:
            self._change("unregistered")
            return
        self.state = "unregistering"
        self._send(0, now)

    def _send(self, expires_s: int, now: float) -> None:
        account = self._account
        request = Request("REGISTER", account.server)
        headers = request.headers
        headers.add("Max-Forwards", "70")
        for route in self.identity.routes():
            headers.add("Route", str(route))
        address = NameAddr(account.display_name, account.address)
        headers.add("From", str(address.with_tag(self._tag)))
        headers.add("To", str(address))
        headers.add("Call-ID", self._call_id)
        headers.add("CSeq", f"{self._next_cseq()} REGISTER")
        headers.add("Expires", str(expires_s))
        headers.add("Allow", ALLOW)
        headers.add("User-Agent", self._stack.configuration.user_agent)
        self._request = OutgoingRequest(
            self._stack,
            request,
            self.identity.next_hop,
            self,
            identity=self.identity,
            next_cseq=self._next_cseq,
            prepare=self._prepare,
            # A datagram flow is asked for anew each time: our own address may have changed since.
            hint=flow if (flow := self.identity.flow) is not None and flow.reliable else None,
        )
        self._bound_before = self._bound
        self._request.start(now)

    def _prepare(self, request: Request, flow: Flow, transport: Transport) -> None:
        if self._advertised not in (None, flow.advertised):
            self.identity.learned = None  # learned of an address that we have left
        self._advertised = flow.advertised
        contact = self.identity.contact(flow, transport)
        if self._contact is not None and contact != self._contact:
            self._stale = self._contact
        self._contact = contact
        request.headers.add("Contact", str(contact))
        if self._stale is not None:
            request.headers.add("Contact", f"{self._stale};expires=0")

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
            self._change("unregistered", response.status, response.reason_phrase)
        elif response.status < 300:
            self._registered(response, now)
        else:
            self._bound = self._bound_before
            reason = response.reason_phrase
            if self._request is not None and self._request.failure:
                reason = f"{reason}: {self._request.failure}"
            self._failed(response.status, reason, now, retry_after_s=response.retry_after or 0)

    def unreachable(self, status: int, reason: str, now: float) -> None:
        if self.state == "unregistering":
            self._change("unregistered", status, reason)
        else:
            self._failed(status, reason, now)

    def _registered(self, response: Response, now: float) -> None:
        assert self._request is not None
        assert self._request.client is not None
        flow = self._request.client.flow
        self.identity.flow = flow
        self._stale = None
        self._failures = 0
        if self._stopping:
            self._unregister(now)
            return
        self._expires_s = self._request.request.expires or self._expires_s  # a 423 may have lengthened it
        granted_s = self._granted_s(response)
        if granted_s <= 0:
            self._failed(response.status, "the registrar kept no binding of ours", now)
            return
        seen = self._seen_at(response, flow)
        host, port = self.identity.learned or flow.advertised
        if seen is not None and seen[0] != host and not self._rewritten:
            self._rewritten = True
            self._rewrite(seen)
            self._send(self._expires_s, now)
            return
        self._seen = seen if seen is not None and seen != (host, port) else None
        if self.state != "registered":
            self._change("registered", response.status, response.reason_phrase, expires_s=granted_s)
        self._alarm = self._stack.schedule.set(now + max(_SHORTEST_S, _REFRESH * granted_s), self._register)

    def _failed(self, status: int, reason: str, now: float, *, retry_after_s: int = 0) -> None:
        if self._stopping:
            self._unregister(now)
            return
        backoff = self._stack.configuration.backoff
        if status in _REFUSALS:
            longest_s = backoff.refused_s
        else:
            self._failures += 1
            longest_s = min(backoff.longest_s, backoff.base_s * 2 ** min(self._failures, 16))
        retry_s = self._stack.between(longest_s / 2, longest_s)
        if retry_after_s > retry_s:
            retry_s = retry_after_s * self._stack.between(1.0, 1.1)
        self._change("failed", status, reason, retry_s=retry_s)
        self._alarm = self._stack.schedule.set(now + retry_s, self._register)

    def _change(
        self,
        state: RegistrationState,
        status: int = 0,
        reason: str = "",
        *,
        retry_s: float = 0,
        expires_s: float = 0,
    ) -> None:
        self.state = state
        self._stack.emit(
            RegistrationChanged(self._account.name, state, status, reason, retry_s=retry_s, expires_s=expires_s)
        )

    # --- our binding and our address --------------------------------------------------------------------------

    def _granted_s(self, response: Response) -> int:
        """How long our binding lasts, among all that the registrar lists (10.2.4)."""
        assert self._contact is not None
        for binding in response.contacts:
            if _same_address(binding.uri, self._contact.uri):
                expires = binding.parameter("expires")
                if expires is not None and expires.isdecimal():
                    return int(expires[:9])
                break
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
        self.identity.learned = seen


def _same_address(one: Uri, other: Uri) -> bool:
    """Registrars add and drop parameters; user, host and port name a binding of ours well enough."""
    return (
        (one.user or "") == (other.user or "")
        and one.host.lower() == other.host.lower()
        and (one.port or DEFAULT_PORT) == (other.port or DEFAULT_PORT)
    )
