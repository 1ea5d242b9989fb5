"""Who is listened with when speech crosses a bad network: the station, baresip, linphone, each called by itself.

Each calls a bare phone of the bench, is answered, and what it would let people hear is kept: the station's
simulated speaker writes a file; linphone in file mode does; baresip's player is bridged into a second call of its
own, whose L16 carries every sample unchanged to a socket here: none of its modules without hardware writes what is
played.
"""

import array
import contextlib
import json
import re
import shutil
import socket
import threading
import time
from pathlib import Path
from typing import Protocol

from tests.bench.phone import Phone, Talk
from tests.bench.report import Skipped
from tests.support.linphone import Linphone
from tests.support.ports import free_port
from tests.support.processes import Program
from tests.support.sound import Sound, read_wav
from tests.support.station import Portero
from tests.support.waiting import wait_until

_MODULES = Path("/usr/lib/baresip/modules")
RATE_HZ = 16_000  # at which everybody plays
_SETTLES_S = 2.0
NAMES = {"PCMA": "8 PCMA/8000", "G722": "9 G722/8000", "opus": "111 opus/48000/2"}


def description(phone: Phone, codec: str) -> bytes:
    """The phone's SDP with one codec and no events."""
    host, port = phone.rtp.getsockname()
    number, rtpmap = NAMES.get(codec, codec).split()
    lines = ["v=0", f"o=- {port} 1 IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0"]
    lines += [f"m=audio {port} RTP/AVP {number}", f"a=rtpmap:{number} {rtpmap}"]
    if codec == "opus":
        lines.append(f"a=fmtp:{number} useinbandfec=1")
    return ("\r\n".join(lines) + "\r\n").encode()


class Clock:
    """When the first sample of a recording would have been played, had none been left out, from watching it grow.

    No write is ahead of its time. A program that stalls as it begins a call leaves some out: that is not watched.
    """

    def __init__(self) -> None:
        self.start_s = float("inf")
        self._since_s = 0.0

    def seen(self, samples: int, rate_hz: int) -> None:
        now_s = time.monotonic()
        if samples > 0:
            self._since_s = self._since_s or now_s
            if now_s - self._since_s > _SETTLES_S:
                self.start_s = min(self.start_s, now_s - samples / rate_hz)


class Listener(Protocol):
    name: str
    phone: Phone

    def call(self) -> Talk:
        """Call `phone` and be answered."""

    def heard(self) -> tuple[Sound, float]:
        """What was played in the call, and when its first sample was, on the monotonic clock."""

    def stop(self) -> None: ...


def _answered(phone: Phone, codec: str) -> Talk:
    phone.forget()
    invite = phone.wait("INVITE", 15)
    talk = phone.answer(invite, description(phone, codec))
    # linphone names an address of the machine's own, of either family; its port is bound to all of them.
    port = re.search(rb"m=audio (\d+)", invite.body)
    assert port is not None
    talk.rtp = ("127.0.0.1", int(port[1]))
    return talk


