"""INVITE as server, and what a peer may do within a call: message by message."""

import pytest

from firmware.sip.configuration import Configuration
from firmware.sip.errors import LocalProtocolError
from firmware.sip.events import (
    CallAcknowledged,
    CallEnded,
    IncomingCall,
    InfoReceived,
    Reoffered,
)
from firmware.sip.message import Request, Response
from firmware.sip.uri import Uri
from tests.support.sip_link import Bench, invite, reply, request_of

OFFER, ANSWER = b"v=0\r\n", b"v=0\r\ns=answer\r\n"


def ringing(bench: Bench, **options: object) -> tuple[int, str]:
    """An incoming call that rings: its number and our tag."""
    bench.receive(invite(**options))
    (event,) = bench.of(IncomingCall)
    assert isinstance(event, IncomingCall)
    bench.core.ring(event.call, bench.now)
    (response,) = bench.sent()
    assert isinstance(response, Response)
    assert response.status == 180
    return event.call, response.to.tag or ""


def up(bench: Bench, **options: object) -> tuple[int, str]:
    """An incoming call that was answered and acknowledged."""
    call, tag = ringing(bench, **options)
    bench.core.accept(call, ANSWER, bench.now)
    bench.sent()
    bench.receive(ack(tag))
    bench.events()
    return call, tag


def ack(tag: str, cseq: int = 1, body: bytes = b"") -> Request:
    headers = (("Content-Type", "application/sdp"),) if body else ()
    return request_of("ACK", branch=f"z9hG4bKack{cseq}", to_tag=tag, cseq=cseq, body=body, headers=headers)


def within(method: str, tag: str, cseq: int = 2, **options: object) -> Request:
    return request_of(method, branch=f"z9hG4bK{method}{cseq}", to_tag=tag, cseq=cseq, **options)


def reinvite(tag: str, cseq: int = 2, sdp: bytes = OFFER, contact: str = "<sip:mon@10.0.0.2>") -> Request:
    headers: tuple[tuple[str, str], ...] = (("Contact", contact),)
    if sdp:
        headers += (("Content-Type", "application/sdp"),)
    return within("INVITE", tag, cseq, body=sdp, headers=headers)


# --- ring, accept, refuse ------------------------------------------------------------------------------------


def test_an_incoming_call_rings_is_accepted_and_acknowledged() -> None:
    bench = Bench()
    bench.receive(invite(headers=(("X-Door", "1"),)))
    (event,) = bench.events()
    assert isinstance(event, IncomingCall)
    assert (str(event.request_uri), str(event.caller.uri), event.sdp) == (
        "sip:door@10.0.0.1",
        "sip:mon@10.0.0.2",
        OFFER,
    )
    assert (event.source, event.account) == (bench.flow, "")
    assert ("X-Door", "1") in event.headers
    bench.core.ring(event.call, bench.now)
    early = bench.one()
    bench.core.accept(event.call, ANSWER, bench.now)
    final = bench.one()
    assert isinstance(final, Response)
    assert (final.status, final.body, final.content_type) == (200, ANSWER, "application/sdp")
    assert final.to.tag == early.to.tag
    assert str(final.contacts[0].uri) == "sip:portero@10.0.0.1:5060"
    assert "BYE" in final.allow
    bench.receive(ack(final.to.tag or ""))
    assert bench.events() == [CallAcknowledged(event.call)]


def test_an_invite_that_nobody_decides_on_gets_a_100_after_200_ms_and_repeats_are_absorbed() -> None:
    bench = Bench()
    bench.receive(invite())
    bench.advance(0.19)
    assert bench.sent() == []
    bench.advance(0.02)
    assert bench.statuses() == [100]
    bench.receive(invite())
    assert bench.statuses() == [100]
    assert len(bench.of(IncomingCall)) == 1


def test_ringing_is_said_again_every_minute_until_it_is_answered() -> None:
    bench = Bench()
    call, _ = ringing(bench)
    bench.advance(121)
    assert bench.statuses() == [180, 180]
    bench.core.accept(call, ANSWER, bench.now)
    bench.advance(0.1)
    assert bench.statuses() == [200]
    bench.advance(31)
    assert 180 not in bench.statuses()


