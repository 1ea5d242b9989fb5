"""Parts that a virtual rig and a bench have alike: the console's log, and ears and mouths that are ALSA devices."""

import contextlib
import shlex
import subprocess
import threading
import time
from pathlib import Path

import attr
from labgrid.driver import Driver
from labgrid.factory import target_factory
from pexpect import TIMEOUT

from hil.roles import EarProtocol, MouthProtocol


@target_factory.reg_driver
@attr.s(eq=False)
class ConsoleLog(Driver):
    """Reads the console all the time (a console that nobody reads stops the device) into `file`, a stamp a line."""

    bindings = {"console": "ConsoleProtocol"}  # noqa: RUF012  labgrid reads it from the class
    file = attr.ib(validator=attr.validators.instance_of(str))

    def on_activate(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="console", daemon=True)
        self._thread.start()

    def on_deactivate(self) -> None:
        self._stopping.set()
        self._thread.join(5)

    def text(self, offset: int = 0) -> str:
        """From this byte of the file on."""
        path = Path(self.file)
        return path.read_bytes()[offset:].decode(errors="replace") if path.exists() else ""

    @property
    def size(self) -> int:
        path = Path(self.file)
        return path.stat().st_size if path.exists() else 0

    def _listen(self) -> None:
        Path(self.file).parent.mkdir(parents=True, exist_ok=True)
        with open(self.file, "ab", buffering=0) as out:
            begun = False
            while not self._stopping.is_set():
                data = b""
                # Not read(): that is a step of labgrid's, and its stack of steps belongs to one thread.
                with contextlib.suppress(TIMEOUT, OSError, ValueError):
                    data = self.console._read(size=1, timeout=0.3)
                if not data:
                    self._stopping.wait(0.05)  # without power there is nothing to wait in
                for line in data.replace(b"\r", b"").splitlines(keepends=True):
                    if not begun:
                        out.write(f"[{time.monotonic():10.3f}] ".encode())
                    out.write(line)
                    begun = not line.endswith(b"\n")


@target_factory.reg_driver
@attr.s(eq=False)
class AlsaEar(Driver, EarProtocol):
    """arecord at `device`: of the device under test over `shell` where it is `on_device`, else of this machine."""

    bindings = {"shell": {"SSHDriver", None}}  # noqa: RUF012
    device = attr.ib(validator=attr.validators.instance_of(str))
    rate_hz = attr.ib(default=16_000, validator=attr.validators.instance_of(int))
    on_device = attr.ib(default=False, validator=attr.validators.instance_of(bool))

    def record(self, file: Path, seconds: float) -> Path:
        command = ["arecord", "-q", "-D", self.device, "-f", "S16_LE", "-c", "1", "-r", str(self.rate_hz)]
        command += ["-t", "wav", "-d", str(round(seconds))]
        with file.open("wb") as out:
            subprocess.run(
                _there(self, command), stdin=subprocess.DEVNULL, stdout=out, timeout=seconds * 3 + 60, check=True
            )
        return file


@target_factory.reg_driver
@attr.s(eq=False)
class AlsaMouth(Driver, MouthProtocol):
    """aplay at `device`: of the device under test over `shell` where it is `on_device`, else of this machine."""

    bindings = {"shell": {"SSHDriver", None}}  # noqa: RUF012
    device = attr.ib(validator=attr.validators.instance_of(str))
    on_device = attr.ib(default=False, validator=attr.validators.instance_of(bool))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._player: subprocess.Popen[bytes] | None = None

    def play(self, file: Path) -> None:
        self.stop()
        with file.open("rb") as sound:
            self._player = subprocess.Popen(
                _there(self, ["aplay", "-q", "-D", self.device]), stdin=sound, stderr=subprocess.DEVNULL
            )

    def stop(self) -> None:
        if self._player is not None:
            self._player.kill()
            self._player.wait(10)
            self._player = None

    def on_deactivate(self) -> None:
        self.stop()


def _there(driver: Driver, command: list[str]) -> list[str]:
    if not driver.on_device:
        return command
    shell = driver.shell
    service = shell.networkservice
    # Over the connection that the SSH driver keeps open; its run() has neither input nor bytes.
    return [
        "ssh",
        "-x",
        *shell.ssh_prefix,
        "-p",
        str(service.port),
        "-l",
        service.username,
        service.address,
        shlex.join(command),
    ]
