"""The pitfalls of calls (numbers as in the project's research on SIP), each with what a robust user agent does.

1 early media, 3 PRACK, 5 refused pictures (also in test_restarts.py), 13 forking, 14 CANCEL, 15 glare, 16 hold,
17 session timers, 22 OPTIONS and NOTIFY, 30 ACK, 32 delayed offers, 35 redirections (test_restarts.py), 36 CSeq and
storms. Message by message here; over a lossy link in test_calls_link.py.
"""

import pytest

from firmware.sip.configuration import Configuration
from firmware.sip.errors import LocalProtocolError
from firmware.sip.events import (
    CallAcknowledged,
    CallAnswered,
    CallEnded,
    CallProgress,
    CheckSync,
    IncomingCall,
    InfoReceived,
    NetworkChanged,
    OfferAnswered,
    OfferDue,
    OfferRefused,
    Refreshed,
    Reoffered,
)
from firmware.sip.message import Request, Response
from firmware.sip.uri import Uri
from tests.support.sip_link import Bench, invite, reply, request_of

OFFER, ANSWER, HOLD = b"v=0\r\ns=offer\r\n", b"v=0\r\ns=answer\r\n", b"v=0\r\na=sendonly\r\n"
SDP = ("Content-Type", "application/sdp")
EVERYTHING = ("Allow", "INVITE, ACK, BYE, CANCEL, UPDATE, PRACK, INFO")
RELIABLE = ("Supported", "100rel, timer")


def call(bench: Bench, *, others: tuple[bytes, ...] = (), **options: object) -> tuple[int, Request]:
    """A call of ours that has been sent."""
    number = bench.core.invite(Uri.parse("sip:mon@10.0.0.2"), OFFER, bench.now, **options)
    bench.core.fall_back(number, others, bench.now)
    sent = bench.request("INVITE")
    bench.events()
    return number, sent


def answered(bench: Bench, *headers: tuple[str, str]) -> tuple[int, Request]:
    """A call of ours that was answered."""
    number, sent = call(bench)
    bench.receive(reply(sent, 200, "mon", sdp=ANSWER, headers=headers))
    bench.sent()
    bench.events()
    return number, sent


def incoming(bench: Bench, *headers: tuple[str, str], sdp: bytes = OFFER) -> int:
    """A call to us that waits for a decision."""
    bench.receive(invite(headers=headers, sdp=sdp))
    (event,) = bench.of(IncomingCall)
    assert isinstance(event, IncomingCall)
    return event.call


def up(bench: Bench, *headers: tuple[str, str]) -> tuple[int, str]:
    """A call to us that was answered and acknowledged: its number and our tag."""
    number = incoming(bench, *headers)
    bench.core.accept(number, ANSWER, bench.now)
    tag = bench.one().to.tag or ""
    bench.receive(request_of("ACK", branch="z9hG4bKack", to_tag=tag))
    bench.events()
    return number, tag


def reliable(invite: Request, rseq: int, tag: str = "mon", sdp: bytes = b"", status: int = 183) -> Response:
    return reply(invite, status, tag, sdp=sdp, headers=(("Require", "100rel"), ("RSeq", str(rseq)), EVERYTHING))


def of_peer(sent: Request, method: str, cseq: int, body: bytes = b"", *headers: tuple[str, str]) -> Request:
    """A request of the peer in the dialog of our INVITE."""
    more = ((SDP,) if body else ()) + (("Contact", "<sip:mon@10.0.0.2>"),) + headers
    return request_of(
        method,
        branch=f"z9hG4bK{method}{cseq}",
        call_id=sent.call_id,
        tag="mon",
        to_tag=sent.from_.tag or "",
        cseq=cseq,
        body=body,
        headers=more,
    )


def to_us(method: str, tag: str, cseq: int, body: bytes = b"", *headers: tuple[str, str]) -> Request:
    """A request of the peer in the dialog of its INVITE."""
    more = ((SDP,) if body else ()) + (("Contact", "<sip:mon@10.0.0.2>"),) + headers
    return request_of(method, branch=f"z9hG4bK{method}{cseq}", to_tag=tag, cseq=cseq, body=body, headers=more)


def requests(bench: Bench) -> list[str]:
    return [str(message.cseq) for message in bench.sent() if isinstance(message, Request)]


# --- 1: early media ------------------------------------------------------------------------------------------


def test_pitfall_01_each_provisional_answer_is_told_as_it_comes_and_the_200_may_leave_it_out() -> None:
    bench = Bench()
    number, sent = call(bench)
    bench.receive(reply(sent, 183, "mon", sdp=ANSWER))
    bench.receive(reply(sent, 180, "mon"))
    bench.receive(reply(sent, 200, "mon"))
    assert bench.events() == [
        CallProgress(number, "mon", 183, ANSWER),
        CallProgress(number, "mon", 180, b""),
        CallAnswered(number, "mon", b""),
    ]


def test_pitfall_01_a_picture_asked_for_beside_other_parts_is_found() -> None:
    bench = Bench()
    number, sent = call(bench)
    early = reply(sent, 183, "mon")
    early.headers.add("Content-Type", 'multipart/mixed; boundary="x y"')
    early.body = (
        b"preamble\r\n--x y\r\nContent-Type: application/isup\r\n\r\n\x01\x02\r\n"
        b"--x y\r\nContent-Type: application/sdp\r\nContent-Disposition: session\r\n\r\n" + ANSWER + b"\r\n--x y--"
    )
    bench.receive(early)
    assert bench.events() == [CallProgress(number, "mon", 183, ANSWER)]


# --- 3: PRACK ------------------------------------------------------------------------------------------------


