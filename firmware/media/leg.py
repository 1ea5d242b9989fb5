"""One leg's media: its audio stream, its video stream where the door has a camera, and its digits.

The façade that the station holds. All methods are called on the event loop's thread; events come back there,
none after `close`.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from firmware.media import srtp
from firmware.media.audio import AudioStream
from firmware.media.events import Digit, DigitRefused, DigitSource, Media, MediaEvent, TransportFailed
from firmware.media.replay_guard import ReplayGuard
from firmware.media.stream import Statistics
from firmware.media.video import VideoStream
from firmware.net.rtp_port import RtpPort
from firmware.sdp.agreement import Agreement

if TYPE_CHECKING:
    from firmware.media.engine import Engine
    from firmware.media.transport import LocalTransport, Transport

KEYS_BY: tuple[DigitSource, ...] = ("rtp", "info", "inband")
_LONGEST_HOLD_S = 5.0
_LATE_REPORT_S = 5.0
_LATEST_REPORT_S = 32.0  # after which an INFO is given up (RFC 3261 17.1.2.2, Timer F)
_MOST_PRESSES = 32
_KEY_S = 0.2  # a key that we send, with its pause


@dataclass(slots=True)
class _Press:
    digit: str
    at_s: float
    sources: set[str]


class DigitMerge:
    """Phones that send a key in several ways (telephone-event, INFO, sound) mean it once.

    Each way tells the same keys in the same order, so order decides and not time: a report is another one of the
    earliest press that its way has not come to yet, and a press where there is none. It may be late by much: an
    INFO that was lost comes again after 0.5 s or more, and some phones send one only after the answer to the one
    before (linphone looks once a second). How late is bounded, for a key that never comes by one of the ways must
    not swallow a later one; a phone that is known to send both ways has all the time that an INFO has.
    """

    def __init__(self) -> None:
        self._several_ways = False
        self._presses: list[_Press] = []

    def take(self, digit: str, source: str, at_s: float, held_s: float = 0.0) -> bool:
        """True for a press, False for another report of one. `held_s`: how long ago the press began, as an INFO
        that is sent when the key is released says."""
        within_s = (_LATEST_REPORT_S if self._several_ways else _LATE_REPORT_S) + min(held_s, _LONGEST_HOLD_S)
        told = max((n for n, press in enumerate(self._presses, 1) if source in press.sources), default=0)
        for press in self._presses[told:]:
            if press.digit == digit and at_s - press.at_s < within_s:
                press.sources.add(source)
                self._several_ways = True
                return False
        self._presses.append(_Press(digit, at_s, {source}))
        del self._presses[:-_MOST_PRESSES]
        return True


class Inbox:
    """Where a leg's events end: merges digits, refuses those that went out from here, and stays shut once the
    leg is closed. Loop thread only."""

    def __init__(
        self, on_event: Callable[[MediaEvent], None], guard: ReplayGuard, keys_by: Collection[DigitSource]
    ) -> None:
        self._on_event: Callable[[MediaEvent], None] | None = on_event
        self._guard = guard
        self._keys_by = keys_by
        self._merge = DigitMerge()

    def deliver(self, event: MediaEvent) -> None:
        if self._on_event is None:
            return
        if isinstance(event, Digit):
            if event.source not in self._keys_by:
                return
            if not self._merge.take(event.digit, event.source, event.at_s, event.held_s):
                return
            if self._guard.refuses(event.digit, event.at_s):
                event = DigitRefused(event.source, event.at_s)
        self._on_event(event)

    def shut(self) -> None:
        self._on_event = None


class MediaLeg:
    """Made by `Engine.open_leg`. The ports are open and go into the SDP; nothing flows before `connect`."""

    def __init__(
        self,
        engine: "Engine",
        name: str,
        audio: AudioStream,
        video: VideoStream | None,
        inbox: Inbox,
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        self.name = name
        self._engine = engine
        self._audio = audio
        self._video = video
        self._inbox = inbox
        self._loop = loop
        self._closed = False
        self._reading = False
        self._transports: dict[str, Transport] = {}  # by medium; empty for plain RTP and SDES
        self._connected: tuple[Agreement, bool, bool] | None = None

    def secure(self, *, ice: bool) -> None:
        """Keys by handshake (DTLS), and a way by ICE, for what is agreed with them. `gather` is next."""
        if self._closed or self._transports or self._loop is None:
            return
        from firmware.media.transport import Transport

        for stream in (self._audio, self._video):
            if stream is not None:
                self._transports[stream.media] = Transport(
                    stream,
                    self._loop,
                    ice=self._engine.ice_servers if ice else None,
                    on_way=self._connect_again,
                    go_over=self._engine.go_over,
                    on_failed=functools.partial(self._transport_failed, stream.media),
                )
        self._read_control(on=True)

    async def gather(self) -> None:
        """Find what the description has to name; half a second at most, and at once without ICE."""
        await asyncio.gather(*(transport.gather() for transport in self._transports.values()))

    @property
    def gathers(self) -> bool:
        """`gather` is still to come, or under way, since the leg has moved: what it could say of itself is old."""
        return any(transport.gathers for transport in self._transports.values())

    def renew(self, kinds: Collection[str]) -> None:
        """The peer restarts ICE of these streams: our answer needs other names for them."""
        for media, transport in self._transports.items():
            if media in kinds:
                transport.renew()

    def keep(self) -> None:
        """That answer was not given."""
        for transport in self._transports.values():
            transport.keep()

    def transport(self, media: Media) -> "LocalTransport | None":
        """What the description says of this stream; None for one without handshake."""
        transport = self._transports.get(media)
        return transport.local if transport is not None else None

    def add_candidates(self, media: str, candidates: tuple[str, ...], *, complete: bool) -> None:
        """The peer found more (RFC 8840)."""
        transport = self._transports.get(media)
        if transport is not None:
            transport.add_candidates(candidates, complete=complete)

    def _connect_again(self) -> None:
        if self._connected is not None:
            agreement, talk, listen = self._connected
            self.connect(agreement, talk=talk, listen=listen)

    def _transport_failed(self, media: Media, why: str) -> None:
        self._inbox.deliver(TransportFailed(media, why))

    @property
    def audio_port(self) -> int:
        return self._audio.port.port

    @property
    def video_port(self) -> int | None:
        return self._video.port.port if self._video is not None else None

    @property
    def profile_level_id(self) -> str:
        return self._engine.profile_level_id

    @property
    def sprop_parameter_sets(self) -> str:
        return self._engine.sprop_parameter_sets

    def connect(self, agreement: Agreement, *, talk: bool, listen: bool) -> None:
        """Follow an agreement: the first, another dialog's, or the same again (which asks for an IDR).

        `talk`: the visitor is heard there; silence is sent otherwise, as far as the agreement lets us send.
        `listen`: the leg is heard at the door.
        """
        if self._closed:
            return
        self._connected = (agreement, talk, listen)
        for media, transport in self._transports.items():
            transport.follow(agreement.audio if media == "audio" else agreement.video)
        if agreement.audio is not None and agreement.audio.keys is not None:
            srtp.prepare()
        self._audio.set_audio(talk=talk, listen=listen)
        self._audio.connect(agreement.audio)
        self._engine.tune()
        self._read_control(on=True)
        if self._video is not None:
            if self._video.connect(agreement.video):
                self._engine.feed(self._video)
                self._engine.talks(self._video, on=talk)
            else:
                self._engine.starve(self._video)
        self._engine.begin(self._loop)

    def move(self, host: str) -> None:
        """Our address is another one: go on from `host`, over new ports, as the same senders (RFC 3264 8.3.1).

        The peer is to be told by an offer; until it knows, what we send may be all that arrives. With ICE, which
        that offer restarts, `gather` comes first. OSError where no ports can be had on `host`: all stays as it was.
        """
        if self._closed:
            return
        streams = [stream for stream in (self._audio, self._video) if stream is not None]
        ports: list[RtpPort] = []
        try:
            ports.extend(stream.port.again(host) for stream in streams)
        except OSError:
            for port in ports:
                port.close()
            raise
        reading = self._reading
        self._read_control(on=False)
        for stream, port in zip(streams, ports, strict=True):
            before = stream.rebind(port)
            self._engine.unwatch(before)
            before.close()
            self._engine.watch(stream)
        if reading:
            self._read_control(on=True)
        for transport in self._transports.values():
            transport.moved()
        self.request_keyframe()  # what was under way is lost

    def _read_control(self, *, on: bool) -> None:
        """Digits arrive on a socket of their own, where the kernel sorts them out."""
        control = self._audio.port.control
        if self._loop is None or control is None or on is self._reading:
            return
        if on:
            self._loop.add_reader(control.fileno(), self._audio.read_control)
        else:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                self._loop.remove_reader(control.fileno())
        self._reading = on

    def set_audio(self, *, talk: bool, listen: bool) -> None:
        if self._connected is not None:
            self._connected = (self._connected[0], talk, listen)
        self._audio.set_audio(talk=talk, listen=listen)
        if self._video is not None:
            self._engine.talks(self._video, on=talk)

    def play(self, name: str | None) -> None:
        """Mix an announcement or one round of a tone's cadence (`sounds`) into what is sent; None ends it.

        One round only, whatever the tone: it is a word said in a conversation, not the state of a line.
        """
        player = self._engine.announcements.player(name, once=True) if name is not None else None
        if player is not None or name is None:
            self._audio.play_tone(player)

    def send_digits(self, digits: str, way: Literal["auto", "rtp", "inband"] = "auto") -> None:
        """Press keys at the far end by telephone-event (RFC 4733), or as sound where none were agreed or that way
        is asked for. ValueError where it is not open."""
        self._audio.press(digits, way)
        self.note_sent(digits)

    def note_sent(self, digits: str) -> None:
        """These keys go out from here now, and do not count if they come back."""
        self._engine.guard.sent(digits.upper(), time.monotonic() + len(digits) * _KEY_S)

    def request_keyframe(self) -> None:
        """The peer asked by INFO (RFC 5168)."""
        if self._video is not None and self._video.sending:
            self._engine.request_keyframe()

    def digit_from_info(self, digit: str, held_s: float = 0.0) -> None:
        """A key came as INFO; reported as a `Digit` unless it already came as telephone-event or as sound."""
        self._inbox.deliver(Digit(digit, "info", time.monotonic(), held_s))

    def statistics(self) -> Statistics:
        values = self._audio.statistics()
        if self._video is not None:
            values |= self._video.statistics()
        return values

    def history(self) -> dict[str, list[float]]:
        """How it sounded, second by second."""
        return self._audio.history()

    def close(self) -> Statistics:
        """Say goodbye, close the ports, return the last statistics. Again: only the statistics."""
        if not self._closed:
            self._closed = True
            self._inbox.shut()
            self._read_control(on=False)
            for transport in self._transports.values():
                transport.close()
            self._engine.forget(self, self._audio, self._video)
            self._audio.close()
            if self._video is not None:
                self._video.close()
        return self.statistics()
