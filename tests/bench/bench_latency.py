"""How long a visitor and a resident wait for the program: press to INVITE on the wire, key to relay.

1,000 presses, each a whole call with sound and picture: pressed over the control socket (timed before the request
is sent), answered, the code typed as RFC 4733 events, the relay watched, hung up. The INVITE's time is the
kernel's, the relay's is the line driver's own; the key's time is before its first packet is sent.
"""

import time
from contextlib import ExitStack

from tests.bench.measure import percentile
from tests.bench.phone import Phone
from tests.bench.programs import CODE, Station, scratch_folder
from tests.bench.report import Row, at_most
from tests.support.waiting import wait_until

PRESSES = 1000
MARK_MS = 5.0


def run() -> list[Row]:
    with ExitStack() as stack:
        phone = Phone()
        stack.callback(phone.close)
        station = Station(stack.enter_context(scratch_folder()), phone.uri)
        stack.callback(station.stop)
        station.start()
        first = call(station, phone)
        calls = [call(station, phone) for _ in range(PRESSES)]
    rows = []
    for name, first_ms, values in zip(
        ("press to INVITE", "key to relay"), first, zip(*calls, strict=True), strict=True
    ):
        p50, p99, p999 = (percentile(list(values), share) for share in (0.5, 0.99, 0.999))
        rows += [
            Row(f"{name}, p50", p50, unit="ms"),
            at_most(f"{name}, p99 of {PRESSES}", p99, MARK_MS, "ms"),
            Row(f"{name}, p99.9", p999, unit="ms"),
            Row(f"{name}, first after the start", first_ms, unit="ms"),
        ]
    return rows


def call(station: Station, phone: Phone) -> tuple[float, float]:
    """Milliseconds from the press to the INVITE, and from the last key's first packet to the relay."""
    wait_until(lambda: not station.relay.active, "the relay is off", 5, poll_s=0.001)
    edges, _ = station.relay.edges
    pressed_s = station.press()
    invite = phone.wait("INVITE", 5)
    talk = phone.answer(invite, phone.sdp(video=True))
    if talk.rtp is None:
        raise AssertionError("the station offered no sound")
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
