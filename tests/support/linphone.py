"""linphonec as a phone without a sound card: file mode, driven by lines on its standard input."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.kamailio import DOMAIN
from tests.support.processes import Program
from tests.support.sip_server import SipServer
from tests.support.waiting import wait_until

_CONFIGURATION = """\
[sip]
sip_port={sip_port}
sip_tcp_port={sip_tcp_port}
sip_tls_port={sip_tls_port}
{root_ca}guess_hostname=0
contact=sip:{user}@{host}
use_ipv6=0
register_only_when_network_is_up=0
auto_net_state_mon=0
use_info={info}
use_rfc2833={events}
inc_timeout=120
media_encryption={encryption}
media_encryption_mandatory={must_encrypt}
default_proxy={default_proxy}
{more}
[rtp]
audio_rtp_port={rtp_port}
video_rtp_port={video_port}

{codecs}

[video]
enabled=0

[sound]
echocancellation=0
agc=0
"""

_ACCOUNT = """
[proxy_0]
reg_proxy=<{server}>
reg_route=<{server};lr>
reg_identity=sip:{user}@{domain}
reg_expires=60
reg_sendregister=1
publish=0
dial_escape_plus=0

[auth_info_0]
username={user}
passwd={password}
realm={domain}
domain={domain}
"""


# RTP clock, channels, and rate of the sound. Those that its file does not list would be as it likes.
_CODECS = {
    "PCMU": (8000, 1, 8000),
    "PCMA": (8000, 1, 8000),
    "G722": (8000, 1, 16_000),
    "opus": (48_000, 2, 48_000),
}


def _codecs(names: Sequence[str]) -> Iterator[str]:
    rows = [(name, *_CODECS[name][:2], 1) for name in names]
    rows += [("telephone-event", clock_hz, 1, 1) for clock_hz in (8000, 48_000)]
    rows += [(name, *row[:2], 0) for name, row in _CODECS.items() if name not in names]
    for index, (mime, clock_hz, channels, enabled) in enumerate(rows):
        yield f"[audio_codec_{index}]\nmime={mime}\nrate={clock_hz}\nchannels={channels}\nenabled={enabled}\n"


class Linphone:
    def __init__(
        self,
        folder: Path,
        user: str,
        ports: int,
        *,
        server: SipServer | None = None,
        password: str = "",
        transport: str = "udp",
        microphone: Path | None = None,
        auto_answer: bool = False,
        ca_file: Path | None = None,
        session_timer_s: int = 0,
        codecs: Sequence[str] = ("PCMU", "PCMA"),
        encryption: str = "none",
        must_encrypt: bool = False,
        keys: Sequence[str] = ("rtp",),
    ) -> None:
        """`encryption` is "none", "srtp", "dtls" or "zrtp", `codecs` are what it has, `keys` go as "rtp"
        (telephone-events), by "info", or each in both ways; `ports` is the first of six free ones, `microphone` a
        WAV file or silence."""
        self.user = user
        self.port = ports
        self.rtp_port = ports + 2
        self.rate_hz = _CODECS[codecs[0]][2]  # of what it plays and records
        self.recording = folder / "heard.wav"
        self._microphone = microphone
        self.registers = server is not None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".local/share/linphone").mkdir(parents=True, exist_ok=True)
        text = _CONFIGURATION.format(
            sip_port=ports,
            sip_tcp_port=ports if transport == "tcp" else 0,
            sip_tls_port=ports + 1 if transport == "tls" else 0,
            root_ca=f"root_ca={ca_file}\n" if ca_file is not None else "",
            rtp_port=self.rtp_port,
            video_port=ports + 4,
            user=user,
            encryption=encryption,
            info=int("info" in keys),
            events=int("rtp" in keys),
            must_encrypt=int(must_encrypt),
            host="127.0.0.1",
            codecs="\n".join(_codecs(codecs)),
            default_proxy=0 if server else -1,
            more=f"session_expires_enabled=1\nsession_expires_value={session_timer_s}\n" if session_timer_s else "",
        )
        if server is not None:
            text += _ACCOUNT.format(server=server.over(transport), user=user, password=password, domain=DOMAIN)
        configuration = folder / "linphonerc"
        configuration.write_text(text)
        self.debug_log = folder / f"linphone-{user}-debug.log"
        command = ["linphonec", "-c", str(configuration), "-d", "5", "-l", str(self.debug_log)]
        if auto_answer:
            command.append("-a")
        # The last: where it looks for a sound server, else in a new folder of /tmp each time.
        home = {"HOME": str(folder), "XDG_DATA_HOME": "", "XDG_CONFIG_HOME": "", "PULSE_RUNTIME_PATH": str(folder)}
        self.program = Program(f"linphone-{user}", command, folder, environment=home, stdin=True)

    @property
    def uri(self) -> str:
        return f"sip:{self.user}@127.0.0.1:{self.port}"

    def start(self) -> None:
        self.program.start()
        wait_until(lambda: "linphonec>" in self.program.log_text(), "linphonec takes commands")
        self._command("soundcard use files")
        if self._microphone is not None:
            self._command(f"play {self._microphone}")
        self._command(f"record {self.recording}")
        if self.registers:
            wait_until(lambda: self.debug_has(r"to \[LinphoneRegistrationOk\]"), "linphonec registers")

    def stop(self) -> None:
        if self.program.alive:
            self.program.type("quit")
        self.program.stop()

    def _command(self, line: str) -> None:
        """Type a line and wait for the next prompt: 5.3 takes all that is in the pipe for one command."""
        prompts = self.program.log_text().count("linphonec>")
        self.program.type(line)
        wait_until(lambda: self.program.log_text().count("linphonec>") > prompts, f"linphonec takes {line!r}")

    def dial(self, uri: str) -> None:
        self._command(f"call {uri}")

    def answer(self) -> None:
        self._command("answer")

    def call(self, uri: str) -> None:
        self._command(f"call {uri}")

    def record_anew(self) -> None:
        """The next call goes into an empty file."""
        self.recording.unlink(missing_ok=True)
        self._command(f"record {self.recording}")

    def hang_up(self) -> None:
        self._command("terminate all")

    def press_keys(self, digits: str) -> None:
        for digit in digits:
            self._command(digit)

    def hold(self) -> None:
        self._command("pause")

    def resume(self) -> None:
        self._command("resume")

    def send_text(self, uri: str, text: str) -> None:
        self._command(f"chat {uri} {text}")

    def press_key(self, digit: str) -> None:
        self._command(digit)

    def recorded_s(self) -> float:
        """Seconds of sound heard so far; the file gets its length when the call is over."""
        return (self.recording.stat().st_size - 44) / 2 / self.rate_hz if self.recording.exists() else 0.0

    def debug_has(self, pattern: str) -> bool:
        """Whether its debug log, with every SIP message and change of state in it, matches."""
        assert self.program.alive, f"linphonec ended:\n{self.program.log_text()[-3000:]}"
        return (
            self.debug_log.exists() and re.search(pattern, self.debug_log.read_text(errors="replace")) is not None
        )

    def reached(self, state: str) -> bool:
        """Whether a call got to a state such as "IncomingReceived", "StreamsRunning", "Released"."""
        return self.debug_has(rf"moving from state LinphoneCall\w+ to LinphoneCall{state}\b")
