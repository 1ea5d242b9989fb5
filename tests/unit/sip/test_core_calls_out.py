"""INVITE as client, message by message: forks, CANCEL, late answers, credentials, failures.

The pitfalls are numbered as in the project's research on SIP: 13 forking, 14 CANCEL, 23 large requests, 30 ACK.
"""

import pytest

from firmware.sip.configuration import Account, Configuration
from firmware.sip.errors import LocalProtocolError
from firmware.sip.events import (
    CallAnswered,
    CallEnded,
    CallProgress,
    CallTrying,
    InfoReceived,
    InviteSent,
    Reoffered,
)
from firmware.sip.message import Request
from firmware.sip.types import Target
from firmware.sip.uri import Uri
from tests.support.sip_link import Bench, reply, request_of

OFFER, ANSWER = b"v=0\r\ns=offer\r\n", b"v=0\r\ns=answer\r\n"
ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'
PBX = Configuration(
    accounts=(
        Account(
            "pbx", Uri.parse("sip:door@pbx.example"), "Street door", Uri.parse("sip:10.0.0.2"), password="secret"
        ),
    )
)


def call(bench: Bench, uri: str = "sip:mon@10.0.0.2", **options: object) -> tuple[int, Request]:
    number = bench.core.invite(Uri.parse(uri), OFFER, bench.now, **options)
    return number, bench.request("INVITE")


def answered(bench: Bench) -> tuple[int, Request]:
    number, sent = call(bench)
    bench.receive(reply(sent, 200, "mon", sdp=ANSWER))
    bench.sent()
    bench.events()
    return number, sent


def in_dialog(sent: Request, method: str, cseq: int = 2, **options: object) -> Request:
    return request_of(
        method,
        branch=f"z9hG4bK{method}{cseq}",
        call_id=sent.call_id,
        tag="mon",
        to_tag=sent.from_.tag or "",
        cseq=cseq,
        **options,
    )


# --- the plain call ------------------------------------------------------------------------------------------


def test_a_call_that_rings_is_answered_and_hung_up_by_us() -> None:
    bench = Bench()
    number, sent = call(bench)
    assert bench.events() == [InviteSent(number, bench.flow)]
    bench.receive(reply(sent, 100, ""))
    bench.receive(reply(sent, 180, "mon"))
    bench.receive(reply(sent, 180, "mon"))
    assert bench.events() == [CallTrying(number), CallProgress(number, "mon", 180, b"")]
    bench.receive(reply(sent, 200, "mon", sdp=ANSWER))
    ack = bench.request("ACK")
    assert (ack.to.tag, str(ack.cseq), str(ack.uri)) == ("mon", "1 ACK", "sip:mon@10.0.0.2")
    assert ack.top_via.branch != sent.top_via.branch
    assert bench.events() == [CallAnswered(number, "mon", ANSWER)]
    bench.core.hangup(number, bench.now)
    bye = bench.request("BYE")
    assert (bye.to.tag, str(bye.cseq)) == ("mon", "2 BYE")
    assert bench.events() == [CallEnded(number, "us", 200, "")]
    bench.receive(reply(bye, 200))
    assert bench.core.counts()["pending_requests"] == 0


def test_the_peer_hangs_up_and_says_why() -> None:
    bench = Bench()
    number, sent = answered(bench)
    bench.receive(in_dialog(sent, "BYE", headers=(("Reason", 'Q.850;cause=16;text="Normal call clearing"'),)))
    assert bench.statuses() == [200]
    assert bench.events() == [CallEnded(number, "peer", 200, "Normal call clearing")]


def test_a_direct_call_names_us_by_our_own_address() -> None:
    _, sent = call(Bench(), display_name="Flat 3")
    assert sent.from_.display_name == "Flat 3"
    assert str(sent.from_.uri) == "sip:portero@10.0.0.1"
    assert str(sent.contacts[0].uri) == "sip:portero@10.0.0.1:5060"


def test_an_account_calls_through_its_own_server() -> None:
    bench = Bench(PBX)
    _, sent = call(bench, "sip:101@pbx.example", account="pbx", headers=(("Subject", "front door"),))
    assert bench.opened == [Target("udp", "10.0.0.2", 5060)]
    assert str(sent.from_.uri) == "sip:door@pbx.example"
    assert sent.from_.display_name == "Street door"
    assert str(sent.contacts[0].uri) == "sip:door@10.0.0.1:5060"
    assert sent.headers.get("Subject") == "front door"


