"""The rig's side of the cable: its network, the address it hands out, and the house's server."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from hil.provision import MONITOR, PBX_PORT, RIG_ADDRESS
from tests.support.dnsmasq import Dnsmasq
from tests.support.kamailio import Kamailio
from tests.support.networks import ip, own_network
from tests.support.peers import USERS, Peers
from tests.support.ports import free_port

ADDRESS, OTHER_ADDRESS = "10.77.0.2", "10.77.0.3"
_RINGING = re.compile(r" got 18\d .* for INVITE from .* \(\d+ (.*)\)$")
LEASE = "2m"  # the shortest that dnsmasq gives


class Street:
    """Runs from `on` to its end. `peers` live as long."""

    def __init__(self, folder: Path, interface: str, pbx: Kamailio) -> None:
        self.pbx = pbx
        self._folder = folder
        self._interface = interface
        self._dhcp = self._server(ADDRESS)

    @classmethod
    @contextlib.contextmanager
    def on(cls, folder: Path, interface: str, *, virtual: bool) -> Iterator["Street"]:
        """`virtual`: in a network of its own, its interface a tap; else the interface is there with its address."""
        users = {name: USERS[name] for name in ("door", MONITOR)}
        with own_network() if virtual else contextlib.nullcontext():
            if virtual:
                ip(f"tuntap add {interface} mode tap\naddr add {RIG_ADDRESS}/24 dev {interface}")
                ip(f"link set {interface} up")
            peers = Peers(folder)
            try:
                found = cls(folder, interface, peers.start(Kamailio(folder, PBX_PORT, users, hosts=(RIG_ADDRESS,))))
                found._dhcp.start()
                try:
                    yield found
                finally:
                    found._dhcp.stop()
            finally:
                peers.stop()

    def hand_out(self, address: str) -> None:
        """From now on the device is given this address."""
        self._dhcp.stop()
        self._dhcp = self._server(address)
        self._dhcp.start()

    def _server(self, address: str) -> Dnsmasq:
        records = [
            f"interface={self._interface}",
            "dhcp-authoritative",
            f"dhcp-leasefile={self._folder}/leases-{address}",
            f"dhcp-range={address},{address},{LEASE}",
        ]
        return Dnsmasq(self._folder, free_port(), records)

    def registrations(self, address: str = ADDRESS, *, after: int = 0) -> list[str]:
        """REGISTERs from there, but the first `after` of anybody's."""
        return [line for line in self.pbx.requests("REGISTER")[after:] if f" from {address}:" in line]

    def rung(self) -> list[str]:
        """Call-IDs of what has rung at the monitor, oldest first. The server's word: baresip makes no event of a
        call whose picture it shows before the answer."""
        return list(
            dict.fromkeys(
                found[1] for found in map(_RINGING.search, self.pbx.program.log_text().splitlines()) if found
            )
        )
