"""An indoor monitor: a second user agent on the same stack, which stands in the flat of the demonstration.

It registers at the station as a user of the house, rings with 183 and looks at the visitor before it answers,
talks, types the code, and keeps what it saw and heard: the picture as PNG, the sound as WAV. It is told when to do
what by `show`; it decides nothing itself.
"""

import asyncio
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from drivers.audio.simulated import SimulatedAudio
from firmware.demo.picture import Picture, Screen
from firmware.media.engine import Engine
from firmware.media.events import MediaEvent, RtpStarted
from firmware.media.leg import MediaLeg
from firmware.net.sip_endpoint import SipEndpoint
from firmware.sdp.offer_answer import LocalMedia, OfferAnswer
from firmware.sip import events as sip_events
from firmware.sip.configuration import Account, Configuration
from firmware.sip.core import Core
from firmware.sip.uri import Uri

if TYPE_CHECKING:
    from firmware.sip.events import Event

HOST = "127.0.0.1"
VOICE_HZ = 600.0  # what the flat says; the door's microphone hears another tone


class IndoorMonitor:
    """`on_change` is called whenever `ringing`, `picture`, `hears` or `ended` changed."""

    def __init__(self, folder: Path, on_change: Callable[[], None]) -> None:
        self.ringing = False
        self.answered = False
        self.ended = False
        self.hears = False  # sound of the door arrives
        self.picture: Picture | None = None  # the newest one
        self.pictures_before_answer = 0
        self.speaker_file = folder / "heard-in-the-flat.wav"
        self._on_change = on_change
        self._phone: SipEndpoint | None = None
        self._engine: Engine | None = None
        self._leg: MediaLeg | None = None
        self._screen: Screen | None = None
        self._answer = b""
        self._call = 0

    async def start(self, server: str, user: str, password: str) -> None:
        """Register at `server`, a SIP URI, and wait for calls."""
        registrar = Uri.parse(server)
        account = Account(
            name="station",
            address=registrar.replace(user=user, port=None),
            registrar=registrar,
            username=user,
            password=password,
        )
        configuration = Configuration(accounts=(account,), user_agent="Portero demo monitor")
        core = Core(configuration, random=os.urandom)
        self._phone = SipEndpoint(core, listen=[(HOST, 0)], on_event=self._sip_event)
        await self._phone.start()
        loop = asyncio.get_running_loop()
        self._engine = Engine(
            audio=lambda: SimulatedAudio(VOICE_HZ, self.speaker_file),
            camera=None,
            call_soon=loop.call_soon_threadsafe,
        )

    async def stop(self) -> None:
        if self._phone is not None:
            await self._phone.stop(2.0)
        self._close_media()
        if self._engine is not None:
            self._engine.close()

    def answer(self) -> None:
        """Lift the receiver."""
        assert self._leg is not None
        assert self._phone is not None
        self.pictures_before_answer = self._screen.count if self._screen is not None else 0
        self.answered = True
        self._phone.accept(self._call, self._answer)
        self._leg.set_audio(talk=True, listen=True)

    def type_code(self, code: str) -> None:
        """Send the code as RFC 4733 events, as the monitor's door button does."""
        assert self._leg is not None
        self._leg.send_digits(code)

    def _sip_event(self, event: "Event") -> None:
        match event:
            case sip_events.IncomingCall():
                self._ring(event)
            case sip_events.CallEnded() if event.call == self._call:
                self.ended = True
                self._call = 0
                self._close_media()
            case _:
                return
        self._on_change()

    def _ring(self, event: sip_events.IncomingCall) -> None:
        assert self._phone is not None
        if self._call or self._engine is None:
            self._phone.hangup(event.call, status=486)
            return
        self.ringing, self.answered, self.ended, self.hears, self.picture = True, False, False, False, None
        self.pictures_before_answer = 0
        self._call = event.call
        self._screen = Screen(self._seen)
        self._leg = self._engine.open_leg("monitor", HOST, self._media_event, on_picture=self._screen.show)
        session = OfferAnswer(secrets.randbits(62))
        session.receive_offer(event.sdp)
        self._answer, agreement = session.create_answer(
            LocalMedia(
                host=HOST,
                audio_port=self._leg.audio_port,
                video_port=self._leg.video_port,
                video_direction="recvonly",
            )
        )
        self._leg.connect(agreement, talk=False, listen=False)
        self._phone.ring(event.call, status=183, sdp=self._answer)

    def _seen(self, picture: Picture) -> None:
        self.picture = picture
        self._on_change()

    def _media_event(self, event: MediaEvent) -> None:
        if isinstance(event, RtpStarted) and event.media == "audio" and event.direction == "received":
            self.hears = True
            self._on_change()

    def _close_media(self) -> None:
        if self._leg is not None:
            self._leg.close()
            self._leg = None
