"""One UDP socket for SIP: datagrams leave within the call, ICMP errors come back with the address they are about.

IP_RECVERR (ip(7)) queues what the network says of each datagram, so that a dead port is known in a round trip
instead of after 32 seconds of repeats. No protocol here; the flow's fields are RFC 3261's and 5626's.
"""

import contextlib
import errno
import os
import socket
import struct
from collections import OrderedDict
from collections.abc import Iterator

from firmware.net.source_address import family_of, is_wildcard, literal, source_towards
from firmware.sip.types import Flow

# Linux names that the socket module lacks: <linux/in.h>, <linux/in6.h>.
_IP_MTU_DISCOVER = 10
_IP_RECVERR = 11
_IPV6_MTU_DISCOVER = 23
_IPV6_RECVERR = 25
_PMTUDISC_DONT = 0

_MAX_FLOWS = 1024  # remote addresses remembered; a flood of made-up ones pushes each other out
_MAX_ERRORS = 64  # read at once, so that a storm of ICMP leaves time for messages
_BUFFER = bytearray(65_536)
_view = memoryview(_BUFFER)
_RECEIVE_BUFFER = 1 << 20  # octets asked of the kernel: some hundred messages while a call is set up


class UdpSocket:
    """Bound to `host` and `port` (0: the kernel's choice). OSError if that cannot be."""

    def __init__(self, host: str, port: int, number: int) -> None:
        family = family_of(host or "0.0.0.0")
        if family is None:
            raise OSError(errno.EINVAL, f"listen address {host!r} is no address")
        self.family = family
        self.number = number
        self.wildcard = is_wildcard(host)
        self._flows: OrderedDict[tuple[str, int], Flow] = OrderedDict()
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            # Over 1300 octets to a peer without TCP: let routers fragment, the alternative is nothing.
            if family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
                self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
            else:
                self._socket.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
                self._socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DONT)
            self._socket.bind((host or "0.0.0.0", port))
        except OSError:
            self._socket.close()
            raise
        self.host, self.port = literal(self._socket.getsockname()), self._socket.getsockname()[1]

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def flow_to(self, host: str, port: int) -> Flow:
        """The flow to an address literal. OSError where there is no way to it."""
        flow = self._flows.get((host, port))
        if flow is None:
            source = source_towards(host, port) if self.wildcard else self.host
            here = (source, self.port)
            flow = Flow("udp", here, (host, port), here, self.number)
            self._flows[(host, port)] = flow
            while len(self._flows) > _MAX_FLOWS:
                self._flows.popitem(last=False)
        return flow

    def forget_routes(self) -> None:
        """Ask the kernel again for each peer: addresses may have changed."""
        self._flows.clear()

    def send(self, flow: Flow, data: bytes) -> str:
        """Send now; what went wrong in words, or "". A full socket buffer is a lost datagram, no error."""
        # The first try may report what the last datagram met, to whomever that went (ip(7), IP_RECVERR).
        for attempt in range(2):
            try:
                self._socket.sendto(data, flow.remote)
            except BlockingIOError:
                return ""
            except OSError as error:
                if attempt:
                    return error.strerror or str(error)
            else:
                return ""
        return ""

    def receive(self, most: int) -> Iterator[tuple[bytes, Flow]]:
        """Up to `most` datagrams that wait, with the flows they came on."""
        for _ in range(most):
            try:
                # Into one buffer, and out of it what arrived: octets that recvfrom shrinks from 64 kB lie scattered
                # over the heap, and whoever keeps some, as the trace does, makes it grow.
                size, address = self._socket.recvfrom_into(_BUFFER)
            except BlockingIOError:
                return
            except OSError:
                continue  # a queued ICMP error; `errors` has it
            data = bytes(_view[:size])
            try:
                flow = self.flow_to(literal(address), address[1])
            except OSError:
                continue  # no way back to it
            yield data, flow

    def errors(self) -> Iterator[tuple[Flow, str]]:
        """What the network said of datagrams sent: the flow each went on, and the error in words."""
        for _ in range(_MAX_ERRORS):
            try:
                _, control, _, address = self._socket.recvmsg(0, 512, socket.MSG_ERRQUEUE)
            except OSError:
                return
            for _level, kind, value in control:
                if kind in (_IP_RECVERR, _IPV6_RECVERR) and len(value) >= 4 and address:
                    number = struct.unpack_from("=I", value)[0]
                    with contextlib.suppress(OSError):
                        yield self.flow_to(literal(address), address[1]), os.strerror(number)
