"""The device as its tests meet it: the hand at its buttons, a shell on it, and what it says of itself."""

import json
import time
from typing import Any

from labgrid.driver.exception import ExecutionError

from hil.shared import stolen_s
from hil.strategy import DoorStrategy
from tests.support.waiting import wait_until

Event = dict[str, Any]
COMMAND_S = 90.0  # of an emulated processor that is busy


class Door:
    """`shared`: an emulated board on a machine that others use (hil/shared.py)."""

    def __init__(self, strategy: DoorStrategy, *, shared: bool = False) -> None:
        self.strategy = strategy
        self.lock = strategy.lock
        self.console = strategy.console
        self._shared = shared
        self._stolen_at_unlock_s = 0.0

    # --- the hand ---

    def press(self, seconds: float = 0.3) -> float:
        """Hold the button for so long; when it went down."""
        at_s = time.monotonic()
        self.strategy.button.set(True)
        time.sleep(seconds)
        self.strategy.button.set(False)
        return at_s

    def level(self, pressed: bool) -> None:
        self.strategy.button.set(pressed)

    # --- the shell ---

    def run(self, command: str, timeout_s: float = COMMAND_S) -> str:
        """What the command prints; AssertionError where it fails. Logs in again after a lost connection."""
        lines, errors, code = self.try_run(command, timeout_s)
        assert code == 0, f"{command}: {code}\n" + "\n".join([*lines, *errors])
        return "\n".join(lines)

    def try_run(self, command: str, timeout_s: float = COMMAND_S) -> tuple[list[str], list[str], int]:
        try:
            return self._ran(command, timeout_s)
        except ExecutionError:
            self.strategy.log_in(timeout_s)
            return self._ran(command, timeout_s)

    def _ran(self, command: str, timeout_s: float) -> tuple[list[str], list[str], int]:
        lines, errors, code = self.strategy.ssh.run(command, timeout=timeout_s)
        return lines, errors, code

    def begin(self, command: str) -> None:
        """Have the command go on in the device, whatever becomes of it and of the connection."""
        self.run(f"systemd-run --quiet --collect -- {command}")

    def boot_id(self) -> str:
        return self.run("cat /proc/sys/kernel/random/boot_id")

    def process(self, unit: str) -> int:
        """Main process of the unit; 0 for none."""
        return int(self.run(f"systemctl show --property=MainPID --value {unit}"))

    # --- what the station says ---

    def doorctl(self, arguments: str) -> Any:
        return json.loads(self.run(f"doorctl {arguments} --json"))

    def status(self) -> Any:
        return self.doorctl("status")

    def faults(self) -> list[dict[str, Any]]:
        """Empty also while the station does not answer."""
        return list(self.strategy.station_status().get("faults", []))

    def events(self, since: int = 0, kind: str = "") -> list[Event]:
        """Those after number `since`, oldest first."""
        text = self.run(f"doorctl events --since {since} --json")
        events = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        return [event for event in events if not kind or event["kind"] == kind]

    def last_event(self) -> int:
        text = self.run("doorctl events --last 1 --json")
        return max((json.loads(line)["seq"] for line in text.splitlines() if line.startswith("{")), default=0)

    def ready(self) -> None:
        self.strategy.transition("ready")

    # --- the lock ---

    def unlock(self) -> float:
        """Have the door opened by a technician; when the line went active."""
        before = time.monotonic()
        self.begin("doorctl unlock")
        wait_until(lambda: self.lock.trace.pulses(before), "the lock's line goes active", COMMAND_S)
        self._stolen_at_unlock_s = stolen_s()
        return self.lock.trace.pulses(before)[-1].began_s

    def stolen_since_unlock_s(self) -> float:
        """Time that an emulated board did not get from this machine's host. 0 where no host is an excuse."""
        return stolen_s() - self._stolen_at_unlock_s if self._shared and self.strategy.board is not None else 0.0
