"""One RTP stream of a leg, as far as audio and video are alike: sockets, latch, reports, counters.

RFC 3550 over a `RtpPort`, symmetric (see `latch`), RTCP on its own port or on RTP's (RFC 5761). SSRC and sequence
numbers last as long as the stream: over 183, 200, every re-INVITE, and every change of transport. Three threads
meet here (event loop, audio tick, camera), so every method takes `lock`; it is held for microseconds and never
across a call of foreign code, except `post`.

A transport has two halves, and any of one goes with any of the other:

- The way: the port's own sockets, which the tick reads, or a `Wire` (`go_over`): what comes over it is put into
  its `inbox` by whatever thread receives it, and the tick takes it from there (`Tick.wired`).
- The seal (`srtp.Seal`): None for plain RTP; `srtp.Srtp` with the keys of the agreement (SDES), or with those of a
  handshake (`seal`), and `srtp.NoKeysYet` before that. Every byte that comes or goes passes it, digits included.
  STUN and the packets of a handshake on the stream's own sockets go to `on_control`.

What is plain and comes by socket pays for this with one comparison a packet.
"""

import contextlib
import ipaddress
import logging
import secrets
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

from firmware.media.events import Media, MediaEvent, RtpStarted
from firmware.media.latch import Address, Latch
from firmware.media.srtp import NoKeysYet, Seal, Srtp
from firmware.net.rtp_port import RtpPort
from firmware.rtp.history import PACKETS, History
from firmware.rtp.packet import RtpError, RtpPacket, is_rtcp, pack_rtp, parse_rtp
from firmware.rtp.reception import Reception, ReportBlock
from firmware.rtp.rtcp import (
    FullIntraRequest,
    GenericNack,
    MaximumBitRate,
    PictureLossIndication,
    ReceiverEstimate,
    ReportScheduler,
    SenderReport,
    Sent,
    parse_rtcp,
)
from firmware.sdp.agreement import AgreedMedia
from firmware.sdp.crypto import SrtpKeys

log = logging.getLogger(__name__)

Statistics = dict[str, float | int | str]

_DATAGRAM = 2048
_STAMP_SPACE = socket.CMSG_SPACE(16)
_TIMESPEC = struct.Struct("@qq")
_SILENT_S = 0.1  # after which another may take a sender's place: more than the longest packet
_MOST_OF_A_WIRE = 64  # datagrams a tick, as of a socket
_WIRE: Address = ("wire", 1)  # where a wire's packets come from and go to: it chooses its peer itself


