"""Which of our addresses the kernel would send from: what a wildcard listener must put into Via, Contact and SDP.

Asked of the routing table by connecting a UDP socket, which sends nothing. Names are not resolved here.
"""

import ipaddress
import socket


def family_of(host: str) -> socket.AddressFamily | None:
    """AF_INET or AF_INET6 for an address literal (a zone as in fe80::1%eth0 may follow), None for a name."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    return socket.AF_INET if version == 4 else socket.AF_INET6


def source_towards(host: str, port: int = 5060) -> str:
    """Our address on the way to the literal `host`. OSError where there is no way."""
    family = family_of(host)
    if family is None:
        raise OSError(f"{host!r} is no address")
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((host, port or 5060))
        name: tuple[str, int] | tuple[str, int, int, int] = probe.getsockname()
        return literal(name)


def literal(address: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """The host of a socket address as text; link-local ones keep their zone, or nothing could be sent there."""
    host = address[0]
    if len(address) == 4 and address[3] and "%" not in host:
        return f"{host}%{address[3]}"
    return host


def is_wildcard(host: str) -> bool:
    return host in ("", "0.0.0.0", "::")
