"""One restartable request: each answer after which it is sent again, and what keeps it from doing so for ever."""

import pytest

from firmware.sip.configuration import Account, Configuration
from firmware.sip.events import CallAnswered, CallEnded, CallProgress, Event, InviteSent, OfferReduced
from firmware.sip.message import Request
from firmware.sip.types import Target
from firmware.sip.uri import Uri
from tests.support.sip_link import Bench, reply

OFFER, SOUND_ONLY, ANSWER = b"v=0\r\ns=both\r\n", b"v=0\r\ns=sound\r\n", b"v=0\r\ns=answer\r\n"
PBX = Configuration(
    accounts=(
        Account(
            "pbx", Uri.parse("sip:door@pbx.example"), "Street door", Uri.parse("sip:10.0.0.2"), password="secret"
        ),
    )
)


def call(
    bench: Bench, uri: str = "sip:mon@10.0.0.2", *, others: tuple[bytes, ...] = (), **options: object
) -> tuple[int, Request]:
    number = bench.core.invite(Uri.parse(uri), OFFER, bench.now, **options)
    bench.core.fall_back(number, others, bench.now)
    return number, bench.request("INVITE")


def ended(bench: Bench) -> CallEnded:
    (event,) = bench.of(CallEnded)
    assert isinstance(event, CallEnded)
    return event


def again(bench: Bench, before: Request) -> Request:
    """The ACK to the refusal, then the request once more: same call, next CSeq, new branch."""
    ack, request = bench.sent()
    assert isinstance(ack, Request)
    assert isinstance(request, Request)
    assert (ack.method, request.method) == ("ACK", "INVITE")
    assert request.call_id == before.call_id
    assert request.from_ == before.from_
    assert request.cseq.number == before.cseq.number + 1
    assert request.top_via.branch != before.top_via.branch
    return request


# --- 422 -----------------------------------------------------------------------------------------------------


def test_a_422_is_answered_with_the_interval_it_asks_for() -> None:
    bench = Bench()
    number, sent = call(bench)
    assert sent.headers.get("Session-Expires") == "1800"
    bench.receive(reply(sent, 422, headers=(("Min-SE", "3600"),)))
    second = again(bench, sent)
    assert (second.headers.get("Session-Expires"), second.headers.get("Min-SE")) == ("3600", "3600")
    bench.receive(reply(second, 422, headers=(("Min-SE", "7200"),)))  # another proxy on the way
    third = again(bench, second)
    assert third.headers.get("Session-Expires") == "7200"
    bench.receive(reply(third, 200, "mon", sdp=ANSWER))
    assert bench.of(CallAnswered) == [CallAnswered(number, "mon", ANSWER)]


@pytest.mark.parametrize("headers", [(), (("Min-SE", "900"),), (("Min-SE", "soon"),)])
def test_a_422_that_asks_for_nothing_new_is_final(headers: tuple[tuple[str, str], ...]) -> None:
    bench = Bench()
    _, sent = call(bench)
    bench.receive(reply(sent, 422, headers=headers))
    assert bench.methods() == ["ACK"]
    assert ended(bench).status == 422


# --- pitfall 35: 3xx -----------------------------------------------------------------------------------------


def test_pitfall_35_a_redirection_within_the_same_host_is_followed() -> None:
    bench = Bench()
    number, sent = call(bench)
    bench.receive(reply(sent, 302, contact="<sip:other@10.0.0.2:5070?Subject=x;method=BYE>"))
    second = again(bench, sent)
    assert str(second.uri) == "sip:other@10.0.0.2:5070"
    assert str(second.to.uri) == "sip:mon@10.0.0.2"
    assert bench.opened[-1] == Target("udp", "10.0.0.2", 5070)
    bench.receive(reply(second, 200, "mon", sdp=ANSWER))
    assert bench.of(CallAnswered) == [CallAnswered(number, "mon", ANSWER)]


