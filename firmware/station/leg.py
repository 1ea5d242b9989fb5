"""One leg: a SIP call, its offer/answer, its media and the keys that come over it, joined under one name.

It translates: SIP events into what the visit wants to know, SDP into where media goes, DTMF into decisions of
`access`. It decides nothing about ringing or opening.
"""

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from firmware.media.codec import usable
from firmware.media.engine import Engine
from firmware.media.events import MediaEvent
from firmware.media.leg import MediaLeg
from firmware.sdp.agreement import SrtpPolicy
from firmware.sdp.errors import OutOfTurn, SdpError
from firmware.sdp.keying import read_trickle
from firmware.sdp.offer_answer import Agreement, LocalMedia, OfferAnswer, State
from firmware.sdp.protection import wants_handshake
from firmware.station.access import CodeReader

log = logging.getLogger(__name__)


KeysOut = Literal["auto", "rtp", "info", "info-dtmf", "inband"]


@dataclass(frozen=True, slots=True)
class MediaSettings:
    """What a leg offers, and how keys are pressed at its far end."""

    audio_codecs: tuple[str, ...]
    video: bool
    opus_bit_rate: int = 0  # bits a second, 0: the coder's choice
    keys_out: KeysOut = "auto"
    srtp: SrtpPolicy = "off"
    ice: bool = False


