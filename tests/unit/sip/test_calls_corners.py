"""Calls where something goes wrong at an unlucky moment: refreshes that meet, peers that fall silent, requests for
calls that are just ending."""

from firmware.sip.configuration import Configuration
from firmware.sip.events import CallEnded, IncomingCall, OfferAnswered, OfferRefused, Refreshed
from firmware.sip.message import Request, Response
from firmware.sip.uri import Uri
from tests.support.sip_link import Bench, invite, reply, request_of

OFFER, ANSWER, HOLD = b"v=0\r\ns=offer\r\n", b"v=0\r\ns=answer\r\n", b"v=0\r\na=sendonly\r\n"
SDP = ("Content-Type", "application/sdp")


def talking(bench: Bench, *headers: tuple[str, str]) -> tuple[int, Request]:
    number = bench.core.invite(Uri.parse("sip:mon@10.0.0.2"), OFFER, bench.now)
    sent = bench.request("INVITE")
    bench.receive(reply(sent, 200, "mon", sdp=ANSWER, headers=headers))
    bench.sent()
    bench.events()
    return number, sent


def called(bench: Bench, *headers: tuple[str, str]) -> tuple[int, str]:
    """A call to us that rings: its number and our tag."""
    bench.receive(invite(headers=headers))
    (event,) = bench.of(IncomingCall)
    assert isinstance(event, IncomingCall)
    bench.core.ring(event.call, bench.now)
    return event.call, bench.one().to.tag or ""


def to_us(method: str, tag: str, cseq: int, body: bytes = b"", *headers: tuple[str, str]) -> Request:
    more = ((SDP,) if body and not any(name == "Content-Type" for name, _ in headers) else ()) + headers
    return request_of(method, branch=f"z9hG4bK{method}{cseq}", to_tag=tag, cseq=cseq, body=body, headers=more)


def test_a_refresh_that_meets_the_peers_offer_waits_and_repeats_the_description_of_then() -> None:
    bench = Bench()
    number, sent = talking(bench, ("Session-Expires", "200;refresher=uac"), ("Allow", "INVITE, BYE"))
    bench.advance(100.1)
    bench.receive(reply(bench.request("INVITE"), 491))
    bench.sent()
    assert bench.events() == [], "the station need not know"
    theirs = request_of(
        "INVITE",
        branch="z9hG4bKtheirs",
        call_id=sent.call_id,
        tag="mon",
        to_tag=sent.from_.tag or "",
        body=HOLD,
        headers=(SDP, ("Session-Expires", "200;refresher=uas"), ("Supported", "timer")),
    )
    bench.receive(theirs)
    bench.events()
    bench.core.answer_offer(number, b"v=0\r\ns=held\r\n", bench.now)
    bench.sent()
    ack = request_of("ACK", branch="z9hG4bKack", call_id=sent.call_id, tag="mon", to_tag=sent.from_.tag or "")
    bench.receive(ack)
    bench.events()
    bench.advance(4.1)
    again = bench.request("INVITE")
    assert again.body == b"v=0\r\ns=held\r\n"
    bench.receive(reply(again, 200, sdp=HOLD, headers=(("Session-Expires", "200;refresher=uac"),)))
    assert bench.events() == [Refreshed(number, HOLD)]


def test_a_reliable_183_to_a_reinvite_has_its_prack_too() -> None:
    bench = Bench()
    number, _ = talking(bench)
    bench.core.reoffer(number, HOLD, bench.now)
    ours = bench.request("INVITE")
    bench.receive(reply(ours, 183, "mon", headers=(("Require", "100rel"), ("RSeq", "9"))))
    prack = bench.request("PRACK")
    assert prack.headers.get("RAck") == "9 2 INVITE"
    bench.receive(reply(prack, 200))
    bench.receive(reply(ours, 200, sdp=ANSWER))
    assert bench.events() == [OfferAnswered(number, ANSWER)]


def test_a_peer_that_answers_no_reinvite_at_all_is_gone() -> None:
    bench = Bench()
    number, _ = talking(bench)
    bench.core.reoffer(number, HOLD, bench.now)
    bench.advance(33)
    assert bench.methods().count("BYE") >= 1
    (ended,) = bench.of(CallEnded)
    assert isinstance(ended, CallEnded)
    assert (ended.by, ended.status) == ("network", 408)


def test_a_reinvite_that_rings_and_ignores_its_cancel_is_forgotten_and_the_call_goes_on() -> None:
    bench = Bench()
    number, _ = talking(bench)
    bench.core.reoffer(number, HOLD, bench.now)
    bench.receive(reply(bench.request("INVITE"), 180))
    bench.advance(33)
    bench.receive(reply(bench.request("CANCEL"), 200))
    bench.advance(33)
    assert bench.events() == [OfferRefused(number, 408, "no final response to the re-INVITE")]
    bench.core.reoffer(number, HOLD, bench.now)
    assert bench.request("INVITE").body == HOLD