class Wire(Protocol):
    """Carries a stream's datagrams in place of its sockets (ICE): RTP, and RTCP multiplexed with it.

    `send` is called on the audio's and the camera's thread with the stream's lock held; it must not wait. OSError
    is counted. `inbox` takes (datagram, `time.monotonic` of its arrival) and is bounded by who made it.
    """

    @property
    def inbox(self) -> "deque[tuple[bytes, float]]": ...

    def send(self, datagram: bytes) -> None: ...


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
        # Gets (datagram, source) of STUN and of handshakes, on the thread that read them, under the lock.
        self.on_control: Callable[[bytes, Address], None] | None = None
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
        self._send_datagram: Callable[[bytes, tuple[str | int, ...]], object] = port.media.sendto
        self._wire: Wire | None = None
        self._path: Address | None = None  # that ICE found
        self._seal: Seal | None = None
        self._by_handshake = False  # the keys are not the description's
        self._mux = False
        self._destination: tuple[str | int, ...] | None = None
        self._rtcp_target: Address | None = None
        self._rtcp_source: Address | None = None
        self._reception: Reception | None = None
        self._heard_s = 0.0
        self._sender_left = False  # what comes from now on may be another's
        self._history: History | None = None
        self._resent = 0
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
        if agreed.keys is not None:
            self._take_keys(agreed.keys)
            self._by_handshake = False
        elif not self._by_handshake:
            self._seal = None
        self._mux = agreed.rtcp_mux or self._wire is not None
        if self._wire is not None:
            target: Address | None = _WIRE
        elif agreed.ice is not None:
            target = self._path  # nothing is sent to an address that has not consented
        else:
            target = self._literal(agreed.remote_host, agreed.remote_rtp_port)
        # A port of its own would want a handshake of its own (RFC 5764 section 4.1); the few who ask go without.
        apart = agreed.dtls is None or self._mux
        self._rtcp_target = self._literal(agreed.remote_rtcp_host, agreed.remote_rtcp_port) if apart else None
        if target is None:
            self._destination = None
            return False
        moved = self.latch.aim(target)
        if moved:
            self._rtcp_source = None
            self._sender_left = True
        resumed = self._destination is None
        self._route()
        return moved or resumed

    def seal(self, keys: SrtpKeys | None) -> None:
        """Encrypt with the keys of a handshake (DTLS); None: it is still to come, and until then nothing passes."""
        with self.lock:
            self._by_handshake = True
            if keys is None:
                self._seal = NoKeysYet()
            else:
                self._take_keys(keys)

    def unseal(self) -> None:
        """The handshake counts no more: what the next agreement says counts."""
        with self.lock:
            self._by_handshake = False

    def _take_keys(self, keys: SrtpKeys) -> None:
        if isinstance(self._seal, Srtp):
            self._seal.rekey(keys)
        else:
            self._seal = Srtp(keys)

    def go_over(self, wire: Wire) -> None:
        """From now on over `wire`, as the same sender; the port hears no more of it and stays open."""
        with self.lock:
            self._wire, self._mux, self._scope = wire, True, 0
            self._send_datagram = lambda datagram, _: wire.send(datagram)
            self.latch.aim(_WIRE)
            if self._destination is not None:
                self._route()

    def go_to(self, path: Address) -> None:
        """ICE found the peer there: the next agreement leads there, over the port's own sockets."""
        with self.lock:
            if self._wire is not None:
                self._wire, self._scope = None, _scope(self.port)
                self._send_datagram = self.port.media.sendto
            self._path = path

    def send_past(self, datagram: bytes, to: Address | None = None) -> None:
        """Send STUN, or a handshake's packet where media go, as it is. What cannot be sent is lost."""
        with self.lock:
            if self.closed:
                return
            with contextlib.suppress(OSError):
                if to is not None:
                    self.port.media.sendto(datagram, (*to, 0, self._scope) if self._scope else to)
                elif self._destination is not None:
                    self._send_datagram(datagram, self._destination)

    def drain(self) -> None:
        """Take what the wire has brought, on the tick's thread."""
        if self._wire is None:
            return
        inbox = self._wire.inbox
        for _ in range(_MOST_OF_A_WIRE):
            try:
                datagram, arrival_s = inbox.popleft()
            except IndexError:
                return
            with self.lock:
                wanted = self._arrived(datagram, _WIRE, arrival_s)
            if wanted:
                self._keyframe_wanted()

    def rebind(self, port: RtpPort) -> RtpPort:
        """Go on over `port`, on another address of ours: same SSRC and numbering, the latch open again.

        Returns the port of before, for the caller to close.
        """
        with self.lock:
            before, self.port = self.port, port
            if self._wire is not None:
                return before
            self._send_datagram = port.media.sendto
            self._scope = _scope(port)
            self._rtcp_source = None
            self.latch.reopen()
            if port.media.family != before.media.family:  # until the peer names an address of this family
                self._destination = self._rtcp_target = self._path = None
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
        if self._seal is not None and not (packet := self._seal.protect(packet)):
            return
        if self._history is not None:
            self._history.sent(self._sequence, packet, time.monotonic())
        self._sequence = self._sequence + 1 & 0xFFFF
        try:
            self._send_datagram(packet, destination)
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
        destination, target = self._destination, self._rtcp_target
        if destination is None or self.closed:
            return
        if self._seal is not None and not (data := self._seal.protect_rtcp(data)):
            return
        if self._mux:
            self._send_muxed(data, destination)
            return
        if target is None:
            return
        if self.latch.moved:  # the SDP's address is unreachable: RTCP must follow RTP
            host, port = self.latch.remote or target
            target = self._rtcp_source or (host, port + 1)
        try:
            self.port.rtcp.sendto(data, (*target, 0, self._scope) if self._scope else target)
        except OSError:
            self._send_errors += 1

    def _send_muxed(self, data: bytes, destination: tuple[str | int, ...]) -> None:
        try:
            self._send_datagram(data, destination)
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
            if self._seal is None and self._goes_on(data, source, arrival_s):
                return
            wanted = self._arrived(data, source[:2], arrival_s)
        if wanted:
            self._keyframe_wanted()  # not under the lock: it ends in the camera's driver

    def _arrived(self, data: bytes, source: Address, arrival_s: float) -> bool:
        """Take a datagram of RTP's port or of a wire; true: the peer asks for a keyframe. Caller holds the lock."""
        if self._mux and is_rtcp(data):
            return self._arrived_rtcp(data, source, arrival_s)
        if self._seal is not None or self.on_control is not None:
            data = self._opened(data, source)
            if not data or self._goes_on(data, source, arrival_s):
                return False
        try:
            packet = parse_rtp(data)
        except RtpError:
            self._malformed += 1
        else:
            self._receive(packet, source, arrival_s)
        return False

    def _opened(self, data: bytes, source: Address) -> bytes:
        """The RTP packet in a datagram; empty: there is none for us. Caller holds the lock."""
        if self.on_control is not None and data and data[0] <= 63:  # STUN, DTLS: RFC 7983 section 7
            self.on_control(data, source)
            return b""
        if self._seal is None:
            return data
        if not _version_2(data):
            self._malformed += 1
            return b""
        return self._seal.open(data)

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

    def _of_sender(self, ssrc: int, arrival_s: float) -> bool:
        """Does this SSRC count? Whoever sends is followed until it has fallen silent: a flood of others, from an
        address that was made up, takes nobody's place."""
        reception = self._reception
        if (
            reception is None
            or reception.ssrc == ssrc
            or self._sender_left
            or arrival_s - self._heard_s > _SILENT_S
        ):
            return True
        self.latch.refused += 1
        return False

    def _count(self, packet: RtpPacket, arrival_s: float) -> None:
        reception = self._reception
        if reception is None or reception.ssrc != packet.ssrc:
            if reception is not None:
                self._lost_before += max(0, reception.lost)
            reception = self._reception = Reception(packet.ssrc, self._clock_hz)
            self._sender_left = False
        self._heard_s = arrival_s
        reception.note(packet.sequence, packet.timestamp, arrival_s)
        self._received_packets += 1
        self._received_octets += len(packet.payload)
        if self._received_packets == 1:
            self._post(RtpStarted(self.media, "received", arrival_s))

    def read_rtcp(self, now: float, wall_offset_s: float) -> None:
        """Take one datagram from the RTCP socket."""
        if self._take_rtcp(now, wall_offset_s):
            self._keyframe_wanted()

    def _take_rtcp(self, now: float, wall_offset_s: float) -> bool:
        """True when the peer asks for a keyframe."""
        with self.lock:
            try:
                data, ancillary, _, source = self.port.rtcp.recvmsg(_DATAGRAM, _STAMP_SPACE)
            except OSError:
                return False
            # The tick reads up to 20 ms after the arrival; a round trip measured by that would be its own.
            return self._arrived_rtcp(data, source[:2], _arrival(ancillary, now, wall_offset_s))

    def _arrived_rtcp(self, data: bytes, source: Address, arrival_s: float) -> bool:
        if not self._knows(source[0]):
            self.latch.refused += 1
            return False
        if self._seal is not None and _version_2(data) and not (data := self._seal.open_rtcp(data)):
            return False
        try:
            packets = parse_rtcp(data)
        except RtpError:
            self._malformed += 1
            return False
        self._rtcp_source = source
        before = self._reports.heard
        self._reports.received(packets, len(data), arrival_s)
        if self._reports.heard is not None and self._reports.heard is not before:
            self._reported(self._reports.heard, arrival_s)
        wanted = False
        for packet in packets:
            if isinstance(packet, SenderReport):
                if self._reception is not None and self._reception.ssrc == packet.ssrc:
                    self._reception.sender_report(packet.ntp, arrival_s)
            elif isinstance(packet, PictureLossIndication | FullIntraRequest):
                wanted = True
            elif isinstance(packet, GenericNack):
                self._send_again(packet.lost, arrival_s)
            elif isinstance(packet, MaximumBitRate | ReceiverEstimate):
                self._bounded(packet, arrival_s)
        return wanted

    def _knows(self, host: str) -> bool:
        remote, target = self.latch.remote, self._rtcp_target
        return (remote is not None and host == remote[0]) or (target is not None and host == target[0])

    def _send_again(self, sequences: Sequence[int], now: float) -> None:
        destination, history = self._destination, self._history
        if history is None or destination is None or self.closed or not self.sending:
            return
        for sequence in sequences[:PACKETS]:
            datagram = history.wanted(sequence, now)
            if datagram:
                self._resent += 1
                with contextlib.suppress(OSError):
                    self._send_datagram(datagram, destination)

    def _reported(self, block: ReportBlock, now: float) -> None:
        """The peer told how our packets arrive. Caller holds the lock."""

    def _bounded(self, packet: MaximumBitRate | ReceiverEstimate, now: float) -> None:
        """The peer told how much it wants. Caller holds the lock."""

    def _keyframe_wanted(self) -> None:
        """The peer asks for an IDR; only a video stream can do something about it."""

    # --- the end -------------------------------------------------------------------------------------------

    def statistics(self) -> Statistics:
        """Plain values, each name beginning with the medium; times in ms."""
        with self.lock:
            reception = self._reception
            values: Statistics = {
                "sent": self._sent_packets,
                "sent_octets": self._sent_octets,
                "received": self._received_packets,
                "received_octets": self._received_octets,
                "lost": self._lost_before + (max(0, reception.lost) if reception is not None else 0),
                "jitter_ms": round(reception.jitter_s * 1000, 1) if reception is not None else 0.0,
                "refused": self.latch.refused,
                "unknown": self._unknown,
                "malformed": self._malformed,
                "send_errors": self._send_errors,
            }
            if isinstance(self._seal, Srtp):
                values["srtp"] = self._seal.keys.suite
                values["forged"] = self._seal.forged
                values["replayed"] = self._seal.replayed
            heard = self._reports.heard
            if heard is not None:
                values["peer_lost"] = max(0, heard.lost)
                values["peer_jitter_ms"] = round(heard.jitter / self._clock_hz * 1000, 1)
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


def _version_2(data: bytes) -> bool:
    """Whether this may be RTP or RTCP; many a phone sends something else now and then to keep its NAT open."""
    return b"\x80" <= data[:1] < b"\xc0"


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