def test_an_outbound_proxy_is_a_preloaded_route() -> None:
    account = Account(
        "pbx", Uri.parse("sip:door@pbx.example"), outbound_proxy=Uri.parse("sip:10.0.0.9:5080"), register=False
    )
    bench = Bench(Configuration(accounts=(account,)))
    _, sent = call(bench, "sip:101@pbx.example", account="pbx")
    assert bench.opened == [Target("udp", "10.0.0.9", 5080)]
    assert sent.headers.get_all("Route") == ["<sip:10.0.0.9:5080;lr>"]
    assert str(sent.uri) == "sip:101@pbx.example"


def test_what_cannot_be_called_is_the_callers_fault() -> None:
    bench = Bench()
    with pytest.raises(LocalProtocolError, match="sip: URI"):
        bench.core.invite(Uri.parse("tel:+34911234567"), b"", 0.0)
    with pytest.raises(LocalProtocolError, match="no account"):
        bench.core.invite(Uri.parse("sip:a@b"), b"", 0.0, account="nowhere")
    with pytest.raises(LocalProtocolError, match="no call 7"):
        bench.core.hangup(7, 0.0)


@pytest.mark.parametrize(
    "options",
    [{"display_name": "a\r\nVia: x"}, {"headers": (("Subject", "a\nb"),)}, {"headers": (("No name", "x"),)}],
)
def test_what_cannot_be_written_is_refused_at_once_and_leaves_no_call(options: dict[str, object]) -> None:
    bench = Bench()
    with pytest.raises(LocalProtocolError):
        bench.core.invite(Uri.parse("sip:mon@10.0.0.2"), OFFER, 0.0, **options)
    assert bench.core.counts()["calls"] == 0
    assert bench.sent() == []


def test_ringing_may_last_for_ever() -> None:
    bench = Bench()
    number, sent = call(bench)
    bench.receive(reply(sent, 180, "mon"))
    bench.events()
    bench.advance(3600)
    assert bench.events() == []
    bench.receive(reply(sent, 200, "mon"))
    assert bench.events() == [CallAnswered(number, "mon", b"")]


# --- pitfall 13: forking -------------------------------------------------------------------------------------


def test_pitfall_13_each_fork_that_rings_is_an_early_dialog_with_its_own_sdp() -> None:
    bench = Bench()
    number, sent = call(bench)
    bench.receive(reply(sent, 183, "one", sdp=b"v=0\r\ns=one\r\n"))
    bench.receive(reply(sent, 183, "two", sdp=b"v=0\r\ns=two\r\n"))
    assert [(e.dialog, e.sdp) for e in bench.of(CallProgress)] == [
        ("one", b"v=0\r\ns=one\r\n"),
        ("two", b"v=0\r\ns=two\r\n"),
    ]
    assert bench.core.counts()["dialogs"] == 2
    bench.receive(reply(sent, 200, "two", sdp=ANSWER))
    assert bench.of(CallAnswered) == [CallAnswered(number, "two", ANSWER)]
    assert bench.core.counts()["dialogs"] == 1


def test_pitfall_13_the_second_2xx_of_a_fork_is_acknowledged_then_ended() -> None:
    bench = Bench()
    number, sent = call(bench)
    bench.receive(reply(sent, 200, "one", contact="<sip:one@10.0.0.3>", sdp=ANSWER))
    bench.sent()
    bench.events()
    bench.receive(
        reply(
            sent,
            200,
            "two",
            contact="<sip:two@10.0.0.4:5070>",
            headers=(("Record-Route", "<sip:10.0.0.8;lr>, <sip:10.0.0.7;lr>"),),
        )
    )
    flows = bench.sent_on()
    ack, bye = (message for _, message in flows)
    assert isinstance(ack, Request)
    assert isinstance(bye, Request)
    assert (ack.method, bye.method) == ("ACK", "BYE")
    assert {flow.remote for flow, _ in flows} == {("10.0.0.7", 5060)}
    assert [str(route) for route in ack.routes] == ["<sip:10.0.0.7;lr>", "<sip:10.0.0.8;lr>"]
    assert ack.to.tag == bye.to.tag == "two"
    assert str(ack.uri) == str(bye.uri) == "sip:two@10.0.0.4:5070"
    assert bench.events() == []
    assert bench.core.counts()["calls"] == 1
    bench.core.hangup(number, bench.now)
    assert bench.request("BYE").to.tag == "one"


