"""The IPv6 torture messages of RFC 5118."""

import json

import pytest

from firmware.sip.errors import RemoteProtocolError
from firmware.sip.message import Request, check_request, parse_message
from tests.support.suites import suite

SUITE = suite("rfc5118")
EXPECTED = json.loads((SUITE / "expected.json").read_text())["messages"]


def read(name: str) -> Request:
    """The message as it would be on the wire: the archive has LF line ends and wrong lengths."""
    text = (SUITE / name).read_text().replace("\n", "\r\n")
    head, _, body = text.partition("\r\n\r\n")
    lines = [line for line in head.strip().split("\r\n") if not line.startswith("Content-Length")]
    wire = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body])
    message = parse_message(wire.encode())
    assert isinstance(message, Request)
    check_request(message)
    return message


@pytest.mark.parametrize("case", [c for c in EXPECTED if c["parse"] == "accept"], ids=lambda c: c["file"])
def test_ipv6_message_is_accepted(case):
    read(case["file"])


@pytest.mark.parametrize("case", [c for c in EXPECTED if c["parse"] == "accept"], ids=lambda c: c["file"])
def test_ipv6_message_survives_our_own_writing(case):
    message = read(case["file"])
    again = parse_message(message.serialize())
    check_request(again)
    assert (again.uri, again.vias, again.body) == (message.uri, message.vias, message.body)


def test_ipv6_address_without_brackets_is_refused():
    with pytest.raises(RemoteProtocolError, match="no host"):
        read("ipv6-bad")


def test_port_outside_the_brackets_is_a_port():
    uri = read("port-unambiguous").uri
    assert (uri.host, uri.port) == ("2001:db8::10", 5070)


def test_port_inside_the_brackets_is_part_of_the_address():
    uri = read("port-ambiguous").uri
    assert (uri.host, uri.port) == ("2001:db8::10:5070", None)


@pytest.mark.parametrize("name", ["via-received-param-with-delim", "via-received-param-no-delim"])
def test_received_is_the_address_with_or_without_brackets(name):
    assert read(name).top_via.received == "2001:db8::9:255"


def test_third_colon_is_taken_for_two():
    assert read("ipv6-bug-abnf-3-colons").uri == read("ipv6-correct-abnf-2-colons").uri


def test_vias_of_both_families_are_read():
    vias = read("mult-ip-in-header").vias
    assert [(via.host, via.port) for via in vias] == [
        ("2001:db8::9:1", 6050),
        ("192.0.2.1", None),
        ("2001:db8::9:255", None),
    ]
