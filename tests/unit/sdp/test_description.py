"""The reader against what phones send, the writer against RFC 4566's grammar."""

from pathlib import Path

import pytest

from firmware.sdp.codecs import format_parameters, h264_profile
from firmware.sdp.description import MAX_BYTES, MAX_MEDIA, SessionDescription
from firmware.sdp.errors import SdpError
from tests.support.sdp_samples import AUDIO_ONLY, GATEWAY, HEAD, MONITOR, SOFTPHONE, sdp

SUITE = Path(__file__).parents[4] / "shared" / "suites" / "webrtc-sdp"
FILES = sorted(SUITE.glob("*.sdp"))


def names(data: bytes, line: int = 0) -> list[tuple[int, str, int, int]]:
    formats = SessionDescription.parse(data).media[line].rtp_formats()
    return [(each.payload_type, each.name, each.clock_hz, each.channels) for each in formats]


@pytest.mark.skipif(not FILES, reason="shared/suites/webrtc-sdp is not beside the checkout")
def test_all_forty_descriptions_of_browsers_and_gateways_are_read() -> None:
    assert len(FILES) == 40
    for file in FILES:
        text = file.read_text()
        description = SessionDescription.parse(file.read_bytes())
        assert len(description.media) == sum(line.startswith("m=") for line in text.splitlines()), file.name
        for media in description.media:
            mapped = {value.split()[0] for value in media.attribute_values("rtpmap")} & set(media.formats)
            assert mapped <= {str(each.payload_type) for each in media.rtp_formats()}, file.name
            assert media.rtcp[0] > 0


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
def test_every_line_end_is_read_alike(end: str) -> None:
    data = MONITOR.replace(b"\r\n", end.encode())
    assert SessionDescription.parse(data) == SessionDescription.parse(MONITOR)


@pytest.mark.parametrize("tail", [b"", b"\0\0", b"\r\n\r\n", b"  \n"])
def test_a_direction_on_the_last_line_counts_without_its_line_end(tail: bytes) -> None:
    media = SessionDescription.parse(MONITOR.rstrip() + tail).media[1]
    assert media.direction == "recvonly"


def test_memoryview_is_read_as_bytes() -> None:
    assert SessionDescription.parse(memoryview(MONITOR)) == SessionDescription.parse(MONITOR)  # type: ignore[arg-type]


def test_pitfall_33_static_payload_types_need_no_rtpmap() -> None:
    assert names(AUDIO_ONLY) == [(0, "PCMU", 8000, 1), (8, "PCMA", 8000, 1)]


def test_rtpmap_overrides_a_static_payload_type() -> None:
    assert names(sdp(*HEAD, "m=audio 4000 RTP/AVP 8", "a=rtpmap:8 G722/8000")) == [(8, "G722", 8000, 1)]


def test_a_dynamic_payload_type_without_rtpmap_is_left_out() -> None:
    assert names(sdp(*HEAD, "m=audio 4000 RTP/AVP 97 8 300 x 97")) == [(8, "PCMA", 8000, 1)]


@pytest.mark.parametrize(
    "dirt", ["97", "97 opus", "97 opus/", "97 opus/0", "97 opus/x", "x opus/48000", "97 opus/99999999", "-1 opus/8"]
)
def test_an_rtpmap_that_makes_no_sense_counts_as_absent(dirt: str) -> None:
    assert names(sdp(*HEAD, "m=audio 4000 RTP/AVP 97 0", f"a=rtpmap:{dirt}")) == [(0, "PCMU", 8000, 1)]


def test_channels_and_blanks_of_an_rtpmap_are_read() -> None:
    data = sdp(*HEAD, "m=audio  4000  RTP/AVP  97 ", "a=rtpmap: 97  opus/48000/2 ")
    assert names(data) == [(97, "opus", 48000, 2)]


