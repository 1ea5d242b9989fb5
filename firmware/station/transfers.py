"""Handing the door on: who talks with it sends it to somebody else (REFER, RFC 3515), whom the configuration names.

The new leg is the visit's; here is kept who asked for it, and what its INVITE says of the call that it continues.
"""

from collections.abc import Callable

from firmware.config import Config
from firmware.net.sip_endpoint import SipEndpoint
from firmware.sip import events as sip_events
from firmware.sip.uri import Uri
from firmware.station import events
from firmware.station.events import Event
from firmware.station.invitation import Headers, may_be_handed_to, replaces_of
from firmware.station.leg import Leg
from firmware.station.visit import Visit

FINAL, FAILED, DECLINE, SERVER_ERROR = 200, 300, 603, 500


class Transfers:
    def __init__(self, config: Config, publish: Callable[[Event], None], phone: SipEndpoint) -> None:
        self._config = config
        self._publish = publish
        self._phone = phone
        self._asked_by: dict[str, int] = {}  # leg that is to take over -> call that asked for it
        self._consulted: dict[str, Headers] = {}  # the same leg -> what its INVITE says of the call it continues

    def asked(self, leg: Leg, visit: Visit, event: sip_events.TransferAsked) -> None:
        """Who talks with the door hands it on: only to whom the configuration names."""
        address = account.address if (account := self._config.account(leg.account or None)) is not None else ""
        domain = Uri.parse(address).host if address else ""
        target = may_be_handed_to(event.target, self._config.calls.transfer_to, domain)
        name = visit.successor(target, calls=True) if target is not None else None
        self._publish(
            events.TransferAsked(
                press=leg.press, leg=leg.name, target=str(event.target), successor=name or "", by=event.referred_by
            )
        )
        if name is None:
            self._phone.refuse_transfer(leg.call, DECLINE)
            return
        self._phone.accept_transfer(leg.call)
        self._asked_by[name] = leg.call
        self._consulted[name] = replaces_of(event.target)

    def headers(self, name: str) -> Headers:
        """What the INVITE of leg `name` says besides. Once: the leg is being called."""
        return self._consulted.pop(name, ())

    def progress(self, name: str, status: int, reason: str = "") -> None:
        """Who handed the door on hears how the call to the other goes."""
        call = self._asked_by.get(name)
        if call is None:
            return
        if status >= FINAL:
            del self._asked_by[name]
        self._phone.transfer_progress(call, status, reason)

    def over(self, name: str, status: int = 0, reason: str = "") -> None:
        """Leg `name` ended, or never was."""
        self._consulted.pop(name, None)
        self.progress(name, status if status >= FAILED else SERVER_ERROR, reason)
