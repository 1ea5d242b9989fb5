"""dnsmasq as the name server of one test: its own records on a port of its own, and nothing else."""

from collections.abc import Sequence
from pathlib import Path

from tests.support.processes import Program
from tests.support.waiting import wait_until


class Dnsmasq:
    """`records` are options of dnsmasq without their dashes, such as "host-record=one.door.test,127.0.0.1"."""

    def __init__(self, folder: Path, port: int, records: Sequence[str]) -> None:
        self.port = port
        options = [
            "keep-in-foreground",
            "conf-file=/dev/null",
            "pid-file",
            "no-resolv",
            "no-hosts",
            "no-daemon",
            "user=root",
            "bind-interfaces",
            "listen-address=127.0.0.1",
            f"port={port}",
            "log-queries",
            "local=/door.test/",
            *records,
        ]
        self.program = Program("dnsmasq", ["dnsmasq", *(f"--{option}" for option in options)], folder)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self.program.start()
        wait_until(lambda: not self.program.alive or "started" in self.program.log_text(), "dnsmasq is ready")
        assert self.program.alive, f"dnsmasq ended at once:\n{self.program.log_text()}"

    def stop(self) -> None:
        self.program.stop()

    def asked(self, kind: str) -> list[str]:
        """Log lines of the queries of that kind."""
        return [line for line in self.program.log_text().splitlines() if f"query[{kind}]" in line]
