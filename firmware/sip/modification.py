"""Our re-INVITE or UPDATE within a dialog: RFC 3261 14.1, RFC 3311 5.1, RFC 6141, RFC 4028 7.4.

    state   | input                     | next    | what happens
    --------|---------------------------|---------|--------------------------------------------------------
    waiting | 2xx                       | done    | ACK to a re-INVITE; OfferAnswered, or Refreshed
    waiting | 491                       | pausing | OfferRefused, to be tried again; the peer's offer comes first
    waiting | 405, 501 to an UPDATE     | done    | the peer has none: re-INVITE in its stead
    waiting | 408, 481, nobody          | done    | the peer knows nothing of the call: BYE (12.2.1.2)
    waiting | other refusal             | done    | OfferRefused; the session stays as it was
    waiting | 64*T1 after a 1xx         | waiting | CANCEL: a user who never decides must not block the session
    waiting | 64*T1 after the CANCEL    | done    | OfferRefused; the session stays as it was
    pausing | pause is over, a refresh  | waiting | sent again, once
    pausing | pause is over, an offer   | pausing | OfferDue
    pausing | resume                    | waiting | sent with the station's offer of now, once
    pausing | the same, another is open | done    | OfferRefused: no longer fit
    done    | 2xx to a re-INVITE        | done    | the same ACK again

A refresh without an offer of the station's repeats the last description to the letter, its o= version included, so
that the peer sees that nothing changed. The target of the dialog follows a 2xx only.
"""

from typing import TYPE_CHECKING, Literal

from firmware.sip.acknowledgements import Acknowledgements
from firmware.sip.answers import ALLOW, SUPPORTED, add_contact, offer_of
from firmware.sip.events import EndedBy, OfferAnswered, OfferDue, OfferRefused, Refreshed
from firmware.sip.message import Request, Response
from firmware.sip.outgoing_request import Mending, OutgoingRequest
from firmware.sip.reliable import ReliableReceived
from firmware.sip.session import Session
from firmware.sip.timers import Alarm
from firmware.sip.types import Flow, Transport

if TYPE_CHECKING:
    from firmware.sip.call import Call

_OWN_CALL_ID_S = (2.1, 4.0)  # RFC 3261 14.1
_THEIR_CALL_ID_S = (0.0, 2.0)


