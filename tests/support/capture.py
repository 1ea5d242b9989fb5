"""What was on the wire: tcpdump on the loopback or another interface, its file read back as datagrams.

IPv4 and IPv6 UDP and TCP payloads with the kernel's time stamps; no reassembly of either. Needs root, as
tcpdump does; `why_not()` says what is missing.
"""

import os
import shutil
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import Program
from tests.support.waiting import wait_until


@dataclass(frozen=True, slots=True)
class Datagram:
    """`at_s` is Unix time; `source` and `target` are (host, port)."""

    at_s: float
    transport: str
    source: tuple[str, int]
    target: tuple[str, int]
    payload: bytes


def why_not() -> str:
    """Empty where a capture can be made."""
    if shutil.which("tcpdump") is None:
        return "tcpdump is not installed"
    if os.geteuid() != 0:
        return "capturing needs root"
    return ""


class Capture:
    """`expression` is tcpdump's filter, such as "udp portrange 20000-20099"."""

    def __init__(self, folder: Path, expression: str, name: str = "capture", interface: str = "lo") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / f"{name}.pcap"
        command = ["tcpdump", "-i", interface, "-n", "-U", "-Z", "root", "-B", "4096", "--immediate-mode"]
        self.program = Program(name, [*command, "-w", str(self.file), *expression.split()], folder)

    def start(self) -> None:
        self.program.start()
        wait_until(lambda: "listening on" in self.program.log_text(), "tcpdump listens")

    def stop(self) -> None:
        self.program.stop()

    def datagrams(self) -> list[Datagram]:
        """All that was captured so far, in order."""
        return list(_read(self.file)) if self.file.exists() else []


def _read(path: Path) -> Iterator[Datagram]:
    data = path.read_bytes()
    if len(data) < 24:
        return
    magic, *_, link = struct.unpack_from("<IHHiIII", data)
    assert magic == 0xA1B2C3D4, hex(magic)
    assert link == 1, f"link type {link}"
    at = 24
    while at + 16 <= len(data):
        seconds, micros, size, _ = struct.unpack_from("<IIII", data, at)
        at += 16
        frame = data[at : at + size]
        if len(frame) < size:
            return
        at += size
        datagram = _dissect(seconds + micros / 1e6, frame)
        if datagram is not None:
            yield datagram


def _dissect(at_s: float, frame: bytes) -> Datagram | None:
    (kind,) = struct.unpack_from("!H", frame, 12)
    packet = frame[14:]
    if kind == 0x0800:
        head = (packet[0] & 15) * 4
        if struct.unpack_from("!H", packet, 6)[0] & 0x1FFF:
            return None  # a later fragment has no ports
        protocol = packet[9]
        hosts = socket.inet_ntop(socket.AF_INET, packet[12:16]), socket.inet_ntop(socket.AF_INET, packet[16:20])
        (total,) = struct.unpack_from("!H", packet, 2)
    elif kind == 0x86DD:
        head = 40
        protocol = packet[6]
        hosts = socket.inet_ntop(socket.AF_INET6, packet[8:24]), socket.inet_ntop(socket.AF_INET6, packet[24:40])
        total = 40 + struct.unpack_from("!H", packet, 4)[0]
    else:
        return None
    body = packet[head : total or len(packet)]
    if protocol == 17:
        source, target = struct.unpack_from("!HH", body)
        return Datagram(at_s, "udp", (hosts[0], source), (hosts[1], target), body[8:])
    if protocol == 6:
        source, target = struct.unpack_from("!HH", body)
        return Datagram(at_s, "tcp", (hosts[0], source), (hosts[1], target), body[(body[12] >> 4) * 4 :])
    return None
