"""The users of the house as the station sees them: which target is one, where his phones are, what is told of them.

The registrar itself is firmware/sip; the file that keeps its bindings is bindings.py.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from firmware.config import Config
from firmware.net.sip_endpoint import SipEndpoint
from firmware.sip import events as sip_events
from firmware.sip.errors import RemoteProtocolError
from firmware.sip.location import Binding
from firmware.sip.uri import Uri
from firmware.station import events
from firmware.station.bindings import BindingsFile
from firmware.station.faults import Faults
from firmware.station.ration import Bound
from firmware.station.status import PhoneStatus, UserStatus

MOST_TOLD = 100  # within a minute: 32 users with a few phones each may all come back at once

HouseEvent = sip_events.UserRegistered | sip_events.UserUnregistered | sip_events.UserRefused


class House:
    def __init__(self, config: Config, faults: Faults, phone: SipEndpoint, loop: asyncio.AbstractEventLoop) -> None:
        self._users = {user.name: user for user in config.users}
        self._domain = (config.house.domain or "").lower()
        self._faults = faults
        self._phone = phone
        self._now = loop.time
        self._bounds = {
            kind.kind: Bound(MOST_TOLD)
            for kind in (events.UserRegistered, events.UserUnregistered, events.UserRefused)
        }
        path = Path(config.station.state_dir) / "bindings.json"
        self._file = BindingsFile(path, self._bindings, self._kept, loop=loop) if self._users else None

    def start(self) -> None:
        """Bring back the bindings of the last run, before the first message can arrive."""
        if self._file is not None:
            self._phone.restore_bindings(self._file.load(), self._now())

    def stop(self) -> None:
        if self._file is not None:
            self._file.close()

    def take(self, event: HouseEvent) -> None:
        told: events.Event | None = None
        match event:
            case sip_events.UserRegistered(binding=binding):
                if not event.again:
                    told = events.UserRegistered(
                        user=binding.user,
                        contact=str(binding.uri),
                        source=_source(binding),
                        agent=binding.agent,
                        expires_s=binding.expires_s,
                    )
            case sip_events.UserUnregistered(binding=binding):
                told = events.UserUnregistered(user=binding.user, contact=str(binding.uri), reason=event.reason)
            case sip_events.UserRefused():
                told = events.UserRefused(
                    user=event.user,
                    source=_address(event.source.transport, event.source.remote),
                    request=event.method,
                    status=event.status,
                    reason=event.reason,
                    locked_s=event.locked_s,
                )
        if told is not None:
            self._bounds[told.kind].tell(told, self._faults.stream.publish, self._now())
        if isinstance(event, sip_events.UserRefused):
            return
        if self._file is not None:
            self._file.changed(soon=not (isinstance(event, sip_events.UserRegistered) and event.again))

    def user(self, target: str) -> str | None:
        """The user whom a target of a ring plan means: his name, or his address in the house's domain."""
        if target in self._users:
            return target
        if self._domain and target.startswith("sip:"):
            try:
                uri = Uri.parse(target)
            except RemoteProtocolError:
                return None
            if uri.host.lower() == self._domain and uri.user in self._users:
                return uri.user
        return None

    def phones(self, user: str) -> tuple[Binding, ...]:
        """Where he can be reached now."""
        return self._phone.bindings(user)

    def status(self) -> tuple[UserStatus, ...]:
        now = self._now()
        return tuple(
            UserStatus(
                name=user.name,
                display_name=user.display_name or "",
                phones=tuple(
                    PhoneStatus(
                        contact=str(binding.uri),
                        source=_source(binding),
                        agent=binding.agent,
                        expires_s=round(binding.expires_at - now, 1),
                    )
                    for binding in self.phones(user.name)
                ),
            )
            for user in self._users.values()
        )

    def _bindings(self) -> Iterator[Binding]:
        for user in self._users:
            yield from self.phones(user)

    def _kept(self, wrong: str) -> None:
        if wrong:
            self._faults.set(
                "bindings",
                f"not written: {wrong}",
                "free some space in the state folder; until then users have to register again after a restart",
            )
        else:
            self._faults.clear("bindings")


def _source(binding: Binding) -> str:
    return _address(binding.transport, binding.source)


def _address(transport: str, address: tuple[str, int]) -> str:
    host, port = address
    return f"{transport}:{f'[{host}]' if ':' in host else host}:{port}"


def proven_caller(event: sip_events.IncomingCall, allowed: tuple[str, ...]) -> str:
    """How a user of the house who may call proved himself; "" where he did not, or may not."""
    return f"user {event.user}, by password" if event.user and event.user in allowed else ""


def describe_phone(binding: Binding) -> str:
    """Which of a user's phones is meant, for people."""
    host, port = binding.source
    return f"{host}:{port}" + (f" ({binding.agent})" if binding.agent else "")