class _Growing(threading.Thread):
    """Watches a file grow."""

    def __init__(self, file: Path, rate_hz: int) -> None:
        super().__init__(daemon=True)
        self.clock = Clock()
        self._file, self._rate_hz = file, rate_hz
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(0.005):
            with contextlib.suppress(OSError):
                self.clock.seen((self._file.stat().st_size - 44) // 2, self._rate_hz)

    def stop(self) -> None:
        self._stopping.set()
        self.join(1)


class Ours:
    name = "ours"

    def __init__(self, folder: Path, codec: str) -> None:
        self.phone = Phone()
        self._codec = codec
        self._station = Portero(
            folder,
            free_port(2),
            stages=[([self.phone.uri], 30)],
            sections={"media": {"audio_codecs": [codec], "video": False}},
            sound_hz=RATE_HZ,
        )
        self._station.start()
        self._growing: _Growing | None = None

    def call(self) -> Talk:
        time.sleep(0.8)  # the station's sound card lingers after a call
        self._station.speaker.unlink(missing_ok=True)
        self._growing = _Growing(self._station.speaker, RATE_HZ)
        self._station.press()
        talk = _answered(self.phone, self._codec)
        self._growing.start()
        return talk

    def heard(self) -> tuple[Sound, float]:
        assert self._growing is not None
        self._growing.stop()
        return read_wav(self._station.speaker), self._growing.clock.start_s

    def stop(self) -> None:
        self._station.stop()
        self.phone.close()


class LinphoneListener:
    name = "linphone"

    def __init__(self, folder: Path, codec: str) -> None:
        if shutil.which("linphonec") is None:
            raise Skipped("linphonec is not installed")
        self.phone = Phone()
        self._codec = codec
        self._linphone = Linphone(folder, "listener", free_port(8), codecs=[codec])
        self._linphone.start()
        self._growing: _Growing | None = None

    def call(self) -> Talk:
        self._growing = _Growing(self._linphone.recording, self._linphone.rate_hz)
        self._linphone.record_anew()
        self._growing.start()
        self._linphone.call(self.phone.uri)
        return _answered(self.phone, self._codec)

    def heard(self) -> tuple[Sound, float]:
        assert self._growing is not None
        self._growing.stop()
        wait_until(lambda: self._linphone.reached("Released"), "linphone's call is over")
        return read_wav(self._linphone.recording), self._growing.clock.start_s

    def stop(self) -> None:
        self._linphone.stop()
        self.phone.close()


class BaresipListener:
    name = "baresip"

    def __init__(self, folder: Path, codec: str) -> None:
        if shutil.which("baresip") is None or not (_MODULES / "l16.so").exists():
            raise Skipped("baresip with its module l16 is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        self.phone, self._recorder = Phone(), Phone(user="recorder")
        self._codec = codec
        self._port, self._control = free_port(2), free_port()
        modules = ["g711", "g722", "opus", "l16", "plc", "aubridge"]
        lines = [
            f"sip_listen 127.0.0.1:{self._port}",
            "net_interface 127.0.0.1",
            f"ctrl_tcp_listen 127.0.0.1:{self._control}",
            "audio_source aubridge,nothing",
            "audio_player aubridge,nothing",
            "audio_alert aubridge,alert",
            f"ausrc_srate {RATE_HZ}",
            f"auplay_srate {RATE_HZ}",
            "ausrc_channels 1",
            "auplay_channels 1",
            "opus_inbandfec yes",
            "rtp_timeout 0",
            "call_max_calls 4",
            f"module_path {_MODULES}",
            *(f"module {name}.so" for name in modules),
            *(f"module_app {name}.so" for name in ("account", "menu", "ctrl_tcp")),
        ]
        (folder / "config").write_text("\n".join(lines) + "\n")
        (folder / "contacts").write_text("")
        named = {"PCMA": "pcma", "G722": "g722/16000/1", "opus": "opus/48000/2"}[codec]
        accounts = (("listener", named, "nothing", "heard"), ("tape", "l16/16000/1", "heard", "nothing2"))
        (folder / "accounts").write_text(
            "".join(
                f"<sip:{user}@127.0.0.1:{self._port};transport=udp>;regint=0;audio_codecs={codecs}"
                f";audio_source=aubridge,{source};audio_player=aubridge,{player}\n"
                for user, codecs, source, player in accounts
            )
        )
        self._program = Program("baresip", ["baresip", "-f", str(folder), "-4"], folder)
        self._program.start()
        wait_until(lambda: "baresip is ready" in self._program.log_text(), "baresip is ready", 10)
        self._socket = socket.create_connection(("127.0.0.1", self._control), 2)
        self._tape: _Tape | None = None

    def _command(self, name: str, parameters: str = "") -> None:
        data = json.dumps({"command": name, "params": parameters, "token": name}).encode()
        self._socket.sendall(f"{len(data)}:".encode() + data + b",")
        time.sleep(0.1)

    def call(self) -> Talk:
        self._command("uafind", f"sip:listener@127.0.0.1:{self._port}")
        self._command("dial", self.phone.uri)
        talk = _answered(self.phone, self._codec)
        self._command("uafind", f"sip:tape@127.0.0.1:{self._port}")
        self._command("dial", self._recorder.uri)
        self._tape = _Tape(self._recorder, _answered(self._recorder, "96 L16/16000"))
        self._tape.start()
        return talk

    def heard(self) -> tuple[Sound, float]:
        assert self._tape is not None
        return self._tape.end()

    def stop(self) -> None:
        self._socket.close()
        self._program.stop()
        self.phone.close()
        self._recorder.close()


class _Tape(threading.Thread):
    """Takes the L16 of baresip's second call."""

    def __init__(self, phone: Phone, talk: Talk) -> None:
        super().__init__(daemon=True)
        self._phone, self._talk = phone, talk
        self._clock = Clock()
        self._samples = array.array("h")
        self._stopping = False

    def run(self) -> None:
        self._phone.rtp.settimeout(0.2)
        while not self._stopping:
            try:
                data = self._phone.rtp.recv(2048)
            except TimeoutError:
                continue
            except OSError:  # closed: the bench has failed meanwhile
                return
            part = array.array("h", data[12 : 12 + (len(data) - 12) // 2 * 2])
            part.byteswap()
            self._samples += part
            self._clock.seen(len(self._samples), RATE_HZ)

    def end(self) -> tuple[Sound, float]:
        self._stopping = True
        self.join(1)
        with contextlib.suppress(AssertionError):
            self._phone.hang_up(self._talk)
        return Sound(RATE_HZ, self._samples), self._clock.start_s


def listeners(folder: Path, codec: str) -> list[Listener]:
    """All of them, started."""
    made: list[Listener] = []
    try:
        for kind in (Ours, BaresipListener, LinphoneListener):
            made.append(kind(folder / f"{kind.__name__}-{codec}", codec))
    except BaseException:
        for listener in made:
            listener.stop()
        raise
    return made
