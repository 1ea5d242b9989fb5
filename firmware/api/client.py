"""The other end of the station's control socket: one request, one answer, or lines that go on."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ANSWER_S = 10.0  # the station answers within milliseconds, an unlock within two seconds

Json = dict[str, Any]


class Refused(Exception):
    """The station, or the store, said no. The text is for the technician."""


class NotRunning(Exception):
    """No station listens. The text says where it was looked for and what to do."""


class Station:
    """A connection to the running station."""

    def __init__(self, run_dir: Path) -> None:
        path = run_dir / "portero.sock"
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(ANSWER_S)
        self._buffer = b""
        try:
            self.socket.connect(os.fspath(path))
        except OSError as error:
            self.socket.close()
            if isinstance(error, FileNotFoundError | ConnectionRefusedError):
                raise NotRunning(
                    f"the station is not running (nothing listens on {path}); start it with systemctl start "
                    "portero, or name its folder with --run-dir"
                ) from None
            if isinstance(error, PermissionError):
                raise Refused(
                    f"{path}: this user may not command the station; use sudo, or join the socket's group"
                ) from None
            raise Refused(f"{path}: {error.strerror or error}") from None

    def ask(self, request: Json) -> Any:
        """The result of one request. Raises Refused with the station's own words."""
        try:
            self.socket.sendall(json.dumps(request).encode() + b"\n")
            answer = self._line()
        except TimeoutError:
            raise Refused(f"the station did not answer within {ANSWER_S:.0f} s; see its journal") from None
        except ConnectionError:
            answer = None
        if answer is None:
            raise Refused("the station hung up; see its journal")
        if "result" not in answer:
            raise Refused(answer.get("error") or answer.get("end") or "the station gave no answer")
        return answer["result"]

    def follow(self) -> Iterator[Json]:
        """The lines that come from now on. BrokenPipeError when our own reader is gone."""
        import select

        self.socket.settimeout(None)
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        poll.register(sys.stdout.fileno(), 0)  # a closed pipe is told while nothing happens at the door, too
        while True:
            if b"\n" not in self._buffer and sys.stdout.fileno() in dict(poll.poll()):
                raise BrokenPipeError
            line = self._line()
            if line is None:
                return
            yield line

    def _line(self) -> Json | None:
        while b"\n" not in self._buffer:
            data = self.socket.recv(65536)
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: Json = json.loads(line)
        return answer
