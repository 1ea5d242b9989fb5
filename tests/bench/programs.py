"""The programs that are measured: the station as its two processes, baresip, and what the kernel counts of them."""

import contextlib
import json
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from drivers.gpio.simulated import LineWatch, lines_file
from tests.bench.report import Skipped
from tests.support.ports import free_port
from tests.support.processes import Program
from tests.support.station import BIN
from tests.support.waiting import wait_until

BUTTON, CODE = "flat", "4711"
RELAY_LINE = 5
BARESIP_MODULES = Path("/usr/lib/baresip/modules")

# Codecs beyond the telephone's band: baresip's name, and the rate of its sound.
_WIDEBAND = {"G722": ("g722/16000/1", 16_000), "opus": ("opus/48000/2", 48_000)}

_BOARD = """\
[camera]
driver = "simulated"
width = 640
height = 480
fps = 15
bitrate_kbps = 600
warm = {camera_warm}
[audio]
driver = "simulated"
{sound}
microphone_tone_hz = 440
[gpio]
driver = "simulated"
[inputs.button1]
chip = "simulated"
line = 17
active_low = true
pull = "up"
debounce_ms = 30
[outputs.relay1]
chip = "simulated"
line = {relay_line}
"""

_STATION = """\
[station]
board = "{folder}/board.toml"
run_dir = "{folder}/run"
state_dir = "{folder}/state"
[sip]
listen = ["127.0.0.1:{port}"]
{account}
[[buttons]]
name = "{button}"
input = "button1"
doors = ["street"]
[[buttons.stages]]
ring = ["{target}"]
seconds = 30
[[doors]]
name = "street"
relay = "relay1"
pulse_ms = 50
[[doors.codes]]
name = "family"
digits = "{code}"
[calls]
hangup_after_unlock_s = 0
[media]
audio_codecs = ["{codec}"]
video = {video}
srtp = "{srtp}"
"""


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="portero-bench-") as name:
        yield Path(name)


class Station:
    """`portero-door` and `portero run`, quiet in the journal as in service. `target` is what the button rings."""

    def __init__(
        self,
        folder: Path,
        target: str,
        *,
        registrar: str = "",
        codec: str = "PCMA",
        video: bool = True,
        canceller: str = "",
        camera_warm: bool = False,
        srtp: str = "off",
    ) -> None:
        for name in ("run", "state"):
            (folder / name).mkdir(exist_ok=True)
        # A card at the rate of its bus, on both sides: what is compared is the call, not who resamples.
        rate_hz = 16_000 if canceller or codec in _WIDEBAND else 8000
        sound = f"rate_hz = {rate_hz}"
        if canceller:
            sound += f'\ncanceller = "{canceller}"\necho_gain = 0.3'
        warm = str(camera_warm).lower()
        board = _BOARD.format(relay_line=RELAY_LINE, sound=sound, camera_warm=warm)
        (folder / "board.toml").write_text(board)
        account = ""
        if registrar:
            account = f'[[accounts]]\nname = "pbx"\naddress = "sip:door@127.0.0.1"\nregistrar = "{registrar}"'
        self.port = free_port()
        configuration = folder / "station.toml"
        configuration.write_text(
            _STATION.format(
                folder=folder,
                port=self.port,
                account=account,
                button=BUTTON,
                target=target,
                code=CODE,
                codec=codec,
                video=str(video).lower(),
                srtp=srtp,
            )
        )
        configuration.chmod(0o600)
        arguments = ["--config", str(configuration)]
        self.door = Program("portero-door", [str(BIN / "portero-door"), *arguments], folder)
        command = [str(BIN / "portero"), "run", *arguments, "--log", "warning"]
        # Installed, it is compiled; compiling anew with each start is no property of the station.
        self.program = Program("portero", command, folder, environment={"PYTHONDONTWRITEBYTECODE": ""})
        self.relay = LineWatch(lines_file("simulated", folder / "run"), RELAY_LINE)
        self._control_path = folder / "run" / "portero.sock"
        self._control: socket.socket | None = None
        self._received = b""

    @property
    def pid(self) -> int:
        return self.program.pid

    def start(self) -> None:
        self.door.start()
        self.program.start()
        self.start_control()

    def start_control(self) -> None:
        """Connect to the control socket once both processes are there."""
        wait_until(self._ready, "the station and its lock process are ready", 20, poll_s=0.05)

    def stop(self) -> None:
        if self._control is not None:
            self._control.close()
        self.relay.close()
        for program in (self.program, self.door):
            if program.process is not None:
                program.stop(8)

    def _ready(self) -> bool:
        if not self.program.alive:
            raise AssertionError(f"portero ended at once:\n{self.program.log_text()[-3000:]}")
        if self._control is None:
            control = socket.socket(socket.AF_UNIX)
            control.settimeout(5)
            try:
                control.connect(str(self._control_path))
            except OSError:
                control.close()
                return False
            self._control = control
        return bool(self.ask("status")["lock_process"])

    def ask(self, verb: str, **arguments: object) -> Any:
        """One verb over the control socket."""
        self.send(verb, **arguments)
        return self.answer()

    def send(self, verb: str, **arguments: object) -> None:
        assert self._control is not None
        self._control.sendall(json.dumps({"verb": verb, **arguments}).encode() + b"\n")

    def answer(self) -> Any:
        assert self._control is not None
        while b"\n" not in self._received:
            data = self._control.recv(65536)
            if not data:
                raise AssertionError(f"the control socket was closed:\n{self.program.log_text()[-3000:]}")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        answer = json.loads(line)
        if not answer.get("ok"):
            raise AssertionError(f"the station refused: {answer}\n{self.program.log_text()[-3000:]}")
        return answer["result"]

    def wait_event(self, kind: str, timeout_s: float = 5) -> Any:
        """The last press' event of this kind, once it has been told."""

        def last() -> Any:
            told = [event for event in self.ask("events", last=10)["events"] if event["kind"] == kind]
            return told[-1] if told and told[-1]["press"] == press else None

        press = self.ask("status")["last_press"]["press"]
        return wait_until(last, f"event {kind} of press {press}", timeout_s)

    def press(self) -> float:
        """Press the button; when the request went out, on the monotonic clock."""
        at_s = time.monotonic()
        self.ask("press", button=BUTTON)
        return at_s