def test_pitfall_13_an_answer_without_a_to_tag_makes_a_call() -> None:
    bench = Bench()
    number, sent = call(bench)
    bench.receive(reply(sent, 200, "", sdp=ANSWER))
    assert bench.request("ACK").to.tag is None
    assert bench.of(CallAnswered) == [CallAnswered(number, "", ANSWER)]
    bench.core.hangup(number, bench.now)
    assert bench.request("BYE").to.tag is None


def test_a_fork_that_ended_is_forgotten_at_199_and_the_others_ring_on() -> None:
    bench = Bench()
    number, sent = call(bench)
    bench.receive(reply(sent, 180, "one"))
    bench.receive(reply(sent, 180, "two"))
    bench.receive(reply(sent, 199, "one"))
    assert bench.core.counts()["dialogs"] == 1
    assert bench.events()[-1] == CallProgress(number, "one", 199, b"")


# --- pitfall 14: CANCEL --------------------------------------------------------------------------------------


def test_pitfall_14_a_cancel_waits_for_the_first_provisional_answer() -> None:
    bench = Bench()
    number, sent = call(bench)
    bench.core.hangup(number, bench.now, reason=ELSEWHERE)
    assert bench.sent() == []
    bench.receive(reply(sent, 100, ""))
    cancel = bench.request("CANCEL")
    assert cancel.top_via == sent.top_via
    assert str(cancel.cseq) == "1 CANCEL"
    assert str(cancel.uri) == str(sent.uri)
    assert cancel.to.tag is None
    assert cancel.headers.get("Reason") == ELSEWHERE
    bench.receive(reply(cancel, 200))
    bench.receive(reply(sent, 487, "mon"))
    assert bench.methods() == ["ACK"]
    assert bench.of(CallEnded) == [CallEnded(number, "us", 487, "Request Terminated")]


def test_pitfall_14_one_cancel_however_often_it_is_asked_for_and_however_many_ring() -> None:
    bench = Bench()
    number, sent = call(bench)
    bench.receive(reply(sent, 180, "one"))
    bench.sent()
    bench.core.hangup(number, bench.now)
    bench.core.hangup(number, bench.now)
    bench.receive(reply(sent, 180, "two"))
    assert bench.methods() == ["CANCEL"]


def test_late_200_after_cancel_is_acknowledged_and_ended() -> None:
    """Pitfall 14: the CANCEL and the answer crossed."""
    bench = Bench()
    number, sent = call(bench)
    bench.receive(reply(sent, 180, "mon"))
    bench.core.hangup(number, bench.now, reason=ELSEWHERE)
    cancel = bench.request("CANCEL")
    bench.events()
    bench.receive(reply(sent, 200, "mon", sdp=ANSWER))
    ack, bye = bench.sent()
    assert isinstance(ack, Request)
    assert isinstance(bye, Request)
    assert (ack.method, bye.method) == ("ACK", "BYE")
    assert bye.headers.get("Reason") == ELSEWHERE
    bench.receive(reply(cancel, 481))
    (ended,) = bench.events()
    assert isinstance(ended, CallEnded)
    assert (ended.by, ended.status) == ("us", 200)
    bench.receive(reply(sent, 200, "mon", sdp=ANSWER))
    assert bench.methods() == ["ACK"]
    assert bench.events() == []


def test_pitfall_14_a_cancelled_invite_without_a_final_answer_is_dropped_after_64_t1() -> None:
    bench = Bench()
    number, sent = call(bench)
    bench.receive(reply(sent, 180, "mon"))
    bench.core.hangup(number, bench.now)
    bench.receive(reply(bench.request("CANCEL"), 200))
    bench.events()
    bench.advance(31.9)
    assert bench.events() == []
    bench.advance(0.2)
    (ended,) = bench.of(CallEnded)
    assert isinstance(ended, CallEnded)
    assert (ended.by, ended.status) == ("us", 487)
    bench.advance(10)
    assert bench.core.counts()["transactions"] == 0


