"""baresip as an indoor monitor or phone: one account, a WAV file for a microphone, its decoder's output dumped.

Driven over its ctrl_tcp module: netstrings of JSON, commands out, responses and events in. Debian 12 has baresip
1.0.0, and Debian 13 has 3.x; the commands and settings used here exist in both.

What it can prove by itself: `call_*` events; `snapshot()`, a PNG of the picture its own H.264 decoder made;
`heard()`, what its audio decoder put out (frames joined as they arrived, so a lost packet shortens it).
"""

import contextlib
import itertools
import json
import math
import socket
import threading
import time
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.certificates import Certificate
from tests.support.kamailio import DOMAIN
from tests.support.processes import Program
from tests.support.sip_server import SipServer
from tests.support.sound import read_wav
from tests.support.waiting import wait_until

_RATES = {"g722": 16_000, "opus": 48_000}  # of the sound that it codes, where that is no telephone's
MODULES = Path("/usr/lib/baresip/modules")


def write_tone(path: Path, hz: float, *, level: float = 0.25, seconds: float = 60, rate_hz: int = 8000) -> Path:
    """A mono S16LE WAV of a sine; `level` is the peak as a part of full scale."""
    samples = (int(32767 * level * math.sin(2 * math.pi * hz * n / rate_hz)) for n in range(int(seconds * rate_hz)))
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes(b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples))
    return path


_PNG_END = b"IEND\xaeB`\x82"


@dataclass(frozen=True, slots=True)
class PeerEvent:
    """One event of baresip with the time we read it; `kind` such as CALL_INCOMING, CALL_CLOSED."""

    at_s: float
    kind: str
    fields: dict[str, Any]


