"""sipp playing what phones do not do, or do badly: our own scenarios, in tests/integration/sipp.

The exit code is the verdict (0: every step of the scenario was seen); messages and errors are in its files.
"""

import re
from pathlib import Path

from tests.support.processes import Program
from tests.support.waiting import PATIENCE_S, wait_until

SCENARIOS = Path(__file__).parents[1] / "integration" / "sipp"


class Sipp:
    """One run of a scenario for `calls` calls.

    A scenario that begins by sending needs `remote` ("127.0.0.1:5060"); `keys` are its [name] values. With
    `counts_repeats` a message that comes again is one more message, instead of being passed over. With a
    `rate` so many calls a second begin at most, each after the one before; many are better not written down
    (`messages`).
    """

    def __init__(
        self,
        folder: Path,
        scenario: str,
        port: int,
        *,
        remote: str = "",
        service: str = "door",
        transport: str = "udp",
        host: str = "127.0.0.1",
        calls: int = 1,
        timeout_s: int = 180,
        keys: dict[str, str] | None = None,
        counts_repeats: bool = False,
        rate: int = 0,
        messages: bool = True,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = port
        self.host = host
        self.scenario = scenario
        shown = f"[{host}]" if ":" in host else host
        self.messages = folder / f"{scenario}-{port}-messages.log"
        self.errors = folder / f"{scenario}-{port}-errors.log"
        self._listens = not remote
        command = [
            *("sipp", "-sf", str(SCENARIOS / f"{scenario}.xml"), "-i", shown, "-p", str(port)),
            *("-t", "t1" if transport == "tcp" else "u1", "-m", str(calls), "-s", service, "-nostdin"),
            *("-timeout", f"{timeout_s}s", "-timeout_error"),
            *("-trace_err", "-error_file", str(self.errors), "-recv_timeout", str(timeout_s * 1000)),
            # Its media socket would otherwise be the same fixed port in every sipp of this machine.
            *("-mi", shown, "-mp", str(port + 2)),
        ]
        if messages:
            command += ["-trace_msg", "-message_file", str(self.messages)]
        if rate:
            command += ["-r", str(rate), "-l", "1"]
        for key, value in (keys or {}).items():
            command += ["-key", key, value]
        if remote:
            # The digest's uri is to be the Request-URI, which it would take for the bare address.
            command += ["-auth_uri", f"{service}@{remote}"]
        if counts_repeats:
            command.append("-nr")
        if remote:
            command.append(remote)
        self.program = Program(f"sipp-{scenario}-{port}", command, folder, environment={"TERM": "dumb"})

    @property
    def uri(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"sip:phone@{host}:{self.port}"

    def start(self) -> None:
        self.program.start()
        if self._listens:
            wait_until(self._is_bound, f"{self.program.name} listens")

    def _is_bound(self) -> bool:
        assert self.program.alive, f"sipp ended at once:\n{self.program.log_text()[-2000:]}{self.error_text()}"
        number = f":{self.port:04X} "
        tables = ("udp", "udp6", "tcp", "tcp6")
        return any(number in Path(f"/proc/net/{table}").read_text() for table in tables)

    def stop(self) -> None:
        self.program.stop(1)

    def result(self, timeout_s: float = 2 * PATIENCE_S) -> None:
        """Wait for the scenario's end; AssertionError with sipp's own words if a step was not as written."""
        wait_until(lambda: not self.program.alive, f"sipp scenario {self.scenario} ends", timeout_s)
        code = self.program.exit_code
        assert code == 0, f"sipp scenario {self.scenario} failed ({code}):\n{self.error_text()}"

    def offered_audio(self) -> tuple[str, int]:
        """Where the caller of the INVITE that came in wants its sound: address and port of its description."""

        def described() -> "re.Match[str] | None":
            return re.search(r"^c=IN IP\d (\S+)\s.*?^m=audio (\d+) ", self.message_text(), re.DOTALL | re.MULTILINE)

        found = wait_until(described, "an INVITE with a description")
        assert found is not None
        return found.group(1), int(found.group(2))

    @property
    def passed(self) -> bool:
        return self.program.exit_code == 0

    def error_text(self) -> str:
        return self.errors.read_text(errors="replace") if self.errors.exists() else ""

    def message_text(self) -> str:
        """Every message sent and received, with its time."""
        return self.messages.read_text(errors="replace") if self.messages.exists() else ""
