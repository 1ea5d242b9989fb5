"""Messages: read leniently, typed on demand, written strictly, answered from what was received."""

import pytest

from firmware.sip.errors import LocalProtocolError, RemoteProtocolError
from firmware.sip.message import (
    MAX_HEAD,
    Headers,
    Request,
    Response,
    check_request,
    check_response,
    parse_message,
    response_to,
)
from firmware.sip.uri import Uri
from tests.support.door_invite import DOOR_INVITE, SDP


def invite(*lines: str, body: bytes = b"", replace: dict[str, str] | None = None) -> bytes:
    """A small valid INVITE with fields replaced and lines added."""
    fields = {
        "Via": "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1",
        "From": "<sip:a@example.org>;tag=1",
        "To": "<sip:b@example.org>",
        "Call-ID": "1@example.org",
        "CSeq": "1 INVITE",
        "Max-Forwards": "70",
        **(replace or {}),
    }
    head = ["INVITE sip:b@example.org SIP/2.0", *(f"{name}: {value}" for name, value in fields.items()), *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def test_invite_of_a_door_is_read():
    message = parse_message(DOOR_INVITE)
    assert isinstance(message, Request)
    check_request(message)
    assert message.method == "INVITE"
    assert str(message.uri) == "sip:101@pbx.example.org:5060;transport=udp"
    assert message.top_via.branch == "z9hG4bK4f1c9a77d2e84b03a6"
    assert message.from_.display_name == "Flat 3B - Main door"
    assert message.from_.tag == "9b2f6c1d4e7a8053"
    assert message.to.tag is None
    assert message.call_id == "5d0c2b7e9f1a4c3e8b6d7a90f2e1c4b3"
    assert (message.cseq.number, message.cseq.method) == (1021, "INVITE")
    assert str(message.contacts[0].uri) == "sip:door@192.168.10.42:5060;transport=udp"
    assert str(message.routes[0]) == "<sip:pbx.example.org:5060;lr>"
    assert message.max_forwards == 70
    assert message.supported == {"timer", "100rel", "replaces", "outbound", "path"}
    assert "UPDATE" in message.allow
    assert message.content_type == "application/sdp"
    assert message.body == SDP
    assert message.repairs == ()


def test_message_is_written_as_it_was_read():
    assert parse_message(DOOR_INVITE).serialize() == DOOR_INVITE
    assert bytes(parse_message(memoryview(DOOR_INVITE))) == DOOR_INVITE


def test_typed_values_follow_the_field_they_were_read_from():
    message = parse_message(DOOR_INVITE)
    assert message.cseq.number == 1021
    message.headers.set("CSeq", "1022 INVITE")
    assert message.cseq.number == 1022
    message.headers.add("Route", "<sip:b;lr>, <sip:c;lr>")
    assert [route.uri.host for route in message.routes] == ["pbx.example.org", "b", "c"]
    message.headers.remove("Route")
    assert message.routes == []


def test_content_length_is_written_right_whatever_was_set():
    request = Request("MESSAGE", Uri.parse("sip:a@b"), Headers([("l", "9999"), ("To", "<sip:a@b>")]), b"four")
    assert request.serialize() == b"MESSAGE sip:a@b SIP/2.0\r\nTo: <sip:a@b>\r\nContent-Length: 4\r\n\r\nfour"


def test_response_without_a_reason_phrase_keeps_its_blank():
    assert Response(200).serialize() == b"SIP/2.0 200 \r\nContent-Length: 0\r\n\r\n"
    assert parse_message(b"SIP/2.0 200\r\n\r\n").status == 200


def test_reason_phrase_cannot_break_the_line():
    with pytest.raises(LocalProtocolError):
        Response(200, "OK\r\nEvil: 1").serialize()


def test_missing_content_length_means_the_rest_of_the_datagram():
    assert parse_message(invite(body=b"rest")).body == b"rest"


def test_octets_after_the_body_are_dropped_and_counted():
    message = parse_message(invite("Content-Length: 2", body=b"okgarbage"))
    assert (message.body, message.repairs) == (b"ok", ("octets-after-body",))


def test_pitfall_33_body_that_lacks_a_line_end_or_two_is_taken_and_counted():
    message = parse_message(invite("Content-Length: 10", body=b"v=0\r\no=-"))
    assert (message.body, message.repairs) == (b"v=0\r\no=-", ("short-body",))


@pytest.mark.parametrize("length", ["20", "-1", "x", "1e3", "²", "", "99999999999999999999999", "3, 3"])
def test_content_length_that_cannot_be_is_refused_with_an_answer(length):
    with pytest.raises(RemoteProtocolError) as refused:
        parse_message(invite(f"Content-Length: {length}", body=b"abc"))
    assert refused.value.status == 400
    assert response_to(refused.value.request, 400).serialize().startswith(b"SIP/2.0 400 Bad Request\r\nVia: ")


def test_content_lengths_may_repeat_but_not_contradict():
    assert parse_message(invite("l: 3", "Content-Length: 3", body=b"abc")).body == b"abc"
    with pytest.raises(RemoteProtocolError):
        parse_message(invite("l: 3", "Content-Length: 2", body=b"abc"))


def test_bare_line_feeds_and_a_missing_empty_line_are_mended():
    message = parse_message(invite("Content-Length: 3", body=b"abc").replace(b"\r\n", b"\n"))
    check_request(message)
    assert (message.body, message.repairs) == (b"abc", ("bare-lf",))
    message = parse_message(invite().rstrip())
    check_request(message)
    assert (message.max_forwards, message.repairs) == (70, ("no-empty-line",))


def test_line_ends_before_a_message_are_skipped():
    assert parse_message(b"\r\n\r\n" + DOOR_INVITE).body == SDP


def test_carriage_return_within_a_line_is_refused():
    with pytest.raises(RemoteProtocolError):
        parse_message(invite("Subject: a\rEvil: 1"))


def test_folded_line_is_one_blank():
    assert parse_message(invite("Subject: a", " \t b", "\tc")).headers.get("Subject") == "a b c"


def test_latin_1_is_read_as_such_and_answered_as_it_came():
    wire = invite(replace={"From": "Küche <sip:k@example.org>;tag=1"}).decode().encode("latin-1")
    message = parse_message(wire)
    assert message.from_.display_name == "Küche"
    assert message.repairs == ("latin-1",)
    assert "From: Küche <sip:k@example.org>;tag=1".encode("latin-1") in response_to(message, 200).serialize()


def test_answer_to_a_latin_1_peer_may_say_what_latin_1_cannot():
    response = response_to(parse_message(invite("Subject: \xfc".encode("latin-1").decode("latin-1"))), 200)
    response.charset = "latin-1"
    response.headers.add("Subject", "Дверь")
    assert "Subject: Дверь".encode() in response.serialize()


def test_head_and_number_of_lines_are_bounded():
    with pytest.raises(RemoteProtocolError) as refused:
        parse_message(invite("X: " + "a" * MAX_HEAD))
    assert refused.value.status == 513
    with pytest.raises(RemoteProtocolError) as refused:
        parse_message(invite(*["X: 1"] * 200))
    assert refused.value.status == 513


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"\0",
        b"GET / HTTP/1.1\r\n\r\n",
        b"INVITE\r\n\r\n",
        b"INVITE sip:a SIP/2.0 x",
        b"SIP/2.0 99 Low\r\n\r\n",
        b"SIP/2.0 700 High\r\n\r\n",
        b"SIP/2.0 2000 OK\r\n\r\n",
        b"SIP/2.0 abc\r\n\r\n",
        b"IN(VITE sip:a SIP/2.0\r\n\r\n",
        b"\xff" * 100,
    ],
)
def test_datagram_that_is_no_message_has_nobody_to_answer(data):
    with pytest.raises(RemoteProtocolError) as refused:
        parse_message(data)
    assert refused.value.request is None


