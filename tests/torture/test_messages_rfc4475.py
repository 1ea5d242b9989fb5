"""The 49 torture messages of RFC 4475: what must be accepted is, what must be refused is, with its status."""

import json

import pytest

from firmware.sip.errors import RemoteProtocolError
from firmware.sip.message import Message, Request, check_request, check_response, parse_message
from tests.support.suites import suite

SUITE = suite("rfc4475")
EXPECTED = json.loads((SUITE / "expected.json").read_text())["messages"]


def read(name: str) -> Message:
    message = parse_message((SUITE / name).read_bytes())
    if isinstance(message, Request):
        check_request(message)
    else:
        check_response(message)
    return message


def test_all_49_are_here():
    assert len(EXPECTED) == 49


@pytest.mark.parametrize("case", [c for c in EXPECTED if c["parse"] == "accept"], ids=lambda c: c["file"])
def test_valid_message_is_accepted(case):
    read(case["file"])


@pytest.mark.parametrize("case", [c for c in EXPECTED if c["parse"] == "reject"], ids=lambda c: c["file"])
def test_invalid_message_is_refused_and_a_request_can_be_answered(case):
    with pytest.raises(RemoteProtocolError) as refused:
        read(case["file"])
    assert refused.value.status == (505 if case["file"] == "badvers.dat" else 400)
    is_response = (SUITE / case["file"]).read_bytes().startswith(b"SIP/")
    assert (refused.value.request is None) == is_response


@pytest.mark.parametrize("case", [c for c in EXPECTED if c["parse"] == "either"], ids=lambda c: c["file"])
def test_message_left_to_our_choice_is_read_liberally(case):
    read(case["file"])


def test_folded_compact_and_oddly_spaced_fields_mean_the_same():
    message = read("wsinv.dat")
    assert message.to.tag == "1918181833n"
    assert message.from_.display_name == 'J Rosenberg \\"'
    assert message.max_forwards == 68
    assert (message.cseq.number, message.cseq.method) == (9, "INVITE")
    assert [via.transport for via in message.vias] == ["UDP", "TCP", "UDP"]
    assert [via.branch for via in message.vias] == ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"]
    assert message.contacts[0].display_name == 'Quoted string ""'
    assert message.contacts[0].parameter("newparam") == "newvalue"
    assert message.contacts[0].parameter("q") == "0.33"
    assert message.headers.get("newfangledheader") == "newfangled value continued newfangled value"
    assert message.headers.get("Subject") == ""
    assert len(message.body) == 150


def test_unusual_characters_are_kept_where_they_are_legal():
    message = read("intmeth.dat")
    assert message.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert message.uri.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert message.uri.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert message.uri.host == "example.com"
    assert message.from_.tag == "_token~1'+`*%!-."


def test_semicolons_in_a_user_part_are_not_parameters():
    uri = read("semiuri.dat").uri
    assert (uri.user, uri.parameters) == ("user;par=u%40example.net", ())


def test_escapes_stay_as_they_were_spelt():
    message = read("esc01.dat")
    assert message.uri.user == "sips%3Auser%40example.com"
    assert str(message.uri) == "sip:sips%3Auser%40example.com@example.net"


def test_percent_in_a_method_is_no_escape():
    assert read("esc02.dat").method == "RE%47IST%45R"


def test_second_message_in_a_datagram_is_ignored():
    message = read("dblreq.dat")
    assert message.method == "REGISTER"
    assert message.body == b""


def test_contact_parameter_without_brackets_belongs_to_the_field():
    contact = read("cparam01.dat").contacts[0]
    assert contact.parameters == (("unknownparam", None),)
    assert contact.uri.parameters == ()


def test_contact_parameter_within_brackets_belongs_to_the_uri():
    contact = read("cparam02.dat").contacts[0]
    assert contact.parameters == ()
    assert contact.uri.has_parameter("unknownparam")


def test_escaped_route_in_a_contact_uri_is_kept():
    contact = read("regescrt.dat").contacts[0]
    assert dict(contact.uri.headers)["Route"] == "%3Csip:sip.example.com%3E"


def test_unknown_schemes_are_read_as_opaque_text():
    message = read("unksm2.dat")
    assert (message.to.uri.scheme, message.to.uri.opaque) == ("isbn", "2983792873")
    assert message.from_.uri.scheme == "http"
    assert message.contacts[0].uri.scheme == "name"


def test_unquoted_comma_in_a_display_name_is_taken_as_text():
    assert read("baddn.dat").from_.display_name == "Bell, Alexander"


def test_reason_phrase_may_be_empty_or_not_ascii():
    assert read("noreason.dat").reason_phrase == ""
    assert read("unreason.dat").reason_phrase.endswith("простое")


def test_required_extensions_are_listed():
    message = read("bext01.dat")
    assert message.require == {"nothingSupportsThis", "nothingSupportsThisEither"}
    assert message.proxy_require == {"noProxiesSupportThis", "norDoAnyProxiesSupportThis"}