def test_a_call_hung_up_before_its_name_is_resolved_sends_nothing() -> None:
    bench = Bench()
    number = bench.core.invite(Uri.parse("sip:mon@slow.example"), OFFER, 0.0)
    resolve = bench.core.take_actions()[0]
    bench.core.hangup(number, 0.1)
    assert [type(event) for event in bench.events()] == [CallEnded]
    bench.core.resolved(resolve.token, (Target("udp", "10.0.0.2", 5060),), "", 0.2)
    assert bench.sent() == []


# --- pitfall 30: ACK -----------------------------------------------------------------------------------------


def test_pitfall_30_every_retransmitted_2xx_is_acknowledged_again_with_the_same_ack() -> None:
    bench = Bench()
    _, sent = call(bench)
    acks = []
    for _ in range(4):
        bench.receive(reply(sent, 200, "mon", sdp=ANSWER))
        acks.append(bytes(bench.one()))
        bench.advance(4)
    assert len(set(acks)) == 1
    assert len(bench.of(CallAnswered)) == 1


def test_pitfall_30_the_ack_goes_to_the_contact_by_the_reversed_record_route() -> None:
    bench = Bench()
    _, sent = call(bench)
    routes = (("Record-Route", "<sip:10.0.0.20;lr>"), ("Record-Route", "<sip:10.0.0.2;lr>"))
    bench.receive(reply(sent, 200, "mon", contact="<sip:mon@192.168.9.9:5099>", headers=routes))
    ((flow, ack),) = bench.sent_on()
    assert isinstance(ack, Request)
    assert flow.remote == ("10.0.0.2", 5060)
    assert str(ack.uri) == "sip:mon@192.168.9.9:5099"
    assert [str(route.uri) for route in ack.routes] == ["sip:10.0.0.2;lr", "sip:10.0.0.20;lr"]


def test_pitfall_30_a_503_is_acknowledged_before_the_next_server_is_tried() -> None:
    bench = Bench()
    bench.names["mon.example"] = (Target("udp", "10.0.0.2", 5060), Target("udp", "10.0.0.3", 5060))
    _, sent = call(bench, "sip:mon@mon.example")
    bench.receive(reply(sent, 503))
    (first, ack), (second, again) = bench.sent_on()
    assert isinstance(ack, Request)
    assert isinstance(again, Request)
    assert (first.remote[0], ack.method) == ("10.0.0.2", "ACK")
    assert (second.remote[0], again.method) == ("10.0.0.3", "INVITE")
    assert again.call_id == sent.call_id
    assert again.top_via.branch != sent.top_via.branch


# --- credentials ---------------------------------------------------------------------------------------------


def test_a_challenged_invite_is_sent_again_with_credentials_that_its_ack_and_cancel_carry() -> None:
    bench = Bench(PBX)
    number, sent = call(bench, "sip:101@pbx.example", account="pbx")
    challenge = (("Proxy-Authenticate", 'Digest realm="pbx", nonce="n1", qop="auth", algorithm=MD5'),)
    bench.receive(reply(sent, 407, "proxy", headers=challenge))
    ack, again = bench.sent()
    assert isinstance(ack, Request)
    assert isinstance(again, Request)
    assert ack.method == "ACK"
    assert str(again.cseq) == "2 INVITE"
    assert again.call_id == sent.call_id
    assert again.from_.tag == sent.from_.tag
    assert again.to.tag is None
    credentials = again.headers.get("Proxy-Authorization") or ""
    assert 'username="door"' in credentials
    assert "nc=00000001" in credentials
    bench.receive(reply(again, 180, "mon"))
    bench.receive(reply(again, 200, "mon", sdp=ANSWER))
    assert bench.request("ACK").headers.get("Proxy-Authorization") == credentials
    assert len(bench.of(CallAnswered)) == 1
    bench.core.hangup(number, bench.now)
    bye = bench.request("BYE")
    assert str(bye.cseq) == "3 BYE"
    assert "nc=00000002" in (bye.headers.get("Proxy-Authorization") or "")


