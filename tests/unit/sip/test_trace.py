"""The trace of a core: what is in it, what is not, its bounds, and that it replays."""

import json
import random
from typing import Any

import pytest

from firmware.sip.configuration import Account, Configuration, House, User
from firmware.sip.core import Core
from firmware.sip.errors import LocalProtocolError
from firmware.sip.events import CallAnswered, IncomingCall
from firmware.sip.message import Request, parse_message
from firmware.sip.replay import NotReplayable, replay
from firmware.sip.trace import MAX_DROPPED_PER_S, QUESTIONS, Entry, Trace, TracedCore, inputs_of
from firmware.sip.trace_json import decode, encode, mask
from firmware.sip.types import Flow
from firmware.sip.uri import NameAddr, Uri
from tests.support.damaged_sip import damaged
from tests.support.sip_link import Bench, Link, Node, invite, reply, request_of, seeded

PASSWORD = "open-sesame-4711"
ACCOUNT = Account(
    "pbx", Uri.parse("sip:door@pbx.example"), registrar=Uri.parse("sip:10.0.0.2"), password=PASSWORD, expires_s=600
)
CONFIGURATION = Configuration(accounts=(ACCOUNT,))
OFFER = b"v=0\r\nm=audio 4000 RTP/SAVP 8\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0a2V5|2^31\r\n"
CHALLENGE = (("WWW-Authenticate", 'Digest realm="pbx", nonce="n1", qop="auth", algorithm=MD5'),)
PROXY_CHALLENGE = (("Proxy-Authenticate", 'Digest realm="pbx", nonce="n2", qop="auth", algorithm=SHA-256'),)


def traced(configuration: Configuration = CONFIGURATION, **bounds: int) -> tuple[Bench, Trace]:
    trace = Trace(**bounds)
    bench = Bench()
    bench.core = TracedCore(configuration, random=seeded(7), trace=trace)
    return bench, trace


def lines(trace: Trace) -> list[str]:
    return [json.dumps(trace.header()), *(json.dumps(entry.encode()) for entry in trace.entries())]


def scene() -> Trace:
    """Registration with digest, a call with a lost INVITE, digest, early media, INFO and a BYE; then the end."""
    bench, trace = traced()
    bench.core.start(bench.now)
    bench.receive(reply(bench.request("REGISTER"), 401, headers=CHALLENGE))
    bench.receive(reply(bench.request("REGISTER"), 200, contact="<sip:door@10.0.0.1:5060>;expires=600"))
    bench.advance(3.25)
    call = bench.core.invite(Uri.parse("sip:101@pbx.example"), OFFER, bench.now, account="pbx")
    bench.sent()  # and is lost
    bench.advance(0.7)  # Timer A
    bench.receive(reply(bench.request("INVITE"), 407, headers=PROXY_CHALLENGE))
    request = bench.request("INVITE")
    bench.receive(reply(request, 183, sdp=b"v=0\r\n"))
    bench.advance(2)
    bench.receive(reply(request, 200, sdp=b"v=0\r\n"))
    ack = bench.request("ACK")
    bench.core.info(call, "application/dtmf-relay", b"Signal=7\r\nDuration=160\r\n", bench.now)
    bench.receive(
        request_of(
            "INFO",
            branch="z9hG4bKinfo",
            call_id=request.call_id,
            tag="peer",
            to_tag=ack.from_.tag or "",
            cseq=2,
            body=b"Signal=4\r\nDuration=160\r\n",
            headers=(("Content-Type", "application/dtmf-relay"),),
        )
    )
    bench.advance(1)
    bench.core.hangup(call, bench.now)
    bench.receive(reply(bench.request("BYE"), 200))
    bench.core.stop(bench.now)
    bench.receive(reply(bench.request("REGISTER"), 200))
    return trace


def test_a_whole_scene_replays_to_the_byte() -> None:
    outcome = replay(lines(scene()), exact=True)
    assert outcome.differences == ()
    assert outcome.messages >= 16


def test_no_secret_is_in_a_trace() -> None:
    text = "\n".join(lines(scene()))
    assert PASSWORD not in text
    assert "c2VjcmV0a2V5" not in text
    assert "Signal=7" not in text
    assert "Signal=4" not in text
    assert 'response=\\"x' in text
    assert 'cnonce=\\"x' in text
    bench, trace = traced()
    bench.core.start(bench.now)
    bench.receive(reply(bench.request("REGISTER"), 401, headers=CHALLENGE))
    sent = bench.request("REGISTER").headers.get("Authorization") or ""
    shown = "\n".join(lines(trace))
    for name in ("response", "cnonce"):
        secret = sent.partition(f'{name}="')[2].partition('"')[0]
        assert len(secret) >= 16
        assert secret not in shown


