"""One RTP stream of a leg, as far as audio and video are alike: sockets, latch, reports, counters.

RFC 3550 over a `RtpPort`, symmetric (see `latch`), RTCP on its own port. SSRC and sequence numbers last as long
as the stream: over 183, 200 and every re-INVITE. Three threads meet here (event loop, audio tick, camera), so
every method takes `lock`; it is held for microseconds and never across a call of foreign code, except `post`.
"""

import ipaddress
import logging
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import ClassVar

from firmware.media.events import Media, MediaEvent, RtpStarted
from firmware.media.latch import Address, Latch
from firmware.net.rtp_port import RtpPort
from firmware.rtp.packet import RtpError, RtpPacket, pack_rtp, parse_rtp
from firmware.rtp.reception import Reception
from firmware.rtp.rtcp import (
    FullIntraRequest,
    PictureLossIndication,
    ReportScheduler,
    SenderReport,
    Sent,
    parse_rtcp,
)
from firmware.sdp.agreement import AgreedMedia

log = logging.getLogger(__name__)

Statistics = dict[str, float | int | str]

_DATAGRAM = 2048
_STAMP_SPACE = socket.CMSG_SPACE(16)
_TIMESPEC = struct.Struct("@qq")


class RtpStream:
    """`post` takes events from any thread to the leg's owner. The stream owns `port` and closes it."""

    media: ClassVar[Media]

    def __init__(self, port: RtpPort, clock_hz: int, post: Callable[[MediaEvent], None], cname: str) -> None:
        self.port = port
        # Re-entrant: a `post` that runs the handler at once may come back through close().
        self.lock = threading.RLock()
        self.latch = Latch()
        self.ssrc = secrets.randbits(32)
        self.sending = False
        self.closed = False
        self._clock_hz = clock_hz
        self._post = post
        # Below 2**15, so that an SRTP session's first packets cannot be taken for a wrap (RFC 3711 3.3.1).
        self._sequence = secrets.randbits(15)
        now = time.monotonic()
        self._reports = ReportScheduler(
            self.ssrc,
            cname,
            secrets.SystemRandom().random,
            now,
            wall_offset_s=time.time() - now,
        )
        self._scope = _scope(port)
        self._destination: tuple[str | int, ...] | None = None
        self._rtcp_target: Address | None = None
        self._rtcp_source: Address | None = None
        self._reception: Reception | None = None
        self._lost_before = 0
        self._sent_packets = 0
        self._sent_octets = 0
        self._sent_reported = 0
        self._send_errors = 0
        self._received_packets = 0
        self._received_octets = 0
        self._malformed = 0
        self._unknown = 0

    # --- the target ----------------------------------------------------------------------------------------

    def _aim(self, agreed: AgreedMedia) -> bool:
        """Follow the agreement's addresses; True when RTP now goes elsewhere. Caller holds the lock."""
        target = self._literal(agreed.remote_host, agreed.remote_rtp_port)
        self._rtcp_target = self._literal(agreed.remote_rtcp_host, agreed.remote_rtcp_port)
        if target is None:
            self._destination = None
            return False
        moved = self.latch.aim(target)
        if moved:
            self._rtcp_source = None
        resumed = self._destination is None
        self._route()
        return moved or resumed

    def rebind(self, port: RtpPort) -> RtpPort:
        """Go on over `port`, on another address of ours: same SSRC and numbering, the latch open again.

        Returns the port of before, for the caller to close.
        """
        with self.lock:
            before, self.port = self.port, port
            self._scope = _scope(port)
            self._rtcp_source = None
            self.latch.reopen()
            if port.media.family != before.media.family:  # until the peer names an address of this family
                self._destination = self._rtcp_target = None
            elif self._destination is not None:
                self._route()
            return before

    def _literal(self, host: str, port: int) -> Address | None:
        """The address as the kernel will spell it. None for what a send would fail on, or resolve a name for."""
        try:
            ip = ipaddress.ip_address(host)
        except ValueError:
            return None
        if (ip.version == 6) != (self.port.media.family == socket.AF_INET6):
            log.warning("%s: %s cannot be reached from %s", self.media, host, self.port.host)
            return None
        return None if ip.is_unspecified or not port else (str(ip), port)

    def _route(self) -> None:
        remote = self.latch.remote
        self._destination = (*remote, 0, self._scope) if self._scope and remote is not None else remote

    # --- out -----------------------------------------------------------------------------------------------

    def _send(self, payload_type: int, marker: bool, timestamp: int, payload: bytes) -> None:
        """Caller holds the lock."""
        destination = self._destination
        if destination is None or self.closed:
            return
        packet = pack_rtp(payload_type, marker, self._sequence, timestamp, self.ssrc, payload)
        self._sequence = self._sequence + 1 & 0xFFFF
        try:
            self.port.media.sendto(packet, destination)
        except OSError:
            self._send_errors += 1
            return
        self._sent_packets += 1
        self._sent_octets += len(payload)
        if self._sent_packets == 1:
            self._post(RtpStarted(self.media, "sent", time.monotonic()))

    @property
    def report_s(self) -> float:
        """When the next RTCP report is due."""
        return self._reports.deadline

    def report(self, now: float, timestamp: int) -> None:
        """Send SR or RR; `timestamp` is the RTP time of `now` in what we send."""
        with self.lock:
            data = self._reports.report(now, self._sent(timestamp), self._receptions())
            self._send_rtcp(data)

    def _sent(self, timestamp: int) -> Sent | None:
        if self._sent_packets == self._sent_reported:
            return None
        self._sent_reported = self._sent_packets
        return Sent(timestamp, self._sent_packets, self._sent_octets)

    def _receptions(self) -> tuple[Reception, ...]:
        return () if self._reception is None else (self._reception,)

    def _send_rtcp(self, data: bytes) -> None:
        target = self._rtcp_target
        if self._destination is None or target is None or self.closed:
            return
        if self.latch.moved:  # the SDP's address is unreachable: RTCP must follow RTP
            host, port = self.latch.remote or target
            target = self._rtcp_source or (host, port + 1)
        try:
            self.port.rtcp.sendto(data, (*target, 0, self._scope) if self._scope else target)
        except OSError:
            self._send_errors += 1

    # --- in ------------------------------------------------------------------------------------------------

    def read_media(self, now: float, wall_offset_s: float) -> None:
        """Take one datagram from the media socket; `wall_offset_s` is wall clock minus monotonic clock."""
        with self.lock:
            try:
                data, ancillary, _, source = self.port.media.recvmsg(_DATAGRAM, _STAMP_SPACE)
            except OSError:  # nothing there, or closed meanwhile
                return
            arrival_s = _arrival(ancillary, now, wall_offset_s)
            if self._goes_on(data, source, arrival_s):
                return
            try:
                packet = parse_rtp(data)
            except RtpError:
                self._malformed += 1
                return
            self._receive(packet, source[:2], arrival_s)

    def _goes_on(self, data: bytes, source: tuple[str | int, ...], arrival_s: float) -> bool:
        """Take the packet by a shorter way than `_receive`, where there is one for it."""
        return False

    def _receive(self, packet: RtpPacket, source: Address, arrival_s: float) -> None:
        raise NotImplementedError

    def _admit(self, source: Address) -> bool:
        """Does a plausible packet from there count? Follows the latch."""
        latch = self.latch
        if latch.locked and source == latch.remote:
            return True
        if not latch.admit(source):
            return False
        if self._destination is not None:
            self._route()
        return True

    def _count(self, packet: RtpPacket, arrival_s: float) -> None:
        reception = self._reception
        if reception is None or reception.ssrc != packet.ssrc:
            if reception is not None:
                self._lost_before += max(0, reception.lost)
            reception = self._reception = Reception(packet.ssrc, self._clock_hz)
        reception.note(packet.sequence, packet.timestamp, arrival_s)
        self._received_packets += 1
        self._received_octets += len(packet.payload)
        if self._received_packets == 1:
            self._post(RtpStarted(self.media, "received", arrival_s))

    def read_rtcp(self, now: float, wall_offset_s: float) -> None:
        """Take one datagram from the RTCP socket."""
        if self._take_rtcp(now, wall_offset_s):
            self._keyframe_wanted()  # not under the lock: it ends in the camera's driver

    def _take_rtcp(self, now: float, wall_offset_s: float) -> bool:
        """True when the peer asks for a keyframe."""
        with self.lock:
            try:
                data, ancillary, _, source = self.port.rtcp.recvmsg(_DATAGRAM, _STAMP_SPACE)
            except OSError:
                return False
            if not self._knows(source[0]):
                self.latch.refused += 1
                return False
            try:
                packets = parse_rtcp(data)
            except RtpError:
                self._malformed += 1
                return False
            self._rtcp_source = source[:2]
            # The tick reads up to 20 ms after the arrival; a round trip measured by that would be its own.
            arrival_s = _arrival(ancillary, now, wall_offset_s)
            self._reports.received(packets, len(data), arrival_s)
            wanted = False
            for packet in packets:
                if isinstance(packet, SenderReport):
                    if self._reception is not None and self._reception.ssrc == packet.ssrc:
                        self._reception.sender_report(packet.ntp, arrival_s)
                elif isinstance(packet, PictureLossIndication | FullIntraRequest):
                    wanted = True
            return wanted

    def _knows(self, host: str) -> bool:
        remote, target = self.latch.remote, self._rtcp_target
        return (remote is not None and host == remote[0]) or (target is not None and host == target[0])

    def _keyframe_wanted(self) -> None:
        """The peer asks for an IDR; only a video stream can do something about it."""

    # --- the end -------------------------------------------------------------------------------------------

    def statistics(self) -> Statistics:
        """Plain values, each name beginning with the medium; times in ms."""
        with self.lock:
            reception = self._reception
            values: Statistics = {
                "sent": self._sent_packets,
                "received": self._received_packets,
                "lost": self._lost_before + (max(0, reception.lost) if reception is not None else 0),
                "jitter_ms": round(reception.jitter_s * 1000, 1) if reception is not None else 0.0,
                "refused": self.latch.refused,
                "unknown": self._unknown,
                "malformed": self._malformed,
                "send_errors": self._send_errors,
            }
            if self._reports.round_trip_s is not None:
                values["round_trip_ms"] = round(self._reports.round_trip_s * 1000, 1)
            self._more_statistics(values)
            return {f"{self.media}_{name}": value for name, value in values.items()}

    def _more_statistics(self, values: Statistics) -> None:
        """What the medium adds."""

    def _bye(self, timestamp: int) -> None:
        """Say goodbye and close the sockets. Caller holds the lock."""
        if self.closed:
            return
        now = time.monotonic()
        if self._sent_packets or self._received_packets:
            self._send_rtcp(self._reports.bye(now, self._sent(timestamp), self._receptions()))
        self.closed = True
        self.sending = False
        self.port.close()


def _scope(port: RtpPort) -> int:
    """The interface that a link-local IPv6 address belongs to."""
    return int(port.media.getsockname()[3]) if port.media.family == socket.AF_INET6 else 0


def _arrival(ancillary: list[tuple[int, int, bytes]], now: float, wall_offset_s: float) -> float:
    """The kernel's stamp (SO_TIMESTAMPNS, wall clock) on the monotonic clock; `now` where it makes no sense."""
    if ancillary and len(ancillary[0][2]) == 16:
        seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2])
        stamp_s: float = seconds + nanoseconds * 1e-9 - wall_offset_s
        if now - 1.0 < stamp_s < now:  # else the wall clock has just been set
            return stamp_s
    return now
