"""The qtest protocol: what is read, what is refused before it is sent, and a connection to who speaks it."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.qtest import (
    DATA,
    Answer,
    LevelChanged,
    Qtest,
    QtestError,
    Reader,
    intercept_outputs,
    read_register,
    set_input,
)
from tests.support.waiting import wait_until

DEVICE = "/machine/unattached/device[7]"


def test_answers_and_changes_come_in_their_order() -> None:
    read = Reader().feed(b"IRQ raise 4\nOK\nIRQ lower 4\nOK 0x00000000000000d1\nFAIL Unknown device\n")
    assert read == [
        LevelChanged(4, True),
        Answer(True, ()),
        LevelChanged(4, False),
        Answer(True, ("0x00000000000000d1",)),
        Answer(False, ("Unknown", "device")),
    ]


@given(st.lists(st.integers(min_value=1, max_value=9)))
def test_it_does_not_matter_how_the_bytes_are_cut(cuts: list[int]) -> None:
    text = b"IRQ raise 0\nOK 0x1f\nIRQ lower 0\n"
    reader, read, rest = Reader(), [], text
    for cut in [*cuts, len(text)]:
        read += reader.feed(rest[:cut])
        rest = rest[cut:]
    assert read == Reader().feed(text)


@pytest.mark.parametrize("line", [b"\n", b"IRQ raise\n", b"IRQ raise -1\n", b"hello\n", b"IRQ up 3\n", b"x" * 5000])
def test_what_is_no_line_of_the_protocol_is_refused(line: bytes) -> None:
    with pytest.raises(QtestError):
        Reader().feed(line)


@pytest.mark.parametrize("line", [-1, 3, 8])
def test_lines_that_would_end_qemu_or_its_power_are_not_driven(line: int) -> None:
    with pytest.raises(QtestError, match=f"line {line}"):
        set_input(DEVICE, line, True)


@pytest.mark.parametrize(
    "device", ["", "/machine", "/machine/unattached/device[7]\nquit", "/machine/unattached/device[7] x"]
)
def test_a_path_that_would_end_qemu_is_not_sent(device: str) -> None:
    for command in (lambda: set_input(device, 0, True), lambda: intercept_outputs(device)):
        with pytest.raises(QtestError, match="not the path of a device"):
            command()


def test_only_the_chips_registers_are_read() -> None:
    assert read_register(DATA) == "readl 0x90303fc"
    with pytest.raises(QtestError, match="neither"):
        read_register(0)


class FakeQemu:
    """Answers one client by `answer`, a command's lines."""

    def __init__(self, path: Path, answer: Callable[[str], bytes]) -> None:
        self.asked: list[str] = []
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._listener.accept()
            with client, client.makefile("rb") as lines:
                for line in lines:
                    self.asked.append(line.decode().rstrip("\n"))
                    reply = self._answer(self.asked[-1])
                    if not reply:
                        return
                    client.sendall(reply)

    def close(self) -> None:
        self._listener.close()
        self._thread.join(5)


@pytest.fixture
def fakes(tmp_path: Path) -> Iterator[Callable[[Callable[[str], bytes]], tuple[FakeQemu, Path]]]:
    running: list[FakeQemu] = []

    def make(answer: Callable[[str], bytes]) -> tuple[FakeQemu, Path]:
        path = tmp_path / "qtest.sock"
        running.append(FakeQemu(path, answer))
        return running[-1], path

    yield make
    for fake in running:
        fake.close()


Fakes = Callable[[Callable[[str], bytes]], tuple[FakeQemu, Path]]


def test_a_change_before_its_commands_answer_is_told_and_the_answer_kept(fakes: Fakes) -> None:
    changes: list[tuple[int, bool]] = []
    fake, path = fakes(lambda command: b"IRQ raise 4\nOK 0x0000000000000011\n")
    client = Qtest(path, lambda line, raised, _: changes.append((line, raised)))
    assert client.register(DATA) == 0x11
    wait_until(lambda: changes == [(4, True)], "the change is told")
    assert fake.asked == ["readl 0x90303fc"]
    client.close()


def test_a_refusal_names_the_command_and_what_qemu_said(fakes: Fakes) -> None:
    _, path = fakes(lambda command: b"FAIL Unknown device\n")
    client = Qtest(path, lambda *_: None)
    with pytest.raises(QtestError, match=r"irq_intercept_out.*Unknown device"):
        client.ask(intercept_outputs(DEVICE))
    client.close()


def test_a_qemu_that_ends_is_told_at_once_and_not_waited_for(fakes: Fakes) -> None:
    _, path = fakes(lambda command: b"")
    client = Qtest(path, lambda *_: None, timeout_s=60)
    with pytest.raises(QtestError, match="no answer"):
        client.ask(read_register(DATA))
    client.close()