class Modification:
    """`offer` is the station's; empty: a refresh, a re-INVITE with the last description, an UPDATE with none."""

    def __init__(
        self,
        call: "Call",
        session: Session,
        method: Literal["INVITE", "UPDATE"],
        offer: bytes = b"",
    ) -> None:
        self.method = method
        self._call = call
        self._stack = call.stack
        self._session = session
        self._offer = offer
        self._acks = Acknowledgements(call.stack, call.identity.account.name if call.identity is not None else "")
        self._reliable = ReliableReceived()
        self._limit: Alarm | None = None
        self._cancel_sent = False
        request = session.dialog.request(method)
        headers = request.headers
        headers.add("Allow", ALLOW)
        headers.add("Supported", SUPPORTED)
        if not session.dialog.early:
            for name, value in call.timer.ask():
                headers.add(name, value)
        headers.add("User-Agent", call.stack.configuration.user_agent)
        request.body = offer or (session.local_sdp if method == "INVITE" else b"")
        if request.body:
            session.step("we offer")
            headers.add("Content-Type", "application/sdp")
        self._out = OutgoingRequest(
            call.stack,
            request,
            session.dialog.next_hop,
            self,
            identity=call.identity,
            next_cseq=session.dialog.next_cseq,
            prepare=self._prepare,
            hint=call.flow,
            mending=Mending(
                renew=self._renew,
                glare_s=_OWN_CALL_ID_S if call.owns_call_id else _THEIR_CALL_ID_S,
                postponed=self._postponed,
                patience=True,
            ),
        )

    def start(self, now: float) -> None:
        self._session.modification = self
        self._out.start(now)

    def stop(self, now: float) -> None:
        """The call is over; a 2xx that still comes is acknowledged, all else forgotten."""
        self._done()
        self._out.withdraw(now)
        if not self._out.done:
            self._stack.schedule.set(now + self._stack.timers.transaction_s, self._forget)

    def _forget(self, now: float) -> None:
        """The peer said 1xx, then no more, and the call has long ended."""
        if not self._out.done:
            self._out.give_up(now)

    @property
    def pausing(self) -> bool:
        """Whether a 491 gives the peer's offer its turn."""
        return self._out.paused is not None

    def resume(self, sdp: bytes, now: float) -> None:
        """The station's offer as it is now."""
        self._offer = sdp
        self._out.resume(sdp if self._fits(sdp) else None, now)

    def _renew(self, status: int) -> bytes | None:
        """After the pause of a 491."""
        if status != 491:
            return b""
        if self._offer:
            self._stack.emit(OfferDue(self._call.number))
            return None
        offered = self._out.request.body
        return self._session.local_sdp if offered and self._fits(offered) else b""

    def _fits(self, sdp: bytes) -> bool:
        if self._session.waiting is not None or self._session.offer != "none":
            return False
        if sdp:
            self._session.step("we offer")
        return True

    def _postponed(self, response: Response) -> None:
        self._session.step("our offer is refused")
        if self._limit is not None:  # of the INVITE that has had its final answer
            self._limit.cancel()
            self._limit = None
        if self._offer:
            self._stack.emit(OfferRefused(self._call.number, 491, response.reason_phrase, again=True))

    def _prepare(self, request: Request, flow: Flow, transport: Transport) -> None:
        add_contact(request, self._call.contact(flow, transport))

    def _done(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
        if self._session.modification is self:
            self._session.modification = None

    # --- what comes back (RequestUser) ----------------------------------------------------------------------

    def sent(self, flow: Flow, now: float) -> None:
        pass

    def provisional(self, response: Response, now: float) -> None:
        if self._reliable.judge(response) == "next":
            self._call.requests.prack(self._session.dialog, response, now)
        if self.method == "INVITE" and self._limit is None:
            self._limit = self._stack.schedule.set(now + self._stack.timers.transaction_s, self._give_up)

    def final(self, response: Response, now: float) -> None:
        call, session = self._call, self._session
        if response.status < 300:
            if self.method == "INVITE":
                if self._acks.again(response.to.tag or "") or len(self._acks):
                    return
                client = self._out.client
                assert client is not None
                self._acks.send(session.dialog, client.request, now, hint=call.flow)
            if session.modification is self:
                self._accepted(response, now)
            return
        if session.modification is not self:
            return
        self._done()
        session.step("our offer is refused")
        if self.method == "UPDATE" and response.status in (405, 501):
            call.peer_has_no_update()
            if not session.dialog.early:
                Modification(call, session, "INVITE", self._offer).start(now)
                return
        if response.status in (408, 481):
            self._lost("peer", response.status, response.reason_phrase, now)
            return
        self._refused(response.status, response.reason_phrase, now)

    def unreachable(self, status: int, reason: str, now: float) -> None:
        if self._session.modification is self:
            self._done()
            self._session.step("our offer is refused")
            self._lost("network", status, reason, now)

    def _accepted(self, response: Response, now: float) -> None:
        call, session = self._call, self._session
        self._done()
        session.dialog.refresh(response)
        call.heard_of_peer(response)
        request = self._out.request
        if not session.dialog.early:
            call.timer.accepted(request, response, now)
        sdp = offer_of(response)
        if request.body:
            session.local_sdp = request.body
            session.step("the peer answers")
        if self._offer:
            self._stack.emit(OfferAnswered(call.number, sdp))
        else:
            self._stack.emit(Refreshed(call.number, sdp))
        call.settled(now)

    def _refused(self, status: int, reason: str, now: float) -> None:
        if self._offer:
            self._stack.emit(OfferRefused(self._call.number, status, reason))
        self._call.timer.failed(now)
        self._call.settled(now)

    def _lost(self, by: EndedBy, status: int, reason: str, now: float) -> None:
        if self._session.dialog.early:
            self._refused(status, reason, now)
        else:
            self._call.dialog_lost(by, status, reason, now)

    def _give_up(self, now: float) -> None:
        if self._out.done or self._session.modification is not self:
            return
        if self._cancel_sent:
            self._done()
            self._out.give_up(now)
            self._session.step("our offer is refused")
            self._refused(408, "no final response to the re-INVITE", now)
        else:
            self._cancel_sent = True
            self._out.cancelled = True
            self._out.cancel(now)
            self._limit = self._stack.schedule.set(now + self._stack.timers.transaction_s, self._give_up)
