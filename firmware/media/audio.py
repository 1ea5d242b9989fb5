"""The audio stream of a leg: jitter buffer and decoder one way, encoder the other, digits, tones.

G.711 in 20 ms packets. The audio tick calls `play` and `send` once per 20 ms; the event loop calls
`read_control` for telephone-events, which the kernel sorts out for it (see `net.rtp_port`), so that a digit
need not wait for the tick. Mixing with other legs and the sound card are the tick's.
"""

import audioop
import os
import secrets
import struct
import time
from collections.abc import Callable

from firmware.media.codec import BUS_HZ, CODECS, FRAME_BYTES, FRAME_SAMPLES, SILENCE, AudioCodec
from firmware.media.events import MediaEvent, MediaLost, SoundHeard
from firmware.media.latch import Address
from firmware.media.stream import RtpStream, Statistics
from firmware.media.tones import TonePlayer
from firmware.net.rtp_port import RtpPort
from firmware.rtp.concealment import Concealer
from firmware.rtp.jitter import COMFORT_NOISE, Conceal, JitterBuffer, Noise, Piece, Play
from firmware.rtp.packet import RtpError, RtpPacket, parse_rtp
from firmware.rtp.telephone_event import Receiver, Sender
from firmware.sdp.agreement import AgreedMedia

LOST_AFTER_S = 10.0
_QUIET_PEAK = 250  # -42 dBFS: below it a shift of the delay is not heard
_STATIC = {0: "PCMU", 8: "PCMA"}  # RFC 3551: what may come without having been agreed by number
_EVENT_PAYLOAD_TYPE = 101
_CONTROL_BATCH = 32
_REST = struct.Struct("!2xHII").unpack_from  # sequence, timestamp, SSRC


