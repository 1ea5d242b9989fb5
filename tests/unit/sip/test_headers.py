"""Via, CSeq, names and lists of header fields."""

import pytest

from firmware.sip.errors import LocalProtocolError, RemoteProtocolError
from firmware.sip.headers import CSeq, Via, canonical_name, split_addresses
from firmware.sip.message import Headers


def test_via_is_read_and_written():
    via = Via.parse("SIP/2.0/UDP 192.168.10.42:5060;rport;branch=z9hG4bK776asdhds")
    assert (via.transport, via.host, via.port) == ("UDP", "192.168.10.42", 5060)
    assert (via.branch, via.rport, via.received) == ("z9hG4bK776asdhds", None, None)
    assert via.has_parameter("rport")
    assert str(via) == "SIP/2.0/UDP 192.168.10.42:5060;rport;branch=z9hG4bK776asdhds"


def test_via_of_an_ipv6_host_keeps_its_brackets_on_the_wire_only():
    via = Via.parse("SIP / 2.0 / TCP [2001:db8::9:1] : 5070 ; received=[2001:db8::9:255];rport=40000")
    assert (via.host, via.port, via.received, via.rport) == ("2001:db8::9:1", 5070, "2001:db8::9:255", 40000)
    assert via.sent_by == "[2001:db8::9:1]:5070"


def test_via_is_completed_with_the_source_as_its_receiver_must():
    asked = Via.parse("SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bK1").with_source("10.0.0.1", 40000)
    assert str(asked) == "SIP/2.0/UDP 10.0.0.1;rport=40000;branch=z9hG4bK1;received=10.0.0.1"
    other = Via.parse("SIP/2.0/UDP door.local;branch=z9hG4bK1").with_source("10.0.0.1", 40000)
    assert str(other) == "SIP/2.0/UDP door.local;branch=z9hG4bK1;received=10.0.0.1"
    same = Via.parse("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1")
    assert same.with_source("10.0.0.1", 5060) == same


@pytest.mark.parametrize(
    "text",
    ["", "SIP/2.0/UDP", "SIP/3.0/UDP a", "SIP/2.0/UDP a:b", "SIP/2.0/UDP a:99999", "SIP/2.0/UDP a;;branch=x",
     "SIP/2.0/UDP a branch=x", "SIP/2.0/UDP [::1;branch=x", 'SIP/2.0/UDP a;branch="x'],
)  # fmt: skip
def test_text_that_is_no_via_is_the_peers_fault(text):
    with pytest.raises(RemoteProtocolError):
        Via.parse(text)


def test_pitfall_33_cseq_method_in_lower_case_is_mended_unless_it_is_a_method_of_its_own():
    assert CSeq.parse("4711 invite") == CSeq(4711, "INVITE")
    assert CSeq.parse("0009  NewMethod") == CSeq(9, "NewMethod")
    assert str(CSeq(1, "BYE")) == "1 BYE"


@pytest.mark.parametrize(
    "text", ["", "1", "INVITE", "-1 INVITE", "1 2 INVITE", "4294967296 INVITE", "1 IN,VITE", "² INVITE"]
)
def test_text_that_is_no_cseq_is_the_peers_fault(text):
    with pytest.raises(RemoteProtocolError):
        CSeq.parse(text)


def test_names_are_one_whatever_their_spelling():
    for spelling in ("call-id", "Call-ID", "CALL-ID", "i", "I", "Call-Id"):
        assert canonical_name(spelling) == "Call-ID"
    assert canonical_name("x-door-NAME") == canonical_name("X-DOOR-name")
    assert canonical_name("www-authenticate") == "WWW-Authenticate"


def test_fields_are_found_added_replaced_and_removed_in_order():
    headers = Headers([("v", "a"), ("To", "t"), ("Via", "b, c"), ("X-Door", "1, 2")])
    assert headers.get("VIA") == "a"
    assert headers.get_all("Via") == ["a", "b, c"]
    assert headers.values("Via") == ["a", "b", "c"]
    assert headers.values("X-Door") == ["1, 2"]
    headers.prepend("Via", "first")
    headers.set("To", "other")
    headers.add("t", "second")
    assert list(headers) == [
        ("Via", "first"), ("Via", "a"), ("To", "other"), ("Via", "b, c"), ("X-Door", "1, 2"), ("To", "second"),
    ]  # fmt: skip
    headers.set("To", "only")
    headers.remove("via")
    assert list(headers) == [("To", "only"), ("X-Door", "1, 2")]
    assert "to" in headers
    assert "Via" not in headers


def test_copy_is_independent():
    headers = Headers([("To", "a")])
    copied = headers.copy()
    copied.set("To", "b")
    assert headers.get("To") == "a"


@pytest.mark.parametrize(
    ("name", "value"), [("To", "a\r\nEvil: 1"), ("To", "a\nb"), ("Bad Name", "a"), ("", "a"), ("To:", "a")]
)
def test_field_that_would_break_the_message_is_our_own_fault(name, value):
    headers = Headers()
    for change in (headers.add, headers.set, headers.prepend):
        with pytest.raises(LocalProtocolError):
            change(name, value)


def test_commas_in_quotes_and_brackets_do_not_split_a_list():
    assert split_addresses('"a, b" <sip:a,b@x>;p="1,2", <sip:c@d>,, sip:e@f') == [
        '"a, b" <sip:a,b@x>;p="1,2"',
        "<sip:c@d>",
        "sip:e@f",
    ]


def test_pitfall_33_unquoted_comma_in_a_display_name_does_not_split_it():
    assert split_addresses("Bell, Alexander <sip:a@b>, <sip:c@d>") == ["Bell, Alexander <sip:a@b>", "<sip:c@d>"]


def test_line_of_more_values_than_anybody_writes_is_refused():
    with pytest.raises(RemoteProtocolError):
        split_addresses("<sip:a@b>," * 1000)
