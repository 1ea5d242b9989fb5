"""A whole SIP user agent as one pure object: bytes, commands and `now` in, actions and events out.

The façade over stack, transactions, calls and registrations, shaped after aioquic's connection. It owns what none
of them can: reading what arrives, and saying where an answer goes (RFC 3261 18.2); what a request means to us is
decided in reception.py. Times are seconds of one monotonic clock. Nothing that arrives makes it raise;
LocalProtocolError says that the caller asked for what cannot be.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from firmware.sip.actions import Action, CloseFlow
from firmware.sip.call import Call, Calls
from firmware.sip.configuration import Configuration
from firmware.sip.errors import LocalProtocolError, RemoteProtocolError
from firmware.sip.events import Event
from firmware.sip.identity import Identity
from firmware.sip.incoming_call import IncomingCall
from firmware.sip.message import Request, Response, check_request, check_response, parse_message, response_to
from firmware.sip.outbound import AccountRegistration
from firmware.sip.outgoing_call import OutgoingCall
from firmware.sip.reception import Reception
from firmware.sip.stack import Stack
from firmware.sip.text_message import Text
from firmware.sip.types import DEFAULT_PORT, Flow, Target
from firmware.sip.uri import Uri

if TYPE_CHECKING:
    from firmware.sip.location import Binding


class Core:
    def __init__(self, configuration: Configuration, *, random: Callable[[int], bytes]) -> None:
        """`random(n)` gives n bytes that nobody can guess."""
        self._stack = Stack(configuration, random)
        self._calls = Calls(self._stack)
        self._identities = {account.name: Identity(account, random) for account in configuration.accounts}
        self._registrations = [
            AccountRegistration(self._stack, identity)
            for identity in self._identities.values()
            if identity.account.register
        ]
        self._reception = Reception(self._stack, self._calls, self._identities, random)
        self._house = self._reception.house
        self._last_message = 0
        self._unwanted = 0  # garbage, and answers to nothing

    # --- life -----------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Register every account that wants it."""
        for registration in self._registrations:
            registration.start(now)

    def stop(self, now: float) -> None:
        """Hang up and un-register; `stopped` tells when the answers are in."""
        self._reception.stopping = True
        for call in tuple(self._calls.by_number.values()):
            call.hangup(now, 480, "")
        if self._reception.notifier is not None:
            self._reception.notifier.stop(now)
        for registration in self._registrations:
            registration.stop(now)

    @property
    def stopped(self) -> bool:
        return (
            self._reception.stopping
            and not self._calls.by_number
            and not self._stack.pending_requests
            and all(registration.finished for registration in self._registrations)
        )

    # --- the shell's side -----------------------------------------------------------------------------------

    def take_actions(self) -> list[Action]:
        actions, self._stack.actions = self._stack.actions, []
        return actions

    def next_event(self) -> Event | None:
        return self._stack.events.popleft() if self._stack.events else None

    def next_deadline(self) -> float | None:
        return self._stack.schedule.next_deadline()

    def handle_timer(self, now: float) -> None:
        self._stack.schedule.ring_due(now)

    def resolved(self, token: int, targets: tuple[Target, ...], error: str, now: float) -> None:
        user = self._stack.take_waiting(token)
        if user is not None:
            user.resolved(token, targets, error, now)

    def flow_opened(self, token: int, flow: Flow, now: float) -> None:
        user = self._stack.take_waiting(token)
        if user is not None:
            user.opened(token, flow, now)

    def flow_failed(self, token: int, error: str, now: float) -> None:
        user = self._stack.take_waiting(token)
        if user is not None:
            user.not_opened(token, error, now)

    def flow_closed(self, flow: Flow, error: str, now: float) -> None:
        """A connection is gone, whoever closed it."""
        self._calls.flow_closed(flow)
        self._stack.transactions.transport_error(flow, error or "connection closed", now)
        for registration in self._registrations:
            registration.flow_closed(flow, now)
        if self._house is not None:
            self._house.flow_closed(flow, now)
        if self._reception.notifier is not None:
            self._reception.notifier.flow_closed(flow)

    def flow_moved(self, flow: Flow, now: float) -> None:
        """The server of a datagram flow sees us at another address than before (RFC 5626 4.4.2)."""
        for registration in self._registrations:
            registration.flow_moved(flow, now)

    @property
    def registered_flows(self) -> tuple[tuple[Flow, bool], ...]:
        """The flows over which we are registered, to be kept alive; True: the server speaks outbound."""
        registered = (each for identity in self._identities.values() for each in identity.registered.values())
        return tuple((each.flow, each.outbound) for each in registered)

    @property
    def needed_flows(self) -> frozenset[int]:
        """The numbers of the connections on which phones are registered, we are, or calls are up: what a bound of
        connections must not cost."""
        calls = (call.flow for call in self._calls.by_number.values())
        ours = (flow for flow, _ in self.registered_flows)
        house = self._house.needed_flows if self._house is not None else ()
        return frozenset(flow.number for flow in (*calls, *ours, *house) if flow is not None and flow.reliable)

    def network_changed(self, now: float) -> None:
        """An address, a link or a route came or went: register anew, think nothing of what failed before."""
        self._stack.forget_network()
        for registration in self._registrations:
            registration.network_changed(now)
        self._calls.network_changed()

    def send_failed(self, flow: Flow, error: str, now: float) -> None:
        """A datagram could not be sent, or ICMP came back for one."""
        self._stack.transactions.transport_error(flow, error, now)

    # --- the station's side ---------------------------------------------------------------------------------

    def invite(
        self,
        target: Uri,
        sdp: bytes,
        now: float,
        *,
        account: str | None = None,
        display_name: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        binding: "Binding | None" = None,
    ) -> int:
        """Call `target` and return the call's number. Without an account: straight to the URI's host, or to the
        phone that a user of the house registered with `binding`.

        LocalProtocolError for an account that is not configured or a URI that is not SIP's.
        """
        if target.scheme not in ("sip", "sips"):
            raise LocalProtocolError(f"{target} cannot be called; write a sip: URI")
        identity = None
        if account is not None:
            identity = self._identities.get(account)
            if identity is None:
                raise LocalProtocolError(f"no account {account!r}")
        call = OutgoingCall(
            self._calls,
            identity,
            target,
            sdp,
            display_name=display_name,
            headers=headers,
            binding=binding,
        )
        call.start(now)
        return call.number

    def fall_back(self, call: int, offers: Sequence[bytes], now: float) -> None:
        """Offers for a peer that refuses the first one of a call of ours (488 and its like), in turn:
        `OfferReduced` says that the next was sent."""
        found = self._call(call)
        if isinstance(found, OutgoingCall):
            found.fall_back(offers)

    def hangup(self, call: int, now: float, *, status: int = 0, reason: str = "") -> None:
        """End a call by whatever its state asks for: CANCEL, BYE or a final response.

        `reason` is the value of a Reason header, `status` the refusal of an incoming call (default 603)."""
        found = self._call(call)
        if found is not None:
            found.hangup(now, status, reason)

    def ring(self, call: int, now: float, *, status: int = 180, sdp: bytes = b"") -> None:
        found = self._call(call)
        if isinstance(found, IncomingCall):
            found.ring(status, sdp, now)

    def accept(self, call: int, sdp: bytes, now: float) -> None:
        found = self._call(call)
        if isinstance(found, IncomingCall):
            found.accept(sdp, now)

    def answer_offer(self, call: int, sdp: bytes, now: float, *, dialog: str = "") -> None:
        """Answer `Reoffered`, in the dialog that it names; the session is as in `sdp` from now on."""
        found = self._call(call)
        if found is not None:
            found.answer_offer(sdp, now, dialog)

    def reject_offer(self, call: int, status: int, now: float, *, dialog: str = "") -> None:
        """Refuse `Reoffered`, as with 488; the session stays as it was."""
        found = self._call(call)
        if found is not None:
            found.reject_offer(status, now, dialog)

    def reoffer(self, call: int, sdp: bytes, now: float, *, dialog: str = "") -> None:
        """Offer anew: hold, resume, another address. Ends in `OfferAnswered` or `OfferRefused`.

        Where another offer is open it is refused at once, to be made `again` when `OfferDue` says so. In a call
        that only rings, `dialog` names the early dialog, and the peer must know UPDATE: LocalProtocolError where
        that cannot be."""
        found = self._call(call)
        if found is not None:
            found.reoffer(sdp, now, dialog)

    def refresh(self, call: int, now: float) -> None:
        """Tell the peer our Contact anew, as when our address has changed; the session stays as it is."""
        found = self._call(call)
        if found is not None:
            found.refresh(now)

    def accept_transfer(self, call: int, now: float) -> None:
        """Answer `TransferAsked`; tell how it goes by `transfer_progress`."""
        found = self._call(call)
        if found is not None and found.transfer is not None:
            found.transfer.accept(now)

    def refuse_transfer(self, call: int, status: int, now: float) -> None:
        found = self._call(call)
        if found is not None and found.transfer is not None:
            found.transfer.refuse(status, now)

    def transfer_progress(self, call: int, status: int, reason: str, now: float) -> None:
        """The last status of the call that was made for the transfer; from 200 on it is the last word."""
        found = self._call(call)
        if found is not None and found.transfer is not None:
            found.transfer.progress(status, reason, now)

    def message(
        self,
        target: Uri,
        text: str,
        now: float,
        *,
        account: str | None = None,
        binding: "Binding | None" = None,
    ) -> int:
        """Send a short text (RFC 3428); `TextDelivered` says what became of the number returned. `binding` as for
        `invite`.

        LocalProtocolError for an account that is not configured, a URI that is not SIP's, or too long a text."""
        if target.scheme != "sip":
            raise LocalProtocolError(f"{target} takes no messages; write a sip: URI")
        identity = self._identities.get(account) if account is not None else None
        if account is not None and identity is None:
            raise LocalProtocolError(f"no account {account!r}")
        self._last_message += 1
        Text(self._stack, self._last_message, target, identity, text, binding=binding).start(now)
        return self._last_message

    def info(self, call: int, content_type: str, body: bytes, now: float) -> None:
        found = self._call(call)
        if found is not None:
            found.info(content_type, body, now)

    def bindings(self, user: str, now: float) -> "tuple[Binding, ...]":
        """Where a user of the house can be reached now; empty: nowhere."""
        return self._house.location.of(user, now) if self._house is not None else ()

    def restore_bindings(self, bindings: "Sequence[Binding]", now: float) -> None:
        """What an earlier run knew of the users; before `start`."""
        if self._house is not None:
            self._house.restore(bindings, now)

    @property
    def dropped(self) -> int:
        """Messages that nobody wanted: garbage, strays, what was over the bounds."""
        return self._unwanted + self._reception.dropped

    def counts(self) -> dict[str, int]:
        """Sizes of what could grow: for the status page and the tests."""
        stack = self._stack
        return {
            "calls": len(self._calls.by_number),
            "dialogs": len(self._calls.by_dialog),
            "transactions": len(stack.transactions),
            "strangers": stack.transactions.strangers,
            "pending_requests": stack.pending_requests,
            "alarms": len(stack.schedule),
            "subscriptions": len(self._reception.notifier) if self._reception.notifier is not None else 0,
            "dropped": self.dropped,
            **(self._house.counts() if self._house is not None else {}),
        }

    def _call(self, number: int) -> Call | None:
        """None for a call that has ended, which the station may not have heard of yet."""
        if not 0 < number <= self._calls.last_number:
            raise LocalProtocolError(f"no call {number}")
        return self._calls.by_number.get(number)

    # --- what arrives ---------------------------------------------------------------------------------------

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """One datagram."""
        try:
            message = parse_message(data)
        except RemoteProtocolError as error:
            self._refuse_unreadable(error, flow)
            return
        self.receive_message(message, flow, now)

    def receive_message(self, message: Request | Response, flow: Flow, now: float) -> None:
        """One message, as a stream's framer found it."""
        try:
            if isinstance(message, Response):
                check_response(message)
                # More than our own Via: not meant for us (8.1.3.3), unless we forwarded the request.
                ours = len(message.vias) == 1 or (self._house is not None and self._house.forwarded(message))
                if not ours or not self._stack.transactions.receive_response(message, now):
                    self._unwanted += 1
                return
            check_request(message)
        except RemoteProtocolError as error:
            self._refuse_unreadable(error, flow)
            return
        self._reception.receive(message, _note_source(message, flow), now)

    def receive_garbage(self, flow: Flow, error: RemoteProtocolError, now: float) -> None:
        """A stream that cannot be framed any more: answered if possible, then closed (18.3)."""
        self._refuse_unreadable(error, flow)
        self._stack.actions.append(CloseFlow(flow))

    def _refuse_unreadable(self, error: RemoteProtocolError, flow: Flow) -> None:
        """Answer what was readable enough (RFC 4475 section 3.1.2), forget the rest."""
        self._unwanted += 1
        request = error.request
        if request is None or request.method == "ACK":
            return
        if "Via" not in request.headers:
            return
        try:
            target = _note_source(request, flow)
        except (RemoteProtocolError, LocalProtocolError):
            target = flow  # its Via cannot be read, but where it came from is known
        try:
            refusal = bytes(response_to(request, error.status, str(error)[:100]))
        except (RemoteProtocolError, LocalProtocolError):
            return
        self._stack.send(target, refusal)


def _note_source(request: Request, flow: Flow) -> Flow:
    """Complete the top Via (18.2.1, RFC 3581) and give the flow on which the answer goes (18.2.2)."""
    via = request.top_via
    host, port = flow.remote
    noted = via.with_source(host, port)
    if noted != via:
        request.replace_top_via(noted)
    if flow.reliable or via.has_parameter("rport"):
        return flow
    back = via.port or DEFAULT_PORT
    return flow if back == port else Flow(flow.transport, flow.local, (host, back), flow.advertised, flow.number)
