"""How late the audio tick comes while the control thread is busy, by the packets on the wire.

A call with sound and picture; meanwhile OPTIONS come 500 times and `doorctl status` is asked for 50 times a second,
far more than any house brings. (Without a pause between them the two cores of the measuring machine are full, and
what is measured is the kernel's scheduler.) Lateness is how much later than its best neighbours
within a second, on a grid of 20 ms, a packet came; the stamps are the kernel's. The peers: the same call while
nothing else happens, and a bare thread of another process that sends a packet each 20 ms. Packets that were due
while the host had taken a processor away (tests/bench/host.py) are set apart, the peers' as well.
"""

import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from tests.bench.host import Host
from tests.bench.measure import percentile
from tests.bench.phone import Phone, Talker, receive_stamped, stamped_socket, stamps
from tests.bench.programs import Station, cpu_s, scratch_folder
from tests.bench.report import Row, Skipped
from tests.support.processes import Program

SECONDS = 30.0
MARK_MS = 3.0
OPTIONS_PER_S, STATUS_PER_S = 500, 50
_PERIOD_S = 0.02
_WINDOW = 50  # packets, a second: a clock that drifts by 100 ppm moves 0.1 ms in it

_METRONOME = """
import socket, sys, time
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
first_s, place = time.monotonic(), 0
while True:
    place += 1
    time.sleep(max(0.0, first_s + 0.02 * place - time.monotonic()))
    out.sendto(b"%d" % place, ("127.0.0.1", int(sys.argv[1])))
"""


def run() -> list[Row]:
    with ExitStack() as stack:
        phone = Phone()
        stack.callback(phone.close)
        station = Station(stack.enter_context(scratch_folder()), phone.uri)
        stack.callback(station.stop)
        station.start()
        station.press()
        talk = phone.answer(phone.wait("INVITE", 5), phone.sdp(video=True))
        listener = _Listener(phone.rtp)
        talker = Talker(phone, talk, payload_type=8, listens=False)
        talker.start()
        stack.callback(talker.stop)
        host = Host(stack)
        listener.hear(2.0, _Sound())  # the buffers have found their depth
        idle, _ = _with_machine(listener.hear(SECONDS, _Sound()), host)
        with _Busy(station) as busy:
            before_s = cpu_s(station.pid)
            heard = listener.hear(SECONDS, _Sound())
            spent = (cpu_s(station.pid) - before_s) / SECONDS
        loaded, apart = _with_machine(heard, host)
        bare, _ = _with_machine(_metronome(stack), host)
    rows = []
    for share in (0.5, 0.99, 0.999):
        ours, peer = percentile(loaded, share), percentile(bare, share)
        mark, ok = (f"<= {MARK_MS:g}", ours <= MARK_MS) if share == 0.99 else ("", None)
        rows.append(
            Row(f"tick late, control thread busy, p{share * 100:g}", ours, peer, ours / peer, "ms", mark, ok)
        )
    rows.append(Row("tick late, control thread idle, p99", percentile(idle, 0.99), unit="ms"))
    everything = percentile([late for _, late in lateness_ms(heard)], 0.99)
    rows.append(
        Row(
            f"tick late, control thread busy, p99 with the {apart} of {len(heard)} set apart", everything, unit="ms"
        )
    )
    rows.append(Row("requests answered meanwhile", busy.answered / SECONDS, unit="1/s"))
    rows.append(Row("CPU of the station meanwhile", spent * 100, unit="%"))
    return rows


Arrival = tuple[int, float]  # its place on the grid; when it came


def _with_machine(arrivals: list[Arrival], host: Host) -> tuple[list[float], int]:
    """How late those packets came that had the machine when they were due, and how many had not."""
    packets = lateness_ms(arrivals)
    away = host.was_away([(due_s, due_s + MARK_MS / 1000) for due_s, _ in packets])
    kept = [late for (_, late), gone in zip(packets, away, strict=True) if not gone]
    if not kept:
        raise Skipped("the host was away during every one of them")
    return kept, len(packets) - len(kept)


def lateness_ms(arrivals: list[Arrival]) -> list[tuple[float, float]]:
    """When each packet was due, by the earliest of the second around it once all are moved onto one moment; and how
    many milliseconds later it came."""
    phases = [at_s - place * _PERIOD_S for place, at_s in arrivals]
    late = []
    for index, phase in enumerate(phases):
        low = max(0, min(index - _WINDOW // 2, len(phases) - _WINDOW))
        late_s = phase - min(phases[low : low + _WINDOW])
        late.append((arrivals[index][1] - late_s, late_s * 1000))
    return late


class _Sound:
    """Places of a call's packets of sound, by their timestamps."""

    def __init__(self) -> None:
        self._first: int | None = None

    def __call__(self, packet: bytes) -> int | None:
        if packet[1] & 0x7F != 8:
            return None
        timestamp = int.from_bytes(packet[4:8], "big")
        if self._first is None:
            self._first = timestamp
        return (timestamp - self._first & 0xFFFFFFFF) // 160


class _Listener:
    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        stamps(sock)

    def hear(self, seconds: float, place_of: Callable[[bytes], int | None]) -> list[Arrival]:
        """When the packets that have a place arrived, in order."""
        self._socket.settimeout(1)
        arrivals = []
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            data, at_s, _ = receive_stamped(self._socket)
            place = place_of(data)
            if place is not None:
                arrivals.append((place, at_s))
        return arrivals


class _Busy:
    """Keeps the control thread at work: one asks for the status, one sends OPTIONS."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._ask, self._options)]
        self.answered = 0

    def __enter__(self) -> "_Busy":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(5)

    def _ask(self) -> None:
        while not self._stopping.wait(1 / STATUS_PER_S):
            self._station.ask("status")
            self.answered += 1

    def _options(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("127.0.0.1", self._station.port))
            sock.settimeout(0.5)
            host, port = sock.getsockname()
            while not self._stopping.wait(1 / OPTIONS_PER_S):
                token = secrets.token_hex(8)
                sock.send(
                    (
                        f"OPTIONS sip:door@127.0.0.1 SIP/2.0\r\n"
                        f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{token};rport\r\nMax-Forwards: 70\r\n"
                        f"From: <sip:busy@{host}>;tag={token}\r\nTo: <sip:door@127.0.0.1>\r\n"
                        f"Call-ID: {token}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
                    ).encode()
                )
                try:
                    sock.recv(4096)
                except TimeoutError:
                    continue
                self.answered += 1


def _metronome(stack: ExitStack) -> list[float]:
    sock = stack.enter_context(stamped_socket("127.0.0.1"))
    command = [sys.executable, "-c", _METRONOME, str(sock.getsockname()[1])]
    program = Program("metronome", command, stack.enter_context(scratch_folder()))
    stack.callback(program.stop)
    program.start()
    sock.settimeout(5)
    sock.recv(16)
    return _Listener(sock).hear(SECONDS, int)
