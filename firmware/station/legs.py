"""The legs of all visits: opens them with their media and their code reader, and calls whom a visit wants.

A target is a full address, a number at an account's server, or a user of the house, whose phones all ring. What
cannot be called is told to the visit like a call that failed.
"""

import asyncio
import errno
import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal

from firmware.config import Config
from firmware.media import events as media_events
from firmware.media.engine import Engine
from firmware.net.sip_endpoint import SipEndpoint
from firmware.sip.errors import ProtocolError
from firmware.sip.location import Binding
from firmware.sip.types import SECURE, Transport
from firmware.sip.uri import Uri
from firmware.station.access import Code, CodeReader, Lockout, Policy
from firmware.station.faults import Faults
from firmware.station.house import House, describe_phone
from firmware.station.invitation import headers_for
from firmware.station.leg import Leg, MediaSettings
from firmware.station.transfers import Transfers
from firmware.station.visit import StartLeg, Visit

log = logging.getLogger(__name__)

_PORTS = "media ports"  # where the fault is
CANNOT_BE_CALLED = (ProtocolError, ValueError, OSError)


class Legs:
    """`on_media` gets what a leg's media tell. `by_call` has those whose call exists."""

    def __init__(
        self,
        config: Config,
        faults: Faults,
        phone: SipEndpoint,
        engine: Engine,
        house: House,
        transfers: Transfers,
        policy: Policy,
        lockout: Lockout,
        on_media: Callable[[Leg, media_events.MediaEvent], None],
        now: Callable[[], float],
    ) -> None:
        self.by_name: dict[str, Leg] = {}
        self.by_call: dict[int, Leg] = {}
        self._config = config
        self._faults = faults
        self._phone = phone
        self._engine = engine
        self._house = house
        self._transfers = transfers
        self._policy = policy
        self._lockout = lockout
        self._on_media = on_media
        self._now = now
        self._media = MediaSettings(
            config.media.audio_codecs, config.media.video, srtp=config.media.srtp, ice=config.media.ice
        )
        self._gathering: set[asyncio.Task[None]] = set()
        self._codes = tuple(
            Code(door.name, code.name, code.digits.reveal())
            for door in config.doors
            for code in door.codes
            if code.digits is not None
        )

    def of(self, press: int) -> list[Leg]:
        return [leg for leg in self.by_name.values() if leg.press == press]

    def start(self, visit: Visit, action: StartLeg) -> None:
        name, target, auto_answer = action.leg, action.target, action.auto_answer
        user = self._house.user(target)
        if user is None:
            self._invite(visit, name, target, None, auto_answer)
            return
        phones = self._house.phones(user)
        if not phones:
            self.not_started(visit, name, ValueError(f"{user} is not registered"))
            return
        names = [name, *(visit.split(name) for _ in phones[1:])]
        for each, binding in zip(names, phones, strict=True):
            try:
                self._invite(visit, each, target, binding, auto_answer)
            except Exception as error:  # nor his other phones
                log.exception("leg %s failed", each)
                self._faults.unexpected(error)
                self.not_started(visit, each, error)

    def _invite(self, visit: Visit, name: str, target: str, binding: Binding | None, auto_answer: bool) -> None:
        """Call a target, or the phone that a user of the house registered with `binding`."""
        try:
            if binding is not None:
                uri, account, via = binding.uri, "", binding.next_hop
            else:
                uri, account, via = self.resolve(target, visit.plan.name)
            leg = self.open(name, visit, target, account, self._phone.local_host_towards(str(via)))
        except OSError as error:  # told by `open`
            self.not_started(visit, name, error)
            return
        except CANNOT_BE_CALLED as error:
            self._faults.set(f"target {target}", f"cannot be called: {error}", "correct the target, or the network")
            self.not_started(visit, name, error)
            return
        leg.towards = str(via)
        leg.private = via.scheme == "sips" or (via.parameter("transport") or "").lower() in SECURE
        leg.phone = describe_phone(binding) if binding is not None else ""
        call = partial(self._call, visit, leg, uri, binding, auto_answer)
        if leg.prepare(browser=binding is not None and binding.transport in ("ws", "wss")):
            self.after_gathering(leg, call)
        else:
            call()

    def after_gathering(self, leg: Leg, go_on: Callable[[], None]) -> None:
        """What the leg's description has to name is found out first; nothing is done where it was given up then."""

        async def gather() -> None:
            try:
                await leg.media.gather()
            except Exception as error:  # with the candidates that there are
                log.exception("leg %s: no candidates", leg.name)
                self._faults.unexpected(error)
            if self.by_name.get(leg.name) is leg:
                go_on()

        task = asyncio.get_running_loop().create_task(gather())
        self._gathering.add(task)
        task.add_done_callback(self._gathering.discard)

    def _call(self, visit: Visit, leg: Leg, uri: Uri, binding: Binding | None, auto_answer: bool) -> None:
        name, account = leg.name, leg.account
        button = self._config.button(visit.plan.name)
        try:
            leg.call = self._phone.invite(
                uri,
                leg.offer(),
                account=account or None,
                display_name=button.display_name if button is not None else None,
                headers=(
                    *headers_for(
                        uri, button, self._config.account(account) if account else None, auto_answer=auto_answer
                    ),
                    *self._transfers.headers(name),
                ),
                binding=binding,
            )
        except CANNOT_BE_CALLED as error:
            self.not_started(visit, name, error)
            return
        self.by_call[leg.call] = leg
        self._phone.fall_back(leg.call, leg.other_offers())
        self._faults.clear(f"target {leg.party}")

    def no_ports(self, error: OSError) -> None:
        """Media cannot be bound: told once, with what is to be done."""
        remedy = "check the network's addresses"
        if error.errno == errno.EADDRINUSE:
            remedy = "widen media.ports, and the firewall's range with it; each phone that rings takes four ports"
        self._faults.set(_PORTS, error.strerror or str(error), remedy)

    def signalled(self, leg: Leg, transport: Transport) -> None:
        """The leg's signalling goes by `transport`: whoever can read it there can read the keys of its media."""
        where = f"encryption {leg.account or 'without account'}"
        if transport in SECURE:
            leg.private = True
            self._faults.clear(where)
        elif leg.must_encrypt and not leg.shakes_hands:
            self._faults.set(
                where,
                f"calls must be encrypted, but their keys can be read on the way: signalling goes by {transport}",
                "use TLS: add ;transport=tls to the registrar or to the address that is called",
            )

    def not_started(self, visit: Visit, name: str, error: Exception) -> None:
        """No call came of a leg that was to be."""
        leg = self.by_name.get(name)
        if leg is not None and leg.call:
            self._phone.hangup(leg.call)  # which tells its end
            return
        self.forget(name)
        self._transfers.over(name)
        visit.leg_ended(name, "us", 0, str(error), {}, self._now())

    def forget(self, name: str) -> dict[str, float | int | str]:
        """The leg is over, or no call came of it; returns its last statistics."""
        leg = self.by_name.pop(name, None)
        if leg is None:
            return {}
        self.by_call.pop(leg.call, None)
        return leg.media.close()

    def open(
        self,
        name: str,
        visit: Visit,
        party: str,
        account: str,
        host: str,
        direction: Literal["outgoing", "incoming"] = "outgoing",
        *,
        video: bool = True,
    ) -> Leg:
        """OSError where there is no port for its media, which is a fault then."""
        reader = CodeReader(
            self._codes,
            self._policy,
            self._lockout,
            source=party,
            doors=visit.plan.doors,
            # Of the leg, not of its visit: who took a call over by Replaces has called us.
            outgoing=direction == "outgoing",
        )
        media = self._media
        through = next((each for each in self._config.accounts if each.name == account), None)
        if through is not None:
            media = MediaSettings(
                through.audio_codecs or media.audio_codecs,
                media.video and through.video,
                1000 * (through.opus_kbps or 0),
                through.keys_out,
                through.srtp or media.srtp,
                media.ice if through.ice is None else through.ice,
            )
        if not video:
            media = replace(media, video=False)
        try:
            leg = Leg(
                name,
                visit.press,
                party,
                account,
                host,
                self._engine,
                media,
                reader,
                secrets.randbits(31),
                self._on_media,
            )
        except OSError as error:
            self.no_ports(error)
            raise
        self._faults.clear(_PORTS)
        leg.direction = direction
        self.by_name[name] = leg
        return leg

    def resolve(self, target: str, button_name: str | None) -> tuple[Uri, str, Uri]:
        """(whom to call, account or "" for none, whom the packets go to first). ValueError, ProtocolError."""
        if target.startswith(("sip:", "sips:")):
            uri = Uri.parse(target)
            return uri, "", uri
        button = self._config.button(button_name) if button_name else None
        account = self._config.account(button.account if button is not None else None)
        if account is None:
            raise ValueError("a number needs an account; add [[accounts]] or write a full sip: address")
        address = Uri.parse(account.address)
        uri = address.replace(user=target, password=None, parameters=(), headers=())
        via = account.outbound_proxy or account.registrar
        return uri, account.name, Uri.parse(via) if via else address
