"""Tells when the machine's network has become another: an address, a link's carrier, a default route; and which
addresses there are.

Routing sockets of the kernel (rtnetlink(7)) say that something happened; what counts is then read anew as a whole,
so that lost messages do no harm and the repeats of IPv6 router advertisements are no news. A carrier that went and
came back within the pause is news even if all is as before: it may be another router. Only Linux has this.
"""

import asyncio
import contextlib
import ipaddress
import logging
import socket
import struct
from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

SETTLE_S = 0.3  # after the last message: a cable brings link, address and route one after the other
LONGEST_S = 2.0  # after the first: a link that flaps for ever must not hide the change

# <linux/rtnetlink.h>, <linux/if.h>, <linux/netlink.h>
_RTMGRP = 0x1 | 0x10 | 0x100 | 0x40 | 0x400  # LINK, IPV4_IFADDR, IPV6_IFADDR, IPV4_ROUTE, IPV6_ROUTE
_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _GETADDR = 20, 22
_NEWROUTE, _GETROUTE = 24, 26
_DONE, _ERROR = 3, 2
_REQUEST_DUMP = 0x1 | 0x300
_IFF_LOOPBACK, _IFF_LOWER_UP = 0x8, 0x10000
_IFLA_IFNAME, _IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 3, 1, 2, 8
_RTA_OIF, _RTA_GATEWAY = 4, 5
_IFA_F_TENTATIVE, _IFA_F_DEPRECATED, _IFA_F_TEMPORARY = 0x40, 0x20, 0x1
_RT_TABLE_MAIN = 254

Fact = tuple[str, ...]


class NetworkWatch:
    """`on_change` is called on the loop's thread with what is different, in words."""

    def __init__(self, on_change: Callable[[str], None]) -> None:
        self._on_change = on_change
        self._socket: socket.socket | None = None
        self._known: frozenset[Fact] = frozenset()
        self._carrier_lost = False
        self._first_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        """OSError where the kernel has no such sockets."""
        self._loop = asyncio.get_running_loop()
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        try:
            opened.setblocking(False)
            opened.bind((0, _RTMGRP))
            self._known = facts()
        except OSError:
            opened.close()
            raise
        self._socket = opened
        self._loop.add_reader(opened.fileno(), self._readable)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _readable(self) -> None:
        assert self._socket is not None
        for _ in range(64):
            try:
                data = self._socket.recv(65_536)
            except BlockingIOError:
                break
            except OSError:
                break  # ENOBUFS: messages were lost; all is read anew anyway
            for kind, body in _messages(data):
                if kind in (_NEWLINK, _DELLINK):
                    name, carrier = _link(body)
                    if not carrier and ("link", name) in self._known:
                        self._carrier_lost = True
        now = self._loop.time()
        if self._timer is None:
            self._first_s = now
        else:
            self._timer.cancel()
        self._timer = self._loop.call_at(min(now + SETTLE_S, self._first_s + LONGEST_S), self._settled)

    def _settled(self) -> None:
        self._timer = None
        carrier_lost, self._carrier_lost = self._carrier_lost, False
        try:
            found = facts()
        except OSError as error:
            log.warning("the network's state cannot be read: %s", error)
            return
        known, self._known = self._known, found
        news = [f"{' '.join(fact)} gone" for fact in sorted(known - found)]
        news += [" ".join(fact) for fact in sorted(found - known)]
        if not news and carrier_lost and found:
            news = ["a link was down"]
        if news:
            self._on_change("; ".join(news[:8]))


MOST_OTHERS = 3


def other_addresses(host: str) -> tuple[str, ...]:
    """Addresses beside `host` at which we may be reached as well: of links with a carrier, none that are temporary
    or of one link alone, of the other family first, MOST_OTHERS at most. None beside the loopback's."""
    ours = ipaddress.ip_address(host)
    if ours.is_loopback:
        return ()
    try:
        _, carried = _links()
        found = [
            ipaddress.ip_address(address)
            for address, flags, index in _addresses()
            if index in carried and not flags & (_IFA_F_TENTATIVE | _IFA_F_DEPRECATED | _IFA_F_TEMPORARY)
        ]
    except OSError as error:
        log.warning("our other addresses cannot be read: %s", error)
        return ()
    usable = {each for each in found if not (each.is_loopback or each.is_link_local) and each != ours}
    return tuple(
        str(each)
        for each in sorted(usable, key=lambda each: (each.version == ours.version, int(each)))[:MOST_OTHERS]
    )


