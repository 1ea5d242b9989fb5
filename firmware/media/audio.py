"""The audio stream of a leg: jitter buffer and decoder one way, encoder the other, digits, tones.

Packets of 20 ms, or of 40 or 60 where the peer asks for them (a=ptime, a=maxptime). Sound goes in and out at
`rate_hz`, the codec's own rate, which the tick brings to that of its bus. The audio tick calls `play` and `send`
once per 20 ms; the event loop calls `read_control` for telephone-events, which the kernel sorts out for it (see
`net.rtp_port`), so that a digit need not wait for the tick. Mixing and the sound card are the tick's.
"""

import audioop
import logging
import os
import secrets
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from firmware.media.codec import FRAME_MS, G711, NARROWBAND_HZ, AudioCodec, CodecUnavailable, codec, frame_bytes
from firmware.media.events import DigitSource, MediaEvent, MediaLost, SoundHeard
from firmware.media.latch import Address
from firmware.media.quality import Quality
from firmware.media.resampler import Resampler
from firmware.media.sounds import Playable
from firmware.media.stream import RtpStream, Statistics
from firmware.media.tones import TonePlayer
from firmware.net.rtp_port import RtpPort
from firmware.rtp.concealment import Concealer
from firmware.rtp.jitter import COMFORT_NOISE, Conceal, JitterBuffer, Noise, Piece, Play
from firmware.rtp.packet import RtpError, RtpPacket, parse_rtp
from firmware.rtp.reception import ReportBlock
from firmware.rtp.telephone_event import Receiver, Sender
from firmware.sdp.agreement import AgreedMedia
from firmware.sdp.codecs import format_parameters

if TYPE_CHECKING:
    from firmware.media.dtmf import Detector

log = logging.getLogger(__name__)

LOST_AFTER_S = 10.0
_QUIET_PEAK = 250  # -42 dBFS: below it a shift of the delay is not heard
_STATIC = {0: "PCMU", 8: "PCMA"}  # RFC 3551: what may come without having been agreed by number
_EVENT_PAYLOAD_TYPE = 101
_CONTROL_BATCH = 32
_MOST_FRAMES = 3  # in a packet: a loss would be heard as a hole
_REST = struct.Struct("!2xHII").unpack_from  # sequence, timestamp, SSRC


