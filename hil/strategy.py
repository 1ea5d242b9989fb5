"""Gets the device from off to ready, the same way on every rig, and says when each step came.

off -> booted: power, then a shell over SSH once the console says that the station started, since a login and each
question would take an emulated processor's time from that. booted -> ready: portero runs and is registered at the
rig's server. A transition that fails leaves the state unknown: the next one begins with the power.
"""

import contextlib
import enum
import json
import socket
import time
from typing import Any

import attr
from labgrid.driver.exception import ExecutionError
from labgrid.factory import target_factory
from labgrid.strategy import Strategy, StrategyError

from hil.qemu import QemuBoard
from hil.roles import CableProtocol, EarProtocol, LineSenseProtocol, MouthProtocol
from hil.watching import ConsoleLog
from tests.support.waiting import wait_until

FAILURES_TO_GIVE_UP = 2  # each costs a boot's time
KERNEL_STARTS = "Booting Linux on physical CPU"
STATION_STARTED = "portero: station "  # portero-started.service, whatever came of it


class Status(enum.Enum):
    unknown = 0
    off = 1
    booted = 2
    ready = 3


@target_factory.reg_driver
@attr.s(eq=False)
class DoorStrategy(Strategy):
    """The roles of a rig. `board` is the virtual one's; a bench may do without `cable` and `reset`, too."""

    bindings = {  # noqa: RUF012  labgrid reads it from the class
        "power": "PowerProtocol",
        "console": ConsoleLog,
        "ssh": "SSHDriver",
        "button": "DigitalOutputProtocol",
        "contact": "DigitalOutputProtocol",
        "lock": LineSenseProtocol,
        "ear": EarProtocol,
        "mouth": MouthProtocol,
        "board": {QemuBoard, None},
        "cable": {CableProtocol, None},
        "reset": {"ResetProtocol", None},
    }

    boot_s = attr.ib(default=300.0, validator=attr.validators.instance_of(float))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.status = Status.unknown
        self.power_on_s = float("nan")
        self._failed_in_a_row = 0
        self._console_at = 0  # where its log was at the last login

    def transition(self, status: Status | str) -> None:
        wanted = status if isinstance(status, Status) else Status[status]
        if wanted is Status.unknown:
            raise StrategyError("nobody can go to an unknown state")
        before, self.status = self.status, Status.unknown
        try:
            self._go(before, wanted)
        except Exception as error:
            self._failed_in_a_row += 1
            if self._failed_in_a_row == FAILURES_TO_GIVE_UP:
                self.broken = error  # labgrid skips the tests that are left
            raise
        self._failed_in_a_row = 0
        # A device that is ready stays so where no more than a shell is asked for.
        self.status = before if before is Status.ready and wanted is Status.booted else wanted

    def _go(self, before: Status, wanted: Status) -> None:
        if wanted is Status.off:
            self.cut()
        else:
            if before not in (Status.booted, Status.ready):
                self.cut()
                seen = self.console.size
                self.switch_on()
                self.log_in_when_started(seen)
            if wanted is Status.ready and before is not Status.ready:
                self.wait_ready(self.boot_s)

    def force(self, status: Status | str) -> None:
        """Believe that it is so (`--lg-initial-state`): a device that runs already."""
        self.status = status if isinstance(status, Status) else Status[status]
        self.target.activate(self.power)
        self._attach()
        if self.status in (Status.booted, Status.ready):
            self.target.activate(self.ssh)

    def cut(self) -> float:
        """The power cut; when it was."""
        self._log_out()
        self.target.activate(self.power)
        self.power.off()
        at_s = time.monotonic()
        if self.board is not None:
            self.target.deactivate(self.board)
        self.status = Status.off
        return at_s

    def switch_on(self) -> float:
        """Power on; when it was. The lines are driven and watched from then on."""
        self.target.activate(self.power)
        self.target.activate(self.console)
        self.power_on_s = time.monotonic()
        self.power.on()
        self._attach()
        self.status = Status.unknown
        return self.power_on_s

    def _attach(self) -> None:
        self.target.activate(self.console)
        for part in (self.board, self.button, self.contact, self.lock):
            if part is not None:
                self.target.activate(part)

    def log_in_when_started(self, seen: int) -> None:
        """`seen`: how long the console's log was before this start."""
        wait_until(lambda: STATION_STARTED in self.console.text(seen), "the station starts", self.boot_s, 0.5)
        self.log_in(self.boot_s)

    def log_in(self, timeout_s: float) -> None:
        """A shell, from a device that boots or that lost its connections."""
        self._log_out()
        service = self.ssh.networkservice
        wait_until(lambda: _greets(service.address, service.port), "the device's SSH server greets", timeout_s, 0.5)
        self.target.activate(self.ssh)
        self._console_at = self.console.size

    def restarted(self, timeout_s: float = 0) -> None:
        """Wait for a device that restarts after the last login (a boot's time where none is given), and log in."""
        timeout_s = timeout_s or self.boot_s
        self.status = Status.unknown
        wait_until(lambda: KERNEL_STARTS in self.console.text(self._console_at), "it starts anew", timeout_s, 0.5)
        self.log_in_when_started(self._console_at)
        self.status = Status.booted

    def _log_out(self) -> None:
        for part in (self.ear, self.mouth, self.ssh):
            with contextlib.suppress(ExecutionError, OSError):
                self.target.deactivate(part)

    def wait_ready(self, timeout_s: float) -> None:
        wait_until(self._is_ready, "portero is registered at the rig's server", timeout_s, 1.0)

    def _is_ready(self) -> bool:
        status = self.station_status()
        if not status or not status["lock_process"]:
            return False
        return all(account["state"] == "registered" for account in status.get("accounts", []))

    def station_status(self) -> dict[str, Any]:
        """`doorctl status --json`; empty where it cannot be had."""
        try:
            lines, _, code = self.ssh.run("doorctl status --json", timeout=60)
        except (ExecutionError, OSError):
            return {}
        with contextlib.suppress(ValueError):
            found = json.loads("\n".join(lines))
            if code == 0 and isinstance(found, dict):
                return found
        return {}


def _greets(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), 2) as connection:
            connection.settimeout(10)
            return connection.recv(64).startswith(b"SSH-")
    except OSError:
        return False
