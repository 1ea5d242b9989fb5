"""REFER, Replaces, MESSAGE, bodies of several parts, and responses whose connection is gone: message by message."""

import pytest

from firmware.sip.bodies import find_part
from firmware.sip.configuration import Account, Configuration
from firmware.sip.core import Core
from firmware.sip.errors import LocalProtocolError
from firmware.sip.events import (
    CallEnded,
    IncomingCall,
    TextDelivered,
    TextReceived,
    TransferAsked,
)
from firmware.sip.message import Request, Response
from firmware.sip.types import Flow, Target
from firmware.sip.uri import Uri
from tests.support.sip_link import Bench, invite, reply, request_of, seeded

OFFER, ANSWER = b"v=0\r\ns=offer\r\n", b"v=0\r\ns=answer\r\n"
TRANSFERS = Configuration(transfers=True)


def talking(bench: Bench) -> tuple[int, Request]:
    """A call of ours that was answered."""
    number = bench.core.invite(Uri.parse("sip:mon@10.0.0.2"), OFFER, bench.now)
    sent = bench.request("INVITE")
    bench.receive(reply(sent, 200, "mon", sdp=ANSWER))
    bench.sent()
    bench.events()
    return number, sent


def refer(sent: Request, cseq: int, *headers: tuple[str, str]) -> Request:
    return request_of(
        "REFER",
        branch=f"z9hG4bKrefer{cseq}",
        call_id=sent.call_id,
        tag="mon",
        to_tag=sent.from_.tag or "",
        cseq=cseq,
        headers=(("Contact", "<sip:mon@10.0.0.2>"), *headers),
    )


# --- REFER ---------------------------------------------------------------------------------------------------


def test_a_transfer_is_declined_unless_the_station_decides_on_them() -> None:
    bench = Bench()
    _, sent = talking(bench)
    bench.receive(refer(sent, 1, ("Refer-To", "<sip:102@pbx.example>")))
    assert bench.statuses() == [603]
    assert bench.events() == []


def test_an_accepted_transfer_tells_the_peer_how_it_goes_one_notify_at_a_time() -> None:
    bench = Bench(TRANSFERS)
    number, sent = talking(bench)
    bench.receive(refer(sent, 5, ("Refer-To", "<sip:102@pbx.example>"), ("Referred-By", "<sip:mon@10.0.0.2>")))
    assert bench.sent() == []
    assert bench.events() == [TransferAsked(number, Uri.parse("sip:102@pbx.example"), "<sip:mon@10.0.0.2>")]
    bench.core.accept_transfer(number, bench.now)
    accepted, first = bench.sent()
    assert isinstance(accepted, Response)
    assert accepted.status == 202
    assert isinstance(first, Request)
    assert first.headers.get("Event") == "refer;id=5"
    assert first.content_type == "message/sipfrag"
    assert first.contacts
    bench.core.transfer_progress(number, 180, "Ringing", bench.now)
    bench.core.transfer_progress(number, 200, "OK", bench.now)
    bench.core.transfer_progress(number, 486, "too late", bench.now)
    assert bench.sent() == [], "the first NOTIFY is under way"
    bodies, states = [first.body], [first.headers.get("Subscription-State")]
    notify = first
    for _ in range(2):
        bench.receive(reply(notify, 200))
        notify = bench.request("NOTIFY")
        bodies.append(notify.body)
        states.append(notify.headers.get("Subscription-State"))
    bench.receive(reply(notify, 200))
    assert bench.sent() == []
    assert bodies == [b"SIP/2.0 100 Trying\r\n", b"SIP/2.0 180 Ringing\r\n", b"SIP/2.0 200 OK\r\n"]
    assert states == ["active;expires=180"] * 2 + ["terminated;reason=noresource"]