def test_pitfall_03_we_offer_100rel_and_never_insist_on_it() -> None:
    _, sent = call(Bench())
    assert "100rel" in sent.supported
    assert sent.require == frozenset()


def test_pitfall_03_a_reliable_183_is_acknowledged_once_and_its_answer_is_final() -> None:
    bench = Bench()
    number, sent = call(bench)
    bench.receive(reliable(sent, 77, sdp=ANSWER))
    prack = bench.one()
    assert isinstance(prack, Request)
    assert (prack.method, prack.headers.get("RAck"), prack.to.tag) == ("PRACK", "77 1 INVITE", "mon")
    assert str(prack.uri) == "sip:mon@10.0.0.2"
    assert prack.body == b""
    assert bench.events() == [CallProgress(number, "mon", 183, ANSWER, final=True)]
    bench.receive(reliable(sent, 77, sdp=ANSWER))
    assert bench.sent() == []
    assert bench.events() == []
    bench.receive(reply(prack, 200))
    bench.receive(reply(sent, 200, "mon"))
    assert bench.events() == [CallAnswered(number, "mon", b"")]


def test_pitfall_03_the_same_rseq_on_two_forks_needs_two_pracks() -> None:
    bench = Bench()
    _, sent = call(bench)
    bench.receive(reliable(sent, 1, "one", ANSWER))
    bench.receive(reliable(sent, 1, "two", ANSWER))
    pracks = bench.sent()
    assert [prack.to.tag for prack in pracks] == ["one", "two"]
    assert {prack.headers.get("RAck") for prack in pracks} == {"1 1 INVITE"}


def test_pitfall_03_what_comes_before_its_turn_is_neither_acknowledged_nor_told() -> None:
    bench = Bench()
    number, sent = call(bench)
    bench.receive(reliable(sent, 10, status=180))
    bench.sent()
    bench.events()
    bench.receive(reliable(sent, 12, sdp=ANSWER))
    assert bench.sent() == []
    assert bench.events() == []
    bench.receive(reliable(sent, 11, sdp=ANSWER))
    bench.receive(reliable(sent, 12, status=182))
    assert [prack.headers.get("RAck") for prack in bench.sent()] == ["11 1 INVITE", "12 1 INVITE"]
    assert [event.status for event in bench.of(CallProgress)] == [183, 182]  # type: ignore[union-attr]
    assert number == 1


def test_pitfall_03_a_prack_is_repeated_by_its_own_transaction_until_it_is_answered() -> None:
    bench = Bench()
    _, sent = call(bench)
    bench.receive(reliable(sent, 1))
    first = bytes(bench.one())
    bench.advance(0.5)
    assert bytes(bench.one()) == first


def test_pitfall_03_a_183_of_a_second_attempt_starts_its_own_sequence() -> None:
    bench = Bench()
    _, sent = call(bench, others=(HOLD,))
    bench.receive(reliable(sent, 500))
    bench.receive(reply(sent, 488, "mon"))
    again = [m for m in bench.sent() if isinstance(m, Request) and m.method == "INVITE"][-1]
    bench.receive(reliable(again, 3))
    assert bench.one().headers.get("RAck") == "3 2 INVITE"


@pytest.mark.parametrize("header", [("Supported", "100rel"), ("Require", "100rel")])
def test_pitfall_03_our_183_with_a_description_is_repeated_until_its_prack(header: tuple[str, str]) -> None:
    bench = Bench()
    number = incoming(bench, header)
    bench.core.ring(number, bench.now, status=183, sdp=ANSWER)
    first = bench.one()
    assert (first.require, first.body) == ({"100rel"}, ANSWER)
    times = []
    for _ in range(64):
        times += [bench.now] * len(bench.sent())
        bench.advance(0.125)
    assert times == [0.5, 1.5, 3.5, 7.5]
    rack = f"{first.headers.get('RSeq')} 1 INVITE"
    bench.receive(to_us("PRACK", first.to.tag or "", 2, b"", ("RAck", rack)))
    assert bench.statuses() == [200]
    bench.advance(31)
    assert bench.sent() == []
    bench.core.accept(number, ANSWER, bench.now)
    final = bench.one()
    assert isinstance(final, Response)
    assert (final.status, final.body) == (200, b""), "the answer was given in the 183"


def test_pitfall_03_a_180_is_reliable_only_for_who_insists() -> None:
    for header, expected in ((RELIABLE, frozenset()), (("Require", "100rel"), {"100rel"})):
        bench = Bench()
        number = incoming(bench, header)
        bench.core.ring(number, bench.now)
        assert bench.one().require == expected


def test_pitfall_03_a_prack_for_nothing_gets_481() -> None:
    bench = Bench()
    number = incoming(bench, RELIABLE)
    bench.core.ring(number, bench.now, status=183, sdp=ANSWER)
    first = bench.one()
    tag, rseq = first.to.tag or "", int(first.headers.get("RSeq") or "0")
    bench.receive(to_us("PRACK", tag, 2, b"", ("RAck", f"{rseq + 1} 1 INVITE")))
    bench.receive(to_us("PRACK", tag, 3, b"", ("RAck", f"{rseq} 1 INVITE")))
    bench.receive(to_us("PRACK", tag, 4, b"", ("RAck", f"{rseq} 1 INVITE")))
    bench.receive(to_us("PRACK", tag, 5))
    assert bench.statuses() == [481, 200, 481, 481]


