"""Real SIP messages, damaged at random: for whoever must survive what arrives."""

import random

from tests.support.door_invite import DOOR_INVITE
from tests.support.suites import SUITES

SAMPLES = [
    DOOR_INVITE,
    b"SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP [2001:db8::1]:5060;rport=5060;branch=z9hG4bK1;received=::1\r\n"
    b'From: "Door" <sip:door@example.org>;tag=1\r\nTo: <sip:door@example.org>;tag=2\r\nCall-ID: 1@x\r\n'
    b'CSeq: 2 REGISTER\r\nWWW-Authenticate: Digest realm="r", nonce="n", algorithm=SHA-256, qop="auth,auth-int"\r\n'
    b'WWW-Authenticate: Digest realm="r", nonce="m", stale=true\r\nRetry-After: 5 (soon)\r\n'
    b"Content-Length: 0\r\n\r\n",
    b"REGISTER sip:example.org SIP/2.0\r\nv: SIP/2.0/TCP a;branch=z9hG4bK2 , SIP / 2.0 / UDP b\r\n"
    b"f: Door<sip:d@e>;tag=3\r\nt: <sip:d@e>\r\ni: 2@x\r\nCSeq: 3 REGISTER\r\nMax-Forwards: 70\r\n"
    b"m: <sip:d@[::1]:5060;ob>;expires=60;"
    b'+sip.instance="<urn:uuid:1>", sip:e@f;q=0.5\r\nAuthorization: Digest username="d", realm="r", nonce="n", '
    b'uri="sip:example.org", response="0", qop=auth, nc=00000001, cnonce="c"\r\n'
    b"Route: <sip:p;lr>,\r\n <sip:q;lr>\r\nExpires: 600\r\nl: 4\r\n\r\nbody",
]
if (SUITES / "rfc4475").is_dir():
    SAMPLES += [
        (SUITES / "rfc4475" / f"{name}.dat").read_bytes() for name in ("wsinv", "intmeth", "semiuri", "test")
    ]

# What breaks readers: separators in the wrong place, foreign and huge digits, half characters, half escapes.
DIRT = [
    *(bytes([octet]) for octet in b'\0\r\n \t:;,="\\<>@[]?&%/*'),
    *(octets * 301 for octets in (b";", b",", b"<", b'"', b"\\", b"\r\n", b" ")),
    *(b"", b"\r\n", b"\r\n\r\n", b"\r\n ", b"%0", b"%00", b"%ZZ", b"a=b;c", b"SIP/2.0", b"sip:", b"tel:"),
    *(b"-1", b"0", b"65536", b"9" * 30, b"9" * 5000, b"1e9", b"0x1f", b"\xc2\xb2", b"\xd9\xa3"),
    *(b"\xff\xfe", b"\xf0\x9f", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\x85", b"\x1c"),
    *(b"INVITE ", b"Via: ", b"v:", b"\r\nContent-Length: 5", b"l:", b"\r\nTo: x", b"\r\nCSeq: 1 BYE"),
]


def damaged(chance: random.Random) -> bytes:
    """A sample after one to six random edits."""
    data = bytearray(chance.choice(SAMPLES))
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(6)
        if kind == 0:
            data[at : at + 1] = bytes([chance.randrange(256)])
        elif kind == 1:
            data[at:at] = chance.choice(DIRT)
        elif kind == 2:
            del data[at : at + chance.randrange(1, 60)]
        elif kind == 3:
            data[at : at + chance.randrange(1, 12)] = chance.choice(DIRT)
        elif kind == 4:
            size = chance.randrange(1, 80)
            data[at:at] = data[max(0, at - size) : at]
        else:
            other = chance.choice(SAMPLES)
            cut = chance.randrange(len(other))
            data[at:] = other[cut : cut + 600]
    return bytes(data)
