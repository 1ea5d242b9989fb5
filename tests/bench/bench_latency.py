"""How long a visitor and a resident wait for the program: press to INVITE on the wire, key to relay.

1,000 presses, each a whole call with sound and picture: pressed over the control socket (timed before the request
is sent), answered, the code typed as RFC 4733 events once the picture is there, the relay watched, hung up. The
INVITE's time is the kernel's, the relay's is the line driver's own; the key's time is before its first packet is
sent. The peer is the machine itself: a datagram to another process's event loop and back, between the presses.
"""

import socket
import sys
import time
from contextlib import ExitStack

from tests.bench.measure import percentile
from tests.bench.phone import Phone
from tests.bench.programs import CODE, Station, scratch_folder
from tests.bench.report import Row
from tests.support.ports import free_port
from tests.support.processes import Program
from tests.support.waiting import wait_until

PRESSES = 1000
MARK_MS = 5.0

_ECHO = """
import asyncio, sys
class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
    def datagram_received(self, data, source):
        self.transport.sendto(data, source)
async def serve():
    await asyncio.get_running_loop().create_datagram_endpoint(Echo, local_addr=("127.0.0.1", int(sys.argv[1])))
    await asyncio.Event().wait()
asyncio.run(serve())
"""


def run() -> list[Row]:
    with ExitStack() as stack:
        phone = Phone()
        stack.callback(phone.close)
        station = Station(stack.enter_context(scratch_folder()), phone.uri)
        stack.callback(station.stop)
        station.start()
        echo = Echo(stack)
        first = call(station, phone)
        calls, echoes = [], []
        for _ in range(PRESSES):
            echoes.append(echo.trip_ms())
            calls.append(call(station, phone))
    rows = []
    for name, first_ms, values in zip(
        ("press to INVITE", "key to relay"), first, zip(*calls, strict=True), strict=True
    ):
        for share in (0.5, 0.99, 0.999):
            ours, peer = percentile(list(values), share), percentile(echoes, share)
            mark = f"<= {MARK_MS:g}" if share == 0.99 else ""
            ok = ours <= MARK_MS if mark else None
            rows.append(Row(f"{name}, p{share * 100:g} of {PRESSES}", ours, peer, ours / peer, "ms", mark, ok))
        rows.append(Row(f"{name}, first after the start", first_ms, unit="ms"))
    return rows


class Echo:
    """Another process whose event loop sends back what it gets: what a wake-up costs here and now."""

    def __init__(self, stack: ExitStack) -> None:
        self._socket = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._socket.settimeout(0.2)
        port = free_port()
        self._socket.connect(("127.0.0.1", port))
        command = [sys.executable, "-c", _ECHO, str(port)]
        program = Program("echo", command, stack.enter_context(scratch_folder()))
        stack.callback(program.stop)
        program.start()
        wait_until(self._answers, "the echo answers", 5)

    def _answers(self) -> bool:
        try:
            return self.trip_ms() > 0
        except OSError:
            return False

    def trip_ms(self) -> float:
        started_s = time.monotonic()
        self._socket.send(b"?")
        self._socket.recv(16)
        return (time.monotonic() - started_s) * 1000


def call(station: Station, phone: Phone) -> tuple[float, float]:
    """Milliseconds from the press to the INVITE, and from the last key's first packet to the relay."""
    wait_until(lambda: not station.relay.active, "the relay is off", 5, poll_s=0.001)
    edges, _ = station.relay.edges
    phone.drain()
    pressed_s = station.press()
    invite = phone.wait("INVITE", 5)
    talk = phone.answer(invite, phone.sdp(video=True))
    if talk.rtp is None:
        raise AssertionError("the station offered no sound")
    phone.wait_picture(2)  # nobody opens before he sees who is there
    for digit in CODE[:-1]:
        phone.start_digit(talk.rtp, digit)
        phone.end_digit(talk.rtp, digit)
    keyed_s = time.monotonic()
    phone.start_digit(talk.rtp, CODE[-1])
    wait_until(lambda: station.relay.edges[0] > edges, "the relay switches", 5, poll_s=0.0005)
    _, switched_s = station.relay.edges
    phone.end_digit(talk.rtp, CODE[-1])
    phone.hang_up(talk)
    phone.forget()
    return (invite.at_s - pressed_s) * 1000, (switched_s - keyed_s) * 1000