def test_a_refused_call_gets_its_status_and_reason_until_it_is_acknowledged() -> None:
    bench = Bench()
    call, tag = ringing(bench)
    bench.core.hangup(call, bench.now, status=486, reason='SIP;cause=486;text="Talking"')
    refusal = bench.one()
    assert isinstance(refusal, Response)
    assert (refusal.status, refusal.reason) == (486, 'SIP;cause=486;text="Talking"')
    assert bench.of(CallEnded) == [CallEnded(call, "us", 486, "Talking")]
    bench.advance(0.5)
    assert bench.statuses() == [486]
    bench.receive(request_of("ACK", branch="z9hG4bKpeer1", to_tag=tag))
    bench.advance(10)
    assert bench.statuses() == []
    assert bench.core.counts()["transactions"] == 0


def test_a_refusal_without_a_status_is_a_decline() -> None:
    bench = Bench()
    call, _ = ringing(bench)
    bench.core.hangup(call, bench.now)
    assert bench.statuses() == [603]


def test_the_route_set_of_the_caller_is_followed_in_its_order() -> None:
    bench = Bench()
    routes = (("Record-Route", "<sip:10.0.0.8;lr>"), ("Record-Route", "<sip:10.0.0.9;lr>"))
    call, _ = up(bench, headers=routes)
    bench.core.hangup(call, bench.now)
    ((flow, bye),) = bench.sent_on()
    assert isinstance(bye, Request)
    assert flow.remote == ("10.0.0.8", 5060)
    assert [str(route.uri) for route in bye.routes] == ["sip:10.0.0.8;lr", "sip:10.0.0.9;lr"]
    assert str(bye.uri) == "sip:mon@10.0.0.2"


def test_commands_that_make_no_sense_are_the_stations_fault() -> None:
    bench = Bench()
    call, _ = ringing(bench)
    with pytest.raises(LocalProtocolError, match="no ringing"):
        bench.core.ring(call, bench.now, status=200)
    with pytest.raises(LocalProtocolError, match="not rejected"):
        bench.core.reject_offer(call, 200, bench.now)


# --- pitfall 30: the 2xx until its ACK -----------------------------------------------------------------------


def test_pitfall_30_the_2xx_is_repeated_from_t1_to_t2_until_the_ack() -> None:
    bench = Bench()
    call, tag = ringing(bench)
    bench.core.accept(call, ANSWER, bench.now)
    times = []
    for _ in range(96):
        times += [bench.now] * len(bench.statuses())
        bench.advance(0.125)
    assert times == [0.0, 0.5, 1.5, 3.5, 7.5, 11.5]
    bench.receive(ack(tag))
    bench.advance(60)
    assert bench.sent() == []


def test_pitfall_30_a_2xx_never_acknowledged_ends_in_bye_with_a_reason() -> None:
    bench = Bench()
    call, _ = ringing(bench)
    bench.core.accept(call, ANSWER, bench.now)
    bench.advance(31.9)
    assert bench.of(CallEnded) == []
    bench.advance(0.2)
    bye = bench.request("BYE")
    assert bye.reason == 'SIP;cause=408;text="ACK missing"'
    assert bench.of(CallEnded) == [CallEnded(call, "network", 408, "our answer was never acknowledged")]


def test_a_2xx_is_repeated_over_tcp_too() -> None:
    bench = Bench()
    flow = bench.flow_to("10.0.0.2")
    flow = type(flow)("tcp", flow.local, flow.remote, flow.advertised, 77)
    bench.receive(invite(), flow)
    (event,) = bench.of(IncomingCall)
    assert isinstance(event, IncomingCall)
    bench.core.accept(event.call, ANSWER, bench.now)
    bench.advance(1.6)
    assert bench.statuses() == [200, 200, 200]


