"""The lines of QEMU's PL061 seen and driven from outside, over the text protocol of its qtest socket.

QEMU 7.2 to 10 (softmmu/qtest.c): one command a line, words separated by single spaces; each is answered by a line
`OK ...`, `FAIL ...` or `ERR ...`, and between answers come `IRQ raise N` and `IRQ lower N` of the device that is
intercepted. A command that QEMU does not understand ends QEMU with an assertion, so everything is checked here
before it is sent. QEMU forgets the levels it told when a client leaves: one connection lasts as long as QEMU does.
"""

import contextlib
import queue
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PL061 = 0x0903_0000  # hw/arm/virt.c: VIRT_GPIO
DATA = PL061 + 0x3FC  # all eight lines, inputs and outputs
DIRECTION = PL061 + 0x400  # 1: output
LINES = 8
KERNELS_OWN = 3  # gpio-keys: the power button

_DEVICE = re.compile(r"/machine/unattached/device\[\d{1,4}\]")
_MAX_LINE = 4096


class QtestError(Exception):
    """What QEMU refused, what it must not be asked, or that it is gone."""


@dataclass(frozen=True, slots=True)
class Answer:
    """To the command before it; `words` without the OK, FAIL or ERR."""

    ok: bool
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LevelChanged:
    """An output of the intercepted device has gone high (`raised`) or low."""

    line: int
    raised: bool


class Reader:
    """Bytes in, answers and changes out, in QEMU's order. QtestError for what is no line of the protocol."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Answer | LevelChanged]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_LINE:
            raise QtestError(f"a line of more than {_MAX_LINE} bytes")
        return [_read(line.decode(errors="replace").rstrip("\r")) for line in lines]


def _read(line: str) -> Answer | LevelChanged:
    match line.split():
        case ["IRQ", "raise" | "lower" as way, number] if number.isascii() and number.isdigit():
            return LevelChanged(int(number), way == "raise")
        case ["OK", *words]:
            return Answer(True, tuple(words))
        case ["FAIL" | "ERR", *words]:
            return Answer(False, tuple(words))
    raise QtestError(f"not a line of qtest: {line[:80]!r}")


def intercept_outputs(device: str) -> str:
    return f"irq_intercept_out {_checked(device)}"


def set_input(device: str, line: int, level: bool) -> str:
    """QtestError for a line that does not exist or that the kernel keeps for its power button."""
    if not 0 <= line < LINES:
        raise QtestError(f"line {line}: a PL061 has the lines 0 to {LINES - 1}")
    if line == KERNELS_OWN:
        raise QtestError(f"line {line} is the power button of QEMU's virt machine; wire to another one")
    return f"set_irq_in {_checked(device)} unnamed-gpio-in {line} {int(level)}"


def read_register(address: int) -> str:
    if address not in (DATA, DIRECTION):
        raise QtestError(f"{address:#x} is neither DATA nor DIRECTION of the PL061")
    return f"readl {address:#x}"


def _checked(device: str) -> str:
    if not _DEVICE.fullmatch(device):
        raise QtestError(f"{device!r} is not the path of a device, /machine/unattached/device[N]")
    return device


class Qtest:
    """One connection. `on_change(line, raised, at_s)` comes on the reader's thread, `at_s` in time.monotonic."""

    def __init__(self, path: Path, on_change: Callable[[int, bool, float], None], timeout_s: float = 10) -> None:
        """OSError where nobody listens at `path`."""
        self._on_change = on_change
        self._timeout_s = timeout_s
        self._answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._asking = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._thread = threading.Thread(target=self._listen, name="qtest", daemon=True)
        self._thread.start()

    def ask(self, command: str) -> tuple[str, ...]:
        """The words of the answer. QtestError where it is not OK, or none comes."""
        with self._asking:
            try:
                self._socket.sendall(command.encode() + b"\n")
                answer = self._answers.get(timeout=self._timeout_s)
            except (OSError, queue.Empty):
                answer = None
        if answer is None:
            raise QtestError(f"QEMU gave no answer to {command!r}")
        if not answer.ok:
            raise QtestError(f"QEMU refused {command!r}: {' '.join(answer.words)}")
        return answer.words

    def register(self, address: int) -> int:
        words = self.ask(read_register(address))
        try:
            return int(words[0], 16)
        except (IndexError, ValueError) as error:
            raise QtestError(f"no value in QEMU's answer: {words}") from error

    def _listen(self) -> None:
        reader = Reader()
        with contextlib.suppress(OSError, QtestError):
            while data := self._socket.recv(4096):
                at_s = time.monotonic()
                for message in reader.feed(data):
                    if isinstance(message, Answer):
                        self._answers.put(message)
                    else:
                        self._on_change(message.line, message.raised, at_s)
        self._answers.put(None)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._socket.close()
