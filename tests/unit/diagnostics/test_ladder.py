"""The ladder diagram, read as a technician reads it."""

from typing import Any

import pytest

from firmware.diagnostics.ladder import ASCII, CallFilter, Ladder, clock, of_calls, servers_of, since
from firmware.sip.configuration import Account, Configuration
from firmware.sip.trace import Trace, TracedCore
from firmware.sip.uri import Uri
from tests.support.sip_link import Bench, invite, reply, request_of, seeded

ACCOUNT = Account("pbx", Uri.parse("sip:door@pbx.example"), registrar=Uri.parse("sip:10.0.0.2"), password="secret")


def bench_of(*accounts: Account) -> tuple[Bench, Trace]:
    bench, trace = Bench(), Trace()
    bench.core = TracedCore(Configuration(accounts), random=seeded(3), trace=trace)
    return bench, trace


def entries(trace: Trace) -> list[Any]:
    return [entry.encode() for entry in trace.entries()]


def two_monitors() -> tuple[Bench, Trace, list[int]]:
    """Two phones rung at once; the first INVITE to one is lost; the other answers."""
    bench, trace = bench_of()
    bench.advance(10)
    calls = [
        bench.core.invite(Uri.parse(f"sip:{user}@{host}"), b"v=0\r\n", bench.now)
        for user, host in (("kitchen", "10.0.0.2"), ("hall", "10.0.0.3"))
    ]
    kitchen, hall = bench.sent()
    bench.advance(0.02)
    bench.receive(reply(hall, 180), bench.flow_to("10.0.0.3"))
    bench.advance(0.5)
    bench.receive(reply(kitchen, 180))
    bench.advance(2)
    bench.receive(reply(hall, 200, sdp=b"v=0\r\n"), bench.flow_to("10.0.0.3"))
    bench.core.hangup(calls[0], bench.now)
    bench.receive(reply(bench.request("CANCEL"), 200))
    bench.receive(reply(kitchen, 487))
    bench.sent()
    return bench, trace, calls


def drawn(trace: Trace, width: int = 96, origin_s: float = 10.0, **options: Any) -> list[str]:
    return list(Ladder(since(origin_s), width, **options).draw(entries(trace)))


def test_a_call_to_two_monitors_is_drawn_with_a_column_for_each() -> None:
    _, trace, _ = two_monitors()
    text = "\n".join(drawn(trace, 110))
    lines = text.split("\n")
    assert lines[1].split() == ["door", "kitchen", "hall"]
    assert lines[2].split() == ["10.0.0.2:5060", "udp", "10.0.0.3:5060", "udp"]
    assert "0.0 ms  │ » call sip:kitchen@10.0.0.2" in lines[3]
    ring = next(line for line in lines if "180 Ringing INVITE 1 [2]" in line)
    assert ring.strip().startswith("20.0 ms  │◀───")
    assert ring.endswith("─│")
    answer = next(line for line in lines if "200 OK INVITE 1 sdp [2]" in line)
    assert "2520.0 ms" in answer
    assert "· call 2 answered" in text
    assert any("─ CANCEL 1 [1] ─" in line and line.count("│") == 3 for line in lines)


def test_a_repeated_message_and_the_timer_that_repeated_it_are_marked() -> None:
    _, trace, _ = two_monitors()
    lines = drawn(trace)
    again = [number for number, line in enumerate(lines) if "INVITE 1 sdp [1] ↻" in line]
    assert len(again) == 1
    assert "500.0 ms  │ t Timer A of INVITE" in lines[again[0] - 1]


def test_a_terminal_without_line_drawing_gets_ascii() -> None:
    _, trace, _ = two_monitors()
    text = "\n".join(drawn(trace, marks=ASCII))
    assert text.isascii()
    assert "|- INVITE 1 sdp [1] (again) --" in text