def test_pitfall_03_the_200_waits_for_the_prack_of_the_183_that_describes_us() -> None:
    bench = Bench()
    number = incoming(bench, RELIABLE)
    bench.core.ring(number, bench.now, status=183, sdp=ANSWER)
    first = bench.one()
    bench.core.accept(number, ANSWER, bench.now)
    assert bench.statuses() == []
    bench.receive(to_us("PRACK", first.to.tag or "", 2, b"", ("RAck", f"{first.headers.get('RSeq')} 1 INVITE")))
    to_prack, to_invite = bench.sent()
    assert [str(to_prack.cseq), str(to_invite.cseq)] == ["2 PRACK", "1 INVITE"]
    assert to_invite.body == b""


def test_pitfall_03_without_a_prack_the_invite_is_refused_after_64_t1() -> None:
    bench = Bench()
    number = incoming(bench, RELIABLE)
    bench.core.ring(number, bench.now, status=183, sdp=ANSWER)
    bench.core.accept(number, ANSWER, bench.now)
    bench.advance(32.1)
    assert 504 in bench.statuses()
    (ended,) = bench.of(CallEnded)
    assert isinstance(ended, CallEnded)
    assert (ended.by, ended.status) == ("network", 504)


def test_pitfall_03_an_offer_in_the_prack_is_answered_in_its_200() -> None:
    bench = Bench()
    number = incoming(bench, RELIABLE)
    bench.core.ring(number, bench.now, status=183, sdp=ANSWER)
    first = bench.one()
    rack = ("RAck", f"{first.headers.get('RSeq')} 1 INVITE")
    bench.receive(to_us("PRACK", first.to.tag or "", 2, HOLD, rack))
    assert bench.events() == [Reoffered(number, HOLD)]
    bench.core.answer_offer(number, ANSWER, bench.now)
    response = bench.one()
    assert isinstance(response, Response)
    assert (response.status, str(response.cseq), response.body) == (200, "2 PRACK", ANSWER)


def test_pitfall_03_a_cancel_ends_the_repeats_of_a_183() -> None:
    bench = Bench()
    number = incoming(bench, RELIABLE)
    bench.core.ring(number, bench.now, status=183, sdp=ANSWER)
    bench.receive(request_of("CANCEL", branch="z9hG4bKpeer1"))
    bench.sent()
    bench.advance(60)
    assert 183 not in bench.statuses()


# --- 3, 15: UPDATE -------------------------------------------------------------------------------------------


def test_pitfall_15_an_early_dialog_whose_answer_is_final_may_be_updated_by_either_side() -> None:
    bench = Bench()
    number, sent = call(bench)
    bench.receive(reliable(sent, 1, "mon", ANSWER))
    bench.receive(reliable(sent, 1, "other", ANSWER))
    bench.sent()
    bench.events()
    bench.receive(of_peer(sent, "UPDATE", 1, HOLD))
    assert bench.events() == [Reoffered(number, HOLD, "mon")]
    bench.core.answer_offer(number, ANSWER, bench.now, dialog="mon")
    response = bench.one()
    assert isinstance(response, Response)
    assert (response.status, response.body) == (200, ANSWER)
    assert response.contacts
    bench.core.reoffer(number, HOLD, bench.now, dialog="other")
    update = bench.request("UPDATE")
    assert (update.to.tag, update.body) == ("other", HOLD)
    bench.receive(reply(update, 200, sdp=ANSWER))
    assert bench.events() == [OfferAnswered(number, ANSWER)]


def test_pitfall_15_an_update_before_our_invite_was_answered_reliably_gets_491() -> None:
    bench = Bench()
    _, sent = call(bench)
    bench.receive(reply(sent, 183, "mon", sdp=ANSWER, headers=(EVERYTHING,)))
    bench.sent()
    bench.receive(of_peer(sent, "UPDATE", 1, HOLD))
    assert bench.statuses() == [491]
    bench.receive(of_peer(sent, "UPDATE", 2))
    assert bench.statuses() == [200], "it offers nothing"
    with pytest.raises(LocalProtocolError, match="no offer"):
        bench.core.reoffer(1, HOLD, bench.now, dialog="mon")


def test_pitfall_15_an_update_while_the_invite_offer_is_unanswered_is_told_to_come_back() -> None:
    bench = Bench()
    number = incoming(bench)
    bench.core.ring(number, bench.now)
    tag = bench.one().to.tag or ""
    bench.receive(to_us("UPDATE", tag, 2, HOLD))
    response = bench.one()
    assert isinstance(response, Response)
    assert response.status == 500
    assert response.retry_after in range(11)


def test_an_update_moves_the_target_of_the_call() -> None:
    bench = Bench()
    number, tag = up(bench)
    update = to_us("UPDATE", tag, 2)
    update.headers.set("Contact", "<sip:mon@10.0.0.7:5080>")
    bench.receive(update)
    assert bench.statuses() == [200]
    bench.core.hangup(number, bench.now)
    assert str(bench.request("BYE").uri) == "sip:mon@10.0.0.7:5080"


# --- 15: glare -----------------------------------------------------------------------------------------------


def test_pitfall_15_a_reinvite_that_meets_ours_gets_491() -> None:
    bench = Bench()
    number, sent = answered(bench)
    bench.core.reoffer(number, HOLD, bench.now)
    ours = bench.request("INVITE")
    assert (ours.to.tag, ours.body, ours.headers.get("Session-Expires")) == ("mon", HOLD, "1800")
    bench.receive(of_peer(sent, "INVITE", 1, OFFER))
    bench.receive(of_peer(sent, "UPDATE", 2, OFFER))
    assert bench.statuses() == [491, 491]
    bench.receive(reply(ours, 200, sdp=ANSWER))
    assert requests(bench) == ["2 ACK"]
    assert bench.events() == [OfferAnswered(number, ANSWER)]


