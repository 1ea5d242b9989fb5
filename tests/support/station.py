"""Portero itself, as it runs at a door: `portero-door` and `portero run` as two processes on a simulated board.

The station is asked and followed with `doorctl`, as a technician would; the relay is watched from outside.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from drivers.gpio.simulated import lines_file
from tests.support.certificates import Certificate
from tests.support.kamailio import DOMAIN, Kamailio
from tests.support.processes import Program
from tests.support.relay import RelayWatcher
from tests.support.sip_server import HouseRegistrar
from tests.support.waiting import PATIENCE_S, wait_until

BIN = Path(sys.executable).parent
BUTTON, DOOR, CODE = "flat", "street", "4711"
PULSE_MS = 800
LATE_MS = 500  # of a pulse's end where others have the processor: a second pulse in a row is no lateness
RELAY_LINE = 5

_CAMERA = {"driver": "simulated", "width": 320, "height": 240, "fps": 15, "bitrate_kbps": 300}
_BOARD = """\
[audio]
{sound}

[gpio]
driver = "simulated"

[inputs.button1]
chip = "simulated"
line = 17
active_low = true
pull = "up"
debounce_ms = 30

[inputs.door]
chip = "simulated"
line = 22
debounce_ms = 30

[lights.light1]
chip = "simulated"
line = 24

