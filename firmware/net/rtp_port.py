"""A pair of UDP ports for one RTP stream (RFC 3550 section 11: RTP even, RTCP the odd port above it).

The even port is held by two sockets of one SO_REUSEPORT group. A classic BPF program in the kernel
(`SO_ATTACH_REUSEPORT_CBPF`, socket(7)) hands telephone-event packets and everything that is not RTP
(STUN, DTLS) to `control`, and the rest to `media`: so the media thread can drain `media` once per 20 ms
while a digit wakes the event loop at once. Where the kernel refuses the program `control` is None and
`media` receives everything. It reads and writes nothing and knows no RTP beyond the first two bytes.
"""

import contextlib
import errno
import logging
import os
import socket
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from functools import lru_cache

log = logging.getLogger(__name__)

AUDIO_DSCP = 46  # EF, RFC 3246
VIDEO_DSCP = 34  # AF41, RFC 2597

# Linux names that the socket module lacks: <asm-generic/socket.h>, the same on x86, ARM and RISC-V.
_SO_TIMESTAMPNS = 35
_SO_ATTACH_REUSEPORT_CBPF = 51

# A pair needs two neighbouring free ports; with the ephemeral range nearly empty one try is enough.
_EPHEMERAL_ATTEMPTS = 64


class RtpPort:
    """The open sockets of one stream, all non-blocking, bound to `host`.

    `ports` is an inclusive range to choose the even port from, in random order; without it the kernel
    chooses. `receive_buffer` (bytes) is asked of the kernel for the media socket, 0 leaves its default.
    Raises OSError that names host and range when no pair is free.
    """

    def __init__(
        self,
        host: str,
        *,
        ports: tuple[int, int] | None = None,
        dscp: int = AUDIO_DSCP,
        control: bool = False,
        receive_buffer: int = 0,
    ) -> None:
        self.host = host
        self._options = (ports, dscp, control, receive_buffer)
        self.media, self.rtcp = _bind_pair(host, ports)
        self.control: socket.socket | None = None
        self.port: int = self.media.getsockname()[1]
        try:
            for sock in (self.media, self.rtcp):
                sock.setblocking(False)
                _mark(sock, dscp)
                with contextlib.suppress(OSError):  # without stamps the time of reading has to do
                    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            if receive_buffer:
                self.media.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if control:
                self.control = self._open_control(dscp)
        except BaseException:
            self.close()
            raise

    def again(self, host: str) -> "RtpPort":
        """Another port of the same kind on `host`, `select_control` apart. OSError as above."""
        ports, dscp, control, receive_buffer = self._options
        return RtpPort(host, ports=ports, dscp=dscp, control=control, receive_buffer=receive_buffer)

    def beside(self, host: str) -> socket.socket:
        """A socket of the same port number at another address of ours, marked the same. OSError."""
        family, address = _resolve(host)
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            _mark(sock, self._options[1])
            sock.bind(_with_port(address, self.port))
        except OSError:
            sock.close()
            raise
        return sock

    def _open_control(self, dscp: int) -> socket.socket | None:
        if not sys.platform.startswith("linux"):
            return None
        sock = socket.socket(self.media.family, socket.SOCK_DGRAM)
        try:
            # The first socket was bound alone, so nobody else can be on the port; only now it is shared.
            self.media.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.setblocking(False)
            sock.bind(self.media.getsockname())
            # Until now the kernel spread packets by hash, but nobody has been told of the port yet.
            _attach(self.media, ())
            _mark(sock, dscp)
        except OSError as error:
            sock.close()
            log.info("no packet selection on RTP ports (%s): digits wait for the media tick", error)
            return None
        return sock

    def select_control(self, payload_types: Iterable[int]) -> None:
        """From now on RTP packets of these payload types (0..127) arrive on `control`."""
        if self.control is not None:
            _attach(self.media, tuple(payload_types))

    def sockets(self) -> Iterator[socket.socket]:
        yield self.media
        yield self.rtcp
        if self.control is not None:
            yield self.control

    def close(self) -> None:
        for sock in self.sockets():
            sock.close()


