"""The registrations of one account, spoken for as one: RFC 5626 section 4.2.

    servers | the proxy speaks outbound | registrations
    --------|---------------------------|------------------------------------------------------------
    one     | (any)                     | reg-id 1
    several | no                        | reg-id 1 at the best server that answers; the others stand in
    several | yes                       | reg-id 1 and 2 at two servers at once; either may die unheard

An account is registered while one of its registrations stands. What is told: the first success, each move to
another server, the failure of the last. The first REGISTER waits for a share of `spread_s` that is the instance's
own, so that a street whose power comes back does not register in one second.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from firmware.sip.events import RegistrationChanged
from firmware.sip.identity import Identity
from firmware.sip.registration import Registration
from firmware.sip.stack import Stack
from firmware.sip.types import Flow, Target
from firmware.sip.uri import Uri


class AccountRegistration:
    def __init__(self, stack: Stack, identity: Identity) -> None:
        self._stack = stack
        self._identity = identity
        self._registrations: list[Registration] = []
        self._told: RegistrationChanged | None = None
        self._stopping = False
        self._add(1, identity.account.hops)
        identity.on_suspicion = self._doubt

    @property
    def finished(self) -> bool:
        """Nothing is under way and nothing is bound."""
        return all(registration.finished for registration in self._registrations)

    def start(self, now: float) -> None:
        spread_s = self._stack.configuration.spread_s
        wait_s = spread_s * share(self._stack.configuration.instance, self._identity.account.name)
        self._registrations[0].start(now, wait_s)

    def stop(self, now: float) -> None:
        self._stopping = True
        for registration in tuple(self._registrations):
            registration.stop(now)

    def flow_closed(self, flow: Flow, now: float) -> None:
        for registration in tuple(self._registrations):
            registration.flow_closed(flow, now)

    def flow_moved(self, flow: Flow, now: float) -> None:
        for registration in tuple(self._registrations):
            registration.flow_moved(flow, now)

    def network_changed(self, now: float) -> None:
        for registration in tuple(self._registrations):
            registration.network_changed(now)

    def _extend(self, now: float) -> None:
        """Register the second flow, once the first has shown that the servers know outbound."""
        first = self._registrations[0]
        registered = first.registered
        hops = self._identity.account.hops
        if self._stopping or len(self._registrations) > 1 or registered is None or not registered.outbound:
            return
        others = [hop for hop in hops if hop != registered.hop]
        if self._identity.account.outbound_proxy is not None and others:
            first.hops = (registered.hop,)
            self._add(2, others).start(now)

    def _add(self, reg_id: int, hops: Sequence[Uri]) -> Registration:
        registration = Registration(
            self._stack,
            self._identity,
            reg_id=reg_id,
            hops=hops,
            tell=self._tell,
            others_up=lambda asking: any(
                other.state == "registered" for other in self._registrations if other is not asking
            ),
        )
        self._registrations.append(registration)
        return registration

    def _doubt(self, target: Target, now: float) -> None:
        for registration in tuple(self._registrations):
            registration.doubt(target, now)

    # --- what is told ---------------------------------------------------------------------------------------

    def _tell(self, registration: Registration, change: RegistrationChanged, now: float) -> None:
        """Tell the account's change that a registration's change is; often it is none."""
        told = self._told
        others_up = any(other.state == "registered" for other in self._registrations if other is not registration)
        if change.state == "registered":
            best = self._identity.best
            if best is not None:
                change = replace(change, server=str(best.flow.target))
            news = told is None or told.state != "registered" or told.server != change.server
        elif change.state == "unregistered":
            news = self.finished
        else:
            news = not others_up and (change.state == "failed" or told is None or told.state != "registering")
        if news:
            self._told = change
            self._stack.emit(change)
        if change.state == "registered":
            self._extend(now)


def share(instance: str, account: str) -> float:
    """A number in [0, 1) that is this station's own, evenly spread over all stations."""
    digest = hashlib.blake2b(f"{instance} {account}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