def test_a_refused_password_ends_the_call_with_the_challenge() -> None:
    bench = Bench(PBX)
    number, sent = call(bench, "sip:101@pbx.example", account="pbx")
    challenge = 'Digest realm="pbx", nonce="{}", qop="auth", algorithm=MD5'
    bench.receive(reply(sent, 401, headers=(("WWW-Authenticate", challenge.format("n1")),)))
    again = bench.request("INVITE")
    bench.receive(reply(again, 401, headers=(("WWW-Authenticate", challenge.format("n2")),)))
    assert bench.methods() == ["ACK"]
    (ended,) = bench.of(CallEnded)
    assert isinstance(ended, CallEnded)
    assert (ended.call, ended.by, ended.status) == (number, "peer", 401)


def test_a_call_given_up_is_not_sent_again_for_a_challenge() -> None:
    bench = Bench(PBX)
    number, sent = call(bench, "sip:101@pbx.example", account="pbx")
    bench.core.hangup(number, bench.now)
    challenge = (("Proxy-Authenticate", 'Digest realm="pbx", nonce="n1"'),)
    bench.receive(reply(sent, 407, headers=challenge))
    assert bench.methods() == ["ACK"]
    (ended,) = bench.of(CallEnded)
    assert isinstance(ended, CallEnded)
    assert (ended.call, ended.by) == (number, "us")


def test_a_call_hung_up_while_its_second_attempt_waits_for_tcp_is_not_sent() -> None:
    bench = Bench(PBX)
    bench.silent.add(Target("tcp", "10.0.0.2", 5060))
    number = bench.core.invite(Uri.parse("sip:101@pbx.example"), b"v=0\r\n" + b"a=x\r\n" * 140, 0.0, account="pbx")
    sent = bench.request("INVITE")
    assert 1100 < len(bytes(sent)) < 1300
    bench.receive(reply(sent, 407, headers=(("Proxy-Authenticate", f'Digest realm="pbx", nonce="{200 * "n"}"'),)))
    assert bench.methods() == ["ACK"], "with its credentials it is too large for UDP, and TCP is being tried"
    bench.core.hangup(number, bench.now)
    bench.advance(1)
    assert bench.methods() == []
    assert len(bench.of(CallEnded)) == 1


# --- what fails ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "phrase", "headers", "reason"),
    [
        (486, "Busy Here", (), "Busy Here"),
        (603, "Nope", (("Reason", 'SIP;cause=603;text="Do not disturb"'),), "Do not disturb"),
        (302, "Moved", (), "Moved"),
    ],
)
def test_a_refusal_ends_the_call_with_its_status_and_words(
    status: int, phrase: str, headers: tuple[tuple[str, str], ...], reason: str
) -> None:
    bench = Bench()
    number, sent = call(bench)
    bench.receive(reply(sent, status, reason=phrase, headers=headers))
    assert bench.methods() == ["ACK"]
    assert bench.of(CallEnded) == [CallEnded(number, "peer", status, reason)]


def test_nobody_answers_within_64_t1() -> None:
    bench = Bench()
    number, _ = call(bench)
    bench.advance(33)
    assert bench.methods() == ["INVITE"] * 6
    assert bench.of(CallEnded) == [CallEnded(number, "network", 408, "10.0.0.2:5060 (udp): no answer")]


def test_an_unknown_name_fails_at_once() -> None:
    bench = Bench()
    number = bench.core.invite(Uri.parse("sip:mon@nowhere.example"), OFFER, 0.0)
    assert bench.sent() == []
    assert bench.of(CallEnded) == [CallEnded(number, "network", 503, "nowhere.example: name not found")]


def test_icmp_fails_an_unanswered_invite_and_leaves_a_ringing_one_alone() -> None:
    bench = Bench()
    ringing, sent = call(bench)
    bench.receive(reply(sent, 180, "mon"))
    failed, _ = call(bench)
    bench.core.send_failed(bench.flow, "port unreachable", bench.now)
    (ended,) = bench.of(CallEnded)
    assert ended == CallEnded(failed, "network", 503, "10.0.0.2:5060 (udp): port unreachable")
    bench.receive(reply(sent, 200, "mon"))
    assert bench.of(CallAnswered) == [CallAnswered(ringing, "mon", b"")]


