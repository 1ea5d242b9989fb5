"""The virtual rig's parts: labgrid drivers for a QEMU whose power, lines, reset and cable are handled from outside.

`QemuPower` is labgrid's QEMUDriver whose power goes as at a socket, without a word to the guest. `QemuBoard` holds
the two side connections; it does not bind QEMU's driver, because that one's console deactivates its other clients.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import attr
from labgrid.driver import Driver, QEMUDriver
from labgrid.factory import target_factory
from labgrid.protocol import DigitalOutputProtocol, ResetProtocol
from labgrid.resource import Resource
from pexpect import TIMEOUT

from hil.qmp import QemuEvent, Qmp, QmpError
from hil.qtest import DATA, DIRECTION, LINES, Qtest, QtestError, intercept_outputs, set_input
from hil.roles import CableProtocol, LineSenseProtocol, Trace

CONNECT_S = 20.0
T = TypeVar("T")


@target_factory.reg_driver
@attr.s(eq=False)
class QemuPower(QEMUDriver):
    """QEMU as a board at a socket: `off` is a power cut."""

    def on_activate(self) -> None:
        super().on_activate()
        self._socket.settimeout(CONNECT_S)  # else a QEMU that ends at once is waited for without end
        self._cmd = ["setpriv", "--pdeathsig", "KILL", *self._cmd]  # it ends with the tests, however they end

    def _read(self, size: int = 1, timeout: float = 10, max_size: int | None = None) -> bytes:
        if not self.status:
            raise TIMEOUT("no power")
        return super()._read(size, timeout, max_size)

    def off(self) -> None:
        if not self.status:
            return
        self._child.kill()
        self._child.wait(10)
        for pipe in (self._child.stdin, self._child.stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        self._clientsocket.close()
        self._child = None
        self.status = 0


@target_factory.reg_resource
@attr.s(eq=False)
class QemuSockets(Resource):
    """Where QEMU listens: `qtest.sock` and `qmp.sock` in `folder`. `netdev` is the cable's id there."""

    folder = attr.ib(validator=attr.validators.instance_of(str))
    netdev = attr.ib(default="cable", validator=attr.validators.instance_of(str))


@target_factory.reg_driver
@attr.s(eq=False)
class QemuBoard(Driver, ResetProtocol, CableProtocol):
    """The terminals of the virtual board. Activate it when QEMU is on, deactivate it when its power went."""

    bindings = {"sockets": "QemuSockets"}  # noqa: RUF012  labgrid reads it from the class

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.events: list[QemuEvent] = []
        self.inputs: dict[int, bool] = {}  # levels that the rig drives
        self.traces: dict[int, Trace] = {line: Trace() for line in range(LINES)}
        self._driving = threading.Lock()
        self._device = ""

    def on_activate(self) -> None:
        folder = Path(self.sockets.folder)
        self._qmp = _connect(lambda: Qmp(folder / "qmp.sock", self._on_event))
        self._device = self._qmp.pl061()
        self._qtest = _connect(lambda: Qtest(folder / "qtest.sock", self._on_change))
        self._qtest.ask(intercept_outputs(self._device))
        self._look()
        self._drive_all()

    def on_deactivate(self) -> None:
        """Nothing is driven any more, so no contact is closed."""
        gone_s = time.monotonic()
        self._qtest.close()
        self._qmp.close()
        for trace in self.traces.values():
            trace.note(False, gone_s)

    def _look(self) -> None:
        """Changes are told from the interception on: what was there before has to be read."""
        at_s = time.monotonic()
        outputs = self._qtest.register(DATA) & self._qtest.register(DIRECTION)
        for line, trace in self.traces.items():
            trace.note(bool(outputs >> line & 1), at_s)

    def _on_change(self, line: int, raised: bool, at_s: float) -> None:
        if line in self.traces:
            self.traces[line].note(raised, at_s)

    def _on_event(self, event: QemuEvent) -> None:
        self.events.append(event)
        if event.name == "RESET":
            # The PL061 forgets its inputs; not on this thread, which has to read on.
            threading.Thread(target=self._drive_all, daemon=True).start()

    def _drive_all(self) -> None:
        with self._driving, contextlib.suppress(QtestError):  # it may lose its power meanwhile
            for line, level in self.inputs.items():
                self._qtest.ask(set_input(self._device, line, level))

    @Driver.check_active
    def drive(self, line: int, level: bool) -> None:
        with self._driving:
            self.inputs[line] = level
            self._qtest.ask(set_input(self._device, line, level))

    @Driver.check_active
    def level(self, line: int) -> bool:
        """Of an output, as the line is now. QtestError where QEMU does not answer."""
        outputs = self._qtest.register(DATA) & self._qtest.register(DIRECTION)
        return bool(outputs >> line & 1)

    @Driver.check_active
    def reset(self) -> None:
        self._qmp.ask("system_reset")

    @Driver.check_active
    def plug(self, plugged: bool) -> None:
        self._qmp.ask("set_link", name=self.sockets.netdev, up=plugged)


def _connect(make: Callable[[], T]) -> T:
    """QEMU makes its sockets a moment after it was started."""
    deadline = time.monotonic() + CONNECT_S
    while True:
        try:
            return make()
        except (OSError, QmpError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@target_factory.reg_driver
@attr.s(eq=False)
class QemuLineOut(Driver, DigitalOutputProtocol):
    """A contact at an input of the board: a button, a sensor. `active_low`: closed is the low level."""

    bindings = {"board": QemuBoard}  # noqa: RUF012
    line = attr.ib(validator=attr.validators.instance_of(int))
    active_low = attr.ib(default=False, validator=attr.validators.instance_of(bool))

    def on_activate(self) -> None:
        if self.line not in self.board.inputs:
            self.set(False)

    def get(self) -> bool:
        return self.board.inputs[self.line] != self.active_low

    def set(self, status: bool) -> None:
        self.board.drive(self.line, bool(status) != self.active_low)


@target_factory.reg_driver
@attr.s(eq=False)
class QemuLineSense(Driver, LineSenseProtocol):
    """An output of the board, watched. High is closed: undriven lines of QEMU's virt machine are low."""

    bindings = {"board": QemuBoard}  # noqa: RUF012
    line = attr.ib(validator=attr.validators.instance_of(int))

    @property
    def trace(self) -> Trace:
        return self.board.traces[self.line]

    @Driver.check_active
    def get(self) -> bool:
        return self.board.level(self.line)