def test_a_hangup_before_the_ack_waits_for_it() -> None:
    """RFC 3261 section 15: no BYE from the callee before the ACK."""
    bench = Bench()
    call, tag = ringing(bench)
    bench.core.accept(call, ANSWER, bench.now)
    bench.sent()
    bench.core.hangup(call, bench.now, reason='SIP;cause=200;text="done"')
    assert bench.methods() == []
    assert bench.of(CallEnded) == [CallEnded(call, "us", 200, "done")]
    bench.receive(ack(tag))
    bye = bench.request("BYE")
    assert bye.reason == 'SIP;cause=200;text="done"'
    assert bench.core.counts()["dialogs"] == 0


def test_a_hangup_before_an_ack_that_never_comes_ends_in_bye_all_the_same() -> None:
    bench = Bench()
    call, _ = ringing(bench)
    bench.core.accept(call, ANSWER, bench.now)
    bench.core.hangup(call, bench.now)
    bench.advance(32.1)
    assert bench.request("BYE")
    assert len(bench.of(CallEnded)) == 1


@pytest.mark.parametrize("hung_up", [False, True])
def test_a_bye_that_overtakes_the_ack_ends_the_call(hung_up: bool) -> None:
    bench = Bench()
    call, tag = ringing(bench)
    bench.core.accept(call, ANSWER, bench.now)
    if hung_up:
        bench.core.hangup(call, bench.now)
    bench.sent()
    bench.receive(within("BYE", tag))
    assert bench.statuses() == [200]
    bench.receive(ack(tag))
    bench.advance(40)
    assert bench.sent() == []
    assert len(bench.of(CallEnded)) == 1
    assert bench.core.counts()["dialogs"] == 0


# --- pitfall 14: CANCEL --------------------------------------------------------------------------------------


def test_pitfall_14_a_cancel_gets_200_then_the_invite_487() -> None:
    bench = Bench()
    call, tag = ringing(bench)
    bench.receive(
        request_of(
            "CANCEL",
            branch="z9hG4bKpeer1",
            headers=(("Reason", 'SIP;cause=200;text="Call completed elsewhere"'),),
        )
    )
    ok, terminated = bench.sent()
    assert isinstance(ok, Response)
    assert isinstance(terminated, Response)
    assert (ok.status, str(ok.cseq)) == (200, "1 CANCEL")
    assert (terminated.status, str(terminated.cseq)) == (487, "1 INVITE")
    assert ok.to.tag == terminated.to.tag == tag
    assert bench.of(CallEnded) == [CallEnded(call, "peer", 487, "Call completed elsewhere")]


def test_pitfall_14_a_cancel_after_the_answer_changes_nothing() -> None:
    bench = Bench()
    call, _ = up(bench)
    bench.receive(request_of("CANCEL", branch="z9hG4bKpeer1"))
    assert bench.statuses() == [200]
    assert bench.events() == []
    bench.core.hangup(call, bench.now)
    assert bench.methods() == ["BYE"]


def test_a_cancel_of_nothing_gets_481() -> None:
    bench = Bench()
    bench.receive(request_of("CANCEL", branch="z9hG4bKnothing"))
    assert bench.statuses() == [481]


def test_a_bye_while_it_rings_ends_the_invite_too() -> None:
    bench = Bench()
    call, tag = ringing(bench)
    bench.receive(within("BYE", tag))
    assert sorted(bench.statuses()) == [200, 487]
    assert bench.of(CallEnded) == [CallEnded(call, "peer", 200, "BYE")]


def test_an_invite_that_expires_is_terminated() -> None:
    bench = Bench()
    call, _ = ringing(bench, headers=(("Expires", "20"),))
    bench.advance(20.1)
    assert bench.statuses()[0] == 487
    assert bench.of(CallEnded) == [CallEnded(call, "peer", 487, "the INVITE expired")]


# --- re-INVITE -----------------------------------------------------------------------------------------------


