"""What is told of the station's servers and correspondents outside calls: registrations, texts, check-sync.

Strangers may write, too: what they write is bounded in length and number.
"""

from collections.abc import Callable

from firmware.net.sip_endpoint import SipEndpoint
from firmware.sip import events as sip_events
from firmware.sip.errors import ProtocolError
from firmware.station import events
from firmware.station.faults import Faults
from firmware.station.house import House
from firmware.station.incoming import source_of
from firmware.station.legs import Legs
from firmware.station.ration import Bound
from firmware.station.status import ControlError


class News:
    def __init__(
        self, faults: Faults, phone: SipEndpoint, house: House, legs: Legs, now: Callable[[], float]
    ) -> None:
        self._faults = faults
        self._stream = faults.stream
        self._phone = phone
        self._house = house
        self._legs = legs
        self._now = now
        self._texts_told, self._watchers_told = Bound(), Bound()
        self._texts: dict[int, str] = {}  # texts of ours under way -> target

    def registration(self, event: sip_events.RegistrationChanged) -> None:
        self._stream.publish(
            events.RegistrationChanged(
                account=event.account,
                state=event.state,
                status=event.status,
                reason=event.reason,
                retry_s=event.retry_s,
                expires_s=event.expires_s,
                server=event.server,
            )
        )
        where = f"account {event.account}"
        if event.state == "failed":
            if event.status in (401, 403, 407):
                remedy = "check username and password of the account"
            elif "certificate" in event.reason:
                remedy = "check the server's certificate, and accounts.tls in the configuration"
            else:
                remedy = "check that the registrar is running and can be reached"
            what = f"not registered: {event.status or 'no answer'} {event.reason}".strip()
            self._faults.set(where, what, f"{remedy}; next try in {event.retry_s:.0f} s")
        elif event.state == "registered":
            self._faults.clear(where)

    def take(self, event: sip_events.TextReceived | sip_events.TextDelivered | sip_events.CheckSync) -> None:
        if isinstance(event, sip_events.TextDelivered):
            self._stream.publish(
                events.TextDelivered(
                    target=self._texts.pop(event.message, ""), status=event.status, reason=event.reason
                )
            )
            return
        source = source_of(event)
        told: events.Event = (
            events.CheckSync(source=source, account=event.account)
            if isinstance(event, sip_events.CheckSync)
            else events.TextReceived(
                sender=str(event.sender.uri), source=source, account=event.account, text=event.text
            )
        )
        self._texts_told.tell(told, self._stream.publish, self._now())

    def watcher(self, event: sip_events.WatcherChanged) -> None:
        by_user = f"user {event.user}, by password"
        told = events.WatcherChanged(
            watcher=str(event.watcher),
            proven=by_user if event.user else f"through the server of account {event.account}",
            active=event.active,
            reason=event.reason,
        )
        self._watchers_told.tell(told, self._stream.publish, self._now())

    def send(self, target: str, text: str) -> dict[str, object]:
        """Sends a short text to a target, to each phone of a user; `text-delivered` tells whether it arrived."""
        user = self._house.user(target)
        phones = self._house.phones(user) if user is not None else ()
        if user is not None and not phones:
            raise ControlError(f"{user} is not registered; doorctl status shows who is")
        number = 0
        try:
            if user is None:
                uri, account, _ = self._legs.resolve(target, None)
                number = self._phone.message(uri, text, account=account or None)
                self._texts[number] = target
            for phone in phones:
                number = self._phone.message(phone.uri, text, binding=phone)
                self._texts[number] = target
        except (ProtocolError, ValueError) as error:
            raise ControlError(f'no text can be sent to "{target}": {error}') from error
        return {"message": number, "target": target}
