"""What a user agent server owes to requests outside its dialogs: RFC 3261 section 8.2, and where answers go."""

import pytest

from firmware.sip.events import IncomingCall
from firmware.sip.message import Request, Response
from tests.support.sip_link import Bench, invite, request_of


def answer(bench: Bench, request: Request) -> Response:
    bench.receive(request)
    message = bench.one()
    assert isinstance(message, Response)
    return message


def test_pitfall_22_options_is_always_answered_with_what_we_can_do() -> None:
    bench = Bench()
    response = answer(bench, request_of("OPTIONS", branch="z9hG4bK1"))
    assert response.status == 200
    assert response.to.tag
    assert "INVITE" in response.allow
    assert "application/sdp" in (response.headers.get("Accept") or "")
    assert "Supported" in response.headers


def test_pitfall_22_an_unsolicited_notify_is_taken_politely() -> None:
    bench = Bench()
    notify = request_of("NOTIFY", branch="z9hG4bK1", headers=(("Event", "message-summary"),))
    assert answer(bench, notify).status == 200
    assert answer(bench, request_of("NOTIFY", branch="z9hG4bK2", cseq=2)).status == 489


@pytest.mark.parametrize(
    ("method", "status"),
    [("SUBSCRIBE", 489), ("REFER", 403), ("REGISTER", 405), ("NEWMETHOD", 501), ("BYE", 481), ("UPDATE", 481)],
)
def test_a_method_we_do_not_serve_gets_its_status(method: str, status: int) -> None:
    response = answer(Bench(), request_of(method, branch="z9hG4bK1"))
    assert response.status == status
    assert ("Allow" in response.headers) == (status == 405)


def test_an_extension_we_do_not_have_is_named_in_the_420() -> None:
    request = request_of("OPTIONS", branch="z9hG4bK1", headers=(("Require", "nothingSupportsThis, gruu, 100rel"),))
    response = answer(Bench(), request)
    assert (response.status, response.headers.get("Unsupported")) == (420, "gruu, nothingSupportsThis")


def test_a_request_within_an_unknown_dialog_gets_481() -> None:
    assert answer(Bench(), request_of("INFO", branch="b", to_tag="x")).status == 481


def test_max_forwards_zero_is_too_many_hops_but_for_options() -> None:
    bench = Bench()
    request = invite()
    request.headers.set("Max-Forwards", "0")
    assert answer(bench, request).status == 483
    options = request_of("OPTIONS", branch="z9hG4bK2")
    options.headers.set("Max-Forwards", "0")
    assert answer(bench, options).status == 200


def test_a_request_uri_that_is_not_sips_gets_416() -> None:
    assert answer(Bench(), request_of("OPTIONS", branch="z9hG4bK1", uri="soap.beep://192.0.2.103")).status == 416


def test_a_body_we_cannot_read_gets_415() -> None:
    request = request_of("INVITE", branch="z9hG4bK1", headers=(("Content-Type", "text/plain"),), body=b"hello")
    assert answer(Bench(), request).status == 415


def test_the_same_request_by_another_way_is_merged() -> None:
    bench = Bench()
    bench.receive(invite(branch="z9hG4bKone"))
    bench.receive(invite(branch="z9hG4bKtwo"))
    assert bench.statuses() == [482]
    assert len(bench.of(IncomingCall)) == 1


def test_a_stray_ack_is_dropped_in_silence() -> None:
    bench = Bench()
    bench.receive(request_of("ACK", branch="z9hG4bK1", to_tag="x"))
    assert bench.sent() == []


def test_a_cseq_of_another_method_gets_400() -> None:
    request = request_of("OPTIONS", branch="z9hG4bK1")
    request.headers.set("CSeq", "1 INVITE")
    assert answer(Bench(), request).status == 400


def test_an_unreadable_version_gets_505() -> None:
    data = bytes(request_of("OPTIONS", branch="z9hG4bK1")).replace(b"SIP/2.0\r\nVia", b"SIP/7.0\r\nVia")
    bench = Bench()
    bench.receive(data)
    assert bench.statuses() == [505]


def test_a_peer_without_magic_cookies_is_served_by_rfc_2543s_rules() -> None:
    bench = Bench()
    request = invite(branch="1")
    bench.receive(request)
    bench.receive(request)
    (event,) = bench.of(IncomingCall)
    assert isinstance(event, IncomingCall)
    bench.core.hangup(event.call, bench.now, status=486)
    refusal = bench.one()
    ack = request_of("ACK", branch="1", to_tag=refusal.to.tag or "")
    ack.uri = request.uri
    bench.receive(ack)
    bench.advance(20)
    assert bench.sent() == [], "the ACK found its INVITE, so the refusal is not repeated"


# --- where the answer goes -----------------------------------------------------------------------------------


def answered_to(via: str, source: tuple[str, int]) -> tuple[tuple[str, int], Response]:
    bench = Bench()
    request = request_of("OPTIONS", branch="z9hG4bK1")
    request.headers.set("Via", via)
    bench.receive(request, bench.flow_to(*source))
    ((flow, response),) = bench.sent_on()
    assert isinstance(response, Response)
    return flow.remote, response


def test_an_answer_goes_to_the_source_address_and_the_port_of_the_via() -> None:
    to, response = answered_to("SIP/2.0/UDP phone.example:5070;branch=z9hG4bK1", ("10.0.0.2", 40001))
    assert to == ("10.0.0.2", 5070)
    assert response.top_via.received == "10.0.0.2"
    to, _ = answered_to("SIP/2.0/UDP phone.example;branch=z9hG4bK1", ("10.0.0.2", 40001))
    assert to == ("10.0.0.2", 5060)


def test_an_answer_goes_to_the_source_port_where_rport_asks_for_it() -> None:
    to, response = answered_to("SIP/2.0/UDP 192.168.0.9:5070;rport;branch=z9hG4bK1", ("10.0.0.2", 40001))
    assert to == ("10.0.0.2", 40001)
    assert (response.top_via.received, response.top_via.rport) == ("10.0.0.2", 40001)


def test_an_answer_over_tcp_goes_back_on_the_connection() -> None:
    bench = Bench()
    flow = bench.flow_to("10.0.0.2", 40001)
    flow = type(flow)("tcp", flow.local, flow.remote, flow.advertised, 9)
    bench.receive(request_of("OPTIONS", branch="z9hG4bK1"), flow)
    assert [sent for sent, _ in bench.sent_on()] == [flow]
