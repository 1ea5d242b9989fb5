"""The firewall of a station: nothing comes in but what its configuration has opened.

`python3 -m ondevice.firewall FILE` makes the rules of a station's TOML and loads them; with `--print` it prints
them. Where the file cannot be read the rules of the start stay, which leave SSH open: the device can be mended.
"""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from firmware.config import Config, inspect

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
    only_print = "--print" in arguments
    files = [word for word in arguments if not word.startswith("--")]
    if len(files) != 1:
        print("usage: python3 -m ondevice.firewall [--print] FILE", file=sys.stderr)
        return 2
    if not Path(files[0]).exists():
        print("portero-firewall: no configuration yet: SSH alone is open")
        return 0
    config, problems = inspect(files[0])
    if config is None:
        print(f"portero-firewall: {files[0]} has errors ({problems[0]}); the rules stay", file=sys.stderr)
        return 1
    first, last = EPHEMERAL.read_text().split()
    rules = ruleset(ports(config, (int(first), int(last))))
    if only_print:
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
    sys.exit(main(sys.argv[1:]))