@pytest.mark.parametrize(("ours", "low", "high"), [(True, 2.1, 4.0), (False, 0.0, 2.0)])
def test_pitfall_15_a_491_is_tried_again_once_after_the_pause_of_the_rfc(
    ours: bool, low: float, high: float
) -> None:
    waits = set()
    for seed in range(12):
        bench = Bench(seed=seed)
        number = answered(bench)[0] if ours else up(bench)[0]
        bench.core.reoffer(number, HOLD, bench.now)
        bench.receive(reply(bench.request("INVITE"), 491))
        assert requests(bench)[0].endswith("ACK")
        assert bench.events() == [OfferRefused(number, 491, "Request Pending", again=True)]
        while not (due := bench.of(OfferDue)):
            bench.advance(0.01)
            assert bench.now < 5
        assert due == [OfferDue(number)]
        waits.add(bench.now)
        bench.core.reoffer(number, OFFER, bench.now)
        again = bench.request("INVITE")
        assert again.body == OFFER
        bench.receive(reply(again, 491))
        assert bench.events() == [OfferRefused(number, 491, "Request Pending")]
        bench.advance(10)
        assert bench.events() == []
    assert low <= min(waits)
    assert max(waits) <= high + 0.02
    assert len(waits) > 6


def test_pitfall_15_the_peers_offer_has_its_turn_while_ours_pauses() -> None:
    bench = Bench()
    number, sent = answered(bench)
    bench.core.reoffer(number, HOLD, bench.now)
    bench.receive(reply(bench.request("INVITE"), 491))
    bench.sent()
    bench.events()
    bench.receive(of_peer(sent, "INVITE", 1, OFFER))
    assert bench.events() == [Reoffered(number, OFFER)]
    bench.core.answer_offer(number, ANSWER, bench.now)
    assert bench.statuses() == [200]
    bench.receive(of_peer(sent, "ACK", 1))
    bench.advance(4.1)
    assert bench.of(OfferDue) == [OfferDue(number)]
    bench.core.reoffer(number, HOLD, bench.now)
    assert bench.request("INVITE").body == HOLD


def test_pitfall_15_an_offer_before_the_ack_waits_for_it() -> None:
    bench = Bench()
    number = incoming(bench)
    bench.core.accept(number, ANSWER, bench.now)
    tag = bench.one().to.tag or ""
    bench.core.reoffer(number, HOLD, bench.now)
    assert requests(bench) == []
    assert bench.of(OfferRefused) == [OfferRefused(number, 491, "another offer is open", again=True)]
    bench.receive(request_of("ACK", branch="z9hG4bKack", to_tag=tag))
    assert bench.events() == [CallAcknowledged(number), OfferDue(number)]


def test_pitfall_15_a_second_invite_while_one_waits_gets_500_with_retry_after() -> None:
    bench = Bench()
    _, tag = up(bench)
    bench.receive(to_us("INVITE", tag, 2, OFFER))
    bench.receive(to_us("INVITE", tag, 3, OFFER))
    bench.receive(to_us("UPDATE", tag, 4, OFFER))
    responses = [message for message in bench.sent() if isinstance(message, Response)]
    assert [response.status for response in responses] == [500, 500]
    assert all(response.retry_after in range(11) for response in responses)
    assert len(bench.of(Reoffered)) == 1


def test_pitfall_15_a_refused_reinvite_leaves_the_session_and_a_488_does_not_stick() -> None:
    bench = Bench()
    number, sent = answered(bench)
    bench.core.reoffer(number, HOLD, bench.now)
    bench.receive(reply(bench.request("INVITE"), 488, contact="<sip:elsewhere@10.0.0.9>"))
    assert bench.events() == [OfferRefused(number, 488, "Not Acceptable Here")]
    bench.sent()
    bench.receive(of_peer(sent, "INVITE", 1, OFFER))
    assert bench.of(Reoffered) == [Reoffered(number, OFFER)]
    bench.core.answer_offer(number, ANSWER, bench.now)
    bench.sent()
    bench.receive(of_peer(sent, "ACK", 1))
    bench.core.reoffer(number, HOLD, bench.now)
    retry = bench.request("INVITE")
    assert (str(retry.uri), str(retry.cseq)) == ("sip:mon@10.0.0.2", "3 INVITE")


@pytest.mark.parametrize("status", [408, 481])
def test_a_reinvite_that_the_peer_knows_no_call_for_ends_it(status: int) -> None:
    bench = Bench()
    number, _ = answered(bench)
    bench.core.reoffer(number, HOLD, bench.now)
    bench.receive(reply(bench.request("INVITE"), status))
    assert "BYE" in bench.methods()
    (ended,) = bench.of(CallEnded)
    assert isinstance(ended, CallEnded)
    assert ended.status == status


def test_a_reinvite_that_only_rings_is_cancelled_and_the_call_goes_on() -> None:
    bench = Bench()
    number, _ = answered(bench)
    bench.core.reoffer(number, HOLD, bench.now)
    ours = bench.request("INVITE")
    bench.receive(reply(ours, 180))
    bench.advance(33)
    cancel = bench.request("CANCEL")
    bench.receive(reply(cancel, 200))
    bench.receive(reply(ours, 487))
    assert bench.events() == [OfferRefused(number, 487, "Request Terminated")]
    bench.core.hangup(number, bench.now)
    assert "BYE" in bench.methods()