def test_several_fmtp_lines_of_one_format_count_together() -> None:
    data = sdp(
        *HEAD, "m=video 4 RTP/AVP 97", "a=rtpmap:97 H264/90000", "a=fmtp:97 a=1", "a=fmtp:97 b=2", "a=fmtp:98 c"
    )
    assert SessionDescription.parse(data).media[0].rtp_formats()[0].fmtp == "a=1;b=2"


def test_pitfall_33_the_first_of_two_origins_and_names_counts() -> None:
    description = SessionDescription.parse(GATEWAY + b"")
    assert description.origin == "- 1 1 IN IP4 198.51.100.9"
    assert description.name == "Media Presentation"


def test_connection_and_direction_of_the_line_come_before_the_session_s() -> None:
    data = sdp(
        *HEAD, "a=inactive", "m=audio 4 RTP/AVP 0", "m=video 6 RTP/AVP 34", "c=IN IP6 2001:db8::1", "a=SendOnly"
    )
    description = SessionDescription.parse(data)
    audio, video = description.media
    assert (description.host_of(audio), description.direction_of(audio)) == ("203.0.113.1", "inactive")
    assert (description.host_of(video), description.direction_of(video)) == ("2001:db8::1", "sendonly")


def test_without_any_direction_a_line_is_sendrecv() -> None:
    description = SessionDescription.parse(sdp(*HEAD, "m=audio 4 RTP/AVP 0"))
    assert description.direction_of(description.media[0]) == "sendrecv"


@pytest.mark.parametrize(
    ("line", "host"),
    [
        ("c=IN IP4 224.2.1.1/127/3", "224.2.1.1"),
        ("c=IN IP6 [2001:db8::1]", "2001:db8::1"),
        ("c=in ip4 192.0.2.1 ", "192.0.2.1"),
        ("c=IN\tIP4 door.example.org", "door.example.org"),
    ],
)
def test_the_address_of_a_connection_line_is_read_bare(line: str, host: str) -> None:
    assert SessionDescription.parse(sdp("v=0", line)).host == host


@pytest.mark.parametrize(
    ("attribute", "rtcp"),
    [
        ("a=x", (4001, None)),
        ("a=rtcp:53020", (53020, None)),
        ("a=rtcp:53020 IN IP4 126.16.64.4", (53020, "126.16.64.4")),
        ("a=rtcp:53020 IN IP6 2001:db8::5", (53020, "2001:db8::5")),
        ("a=rtcp:53020 rubbish", (53020, None)),
        ("a=rtcp:0", (4001, None)),
        ("a=rtcp:99999", (4001, None)),
        ("a=rtcp:x", (4001, None)),
    ],
)
def test_rtcp_goes_to_its_own_port_where_named_and_one_above_rtp_elsewhere(
    attribute: str, rtcp: tuple[int, str | None]
) -> None:
    assert SessionDescription.parse(sdp(*HEAD, "m=audio 4000 RTP/AVP 0", attribute)).media[0].rtcp == rtcp


@pytest.mark.parametrize(
    ("attribute", "ptime_ms"),
    [("ptime:30", 30), ("ptime:0", None), ("ptime:20.5", None), ("x", None), ("ptime", None)],
)
def test_ptime_is_a_positive_whole_number_or_absent(attribute: str, ptime_ms: int | None) -> None:
    media = SessionDescription.parse(sdp(*HEAD, "m=audio 4 RTP/AVP 0", f"a={attribute}")).media[0]
    assert media.ptime_ms == ptime_ms


def test_attributes_of_later_issues_are_kept_in_order_for_their_readers() -> None:
    data = sdp(
        *HEAD, "a=ice-lite", "m=audio 4 RTP/AVP 0", "a=candidate:1 1 UDP 1 192.0.2.1 4 typ host", "a=candidate:2"
    )
    description = SessionDescription.parse(data)
    assert description.attributes == (("ice-lite", ""),)
    assert description.media[0].attribute_values("candidate") == ["1 1 UDP 1 192.0.2.1 4 typ host", "2"]
    assert description.media[0].attribute("candidate") == "1 1 UDP 1 192.0.2.1 4 typ host"
    assert description.media[0].attribute("crypto") is None