@pytest.mark.parametrize(
    ("replace", "lines"),
    [
        ({"Via": ""}, ()),
        ({"Via": "SIP/2.0/UDP"}, ()),
        ({"From": "nobody"}, ()),
        ({"To": '"open <sip:b@example.org>'}, ()),
        ({"Call-ID": ""}, ()),
        ({"Call-ID": "two words"}, ()),
        ({"CSeq": "1 BYE"}, ()),
        ({"CSeq": "one INVITE"}, ()),
        ({"Max-Forwards": "256"}, ()),
        ({"Max-Forwards": "-1"}, ()),
        ({}, ("CSeq: 1 INVITE",)),
        ({}, ("Contact: sip:a@b?x=y",)),
        ({}, ("Route: nowhere",)),
        ({}, ("Record-Route: <sip:a",)),
    ],
)
def test_request_that_the_core_could_not_handle_is_refused_with_an_answer(replace, lines):
    request = parse_message(invite(*lines, replace=replace))
    with pytest.raises(RemoteProtocolError) as refused:
        check_request(request)
    assert refused.value.status == 400
    assert refused.value.request is request


def test_request_of_rfc_2543_without_branch_tag_and_max_forwards_is_accepted():
    wire = invite(replace={"Via": "SIP/2.0/UDP 192.0.2.1", "From": "sip:a@example.org"})
    request = parse_message(wire.replace(b"Max-Forwards: 70\r\n", b""))
    check_request(request)
    assert (request.top_via.branch, request.from_.tag, request.max_forwards) == (None, None, None)