def test_a_call_that_ends_while_its_reinvite_is_out_still_acknowledges_the_2xx() -> None:
    bench = Bench()
    number, _ = answered(bench)
    bench.core.reoffer(number, HOLD, bench.now)
    ours = bench.request("INVITE")
    bench.core.hangup(number, bench.now)
    bench.receive(reply(bench.request("BYE"), 200))
    bench.events()
    for _ in range(2):
        bench.receive(reply(ours, 200, sdp=ANSWER))
        assert requests(bench) == ["2 ACK"]
    assert bench.events() == []


# --- 16: hold ------------------------------------------------------------------------------------------------


def test_pitfall_16_an_offerless_reinvite_is_answered_with_our_offer_and_its_ack_brings_the_answer() -> None:
    bench = Bench()
    number, tag = up(bench)
    bench.receive(to_us("INVITE", tag, 2))
    assert bench.events() == [Reoffered(number, b"")]
    bench.core.answer_offer(number, OFFER, bench.now)
    assert bench.one().body == OFFER
    bench.receive(to_us("UPDATE", tag, 3, HOLD))
    assert 491 in bench.statuses(), "our offer is open"
    bench.receive(to_us("ACK", tag, 2, ANSWER))
    assert bench.events() == [CallAcknowledged(number, ANSWER)]
    bench.receive(to_us("UPDATE", tag, 4, HOLD))
    assert bench.of(Reoffered) == [Reoffered(number, HOLD)]


# --- 17: session timers --------------------------------------------------------------------------------------


def test_pitfall_17_we_ask_for_1800_seconds_and_say_that_we_know_timers() -> None:
    _, sent = call(Bench())
    assert "timer" in sent.supported
    assert (sent.headers.get("Session-Expires"), sent.headers.get("Min-SE")) == ("1800", None)


@pytest.mark.parametrize("early", [False, True], ids=["at once", "after ringing"])
def test_pitfall_17_we_refresh_at_half_by_update_also_where_an_early_dialog_existed(early: bool) -> None:
    bench = Bench()
    number, sent = call(bench)
    if early:
        bench.receive(reply(sent, 183, "mon", sdp=ANSWER))
    timer = ("Session-Expires", "200;refresher=uac")
    bench.receive(reply(sent, 200, "mon", sdp=ANSWER, headers=(timer, EVERYTHING)))
    bench.sent()
    bench.events()
    for _ in range(3):
        bench.advance(99.9)
        assert bench.sent() == []
        bench.advance(0.2)
        update = bench.request("UPDATE")
        assert (update.headers.get("Session-Expires"), update.body) == ("200;refresher=uac", b"")
        assert update.contacts
        bench.receive(reply(update, 200, headers=(timer,)))
        assert bench.events() == [Refreshed(number, b"")]


def test_pitfall_17_a_peer_without_update_is_refreshed_by_the_same_description_to_the_letter() -> None:
    bench = Bench()
    number, _ = answered(bench, ("Session-Expires", "100;refresher=uac"), ("Allow", "INVITE, ACK, BYE"))
    bench.advance(50.1)
    again = bench.request("INVITE")
    assert again.body == OFFER
    bench.receive(reply(again, 200, sdp=ANSWER, headers=(("Session-Expires", "100;refresher=uac"),)))
    assert requests(bench) == ["2 ACK"]
    assert bench.events() == [Refreshed(number, ANSWER)]


def test_pitfall_17_a_peer_that_says_update_and_means_it_not_is_refreshed_by_reinvite() -> None:
    bench = Bench()
    answered(bench, ("Session-Expires", "100;refresher=uac"), EVERYTHING)
    bench.advance(50.1)
    bench.receive(reply(bench.request("UPDATE"), 405))
    assert bench.request("INVITE").body == OFFER


@pytest.mark.parametrize("allow", ["INVITE, BYE, UPDATE", "INVITE, BYE"], ids=["UPDATE", "re-INVITE"])
def test_pitfall_17_a_422_to_the_refresh_lengthens_it_and_the_least_is_remembered(allow: str) -> None:
    bench = Bench()
    answered(bench, ("Session-Expires", "100;refresher=uac"), ("Allow", allow))
    bench.advance(50.1)
    method = "UPDATE" if "UPDATE" in allow else "INVITE"
    bench.receive(reply(bench.request(method), 422, headers=(("Min-SE", "120"),)))
    second = bench.request(method)
    assert second.headers.get("Session-Expires") == "120;refresher=uac"
    assert second.headers.get("Min-SE") == "120"
    bench.receive(reply(second, 200, sdp=ANSWER, headers=(("Session-Expires", "120;refresher=uac"),)))
    bench.sent()
    bench.advance(60.1)
    third = bench.request(method)
    assert (third.headers.get("Session-Expires"), third.headers.get("Min-SE")) == ("120;refresher=uac", "120")


@pytest.mark.parametrize(("interval", "limit"), [(1800, 1768), (90, 60)])
def test_pitfall_17_a_session_that_the_peer_should_refresh_and_does_not_is_ended_in_time(
    interval: int, limit: int
) -> None:
    bench = Bench()
    number, _ = answered(bench, ("Session-Expires", f"{interval};refresher=uas"))
    bench.advance(limit - 0.1)
    assert bench.events() == []
    bench.advance(0.2)
    assert bench.request("BYE").reason == 'SIP;cause=408;text="Session expired"'
    assert bench.of(CallEnded) == [CallEnded(number, "network", 408, "the session was not refreshed")]


def test_pitfall_17_a_peers_interval_of_one_second_is_taken_as_ninety() -> None:
    bench = Bench()
    answered(bench, ("Session-Expires", "1;refresher=uas"))
    bench.advance(59)
    assert bench.events() == []