def test_a_count_of_ports_and_lines_unknown_are_skipped() -> None:
    media = SessionDescription.parse(GATEWAY).media
    assert [(line.kind, line.port, line.formats) for line in media] == [
        ("audio", 20000, ("97", "8")),
        ("application", 0, ("5",)),
        ("video", 20002, ("96", "98")),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 40,
        b"INVITE sip:a@b SIP/2.0\r\n\r\n",
        sdp("s=no version", "m=audio 4 RTP/AVP 0"),
        sdp("v=0", "m=audio"),
        sdp("v=0", "m=audio four RTP/AVP 0"),
        sdp("v=0", "m=audio 65536 RTP/AVP 0"),
        sdp("v=0", "m=audio 123456789012345678901234567890 RTP/AVP 0"),
        sdp("v=0", "m=audio -4 RTP/AVP 0"),
        sdp("v=0", "m=audio 4"),
        sdp("v=0", "m=audio \N{ARABIC-INDIC DIGIT FOUR} RTP/AVP 0"),
        sdp("v=0", "m=a\N{LATIN SMALL LETTER U WITH DIAERESIS}dio 4 RTP/AVP 0"),
        sdp("v=0", "c=IN IP4"),
        sdp("v=0", "c=ATM NSAP 47"),
        sdp("v=0", "c="),
        sdp("v=0", *(f"m=audio {port} RTP/AVP 0" for port in range(MAX_MEDIA + 1))),
        sdp("v=0") + b"a=x\r\n" * 5000,
        sdp("v=0") + b"a=" + b"x" * MAX_BYTES,
    ],
)
def test_what_leaves_nothing_to_work_with_is_refused(data: bytes) -> None:
    with pytest.raises(SdpError):
        SessionDescription.parse(data)


@pytest.mark.parametrize("data", [AUDIO_ONLY, MONITOR, SOFTPHONE, GATEWAY])
def test_what_is_written_reads_back_the_same(data: bytes) -> None:
    description = SessionDescription.parse(data)
    written = bytes(description)
    assert SessionDescription.parse(written) == description
    assert written.endswith(b"\r\n")
    assert b"\n" not in written.replace(b"\r\n", b"")


def test_a_refused_line_without_formats_is_written_with_one() -> None:
    description = SessionDescription.parse(sdp(*HEAD, "m=video 0 RTP/AVP"))
    assert b"m=video 0 RTP/AVP 0\r\n" in bytes(description)


@pytest.mark.parametrize(
    ("profile_level_id", "profile"),
    [
        ("42e01f", "constrained baseline"),
        ("42C028", "constrained baseline"),
        ("4d801e", "constrained baseline"),
        ("58c00a", "constrained baseline"),
        ("42001f", "baseline"),
        ("428014", "baseline"),
        ("420010", "baseline"),
        ("4d001f", "main"),
        ("4d401f", "main"),
        ("64001f", "high"),
        ("640c1f", "constrained high"),
        ("6e0028", "high 10"),
        ("58001f", "extended"),
        ("ff001f", ""),
        ("42e0", ""),
        ("zzzzzz", ""),
        ("", ""),
    ],
)
def test_profiles_are_named_by_idc_and_constraint_bits(profile_level_id: str, profile: str) -> None:
    assert h264_profile(profile_level_id) == profile


@pytest.mark.parametrize("text", ["a=1;B=2;c", " a = 1 ; b=2;; c ", "c;b=2;a=1;a=9"])
def test_pitfall_06_format_parameters_are_read_in_any_order_and_with_any_blanks(text: str) -> None:
    assert format_parameters(text) == {"a": "1", "b": "2", "c": ""}
