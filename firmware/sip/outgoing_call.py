"""INVITE as client: RFC 3261 sections 9.1, 13.2, 15, RFC 3262 and RFC 6026. One INVITE may ring many phones, and
be answered by many.

    state      | input                | next       | what happens
    -----------|----------------------|------------|--------------------------------------------------
    calling    | 100                  | proceeding | CallTrying
    calling    | 1xx with or without tag | proceeding | CallProgress, an early dialog per tag
    calling, proceeding | 1xx that asks for it | proceeding | PRACK; a repeat gets none (reliable.py)
    calling, proceeding | 199         | proceeding | that early dialog has ended
    calling    | hangup               | cancelling | CANCEL waits for a 1xx (9.1)
    calling    | hangup, nothing sent | ended      | CallEnded by us
    calling, proceeding | 2xx         | answered   | ACK, CallAnswered
    calling, proceeding | 3xx-6xx     | ended      | CallEnded by the peer (ACKed by the transaction)
    calling, proceeding | unreachable | ended      | CallEnded by the network
    proceeding | hangup               | cancelling | CANCEL
    cancelling | 1xx                  | cancelling | CANCEL, if it waited for this
    cancelling | 2xx                  | ended      | ACK, then BYE: they crossed; CallEnded by us
    cancelling | 3xx-6xx              | ended      | CallEnded by us
    cancelling | unreachable          | ended      | CallEnded by us
    cancelling | 64*T1 after CANCEL   | ended      | transaction dropped, CallEnded by us
    answered, ended | 2xx, same tag   |            | the same ACK again
    answered, ended | 2xx, other tag  |            | ACK, then BYE; nobody is told
    answered   | (call.py)

Nothing limits how long the peer may ring. `cancelling` is state "early" of call.py with `_hangup` set. What an
INVITE may be sent again for, without anybody hearing of it, stands in outgoing_request.py.
"""

from collections.abc import Sequence
from dataclasses import replace

from firmware.sip.acknowledgements import Acknowledgements
from firmware.sip.answers import ALLOW, SUPPORTED, add_contact, offer_of, reason_text
from firmware.sip.call import Call, Calls
from firmware.sip.dialog import Dialog
from firmware.sip.events import CallAnswered, CallProgress, CallTrying, InviteSent, OfferReduced
from firmware.sip.identity import Identity
from firmware.sip.location import Binding
from firmware.sip.message import Request, Response
from firmware.sip.outgoing_request import Mending, OutgoingRequest
from firmware.sip.reliable import ReliableReceived
from firmware.sip.session import Session
from firmware.sip.types import DEFAULT_PORT, Flow, Transport
from firmware.sip.uri import NameAddr, Uri

# A reliable 183 would bring an offer that only its PRACK may answer; without one of ours we ask for none.
_SUPPORTED_OFFERLESS = SUPPORTED.removeprefix("100rel,")
_MOST_FORKS = 32  # dialogs of one INVITE; what answers beyond is ignored


