"""The INVITE of a door station as it goes over the wire: 770 octets of head, 513 of SDP (audio and H.264)."""

SDP = (
    b"v=0\r\n"
    b"o=- 3991234567 3991234567 IN IP4 192.168.10.42\r\n"
    b"s=Main door street\r\n"
    b"c=IN IP4 192.168.10.42\r\n"
    b"t=0 0\r\n"
    b"m=audio 16384 RTP/AVP 8 0 101\r\n"
    b"a=rtpmap:8 PCMA/8000\r\n"
    b"a=rtpmap:0 PCMU/8000\r\n"
    b"a=rtpmap:101 telephone-event/8000\r\n"
    b"a=fmtp:101 0-16\r\n"
    b"a=ptime:20\r\n"
    b"a=sendrecv\r\n"
    b"m=video 16386 RTP/AVP 99 100\r\n"
    b"b=AS:1500\r\n"
    b"a=rtpmap:99 H264/90000\r\n"
    b"a=fmtp:99 profile-level-id=42e01f;packetization-mode=1\r\n"
    b"a=rtpmap:100 H264/90000\r\n"
    b"a=fmtp:100 profile-level-id=42e01f;packetization-mode=0\r\n"
    b"a=rtcp-fb:* nack pli\r\n"
    b"a=rtcp-fb:* ccm fir\r\n"
    b"a=sendonly\r\n"
)

HEAD = (
    b"INVITE sip:101@pbx.example.org:5060;transport=udp SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.168.10.42:5060;rport;branch=z9hG4bK4f1c9a77d2e84b03a6\r\n"
    b"Max-Forwards: 70\r\n"
    b'From: "Flat 3B - Main door" <sip:door@pbx.example.org>;tag=9b2f6c1d4e7a8053\r\n'
    b"To: <sip:101@pbx.example.org>\r\n"
    b"Call-ID: 5d0c2b7e9f1a4c3e8b6d7a90f2e1c4b3\r\n"
    b"CSeq: 1021 INVITE\r\n"
    b"Contact: <sip:door@192.168.10.42:5060;transport=udp>\r\n"
    b"Route: <sip:pbx.example.org:5060;lr>\r\n"
    b"Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, PRACK, NOTIFY, MESSAGE\r\n"
    b"Supported: timer, 100rel, replaces, outbound, path\r\n"
    b"Session-Expires: 1800;refresher=uac\r\n"
    b"Accept: application/sdp, application/dtmf-relay, application/media_control+xml\r\n"
    b"User-Agent: Portero/1.0.2 (board raspberrypi-zero)\r\n"
    b"Content-Type: application/sdp\r\n"
    b"Content-Length: 513\r\n"
    b"\r\n"
)

DOOR_INVITE = HEAD + SDP
