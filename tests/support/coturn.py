"""coturn: a STUN and TURN server of the test's own, on loopback or in a network namespace."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.processes import Program
from tests.support.waiting import wait_until

USER, PASSWORD, REALM = "door", "turn-secret", "test.invalid"


class Coturn:
    """Listens on `hosts` (two of them for RFC 5780) at `port` and the one above it."""

    def __init__(self, folder: Path, hosts: Sequence[str], port: int = 3478) -> None:
        program = shutil.which("turnserver")
        if program is None:
            pytest.skip("turnserver is not installed (coturn)")
        folder.mkdir(parents=True, exist_ok=True)
        self.hosts, self.port = tuple(hosts), port
        options = [option for host in hosts for option in ("--listening-ip", host)]
        command = [
            *(program, "-n", *options, "--relay-ip", hosts[0]),
            *("--listening-port", str(port), "--alt-listening-port", str(port + 1)),
            *("--no-tls", "--no-dtls", "--no-cli", "--no-software-attribute", "--allow-loopback-peers"),
            *("--lt-cred-mech", "--user", f"{USER}:{PASSWORD}", "--realm", REALM),
            *("--db", str(folder / "turndb"), "--pidfile", str(folder / "turn.pid")),
            *("--log-file", "stdout", "--verbose"),
        ]
        self.program = Program("coturn", command, folder)

    def start(self) -> None:
        self.program.start()
        wait_until(self._listens, "coturn listens", poll_s=0.05)

    def _listens(self) -> bool:
        assert self.program.alive, self.program.log_text()[-2000:]
        log = self.program.log_text()
        last = self.port + 1 if len(self.hosts) > 1 else self.port  # the second port is for RFC 5780 alone
        return all(f"UDP listener opened on: {host}:{last}" in log for host in self.hosts)

    def stop(self) -> None:
        self.program.stop()