def test_pitfall_17_a_call_to_us_with_too_short_an_interval_gets_422_on_invite_reinvite_and_update() -> None:
    short = (("Session-Expires", "30"), ("Supported", "timer"))
    bench = Bench()
    bench.receive(invite(headers=short))
    refusal = bench.one()
    assert isinstance(refusal, Response)
    assert (refusal.status, refusal.headers.get("Min-SE")) == (422, "90")
    bench = Bench()
    _, tag = up(bench)
    bench.receive(to_us("INVITE", tag, 2, OFFER, *short))
    bench.receive(to_us("UPDATE", tag, 3, b"", *short))
    bench.receive(to_us("UPDATE", tag, 4, OFFER, *short))
    assert bench.statuses() == [422, 422, 422]
    assert bench.events() == []


@pytest.mark.parametrize(
    ("headers", "agreed", "require"),
    [
        ((("Session-Expires", "300"), ("Supported", "timer")), "300;refresher=uac", {"timer"}),
        ((("Session-Expires", "300;refresher=uas"), ("Supported", "timer")), "300;refresher=uas", frozenset()),
        ((("Session-Expires", "300;refresher=uac"),), "300;refresher=uas", frozenset()),
        ((("x", "30"), ("Session-Expires", "30")), "90;refresher=uas", frozenset()),
        ((("Supported", "timer"),), None, frozenset()),
    ],
)
def test_pitfall_17_what_a_caller_asks_for_is_agreed(
    headers: tuple[tuple[str, str], ...], agreed: str | None, require: frozenset[str]
) -> None:
    bench = Bench()
    number = incoming(bench, *headers)
    bench.core.accept(number, ANSWER, bench.now)
    final = bench.one()
    assert (final.headers.get("Session-Expires"), final.require) == (agreed, require)


def test_pitfall_17_a_caller_that_refreshes_keeps_the_call_and_one_that_stops_loses_it() -> None:
    bench = Bench()
    _, tag = up(bench, ("Session-Expires", "90"), ("Supported", "timer"))
    for cseq in (2, 3, 4):
        bench.advance(45)
        bench.receive(
            to_us("UPDATE", tag, cseq, b"", ("Session-Expires", "90;refresher=uac"), ("Supported", "timer"))
        )
        assert bench.statuses() == [200]
    assert bench.events() == []
    bench.advance(60.1)
    assert "BYE" in bench.methods()
    assert len(bench.of(CallEnded)) == 1


def test_a_refresh_that_is_refused_is_tried_again_before_the_session_is_given_up() -> None:
    bench = Bench()
    answered(bench, ("Session-Expires", "200;refresher=uac"), EVERYTHING)
    bench.advance(100.1)
    bench.receive(reply(bench.request("UPDATE"), 500))
    bench.advance(25.1)
    update = bench.request("UPDATE")
    bench.receive(reply(update, 200, headers=(("Session-Expires", "200;refresher=uac"),)))
    bench.advance(60)
    assert bench.of(CallEnded) == []


# --- 22: OPTIONS, NOTIFY -------------------------------------------------------------------------------------


def test_pitfall_22_options_is_answered_in_and_out_of_calls_and_481_in_a_dead_one() -> None:
    bench = Bench()
    number, tag = up(bench)
    bench.receive(request_of("OPTIONS", branch="z9hG4bKo1", call_id="other"))
    bench.receive(to_us("OPTIONS", tag, 2))
    outside, inside = bench.sent()
    for response in (outside, inside):
        assert isinstance(response, Response)
        assert response.status == 200
        assert {"PRACK", "UPDATE", "MESSAGE", "REFER"} <= response.allow
        assert {"100rel", "replaces", "timer"} <= response.supported
        assert "application/sdp" in (response.headers.get("Accept") or "")
    bench.core.hangup(number, bench.now)
    bench.receive(reply(bench.request("BYE"), 200))
    bench.receive(to_us("OPTIONS", tag, 3))
    assert bench.statuses() == [481]


def test_pitfall_22_check_sync_is_answered_and_told_and_waiting_messages_are_only_answered() -> None:
    bench = Bench()
    for number, event in enumerate(("message-summary", "Check-Sync;reboot=true", "keep-alive"), 1):
        bench.receive(
            request_of("NOTIFY", branch=f"z9hG4bKn{number}", call_id=f"n{number}", headers=(("Event", event),))
        )
    assert bench.statuses() == [200, 200, 200]
    assert bench.events() == [CheckSync(bench.flow, "")]


def test_pitfall_22_what_we_do_not_serve_is_refused_in_words_that_end_the_asking() -> None:
    bench = Bench()
    expected = {"SUBSCRIBE": 489, "REFER": 403, "PUBLISH": 405, "PRACK": 481, "UPDATE": 481, "FROB": 501}
    for number, method in enumerate(expected):
        bench.receive(request_of(method, branch=f"z9hG4bKm{number}", call_id=f"m{number}"))
    assert bench.statuses() == list(expected.values())


# --- 32: delayed offers --------------------------------------------------------------------------------------


def test_pitfall_32_a_call_without_an_offer_gets_ours_in_the_200_and_answers_in_the_ack() -> None:
    bench = Bench()
    number = incoming(bench, sdp=b"")
    bench.core.ring(number, bench.now, status=183, sdp=OFFER)
    assert bench.one().body == b"", "an offer may not go where it may be lost"
    bench.core.accept(number, OFFER, bench.now)
    final = bench.one()
    assert final.body == OFFER
    bench.receive(to_us("ACK", final.to.tag or "", 1, ANSWER))
    assert bench.events() == [CallAcknowledged(number, ANSWER)]


