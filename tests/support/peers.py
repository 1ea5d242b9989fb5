"""The peers of one test: each started in a folder of its own, ended with the test, its log kept for a failure."""

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from tests.support import capture as wire
from tests.support import spandsp
from tests.support.baresip import MODULES, Baresip, write_tone
from tests.support.browser import JSSIP, Browser
from tests.support.capture import Capture
from tests.support.dnsmasq import Dnsmasq
from tests.support.kamailio import DOMAIN, Kamailio
from tests.support.line_phone import LinePhone
from tests.support.linphone import Linphone
from tests.support.ports import free_port
from tests.support.processes import Program
from tests.support.rtp_phone import RtpPhone
from tests.support.sip_probe import register
from tests.support.sip_server import SipServer
from tests.support.sipp import Sipp
from tests.support.station import Portero
from tests.support.twin_phones import TwinPhones

_LINES, _WIDTH = 30, 240  # of a program's log in the report of a failed test
USERS = {"door": "knock-knock", "101": "one-o-one", "102": "one-o-two", "103": "one-o-three"}


class Startable(Protocol):
    program: Program

    def start(self) -> None: ...

    def stop(self) -> None: ...


P = TypeVar("P", bound=Startable)


def _need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (make setup installs it)")


class Peers:
    """Factories: what they return is running and, where it has a server, registered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[Startable] = []
        self._ended = 0  # so many of them, the first
        self._closing: list[Callable[[], None]] = []

    def start(self, peer: P) -> P:
        """Have `peer` ended with the test, and start it."""
        self._running.append(peer)
        peer.start()
        return peer

    def kamailio(self, users: Mapping[str, str] = USERS, **options: Any) -> Kamailio:
        _need("kamailio")
        return self.start(Kamailio(self._own(f"kamailio{self._count(Kamailio)}"), free_port(2), users, **options))

    def dnsmasq(self, *records: str) -> Dnsmasq:
        _need("dnsmasq")
        return self.start(Dnsmasq(self._own("dnsmasq"), free_port(), records))

    def baresip(self, user: str, *, server: SipServer | None = None, **options: Any) -> Baresip:
        _need("baresip")
        if options.get("video", True) and not (MODULES / "avcodec.so").exists():
            pytest.skip("baresip's avcodec module is not installed (make setup installs baresip-ffmpeg)")
        password = options.pop("password", server.users[user] if server else "")
        # SIP, and the port above it, which it takes for TLS; then its control port.
        ports = free_port(2), free_port()
        return self.start(
            Baresip(
                self._own(f"baresip-{user}{self._count(Baresip)}"),
                user,
                ports,
                server=server,
                password=password,
                **options,
            )
        )

    def linphone(
        self, user: str, *, server: SipServer | None = None, tone_hz: float | None = None, **options: Any
    ) -> Linphone:
        _need("linphonec")
        folder = self._own(f"linphone-{user}{self._count(Linphone)}")
        # It brings the file to its codec's rate by itself.
        microphone = write_tone(folder / "tone.wav", tone_hz, rate_hz=16_000) if tone_hz else None
        password = options.pop("password", server.users[user] if server else "")
        return self.start(
            Linphone(folder, user, free_port(8), server=server, password=password, microphone=microphone, **options)
        )

    def browser(self, user: str, url: str, password: str, **options: Any) -> Browser:
        """Its phone is starting; what becomes of it is among what the page has seen."""
        _need("chromium")
        if not JSSIP.exists():
            pytest.skip(f"{JSSIP} is not there (make setup fetches it where npm is installed)")
        return self.start(Browser(self._own(f"browser-{user}"), user, url, password, **options))

    def sipp(self, scenario: str, *, server: Kamailio | None = None, user: str = "", **options: Any) -> Sipp:
        """With `server` the phone is registered there as `user`."""
        _need("sipp")
        port = free_port(8)
        if server is not None:
            register((server.hosts[0], server.port), user, server.users[user], DOMAIN, port)
        return self.start(Sipp(self._own("sipp"), scenario, port, **options))

    def early_phone(self, hz: float = 1000) -> tuple[Sipp, RtpPhone]:
        """A phone that sends 183 with sound of its own; have the sound start with `start_early_sound`."""
        phone = RtpPhone(hz)
        self._closing.append(phone.stop)
        return self.sipp("early", keys={"sound_port": str(phone.port)}), phone

    def line_phone(
        self, scenario: str = "answers", formats: str = "8 101", **options: Any
    ) -> tuple[Sipp, LinePhone]:
        """A telephone behind a gateway: sipp answers for it, with `formats` in its description, or calls for it:
        at `remote` over `transport` as `caller`."""
        if (options.get("converts") or options.get("echo")) and (missing := spandsp.missing()):
            pytest.skip(missing)
        calls = {name: options.pop(name) for name in ("remote", "transport") if name in options}
        keys = {"formats": formats, "caller": options.pop("caller", "")}
        phone = LinePhone(**options)
        self._closing.append(phone.stop)
        return self.sipp(scenario, keys={**keys, "sound_port": str(phone.port)}, **calls), phone

    def twin_phones(self) -> TwinPhones:
        phones = TwinPhones()
        self._closing.append(phones.stop)
        return phones

    def portero(self, *, transport: str = "udp", **options: Any) -> Portero:
        """A running station; with a server, one that asks it to be registered (see `wait_registered`)."""
        return self.start(
            Portero(self._own(f"station{self._count(Portero)}"), free_port(2), transport=transport, **options)
        )

    def capture(self, expression: str, name: str = "capture", interface: str = "lo") -> Capture:
        if missing := wire.why_not():
            pytest.skip(missing)
        return self.start(Capture(self._own("capture"), expression, name, interface))

    def _count(self, kind: type) -> str:
        """What tells the folder of the next one of a kind from those before: nothing for the first."""
        before = sum(isinstance(peer, kind) for peer in self._running)
        return f"-{before + 1}" if before else ""

    def _own(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def stop(self) -> None:
        """End all, last first; every one is tried. Others may be started then."""
        while self._closing:
            self._closing.pop()()
        problems = []
        running, self._ended = self._running[self._ended :], len(self._running)
        for peer in reversed(running):
            try:
                peer.stop()
            except (OSError, AssertionError, subprocess.SubprocessError) as problem:
                problems.append(problem)
                peer.program.kill()
        if problems:
            raise ExceptionGroup("peers did not end", problems)

    def logs(self) -> list[tuple[str, str]]:
        """(title, end of the log) of every program of the test; the whole logs stay in its folder."""
        found = []
        for peer in self._running:
            for program in getattr(peer, "programs", [peer.program]):
                found.append((f"{program.name}: {program.log}", _end(program.log_text())))
            if isinstance(peer, Sipp) and peer.error_text():
                found.append((f"{peer.program.name} errors", _end(peer.error_text())))
        return found


def _end(text: str) -> str:
    return "\n".join(line[:_WIDTH] for line in text.splitlines()[-_LINES:])