def test_a_transfer_without_a_subscription_is_not_notified() -> None:
    bench = Bench(TRANSFERS)
    number, sent = talking(bench)
    bench.receive(refer(sent, 1, ("Refer-To", "<sip:102@pbx.example>"), ("Refer-Sub", "false")))
    bench.core.accept_transfer(number, bench.now)
    (accepted,) = bench.sent()
    assert accepted.headers.get("Refer-Sub") == "false"
    bench.core.transfer_progress(number, 200, "OK", bench.now)
    assert bench.sent() == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((), 400),
        ((("Refer-To", "<sip:a@b>, <sip:c@d>"),), 400),
        ((("Refer-To", "<sip:a@b>"), ("Refer-To", "<sip:c@d>")), 400),
        ((("Refer-To", "<sip:"),), 400),
        ((("Refer-To", "<tel:+34911234567>"),), 416),
        ((("Refer-To", "<sip:a@b;method=BYE>"),), 416),
    ],
)
def test_a_transfer_that_names_nobody_to_call_is_refused(headers: tuple[tuple[str, str], ...], status: int) -> None:
    bench = Bench(TRANSFERS)
    _, sent = talking(bench)
    bench.receive(refer(sent, 1, *headers))
    assert bench.statuses() == [status]
    assert bench.events() == []


def test_a_second_transfer_while_one_goes_on_is_told_to_wait() -> None:
    bench = Bench(TRANSFERS)
    number, sent = talking(bench)
    bench.receive(refer(sent, 1, ("Refer-To", "<sip:102@pbx.example>")))
    bench.receive(refer(sent, 2, ("Refer-To", "<sip:103@pbx.example>")))
    assert bench.statuses() == [491]
    bench.core.refuse_transfer(number, 603, bench.now)
    assert bench.statuses() == [603]
    bench.receive(refer(sent, 3, ("Refer-To", "<sip:103@pbx.example>")))
    assert len(bench.of(TransferAsked)) == 2


def test_a_call_that_ends_ends_its_transfer() -> None:
    bench = Bench(TRANSFERS)
    number, sent = talking(bench)
    bench.receive(refer(sent, 1, ("Refer-To", "<sip:102@pbx.example>")))
    bench.core.accept_transfer(number, bench.now)
    bench.sent()
    bench.core.hangup(number, bench.now)
    bench.core.transfer_progress(number, 200, "OK", bench.now)
    assert bench.methods() == ["BYE"]


# --- Replaces ------------------------------------------------------------------------------------------------


def replacing(bench: Bench, replaces: str, *more: tuple[str, str]) -> None:
    bench.receive(
        invite(branch="z9hG4bKrep", call_id="new@peer", headers=(("Replaces", replaces), *more)),
    )


def test_replaces_names_the_call_whose_place_is_wanted() -> None:
    bench = Bench()
    number, sent = talking(bench)
    replacing(bench, f"{sent.call_id};to-tag={sent.from_.tag};from-tag=mon", ("Require", "replaces"))
    (event,) = bench.events()
    assert isinstance(event, IncomingCall)
    assert (event.replaces, event.call) == (number, number + 1)


def test_a_ringing_call_of_ours_may_be_replaced_and_one_to_us_may_not() -> None:
    bench = Bench()
    bench.core.invite(Uri.parse("sip:mon@10.0.0.2"), OFFER, bench.now)
    sent = bench.request("INVITE")
    bench.receive(reply(sent, 180, "mon"))
    bench.events()
    replacing(bench, f"{sent.call_id};to-tag={sent.from_.tag};from-tag=mon;early-only")
    (event,) = bench.of(IncomingCall)
    assert isinstance(event, IncomingCall)
    assert event.replaces == 1
    bench = Bench()
    bench.receive(invite())
    bench.core.ring(1, bench.now)
    tag = bench.one().to.tag
    replacing(bench, f"call@peer;to-tag={tag};from-tag=peer")
    assert bench.statuses() == [481]


@pytest.mark.parametrize(
    ("field", "status"),
    [
        ("{id};to-tag={us};from-tag=mon;early-only", 486),
        ("{id};to-tag={us};from-tag=other", 481),
        ("nowhere;to-tag={us};from-tag=mon", 481),
        ("{id};to-tag={us}", 400),
        ("", 400),
    ],
)
def test_replaces_that_fits_no_call_is_refused(field: str, status: int) -> None:
    bench = Bench()
    _, sent = talking(bench)
    replacing(bench, field.format(id=sent.call_id, us=sent.from_.tag))
    assert bench.statuses() == [status]
    assert bench.events() == []


# --- MESSAGE -------------------------------------------------------------------------------------------------