def test_a_refused_tcp_connection_fails_at_once_and_says_where() -> None:
    bench = Bench()
    bench.refused[Target("tcp", "10.0.0.2", 5060)] = "connection refused"
    number = bench.core.invite(Uri.parse("sip:mon@10.0.0.2;transport=tcp"), OFFER, 0.0)
    bench.sent()
    assert bench.of(CallEnded) == [CallEnded(number, "network", 503, "10.0.0.2:5060 (tcp): connection refused")]


def test_the_next_server_is_tried_when_the_first_is_silent_refuses_or_is_unreachable() -> None:
    bench = Bench()
    dead, deaf, gone, good = (Target("udp", f"10.0.0.{n}", 5060) for n in (11, 12, 13, 14))
    bench.names["mon.example"] = (dead, deaf, gone, good)
    bench.refused[dead] = "network unreachable"
    number, _ = call(bench, "sip:mon@mon.example")
    bench.core.send_failed(bench.flow_to("10.0.0.12"), "port unreachable", bench.now)
    bench.sent()
    bench.advance(32.5)
    (*_, (flow, last)) = bench.sent_on()
    assert flow.remote[0] == "10.0.0.14"
    assert isinstance(last, Request)
    bench.receive(reply(last, 200, "mon", sdp=ANSWER), flow)
    assert bench.of(CallAnswered) == [CallAnswered(number, "mon", ANSWER)]


def test_a_lost_connection_ends_a_call_that_rings_over_it() -> None:
    bench = Bench()
    number = bench.core.invite(Uri.parse("sip:mon@10.0.0.2;transport=tcp"), OFFER, 0.0)
    ((flow, sent),) = bench.sent_on()
    assert isinstance(sent, Request)
    bench.receive(reply(sent, 180, "mon"), flow)
    bench.events()
    bench.core.flow_closed(flow, "connection reset", bench.now)
    assert bench.events() == [CallEnded(number, "network", 503, "10.0.0.2:5060 (tcp): connection reset")]


def test_a_call_outlives_the_connection_it_was_made_on() -> None:
    bench = Bench()
    number = bench.core.invite(Uri.parse("sip:mon@10.0.0.2;transport=tcp"), OFFER, 0.0)
    ((flow, sent),) = bench.sent_on()
    assert isinstance(sent, Request)
    bench.receive(reply(sent, 200, "mon", contact="<sip:mon@10.0.0.2;transport=tcp>"), flow)
    bench.sent()
    bench.core.flow_closed(flow, "connection reset", bench.now)
    bench.core.hangup(number, bench.now)
    ((other, bye),) = bench.sent_on()
    assert isinstance(bye, Request)
    assert (bye.method, other.transport, other.number != flow.number) == ("BYE", "tcp", True)


# --- pitfall 23: large requests ------------------------------------------------------------------------------

LARGE = b"v=0\r\n" + b"a=x\r\n" * 300


def test_pitfall_23_a_large_invite_goes_by_tcp_with_a_tcp_via_and_the_contact_of_before() -> None:
    bench = Bench()
    bench.core.invite(Uri.parse("sip:mon@10.0.0.2"), LARGE, 0.0)
    ((flow, sent),) = bench.sent_on()
    assert isinstance(sent, Request)
    assert flow.transport == "tcp"
    assert sent.top_via.transport == "TCP"
    assert str(sent.contacts[0].uri) == "sip:portero@10.0.0.1:5060"


def test_pitfall_23_where_tcp_is_refused_the_large_invite_goes_by_udp_with_a_udp_via() -> None:
    bench = Bench()
    tcp = Target("tcp", "10.0.0.2", 5060)
    bench.refused[tcp] = "connection refused"
    for _ in range(2):
        bench.core.invite(Uri.parse("sip:mon@10.0.0.2"), LARGE, 0.0)
        ((flow, sent),) = bench.sent_on()
        assert isinstance(sent, Request)
        assert flow.transport == "udp"
        assert sent.top_via.transport == "UDP"
    assert bench.opened.count(tcp) == 1, "the refusal is remembered"


def test_pitfall_23_a_firewall_that_swallows_the_connection_costs_half_a_second() -> None:
    bench = Bench()
    bench.silent.add(Target("tcp", "10.0.0.2", 5060))
    bench.core.invite(Uri.parse("sip:mon@10.0.0.2"), LARGE, 0.0)
    assert bench.sent() == []
    bench.advance(0.5)
    ((flow, _),) = bench.sent_on()
    assert flow.transport == "udp"