@pytest.mark.parametrize(
    "target", ["sip:premium@10.9.9.9", "sips:mon@10.0.0.2", "tel:+906123", "sip:mon@10.0.0.22"]
)
def test_pitfall_35_a_redirection_to_anywhere_else_ends_the_call(target: str) -> None:
    bench = Bench()
    _, sent = call(bench)
    bench.receive(reply(sent, 302, contact=f"<{target}>"))
    assert bench.methods() == ["ACK"]
    assert ended(bench).status == 302


def test_pitfall_35_what_the_configuration_allows_is_followed_best_first() -> None:
    allowed = (Uri.parse("sip:10.0.0.5"), Uri.parse("sip:night@10.0.0.6"))
    bench = Bench(Configuration(redirect_to=allowed))
    _, sent = call(bench)
    contacts = "<sip:a@10.9.9.9>, <sip:b@10.0.0.5>;q=0.2, <sip:night@10.0.0.6>;q=0.7, <sip:day@10.0.0.6>;q=0.9"
    bench.receive(reply(sent, 300, contact=contacts))
    assert str(again(bench, sent).uri) == "sip:night@10.0.0.6"


def test_pitfall_35_a_ring_of_redirections_is_left_where_it_closes() -> None:
    bench = Bench()
    _, sent = call(bench)
    for user in ("a", "b"):
        bench.receive(reply(sent, 302, contact=f"<sip:{user}@10.0.0.2>"))
        sent = again(bench, sent)
    bench.receive(reply(sent, 302, contact="<sip:mon@10.0.0.2>, <sip:a@10.0.0.2>"))
    assert bench.methods() == ["ACK"]
    assert ended(bench).status == 302


def test_an_endless_chain_of_redirections_ends() -> None:
    bench = Bench()
    _, sent = call(bench)
    for step in range(50):
        bench.receive(reply(sent, 302, contact=f"<sip:{step}@10.0.0.2>"))
        invites = [m for m in bench.sent() if isinstance(m, Request) and m.method == "INVITE"]
        if not invites:
            break
        (sent,) = invites
    assert step < 10
    assert ended(bench).status == 302


def test_a_redirected_call_of_an_account_still_goes_through_its_server() -> None:
    bench = Bench(PBX)
    _, sent = call(bench, "sip:101@pbx.example", account="pbx")
    bench.receive(reply(sent, 302, contact="<sip:102@pbx.example>"))
    assert str(again(bench, sent).uri) == "sip:102@pbx.example"
    assert bench.opened == [Target("udp", "10.0.0.2", 5060)] * 2


# --- pitfall 4 and 5: 488 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [415, 488, 580, 606])
def test_pitfall_04_a_phone_that_refuses_the_picture_is_asked_for_sound_alone(status: int) -> None:
    bench = Bench()
    number, sent = call(bench, others=(SOUND_ONLY,))
    bench.receive(reply(sent, 183, "mon", sdp=ANSWER))
    bench.events()
    bench.receive(reply(sent, status, "mon"))
    second = again(bench, sent)
    assert (second.body, second.content_type) == (SOUND_ONLY, "application/sdp")
    assert bench.events() == [OfferReduced(number, status)]
    bench.receive(reply(second, 200, "mon", sdp=ANSWER))
    assert bench.of(CallAnswered) == [CallAnswered(number, "mon", ANSWER)]


def test_offers_made_after_the_first_has_left_come_after_those_of_before() -> None:
    bench = Bench()
    number, sent = call(bench, others=(SOUND_ONLY,))
    bench.core.fall_back(number, (ANSWER,), bench.now)
    bench.receive(reply(sent, 488, "mon"))
    second = again(bench, sent)
    assert second.body == SOUND_ONLY
    bench.receive(reply(second, 488, "mon"))
    third = again(bench, second)
    assert third.body == ANSWER
    bench.receive(reply(third, 486, "mon"))
    bench.core.fall_back(number, (ANSWER,), bench.now)  # it is over: nothing to do
    assert ended(bench).status == 486