class AudioStream(RtpStream):
    """`on_digit` gets a digit, how it came and when, on the thread that read it, with the first packet of it.

    Keys are listened for in the sound itself where no telephone-events were agreed and the codec leaves them whole.
    """

    media = "audio"

    def __init__(
        self,
        port: RtpPort,
        post: Callable[[MediaEvent], None],
        on_digit: Callable[[str, DigitSource, float], None],
        cname: str,
        *,
        listens_for_keys: bool = True,
    ) -> None:
        super().__init__(port, NARROWBAND_HZ, post, cname)
        self.talk = False
        self.listen = False
        self._on_digit = on_digit
        self._timestamp = secrets.randbits(32)
        self.rate_hz = NARROWBAND_HZ
        self._step = NARROWBAND_HZ * FRAME_MS // 1000  # of the timestamp, a packet
        self._still = bytes(frame_bytes(NARROWBAND_HZ))
        self._codec: AudioCodec | None = None
        self._asked: tuple[object, ...] = ()  # what `_codec` was made for
        self._whole = (b"", b"")  # a payload that cannot be cut, and all of its sound
        self._payload_type = 0
        self._receive_payload_type = -1
        self._usual = b""  # the first two octets of a packet in the agreed codec
        self._usual_source: Address | None = None  # whom the latch is locked on
        # Sorted out from the first datagram on, and kept by the kernel until `connect`: a code that is typed while
        # the answer is still on its way must not be overtaken by its own last digit.
        self._event_types: tuple[int, ...] = (_EVENT_PAYLOAD_TYPE,)
        port.select_control((_EVENT_PAYLOAD_TYPE,))
        self._event_send_type = -1
        self._receives = False
        self._frames = 1  # in a packet
        self._together: list[bytes] = []  # of the next packet, where it has several
        self._marker = True
        self._jitter: JitterBuffer | None = None
        self._concealer = Concealer(NARROWBAND_HZ)
        self._quiet = False
        self._sounded = False
        self._tone: Playable | None = None
        self._tone_rates = Resampler(NARROWBAND_HZ, NARROWBAND_HZ)
        self._bus_rates = Resampler(NARROWBAND_HZ, NARROWBAND_HZ)
        self._digits = Receiver()
        self._digits_received = 0
        self._presses = Sender()
        self._listens_for_keys = listens_for_keys
        self._key_detector: Detector | None = None
        self._key_tones: deque[TonePlayer] = deque()
        self._quality: Quality | None = None
        self._lost_reported = False

    # --- control, from the event loop ----------------------------------------------------------------------

    def connect(self, agreed: AgreedMedia | None) -> None:
        with self.lock:
            found = self._codec_for(agreed) if agreed is not None else None
            if agreed is None or found is None:
                self.sending = self._receives = False
                self._jitter = None
                self._destination = None
                return
            self._aim(agreed)
            if found is not self._codec:
                self._use(found)
            if self._jitter is None:
                self._jitter = JitterBuffer(
                    found.clock_hz, samples_of=found.samples, look_ahead=found.conceal is not None
                )
            self._frames = max(1, min(_MOST_FRAMES, agreed.ptime_ms // FRAME_MS))
            self._together.clear()
            self._payload_type = agreed.codec.payload_type
            self._receive_payload_type = agreed.codec.receive_payload_type
            self._usual = bytes((0x80, self._receive_payload_type))
            self._usual_source = None
            # Some phones do not say that they send telephone-events and do, with the number we offered.
            events = agreed.event_types or (_EVENT_PAYLOAD_TYPE,)
            if events != self._event_types:
                self._event_types = events
                self.port.select_control(events)
            event_hz = agreed.dtmf.clock_hz if agreed.dtmf is not None else NARROWBAND_HZ
            if event_hz != self._presses.clock_hz:
                self._presses = Sender(clock_hz=event_hz)
            self._event_send_type = agreed.dtmf.payload_type if agreed.dtmf is not None else -1
            if agreed.dtmf is not None or found.name not in G711 or not self._listens_for_keys:
                self._key_detector = None
            elif self._key_detector is None:
                from firmware.media.dtmf import Detector

                self._key_detector = Detector()
            self.sending = agreed.sends
            if agreed.receives != self._receives:
                self._receives = agreed.receives
                self._heard_again(time.monotonic())

    def rebind(self, port: RtpPort) -> RtpPort:
        with self.lock:
            port.select_control(self._event_types)
            self._usual_source = None
            return super().rebind(port)

    def _codec_for(self, agreed: AgreedMedia) -> AudioCodec | None:
        """The codec at hand if the agreement means it still, so that what it remembers stays."""
        fec = format_parameters(agreed.codec.fmtp).get("useinbandfec") == "1"
        asked = (agreed.codec.name, agreed.bit_rate, fec)
        if asked == self._asked and self._codec is not None:
            return self._codec
        try:
            found = codec(agreed.codec.name, bit_rate=agreed.bit_rate, in_band_fec=fec)
        except CodecUnavailable as error:  # agreed on without asking `codec.usable`
            log.error("%s", error)
            return None
        self._asked = asked
        return found

    def _use(self, found: AudioCodec) -> None:
        self._codec = found
        self._jitter = None  # what is queued is in the other codec: played, it would be loud noise
        self._whole = (b"", b"")
        if found.clock_hz != self._clock_hz and self._reception is not None:
            self._lost_before += max(0, self._reception.lost)
            self._reception = None  # its jitter is counted in the other clock
        self._clock_hz = found.clock_hz
        self._step = found.clock_hz * FRAME_MS // 1000
        self._still = bytes(found.frame_bytes)
        if found.rate_hz != self.rate_hz:
            self._concealer = Concealer(found.rate_hz)
            self.rate_hz = found.rate_hz

    def set_audio(self, *, talk: bool, listen: bool) -> None:
        with self.lock:
            self.talk = talk
            if listen != self.listen:
                self.listen = listen
                self._heard_again(time.monotonic())

    def play_tone(self, player: Playable | None) -> None:
        with self.lock:
            if player is not None:
                self._tone = player
            elif self._tone is not None:
                self._tone.stop()

    def press(self, digits: str, way: Literal["auto", "rtp", "inband"] = "auto") -> None:
        """Send digits as telephone-events or, where none are agreed, as sound in G.711. ValueError for others than
        0-9 * # A-D, or where that way is not open."""
        with self.lock:
            if way != "inband" and self._event_send_type >= 0:
                self._presses.press(digits)
            elif way == "rtp":
                raise ValueError("the peer takes no telephone-events")
            elif self._codec is None or self._codec.name not in G711:
                raise ValueError("the peer takes no telephone-events, and the codec would spoil keys sent as sound")
            else:
                from firmware.media.dtmf import keys_as_tone

                self._key_tones.append(TonePlayer(keys_as_tone(digits)))

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
                    if not (data := self._opened(data, source[:2])):
                        continue
                    packet = parse_rtp(data)
                except OSError:
                    return
                except RtpError:
                    self._malformed += 1
                    continue
                if packet.payload_type not in self._event_types:
                    self._unknown += 1
                    continue
                digit = self._event(packet, source[:2], now := time.monotonic())
            if digit is not None:
                self._on_digit(digit, "rtp", now)

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
            if kind in self._event_types:  # the kernel does not sort, or did not yet
                digit = self._event(packet, source, arrival_s)
                if digit is not None:
                    self._on_digit(digit, "rtp", arrival_s)
                return
            if kind in _STATIC and self._codec is not None and self._codec.name in G711:
                packet = packet._replace(payload=self._converted(kind, packet.payload))
            elif kind != COMFORT_NOISE:
                self._unknown += 1
                return
        jitter = self._jitter
        if jitter is None or not self._admit(source) or not self._of_sender(packet.ssrc, arrival_s):
            return
        self._count(packet, arrival_s)
        self._lost_reported = False
        jitter.put(packet, arrival_s)
        if self.latch.locked:
            self._usual_source = source

    def _converted(self, payload_type: int, payload: bytes) -> bytes:
        """Some gateways send whichever G.711 they like, whatever was agreed."""
        other = G711[_STATIC[payload_type]]
        assert self._codec is not None
        return payload if other is self._codec else self._codec.encode(other.decode(payload))

    def _event(self, packet: RtpPacket, source: Address, arrival_s: float) -> str | None:
        if self._jitter is None or not self._admit(source) or not self.latch.trusted:
            return None
        if not self._of_sender(packet.ssrc, arrival_s):
            return None
        self._count(packet, arrival_s)
        self._jitter.put_event(packet)
        digit = self._digits.receive(packet)
        if digit is not None:
            self._digits_received += 1
        return digit

    # --- the tick ------------------------------------------------------------------------------------------

    def play(self, now: float) -> bytes | None:
        """The next 20 ms to hear, S16LE at `rate_hz`; None for silence."""
        with self.lock:
            jitter = self._jitter
            if jitter is None:
                return None
            pieces = jitter.pop(now, quiet=self._quiet)
            if self._key_detector is not None:
                self._listen_for_keys(self._key_detector, pieces, now)
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
                size = len(self._still)
                frame = b"".join(self._sound(piece) or bytes(self._size(piece.samples)) for piece in pieces)
                if len(frame) != size:  # a piece of a third of a sample, between Opus' clock and its sound
                    frame = frame[:size].ljust(size, b"\x00")
            self._quiet = audioop.max(frame, 2) < _QUIET_PEAK
            if not self._quiet and not self._sounded:
                self._sounds(now)
            return frame

    def on_bus(self, frame: bytes, bus_hz: int) -> bytes:
        """What `play` gave, at the bus' rate. The frame says its own: the codec may have changed meanwhile."""
        rate_hz = len(frame) * 1000 // FRAME_MS // 2
        rates = self._bus_rates
        if rates.from_hz != rate_hz or rates.to_hz != bus_hz:
            rates = self._bus_rates = Resampler(rate_hz, bus_hz)
        return rates.convert(frame)

    def _listen_for_keys(self, detector: "Detector", pieces: list[Piece], now: float) -> None:
        for piece in pieces:
            if not isinstance(piece, Play):
                detector.skip()  # what conceals a loss repeats the key, or its pause
                continue
            for key in detector.feed(self._decoded(piece)) if self.latch.trusted else "":
                self._digits_received += 1
                self._on_digit(key, "inband", now)

    def _listen_for_sound(self, pieces: list[Piece], now: float) -> None:
        for piece in pieces:
            if isinstance(piece, Play) and audioop.max(self._decoded(piece), 2) >= _QUIET_PEAK:
                self._sounds(now)
                return

    def _sounds(self, now: float) -> None:
        self._sounded = True
        self._post(SoundHeard(now))

    def _sound(self, piece: Piece) -> bytes | None:
        if isinstance(piece, Play):
            return self._concealer.good(self._decoded(piece), follows=piece.follows)
        if isinstance(piece, Conceal):
            used = self._codec
            if used is not None and used.conceal is not None:
                return self._concealer.good(used.conceal(piece.samples, piece.following))
            return self._concealer.lost(self._size(piece.samples) // 2)
        if isinstance(piece, Noise):
            return _comfort_noise(piece, self._size(piece.samples))
        return None

    def _decoded(self, piece: Play) -> bytes:
        payload, start, samples, _ = piece
        used = self._codec
        assert used is not None
        octets = used.octets
        if octets:
            if samples * octets == len(payload):
                return used.decode(payload)
            return used.decode(payload[start * octets : (start + samples) * octets])
        if payload is not self._whole[0]:
            self._whole = (payload, used.decode(payload))
        return self._whole[1][self._size(start) : self._size(start + samples)]

    def _size(self, samples: int) -> int:
        """Octets of sound for `samples` of the RTP clock."""
        return samples * self.rate_hz // self._clock_hz * 2

    def send(self, microphone: bytes, encoded: dict[str, bytes], now: float) -> None:
        """Send one packet where the agreement lets us. `microphone` is a frame at `rate_hz`; `encoded` shares the
        work between legs of a tick."""
        with self.lock:
            timestamp = self._timestamp = self._timestamp + self._step & 0xFFFFFFFF
            if not self.sending:
                self._marker = True  # talk begins anew after a hold
                self._together.clear()
                return
            if self._presses.active:
                self._together.clear()
                event = self._presses.tick(timestamp)
                if event is not None:
                    self._send(self._event_send_type, event.marker, event.timestamp, event.payload)
                    return
            used = self._codec
            assert used is not None
            if len(microphone) != len(self._still):
                microphone = self._still  # the codec has changed since the tick asked for its rate
            if self._frames > 1:
                self._send_together(used, microphone, encoded, timestamp)
                return
            self._send(self._payload_type, self._marker, timestamp, self._encoded(used, microphone, encoded))
            self._marker = False

    def _encoded(self, used: AudioCodec, microphone: bytes, encoded: dict[str, bytes]) -> bytes:
        """What this tick says."""
        if self._key_tones and (key_frame := self._key_frame()) is not None:
            return used.encode(key_frame)
        if self._tone is not None:
            return used.encode(self._with_tone(microphone if self.talk else self._still))
        if not self.talk:
            return used.silence
        if used.shared:
            name = used.name
            return encoded.get(name) or encoded.setdefault(name, used.encode(microphone))
        return used.encode(microphone)

    def _send_together(
        self, used: AudioCodec, microphone: bytes, encoded: dict[str, bytes], timestamp: int
    ) -> None:
        """Several frames in a packet: put side by side where the codec lets one, else encoded as one."""
        if used.octets:
            self._together.append(self._encoded(used, microphone, encoded))
        else:
            sound = microphone if self.talk else self._still
            self._together.append(self._with_tone(sound) if self._tone is not None else sound)
        if len(self._together) < self._frames:
            return
        payload = b"".join(self._together)
        self._together.clear()
        begins = timestamp - (self._frames - 1) * self._step & 0xFFFFFFFF
        self._send(self._payload_type, self._marker, begins, payload if used.octets else used.encode(payload))
        self._marker = False

    def _key_frame(self) -> bytes | None:
        """Keys sound alone: talk over them would spoil them."""
        while self._key_tones:
            frame = self._key_tones[0].frame()
            if frame is not None:
                return frame
            self._key_tones.popleft()
        return None

    def _with_tone(self, frame: bytes) -> bytes:
        assert self._tone is not None
        sound = self._tone.frame()
        if sound is None:
            self._tone = None
            return frame
        if len(sound) != len(frame):
            rates = self._tone_rates
            if rates.from_hz != self._tone.rate_hz or rates.to_hz != self.rate_hz:
                rates = self._tone_rates = Resampler(self._tone.rate_hz, self.rate_hz)
            sound = rates.convert(sound)
        return audioop.add(frame, sound, 2)

    def note_quality(self) -> None:
        """Once a second, while sound is due: how it was, see `quality`."""
        with self.lock:
            jitter = self._jitter
            if jitter is None or not self._received_packets:
                return
            if self._quality is None:
                self._quality = Quality()
            self._quality.note(
                played_s=jitter.played / self._clock_hz,
                concealed_s=jitter.concealed / self._clock_hz,
                lost=self._lost_before + (max(0, self._reception.lost) if self._reception is not None else 0),
                received=self._received_packets,
                jitter_ms=self._reception.jitter_s * 1000 if self._reception is not None else 0.0,
                buffer_ms=jitter.target_s * 1000,
                round_trip_ms=(self._reports.round_trip_s or 0.0) * 1000,
            )

    def history(self) -> dict[str, list[float]]:
        """The last minutes, second by second, for a plot; empty before the first."""
        with self.lock:
            return self._quality.history() if self._quality is not None else {}

    def _reported(self, block: ReportBlock, now: float) -> None:
        used = self._codec
        if used is not None and used.expect_loss is not None:
            used.expect_loss(block.fraction_lost / 256)

    def tick_report(self, now: float) -> None:
        # The frame sent last began 20 ms before the tick: its end is now.
        self.report(now, self._timestamp + self._step)

    def _heard_again(self, now: float) -> None:
        self._heard_s = now
        self._lost_reported = False

    def _more_statistics(self, values: Statistics) -> None:
        values["digits"] = self._digits_received
        if self._codec is not None:
            values["codec"] = self._codec.name
        jitter = self._jitter
        if self._quality is not None:
            values["mos"] = self._quality.mos
            values["mos_worst"] = self._quality.worst
        if jitter is not None:
            values["depth_ms"] = round(jitter.target_s * 1000)
            values["late"] = jitter.late
            values["concealed_ms"] = jitter.concealed * 1000 // self._clock_hz
            values["played_ms"] = jitter.played * 1000 // self._clock_hz


_NOISE = os.urandom(32_000)  # white noise at full scale


def _comfort_noise(piece: Noise, size: int) -> bytes:
    """`size` octets of noise at the level the peer names: -dBov in the first octet (RFC 3389 section 3), its colour
    left out."""
    level_db = -float(piece.payload[0] & 0x7F) if piece.payload else -127.0
    start = secrets.randbelow((len(_NOISE) - size) // 2) * 2
    # White noise of uniform samples is 4.8 dB below a full-scale square, the reference of dBov.
    return audioop.mul(_NOISE[start : start + size], 2, min(1.0, 10 ** ((level_db + 4.8) / 20)))