def test_an_update_of_an_early_dialog_that_is_lost_leaves_the_call_ringing() -> None:
    bench = Bench()
    number = bench.core.invite(Uri.parse("sip:mon@10.0.0.2"), OFFER, bench.now)
    sent = bench.request("INVITE")
    headers = (("Require", "100rel"), ("RSeq", "1"), ("Allow", "UPDATE"))
    bench.receive(reply(sent, 183, "mon", sdp=ANSWER, headers=headers))
    bench.receive(reply(bench.request("PRACK"), 200))
    bench.events()
    bench.core.reoffer(number, HOLD, bench.now, dialog="mon")
    bench.receive(reply(bench.request("UPDATE"), 481))
    assert bench.events() == [OfferRefused(number, 481, "Call/Transaction Does Not Exist")]
    bench.receive(reply(sent, 200, "mon"))
    assert bench.of(CallEnded) == []


def test_what_comes_for_a_call_that_waits_for_its_ack_to_end_gets_481_and_its_place_is_not_given() -> None:
    bench = Bench()
    number, tag = called(bench)
    bench.core.accept(number, ANSWER, bench.now)
    bench.core.hangup(number, bench.now)
    bench.sent()
    bench.receive(to_us("UPDATE", tag, 2, HOLD))
    bench.receive(to_us("INVITE", tag, 3, HOLD))
    replaces = ("Replaces", f"call@peer;to-tag={tag};from-tag=peer")
    bench.receive(invite(branch="z9hG4bKrep", call_id="other", headers=(replaces,)))
    assert bench.statuses() == [481, 481, 603]


def test_what_makes_no_sense_while_a_call_rings_is_refused_and_it_rings_on() -> None:
    bench = Bench(Configuration(transfers=True))
    number, tag = called(bench)
    bench.receive(to_us("REFER", tag, 2, b"", ("Refer-To", "<sip:102@pbx.example>")))
    bench.receive(to_us("INVITE", tag, 3, HOLD))
    bench.receive(to_us("PRACK", tag, 4, b"", ("RAck", "1 1 INVITE")))
    bench.receive(to_us("UPDATE", tag, 5, b"", ("Require", "gruu")))
    bench.receive(to_us("MESSAGE", tag, 6, b"hi", ("Content-Type", "text/plain")))
    bench.receive(to_us("MESSAGE", tag, 7, b"<b>", ("Content-Type", "text/html")))
    assert bench.statuses() == [603, 500, 481, 420, 200, 415]
    bench.core.accept(number, ANSWER, bench.now)
    assert 200 in bench.statuses()


def test_a_reinvite_with_a_body_that_nobody_understands_gets_415() -> None:
    bench = Bench()
    number, tag = called(bench)
    bench.core.accept(number, ANSWER, bench.now)
    bench.receive(to_us("ACK", tag, 1))
    bench.sent()
    bench.receive(to_us("INVITE", tag, 2, b"\x89PNG", ("Content-Type", "image/png")))
    refusal = bench.one()
    assert isinstance(refusal, Response)
    assert refusal.status == 415


def test_a_second_183_says_our_description_only_once_and_rings_by_its_number() -> None:
    bench = Bench()
    bench.receive(invite(headers=(("Supported", "100rel"), ("Require", "100rel"))))
    bench.core.ring(1, bench.now, status=183, sdp=ANSWER)
    first = bench.one()
    bench.core.ring(1, bench.now, status=180, sdp=ANSWER)
    assert bench.sent() == [], "one at a time"
    rseq = int(first.headers.get("RSeq") or "0")
    bench.receive(to_us("PRACK", first.to.tag or "", 2, b"", ("RAck", f"{rseq} 1 INVITE")))
    second, to_prack = bench.sent()
    assert isinstance(to_prack, Response)
    assert isinstance(second, Response)
    assert {second.status, to_prack.status} == {180, 200}
    early = second if second.status == 180 else to_prack
    assert (early.headers.get("RSeq"), early.body) == (str(rseq + 1), b"")


def test_a_peer_that_wants_to_hear_no_more_of_its_transfer_is_told_no_more() -> None:
    bench = Bench(Configuration(transfers=True))
    number, sent = talking(bench)
    refer = request_of(
        "REFER",
        branch="z9hG4bKr",
        call_id=sent.call_id,
        tag="mon",
        to_tag=sent.from_.tag or "",
        headers=(("Refer-To", "<sip:102@pbx.example>"),),
    )
    bench.receive(refer)
    bench.core.accept_transfer(number, bench.now)
    bench.receive(reply(bench.request("NOTIFY"), 481))
    bench.core.transfer_progress(number, 200, "OK", bench.now)
    assert bench.sent() == []


def test_a_reinvite_that_rang_before_its_491_is_not_cancelled_while_it_waits_for_its_turn():
    bench = Bench()
    number, _ = talking(bench)
    bench.core.reoffer(number, HOLD, bench.now)
    again = bench.request("INVITE")
    bench.receive(reply(again, 100, ""))
    bench.receive(reply(again, 491))
    bench.events()
    bench.sent()
    bench.advance(100)
    assert bench.of(OfferRefused) == []
    assert bench.methods() == []