def message(text: bytes, kind: str = "text/plain;charset=UTF-8") -> Request:
    headers = (("Content-Type", kind),) if kind else ()
    return request_of("MESSAGE", branch="z9hG4bKm", body=text, headers=headers)


def test_a_text_is_taken_told_and_kept_short() -> None:
    bench = Bench()
    bench.receive(message("Bewegung am Tor ü".encode()))
    bench.receive(message("Bewegung am Tor ü".encode()))
    assert bench.statuses() == [200, 200]
    (event,) = bench.events()
    assert isinstance(event, TextReceived)
    assert (str(event.sender.uri), event.text, event.account) == ("sip:mon@10.0.0.2", "Bewegung am Tor ü", "")
    bench = Bench()
    bench.receive(message(b"x" * 60_000))
    (event,) = bench.events()
    assert isinstance(event, TextReceived)
    assert len(event.text) == 500


def test_what_is_no_text_is_refused_with_what_would_be() -> None:
    bench = Bench()
    bench.receive(message(b"<b>", "text/html"))
    refusal = bench.one()
    assert isinstance(refusal, Response)
    assert refusal.status == 415
    assert "text/plain" in (refusal.headers.get("Accept") or "")
    assert bench.events() == []


def test_a_text_of_ours_goes_out_once_and_its_fate_is_told() -> None:
    account = Account("pbx", Uri.parse("sip:door@pbx.example"), registrar=Uri.parse("sip:10.0.0.2"), password="p")
    bench = Bench(Configuration(accounts=(account,)))
    number = bench.core.message(Uri.parse("sip:101@pbx.example"), "Paket", bench.now, account="pbx")
    sent = bench.request("MESSAGE")
    assert (sent.body, str(sent.from_.uri), sent.contacts) == (b"Paket", "sip:door@pbx.example", [])
    bench.receive(reply(sent, 407, headers=(("Proxy-Authenticate", 'Digest realm="r", nonce="n"'),)))
    again = bench.request("MESSAGE")
    assert str(again.cseq) == "2 MESSAGE"
    bench.receive(reply(again, 202, reason="Accepted"))
    assert bench.events() == [TextDelivered(number, 202, "Accepted")]
    straight = bench.core.message(Uri.parse("sip:mon@10.0.0.9"), "Paket", bench.now)
    assert str(bench.request("MESSAGE").from_.uri) == "sip:portero@10.0.0.1"
    bench.advance(33)
    assert bench.events() == [TextDelivered(straight, 408, "10.0.0.9:5060 (udp): no answer")]
    assert bench.core.counts()["pending_requests"] == 0


@pytest.mark.parametrize(("target", "text"), [("sip:a@b", ""), ("sip:a@b", "x" * 801), ("tel:1", "x")])
def test_a_text_that_cannot_be_sent_is_the_callers_fault(target: str, text: str) -> None:
    bench = Bench()
    with pytest.raises(LocalProtocolError):
        bench.core.message(Uri.parse(target), text, bench.now)
    assert bench.sent() == []


# --- bodies --------------------------------------------------------------------------------------------------

PARTS = (
    b"ignored\r\n--b1\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
    b"--b1\r\ncontent-type : application/sdp\r\nContent-Disposition: session\r\n\r\nv=0\r\ns=x\r\n\r\n--b1--\r\nend"
)


@pytest.mark.parametrize(
    ("kind", "body", "found"),
    [
        ("application/sdp", b"v=0\r\n", b"v=0\r\n"),
        ("Application/SDP ; charset=utf-8", b"v=0\r\n", b"v=0\r\n"),
        ("multipart/mixed;boundary=b1", PARTS, b"v=0\r\ns=x\r\n"),
        ('multipart/mixed; boundary="b1"', PARTS.replace(b"\r\n", b"\n"), b"v=0\ns=x\n"),
        ("multipart/related;boundary=b1;type=x", PARTS, b"v=0\r\ns=x\r\n"),
        ("multipart/mixed;boundary=b2", PARTS, b""),
        ("multipart/mixed", PARTS, b""),
        ("multipart/mixed;boundary=b1", b"", b""),
        ("multipart/mixed;boundary=b1", b"--b1\r\nContent-Type: application/sdp", b""),
        ("multipart/mixed;boundary=b1", b"--b1--\r\n\r\n--b1\r\nContent-Type: application/sdp\r\n\r\nv=0", b""),
        (
            "multipart/mixed;boundary=o",
            b"--o\r\nContent-Type: multipart/alternative;boundary=b1\r\n\r\n" + PARTS + b"\r\n--o--",
            b"v=0\r\ns=x\r\n",
        ),
        ("text/plain", b"v=0\r\n", b""),
    ],
)
def test_the_description_is_found_among_the_parts(kind: str, body: bytes, found: bytes) -> None:
    assert find_part(kind, body, "application/sdp") == found