class Baresip:
    """`answer_mode`: "manual" sends 180, "early" 183 with its own SDP (so early video), "auto" answers at once.

    With `server` it registers there as `user`, and is started once it has (unless not to `wait`); without, it takes
    calls at `uri` directly.
    """

    def __init__(
        self,
        folder: Path,
        user: str,
        ports: tuple[int, int],
        *,
        server: SipServer | None = None,
        password: str = "",
        transport: str = "udp",
        host: str = "127.0.0.1",
        answer_mode: str = "manual",
        tone_hz: float = 1000,
        microphone: Path | None = None,
        video: bool = True,
        codecs: str = "pcma,pcmu",
        wait: bool = True,
        ca_file: Path | None = None,
        certificate: Certificate | None = None,
        encryption: str = "",
    ) -> None:
        """`encryption` is its `mediaenc`: "srtp" may, "srtp-mand" and "dtls_srtp" must. `ca_file` is who may have
        signed the server's certificate; `certificate` what it shows to who comes by TLS, at the port above its own.
        `microphone`: a WAV file of the codec's rate, in place of a tone."""
        self.user = user
        self.host = host
        self.port, control = ports
        self.folder = folder
        self.events: list[PeerEvent] = []
        self._control = ("127.0.0.1", control)
        self._socket: socket.socket | None = None
        self._responses: dict[str, dict[str, Any]] = {}
        self._tokens = itertools.count(1)
        folder.mkdir(parents=True, exist_ok=True)
        self.rate_hz = next((rate_hz for name, rate_hz in _RATES.items() if codecs.startswith(name)), 8000)
        tone = microphone or write_tone(folder / "tone.wav", tone_hz, rate_hz=self.rate_hz)
        modules = ["g711", "g722", "opus", "aufile", "aubridge", "sndfile"]
        if encryption.startswith("srtp"):
            modules.append("srtp")
        if encryption.startswith("dtls"):
            modules.append("dtls_srtp")
        if video:
            modules += ["fakevideo", "avcodec", "snapshot"]
        shown = f"[{host}]" if ":" in host else host
        lines = [
            f"sip_listen {shown}:{self.port}",
            f"net_interface {host}",
            f"ctrl_tcp_listen {self._control[0]}:{control}",
            f"audio_source aufile,{tone}",
            # A player that never pulls: what was decoded is taken from the filter before it.
            "audio_player aubridge,nowhere",
            "audio_alert aubridge,nowhere",
            "video_source fakevideo,none",
            "video_display fakevideo,none",
            "audio_buffer 20-160",
            f"ausrc_srate {self.rate_hz}",
            f"auplay_srate {self.rate_hz}",
            "ausrc_channels 1",
            "auplay_channels 1",
            "opus_inbandfec yes",
            "rtp_timeout 0",
            "call_local_timeout 120",
            "call_max_calls 4",
            f"snd_path {folder}",
            f"module_path {MODULES}",
            *(f"module {name}.so" for name in modules),
            *(f"module_app {name}.so" for name in ("account", "menu", "ctrl_tcp")),
        ]
        if ca_file is not None:
            lines.append(f"sip_cafile {ca_file}")
        if certificate is not None:
            both = folder / "certificate.pem"
            both.write_text(certificate.certificate_file.read_text() + certificate.key_file.read_text())
            lines.append(f"sip_certificate {both}")
        (folder / "config").write_text("\n".join(lines) + "\n")
        (folder / "contacts").write_text("")
        settings = [
            f"answermode={answer_mode}",
            f"audio_codecs={codecs}",
            f"video_codecs={'h264' if video else ''}",
        ]
        if encryption:
            settings.append(f"mediaenc={encryption}")
        if server is None:
            aor = f"sip:{user}@{shown}:{self.port};transport={transport}"
            settings.append("regint=0")
        else:
            aor = f"sip:{user}@{DOMAIN};transport={transport}"
            outbound = f'outbound="{server.over(transport)}"'
            settings += [f"auth_user={user}", f"auth_pass={password}", outbound, "regint=60"]
        (folder / "accounts").write_text(f"<{aor}>;{';'.join(settings)}\n")
        self.registers = server is not None and wait
        family = "-6" if ":" in host else "-4"
        self.program = Program(f"baresip-{user}", ["baresip", "-f", str(folder), family, "-s", "-v"], folder)

    @property
    def uri(self) -> str:
        """Where it takes calls with no server between."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"sip:{self.user}@{host}:{self.port}"

    def start(self) -> None:
        self.program.start()
        self._socket = wait_until(self._connect, f"{self.program.name} takes commands")
        threading.Thread(target=self._read, args=(self._socket,), daemon=True).start()
        if self.registers:
            # Its first REGISTER may be answered before we listen: ask as well.
            wait_until(
                lambda: self.count("REGISTER_OK") or "OK" in self.command("reginfo"),
                f"{self.program.name} registers",
                poll_s=0.1,
            )

    def _connect(self) -> socket.socket | None:
        assert self.program.alive, f"{self.program.name} ended at once:\n{self.program.log_text()[-3000:]}"
        try:
            return socket.create_connection(self._control, 1)
        except OSError:
            return None

    def stop(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._socket = None
        self.program.stop(2)  # it waits for the answer to a BYE that nobody may be there to give

    def _read(self, connection: socket.socket) -> None:
        buffer = b""
        connection.settimeout(None)
        while True:
            try:
                data = connection.recv(65536)
            except OSError:
                return
            if not data:
                return
            buffer += data
            while True:
                length, colon, rest = buffer.partition(b":")
                if not colon or len(rest) < int(length) + 1:
                    break
                message = json.loads(rest[: int(length)])
                buffer = rest[int(length) + 1 :]
                if message.get("event"):
                    self.events.append(PeerEvent(time.monotonic(), message["type"], message))
                else:
                    self._responses[message.get("token", "")] = message

    def command(self, name: str, parameters: str = "") -> str:
        """Carry out a command of baresip's menu; its printed answer."""
        assert self._socket is not None
        token = str(next(self._tokens))
        message = {"command": name, "params": parameters, "token": token}
        data = json.dumps(message).encode()
        self._socket.sendall(f"{len(data)}:".encode() + data + b",")
        response = wait_until(lambda: self._responses.pop(token, None), f"baresip answers {name!r}", poll_s=0.002)
        assert response["ok"], f"baresip refused {name!r}: {response}"
        return str(response["data"])

    # --- calls ---

    def dial(self, uri: str) -> None:
        self.command("dial", uri)

    def accept(self) -> None:
        self.command("accept")

    def hang_up(self) -> None:
        self.command("hangup")

    def press_keys(self, digits: str, *, hold_s: float = 0.12, gap_s: float = 0.1) -> None:
        """Send RFC 4733 events one after another, as fast as a person's thumb."""
        for digit in digits:
            # `sndcode` starts the key; releasing at once would end the event after its first packet.
            self.command("sndcode", digit)
            time.sleep(hold_s + gap_s)

    def kinds(self) -> list[str]:
        return [event.kind for event in tuple(self.events)]

    def count(self, kind: str) -> int:
        return self.kinds().count(kind)

    def last(self, kind: str) -> PeerEvent:
        return [event for event in tuple(self.events) if event.kind == kind][-1]

    def has_call(self) -> bool:
        """Whether there is a call in any state: early media makes no event in 1.0.0."""
        listed = self.command("listcalls")  # Debian 12 says "Active calls (0)", Debian 13 "no active calls"
        return "(0)" not in listed and "no active calls" not in listed.lower()

    def sip_log(self) -> str:
        """Every SIP message sent and received, as it logs them."""
        return self.program.log_text()

    # --- media ---

    def snapshot(self, path: Path, timeout_s: float = 10) -> Path:
        """The next picture out of its H.264 decoder, as PNG; AssertionError if none comes."""
        self.command("snapshot_recv", str(path))
        wait_until(
            lambda: "png: wrote " + str(path) in self.program.log_text(), "baresip decodes a picture", timeout_s
        )
        wait_until(lambda: path.read_bytes().endswith(_PNG_END), "its file is whole")  # it says so before it is
        return path

    def heard(self) -> list[Path]:
        """WAV files of the decoded far-end sound, one a stream, oldest first."""
        return sorted(self.folder.glob("dump-*-dec.wav"))

    def heard_s(self) -> float:
        """Seconds of sound in the newest of them so far."""
        files = self.heard()
        return read_wav(files[-1]).seconds if files else 0.0