class OutgoingCall(Call):
    """`fall_back` gives it offers for a peer that refuses the first one, in turn."""

    owns_call_id = True

    def __init__(
        self,
        calls: Calls,
        identity: Identity | None,
        target: Uri,
        sdp: bytes,
        *,
        display_name: str | None,
        headers: Sequence[tuple[str, str]],
        binding: Binding | None = None,
    ) -> None:
        super().__init__(calls, calls.new_number(), identity)
        self._binding = binding
        self._straight = NameAddr(display_name or "", Uri("sip", user="portero")).with_tag(calls.stack.text())
        str(self._straight)  # a name that cannot be written is the caller's fault, now and not later
        self._invite = self._template(target.replace(headers=()), sdp, display_name, headers)
        self._cseq = 1
        self._request_out = OutgoingRequest(
            calls.stack,
            self._invite,
            binding.next_hop if binding else identity.next_hop if identity is not None else target,
            self,
            identity=identity,
            next_cseq=self._next_cseq,
            prepare=self._prepare,
            hint=binding.flow if binding is not None else None,
            mending=Mending(
                renew=self._reduce,
                redirect=self._may_follow,
                # An account's server stays between us and everybody.
                through=(lambda uri: identity.next_hop) if identity is not None else (lambda uri: uri),
                patience=True,
            ),
        )
        self._target = target
        self._fallbacks: list[bytes] = []
        self._early: dict[str, Session] = {}  # by remote tag
        self._told: dict[str, CallProgress] = {}
        self._acks = Acknowledgements(calls.stack, identity.account.name if identity is not None else "")
        self._reliable = ReliableReceived()
        self._sent = False
        self._trying = False
        self._hangup: tuple[int, str] | None = None  # asked for before an answer
        self._cancel_sent = False
        self._used_cseq = 0  # highest in a dialog that we have forgotten and that may come back

    def start(self, now: float) -> None:
        self._enter()
        self.show("trying", now)
        self._request_out.start(now)

    def fall_back(self, offers: Sequence[bytes]) -> None:
        """These, too."""
        self._fallbacks += offers

    def hangup(self, now: float, status: int, reason: str) -> None:
        if self.state == "answered":
            assert self.dialog is not None
            self.requests.bye(self.dialog, reason, now)
            self.end("us", 200, reason_text(reason), now)
        elif self.state == "early" and self._hangup is None:
            self._hangup = (status, reason)
            self._request_out.cancelled = True
            client = self._request_out.client
            if client is None or not self._request_out.in_flight:
                self._request_out.give_up(now)  # not sent, or between two attempts: nobody need be told
                self.end("us", 487, "ended before the INVITE left", now)
            elif client.machine.state == "proceeding":
                self._cancel(now)

    # --- what comes back (RequestUser) ----------------------------------------------------------------------

    def sent(self, flow: Flow, now: float) -> None:
        self.flow = flow
        for session in self._early.values():
            self._drop_session(session, now)  # of an attempt that was refused: challenged, or out of service
        self._early.clear()
        self._reliable = ReliableReceived()
        if not self._sent:
            self._sent = True
            self._stack.emit(InviteSent(self.number, flow))

    def provisional(self, response: Response, now: float) -> None:
        if self._hangup is not None:
            if not self._cancel_sent:
                self._cancel(now)
            return
        if self.state != "early":
            return
        if response.status == 100:
            if not self._trying:
                self._trying = True
                self.show("proceeding", now)
                self._stack.emit(CallTrying(self.number))
            return
        order = self._reliable.judge(response)
        if order == "repeat":
            return
        tag = response.to.tag or ""
        session = self._early.get(tag)
        if session is None:
            if len(self._early) >= _MOST_FORKS:
                return
            session = self._early[tag] = self._new_session(response)
            self._add_session(session)
        else:
            session.dialog.refresh(response)
        self.show("early", now)
        self.heard_of_peer(response)
        sdp = offer_of(response)
        if order == "next":
            if sdp:
                session.step("the peer answers")
            self.requests.prack(session.dialog, response, now)
        if response.status == 199:  # this fork has ended (RFC 6228); others may still ring
            self._drop_session(session, now)
            del self._early[tag]
        told = CallProgress(self.number, tag, response.status, sdp, final=order == "next" and bool(sdp))
        if self._told.get(tag) != told:
            if len(self._told) < _MOST_FORKS:
                self._told[tag] = told
            self._stack.emit(told)

    def final(self, response: Response, now: float) -> None:
        if response.status < 300:
            self._accepted_by(response, now)
        elif self._hangup is not None:
            self.end("us", response.status, response.reason_phrase, now)
        else:
            self.end("peer", response.status, reason_text(response.reason) or response.reason_phrase, now)

    def unreachable(self, status: int, reason: str, now: float) -> None:
        self.end("network" if self._hangup is None else "us", status, reason, now)

    def receive_bye(self, session: Session, bye: Request, now: float) -> None:
        if self.state == "early":
            self._drop_session(session, now)  # not allowed to who has not answered (15); other forks go on
            self._early.pop(session.dialog.remote.tag or "", None)
        else:
            super().receive_bye(session, bye, now)

    # --- 2xx, ACK, BYE --------------------------------------------------------------------------------------

    def _accepted_by(self, response: Response, now: float) -> None:
        tag = response.to.tag or ""
        if self._acks.again(tag) or len(self._acks) >= _MOST_FORKS:
            return
        invite = self._client_request
        session = self._early.pop(tag, None)
        if session is None:
            session = self._new_session(response)
        else:
            session.dialog.confirm(response)
        dialog = session.dialog
        if self.state == "early" and self._hangup is None:
            for other in self._early.values():
                self._drop_session(other, now)
            self._early.clear()
            self.state = "answered"
            self.show("confirmed", now)
            self.session = session
            if dialog.key not in self._dialogs:
                self._add_session(session)
            self.heard_of_peer(response)
            self._acks.send(dialog, invite, now, hint=self.flow, lost=self._ack_lost)
            session.step("the peer answers")
            self.timer.accepted(self._request_out.request, response, now)
            self._stack.emit(CallAnswered(self.number, tag, offer_of(response)))
            self.settled(now)
            return
        self._drop_session(session, now)
        reason = self._hangup[1] if self._hangup is not None else ""
        self._acks.send(
            dialog, invite, now, hint=self.flow, then=lambda when: self.requests.bye(dialog, reason, when)
        )
        if self.state == "early":
            self.end("us", response.status, "answered as it was cancelled", now)

    def _ack_lost(self, reason: str, now: float) -> None:
        self.end("network", 503, reason, now)

    def _new_session(self, response: Response) -> Session:
        invite = self._client_request
        session = Session(Dialog.as_client(invite, response), local_sdp=invite.body)
        session.dialog.local_cseq = max(session.dialog.local_cseq, self._used_cseq)
        if self._binding is not None and not self._binding.path:
            session.dialog.via = self._binding.next_hop  # the answer's Contact is no nearer than the registered one
        if invite.body:
            session.step("we offer")
        return session

    def _drop_session(self, session: Session, now: float) -> None:
        self._used_cseq = max(self._used_cseq, session.dialog.local_cseq)
        super()._drop_session(session, now)

    def _session_named(self, dialog: str) -> Session | None:
        return self.session if self.session is not None else self._early.get(dialog)

    def _name_of(self, session: Session) -> str:
        return (session.dialog.remote.tag or "") if self.state == "early" else ""

    def _collision(self, request: Request, session: Session) -> int:
        if self.state == "early" and request.method == "INVITE":
            return 491  # our own INVITE is under way
        return super()._collision(request, session)

    def _cancel(self, now: float) -> None:
        assert self._hangup is not None
        self._cancel_sent = True
        self._request_out.cancel(now, self._hangup[1])
        self._stack.schedule.set(now + self._stack.timers.transaction_s, self._give_up)

    def _give_up(self, now: float) -> None:
        if self.state == "early":
            self._request_out.give_up(now)
            self.end("us", 487, "no final response to the cancelled INVITE", now)

    # --- the INVITE -----------------------------------------------------------------------------------------

    @property
    def _client_request(self) -> Request:
        client = self._request_out.client
        assert client is not None
        return client.request

    def _may_follow(self, target: Uri) -> bool:
        """Whether a 3xx may lead there ; a phone must not be able to send us calling the world."""
        if target.scheme != "sip":
            return False
        host = target.host.lower()
        return host == self._target.host.lower() or any(
            allowed.host.lower() == host and allowed.user in (None, target.user)
            for allowed in self._stack.configuration.redirect_to
        )

    def _reduce(self, status: int) -> bytes:
        if not self._fallbacks:
            return b""
        self._stack.emit(OfferReduced(self.number, status))
        return self._fallbacks.pop(0)

    def _next_cseq(self) -> int:
        self._cseq += 1
        return self._cseq

    def _template(
        self, target: Uri, sdp: bytes, display_name: str | None, extra: Sequence[tuple[str, str]]
    ) -> Request:
        stack = self._stack
        request = Request("INVITE", target.without_parameter("method"))
        headers = request.headers
        headers.add("Max-Forwards", "70")
        for route in self._binding.path if self._binding is not None else ():
            headers.add("Route", str(route))
        if self.identity is not None:
            for route in self.identity.routes():
                headers.add("Route", str(route))
            account = self.identity.account
            name = account.display_name if display_name is None else display_name
            headers.add("From", str(NameAddr(name, account.address).with_tag(stack.text())))
        headers.add("To", str(NameAddr("", target)))
        headers.add("Call-ID", stack.text(12))
        headers.add("CSeq", "1 INVITE")
        headers.add("Allow", ALLOW)
        headers.add("Supported", SUPPORTED if sdp else _SUPPORTED_OFFERLESS)
        for header, value in self.timer.ask():
            headers.add(header, value)
        headers.add("User-Agent", stack.configuration.user_agent)
        for header, value in extra:
            headers.add(header, value)
        if sdp:
            headers.add("Content-Type", "application/sdp")
            request.body = sdp
        return request

    def _prepare(self, request: Request, flow: Flow, transport: Transport) -> None:
        if "From" not in self._invite.headers:
            # No account: we are whoever the peer can call back. One From for all attempts.
            host, port = flow.advertised
            uri = self._straight.uri.replace(host=host, port=None if port == DEFAULT_PORT else port)
            straight = replace(self._straight, uri=uri)
            self._invite.headers.add("From", str(straight))
            request.headers.add("From", str(straight))
        add_contact(request, self.contact(flow, transport))