def facts() -> frozenset[Fact]:
    """What matters of the network's state: links with a carrier, usable addresses, default routes."""
    names, carried = _links()
    found: set[Fact] = set()
    for address, flags, index in _addresses():
        if not flags & (_IFA_F_TENTATIVE | _IFA_F_DEPRECATED):
            found.add(("address", address, names.get(index, str(index))))
            if index in carried:  # a link without an address is nobody's way
                found.add(("link", names[index]))
    for body in _dump(_GETROUTE, _NEWROUTE, struct.pack("=BBBBBBBBI", 0, 0, 0, 0, 0, 0, 0, 0, 0)):
        family, prefix, _, _, table, _, _, _, _ = struct.unpack_from("=BBBBBBBBI", body)
        if prefix or table != _RT_TABLE_MAIN:
            continue
        attributes = _attributes(body[12:])
        index = struct.unpack("=i", attributes[_RTA_OIF])[0] if _RTA_OIF in attributes else 0
        gateway = _text(family, attributes.get(_RTA_GATEWAY, b"")) or "direct"
        found.add(("default route", gateway, names.get(index, str(index))))
    return frozenset(found)


def _links() -> tuple[dict[int, str], set[int]]:
    """The names of all links by their index, and which have a carrier. OSError."""
    names: dict[int, str] = {}
    carried: set[int] = set()
    for body in _dump(_GETLINK, _NEWLINK, struct.pack("=BxHiII", 0, 0, 0, 0, 0)):
        (index,) = struct.unpack_from("=i", body, 4)
        names[index], carrier = _link(body)
        if carrier:
            carried.add(index)
    return names, carried


def _addresses() -> Iterator[tuple[str, int, int]]:
    """(address, flags, index of its link) of every address there is. OSError."""
    for body in _dump(_GETADDR, _NEWADDR, struct.pack("=BBBBi", 0, 0, 0, 0, 0)):
        family, _, flags, _, index = struct.unpack_from("=BBBBi", body)
        attributes = _attributes(body[8:])
        if _IFA_FLAGS in attributes:
            (flags,) = struct.unpack("=I", attributes[_IFA_FLAGS])
        packed = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS) or b""
        if (address := _text(family, packed)) is not None:
            yield address, flags, index


def _link(body: bytes) -> tuple[str, bool]:
    """A link's name, and whether it has a carrier; the loopback never has one."""
    (flags,) = struct.unpack_from("=I", body, 8)
    name = _attributes(body[16:]).get(_IFLA_IFNAME, b"").rstrip(b"\0").decode("utf-8", "replace")
    return name, bool(flags & _IFF_LOWER_UP) and not flags & _IFF_LOOPBACK


def _text(family: int, packed: bytes) -> str | None:
    sizes = {int(socket.AF_INET): 4, int(socket.AF_INET6): 16}
    return str(ipaddress.ip_address(packed)) if len(packed) == sizes.get(family) else None


def _dump(request: int, kind: int, body: bytes) -> Iterator[bytes]:
    """The kernel's whole table, one message body after the other. OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as asking:
        asking.settimeout(1.0)
        asking.bind((0, 0))
        asking.send(struct.pack("=IHHII", 16 + len(body), request, _REQUEST_DUMP, 1, 0) + body)
        while True:
            for found, answer in _messages(asking.recv(262_144)):
                if found == _DONE:
                    return
                if found == _ERROR:
                    raise OSError(-struct.unpack_from("=i", answer)[0], "netlink refuses")
                if found == kind:
                    yield answer


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, body) of each netlink message in a datagram."""
    while len(data) >= 16:
        size, kind = struct.unpack_from("=IH", data)
        if not 16 <= size <= len(data):
            return
        yield kind, data[16:size]
        data = data[(size + 3) & ~3 :]


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    with contextlib.suppress(struct.error):
        while len(data) >= 4:
            size, kind = struct.unpack_from("=HH", data)
            if not 4 <= size <= len(data):
                break
            found[kind & 0x3FFF] = data[4:size]
            data = data[(size + 3) & ~3 :]
    return found
