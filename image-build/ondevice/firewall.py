"""The firewall of a station: nothing comes in but what its configuration has opened.

`python3 -m ondevice.firewall FILE` makes the rules of a station's TOML and loads them; with `--print` it prints
them. Where the file cannot be used the station goes on with its last good copy, and so do the rules
(`--last-good`). Without that the rules of the start stay, which leave SSH open: the device can be mended.
"""

import argparse
import logging
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from firmware.config import Config, ConfigError, load_or_last_good

SSH = 22
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


@dataclass(frozen=True, slots=True)
class Ports:
    """What is to be reached from outside; ranges are first and last port."""

    tcp: frozenset[int] = field(default_factory=frozenset)
    udp: frozenset[int] = field(default_factory=frozenset)
    media: tuple[int, int] | None = None


def ports(config: Config, ephemeral: tuple[int, int]) -> Ports:
    """`ephemeral` is the kernel's own range, which media ports are taken from where none is configured."""
    sip = _reachable(config.sip.listen)
    streams = _reachable((*config.sip.tls_listen, *config.sip.ws_listen, *config.sip.wss_listen))
    return Ports(tcp=frozenset({SSH, *sip, *streams}), udp=frozenset(sip), media=config.media.ports or ephemeral)


def ruleset(opened: Ports) -> str:
    """As `nft -f` takes it, in place of whatever was loaded."""
    udp = [str(port) for port in sorted(opened.udp)]
    if opened.media:
        udp.append(f"{opened.media[0]}-{opened.media[1]}")
    lines = [
        "flush ruleset",
        "table inet portero {",
        "  chain input {",
        "    type filter hook input priority filter; policy drop;",
        "    ct state established,related accept",
        "    iif lo accept",
        "    meta l4proto { icmp, ipv6-icmp } accept",
        "    udp dport { 68, 546 } accept",  # DHCP, which answers by multicast or broadcast
        f"    tcp dport {{ {', '.join(map(str, sorted(opened.tcp)))} }} accept",
        f"    udp dport {{ {', '.join(udp)} }} accept" if udp else "",
        "  }",
        "}",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m ondevice.firewall")
    parser.add_argument("--print", action="store_true", dest="only_print")
    parser.add_argument("--last-good", type=Path, metavar="FILE")
    parser.add_argument("file", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    if not given.file.exists() and not (given.last_good is not None and given.last_good.exists()):
        print("portero-firewall: no configuration yet: SSH alone is open")
        return 0
    try:
        # The station's copy, whoever that is: it says no more than which ports are open.
        config = load_or_last_good(given.file, given.last_good, of_anybody=True).config
    except ConfigError as error:
        first_problem = next(problem for problem in error.problems if not problem.warning)
        print(f"portero-firewall: {given.file} has errors ({first_problem}); the rules stay", file=sys.stderr)
        return 1
    first, last = EPHEMERAL.read_text().split()
    rules = ruleset(ports(config, (int(first), int(last))))
    if given.only_print:
        print(rules, end="")
        return 0
    loaded = subprocess.run(["/usr/sbin/nft", "-f", "-"], input=rules, text=True, check=False)
    return loaded.returncode


def _reachable(listen: tuple[str, ...]) -> list[int]:
    """Ports of addresses that somebody else can reach. Port 0 is any free one, which no rule can name."""
    found = []
    for entry in listen:
        host, _, port = entry.rpartition(":")
        if int(port) and not host.strip("[]").startswith("127.") and host.strip("[]") not in ("::1", "localhost"):
            found.append(int(port))
    return found


if __name__ == "__main__":
    logging.basicConfig(
        level=logging.ERROR, format="portero-firewall: %(message)s"
    )  # warnings: the station's to tell
    sys.exit(main(sys.argv[1:]))