def test_the_keys_of_other_offers_are_not_in_a_trace() -> None:
    bench, trace = traced()
    number = bench.core.invite(Uri.parse("sip:101@10.0.0.2"), OFFER, bench.now)
    bench.core.fall_back(number, (OFFER, OFFER), bench.now)
    shown = "\n".join(lines(trace))
    assert "inline:xxxxxxxxxxxx" in shown
    assert "c2VjcmV0a2V5" not in shown


def test_the_words_of_a_text_are_not_in_a_trace() -> None:
    bench, trace = traced()
    bench.core.message(Uri.parse("sip:101@10.0.0.2"), "the key lies under the mat", bench.now)
    bench.sent()
    bench.receive(
        request_of(
            "MESSAGE", branch="z9hG4bKtext", body=b"alarm code 4711", headers=(("Content-Type", "text/plain"),)
        )
    )
    shown = "\n".join(lines(trace))
    assert "events.TextReceived" in shown
    assert not any(word in shown for word in ("mat", "4711"))
    assert replay(lines(trace), exact=True).differences == ()


def test_what_was_said_stands_in_the_trace_with_time_timer_and_outcome() -> None:
    entries = [entry.encode() for entry in scene().entries()]
    (first, *_) = entries
    assert (first["do"], first["at"], first["n"]) == ("start", 0.0, 1)
    asked = next(entry for entry in entries if entry["do"] == "invite")
    assert asked["with"]["target"] == {"uri": "sip:101@pbx.example"}
    assert (asked["with"]["account"], asked["result"]) == ("pbx", 1)
    timers = [(entry["at"], name) for entry in entries for name in entry.get("timers", ())]
    assert (3.75, "Timer A of INVITE") in timers
    ended = [event for entry in entries for event in entry.get("events", ()) if event["$"] == "events.CallEnded"]
    assert [(event["by"], event["call"]) for event in ended] == [("us", 1)]


def test_every_input_of_the_core_is_noted() -> None:
    """A method that changes a core must take `now`, or a trace misses it."""
    public = {name for name, member in vars(Core).items() if not name.startswith("_") and callable(member)}
    silent = public - set(inputs_of(Core)) - QUESTIONS
    assert silent == {"take_actions", "next_event", "next_deadline", "counts"}
    assert all(vars(TracedCore).get(name) is not None for name in inputs_of(Core))


def test_a_refused_command_is_noted_and_replays() -> None:
    bench, trace = traced()
    with pytest.raises(LocalProtocolError):
        bench.core.invite(Uri.parse("tel:+34911234567"), b"", bench.now)
    assert "cannot be called" in trace.entries()[-1].raised
    assert replay(lines(trace), exact=True).differences == ()


def test_what_arrives_is_noted_as_it_arrived() -> None:
    """The core completes the top Via of what it receives; the trace must not show that."""
    bench, trace = traced()
    before = bytes(invite()).replace(b"CSeq:", b"Content-Length: 5\r\nCSeq:")
    before = before.replace(b"\r\nContent-Length: 5\r\n\r\n", b"\r\n\r\n")
    bench.core.receive_message(parse_message(before), bench.flow, bench.now)
    assert trace.entries()[0].inputs["message"] == before
    assert replay(lines(trace), exact=True).differences == ()


def test_calls_over_a_lossy_link_replay_on_both_sides() -> None:
    for seed in range(1, 9):
        link = Link(seed, loss=0.25, duplicates=0.1)
        traces = {}
        for name, host in (("door", "10.0.0.1"), ("monitor", "10.0.0.2")):
            traces[name] = Trace()
            core = TracedCore(Configuration(), random=seeded(seed), trace=traces[name])
            link.nodes[host] = Node(name, host, core)
        door, monitor = link.nodes.values()

        def answers(node: Node, event: Any) -> None:
            if isinstance(event, IncomingCall):
                node.core.ring(event.call, link.now)  # noqa: B023
                link.at(link.now + 1, lambda: node.core.accept(event.call, b"v=0\r\n", link.now))  # noqa: B023

        def talks(node: Node, event: Any) -> None:
            if isinstance(event, CallAnswered):
                link.at(link.now + 5, lambda: node.core.hangup(event.call, link.now))  # noqa: B023

        monitor.react, door.react = answers, talks
        door.core.invite(Uri.parse("sip:mon@10.0.0.2"), b"v=0\r\n", link.now)
        link.run(120)
        for trace in traces.values():
            assert replay(lines(trace), exact=True).differences == (), f"seed {seed}"


