"""Who watches whether the door rings or talks: the notifier of the `dialog` event package. RFC 6665 4.2, RFC 4235.

    state  | input                        | next   | what happens
    -------|------------------------------|--------|--------------------------------------------------------
    none   | SUBSCRIBE                    | active | 200, NOTIFY with everything
    none   | SUBSCRIBE, Expires: 0        | over   | 200, NOTIFY with everything and terminated: a poll
    none   | SUBSCRIBE, no room           | none   | 503 with Retry-After
    active | SUBSCRIBE                    | active | 200, its time begins anew, NOTIFY with everything
    active | SUBSCRIBE, Expires: 0        | over   | 200, NOTIFY with everything and terminated
    active | SUBSCRIBE, another event     | active | 489
    active | SUBSCRIBE, older CSeq        | active | 500
    active | a call changes               | active | NOTIFY with what has changed
    active | NOTIFY refused for good      | over   | nothing: 481 and its like (4.2.2)
    active | NOTIFY refused otherwise     | active | the next NOTIFY says everything
    active | nobody answers NOTIFY        | over   | nothing
    active | its time is over             | over   | NOTIFY terminated, timeout
    active | too many of that phone       | over   | NOTIFY terminated, deactivated: the oldest gives way
    active | stop                         | over   | NOTIFY terminated, probation, with retry-after
    over   | SUBSCRIBE                    | over   | 481

One NOTIFY is under way at a time; what changes meanwhile goes into the next. A change waits 0.2 s, so that the
INVITEs of a ring leave first and their answers make one NOTIFY, and a subscriber hears no more than once a second
(RFC 4235 3.10). Who may subscribe is decided in reception.py.
"""

from collections.abc import Callable
from typing import Literal

from firmware.sip.answers import add_contact, answer
from firmware.sip.call import Calls
from firmware.sip.dialog import Dialog, DialogKey
from firmware.sip.dialog_info import CONTENT_TYPE, DialogState, document
from firmware.sip.events import WatcherChanged
from firmware.sip.identity import Identity, contact_of
from firmware.sip.location import address_uri
from firmware.sip.message import Request, Response
from firmware.sip.outgoing_request import OutgoingRequest
from firmware.sip.stack import Stack
from firmware.sip.timers import Alarm
from firmware.sip.transactions import Server
from firmware.sip.types import Flow, Transport

LONGEST_S = 3600  # the package's own default, and the longest that is granted
MOST = 64
MOST_EACH = 8  # of one phone: one that forgets its subscriptions with each start must not use up all
GATHER_S = 0.2
PACE_S = 1.0
COME_BACK_S = 60  # after a stop
_MOST_CHANGES = 64  # beyond, the next NOTIFY says everything
_ENDS = frozenset((404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604))  # RFC 6665 4.2.2


def event_of(request: Request) -> tuple[str, str]:
    """The package that Event names, in lower case, and its id parameter; both may be empty."""
    package, *parameters = (request.headers.get("Event") or "").split(";")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "id":
            return package.strip().lower(), value.strip()
    return package.strip().lower(), ""


class Notifier:
    def __init__(self, stack: Stack, calls: Calls) -> None:
        self._stack = stack
        self._calls = calls
        self._by_dialog: dict[DialogKey, Subscription] = {}
        calls.watcher = self._changed

    def __len__(self) -> int:
        return len(self._by_dialog)

    def find(self, key: DialogKey) -> "Subscription | None":
        return self._by_dialog.get(key)

    def subscribe(self, server: Server, identity: Identity | None, user: str, now: float) -> None:
        """A SUBSCRIBE for `dialog` outside dialogs from somebody who may: a user of the house, or `identity`'s
        server."""
        if len(self._by_dialog) >= MOST:
            refusal = answer(self._stack, server.request, 503, headers=(("Retry-After", str(COME_BACK_S)),))
            self._stack.transactions.respond(server, refusal, now)
            return
        subscription = Subscription(self._stack, server, identity, user, self._shown, self._forget)
        same = [each for each in self._by_dialog.values() if each.phone == subscription.phone]
        if len(same) >= MOST_EACH:
            same[0].end("deactivated", now)
        self._by_dialog[subscription.dialog.key] = subscription
        subscription.receive(server, now)

    def stop(self, now: float) -> None:
        for subscription in tuple(self._by_dialog.values()):
            subscription.end(f"probation;retry-after={COME_BACK_S}", now)

    def flow_closed(self, flow: Flow) -> None:
        for subscription in self._by_dialog.values():
            subscription.flow_closed(flow)

    def _shown(self) -> list[DialogState]:
        return [call.shown for call in self._calls.by_number.values() if call.shown is not None]

    def _changed(self, state: DialogState, now: float) -> None:
        for subscription in tuple(self._by_dialog.values()):
            subscription.changed(state, now)

    def _forget(self, subscription: "Subscription") -> None:
        self._by_dialog.pop(subscription.dialog.key, None)


