"""Session descriptions as devices of the field write them, by name. CRLF line ends, unless the dirt is that."""


def sdp(*lines: str) -> bytes:
    """A description of these lines, each ended by CRLF."""
    return "".join(f"{line}\r\n" for line in lines).encode()


HEAD = ("v=0", "o=- 20518 0 IN IP4 203.0.113.1", "s=call", "c=IN IP4 203.0.113.1", "t=0 0")

AUDIO_ONLY = sdp(*HEAD, "m=audio 54400 RTP/AVP 0 8", "a=sendrecv")  # static types without rtpmap

MONITOR = sdp(
    *HEAD,
    "m=audio 7078 RTP/AVP 8 0 101",
    "a=rtpmap:101 telephone-event/8000",
    "a=fmtp:101 0-15",
    "m=video 9078 RTP/AVP 102",
    "a=rtpmap:102 H264/90000",
    "a=fmtp:102 packetization-mode=1; profile-level-id=42801F",
    "a=recvonly",
)

SOFTPHONE = sdp(
    "v=0",
    "o=alice 2890844526 2890844527 IN IP6 2001:db8::2",
    "s=Talk",
    "c=IN IP6 2001:db8::2",
    "b=AS:380",
    "t=0 0",
    "a=rtcp-xr:rcvr-rtt=all:10000",
    "m=audio 7076 RTP/AVPF 96 97 98 0 8 99 100",
    "a=rtpmap:96 opus/48000/2",
    "a=fmtp:96 useinbandfec=1",
    "a=rtpmap:97 speex/16000",
    "a=rtpmap:98 speex/8000",
    "a=rtpmap:99 telephone-event/48000",
    "a=rtpmap:100 telephone-event/8000",
    "a=rtcp:7077",
    "a=ptime:20",
    "a=rtcp-fb:* trr-int 5000",
    "m=video 9076 RTP/AVPF 96 97",
    "a=rtpmap:96 VP8/90000",
    "a=rtpmap:97 H264/90000",
    "a=fmtp:97 profile-level-id=42e01e;packetization-mode=1;level-asymmetry-allowed=1",
    "a=rtcp-fb:* ccm fir",
)

GATEWAY = sdp(
    "v=0",
    "o=- 1 1 IN IP4 198.51.100.9",
    "o=Dahua 1 1 IN IP4 198.51.100.9",
    "s=Media Presentation",
    "c=IN IP4 198.51.100.9",
    "t=0 0",
    "m=audio 20000/2 RTP/AVP 97 8",
    "a=rtpmap:97 PCM/16000",
    "a=rtcp:21001 IN IP4 198.51.100.10",
    "a=ptime:60",
    "a=maxptime:40",
    "x-vendor nonsense",
    "m=application 0 udp 5",
    "m=video 20002 RTP/AVP 96 98",
    "c=IN IP4 198.51.100.11",
    "a=rtpmap:96 H264/90000",
    "a=rtpmap:98 H264/90000",
    "a=fmtp:98 profile-level-id=64001f;packetization-mode=1",
    "a=sendrecv",
)

SECURE_TWICE = sdp(
    *HEAD,
    "m=audio 4000 RTP/SAVP 8",
    "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj",
    "m=audio 4002 RTP/AVP 8",
)

OLD_HOLD = sdp("v=0", "o=- 1 2 IN IP4 203.0.113.1", "s=-", "c=IN IP4 0.0.0.0", "t=0 0", "m=audio 54400 RTP/AVP 8")

PREVIEW = sdp(
    *HEAD,
    "m=audio 0 RTP/AVP 8",
    "m=video 9078 RTP/AVP 97",
    "a=rtpmap:97 H264/90000",
    "a=recvonly",
)

ALL = (AUDIO_ONLY, MONITOR, SOFTPHONE, GATEWAY, SECURE_TWICE, OLD_HOLD, PREVIEW)