@pytest.mark.parametrize(("password", "told"), [(PASSWORD, "UserRegistered"), ("wrong", "UserRefused")])
def test_right_and_wrong_credentials_of_a_phone_replay_as_they_were(password: str, told: str) -> None:
    house = Configuration(house=House((User("mon", PASSWORD),), domain="10.0.0.1"))
    link = Link()
    trace = Trace()
    link.nodes["10.0.0.1"] = Node("door", "10.0.0.1", TracedCore(house, random=seeded(1), trace=trace))
    account = Account("house", Uri.parse("sip:mon@10.0.0.1"), password=password, expires_s=600)
    link.add("phone", "10.0.0.2", Configuration(accounts=(account,))).core.start(link.now)
    link.run(5)
    assert PASSWORD not in "\n".join(lines(trace))
    assert told in {
        event["$"].partition(".")[2] for entry in trace.entries() for event in entry.encode().get("events", ())
    }
    assert replay(lines(trace), exact=True).differences == ()


def test_hostile_messages_are_written_and_replay() -> None:
    """What broke a reader must be in the trace as it was, or it becomes no test."""
    chance = random.Random(20)
    house = Configuration((ACCOUNT,), house=House((User("mon", PASSWORD),)))
    bench, trace = traced(house, max_bytes=30_000_000)
    bench.core.start(bench.now)
    call = bench.core.invite(Uri.parse("sip:101@10.0.0.2"), b"v=0\r\n", bench.now)
    bench.sent()
    for number in range(1500):
        bench.receive(damaged(chance))
        if number % 10 == 0:
            bench.advance(1)
        bench.sent()
    bench.core.hangup(call, bench.now)
    assert len(trace.entries()) > 1000
    # Not to the byte: a reason phrase may quote a part of what is masked.
    assert replay(lines(trace)).differences == ()


def test_a_changed_answer_is_found() -> None:
    text = lines(scene())
    where = next(i for i, line in enumerate(text) if "SIP/2.0 183" in line)
    text[where] = text[where].replace("SIP/2.0 183 ", "SIP/2.0 486 ")
    assert any("CallProgress" in each or "Send ACK" in each for each in replay(text).differences)


def test_other_random_bytes_do_not_matter_but_to_the_byte() -> None:
    """A version that draws in another order names branches and tags otherwise; what it does is the same."""
    text = [json.loads(line) for line in lines(scene())]
    for line in text:
        line["random"] = []
    changed = [json.dumps(line) for line in text]
    assert replay(changed).differences == ()
    assert replay(changed, exact=True).differences != ()


def test_a_trace_without_its_beginning_is_refused_with_what_to_do() -> None:
    bench, trace = traced(max_entries=3)
    bench.core.start(bench.now)
    for number in range(9):
        bench.receive(invite(branch=f"z9hG4bK{number}", call_id=f"{number}@peer"))
    assert (len(trace.entries()), trace.lost) == (3, 7)
    with pytest.raises(NotReplayable, match="restart the station"):
        replay(lines(trace))
    for junk in (["{"], ["[1]"], ['{"trace": 99}'], [], ['{"trace": 1, "lost": 0}']):
        with pytest.raises(NotReplayable):
            replay(junk)


def test_the_ring_is_bounded_in_bytes() -> None:
    bench, trace = traced(max_bytes=100_000)
    for number in range(200):
        request = invite(branch=f"z9hG4bK{number}", call_id=f"{number}@peer", sdp=b"v=0\r\n" + b"a=x\r\n" * 400)
        bench.receive(request)
    assert trace.lost > 150
    assert sum(len(entry.inputs["data"]) for entry in trace.entries()) < 100_000


