"""URIs and name-addrs: read as phones write them, written as RFC 3261 wants them."""

import pytest

from firmware.sip.errors import LocalProtocolError, RemoteProtocolError
from firmware.sip.uri import NameAddr, Uri


def test_all_parts_of_a_sip_uri_are_read():
    uri = Uri.parse("sips:101:secret@pbx.example.org:5061;transport=tcp;lr?Subject=door&Priority=urgent")
    assert uri.scheme == "sips"
    assert (uri.user, uri.password, uri.host, uri.port) == ("101", "secret", "pbx.example.org", 5061)
    assert (uri.parameter("transport"), uri.transport) == ("tcp", "tcp")
    assert uri.parameter("lr") == ""
    assert uri.has_parameter("lr")
    assert uri.parameter("ob") is None
    assert uri.headers == (("Subject", "door"), ("Priority", "urgent"))


@pytest.mark.parametrize(
    "text",
    [
        "sip:101@192.168.1.20",
        "sip:pbx.example.org:5060;transport=udp",
        "sip:door@[2001:db8::1]:5060;lr",
        "sip:a%20b@host_with_underscore",
        "sips:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
        "sip:+34600000000;phone-context=+34@example.org;user=phone",
        "sip:@example.org",
        "sip:user@example.org;maddr=239.255.255.1;ttl=15?to=sip:x%40y",
        "tel:+34600000000;ext=12",
        "urn:service:sos",
    ],
)
def test_uri_is_written_as_it_was_read(text):
    assert str(Uri.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("SIP:Door@Example.ORG", "sip:Door@Example.ORG"),
        ("sip:juan pérez@example.org".replace(" ", "%20"), "sip:juan%20p%C3%A9rez@example.org"),
        ("sip:100%@example.org", "sip:100%25@example.org"),
        ("sip:a@b@example.org", "sip:a%40b@example.org"),
        ("sip:#1@example.org", "sip:%231@example.org"),
        ("sip:x@example.org;", "sip:x@example.org"),
        ("sip:x@[2001:db8:::192.0.2.1]", "sip:x@[2001:db8::192.0.2.1]"),
    ],
)
def test_what_should_have_been_escaped_is_escaped(text, written):
    assert str(Uri.parse(text)) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "101",
        "sip:",
        "sip:@",
        "sip:user@",
        "sip:user@host:port",
        "sip:user@host:70000",
        "sip:2001:db8::10",
        "sip:user@[2001:db8::1",
        " sip:user@host",
        "sip:us er@host",
        "sip:user@host\r\nEvil: 1",
        "<sip:user@host>",
        "1sip:user@host",
        "sip:user@host;=x",
        "sip:-@-",
    ],
)
def test_text_that_is_no_uri_is_the_peers_fault(text):
    with pytest.raises(RemoteProtocolError):
        Uri.parse(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtlanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("tel:+1", "tel:+1"),
    ],
)  # fmt: skip
def test_equivalent_uris_of_rfc_3261_match(one, other):
    assert Uri.parse(one).matches(Uri.parse(other))
    assert Uri.parse(other).matches(Uri.parse(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=off", "sip:carol@chicago.com;security=on"),
        ("sip:bob@biloxi.com", "sips:bob@biloxi.com"),
    ],
)
def test_different_uris_of_rfc_3261_do_not_match(one, other):
    assert not Uri.parse(one).matches(Uri.parse(other))


def test_parameters_are_replaced_in_place_and_removed():
    uri = Uri.parse("sip:a@b;transport=udp;lr")
    assert str(uri.with_parameter("transport", "tcp")) == "sip:a@b;transport=tcp;lr"
    assert str(uri.with_parameter("ob", None)) == "sip:a@b;transport=udp;lr;ob"
    assert str(uri.without_parameter("transport")) == "sip:a@b;lr"
    assert str(uri.replace(user=None, port=5070)) == "sip:b:5070;transport=udp;lr"


def test_name_addr_in_its_forms():
    quoted = NameAddr.parse('"Flat \\"3B\\", left" <sip:3b@x>;tag=1;q=0.5')
    assert quoted.display_name == 'Flat "3B", left'
    assert (quoted.tag, quoted.parameter("q")) == ("1", "0.5")
    words = NameAddr.parse("Main door<sip:door@x;lr>")
    assert (words.display_name, words.uri.parameters, words.tag) == ("Main door", (("lr", None),), None)
    bare = NameAddr.parse("sip:door@x;tag=2")
    assert (bare.uri.parameters, bare.tag) == ((), "2")


def test_parameter_of_a_name_addr_may_hold_separators_in_quotes():
    contact = NameAddr.parse('<sip:a@b>;+sip.instance="<urn:uuid:0;1,2>";expires=60')
    assert contact.parameter("+sip.instance") == "<urn:uuid:0;1,2>"
    assert contact.parameter("expires") == "60"
    assert str(contact) == '<sip:a@b>;+sip.instance="<urn:uuid:0;1,2>";expires=60'


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("", "<sip:a@b>"),
        ("Main door", "Main door <sip:a@b>"),
        ("Bell, Alexander", '"Bell, Alexander" <sip:a@b>'),
        ('say "hi" \\', '"say \\"hi\\" \\\\" <sip:a@b>'),
        ("Portería", '"Portería" <sip:a@b>'),
        ("two  blanks", '"two  blanks" <sip:a@b>'),
    ],
)
def test_display_name_is_quoted_where_it_is_not_made_of_tokens(name, written):
    address = NameAddr(name, Uri.parse("sip:a@b"))
    assert str(address) == written
    assert NameAddr.parse(str(address)) == address


def test_display_name_cannot_break_the_line():
    with pytest.raises(LocalProtocolError):
        str(NameAddr("door\r\nEvil: 1", Uri.parse("sip:a@b")))


@pytest.mark.parametrize(
    "text",
    ['"open <sip:a@b>', "<sip:a@b", 'x"y <sip:a@b>', '"x" sip:a@b', "sip:a@b?Route=x", "<>", "", "< sip:a@b >",
     "<sip:a@b>x"],
)  # fmt: skip
def test_text_that_is_no_name_addr_is_the_peers_fault(text):
    with pytest.raises(RemoteProtocolError):
        NameAddr.parse(text)


def test_tag_is_added_or_replaced():
    address = NameAddr.parse("<sip:a@b>")
    assert str(address.with_tag("x")) == "<sip:a@b>;tag=x"
    assert str(address.with_tag("x").with_tag("y")) == "<sip:a@b>;tag=y"
