"""Nothing that arrives raises past the core, whatever the bytes, and no flood makes it grow without bound."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware.sip.configuration import Account, Configuration
from firmware.sip.errors import RemoteProtocolError
from firmware.sip.events import CallEnded, IncomingCall
from firmware.sip.message import Request, Response
from firmware.sip.uri import Uri
from tests.support.sip_link import Bench, invite, reply, request_of

ACCOUNT = Account("pbx", Uri.parse("sip:door@10.0.0.2"), password="secret")
CONFIGURATION = Configuration(accounts=(ACCOUNT,), max_calls=8, max_transactions=50)
EVIL = (
    b"",
    b"\x00",
    b"\xff\xfe",
    b"%",
    b";",
    b",",
    b'"',
    b"<",
    b">",
    b"@",
    b":",
    b"=",
    b"\r\n",
    b" ",
    b"*",
    b"-1",
    b"0",
    b"99999999999999999999",
    b"4294967295",
    b"z9hG4bK",
    b"sip:",
    b"sips:x@y",
    b"tel:+34",
    b"SIP/2.0",
    b"100",
    b"183",
    b"200",
    b"401",
    b"487",
    b"699",
    b"INVITE",
    b"ACK",
    b"CANCEL",
    b"BYE",
    b"INFO",
    b"OPTIONS",
    b"REGISTER",
    b";tag=",
    b"\r\nRequire: x",
    b"\r\nContact: *",
    b"\r\nContact: <sip:a@b>;expires=x",
    b"\r\nRecord-Route: <sip:p;lr>",
    b"\r\nRecord-Route: <",
    b"\r\nWWW-Authenticate: Digest realm=x, nonce=y",
    b"\r\nMin-Expires: 9999999999",
    b"\r\nExpires: 1",
    b"\r\nRetry-After: 5 (later)",
    b"\r\nReason: ;;;",
    b"\r\nContent-Type: multipart/mixed",
)


def busy_core() -> tuple[Bench, list[bytes]]:
    """A core in the middle of everything, and messages that fit its dialogs and transactions."""
    bench = Bench(CONFIGURATION, seed=5)
    seeds: list[bytes] = []

    def take() -> list[Request]:
        return [message for message in bench.sent() if isinstance(message, Request)]

    bench.core.start(0.0)
    (register,) = take()
    challenge = (("WWW-Authenticate", 'Digest realm="pbx", nonce="abc", qop="auth", algorithm=MD5'),)
    seeds += [
        bytes(reply(register, 401, headers=challenge)),
        bytes(reply(register, 423, headers=(("Min-Expires", "9"),))),
    ]
    seeds.append(bytes(reply(register, 200, contact="<sip:door@10.0.0.1:5060>;expires=60")))
    for number in range(3):
        bench.core.invite(Uri.parse(f"sip:{number}@10.0.0.2"), b"v=0\r\n", 0.0)
    ringing, answered, fresh = take()
    seeds += [bytes(reply(fresh, status, "t1", sdp=b"v=0\r\n")) for status in (100, 180, 183, 200, 302, 486, 503)]
    bench.receive(reply(ringing, 180, "t2"))
    seeds += [bytes(reply(ringing, status, "t2")) for status in (183, 199, 200, 603)]
    route = (("Record-Route", "<sip:10.0.0.2;lr>"),)
    bench.receive(reply(answered, 200, "t3", sdp=b"v=0\r\n", headers=route))
    seeds.append(bytes(reply(answered, 200, "t4")))
    us = answered.from_.tag or ""
    for cseq, method in enumerate(("INVITE", "INFO", "OPTIONS", "NOTIFY", "UPDATE", "BYE"), 10):
        seeds.append(
            bytes(
                request_of(
                    method,
                    branch=f"z9hG4bKin{cseq}",
                    call_id=answered.call_id,
                    tag="t3",
                    to_tag=us,
                    cseq=cseq,
                    headers=(("Contact", "<sip:mon@10.0.0.2>"), ("Content-Type", "application/dtmf-relay")),
                    body=b"Signal=5\r\n",
                )
            )
        )
    bench.receive(invite(branch="z9hG4bKa", call_id="a"))
    bench.receive(invite(branch="z9hG4bKb", call_id="b"))
    last = max(event.call for event in bench.of(IncomingCall))
    bench.core.accept(last, b"v=0\r\n", 0.0)
    seeds += [
        bytes(invite(branch="z9hG4bKa", call_id="a")),
        bytes(invite(branch="z9hG4bKc", call_id="c", headers=(("Expires", "30"),))),
        bytes(request_of("CANCEL", branch="z9hG4bKa", call_id="a")),
        bytes(request_of("ACK", branch="z9hG4bKd", call_id="b")),
        bytes(request_of("OPTIONS", branch="z9hG4bKe", call_id="e")),
        bytes(request_of("SUBSCRIBE", branch="old", call_id="f")),
    ]
    bench.sent()
    return bench, seeds


SEEDS = busy_core()[1]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.sampled_from((0, 0, 1, 2, 5, 30)))
        data = data[:at] + draw(st.sampled_from(EVIL)) + data[at + length :]
    return data


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(mutated(), st.sampled_from((0.0, 0.0, 0.5, 3.0, 40.0)), st.integers(0, 7)),
        min_size=20,
        max_size=50,
    )
)
def test_no_bytes_make_a_core_in_mid_call_raise(steps: list[tuple[bytes, float, int]]) -> None:
    bench, _ = busy_core()
    ended: dict[int, int] = {}
    for data, wait, command in steps:
        bench.receive(data)
        for event in bench.events():
            if isinstance(event, CallEnded):
                ended[event.call] = ended.get(event.call, 0) + 1
            elif isinstance(event, IncomingCall) and command == 0:
                bench.core.accept(event.call, b"v=0\r\n", bench.now)
        if command == 1:
            bench.core.answer_offer(2, b"v=0\r\n", bench.now)
        elif command == 2:
            bench.core.hangup(1, bench.now, reason="SIP;cause=200")
        bench.sent()
        bench.advance(wait)
    assert set(ended.values()) <= {1}
    bench.core.stop(bench.now)
    bench.sent()
    bench.advance(200)
    bench.sent()
    bench.advance(200)
    assert bench.core.stopped
    assert bench.core.counts()["calls"] == 0


def damaged(chance: random.Random) -> bytes:
    data = chance.choice(SEEDS)
    for _ in range(chance.choice((0, 0, 1, 1, 2, 4))):
        at = chance.randrange(len(data) + 1)
        if chance.random() < 0.7:
            piece = chance.choice(EVIL)
        else:
            start = chance.randrange(200)
            piece = chance.choice(SEEDS)[start : start + chance.randrange(60)]
        data = data[:at] + piece + data[at + chance.choice((0, 0, 1, 2, 5, 30)) :]
    return data


def station(bench: Bench, chance: random.Random, ended: set[int]) -> None:
    """Does something to the core, as a station might, whatever state the call is in."""
    core = bench.core
    for event in bench.events():
        if isinstance(event, CallEnded):
            assert event.call not in ended
            ended.add(event.call)
        elif isinstance(event, IncomingCall):
            what = chance.randrange(4)
            if what == 0:
                core.accept(event.call, b"v=0\r\n", bench.now)
            elif what == 1:
                core.ring(event.call, bench.now)
            elif what == 2:
                core.hangup(event.call, bench.now)
    call = chance.randrange(1, 6)
    what = chance.randrange(30)
    if what == 0:
        core.hangup(call, bench.now, reason="SIP;cause=200")
    elif what == 1:
        core.answer_offer(call, b"v=0\r\n", bench.now)
    elif what == 2:
        core.reject_offer(call, 488, bench.now)
    elif what == 3:
        core.info(call, "application/dtmf", b"5", bench.now)
    elif what == 4:
        core.send_failed(bench.flow, "connection refused", bench.now)


@pytest.mark.parametrize("seed", range(12))
def test_programs_of_damaged_messages_and_commands_leave_nothing_behind(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(30):
        bench, _ = busy_core()
        ended: set[int] = set()
        for _ in range(60):
            bench.receive(damaged(chance))
            station(bench, chance, ended)
            bench.sent()
            bench.advance(chance.choice((0, 0, 0, 0.2, 0.5, 3, 40)))
        bench.core.stop(bench.now)
        for _ in range(3):
            bench.sent()
            bench.advance(150)
        assert bench.core.stopped
        counts = bench.core.counts()
        assert not {name for name, value in counts.items() if value and name != "dropped"}


def test_random_bytes_are_dropped() -> None:
    bench = Bench()
    noise = random.Random(1)
    for _ in range(3000):
        bench.receive(noise.randbytes(noise.randrange(200)))
    assert bench.sent() == []
    assert bench.core.counts()["dropped"] == 3000


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "SUBSCRIBE", "FROB"])
def test_a_flood_of_new_call_ids_is_answered_within_bounded_memory(method: str) -> None:
    bench = Bench(Configuration(max_calls=8, max_transactions=50))
    most = 0
    last = 0
    for number in range(2000):
        message = request_of(
            method,
            branch=f"z9hG4bK{number}",
            call_id=f"flood{number}",
            headers=(("Contact", "<sip:x@10.0.0.2>"),),
        )
        bench.receive(message)
        statuses = bench.statuses()
        last = statuses[-1] if statuses else 0
        counts = bench.core.counts()
        most = max(most, counts["transactions"], counts["dialogs"], counts["calls"])
        bench.events()
    assert most <= 50
    assert last == {"INVITE": 503, "OPTIONS": 200, "SUBSCRIBE": 489, "FROB": 501}[method]
    bench.advance(200)
    assert bench.core.counts()["strangers"] <= 8  # the calls that the station was asked about


def test_our_own_call_goes_on_while_strangers_flood() -> None:
    bench = Bench(Configuration(max_calls=2, max_transactions=10))
    call = bench.core.invite(Uri.parse("sip:mon@10.0.0.2"), b"v=0\r\n", bench.now)
    sent = bench.request("INVITE")
    for number in range(100):
        bench.receive(invite(branch=f"z9hG4bK{number}", call_id=f"flood{number}"))
    bench.receive(reply(sent, 200, "mon", sdp=b"v=0\r\n"))
    assert bench.methods() == ["ACK"]
    bench.receive(
        request_of("BYE", branch="z9hG4bKbye", call_id=sent.call_id, tag="mon", to_tag=sent.from_.tag or "", cseq=2)
    )
    assert bench.statuses() == [200]
    assert [event.call for event in bench.of(CallEnded)] == [call]


def test_a_hundred_forks_of_one_invite_do_not_make_a_hundred_dialogs() -> None:
    bench = Bench()
    bench.core.invite(Uri.parse("sip:mon@10.0.0.2"), b"v=0\r\n", bench.now)
    sent = bench.request("INVITE")
    for number in range(100):
        bench.receive(reply(sent, 180, f"fork{number}"))
    assert bench.core.counts()["dialogs"] <= 32
    for number in range(100):
        bench.receive(reply(sent, 200, f"fork{number}"))
    assert len([method for method in bench.methods() if method == "BYE"]) <= 32


def test_a_response_with_two_vias_is_not_for_us() -> None:
    bench = Bench()
    bench.core.invite(Uri.parse("sip:mon@10.0.0.2"), b"v=0\r\n", bench.now)
    response = reply(bench.request("INVITE"), 200)
    response.headers.add("Via", "SIP/2.0/UDP elsewhere;branch=z9hG4bKx")
    bench.receive(response)
    assert bench.methods() == []


def test_what_is_sent_never_depends_on_the_clock_or_on_chance_of_its_own() -> None:
    def run() -> list[Request | Response]:
        bench, seeds = busy_core()
        for data in seeds:
            bench.receive(data)
        return bench.sent()

    assert [bytes(message) for message in run()] == [bytes(message) for message in run()]


def test_a_refused_stream_is_closed() -> None:
    bench = Bench()
    bench.core.receive_garbage(bench.flow, RemoteProtocolError("no message"), bench.now)
    assert bench.sent() == []
    assert bench.closed == [bench.flow]
