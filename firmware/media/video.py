"""The video stream of a leg: H.264 over RTP (RFC 6184) under the leg's own header, PLI and FIR, received pictures.

What it sends comes from the `feed`, on the camera's thread. Every leg begins with an IDR, which is asked for at
once and again each second for three seconds, since decoders that started late show black until the next one.
"""

import secrets
import time
from collections.abc import Callable

from firmware.media.events import MediaEvent
from firmware.media.latch import Address
from firmware.media.stream import RtpStream, Statistics
from firmware.net.rtp_port import RtpPort
from firmware.rtp.h264 import Depacketizer
from firmware.rtp.history import History
from firmware.rtp.packet import RtpPacket
from firmware.rtp.rate_control import RateControl
from firmware.rtp.reception import ReportBlock
from firmware.rtp.rtcp import MaximumBitRate, PictureLossIndication, ReceiverEstimate
from firmware.sdp.agreement import AgreedMedia

CLOCK_HZ = 90_000
_YOUNG_S = (1.0, 2.0, 3.0)  # a new leg gets further IDRs that long after its first
_IDR_WITHIN_S = 0.5  # else it is asked for again
_PLI_EVERY_S = 0.5
_FRESH = 0.3  # of the last measurement
_MEASURE_S = 0.8  # browsers tell their estimate every second


