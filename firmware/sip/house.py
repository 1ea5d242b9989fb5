"""The house within the core: a registrar for its users (registrar.py), and proof of who calls the station.

Joins the pure parts to the core's transactions and schedule. Only there when users are configured.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from firmware.sip.abnf import unescape
from firmware.sip.answers import answer
from firmware.sip.configuration import House
from firmware.sip.events import UserRefused
from firmware.sip.gate import Gate, Refusal
from firmware.sip.location import Binding, Location
from firmware.sip.message import Request, Response
from firmware.sip.registrar import BindingEvent, Registrar, serves
from firmware.sip.stack import Stack
from firmware.sip.timers import Alarm
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
        self._arm()

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
        if request.method != "REGISTER":
            return False
        transactions = self._stack.transactions
        if transactions.strangers >= self._stack.configuration.max_transactions:
            self._stack.send(flow, bytes(self._refuse(request, Refusal(503, "", (("Retry-After", "10"),)))))
            return True
        server = transactions.open_server(request, flow, now, stranger=True)
        transactions.respond(server, self._sign(request, self._registrar.receive(request, flow, now)), now)
        self._arm()
        return True

    def caller(self, request: Request, flow: Flow, now: float) -> str | Refusal:
        """The user who calls the station, "" for a stranger, or what an unproven user gets first."""
        self._now = now
        claimed = unescape(request.from_.uri.user or "")
        if claimed not in self._users or not serves(self._house, request.from_.uri, flow):
            return ""
        proven = self._gate.prove(request, flow, now, claimed=claimed)
        if isinstance(proven, Refusal):
            return proven
        if proven != claimed:
            return Refusal(403, "Call under your own name")
        if (request.uri.user or self._house.own_names[0]) not in self._house.own_names:
            return Refusal(404, "Nobody of this name in the house")
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
