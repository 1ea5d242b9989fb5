"""The house within the core: a registrar for its users, a proxy between them, and proof of who calls the station.

Joins registrar.py, proxy.py and gate.py to the core's transactions and schedule; decides whom a request is for. A
name that is no user's is asked for credentials like one that is, so that nobody learns the names by calling them.
Only there when users are configured.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from firmware.sip.abnf import unescape
from firmware.sip.answers import answer
from firmware.sip.configuration import House
from firmware.sip.events import UserRefused
from firmware.sip.gate import Gate, Refusal
from firmware.sip.location import Binding, Location
from firmware.sip.message import Request, Response
from firmware.sip.proxy import BRANCH, METHODS, Hop, Proxy
from firmware.sip.registrar import BindingEvent, Registrar, serves
from firmware.sip.stack import Stack
from firmware.sip.timers import Alarm
from firmware.sip.transactions import Server
from firmware.sip.types import Flow

REFUSALS_MOST, REFUSALS_WITHIN_S = 30, 60.0  # events told; sources can be made up, a log cannot grow for ever


class HouseServer:
    """`tag` gives the To tag of an answer that has no dialog."""

    def __init__(
        self, stack: Stack, house: House, random: Callable[[int], bytes], tag: Callable[[Request], str]
    ) -> None:
        self.location = Location()
        self._stack = stack
        self._house = house
        self._tag = tag
        self._now = 0.0
        self._users = frozenset(user.name for user in house.users)
        self._gate = Gate(house, self.location, random, self._tell)
        self._registrar = Registrar(house, self.location, self._gate, self._tell)
        self._proxy = Proxy(stack, self.location, house.realm, tag)
        self._expiry: Alarm | None = None
        self._told: list[float] = []

    # --- bindings -------------------------------------------------------------------------------------------

    def restore(self, bindings: Sequence[Binding], now: float) -> None:
        """Bindings of an earlier run. Connections have not outlived it, nor have users who were taken out."""
        for user in self._users:
            kept = tuple(
                replace(binding, flow=None)
                for binding in bindings
                if binding.user == user and binding.transport == "udp" and binding.expires_at > now
            )
            self.location.replace(user, kept[: self._house.max_bindings])
        self._arm()

    def flow_closed(self, flow: Flow, now: float) -> None:
        self._registrar.flow_closed(flow)
        self._proxy.flow_closed(flow)
        self._arm()

    @property
    def needed_flows(self) -> Iterator[Flow]:
        """Those on which phones are registered, and those of calls between users."""
        yield from (binding.flow for binding in self.location if binding.flow is not None)
        yield from self._proxy.flows

    def _arm(self) -> None:
        when = self.location.next_expiry()
        if self._expiry is not None:
            if self._expiry.active and self._expiry.when == when:
                return
            self._expiry.cancel()
        self._expiry = self._stack.schedule.set(when, self._expired) if when is not None else None

    def _expired(self, now: float) -> None:
        self._registrar.expire(now)
        self._arm()

    def _tell(self, event: BindingEvent) -> None:
        if isinstance(event, UserRefused) and not event.locked_s:
            self._told = [when for when in self._told if self._now - when < REFUSALS_WITHIN_S]
            if len(self._told) >= REFUSALS_MOST:
                return
            self._told.append(self._now)
        self._stack.emit(event)

    # --- requests -------------------------------------------------------------------------------------------

    def receive(self, request: Request, flow: Flow, now: float) -> bool:
        """A request outside the core's own dialogs. False: not for us, the core's policy decides."""
        self._now = now
        if request.uri.scheme not in ("sip", "sips"):
            return False
        if request.method != "REGISTER":
            return self._receive_call(request, flow, now)
        transactions = self._stack.transactions
        # Strangers who fill their bound must not keep the phones we have from staying registered.
        known = self.location.behind(flow, now) is not None
        if transactions.strangers >= (1 + known) * self._stack.configuration.max_transactions:
            self._stack.send(flow, bytes(self._refuse(request, Refusal(503, "", (("Retry-After", "10"),)))))
            return True
        server = transactions.open_server(request, flow, now, stranger=True)
        transactions.respond(server, self._sign(request, self._registrar.receive(request, flow, now)), now)
        self._arm()
        return True

    def _receive_call(self, request: Request, flow: Flow, now: float) -> bool:
        if request.to.tag is not None:
            return self._proxy.forward_within(request, flow, now)
        called = unescape(request.uri.user or "")
        claimed = unescape(request.from_.uri.user or "")
        if not called or called in self._house.own_names or not serves(self._house, request.uri, flow):
            return False
        if request.method not in METHODS or (request.method == "OPTIONS" and claimed not in self._users):
            return False  # a server's ping is for us, whatever name it calls us by
        refusal = self._may_call(request, flow, claimed, now)
        phones = [phone for phone in self.location.of(called, now) if not phone.came_from(flow)]
        if refusal is None and not phones:
            known = called in self._users
            refusal = Refusal(480, f"{called} is not registered") if known else Refusal(404, "Nobody of this name")
        if refusal is None:
            self._proxy.forward(request, flow, [Hop.to(phone) for phone in phones], now)
        elif self._stack.transactions.strangers < self._stack.configuration.max_transactions:
            server = self._stack.transactions.open_server(request, flow, now, stranger=True)
            self._stack.transactions.respond(server, self._refuse(request, refusal), now)
        else:
            self._stack.send(flow, bytes(self._refuse(request, refusal)))
        return True

    def _may_call(self, request: Request, flow: Flow, claimed: str, now: float) -> Refusal | None:
        """None for a proven user with a request that can be forwarded."""
        if request.max_forwards == 0:
            return Refusal(483)
        if self._proxy.is_loop(request) or self._stack.transactions.merged(request):
            return Refusal(482)
        if request.proxy_require:
            return Refusal(420, "", (("Unsupported", ", ".join(sorted(request.proxy_require))),))
        proven = self._prove(request, flow, claimed, now, proxy=True)
        if isinstance(proven, Refusal):
            return proven
        return None if proven == claimed else Refusal(403, "Call under your own name")

    def _prove(self, request: Request, flow: Flow, claimed: str, now: float, *, proxy: bool) -> str | Refusal:
        """By credentials, or by the connection over which this very user registered with his."""
        behind = self.location.behind(flow, now) if flow.reliable else None
        if behind is not None and behind.user == claimed:
            return claimed
        return self._gate.prove(request, flow, now, claimed=claimed, proxy=proxy)

    def acknowledge(self, ack: Request, flow: Flow, now: float) -> bool:
        """An ACK of none of the core's calls. False: of none that goes through us."""
        return self._proxy.forward_within(ack, flow, now)

    def cancel(self, invite: Server, cancel: Request, now: float) -> None:
        """The CANCEL of an INVITE that may be one we forwarded; it has its 200."""
        self._proxy.cancel(invite, cancel, now)

    def forwarded(self, response: Response) -> bool:
        """Whether a response that has more Vias than ours is one to a request we forwarded."""
        return (response.top_via.branch or "").startswith(BRANCH)

    def counts(self) -> dict[str, int]:
        """Sizes of what could grow."""
        return {"bindings": len(self.location), "forwarded": self._proxy.at_work, "user_calls": len(self._proxy)}

    def caller(self, request: Request, flow: Flow, now: float) -> str | Refusal:
        """The user who calls the station, "" for a stranger, or what an unproven user gets first."""
        self._now = now
        claimed = unescape(request.from_.uri.user or "")
        if claimed not in self._users or not serves(self._house, request.from_.uri, flow):
            return ""
        proven = self._prove(request, flow, claimed, now, proxy=False)
        if not isinstance(proven, Refusal) and proven != claimed:
            return Refusal(403, "Call under your own name")
        return proven

    # --- answers --------------------------------------------------------------------------------------------

    def _refuse(self, request: Request, refusal: Refusal) -> Response:
        return answer(
            self._stack, request, refusal.status, refusal.reason, to_tag=self._tag(request), headers=refusal.headers
        )

    def _sign(self, request: Request, response: Response) -> Response:
        if request.to.tag is None:
            response.headers.set("To", str(request.to.with_tag(self._tag(request))))
        response.headers.add("Server", self._stack.configuration.user_agent)
        return response