class VideoStream(RtpStream):
    """Sends what the feed hands it; receives for `on_picture` (access unit in Annex B, RTP timestamp), if given."""

    media = "video"

    def __init__(
        self,
        port: RtpPort,
        post: Callable[[MediaEvent], None],
        cname: str,
        request_keyframe: Callable[[], None],
        on_picture: Callable[[bytes, int], None] | None = None,
    ) -> None:
        super().__init__(port, CLOCK_HZ, post, cname)
        self.mode = 1
        self._request_keyframe = request_keyframe
        self._on_picture = on_picture
        self._offset = secrets.randbits(32)
        self._payload_type = 0
        self._receive_payload_type = -1
        self._waiting = True  # for an IDR to begin with
        self._last_us = 0  # when the newest picture that it got was taken
        self._ask_s = 0.0
        self._again_s: list[float] = []
        self._depacketizer = Depacketizer() if on_picture is not None else None
        self._pli_s = 0.0
        self._history = History()
        self._keyframes = 0
        self._measured = 0, time.monotonic(), 0.0  # octets sent, when, and the bits a second until then
        # Set by the feed: what this leg says of its network, see `rtp.rate_control`.
        self.control: RateControl | None = None

    # --- control, from the event loop ----------------------------------------------------------------------

    def connect(self, agreed: AgreedMedia | None) -> bool:
        """Follow the agreement; True when pictures are to be sent from now on."""
        with self.lock:
            if agreed is None:
                self.sending = False
                self._destination = None
                return False
            moved = self._aim(agreed)
            mode = 1 if agreed.packetization_mode else 0
            if moved or mode != self.mode or not self.sending:
                self._waiting = True
                self._again_s = []
                self._ask_s = time.monotonic() + _IDR_WITHIN_S  # the feed asks when the leg joins
            self.mode = mode
            self._payload_type = agreed.codec.payload_type
            self._receive_payload_type = agreed.codec.receive_payload_type
            self.sending = agreed.sends and self._destination is not None
            return self.sending

    def close(self) -> None:
        with self.lock:
            self._bye(self._rtp_time(time.monotonic()))

    # --- out, on the camera's thread -----------------------------------------------------------------------

    def wants(self, keyframe: bool, now: float) -> bool:
        """Does this leg take the picture? Asks for the IDR that it needs instead."""
        with self.lock:
            if not self.sending:
                return False
            again_s = self._again_s
            if keyframe:
                self._keyframes += 1
                if self._waiting:
                    self._waiting = False
                    self._again_s = [now + after for after in _YOUNG_S]
                return True
            waiting = self._waiting
            if waiting:
                if now < self._ask_s:
                    return False
                self._ask_s = now + _IDR_WITHIN_S
            elif again_s and now >= again_s[0]:
                del again_s[0]
            else:
                return True
        self._request_keyframe()
        return not waiting

    def joins(self, since_us: int) -> bool:
        """Can this leg begin with pictures that were taken from `since_us` on? In mode 0 they may be too large."""
        with self.lock:
            return self.sending and self._waiting and self.mode == 1 and self._last_us < since_us

    def send(self, payloads: list[tuple[bytes, bool]], timestamp_us: int) -> None:
        with self.lock:
            self._last_us = timestamp_us
            timestamp = self._offset + timestamp_us * 9 // 100 & 0xFFFFFFFF
            payload_type = self._payload_type
            for payload, marker in payloads:
                self._send(payload_type, marker, timestamp, payload)

    # --- what the peer says of it, on the tick's thread ----------------------------------------------------

    def _reported(self, block: ReportBlock, now: float) -> None:
        if self.control is not None:
            self.control.lost(self, block.fraction_lost / 256, now)

    def _bounded(self, packet: MaximumBitRate | ReceiverEstimate, now: float) -> None:
        control = self.control
        if isinstance(packet, ReceiverEstimate):
            if control is not None and (self.ssrc in packet.sources or not packet.sources):
                control.remb(self, packet.bit_rate, now, self._sent_bps(now))
            return
        for ssrc, bit_rate, overhead in packet.entries:
            if ssrc == self.ssrc and not packet.granted:
                if control is not None:
                    control.tmmbr(self, bit_rate)
                notice = MaximumBitRate(self.ssrc, ((packet.ssrc, bit_rate, overhead),), granted=True)
                self._send_rtcp(self._reports.feedback(now, notice))

    def _sent_bps(self, now: float) -> float:
        """Over the last seconds, keyframes evened out; measured anew as it is asked for."""
        octets, at_s, rate_bps = self._measured
        if now - at_s >= _MEASURE_S:
            fresh_bps = (self._sent_octets - octets) * 8 / (now - at_s)
            rate_bps = rate_bps + (fresh_bps - rate_bps) * _FRESH if rate_bps else fresh_bps
            self._measured = self._sent_octets, now, rate_bps
        return rate_bps

    def _more_statistics(self, values: Statistics) -> None:
        values["keyframes"] = self._keyframes
        values["resent"] = self._resent
        control = self.control
        if control is not None and self.sending:
            values["rate_bps"] = control.bit_rate
            bound_bps = control.said(self, time.monotonic())
            if bound_bps:
                values["bound_bps"] = bound_bps

    def _rtp_time(self, now: float) -> int:
        return self._offset + int(now * CLOCK_HZ) & 0xFFFFFFFF

    def tick_report(self, now: float) -> None:
        self.report(now, self._rtp_time(now))

    def _keyframe_wanted(self) -> None:
        if self.sending:
            self._request_keyframe()

    # --- in ------------------------------------------------------------------------------------------------

    def _receive(self, packet: RtpPacket, source: Address, arrival_s: float) -> None:
        if packet.payload_type != self._receive_payload_type:
            self._unknown += 1
            return
        if not self._admit(source) or not self._of_sender(packet.ssrc, arrival_s):
            return
        self._count(packet, arrival_s)
        depacketizer = self._depacketizer
        if depacketizer is None or self._on_picture is None:
            return
        picture = depacketizer.receive(packet)
        if picture is not None:
            self._on_picture(picture, packet.timestamp)
        # Asked at a picture's end: the first IDR is not asked for while it is coming in.
        if packet.marker and depacketizer.waiting_for_keyframe and arrival_s >= self._pli_s:
            self._pli_s = arrival_s + _PLI_EVERY_S
            self._send_rtcp(self._reports.feedback(arrival_s, PictureLossIndication(self.ssrc, packet.ssrc)))