def test_other_offers_are_made_in_turn_until_none_is_left() -> None:
    bench = Bench()
    number, sent = call(bench, others=(ANSWER, SOUND_ONLY))
    for body in (ANSWER, SOUND_ONLY):
        bench.receive(reply(sent, 488, "mon"))
        sent = again(bench, sent)
        assert sent.body == body
    assert bench.of(OfferReduced) == [OfferReduced(number, 488)] * 2
    bench.receive(reply(sent, 488, "mon"))
    assert bench.methods() == ["ACK"]
    assert ended(bench).status == 488


def test_pitfall_04_a_phone_that_refuses_sound_too_is_left_alone() -> None:
    bench = Bench()
    _, sent = call(bench, others=(SOUND_ONLY,))
    bench.receive(reply(sent, 488, "mon"))
    second = again(bench, sent)
    bench.receive(reply(second, 606, "mon"))
    assert bench.methods() == ["ACK"]
    assert ended(bench).status == 606


def test_a_refused_offer_without_an_alternative_ends_the_call() -> None:
    bench = Bench()
    _, sent = call(bench)
    bench.receive(reply(sent, 488, "mon"))
    assert bench.methods() == ["ACK"]
    assert ended(bench).status == 488


# --- 503 -----------------------------------------------------------------------------------------------------


def test_a_503_that_says_when_to_come_back_is_asked_once_more() -> None:
    bench = Bench()
    number, sent = call(bench)
    bench.receive(reply(sent, 503, headers=(("Retry-After", "3 (restarting)"),)))
    assert bench.methods() == ["ACK"]
    bench.advance(2.9)
    assert bench.sent() == []
    bench.advance(0.2)
    second = bench.request("INVITE")
    assert second.cseq.number == 2
    bench.receive(reply(second, 503, headers=(("Retry-After", "3"),)))
    assert bench.methods() == ["ACK"]
    assert (ended(bench).call, bench.core.counts()["pending_requests"]) == (number, 0)


def test_a_503_that_wants_a_longer_rest_is_final() -> None:
    bench = Bench()
    _, sent = call(bench)
    bench.receive(reply(sent, 503, headers=(("Retry-After", "120"),)))
    assert bench.methods() == ["ACK"]
    assert ended(bench).status == 503


def test_a_call_hung_up_while_it_waits_to_be_sent_again_sends_nothing() -> None:
    bench = Bench()
    _, sent = call(bench)
    bench.receive(reply(sent, 503, headers=(("Retry-After", "3"),)))
    bench.sent()
    bench.core.hangup(1, bench.now)
    bench.advance(10)
    assert bench.sent() == []
    assert ended(bench).by == "us"
    assert bench.core.counts()["pending_requests"] == 0


# --- all together --------------------------------------------------------------------------------------------


def test_one_call_may_be_challenged_lengthened_redirected_and_reduced_and_is_still_one_call() -> None:
    bench = Bench(PBX)
    number, sent = call(bench, "sip:101@pbx.example", account="pbx", others=(SOUND_ONLY,))
    challenge = ("Proxy-Authenticate", 'Digest realm="pbx", nonce="n1", qop="auth", algorithm=MD5')
    refusals = ((407, challenge), (422, ("Min-SE", "2000")), (302, ("X", "y")), (488, ("X", "y")))
    for status, header in refusals:
        bench.receive(reply(sent, status, "x", contact="<sip:102@pbx.example>", headers=(header,)))
        sent = again(bench, sent)
    assert str(sent.cseq) == "5 INVITE"
    assert "nc=" in (sent.headers.get("Proxy-Authorization") or "")
    assert (sent.headers.get("Session-Expires"), sent.body) == ("2000", SOUND_ONLY)
    bench.receive(reply(sent, 180, "mon"))
    bench.receive(reply(sent, 200, "mon", sdp=ANSWER))
    told: list[Event] = [event for event in bench.events() if not isinstance(event, OfferReduced)]
    assert told == [
        InviteSent(number, bench.flow),
        CallProgress(number, "mon", 180, b""),
        CallAnswered(number, "mon", ANSWER),
    ]
