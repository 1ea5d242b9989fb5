"""A real program under test or beside it: started with its output in a file, ended by its process id."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


class Program:
    """One process. It dies with the test process whatever happens (`setpriv --pdeathsig`)."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        stdin: bool = False,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.folder = folder
        self.log = folder / f"{name}.log"
        self.environment = {**os.environ, **(environment or {})}
        self._stdin = stdin
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, or start again; the log goes on in the same file."""
        assert not self.alive, f"{self.name} runs already"
        with self.log.open("ab") as out:
            out.write(f"--- {time.monotonic():.3f} {' '.join(self.command)}\n".encode())
            out.flush()
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.command],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.PIPE if self._stdin else subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return None if self.process is None else self.process.poll()

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def type(self, line: str) -> None:
        """Write one line to the program's standard input."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End at once, children of its session too: what a crash or a cut leaves."""
        self._end(signal.SIGKILL, 5)

    def stop(self, timeout_s: float = 5) -> None:
        """Ask to end; kill what has not by then."""
        if self.alive:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(timeout_s)  # type: ignore[union-attr]
            except subprocess.TimeoutExpired:
                with self.log.open("a") as out:
                    out.write(f"--- did not end within {timeout_s} s of SIGTERM, killed\n")
        self._end(signal.SIGKILL, 5)

    def _end(self, number: int, timeout_s: float) -> None:
        if self.process is None:
            return
        # The group is ours (start_new_session); a server that forks leaves workers when its first dies.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        self.process.wait(timeout_s)
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