def test_pitfall_23_a_connection_that_dies_unanswered_gives_way_to_udp() -> None:
    bench = Bench()
    number = bench.core.invite(Uri.parse("sip:mon@10.0.0.2"), LARGE, 0.0)
    ((flow, _),) = bench.sent_on()
    bench.core.flow_closed(flow, "connection reset", bench.now)
    ((fallback, sent),) = bench.sent_on()
    assert fallback.transport == "udp"
    assert isinstance(sent, Request)
    bench.receive(reply(sent, 200, "mon"))
    assert bench.of(CallAnswered) == [CallAnswered(number, "mon", b"")]


def test_a_small_request_in_the_dialog_of_a_large_invite_goes_by_udp_again() -> None:
    bench = Bench()
    number = bench.core.invite(Uri.parse("sip:mon@10.0.0.2"), LARGE, 0.0)
    ((flow, sent),) = bench.sent_on()
    assert isinstance(sent, Request)
    bench.receive(reply(sent, 200, "mon"), flow)
    bench.sent()
    bench.core.hangup(number, bench.now)
    ((other, _),) = bench.sent_on()
    assert other.transport == "udp"


# --- within the call -----------------------------------------------------------------------------------------


def test_info_goes_out_and_a_peer_that_knows_no_such_call_ends_it() -> None:
    bench = Bench()
    number, _ = answered(bench)
    bench.core.info(number, "application/dtmf-relay", b"Signal=1\r\n", bench.now)
    info = bench.request("INFO")
    assert (info.content_type, info.body) == ("application/dtmf-relay", b"Signal=1\r\n")
    bench.receive(reply(info, 200))
    assert bench.events() == []
    bench.core.info(number, "application/dtmf-relay", b"Signal=2\r\n", bench.now)
    bench.receive(reply(bench.request("INFO"), 481))
    assert bench.methods() == ["BYE"]
    (ended,) = bench.of(CallEnded)
    assert isinstance(ended, CallEnded)
    assert (ended.by, ended.status) == ("peer", 481)


def test_pitfall_12_info_is_heard_in_an_early_dialog() -> None:
    """Pitfall 12: the door may be opened while it rings, if the policy says so."""
    bench = Bench()
    number, sent = call(bench)
    bench.receive(reply(sent, 183, "mon", sdp=ANSWER))
    bench.events()
    body = b"Signal=5\r\nDuration=160\r\n"
    bench.receive(in_dialog(sent, "INFO", headers=(("Content-Type", "application/dtmf-relay"),), body=body))
    assert bench.statuses() == [200]
    assert bench.events() == [InfoReceived(number, "application/dtmf-relay", body)]


def test_a_reinvite_before_the_answer_is_told_to_wait() -> None:
    bench = Bench()
    _, sent = call(bench)
    bench.receive(reply(sent, 183, "mon", sdp=ANSWER))
    bench.events()
    bench.receive(in_dialog(sent, "INVITE", headers=(("Content-Type", "application/sdp"),), body=OFFER))
    assert bench.statuses() == [491]
    assert bench.of(Reoffered) == []


def test_a_bye_from_a_fork_that_only_rings_ends_that_fork_and_not_the_call() -> None:
    bench = Bench()
    number, sent = call(bench)
    bench.receive(reply(sent, 180, "mon"))
    bench.receive(reply(sent, 180, "other"))
    bench.receive(in_dialog(sent, "BYE"))
    assert bench.statuses() == [200]
    assert bench.of(CallEnded) == []
    bench.receive(reply(sent, 200, "other"))
    assert bench.of(CallAnswered) == [CallAnswered(number, "other", b"")]


def test_a_peer_behind_nat_whose_contact_nobody_can_find_is_acknowledged_where_it_was_heard() -> None:
    bench = Bench()
    _, sent = call(bench)
    bench.receive(reply(sent, 200, "mon", contact="<sip:mon@phone.invalid>"))
    ((flow, ack),) = bench.sent_on()
    assert isinstance(ack, Request)
    assert (ack.method, flow.remote) == ("ACK", ("10.0.0.2", 5060))