def test_a_call_with_a_body_of_several_parts_brings_its_offer() -> None:
    bench = Bench()
    request = invite(sdp=b"")
    request.headers.add("Content-Type", "multipart/mixed;boundary=b1")
    request.body = PARTS
    bench.receive(request)
    (event,) = bench.of(IncomingCall)
    assert isinstance(event, IncomingCall)
    assert event.sdp == b"v=0\r\ns=x\r\n"


@pytest.mark.parametrize(("disposition", "status"), [("", 415), ("render;handling=required", 415)])
def test_a_body_that_must_be_understood_and_is_not_is_refused(disposition: str, status: int) -> None:
    bench = Bench()
    bench.receive(with_body(disposition))
    assert bench.statuses() == [status]


def test_a_body_that_may_be_passed_over_is() -> None:
    bench = Bench()
    bench.receive(with_body("alert; handling=Optional"))
    (event,) = bench.of(IncomingCall)
    assert isinstance(event, IncomingCall)
    assert event.sdp == b""


def with_body(disposition: str) -> Request:
    request = invite(sdp=b"")
    request.headers.add("Content-Type", "image/png")
    if disposition:
        request.headers.add("Content-Disposition", disposition)
    request.body = b"\x89PNG"
    return request


# --- 18.2.2: the connection of a request is gone --------------------------------------------------------------


def tcp(number: int, port: int) -> Flow:
    return Flow("tcp", ("10.0.0.1", 5060), ("10.0.0.2", port), ("10.0.0.1", 5060), number)


def over_tcp(bench: Bench) -> int:
    request = invite()
    request.headers.set("Via", "SIP/2.0/TCP 10.0.0.2:5070;branch=z9hG4bKpeer1")
    bench.receive(request, tcp(7, 33333))
    (event,) = bench.of(IncomingCall)
    assert isinstance(event, IncomingCall)
    return event.call


def test_a_response_whose_connection_is_gone_goes_to_the_address_in_the_via() -> None:
    bench = Bench()
    call = over_tcp(bench)
    bench.core.ring(call, bench.now)
    ((flow, _),) = bench.sent_on()
    assert flow.number == 7
    bench.core.flow_closed(tcp(7, 33333), "connection reset", bench.now)
    assert bench.events() == [], "a call that waits outlives its connection"
    bench.core.accept(call, ANSWER, bench.now)
    ((flow, final),) = bench.sent_on()
    assert (flow.transport, flow.remote) == ("tcp", ("10.0.0.2", 5070))
    assert isinstance(final, Response)
    assert final.status == 200
    bench.advance(0.5)
    ((again, repeated),) = bench.sent_on()
    assert (again.number, bytes(repeated)) == (flow.number, bytes(final))
    assert bench.opened == [Target("tcp", "10.0.0.2", 5070)]


def test_where_the_peer_cannot_be_reached_any_more_the_call_ends_by_its_own_timers() -> None:
    bench = Bench()
    bench.refused[Target("tcp", "10.0.0.2", 5070)] = "connection refused"
    call = over_tcp(bench)
    bench.core.flow_closed(tcp(7, 33333), "connection reset", bench.now)
    bench.core.accept(call, ANSWER, bench.now)
    bench.advance(33)
    bench.sent()
    (ended,) = bench.of(CallEnded)
    assert isinstance(ended, CallEnded)
    assert (ended.call, ended.by) == (call, "network")


def test_cores_with_the_same_seed_and_inputs_say_the_same() -> None:
    one, other = (Core(Configuration(), random=seeded(4)) for _ in range(2))
    for core in (one, other):
        core.fall_back(core.invite(Uri.parse("sip:mon@10.0.0.2"), OFFER, 0.0), (ANSWER,), 0.0)
    assert one.take_actions() == other.take_actions()
