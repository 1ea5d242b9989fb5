"""QEMU's monitor: events between answers, and what is said where it refuses."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hil.qmp import QemuEvent, Qmp, QmpError
from tests.support.waiting import wait_until

ANSWERS: dict[str, list[dict[str, Any]]] = {
    "qmp_capabilities": [{"return": {}}],
    "system_reset": [{"event": "RESET", "data": {"guest": False}, "timestamp": {}}, {"return": {}}],
    "qom-list": [
        {"return": [{"name": "device[0]", "type": "child<x>"}, {"name": "device[7]", "type": "child<pl061>"}]}
    ],
    "quit": [{"error": {"class": "GenericError", "desc": "not now"}}],
}


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "qmp.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(1)

    def serve() -> None:
        with contextlib.suppress(OSError):
            client, _ = listener.accept()
            with client, client.makefile("rb") as lines:
                client.sendall(b'{"QMP": {"version": {}, "capabilities": []}}\r\n')
                for line in lines:
                    answers = ANSWERS[json.loads(line)["execute"]]
                    client.sendall(b"".join(json.dumps(answer).encode() + b"\r\n" for answer in answers))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield path
    listener.close()
    thread.join(5)


def test_events_are_kept_and_do_not_pass_for_answers(monitor: Path) -> None:
    events: list[QemuEvent] = []
    qmp = Qmp(monitor, events.append)
    assert qmp.ask("system_reset") == {}
    wait_until(lambda: [event.name for event in events] == ["RESET"], "the event is told")
    qmp.close()


def test_the_gpio_chip_is_found_wherever_the_machine_has_put_it(monitor: Path) -> None:
    qmp = Qmp(monitor, lambda _: None)
    assert qmp.pl061() == "/machine/unattached/device[7]"
    qmp.close()


def test_a_refusal_has_qemus_words(monitor: Path) -> None:
    qmp = Qmp(monitor, lambda _: None)
    with pytest.raises(QmpError, match="quit: not now"):
        qmp.ask("quit")
    qmp.close()