def test_a_reoffer_is_answered_and_its_contact_becomes_the_target() -> None:
    bench = Bench()
    call, tag = up(bench)
    bench.receive(reinvite(tag, contact="<sip:mon@10.0.0.5>"))
    assert bench.events() == [Reoffered(call, OFFER)]
    bench.core.answer_offer(call, ANSWER, bench.now)
    final = bench.one()
    assert isinstance(final, Response)
    assert (final.status, final.body, final.to.tag) == (200, ANSWER, tag)
    bench.receive(ack(tag, 2))
    assert bench.events() == [CallAcknowledged(call)]
    bench.core.hangup(call, bench.now)
    assert str(bench.request("BYE").uri) == "sip:mon@10.0.0.5"


def test_a_reoffer_that_is_rejected_leaves_the_call_as_it_was() -> None:
    bench = Bench()
    call, tag = up(bench)
    bench.receive(reinvite(tag, contact="<sip:mon@10.0.0.5>"))
    bench.core.reject_offer(call, 488, bench.now)
    assert bench.statuses() == [488]
    assert bench.of(CallEnded) == []
    bench.core.hangup(call, bench.now)
    assert str(bench.request("BYE").uri) == "sip:mon@10.0.0.2"


def test_an_offerless_reinvite_asks_for_our_offer_and_the_answer_comes_with_the_ack() -> None:
    bench = Bench()
    call, tag = up(bench)
    bench.receive(reinvite(tag, sdp=b""))
    assert bench.events() == [Reoffered(call, b"")]
    bench.core.answer_offer(call, OFFER, bench.now)
    bench.sent()
    bench.receive(reinvite(tag, cseq=3))
    assert bench.statuses() == [491], "our offer is outstanding"
    bench.receive(ack(tag, 2, b"v=0\r\ns=theirs\r\n"))
    assert bench.events() == [CallAcknowledged(call, b"v=0\r\ns=theirs\r\n")]


def test_an_offerless_invite_is_offered_in_the_2xx() -> None:
    bench = Bench()
    call, tag = ringing(bench, sdp=b"")
    bench.core.accept(call, OFFER, bench.now)
    bench.sent()
    bench.receive(ack(tag, body=ANSWER))
    assert bench.events() == [CallAcknowledged(call, ANSWER)]


def test_a_second_reinvite_while_one_waits_gets_500_with_retry_after() -> None:
    bench = Bench()
    call, tag = up(bench)
    bench.receive(reinvite(tag))
    bench.receive(reinvite(tag, cseq=3))
    refusal = bench.one()
    assert isinstance(refusal, Response)
    assert refusal.status == 500
    assert refusal.retry_after is not None
    assert 0 <= refusal.retry_after <= 10
    bench.core.answer_offer(call, ANSWER, bench.now)
    assert bench.statuses() == [200]


def test_a_reinvite_taken_back_by_cancel_gets_487_and_the_call_goes_on() -> None:
    bench = Bench()
    call, tag = up(bench)
    bench.receive(reinvite(tag))
    bench.receive(request_of("CANCEL", branch="z9hG4bKINVITE2", to_tag=tag, cseq=2))
    assert bench.statuses() == [200, 487]
    assert bench.of(CallEnded) == []
    bench.core.answer_offer(call, ANSWER, bench.now)
    assert bench.sent() == [], "the station's answer came too late and does no harm"


def test_a_bye_ends_a_reinvite_that_waits() -> None:
    bench = Bench()
    _, tag = up(bench)
    bench.receive(reinvite(tag))
    bench.receive(within("BYE", tag, 3))
    assert sorted(bench.statuses()) == [200, 487]
    assert len(bench.of(CallEnded)) == 1


def test_a_reinvite_answered_but_never_acknowledged_ends_the_call() -> None:
    bench = Bench()
    call, tag = up(bench)
    bench.receive(reinvite(tag))
    bench.core.answer_offer(call, ANSWER, bench.now)
    bench.advance(33)
    assert bench.request("BYE")
    assert bench.of(CallEnded) == [CallEnded(call, "network", 408, "our answer was never acknowledged")]