class AudioStream(RtpStream):
    """`on_digit` gets a digit (on the thread that read it) as soon as its first packet is seen."""

    media = "audio"

    def __init__(
        self,
        port: RtpPort,
        post: Callable[[MediaEvent], None],
        on_digit: Callable[[str, float], None],
        cname: str,
    ) -> None:
        super().__init__(port, BUS_HZ, post, cname)
        self.talk = False
        self.listen = False
        self._on_digit = on_digit
        self._timestamp = secrets.randbits(32)
        self._codec: AudioCodec | None = None
        self._payload_type = 0
        self._receive_payload_type = -1
        self._usual = b""  # the first two octets of a packet in the agreed codec
        self._usual_source: Address | None = None  # whom the latch is locked on
        # Sorted out from the first datagram on, and kept by the kernel until `connect`: a code that is typed while
        # the answer is still on its way must not be overtaken by its own last digit.
        self._event_payload_type = _EVENT_PAYLOAD_TYPE
        port.select_control((_EVENT_PAYLOAD_TYPE,))
        self._event_send_type = -1
        self._receives = False
        self._marker = True
        self._jitter: JitterBuffer | None = None
        self._concealer = Concealer(BUS_HZ)
        self._quiet = False
        self._sounded = False
        self._tone: TonePlayer | None = None
        self._digits = Receiver()
        self._digits_received = 0
        self._presses = Sender(clock_hz=BUS_HZ)
        self._heard_s = 0.0
        self._lost_reported = False

    # --- control, from the event loop ----------------------------------------------------------------------

    def connect(self, agreed: AgreedMedia | None) -> None:
        with self.lock:
            codec = CODECS.get(agreed.codec.name.upper()) if agreed is not None else None
            if agreed is None or codec is None:
                self.sending = self._receives = False
                self._jitter = None
                self._destination = None
                return
            self._aim(agreed)
            if codec is not self._codec or self._jitter is None:
                # What is queued is in the other codec: played, it would be loud noise.
                self._jitter = JitterBuffer(BUS_HZ)
            self._codec = codec
            self._payload_type = agreed.codec.payload_type
            self._receive_payload_type = agreed.codec.receive_payload_type
            self._usual = bytes((0x80, self._receive_payload_type))
            self._usual_source = None
            # Some phones do not say that they send telephone-events and do, with the number we offered.
            events = agreed.dtmf.receive_payload_type if agreed.dtmf is not None else _EVENT_PAYLOAD_TYPE
            if events != self._event_payload_type:
                self._event_payload_type = events
                self.port.select_control((events,))
            self._event_send_type = agreed.dtmf.payload_type if agreed.dtmf is not None else -1
            self.sending = agreed.sends
            if agreed.receives != self._receives:
                self._receives = agreed.receives
                self._heard_again(time.monotonic())

    def rebind(self, port: RtpPort) -> RtpPort:
        with self.lock:
            port.select_control((self._event_payload_type,))
            self._usual_source = None
            return super().rebind(port)

    def set_audio(self, *, talk: bool, listen: bool) -> None:
        with self.lock:
            self.talk = talk
            if listen != self.listen:
                self.listen = listen
                self._heard_again(time.monotonic())

    def play_tone(self, player: TonePlayer | None) -> None:
        with self.lock:
            if player is not None:
                self._tone = player
            elif self._tone is not None:
                self._tone.stop()

    def press(self, digits: str) -> None:
        """Send digits as telephone-events. ValueError for others than 0-9 * # A-D, or where none are agreed."""
        with self.lock:
            if self._event_send_type < 0:
                raise ValueError("the peer takes no telephone-events")
            self._presses.press(digits)

    def close(self) -> None:
        with self.lock:
            self._bye(self._timestamp)

    # --- in ------------------------------------------------------------------------------------------------

    def read_control(self) -> None:
        """Take what the kernel put on the control socket: telephone-events, and what is not RTP."""
        control = self.port.control
        if control is None:
            return
        for _ in range(_CONTROL_BATCH):
            with self.lock:
                try:
                    data, source = control.recvfrom(2048)
                    packet = parse_rtp(self._opened(data, source[:2]))
                except OSError:
                    return
                except RtpError:
                    self._malformed += 1
                    continue
                if packet.payload_type != self._event_payload_type:
                    self._unknown += 1
                    continue
                digit = self._event(packet, source[:2], now := time.monotonic())
            if digit is not None:
                self._on_digit(digit, now)

    def _goes_on(self, data: bytes, source: tuple[str | int, ...], arrival_s: float) -> bool:
        """Nearly every packet: the agreed codec, from the locked source, exactly where the last one ended."""
        jitter, reception = self._jitter, self._reception
        if data[:2] != self._usual or source[:2] != self._usual_source or len(data) < 12:
            return False
        sequence, timestamp, ssrc = _REST(data)
        if jitter is None or reception is None or reception.ssrc != ssrc:
            return False
        payload = data[12:]
        if not jitter.put_next(ssrc, sequence, timestamp, payload, arrival_s):
            return False
        reception.note(sequence, timestamp, arrival_s)
        self._received_packets += 1
        self._received_octets += len(payload)
        self._heard_s = arrival_s
        self._lost_reported = False
        return True

    def _receive(self, packet: RtpPacket, source: Address, arrival_s: float) -> None:
        kind = packet.payload_type
        if kind != self._receive_payload_type:
            if kind == self._event_payload_type:  # the kernel does not sort, or did not yet
                digit = self._event(packet, source, arrival_s)
                if digit is not None:
                    self._on_digit(digit, arrival_s)
                return
            if kind in _STATIC and self._codec is not None:
                packet = packet._replace(payload=self._converted(kind, packet.payload))
            elif kind != COMFORT_NOISE:
                self._unknown += 1
                return
        jitter = self._jitter
        if jitter is None or not self._admit(source):
            return
        self._count(packet, arrival_s)
        self._heard_s = arrival_s
        self._lost_reported = False
        jitter.put(packet, arrival_s)
        if self.latch.locked:
            self._usual_source = source

    def _converted(self, payload_type: int, payload: bytes) -> bytes:
        """Some gateways send whichever G.711 they like, whatever was agreed."""
        codec = CODECS[_STATIC[payload_type]]
        assert self._codec is not None
        return payload if codec is self._codec else self._codec.encode(codec.decode(payload))

    def _event(self, packet: RtpPacket, source: Address, arrival_s: float) -> str | None:
        if self._jitter is None or not self._admit(source) or not self.latch.trusted:
            return None
        self._count(packet, arrival_s)
        self._heard_s = arrival_s
        self._jitter.put_event(packet)
        digit = self._digits.receive(packet)
        if digit is not None:
            self._digits_received += 1
        return digit

    # --- the tick ------------------------------------------------------------------------------------------

    def play(self, now: float) -> bytes | None:
        """The next 20 ms to hear, S16LE at BUS_HZ; None for silence."""
        with self.lock:
            jitter = self._jitter
            if jitter is None:
                return None
            pieces = jitter.pop(now, quiet=self._quiet)
            if not self.listen:
                self._quiet = True
                if not self._sounded:
                    self._listen_for_sound(pieces, now)
                return None
            if self._receives and now - self._heard_s > LOST_AFTER_S and not self._lost_reported:
                self._lost_reported = True
                self._post(MediaLost("audio", now - self._heard_s))
            if len(pieces) == 1:
                frame = self._sound(pieces[0])
                if frame is None:
                    self._quiet = True
                    return None
            else:
                frame = b"".join(self._sound(piece) or bytes(2 * piece.samples) for piece in pieces)
            self._quiet = audioop.max(frame, 2) < _QUIET_PEAK
            if not self._quiet and not self._sounded:
                self._sounds(now)
            return frame

    def _listen_for_sound(self, pieces: list[Piece], now: float) -> None:
        codec = self._codec
        for piece in pieces:
            if isinstance(piece, Play) and codec is not None:
                sound = codec.decode(piece.payload[piece.start : piece.start + piece.samples])
                if audioop.max(sound, 2) >= _QUIET_PEAK:
                    self._sounds(now)
                    return

    def _sounds(self, now: float) -> None:
        self._sounded = True
        self._post(SoundHeard(now))

    def _sound(self, piece: Piece) -> bytes | None:
        if isinstance(piece, Play):
            payload, start, samples, follows = piece
            if samples != len(payload):
                payload = payload[start : start + samples]
            assert self._codec is not None
            return self._concealer.good(self._codec.decode(payload), follows=follows)
        if isinstance(piece, Conceal):
            return self._concealer.lost(piece.samples)
        if isinstance(piece, Noise):
            return _comfort_noise(piece)
        return None

    def send(self, microphone: bytes, encoded: dict[str, bytes], now: float) -> None:
        """Send one packet where the agreement lets us. `encoded` shares the work between legs of a tick."""
        with self.lock:
            timestamp = self._timestamp = self._timestamp + FRAME_SAMPLES & 0xFFFFFFFF
            if not self.sending:
                self._marker = True  # talk begins anew after a hold
                return
            if self._presses.active:
                event = self._presses.tick(timestamp)
                if event is not None:
                    self._send(self._event_send_type, event.marker, event.timestamp, event.payload)
                    return
            codec = self._codec
            assert codec is not None
            if self._tone is not None:
                payload = codec.encode(self._with_tone(microphone if self.talk else SILENCE))
            elif self.talk:
                name = codec.name
                payload = encoded.get(name) or encoded.setdefault(name, codec.encode(microphone))
            else:
                payload = codec.silence
            self._send(self._payload_type, self._marker, timestamp, payload)
            self._marker = False

    def _with_tone(self, frame: bytes) -> bytes:
        assert self._tone is not None
        sound = self._tone.frame()
        if sound is None:
            self._tone = None
            return frame
        return audioop.add(frame, sound, 2)

    def tick_report(self, now: float) -> None:
        # The frame sent last began 20 ms before the tick: its end is now.
        self.report(now, self._timestamp + FRAME_SAMPLES)

    def _heard_again(self, now: float) -> None:
        self._heard_s = now
        self._lost_reported = False

    def _more_statistics(self, values: Statistics) -> None:
        values["digits"] = self._digits_received
        if self._codec is not None:
            values["codec"] = self._codec.name
        jitter = self._jitter
        if jitter is not None:
            values["late"] = jitter.late
            values["concealed_ms"] = jitter.concealed * 1000 // BUS_HZ
            values["played_ms"] = jitter.played * 1000 // BUS_HZ


_NOISE = os.urandom(2 * BUS_HZ)  # a second of white noise at full scale


def _comfort_noise(piece: Noise) -> bytes:
    """Noise at the level the peer names: -dBov in the first octet (RFC 3389 section 3), its colour left out."""
    level_db = -float(piece.payload[0] & 0x7F) if piece.payload else -127.0
    size = 2 * piece.samples
    start = secrets.randbelow((len(_NOISE) - FRAME_BYTES) // 2) * 2
    # White noise of uniform samples is 4.8 dB below a full-scale square, the reference of dBov.
    return audioop.mul(_NOISE[start : start + size], 2, min(1.0, 10 ** ((level_db + 4.8) / 20)))