[outputs.relay1]
chip = "simulated"
line = {relay_line}
"""

Event = dict[str, Any]
Section = Mapping[str, object]


class Portero:
    """One station. `stages` is the ring plan: for each stage its targets and seconds.

    With `server` it registers there as `user`. `sections` adds keys to tables of the configuration, such as
    {"calls": {"unlock_while_ringing": True}}. `users` register at the station itself, see `registrar`.
    """

    def __init__(
        self,
        folder: Path,
        sip_port: int,
        *,
        stages: Sequence[tuple[Sequence[str], float]],
        server: Kamailio | None = None,
        user: str = "door",
        password: str | None = None,
        transport: str = "udp",
        host: str = "127.0.0.1",
        microphone_hz: int = 620,
        sound_hz: int = 8000,
        microphone_file: Path | None = None,
        sound_card: Section | None = None,
        sections: Mapping[str, Section] | None = None,
        users: Mapping[str, str] | None = None,
        account: Section | None = None,
        button: Section | None = None,
        stage: Section | None = None,
        door: Section | None = None,
        light: Section | None = None,
        camera: Section | None = None,
        ca_file: Path | None = None,
        fingerprint: str = "",
        certificate: Certificate | None = None,
        environment: Mapping[str, str] | None = None,
        within: Sequence[str] = (),
        program: Sequence[str] = (str(BIN / "portero"),),
    ) -> None:
        """`account` has more keys of the account at `server` (None takes one away), `ca_file` who signed that
        server's certificate, `fingerprint` which one it is. With a `certificate` phones may come by TLS, to
        the port above `sip_port`. `button`, `stage` and `door` have more keys of the button, of each of its stages
        and of the door, `light` those of a light,
        `camera` is the board's in place of the simulated one, and so is `sound_card`.
        `microphone_file` is a WAV file that is heard at the door over and over, in place of a tone.
        `within` is a command that runs the station, such as networks.Network.enter; `program` is the station."""
        self.folder = folder
        self.host = host
        self.sip_port = sip_port
        self._users = dict(users or {})
        self.speaker = folder / "speaker.wav"
        self._run = folder / "run"
        self._state = folder / "state"
        for made in (folder, self._run, self._state):
            made.mkdir(parents=True, exist_ok=True)
        board = folder / "board.toml"
        microphone = f"microphone_tone_hz = {microphone_hz}"
        if microphone_file is not None:
            microphone = f'microphone_file = "{microphone_file}"'
        sound = f'driver = "simulated"\nrate_hz = {sound_hz}\n{microphone}\nspeaker_file = "speaker.wav"\n'
        if sound_card is not None:
            sound = _table("", sound_card)
        rest = _BOARD.format(sound=sound, relay_line=RELAY_LINE)
        board.write_text(_table("[camera]", camera or _CAMERA) + rest)
        shown = f"[{host}]" if ":" in host else host
        own: dict[str, dict[str, object]] = {
            "station": {"board": str(board), "run_dir": str(self._run), "state_dir": str(self._state)},
            "sip": {"listen": [f"{shown}:{sip_port}"]},
            "calls": {"hangup_after_unlock_s": 0},
        }
        if certificate is not None:
            own["sip"]["tls_listen"] = [f"{shown}:{sip_port + 1}"]
            own["sip"]["tls_certificate_file"] = str(certificate.certificate_file)
            own["sip"]["tls_key_file"] = str(certificate.key_file)
        for table, keys in (sections or {}).items():
            own.setdefault(table, {}).update(keys)
        text = [_table(f"[{name}]", keys) for name, keys in own.items()]
        if server is not None:
            keys: dict[str, object] = {
                "name": "pbx",
                "address": f"sip:{user}@{DOMAIN}",
                "registrar": server.over(transport),
                "outbound_proxy": f"{server.over(transport)};lr",
                "username": user,
                "password": server.users[user] if password is None else password,
                "expires_s": 60,
                **(account or {}),
            }
            text.append(_table("[[accounts]]", {key: value for key, value in keys.items() if value is not None}))
            tls = {"ca_file": str(ca_file or ""), "fingerprint": fingerprint}
            if any(tls.values()):
                text.append(_table("[accounts.tls]", {key: value for key, value in tls.items() if value}))
        if users:
            text.append(_table("[house]", {"domain": DOMAIN}))
        for name, secret in self._users.items():
            text.append(_table("[[users]]", {"name": name, "password": secret}))
        bell = {"name": BUTTON, "input": "button1", "display_name": "Street door", "doors": [DOOR]}
        text.append(_table("[[buttons]]", {**bell, **(button or {})}))
        for ring, seconds in stages:
            keys = {"ring": list(ring), "seconds": seconds, **(stage or {})}
            text.append(_table("[[buttons.stages]]", keys))
        text.append(_table("[[doors]]", {"name": DOOR, "relay": "relay1", "pulse_ms": PULSE_MS, **(door or {})}))
        text.append(_table("[[doors.codes]]", {"name": "family", "digits": CODE}))
        if light is not None:
            text.append(_table("[[lights]]", light))
        self.configuration = folder / "station.toml"
        self.configuration.write_text("\n".join(text))
        self.configuration.chmod(0o600)

        arguments = ["--config", str(self.configuration), "--last-good"]
        copies = {name: str(self._state / f"{name}.last-good.toml") for name in ("door", "station")}
        locked = [*within, str(BIN / "portero-door"), *arguments, copies["door"]]
        self.door = Program("portero-door", locked, folder)
        run = [*within, *program, "run", *arguments, copies["station"], "--log", "debug"]
        self.program = Program("portero", run, folder, environment=environment)
        follow = [str(BIN / "doorctl"), "events", "--follow", "--json", "--since", "0", "--run-dir", str(self._run)]
        self._follower = Program("doorctl-events", follow, folder)
        self.programs = [self.door, self.program, self._follower]
        self.relay = RelayWatcher(lines_file("simulated", self._run), RELAY_LINE)
        self._events: list[Event] = []
        self._read_to = 0

    @property
    def uri(self) -> str:
        """Where the station takes calls."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"sip:door@{host}:{self.sip_port}"

    @property
    def registrar(self) -> HouseRegistrar:
        """As a server for phones."""
        return HouseRegistrar(self.host, self.sip_port, self._users)

    # --- life ---

    def start(self) -> None:
        self.start_door()
        self.start_station()

    def start_door(self) -> None:
        self.door.start()

    def start_station(self, *, wait: bool = True) -> None:
        """Start `portero run`, after a kill once more, and follow its events."""
        self.program.start()
        wait_until(self._answers, "the station answers doorctl", poll_s=0.1)
        if self._follower.alive:
            self._follower.kill()
        self._follower.start()
        wait_until(lambda: self.door_connected() or not wait, "the station has its lock process", poll_s=0.05)

    def _answers(self) -> bool:
        assert self.program.alive, f"portero ended at once:\n{self.program.log_text()[-3000:]}"
        return self.try_doorctl("status").returncode == 0

    def stop(self) -> None:
        self._follower.kill()
        for program in (self.program, self.door):
            program.stop(8)
        self.relay.stop()

    # --- doorctl ---

    def try_doorctl(self, *arguments: str, timeout_s: float = PATIENCE_S) -> "subprocess.CompletedProcess[str]":
        command = [str(BIN / "doorctl"), *arguments, "--json", "--run-dir", str(self._run)]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)

    def doorctl(self, *arguments: str) -> Any:
        """The JSON that doorctl prints; AssertionError where it ends with an error."""
        done = self.try_doorctl(*arguments)
        assert done.returncode == 0, f"doorctl {' '.join(arguments)}: {done.stderr or done.stdout}"
        return json.loads(done.stdout)

    def press(self) -> int:
        """Press the button; the number of the press."""
        return int(self.doorctl("press", BUTTON)["press"])

    def hang_up(self) -> None:
        self.doorctl("hangup")

    def status(self) -> Any:
        return self.doorctl("status")

    def why(self, press: int) -> Any:
        return self.doorctl("why", str(press))

    def door_connected(self) -> bool:
        return bool(self.status()["lock_process"])

    # --- events ---

    def events(self, kind: str = "", press: int = 0) -> list[Event]:
        """All events so far, those told before a restart of the station too, oldest first."""
        text = self._follower.log.read_bytes() if self._follower.log.exists() else b""
        end = text.rfind(b"\n") + 1
        for line in text[self._read_to : end].splitlines():
            if line.startswith(b"{") and b'"kind"' in line:
                record = json.loads(line)
                if all(record["seq"] != known["seq"] for known in self._events):
                    self._events.append(record)
        self._read_to = max(self._read_to, end)
        return [
            record
            for record in self._events
            if (not kind or record["kind"] == kind) and (not press or record.get("press") == press)
        ]

    def kinds(self, press: int = 0) -> list[str]:
        return [record["kind"] for record in self.events(press=press)]

    def wait_event(self, kind: str, timeout_s: float = PATIENCE_S, press: int = 0, **fields: object) -> Event:
        """The first event of this kind whose fields have these values."""

        def found() -> Event | None:
            for record in self.events(kind, press):
                if all(record.get(name) == value for name, value in fields.items()):
                    return record
            return None

        try:
            return wait_until(found, f"event {kind} {fields or ''}", timeout_s)  # type: ignore[return-value]
        except AssertionError as error:
            told = "\n".join(json.dumps(record)[:300] for record in self.events()[-30:])
            raise AssertionError(f"{error}; events were:\n{told}\n{error}") from None

    def wait_registered(self, timeout_s: float = PATIENCE_S) -> Event:
        return self.wait_event("registration-changed", timeout_s, state="registered")


def _table(head: str, keys: Section) -> str:
    return "\n".join([head, *(f"{name} = {_value(value)}" for name, value in keys.items()), ""])


def _value(value: object) -> str:
    # Text, numbers, true and false, and lists of these are written alike in TOML and JSON.
    return json.dumps(value)
