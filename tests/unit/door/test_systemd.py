import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.door.systemd import Notifier


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.setblocking(False)
        yield receiver


def environment(listener: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": listener.getsockname(), **more}


def test_fields_arrive_as_one_datagram(listener: socket.socket) -> None:
    Notifier(environment(listener)).send(READY="1", STATUS="2 doors")
    assert listener.recv(1000) == b"READY=1\nSTATUS=2 doors"


def test_an_abstract_socket_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0portero-test-{os.getpid()}")
        Notifier({"NOTIFY_SOCKET": f"@portero-test-{os.getpid()}"}).send(READY="1")
        receiver.setblocking(False)
        assert receiver.recv(1000) == b"READY=1"


def test_the_watchdog_is_fed_twice_within_its_time(listener: socket.socket) -> None:
    notifier = Notifier(environment(listener, WATCHDOG_USEC="2000000", WATCHDOG_PID=str(os.getpid())))
    fed = 0
    for tenth in range(100):
        notifier.feed_watchdog(50 + tenth / 10)
        try:
            assert listener.recv(100) == b"WATCHDOG=1"
        except BlockingIOError:
            continue
        fed += 1
        assert notifier.next_deadline() == pytest.approx(50 + tenth / 10 + 1)
    assert fed == 10


@pytest.mark.parametrize("more", [{}, {"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}])
def test_a_watchdog_that_is_not_ours_is_not_fed(listener: socket.socket, more: dict[str, str]) -> None:
    notifier = Notifier(environment(listener, **more))
    notifier.feed_watchdog(50)
    assert notifier.next_deadline() is None
    with pytest.raises(BlockingIOError):
        listener.recv(100)


def test_without_systemd_nothing_happens(tmp_path: Path) -> None:
    Notifier({}).send(READY="1")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).send(READY="1")
