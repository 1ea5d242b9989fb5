"""A sound card without hardware that has a clock of its own: PulseAudio's null sinks, reached through ALSA.

What is played into the speaker comes back from the microphone a moment later, as in a room. ALSA's null PCMs are
not paced and dmix does not run over them, so this is what driver and canceller are tried on.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import Program
from tests.support.waiting import wait_until

PLUGIN = "libasound_module_pcm_pulse.so"


def missing() -> str:
    """What this machine lacks for it; empty for nothing."""
    if shutil.which("pulseaudio") is None or shutil.which("pactl") is None:
        return "pulseaudio is not installed (tools/setup test)"
    if not any(Path("/usr/lib").glob(f"*/alsa-lib/{PLUGIN}")):
        return "ALSA's plugin for PulseAudio is not installed (tools/setup test: libasound2-plugins)"
    try:
        import alsaaudio  # noqa: F401
    except ImportError:
        return "pyalsaaudio is not installed (tools/setup test)"
    return ""


class PulseCard:
    """The PCMs door_spk and door_mic; the room between them takes about `room_ms`.

    A process that is to reach them gets `environment`.
    """

    def __init__(self, folder: Path, *, room_ms: int = 60, rate_hz: int = 16_000) -> None:
        reason = missing()
        if reason:
            pytest.skip(reason)
        self._socket = folder / "pa.sock"
        # Without norewinds the first sound comes after two seconds, rendered ahead when nobody listened yet.
        sink = f"rate={rate_hz} channels=1 norewinds=1"
        self._card = (
            f"module-null-sink sink_name=spk {sink}",
            f"module-null-sink sink_name=mic {sink}",
            f"module-loopback source=spk.monitor sink=mic latency_msec={room_ms}",
        )
        modules = (f"module-native-protocol-unix auth-anonymous=1 socket={self._socket}", *self._card)
        # As root PulseAudio refuses a home of somebody else's, and would share one with another test's daemon.
        home = folder / "pulse"
        home.mkdir(exist_ok=True)
        home.chmod(0o700)
        own = {"HOME": os.fspath(home), "XDG_RUNTIME_DIR": os.fspath(home), "PULSE_RUNTIME_PATH": os.fspath(home)}
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
        for module in modules:
            command += ["-L", module]
        self.daemon = Program("pulseaudio", command, folder, environment=own)
        configuration = folder / "asound.conf"
        configuration.write_text(
            "</usr/share/alsa/alsa.conf>\n"
            f'pcm.door_spk {{ type pulse device spk server "unix:{self._socket}" }}\n'
            f'pcm.door_mic {{ type pulse device mic.monitor server "unix:{self._socket}" }}\n'
        )
        self.environment = {**own, "ALSA_CONFIG_PATH": os.fspath(configuration)}

    def start(self) -> None:
        self.daemon.start()
        wait_until(lambda: "module-loopback" in self._pactl("list", "short", "modules"), "PulseAudio is ready")

    def stop(self) -> None:
        self.daemon.stop()

    def unplug(self) -> None:
        """Take the card away from who plays and records. (After the daemon's own end ALSA's plugin would wait for
        ever: it leaves a lock of its client library locked.)"""
        loaded = [line.split("\t") for line in self._pactl("list", "short", "modules").splitlines()]
        for number, name, *_ in reversed(loaded):
            if name in ("module-null-sink", "module-loopback"):
                self._pactl("unload-module", number)

    def plug(self) -> None:
        for module in self._card:
            self._pactl("load-module", *module.split())

    def _pactl(self, *arguments: str) -> str:
        asked = subprocess.run(
            ["pactl", "--server", f"unix:{self._socket}", *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return asked.stdout
