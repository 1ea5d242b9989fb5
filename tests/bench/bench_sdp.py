"""Reading the 513-byte description of a door beside email.parser.BytesParser on the whole INVITE around it.

BytesParser gets the message from its first header on: with the request line in front it takes the whole for
a body and reads nothing. It knows no types, and our plain parse sets none either; the second row has them all.
"""

from email.parser import BytesParser

from firmware.sdp.description import SessionDescription
from firmware.sdp.offer_answer import LocalMedia, OfferAnswer
from tests.bench.measure import interleaved, rate
from tests.bench.report import Row, ratio_at_least

MARK = 1.29  # 40,000 descriptions a second where BytesParser makes 31,000 messages

SDP = b"""\
v=0\r
o=portero 3943948800 3943948801 IN IP4 192.168.178.40\r
s=Front door\r
c=IN IP4 192.168.178.40\r
t=0 0\r
m=audio 16384 RTP/AVP 96 9 8 0 101\r
a=rtpmap:96 opus/48000/2\r
a=rtpmap:9 G722/8000\r
a=rtpmap:8 PCMA/8000\r
a=rtpmap:0 PCMU/8000\r
a=rtpmap:101 telephone-event/8000\r
a=fmtp:101 0-16\r
a=ptime:20\r
a=sendrecv\r
m=video 16386 RTP/AVP 97\r
a=rtpmap:97 H264/90000\r
a=fmtp:97 profile-level-id=42e01f;packetization-mode=1;sprop-parameter-sets=\
Z0LAH9oBQBboQAAAAwBAAAAMI8YMqA==,aM48gA==\r
a=rtcp-fb:* nack pli\r
a=sendonly\r
"""
HEADERS = b"""\
Via: SIP/2.0/UDP 192.168.178.40:5060;branch=z9hG4bK3d4a6f0e1b9c8d7e;rport\r
Max-Forwards: 70\r
From: "Haupteingang" <sip:door@pbx.example.org>;tag=7b1f9c0d2e3a4f5b\r
To: <sip:101@pbx.example.org>\r
Call-ID: 0f6c2c5e9d7b4a1e8c3f5a2b7d9e1c40\r
CSeq: 20518 INVITE\r
Contact: <sip:door@192.168.178.40:5060;transport=udp>;\
+sip.instance="<urn:uuid:00000000-0000-1000-8000-b827ebf00d42>"\r
Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, NOTIFY, REFER, MESSAGE\r
Supported: replaces, timer, 100rel, path, outbound, gruu\r
Accept: application/sdp, application/dtmf-relay, application/media_control+xml\r
User-Agent: Portero/0.1.0 (simulated)\r
Session-Expires: 1800\r
Min-SE: 90\r
Content-Type: application/sdp\r
Content-Length: 513\r
\r
"""


def run() -> list[Row]:
    assert len(SDP) == 513
    message = HEADERS + SDP
    parser = BytesParser()
    parsed, peer, ratio = interleaved(lambda: SessionDescription.parse(SDP), lambda: parser.parsebytes(message))
    typed, _, typed_ratio = interleaved(parse_typed, lambda: parser.parsebytes(message))
    return [
        ratio_at_least(f"SDP, {len(SDP)} B (BytesParser: {len(message)} B)", parsed, peer, ratio, MARK, "parse/s"),
        Row("SDP with every format, direction and address typed", typed, peer, typed_ratio, "parse/s"),
        Row("offer read, answered, agreed", rate(answer, 0.3), unit="exchange/s"),
    ]


def parse_typed() -> object:
    description = SessionDescription.parse(SDP)
    return [
        (
            media.rtp_formats(),
            description.direction_of(media),
            media.rtcp,
            media.ptime_ms,
            description.host_of(media),
        )
        for media in description.media
    ]


def answer() -> object:
    machine = OfferAnswer(1)
    machine.receive_offer(SDP)
    return machine.create_answer(LocalMedia("192.168.178.50", 16384, 16386))
