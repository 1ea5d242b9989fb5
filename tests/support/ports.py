"""Ports for real peers, free for UDP and TCP on every loopback address.

They come from below the kernel's ephemeral range, each xdist worker from a block of its own, and each one handed
out is held by name while its test runs, so that nothing, another run of the suite included, takes it between
the check here and the peer's bind.
"""

import atexit
import itertools
import os
import socket
from collections import deque

LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_first = 10000 + _worker % 4 * 5000
_held: deque[socket.socket] = deque()
_numbers = itertools.cycle(range(_first, _first + 5000, 10))


@atexit.register
def _release() -> None:
    for name in _held:
        name.close()


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


def _hold(port: int) -> bool:
    """Take the port's name among all runs of this machine: an abstract socket, which ends with the process."""
    name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        name.bind(f"\0portero-tests-port-{port}")
    except OSError:
        name.close()
        return False
    _held.append(name)
    if len(_held) > 100:  # more than one test ever asks for: those of tests long over
        _held.popleft().close()
    return True


# Chromium refuses to speak to the port of another protocol (ERR_UNSAFE_PORT).
_REFUSED = frozenset({10080})


def free_port(span: int = 1) -> int:
    """An even port; it and the `span - 1` (at most 9) after it are free."""
    for _ in range(500):
        port = next(_numbers)
        if port not in _REFUSED and _hold(port) and all(_is_free(port + offset) for offset in range(span)):
            return port
    raise AssertionError("no free port among 500 tried")
