"""How long a visitor and a resident wait for the program: press to INVITE on the wire, key to relay.

Presses of a door at rest, each a whole call with sound and picture: pressed over the control socket
(timed before the request is sent), answered, the code typed as RFC 4733 events once the picture is there, the
relay watched, hung up. The INVITE's time is the kernel's, the relay's is the line driver's own; the key's time
is before its first packet is sent. The peer is the machine itself: a datagram to another process's event loop
and back, between the presses. What was measured while the host had taken a processor away (tests/bench/host.py)
is set apart, the peer's as well; it is pressed until so many had the machine.
"""

import socket
import sys
import time
from contextlib import ExitStack

from tests.bench.host import Host
from tests.bench.measure import percentile
from tests.bench.phone import Phone
from tests.bench.programs import CODE, Station, scratch_folder
from tests.bench.report import Row, Skipped
from tests.support.ports import free_port
from tests.support.processes import Program
from tests.support.waiting import wait_until

PRESSES = 1000  # that had the machine
MOST = 2500  # pressed for that
MARK_MS = 5.0
REST_S = 0.55  # after a call, until its camera stands still: the next visitor does not come within it

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
        station = Station(stack.enter_context(scratch_folder()), phone.uri, camera_warm=True)  # as on boards
        stack.callback(station.stop)
        station.start()
        echo = Echo(stack)
        first = call(station, phone)
        host = Host(stack)
        echoes, presses, keys = [], [], []
        while len(presses) < PRESSES or (_kept(presses, host) < PRESSES and len(presses) < MOST):
            echoes.append(echo.trip())
            press, key = call(station, phone)
            presses.append(press)
            keys.append(key)
            time.sleep(REST_S)
        rows = []
        peer, _ = _milliseconds(echoes, host)
        for name, first_span, spans in (("press to INVITE", first[0], presses), ("key to relay", first[1], keys)):
            ours, apart = _milliseconds(spans, host)
            for share in (0.5, 0.99, 0.999):
                value, beside = percentile(ours, share), percentile(peer, share)
                mark = f"<= {MARK_MS:g}" if share == 0.99 else ""
                ok = value <= MARK_MS if mark else None
                what = f"{name}, p{share * 100:g} of {len(ours)}"
                rows.append(Row(what, value, beside, value / beside, "ms", mark, ok))
            rows.append(Row(f"{name}, first after the start", _ms(first_span), unit="ms"))
            everything = percentile([_ms(span) for span in spans], 0.99)
            rows.append(Row(f"{name}, p99 with the {apart} set apart", everything, unit="ms"))
        return rows


Span = tuple[float, float]  # began, ended: seconds of the monotonic clock


def _away(spans: list[Span], host: Host) -> list[bool]:
    return host.was_away([(began_s, began_s + MARK_MS / 1000) for began_s, _ in spans])


def _kept(spans: list[Span], host: Host) -> int:
    return _away(spans, host).count(False)


def _ms(span: Span) -> float:
    return (span[1] - span[0]) * 1000


def _milliseconds(spans: list[Span], host: Host) -> tuple[list[float], int]:
    """How long those took that had the machine, and how many had not. Each is judged by what it may take, not by
    what it took: else a long one would be left out more often, whatever made it long."""
    away = _away(spans, host)
    kept = [_ms(span) for span, gone in zip(spans, away, strict=True) if not gone]
    if not kept:
        raise Skipped("the host was away during every one of them")
    return kept, len(spans) - len(kept)


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
            return bool(self.trip())
        except OSError:
            return False

    def trip(self) -> Span:
        started_s = time.monotonic()
        self._socket.send(b"?")
        self._socket.recv(16)
        return started_s, time.monotonic()


def call(station: Station, phone: Phone) -> tuple[Span, Span]:
    """From the press to the INVITE, and from the last key's first packet to the relay."""
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
    return (pressed_s, invite.at_s), (keyed_s, switched_s)