@pytest.mark.parametrize("width", [40, 60, 80, 100, 132, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    _, trace, _ = two_monitors()
    lines = drawn(trace, width)
    assert max(map(len, lines)) <= width
    assert any("INVITE 1 sdp" in line for line in lines)


def test_parties_that_do_not_fit_share_the_last_column_by_name() -> None:
    bench, trace = bench_of()
    for number in range(2, 7):
        bench.core.invite(Uri.parse(f"sip:flat{number}@10.0.0.{number}"), b"", bench.now)
    bench.sent()
    lines = drawn(trace, 80)
    assert lines[1].split() == ["door", "flat2", "4", "others"]
    assert any("INVITE 1 [5] flat6" in line for line in lines)


def test_one_call_is_picked_out_with_what_belongs_to_it() -> None:
    _, trace, calls = two_monitors()
    everything = entries(trace)
    text = "\n".join(Ladder(since(10.0), 90).draw(of_calls(everything, CallFilter({calls[0]}))))
    assert "kitchen" in text
    assert "hall" not in text
    assert "CANCEL 1" in text
    assert "call 1 ended by us" in text
    assert "Timer A of INVITE" in text
    other = "\n".join(Ladder(since(10.0), 90).draw(of_calls(everything, CallFilter({calls[1]}))))
    assert "kitchen" not in other
    assert "200 OK INVITE 1 sdp" in other


def test_an_incoming_call_is_picked_out_too() -> None:
    bench, trace = bench_of()
    bench.receive(invite())
    bench.receive(invite(branch="z9hG4bKother", call_id="other@peer", tag="o"))
    bench.core.hangup(1, bench.now, status=486)
    bench.sent()
    text = "\n".join(Ladder(since(0.0), 90).draw(of_calls(entries(trace), CallFilter({1}))))
    assert "call 1 comes in" in text
    assert "486 Busy Here" in text
    assert "call 2" not in text


def test_a_registration_that_fails_says_why() -> None:
    bench, trace = bench_of(ACCOUNT)
    bench.core.start(bench.now)
    bench.receive(reply(bench.request("REGISTER"), 403))
    text = "\n".join(drawn(trace, origin_s=0.0))
    assert "403 Forbidden REGISTER 1" in text
    assert "· account pbx failed: 403 Forbidden, again in" in text
    assert servers_of(entries(trace)) == {"10.0.0.2:5060": "pbx.example"}


def test_what_was_dropped_says_why() -> None:
    bench, trace = bench_of()
    bench.receive(b"hello\r\n\r\n")
    bench.receive(reply(invite(), 200))
    text = "\n".join(drawn(trace, origin_s=0.0))
    assert "not SIP, 9 bytes" in text
    assert "! dropped: not a SIP message" in text
    assert "! dropped: no request waits for it" in text


def test_what_had_to_be_mended_is_shown_and_a_clean_message_has_no_such_note() -> None:
    bench, trace = bench_of()
    options = bytes(request_of("OPTIONS", branch="z9hG4bKo"))
    bench.receive(options)
    assert "mended" not in "\n".join(drawn(trace))
    bench.receive(options.replace(b"Content-Length: 0", b"Content-Length: 3") + b"a")
    assert "! mended to be read: short-body" in "\n".join(drawn(trace))


def test_one_server_met_by_two_transports_has_one_column() -> None:
    """A large INVITE goes by TCP to the server where the station registered by UDP."""
    bench, trace = bench_of(ACCOUNT)
    bench.core.start(bench.now)
    bench.receive(reply(bench.request("REGISTER"), 200, contact="<sip:door@10.0.0.1:5060>;expires=600"))
    bench.core.invite(Uri.parse("sip:101@pbx.example"), b"v=0\r\n" + b"a=x\r\n" * 300, bench.now, account="pbx")
    bench.sent()
    lines = drawn(trace, origin_s=0.0)
    assert lines[1].split() == ["door", "pbx.example"]
    assert any("─ INVITE 1 sdp tcp ─" in line for line in lines)


def test_a_follower_gets_a_heading_when_a_party_is_new() -> None:
    _, trace, _ = two_monitors()
    ladder = Ladder(clock(1.7e9), 100)
    lines = [line for entry in entries(trace) for line in ladder.feed(entry)]
    assert sum("door" in line for line in lines) == 2
    heading = next(number for number, line in enumerate(lines) if "door" in line)
    assert heading < next(number for number, line in enumerate(lines) if "▶" in line)


def test_an_entry_of_another_version_is_shown_as_far_as_it_is_understood() -> None:
    odd: Any = {"n": 1, "at": 0.0, "do": "do_something_new", "with": {"call": 3}, "events": [{"$": "events.New"}]}
    assert "» do something new call=3" in "\n".join(Ladder(since(0.0), 80).feed(odd))
    broken: Any = {"n": 1, "at": 0.0, "do": "invite", "with": {}}
    assert "» invite" in "\n".join(Ladder(since(0.0), 80).feed(broken))