def test_pitfall_32_a_call_without_an_offer_gets_ours_in_a_reliable_183_and_answers_in_the_prack() -> None:
    bench = Bench()
    number = incoming(bench, RELIABLE, sdp=b"")
    bench.core.ring(number, bench.now, status=183, sdp=OFFER)
    early = bench.one()
    assert early.body == OFFER
    rack = ("RAck", f"{early.headers.get('RSeq')} 1 INVITE")
    bench.receive(to_us("PRACK", early.to.tag or "", 2, ANSWER, rack))
    assert bench.statuses() == [200]
    assert bench.events() == [OfferAnswered(number, ANSWER)]
    bench.core.accept(number, OFFER, bench.now)
    assert bench.one().body == b""


def test_pitfall_32_a_prack_without_the_answer_costs_the_call() -> None:
    bench = Bench()
    number = incoming(bench, RELIABLE, sdp=b"")
    bench.core.ring(number, bench.now, status=183, sdp=OFFER)
    early = bench.one()
    bench.receive(to_us("PRACK", early.to.tag or "", 2, b"", ("RAck", f"{early.headers.get('RSeq')} 1 INVITE")))
    assert bench.statuses() == [200, 500]
    assert len(bench.of(CallEnded)) == 1


def test_pitfall_32_an_ack_without_the_answer_is_followed_by_bye() -> None:
    bench = Bench()
    number = incoming(bench, sdp=b"")
    bench.core.accept(number, OFFER, bench.now)
    tag = bench.one().to.tag or ""
    bench.receive(to_us("ACK", tag, 1))
    assert bench.request("BYE").reason == 'SIP;cause=488;text="ACK without answer"'
    assert bench.events() == [CallEnded(number, "us", 488, "the ACK brought no answer to our offer")]


def test_pitfall_32_a_description_in_an_ack_that_needs_none_is_ignored() -> None:
    bench = Bench()
    number = incoming(bench)
    bench.core.accept(number, ANSWER, bench.now)
    bench.receive(to_us("ACK", bench.one().to.tag or "", 1, HOLD))
    assert bench.events() == [CallAcknowledged(number, b"")]


# --- 13, 14, 30: more of forks, CANCEL and ACK ---------------------------------------------------------------


def test_pitfall_13_an_update_and_a_prack_go_to_the_fork_they_belong_to() -> None:
    bench = Bench()
    _, sent = call(bench)
    for tag, host in (("one", "10.0.0.3"), ("two", "10.0.0.4")):
        early = reliable(sent, 9, tag, ANSWER)
        early.headers.set("Contact", f"<sip:{tag}@{host}>")
        early.headers.add("Record-Route", f"<sip:{host};lr>")
        bench.receive(early)
    pracks = bench.sent_on()
    assert [(flow.remote[0], str(prack.uri)) for flow, prack in pracks if isinstance(prack, Request)] == [
        ("10.0.0.3", "sip:one@10.0.0.3"),
        ("10.0.0.4", "sip:two@10.0.0.4"),
    ]


def test_pitfall_13_a_199_closes_its_early_dialog_whose_requests_get_481() -> None:
    bench = Bench()
    number, sent = call(bench)
    bench.receive(reliable(sent, 1, "mon", ANSWER))
    bench.receive(reply(sent, 199, "mon"))
    bench.sent()
    assert bench.events()[-1] == CallProgress(number, "mon", 199, b"")
    bench.receive(of_peer(sent, "UPDATE", 1, HOLD))
    assert bench.statuses() == [481]
    assert "199" in sent.supported


def test_pitfall_14_a_reliable_183_of_a_call_that_is_being_cancelled_changes_nothing() -> None:
    bench = Bench()
    number, sent = call(bench)
    bench.core.hangup(number, bench.now)
    bench.receive(reliable(sent, 1, "mon", ANSWER))
    assert bench.methods() == ["CANCEL"]
    assert bench.events() == []


def test_pitfall_30_a_repeated_2xx_to_a_reinvite_gets_the_same_ack() -> None:
    bench = Bench()
    number, _ = answered(bench)
    bench.core.reoffer(number, HOLD, bench.now)
    ours = bench.request("INVITE")
    acks = set()
    for _ in range(3):
        bench.receive(reply(ours, 200, sdp=ANSWER))
        acks.add(bytes(bench.one()))
        bench.advance(1)
    assert len(acks) == 1
    assert len(bench.of(OfferAnswered)) == 1


# --- 36: CSeq, storms ----------------------------------------------------------------------------------------


def test_pitfall_36_an_older_cseq_gets_500_and_a_gap_is_fine() -> None:
    bench = Bench()
    _, tag = up(bench)
    for cseq in (40, 39, 1000, 40):
        bench.receive(to_us("INFO", tag, cseq, b"", ("X", str(cseq))))
    assert bench.statuses() == [200, 500, 200, 200], "the last is a repeat of the first"
    bench.receive(to_us("UPDATE", tag, 999))
    assert bench.statuses() == [500]


def test_pitfall_36_a_storm_of_keys_during_a_reinvite_is_heard_key_by_key() -> None:
    bench = Bench()
    number, tag = up(bench)
    bench.receive(to_us("INVITE", tag, 2, OFFER))
    bench.events()
    for cseq in range(3, 23):
        info = to_us("INFO", tag, cseq, b"", ("Content-Type", "application/dtmf"))
        info.body = b"5"
        bench.receive(info)
    assert bench.statuses() == [200] * 20
    assert bench.events() == [InfoReceived(number, "application/dtmf", b"5")] * 20
    bench.core.answer_offer(number, ANSWER, bench.now)
    assert bench.statuses() == [200]