def _bind_pair(host: str, ports: tuple[int, int] | None) -> tuple[socket.socket, socket.socket]:
    family, address = _resolve(host)
    last: OSError | None = None
    for candidate in _candidates(ports):
        first = socket.socket(family, socket.SOCK_DGRAM)
        try:
            first.bind(_with_port(address, candidate))
        except OSError as error:
            first.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise OSError(error.errno, f"RTP cannot use {host}: {error.strerror}") from error
            last = error
            continue
        port = first.getsockname()[1]
        second = socket.socket(family, socket.SOCK_DGRAM)
        try:
            second.bind(_with_port(address, port ^ 1))
        except OSError as error:
            first.close()
            second.close()
            last = error
            continue
        return (second, first) if port % 2 else (first, second)
    where = f"{ports[0]}-{ports[1]}" if ports else "the system's ephemeral range"
    raise OSError(errno.EADDRINUSE, f"no free pair of RTP ports in {where} on {host}") from last


def _resolve(host: str) -> tuple[int, tuple[object, ...]]:
    with contextlib.suppress(OSError):  # a press waits for four of these: the usual kind without the resolver
        socket.inet_pton(socket.AF_INET, host)
        return socket.AF_INET, (host, 0)
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror as error:
        raise OSError(errno.EADDRNOTAVAIL, f"RTP needs an IP address to listen on, not {host!r}") from error
    family, _, _, _, address = found[0]
    return family, address


def _with_port(address: tuple[object, ...], port: int) -> tuple[object, ...]:
    return (address[0], port, *address[2:])


def _candidates(ports: tuple[int, int] | None) -> Iterator[int]:
    if ports is None:
        for _ in range(_EPHEMERAL_ATTEMPTS):
            yield 0
        return
    low, high = ports
    even = range(low + low % 2, high, 2)  # the odd port above must be within the range too
    if not even:
        return
    # Random order: a port just freed may still receive the last call's packets.
    start = int.from_bytes(os.urandom(4), "big") % len(even)
    for step in range(len(even)):
        yield even[(start + step) % len(even)]


def _mark(sock: socket.socket, dscp: int) -> None:
    with contextlib.suppress(OSError):  # marking is a courtesy to the network, calls work without
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)


# Classic BPF (net/bpf.h), offsets from the start of the UDP payload; a load past the end returns 0.
_LOAD_BYTE, _AND, _JUMP_EQUAL, _RETURN = 0x30, 0x54, 0x15, 0x06
_MEDIA, _CONTROL = 0, 1  # index in the order of joining the group


def _attach(sock: socket.socket, payload_types: tuple[int, ...]) -> None:
    count, code = _program(payload_types)
    # struct sock_fprog: the count, padding to a pointer's alignment, the pointer; copied by the kernel.
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, struct.pack("@HP", count, code.buffer_info()[0]))


@lru_cache(maxsize=8)
def _program(payload_types: tuple[int, ...]) -> "tuple[int, array[int]]":
    """(instructions, their bytes) that select by `version != 2 or payload type in payload_types`."""
    count = len(payload_types)
    program = [
        (_LOAD_BYTE, 0, 0, 0),
        (_AND, 0, 0, 0xC0),
        (_JUMP_EQUAL, 0, count + 3, 0x80),  # not version 2: to the last instruction
        (_LOAD_BYTE, 0, 0, 1),
        (_AND, 0, 0, 0x7F),
    ]
    for index, payload_type in enumerate(payload_types):
        program.append((_JUMP_EQUAL, count - index, 0, payload_type))
    program += [(_RETURN, 0, 0, _MEDIA), (_RETURN, 0, 0, _CONTROL)]
    return len(program), array("B", b"".join(struct.pack("=HBBI", *line) for line in program))
