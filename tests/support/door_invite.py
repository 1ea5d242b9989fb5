"""The INVITE of a door station as it goes over the wire: 770 octets of head, 513 of SDP (audio and H.264)."""

SDP = (
    "v=0\r\n"
    "o=- 3991234567 3991234567 IN IP4 192.168.10.42\r\n"
    "s=Main door street\r\n"
    "c=IN IP4 192.168.10.42\r\n"
    "t=0 0\r\n"
    "m=audio 16384 RTP/AVP 8 0 101\r\n"
    "a=rtpmap:8 PCMA/8000\r\n"
    "a=rtpmap:0 PCMU/8000\r\n"
    "a=rtpmap:101 telephone-event/8000\r\n"
    "a=fmtp:101 0-16\r\n"
    "a=ptime:20\r\n"
    "a=sendrecv\r\n"
    "m=video 16386 RTP/AVP 99 100\r\n"
    "b=AS:1500\r\n"
    "a=rtpmap:99 H264/90000\r\n"
    "a=fmtp:99 profile-level-id=42e01f;packetization-mode=1\r\n"
    "a=rtpmap:100 H264/90000\r\n"
    "a=fmtp:100 profile-level-id=42e01f;packetization-mode=0\r\n"
    "a=rtcp-fb:* nack pli\r\n"
    "a=rtcp-fb:* ccm fir\r\n"
    "a=sendonly\r\n"
).encode()

HEAD = (
    "INVITE sip:101@pbx.example.org:5060;transport=udp SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 192.168.10.42:5060;rport;branch=z9hG4bK4f1c9a77d2e84b03a6\r\n"
    "Max-Forwards: 70\r\n"
    'From: "Flat 3B - Main door" <sip:door@pbx.example.org>;tag=9b2f6c1d4e7a8053\r\n'
    "To: <sip:101@pbx.example.org>\r\n"
    "Call-ID: 5d0c2b7e9f1a4c3e8b6d7a90f2e1c4b3\r\n"
    "CSeq: 1021 INVITE\r\n"
    "Contact: <sip:door@192.168.10.42:5060;transport=udp>\r\n"
    "Route: <sip:pbx.example.org:5060;lr>\r\n"
    "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, PRACK, NOTIFY, MESSAGE\r\n"
    "Supported: timer, 100rel, replaces, outbound, path\r\n"
    "Session-Expires: 1800;refresher=uac\r\n"
    "Accept: application/sdp, application/dtmf-relay, application/media_control+xml\r\n"
    "User-Agent: Portero/1.0.2 (board raspberrypi-zero)\r\n"
    "Content-Type: application/sdp\r\n"
    "Content-Length: 513\r\n"
    "\r\n"
).encode()

DOOR_INVITE = HEAD + SDP