class Subscription:
    def __init__(
        self,
        stack: Stack,
        server: Server,
        identity: Identity | None,
        user: str,
        shown: Callable[[], list[DialogState]],
        forget: Callable[["Subscription"], None],
    ) -> None:
        request = server.request
        self.state: Literal["active", "over"] = "active"
        self.dialog = Dialog.as_server(request, stack.text())
        self.phone = (user, identity, self.dialog.remote_target.host, self.dialog.remote_target.port)
        self._stack = stack
        self._identity = identity
        self._user = user
        self._shown = shown
        self._forget = forget
        self._flow: Flow | None = server.flow
        self._event = event_of(request)
        self._entity = str(request.to.uri.replace(parameters=(), headers=()))
        self._version = -1
        self._told = False  # that it exists
        self._everything = False  # is to be said, at once
        self._whole = False  # the next NOTIFY says it in any case: the last one was refused
        self._changes: dict[str, DialogState] = {}
        self._last_words: str | None = None  # why it ends, until the last NOTIFY has left
        self._under_way = False
        self._until = 0.0
        self._next_at = 0.0  # no partial NOTIFY before
        self._expiry: Alarm | None = None
        self._gathering: Alarm | None = None

    # --- what the subscriber asks ---------------------------------------------------------------------------

    def receive(self, server: Server, now: float) -> None:
        """A SUBSCRIBE, the first or a later one; nothing else belongs in this dialog."""
        request = server.request
        if not self.dialog.in_order(request):
            self._respond(server, 500, now)
        elif request.method != "SUBSCRIBE":
            self._respond(server, 481, now)
        elif event_of(request) != self._event:
            self._respond(server, 489, now)
        else:
            self._grant(server, now)

    def _grant(self, server: Server, now: float) -> None:
        request = server.request
        self._flow = server.flow
        self.dialog.refresh(request)
        if self._user:
            # A phone of the house may be behind NAT: it is reached where it was heard, not at its Contact.
            self.dialog.via = address_uri(*server.flow.remote, server.flow.transport)
        granted_s = min(LONGEST_S if request.expires is None else request.expires, LONGEST_S)
        contact = contact_of(self._identity, server.flow, server.flow.transport)
        self._respond(server, 200, now, (("Contact", str(contact)), ("Expires", str(granted_s))))
        if granted_s == 0:
            self.end("timeout", now)
            return
        self._until = now + granted_s
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = self._stack.schedule.set(self._until, self._expired)
        if not self._told:
            self._told = True
            self._tell(active=True, reason="")
        self._everything = True
        self._go_on(now)

    def _respond(self, server: Server, status: int, now: float, headers: tuple[tuple[str, str], ...] = ()) -> None:
        response = answer(self._stack, server.request, status, to_tag=self.dialog.local.tag, headers=headers)
        self._stack.transactions.respond(server, response, now)

    # --- what becomes of it ---------------------------------------------------------------------------------

    def changed(self, state: DialogState, now: float) -> None:
        """A call is shown in another state."""
        self._changes[state.id] = state
        if len(self._changes) > _MOST_CHANGES:
            self._changes = {state.id: state}
            self._whole = True
        if self._gathering is None:
            self._gathering = self._stack.schedule.set(max(now + GATHER_S, self._next_at), self._gathered)

    def end(self, reason: str, now: float) -> None:
        """Say so in one last NOTIFY; `reason` as in Subscription-State."""
        if self.state == "over":
            return
        self._close(reason)
        self._last_words = reason
        self._go_on(now)

    def flow_closed(self, flow: Flow) -> None:
        if self._flow is not None and flow.reliable and self._flow.number == flow.number:
            self._flow = None

    def _expired(self, now: float) -> None:
        self.end("timeout", now)

    def _gathered(self, now: float) -> None:
        self._gathering = None
        self._go_on(now)

    def _close(self, reason: str) -> None:
        self.state = "over"
        for alarm in (self._expiry, self._gathering):
            if alarm is not None:
                alarm.cancel()
        self._forget(self)
        if self._told:
            self._tell(active=False, reason=reason)

    def _tell(self, *, active: bool, reason: str) -> None:
        account = self._identity.account.name if self._identity is not None else ""
        self._stack.emit(WatcherChanged(self.dialog.remote.uri, account, self._user, active, reason))

    # --- NOTIFY ---------------------------------------------------------------------------------------------

    def _go_on(self, now: float) -> None:
        """Send what is to be said next, if it is time."""
        if self._under_way:
            return
        if self._last_words is not None:
            words, self._last_words = self._last_words, None
            self._notify(f"terminated;reason={words}", now, everything=True)
        elif self.state == "active" and (self._everything or (self._changes and self._gathering is None)):
            left_s = max(0, round(self._until - now))
            self._notify(f"active;expires={left_s}", now, everything=self._everything or self._whole)

    def _notify(self, state: str, now: float, *, everything: bool) -> None:
        self._version += 1
        self._next_at = now + PACE_S
        dialogs = self._shown() if everything else list(self._changes.values())
        self._everything = self._whole = False
        self._changes.clear()
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        package, identifier = self._event
        request = self.dialog.request("NOTIFY")
        headers = request.headers
        headers.add("Event", f"{package};id={identifier}" if identifier else package)
        headers.add("Subscription-State", state)
        headers.add("User-Agent", self._stack.configuration.user_agent)
        headers.add("Content-Type", CONTENT_TYPE)
        request.body = document(self._entity, self._version, dialogs, full=everything)
        self._under_way = True
        OutgoingRequest(
            self._stack,
            request,
            self.dialog.next_hop,
            self,
            identity=self._identity,
            next_cseq=self.dialog.next_cseq,
            prepare=self._prepare,
            hint=self._flow,
        ).start(now)

    def _prepare(self, request: Request, flow: Flow, transport: Transport) -> None:
        add_contact(request, contact_of(self._identity, flow, transport))

    # --- what comes back (RequestUser) ----------------------------------------------------------------------

    def sent(self, flow: Flow, now: float) -> None:
        pass

    def provisional(self, response: Response, now: float) -> None:
        pass

    def final(self, response: Response, now: float) -> None:
        self._under_way = False
        if response.status in _ENDS:
            self._lost(f"{response.status} {response.reason_phrase}")
        self._whole |= response.status >= 300
        self._go_on(now)

    def unreachable(self, status: int, reason: str, now: float) -> None:
        self._under_way = False
        self._lost(reason)

    def _lost(self, why: str) -> None:
        """The subscriber knows nothing of it any more, or is gone: no last words either."""
        self._last_words = None
        if self.state == "active":
            self._close(why)
