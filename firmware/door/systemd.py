"""sd_notify(3) by hand: ready, status and watchdog as datagrams on the socket that systemd names.

Nothing here fails or blocks: without systemd nobody listens, and a full socket loses a status line.
"""

import contextlib
import os
import socket
from collections.abc import Mapping


class Notifier:
    """`environment` as systemd sets it: NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._period_s = watchdog_period_s(environment) if self._address else 0.0
        self._next_s = 0.0

    def send(self, **fields: str) -> None:
        """One datagram of fields, as READY="1", STATUS="..."."""
        if not self._address:
            return
        text = "\n".join(f"{name}={value}" for name, value in fields.items())
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, kind) as sender:
            sender.sendto(text.encode(), self._address)

    def feed_watchdog(self, now: float) -> None:
        """From the loop that the watchdog is to watch, as often as it turns."""
        if self._period_s and now >= self._next_s:
            self._next_s = now + self._period_s
            self.send(WATCHDOG="1")

    def next_deadline(self) -> float | None:
        """When the watchdog wants to be fed again; None without one."""
        return self._next_s if self._period_s else None


def watchdog_period_s(environment: Mapping[str, str]) -> float:
    """Half of what systemd waits; 0 where it does not watch this process."""
    try:
        limit_us = int(environment.get("WATCHDOG_USEC", "0"))
        process = int(environment.get("WATCHDOG_PID", str(os.getpid())))
    except ValueError:
        return 0.0
    return limit_us / 2e6 if limit_us > 0 and process == os.getpid() else 0.0
