"""Ports for real peers, free for UDP and TCP on every loopback address.

They come from below the kernel's ephemeral range, each xdist worker from a block of its own, so that nothing
takes one between the check here and the peer's bind.
"""

import itertools
import os
import socket

LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_first = 10000 + _worker * 2500
_numbers = itertools.cycle(range(_first, _first + 2500, 10))


def _is_free(port: int) -> bool:
    for family, host in LOOPBACKS:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(family, kind) as probe:
                if kind == socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, port))
                except OSError:
                    return False
    return True


def free_port(span: int = 1) -> int:
    """An even port; it and the `span - 1` (at most 9) after it are free."""
    for _ in range(250):
        port = next(_numbers)
        if all(_is_free(port + offset) for offset in range(span)):
            return port
    raise AssertionError("no free port among 250 tried")