class Leg:
    """`call` is the SIP core's number, 0 until the INVITE exists. `party` is whom we dialled, or who called."""

    def __init__(
        self,
        name: str,
        press: int,
        party: str,
        account: str,
        host: str,
        engine: Engine,
        settings: MediaSettings,
        reader: CodeReader,
        session_id: int,
        on_media: Callable[["Leg", MediaEvent], None],
    ) -> None:
        """Binds the media ports; OSError where there are none."""
        self.name = name
        self.press = press
        self.party = party
        self.account = account
        self.phone = ""  # which of a user's phones this is, for people
        self.direction: Literal["outgoing", "incoming"] = "outgoing"
        self.call = 0
        self.towards = host  # whom the packets go to first: what our own address depends on
        self.private = False  # nobody can read the signalling on its way to the peer
        self.reader = reader
        self.host = host  # our own address, where media comes to
        self.offer_due = False  # an offer of ours had to wait for its turn
        self._told_host = ""  # in our last description
        self._settings = settings
        self._sdp = OfferAnswer(session_id, random=secrets.token_bytes)
        self._forks: dict[str, OfferAnswer] = {}  # by early dialog, until one of them answers
        self._alternatives: list[OfferAnswer] = []  # with the offers for who refuses the first
        self._shown = ""  # the early dialog that media goes to
        self._heard_sdp = b""  # the peer's last description
        self._talk = self._listen = False
        self._awaits_ack = False
        self._agreed: Agreement | None = None  # what media will follow with the ACK
        self.media: MediaLeg = engine.open_leg(
            name, host, lambda event: on_media(self, event), video=settings.video
        )

    @property
    def moved(self) -> bool:
        """The peer does not know yet where our media is."""
        return self._told_host not in ("", self.host)

    def move(self, host: str) -> None:
        """Our own address towards the peer is `host` now: media goes on from there. OSError: it does not."""
        if host != self.host:
            self.media.move(host)
            self.host = host

    def await_acknowledgement(self) -> None:
        """Nothing is sent before the ACK: it shows that our 2xx was read where the caller says it is."""
        self._awaits_ack = True

    def prepare(self, *, browser: bool = False) -> bool:
        """Before an offer of ours: true where `media.gather` has to come first. A browser knows nothing else."""
        if browser:
            self._settings = replace(self._settings, srtp="dtls", ice=True)
        if self._settings.srtp != "dtls" and not self._settings.ice:
            return False
        self.media.secure(ice=self._settings.ice)
        return True

    def prepare_for(self, offer: bytes) -> bool:
        """Before the answer to an offer: the same."""
        if self._settings.srtp == "off":
            return False
        dtls, ice = wants_handshake(offer)
        if dtls or (ice and self._settings.ice):
            self.media.secure(ice=ice)
            return True
        return False

    def offer(self) -> bytes:
        offer = self._sdp.create_offer(self._to_offer())
        self._told_host = self.host
        return offer

    def other_offers(self) -> tuple[bytes, ...]:
        """For a phone that refuses our offer as it is: one that insists on encryption wants no choice, one without
        a screen no picture."""
        offers = []
        local = self._to_offer()
        if local.srtp == "optional":
            offers.append(self._alternative(replace(local, srtp="mandatory")))
        if local.video_port is not None:
            offers.append(self._alternative(replace(local, video_port=None)))
        return tuple(offers)

    def _alternative(self, local: LocalMedia) -> bytes:
        machine = self._sdp.fork()
        machine.reject_offer()
        self._alternatives.append(machine)
        return machine.create_offer(local)

    def trickled(self, body: bytes) -> None:
        """The peer found more ways to itself (RFC 8840)."""
        for more in read_trickle(body):
            self.media.add_candidates(more.kind, more.candidates, complete=more.complete)

    def reduced(self) -> None:
        """The next of the other offers is the one that counts now."""
        if self._alternatives:
            self._sdp = self._alternatives.pop(0)
            self._forks.clear()

    def provisional(self, dialog: str, sdp: bytes, *, final: bool = False) -> Agreement | None:
        """An answer in a 1xx: picture and sound flow from now on. None where it has no usable one. `final`: no
        other follows in this dialog, whatever its 200 says (RFC 6337 3.1.1)."""
        machine = self._forks.get(dialog)
        if machine is None:
            machine = self._forks[dialog] = self._sdp.fork()
        if not sdp or machine.state is not State.LOCAL_OFFER:
            return None
        try:
            agreement = machine.receive_answer(sdp, provisional=not final)
        except SdpError as error:
            log.warning("leg %s: SDP of a provisional response is not usable: %s", self.name, error)
            return None
        self._shown, self._heard_sdp = dialog, sdp
        self._connect(agreement)
        return agreement

    def fork_ended(self, dialog: str) -> None:
        """199: this early dialog is over. Another that has picture or sound takes its place."""
        self._forks.pop(dialog, None)
        if dialog != self._shown:
            return
        self._shown = ""
        for other, machine in self._forks.items():
            if machine.agreement is not None:
                self._shown = other
                self._connect(machine.agreement)
                return
        self._connect(Agreement(None, None))

    def answered(self, sdp: bytes, dialog: str = "") -> str:
        """The final answer. Returns what is wrong with it; empty: the call has sound.

        A 200 without SDP keeps what an earlier 183 agreed (RFC 6337 3.1.1; peers that leave it out exist), and one
        after a reliable 183 cannot change that any more.
        """
        # A B2BUA may answer for a phone that rang under another tag, and say nothing new.
        self._sdp = self._forks.get(dialog) or self._forks.get(self._shown if not sdp else dialog) or self._sdp
        self._forks.clear()
        try:
            if self._sdp.state is State.STABLE and self._sdp.agreement is not None:
                agreement = self._sdp.agreement
            else:
                agreement = self._sdp.receive_answer(sdp)
                self._heard_sdp = sdp
        except SdpError as error:
            return f"the answer's SDP is not usable: {error}"
        if agreement.audio is None:
            return "the answer accepts no sound" + (", encrypted as it has to be" if self.must_encrypt else "")
        self._connect(agreement)
        return ""

    def acknowledged(self, sdp: bytes) -> str:
        """The ACK of our 2xx: it carries the answer where our 2xx carried the offer. Returns what is wrong where
        the call has no session at all; after a wrong answer to a later offer the session stays as it was."""
        self._awaits_ack = False
        if self._agreed is not None:
            agreed, self._agreed = self._agreed, None
            self._connect(agreed)
        if self._sdp.state is not State.LOCAL_OFFER:
            return ""
        wrong = self.answered(sdp)
        if not wrong:
            return ""
        log.warning("leg %s: ACK: %s", self.name, wrong)
        self._sdp.reject_offer()
        return wrong if self._sdp.agreement is None else ""

    def refreshed(self, sdp: bytes) -> None:
        """The session was refreshed with our last description; the peer's may be a new one."""
        if not sdp or sdp == self._heard_sdp or self._sdp.state is not State.STABLE:
            return
        self._sdp.repeat_offer(self._local())
        self.offer_answered(sdp)

    def offer_answered(self, sdp: bytes) -> None:
        """The answer to an offer of ours in the answered call; after a wrong one the session stays as it was."""
        if self._sdp.state is not State.LOCAL_OFFER:
            return
        wrong = self.answered(sdp)
        if wrong:
            log.warning("leg %s: %s; the session stays as it was", self.name, wrong)
            self._sdp.reject_offer()

    def offer_refused(self) -> None:
        """The same refused, or to be made again when there is room for it."""
        if self._sdp.state is State.LOCAL_OFFER:
            self._sdp.reject_offer()

    def answer(self, sdp: bytes, dialog: str = "") -> bytes:
        """Our answer to a peer's offer. SdpError where nothing is in common, OutOfTurn while ours is open."""
        machine = self._forks.get(dialog, self._sdp)
        if self.media.gathers:
            raise OutOfTurn("our address has changed, and its candidates are being gathered")
        machine.receive_offer(sdp)
        self.media.renew(machine.restarts())
        try:
            answer, agreement = machine.create_answer(self._local())
        except SdpError:
            self.media.keep()
            raise
        if agreement.audio is None:
            raise SdpError("the offer has no sound that is understood here")
        self._shown, self._heard_sdp = dialog, sdp
        self._told_host = self.host
        self._connect(agreement)
        return answer

    def set_audio(self, *, talk: bool, listen: bool) -> None:
        self._talk, self._listen = talk, listen
        self.media.set_audio(talk=talk, listen=listen)

    def close(self) -> None:
        """The leg is given up: its ports are free, nothing is heard of it any more."""
        self.reader.close()
        self.set_audio(talk=False, listen=False)
        self.media.close()

    @property
    def keys_out(self) -> KeysOut:
        return self._settings.keys_out

    def quality(self) -> dict[str, object]:
        return {
            "leg": self.name,
            "party": self.party,
            "direction": self.direction,
            "talk": self._talk,
            "statistics": self.media.statistics(),
            "history": self.media.history(),
        }

    def status(self) -> dict[str, object]:
        return {"leg": self.name, "party": self.party, "talk": self._talk, **self.media.statistics()}

    def _connect(self, agreement: Agreement) -> None:
        if self._awaits_ack:
            self._agreed = agreement
            return
        self.media.connect(agreement, talk=self._talk, listen=self._listen)

    @property
    def must_encrypt(self) -> bool:
        return self._settings.srtp in ("mandatory", "dtls")

    @property
    def shakes_hands(self) -> bool:
        """The keys are made between the two ends, not told in the signalling."""
        return self._settings.srtp == "dtls"

    def _to_offer(self) -> LocalMedia:
        """Keys that anybody on the way can read protect nothing: they are not offered, unless they have to be or
        the call has some already."""
        local, agreed = self._local(), self._sdp.agreement
        encrypted = agreed is not None and agreed.audio is not None and agreed.audio.keys is not None
        if local.srtp == "optional" and not self.private and not encrypted:
            return replace(local, srtp="off")
        return local

    def _local(self) -> LocalMedia:
        sound, picture = self.media.transport("audio"), self.media.transport("video")
        return LocalMedia(
            host=self.host,
            audio_port=self.media.audio_port,
            video_port=self.media.video_port,
            audio_codecs=usable(self._settings.audio_codecs),
            opus_bit_rate=self._settings.opus_bit_rate,
            video_profile_level_id=self.media.profile_level_id,
            sprop_parameter_sets=self.media.sprop_parameter_sets,
            srtp=self._settings.srtp,
            fingerprint=sound.fingerprint if sound is not None else None,
            audio_ice=sound.ice if sound is not None else None,
            video_ice=picture.ice if picture is not None else None,
        )


def sends_sound(agreement: Agreement | None) -> bool:
    """Whether the peer said that sound will come from it."""
    return agreement is not None and agreement.audio is not None and agreement.audio.receives