def test_pitfall_36_of_our_own_keys_one_is_under_way_and_the_others_wait_in_order() -> None:
    bench = Bench()
    number, _ = answered(bench)
    bench.core.reoffer(number, HOLD, bench.now)
    ours = bench.request("INVITE")
    for digit in b"123":
        bench.core.info(number, "application/dtmf", bytes([digit]), bench.now)
    keys = []
    for _ in range(3):
        info = bench.request("INFO")
        keys.append(info.body)
        assert bench.sent() == []
        bench.receive(reply(info, 200))
    assert keys == [b"1", b"2", b"3"]
    bench.receive(reply(ours, 200, sdp=ANSWER))
    assert bench.events() == [OfferAnswered(number, ANSWER)]


def test_pitfall_36_a_storm_without_end_is_bounded() -> None:
    bench = Bench()
    number, _ = answered(bench)
    for _ in range(1000):
        bench.core.info(number, "application/dtmf", b"1", bench.now)
    sent = 0
    while infos := [message for message in bench.sent() if isinstance(message, Request)]:
        sent += len(infos)
        bench.receive(reply(infos[0], 200))
    assert sent == 33


def test_a_configuration_without_session_timers_asks_for_none() -> None:
    _, sent = call(Bench(Configuration(session_expires_s=0)))
    assert "Session-Expires" not in sent.headers


# --- target refresh ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("allow", ["INVITE, UPDATE", "INVITE"])
def test_a_refresh_tells_our_contact_and_follows_theirs(allow: str) -> None:
    bench = Bench()
    number, _ = answered(bench, ("Allow", allow))
    bench.core.refresh(number, bench.now)
    request = bench.request("UPDATE" if "UPDATE" in allow else "INVITE")
    assert str(request.contacts[0].uri) == "sip:portero@10.0.0.1:5060"
    response = reply(request, 200, sdp=ANSWER if request.body else b"")
    response.headers.set("Contact", "<sip:mon@10.0.0.77>")
    bench.receive(response)
    bench.core.hangup(number, bench.now)
    assert str(bench.request("BYE").uri) == "sip:mon@10.0.0.77"


def test_a_refused_reinvite_does_not_move_the_target() -> None:
    bench = Bench()
    number, _ = answered(bench)
    bench.core.reoffer(number, HOLD, bench.now)
    bench.receive(reply(bench.request("INVITE"), 488, contact="<sip:mon@10.0.0.77>"))
    bench.core.hangup(number, bench.now)
    assert str(bench.request("BYE").uri) == "sip:mon@10.0.0.2"


@pytest.mark.parametrize("who", ["uac", "uas"])
def test_a_call_that_ended_leaves_no_timer(who: str) -> None:
    bench = Bench()
    number, _ = answered(bench, ("Session-Expires", f"1800;refresher={who}"))
    bench.core.hangup(number, bench.now)
    bench.receive(reply(bench.request("BYE"), 200))
    bench.advance(40)
    assert bench.core.counts()["alarms"] == 0
    bench.advance(2000)
    assert bench.sent() == []


def test_an_ack_of_an_older_invite_does_not_end_the_repeats_of_the_newer_2xx() -> None:
    bench = Bench()
    number, tag = up(bench)
    bench.receive(to_us("INVITE", tag, 2, OFFER))
    bench.events()
    bench.core.answer_offer(number, ANSWER, bench.now)
    bench.receive(request_of("ACK", branch="z9hG4bKlate", to_tag=tag, cseq=1))
    assert bench.events() == []
    bench.advance(0.5)
    assert bench.statuses() == [200, 200]


def test_a_changed_network_is_told_to_whom_we_talk_with_and_to_nobody_who_only_rings() -> None:
    bench = Bench()
    talking, _ = answered(bench, EVERYTHING)
    ringing, _ = call(bench)
    bench.core.network_changed(bench.now)
    assert bench.of(NetworkChanged) == [NetworkChanged(talking), NetworkChanged(ringing)]
    for number in (talking, ringing):
        bench.core.refresh(number, bench.now)
    assert [m.method for m in bench.sent() if isinstance(m, Request)] == ["UPDATE"]


# --- 5, 35: the rest is in test_restarts.py ------------------------------------------------------------------


def test_pitfall_05_a_488_costs_the_picture_and_not_the_call() -> None:
    bench = Bench()
    number, sent = call(bench, others=(HOLD,))
    bench.receive(reply(sent, 488, "mon"))
    again = bench.request("INVITE")
    assert (again.body, again.call_id, str(again.cseq)) == (HOLD, sent.call_id, "2 INVITE")
    bench.receive(reply(again, 200, "mon", sdp=ANSWER))
    assert bench.events()[-1] == CallAnswered(number, "mon", ANSWER)


def test_pitfall_35_a_486_a_603_and_a_480_are_final_for_this_phone_alone() -> None:
    for status in (480, 486, 603):
        bench = Bench()
        busy, first = call(bench)
        other, second = call(bench)
        bench.receive(reply(first, status, "mon"))
        bench.receive(reply(second, 200, "mon", sdp=ANSWER))
        ended, answered_by = bench.events()
        assert isinstance(ended, CallEnded)
        assert (ended.call, ended.by, ended.status) == (busy, "peer", status)
        assert answered_by == CallAnswered(other, "mon", ANSWER)


def test_pitfall_35_an_invite_that_comes_by_two_ways_rings_once() -> None:
    bench = Bench()
    incoming(bench)
    bench.receive(invite(branch="z9hG4bKotherway"))
    assert bench.statuses() == [482]
    assert bench.of(IncomingCall) == []