def test_numbers_out_of_range_are_clamped_or_absent():
    message = parse_message(
        invite("Expires: 99999999999999999999", "Retry-After: 18 (busy);duration=60", "Min-Expires: soon")
    )
    assert (message.expires, message.retry_after, message.min_expires) == (2**32 - 1, 18, None)


def test_star_contact_is_told_apart():
    message = parse_message(invite("Contact: *"))
    assert message.contact_star
    assert message.contacts == []


def test_response_copies_what_it_must_and_tags_to():
    request = parse_message(invite("Record-Route: <sip:p;lr>", "Via: SIP/2.0/TCP b , SIP/2.0/UDP c", "Subject: no"))
    response = response_to(request, 180, to_tag="7")
    assert list(response.headers) == [
        ("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"),
        ("Via", "SIP/2.0/TCP b , SIP/2.0/UDP c"),
        ("From", "<sip:a@example.org>;tag=1"),
        ("To", "<sip:b@example.org>;tag=7"),
        ("Call-ID", "1@example.org"),
        ("CSeq", "1 INVITE"),
        ("Record-Route", "<sip:p;lr>"),
    ]
    assert response.reason_phrase == "Ringing"
    check_response(response)


def test_100_has_no_tag_and_a_refusal_no_route():
    request = parse_message(invite("Record-Route: <sip:p;lr>"))
    assert response_to(request, 100, to_tag="7").to.tag is None
    assert "Record-Route" not in response_to(request, 486, to_tag="7").headers
    assert response_to(request, 486, "Not now", to_tag="7").start_line() == "SIP/2.0 486 Not now"


def test_tag_of_the_request_is_left_alone():
    request = parse_message(invite(replace={"To": "<sip:b@example.org>;tag=theirs"}))
    assert response_to(request, 200, to_tag="ours").to.tag == "theirs"


def test_top_via_is_replaced_and_the_others_stay_as_spelt():
    request = parse_message(invite("Via: SIP/2.0/TCP  d", replace={"Via": "SIP/2.0/UDP b;rport , SIP/2.0/UDP  c"}))
    request.replace_top_via(request.top_via.with_source("192.0.2.9", 5070))
    assert request.headers.get_all("Via") == [
        "SIP/2.0/UDP b;rport=5070;received=192.0.2.9",
        "SIP/2.0/UDP  c",
        "SIP/2.0/TCP  d",
    ]
    assert request.top_via.rport == 5070


def test_repr_shows_no_values():
    headers = Headers([("Authorization", "Digest response=secret")])
    assert "secret" not in repr(headers)
