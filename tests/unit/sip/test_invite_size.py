"""How large the door's INVITE is with its credentials: beyond 1300 bytes TCP has to be tried first (RFC 3261
18.1.1), and many PBXs have none."""

import pytest

from firmware.sdp.offer_answer import LocalMedia, OfferAnswer
from firmware.sip.actions import Send
from firmware.sip.configuration import Account, Configuration
from firmware.sip.message import Request, parse_message
from firmware.sip.sending import LARGEST_DATAGRAM
from firmware.sip.types import Target
from firmware.sip.uri import Uri
from tests.support.sip_link import Bench, reply

DOMAIN = "pbx.example.org"
# As they come: a nonce of Kamailio's auth module, and one of Asterisk's PJSIP with its opaque.
KAMAILIO = (
    "Proxy-Authenticate",
    f'Digest realm="{DOMAIN}", nonce="Y7Xb5mO12rpJXwUE0VZ1nXy0l3oQJ9mgkG4HhIA=", qop="auth"',
)
ASTERISK = (
    "WWW-Authenticate",
    'Digest realm="asterisk",nonce="1700563200/5b3e1d2c4f6a7b8c9d0e1f2a3b4c5d6e",'
    'opaque="2c7d4e1f0a9b8c7d",algorithm=MD5,qop="auth"',
)
# What a station of the demo's camera says of itself, at an address of full length.
MEDIA = LocalMedia(
    "192.168.178.140", 16384, 16386, sprop_parameter_sets="Z0LAH9oBQBboQAAAAwBAAAAMI8YMqA==,aM48gA=="
)


@pytest.mark.parametrize("challenge", [KAMAILIO, ASTERISK], ids=["Kamailio", "Asterisk"])
def test_pitfall_23_the_invite_with_credentials_fits_a_datagram(challenge: tuple[str, str]):
    account = Account(
        "pbx", Uri.parse(f"sip:doorstation@{DOMAIN}"), display_name="Main door", password="secret", register=False
    )
    bench = Bench(Configuration(accounts=(account,), user_agent="Portero/0.1.0"))
    bench.names[DOMAIN] = (Target("udp", "10.0.0.2", 5060),)
    offer = OfferAnswer(2**31).create_offer(MEDIA)
    subject = (("Subject", "Calle Mayor 15"),)
    bench.core.invite(Uri.parse(f"sip:1001@{DOMAIN}"), offer, 0.0, account="pbx", headers=subject)
    status = 407 if challenge[0].startswith("Proxy") else 401
    bench.receive(reply(bench.request("INVITE"), status, headers=(challenge,)))
    (sent,) = [each.data for each in bench.core.take_actions() if isinstance(each, Send)][-1:]
    invite = parse_message(sent)
    assert invite.cseq.number == 2
    assert challenge[0].replace("enticate", "orization").removeprefix("WWW-") in [
        name for name, _ in invite.headers
    ]
    assert all(target.transport == "udp" for target in bench.opened)
    assert len(sent) <= LARGEST_DATAGRAM - 25  # addresses of full length need 14 more


def test_a_large_invite_with_a_nonce_of_before_is_sent_again_with_a_new_one():
    """Kamailio's nonces expire, and it need not call them stale: the second visitor's call was given up."""
    account = Account("pbx", Uri.parse(f"sip:door@{DOMAIN}"), password="secret", register=False)
    bench = Bench(Configuration(accounts=(account,)))
    bench.names[DOMAIN] = (Target("udp", "10.0.0.2", 5060),)
    for visit, nonce in enumerate(("first", "second")):
        bench.core.invite(Uri.parse(f"sip:1001@{DOMAIN}"), b"v" * 1300, bench.now, account="pbx")
        invite = bench.request("INVITE")
        assert bench.opened[-1].transport == "tcp"
        assert ("Proxy-Authorization" in invite.headers) == bool(visit)
        refusal = ("Proxy-Authenticate", f'Digest realm="{DOMAIN}", nonce="{nonce}", qop="auth"')
        bench.receive(reply(invite, 407, headers=(refusal,)))
        again = bench.request("INVITE")
        assert f'nonce="{nonce}"' in str(again.headers.get("Proxy-Authorization"))


def test_a_request_is_spelt_shortly_only_where_it_would_be_too_large():
    bench = Bench()
    bench.core.invite(Uri.parse("sip:mon@10.0.0.2"), b"v=0\r\n", 0.0)
    assert b"\r\nCall-ID: " in bytes(bench.request("INVITE"))


@pytest.mark.parametrize(("octets", "left_out"), [(840, []), (855, ["User-Agent"]), (900, ["User-Agent", "Allow"])])
def test_what_says_least_is_left_out_of_a_datagram_first(octets: int, left_out: list[str]):
    assert [name for name in ("User-Agent", "Allow") if name not in sent_by_udp(octets).headers] == left_out


def test_what_fits_no_datagram_anyway_says_all():
    """It goes in fragments, since the peer takes no TCP."""
    assert {"User-Agent", "Allow"} <= {name for name, _ in sent_by_udp(2000).headers}


def sent_by_udp(octets: int) -> Request:
    """Our INVITE with a description of that length to a peer without TCP."""
    bench = Bench(Configuration(user_agent="Portero/0.1.0"))
    bench.refused[Target("tcp", "10.0.0.2", 5060)] = "refused"
    bench.core.invite(Uri.parse("sip:mon@10.0.0.2"), b"v" * octets, 0.0)
    return bench.request("INVITE")