class Baresip:
    """baresip as the peer of a call in one codec: answers at once, its sound card a loop from speaker to
    microphone.

    Of its modules that need no hardware, aubridge costs least: one thread both plays and records. (A WAV file for
    a microphone, and a player that never pulls, cost 10 % more.)
    """

    def __init__(self, folder: Path, *, codec: str = "PCMU", encrypts: bool = False) -> None:
        if shutil.which("baresip") is None or not (BARESIP_MODULES / "aubridge.so").exists():
            raise Skipped("baresip with its module aubridge is not installed")
        named, rate_hz = _WIDEBAND.get(codec, (codec.lower(), 8000))
        self.port = free_port(2)  # it takes the next one for TLS
        self.uri = f"sip:peer@127.0.0.1:{self.port}"
        lines = [
            f"sip_listen 127.0.0.1:{self.port}",
            "net_interface 127.0.0.1",
            "audio_source aubridge,loop",
            "audio_player aubridge,loop",
            "audio_alert aubridge,alert",
            f"audio_srate {rate_hz}",
            f"ausrc_srate {rate_hz}",
            f"auplay_srate {rate_hz}",
            "opus_inbandfec yes",
            "audio_channels 1",
            "audio_buffer 20-160",
            "rtp_timeout 0",
            f"module_path {BARESIP_MODULES}",
            "module g711.so",
            "module g722.so",
            "module opus.so",
            "module aubridge.so",
            *(("module srtp.so",) if encrypts else ()),
            "module_app account.so",
            "module_app menu.so",
        ]
        (folder / "config").write_text("\n".join(lines) + "\n")
        (folder / "contacts").write_text("")
        account = f"<{self.uri};transport=udp>;answermode=auto;regint=0;audio_codecs={named}"
        (folder / "accounts").write_text(account + (";mediaenc=srtp-mand\n" if encrypts else "\n"))
        self.program = Program("baresip", ["baresip", "-f", str(folder), "-4"], folder)

    @property
    def pid(self) -> int:
        return self.program.pid

    def start(self) -> None:
        self.program.start()
        wait_until(lambda: "baresip is ready" in self.program.log_text(), "baresip is ready", 10)

    def stop(self) -> None:
        if self.program.process is not None:
            self.program.stop()


def cpu_s(pid: int) -> float:
    """Seconds of CPU, user and system, that all threads of the process have had so far, to the nanosecond."""
    # The kernel's number of another process's CPU clock: clock_getcpuclockid(3), which Python does not have.
    return time.clock_gettime((~pid << 3) | 2)


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} has no memory")
