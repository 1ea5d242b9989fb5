"""A second connection to QEMU's monitor, for what labgrid's own leaves out: its events, with the time of each.

QEMU Machine Protocol: JSON, one object a line. RESET, WATCHDOG and SHUTDOWN are how a rig without wires sees what a
bench sees at the power LED.
"""

import contextlib
import json
import queue
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class QmpError(Exception):
    """What QEMU refused, or that it is gone."""


@dataclass(frozen=True, slots=True)
class QemuEvent:
    """`at_s` in time.monotonic, when it was read."""

    at_s: float
    name: str
    data: dict[str, Any]


class Qmp:
    """`on_event` comes on the reader's thread."""

    def __init__(self, path: Path, on_event: Callable[[QemuEvent], None], timeout_s: float = 10) -> None:
        """OSError where nobody listens at `path`, QmpError where it is no QEMU."""
        self._on_event = on_event
        self._timeout_s = timeout_s
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._asking = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._thread = threading.Thread(target=self._listen, name="qmp", daemon=True)
        self._thread.start()
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: object) -> Any:
        """What the command returns. QmpError where it fails or no answer comes."""
        line = json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"
        with self._asking:
            try:
                self._socket.sendall(line)
                answer = self._answers.get(timeout=self._timeout_s)
            except (OSError, queue.Empty):
                answer = None
        if answer is None:
            raise QmpError(f"QEMU gave no answer to {command}")
        if "error" in answer:
            raise QmpError(f"QEMU refused {command}: {answer['error'].get('desc', answer['error'])}")
        return answer["return"]

    def pl061(self) -> str:
        """Path of the machine's PL061. QmpError where it has none, as virt with firmware and ACPI has not."""
        parent = "/machine/unattached"
        for child in self.ask("qom-list", path=parent):
            if child["type"] == "child<pl061>":
                return f"{parent}/{child['name']}"
        raise QmpError("this machine has no PL061; with firmware the virt machine needs -machine acpi=off")

    def _listen(self) -> None:
        with contextlib.suppress(OSError, ValueError), self._socket.makefile("rb") as lines:
            for line in lines:
                message = json.loads(line)
                if "event" in message:
                    self._on_event(QemuEvent(time.monotonic(), message["event"], message.get("data", {})))
                elif "QMP" not in message:
                    self._answers.put(message)
        self._answers.put(None)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._socket.close()