def test_a_flood_of_garbage_leaves_the_calls_in_the_ring() -> None:
    bench, trace = traced(max_entries=200)
    bench.core.start(bench.now)
    for _ in range(5000):
        bench.receive(b"garbage\r\n\r\n")
    bench.advance(0.4)
    bench.receive(invite())
    entries = trace.entries()
    assert entries[0].do == "start"
    assert len(entries) <= MAX_DROPPED_PER_S + 4
    assert sum(entry.skipped for entry in entries) == 5000 - MAX_DROPPED_PER_S
    assert replay(lines(trace), exact=True).differences == ()


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        (
            'Authorization: Digest username="d", response="abc", cnonce="0f", nc=1',
            'response="xxx", cnonce="xx", nc=1',
        ),
        ('authorization:Digest response = "abc"', 'response = "xxx"'),
        ('Proxy-Authorization: Digest realm="a",\r\n response=abcdef,uri="sip:x"', 'response=xxxxxx,uri="sip:x"'),
        ("Authorization: Basic ZG9vcjpzZWNyZXQ=", "Basic xxxxxxxxxxxxxxxx"),
        ('Authentication-Info: rspauth="abc", nextnonce="n"', 'rspauth="xxx", nextnonce="n"'),
        ("From: <sip:door:secret@pbx>;tag=1", "<sip:door:xxxxxx@pbx>;tag=1"),
    ],
)
def test_secrets_of_headers_are_masked_at_their_length(line: str, masked: str) -> None:
    message = f"OPTIONS sip:a@b:5060 SIP/2.0\r\n{line}\r\nCall-ID: 1@10.0.0.1\r\n\r\n".encode()
    shown = mask(message)
    assert len(shown) == len(message)
    assert masked in shown.decode()
    assert b"\r\nCall-ID: 1@10.0.0.1\r\n\r\n" in shown


@pytest.mark.parametrize(
    ("method", "kind", "body", "shown"),
    [
        ("INFO", "application/dtmf-relay", b"Signal=5\r\nDuration=160", b"Signal=x\r\nDuration=xxx"),
        ("INFO", "application/dtmf", b"5", b"x"),
        ("INFO", "application/media_control+xml", b"<picture_fast_update/>", b"<picture_fast_update/>"),
        ("MESSAGE", "text/plain", b"code 4711\r\nbye", b"xxxx xxxx\r\nxxx"),
        ("INVITE", "application/sdp", b"v=0\r\na=ice-pwd:abc\r\na=x", b"v=0\r\na=ice-pwd:xxx\r\na=x"),
    ],
)
def test_secrets_of_bodies_are_masked_at_their_length(method: str, kind: str, body: bytes, shown: bytes) -> None:
    head = f"{method} sip:a@b SIP/2.0\r\nContent-Type: {kind}\r\n\r\n".encode()
    assert mask(head + body) == head + shown


def test_a_hostile_message_is_masked_in_reasonable_time() -> None:
    head = b"OPTIONS sip:a SIP/2.0\r\nAuthorization: Digest "
    for part in (b"sip:", b'response="', b"response=\\", b"sip:a:b", b"\r\n ", b"Signal"):
        assert len(mask(head + part * (60_000 // len(part)) + b"@")) > 50_000


def test_values_of_the_core_survive_json() -> None:
    flow = Flow("udp", ("::1", 5060), ("::1", 5080), ("::1", 5060), 3)
    for value in (flow, b"\xff\x00", b"text", Uri.parse("sip:a@b;lr"), NameAddr.parse('"A" <sip:a@b>;tag=1'), 1.5):
        assert decode(json.loads(json.dumps(encode(value)))) == value
    configuration = decode(json.loads(json.dumps(encode(CONFIGURATION))))
    assert configuration.accounts[0].password == "masked"
    assert configuration.accounts[0].address == ACCOUNT.address
    for wrong in ({"$": "os.Path"}, {"$": "core.Core"}, {"$": "types.Nothing"}, {"$": "../x.Y"}):
        with pytest.raises(ValueError, match="no "):
            decode(wrong)


def test_a_reader_that_fails_is_dropped_and_the_call_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    bench, trace = traced()
    heard: list[str] = []

    def fails(entry: Entry) -> None:
        heard.append(entry.do)
        raise RuntimeError("bug")

    drop = trace.subscribe(fails)
    bench.core.start(bench.now)
    bench.core.stop(bench.now)
    assert heard == ["start"]
    assert "is dropped" in caplog.text
    drop()
    assert [entry.do for entry in trace.entries()] == ["start", "stop"]


def test_noting_changes_nothing_of_what_the_core_does() -> None:
    plain, (noted, _) = Bench(CONFIGURATION, seed=7), traced()
    for bench in (plain, noted):
        bench.core.start(bench.now)
    assert bytes(plain.one()) == bytes(noted.one())
    request = parse_message(bytes(invite()))
    assert isinstance(request, Request)