# --- other requests within the call --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["application/dtmf-relay", "application/dtmf", "application/media_control+xml"])
def test_info_of_a_kind_we_know_is_answered_and_handed_on(kind: str) -> None:
    bench = Bench()
    call, tag = up(bench)
    bench.receive(within("INFO", tag, headers=(("Content-Type", kind),), body=b"5"))
    assert bench.statuses() == [200]
    assert bench.events() == [InfoReceived(call, kind, b"5")]


def test_info_of_another_kind_gets_415_and_an_empty_one_200() -> None:
    bench = Bench()
    _, tag = up(bench)
    bench.receive(within("INFO", tag, headers=(("Content-Type", "text/x-joke"),), body=b"ha"))
    refusal = bench.one()
    assert isinstance(refusal, Response)
    assert refusal.status == 415
    assert "application/dtmf-relay" in (refusal.headers.get("Accept") or "")
    bench.receive(within("INFO", tag, 3))
    assert bench.statuses() == [200]
    assert bench.events() == []


def test_a_request_older_than_the_last_is_out_of_order() -> None:
    bench = Bench()
    _, tag = up(bench)
    bench.receive(within("OPTIONS", tag, 9))
    bench.receive(within("OPTIONS", tag, 20))
    bench.receive(within("OPTIONS", tag, 8))
    assert bench.statuses() == [200, 200, 500]


@pytest.mark.parametrize(
    ("method", "status"), [("PRACK", 481), ("REFER", 603), ("SUBSCRIBE", 489), ("FROB", 501), ("NOTIFY", 489)]
)
def test_a_method_without_use_here_is_refused_and_the_call_goes_on(method: str, status: int) -> None:
    bench = Bench()
    _, tag = up(bench)
    bench.receive(within(method, tag))
    assert bench.statuses() == [status]
    assert bench.of(CallEnded) == []


@pytest.mark.parametrize("method", ["INVITE", "BYE", "INFO", "OPTIONS", "UPDATE"])
def test_a_request_in_a_dialog_that_ended_gets_481(method: str) -> None:
    bench = Bench()
    call, tag = up(bench)
    bench.core.hangup(call, bench.now)
    bench.receive(reply(bench.request("BYE"), 200))
    bench.receive(within(method, tag, 30))
    assert bench.statuses() == [481]


def test_a_repeated_bye_gets_the_same_200() -> None:
    bench = Bench()
    _, tag = up(bench)
    bench.receive(within("BYE", tag))
    first = bytes(bench.one())
    bench.receive(within("BYE", tag))
    assert bytes(bench.one()) == first
    assert len(bench.of(CallEnded)) == 1


# --- bounds and the end --------------------------------------------------------------------------------------


def test_one_call_too_many_gets_503_with_retry_after() -> None:
    bench = Bench(Configuration(max_calls=1))
    ringing(bench)
    bench.receive(invite(branch="z9hG4bKother", call_id="other"))
    refusal = bench.one()
    assert isinstance(refusal, Response)
    assert (refusal.status, refusal.retry_after) == (503, 10)


def test_stop_ends_every_call_by_what_its_state_asks_for() -> None:
    bench = Bench()
    up(bench)
    bench.receive(invite(branch="z9hG4bKtwo", call_id="two"))
    bench.core.invite(Uri.parse("sip:mon@10.0.0.2"), OFFER, bench.now)
    out = bench.request("INVITE")
    bench.receive(reply(out, 180, "mon"))
    bench.events()
    bench.core.stop(bench.now)
    assert not bench.core.stopped
    sent = bench.sent()
    bye, cancel = (message for message in sent if isinstance(message, Request))
    assert (bye.method, cancel.method) == ("BYE", "CANCEL")
    assert [message.status for message in sent if isinstance(message, Response)] == [480]
    bench.receive(reply(bye, 200))
    bench.receive(reply(cancel, 200))
    bench.receive(reply(out, 487, "mon"))
    assert len(bench.of(CallEnded)) == 3
    assert bench.core.stopped
    bench.receive(invite(branch="z9hG4bKlate", call_id="late"))
    assert 503 in bench.statuses()
