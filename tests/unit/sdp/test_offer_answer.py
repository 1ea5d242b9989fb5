"""What is offered, answered and agreed: RFC 3264, RFC 4317's cases with our codecs, and the field's habits."""

from dataclasses import replace

import pytest

from firmware.sdp.description import Direction, MediaDescription, SessionDescription
from firmware.sdp.errors import SdpError
from firmware.sdp.offer_answer import AgreedMedia, Agreement, Codec, LocalMedia, OfferAnswer, State
from tests.support.sdp_samples import (
    AUDIO_ONLY,
    GATEWAY,
    HEAD,
    MONITOR,
    OLD_HOLD,
    PREVIEW,
    SECURE_TWICE,
    SOFTPHONE,
    sdp,
)

LOCAL = LocalMedia("192.0.2.1", 4000, 4002, sprop_parameter_sets="Z0LAH9oBQBboQAAAAwBAAAAMI8YMqA==,aM48gA==")
AUDIO = replace(LOCAL, video_port=None)
H264 = ("m=video 9078 RTP/AVP 97", "a=rtpmap:97 H264/90000")


def answered(offer: bytes, local: LocalMedia = LOCAL) -> tuple[SessionDescription, Agreement]:
    machine = OfferAnswer(7)
    machine.receive_offer(offer)
    data, agreement = machine.create_answer(local)
    return SessionDescription.parse(data), agreement


def agreed(answer: bytes, local: LocalMedia = LOCAL) -> Agreement:
    machine = OfferAnswer(7)
    machine.create_offer(local)
    return machine.receive_answer(answer)


def audio(agreement: Agreement) -> AgreedMedia:
    assert agreement.audio is not None
    return agreement.audio


def video(agreement: Agreement) -> AgreedMedia:
    assert agreement.video is not None
    return agreement.video


def lines(description: SessionDescription) -> list[tuple[str, int, str, tuple[str, ...]]]:
    return [(media.kind, media.port, media.protocol, media.formats) for media in description.media]


def offer_lines(data: bytes) -> list[MediaDescription]:
    return list(SessionDescription.parse(data).media)


# --- what we offer -----------------------------------------------------------------------------------------


def test_the_offer_has_sound_events_and_picture_in_well_under_650_bytes() -> None:
    data = OfferAnswer(2**62).create_offer(
        replace(LOCAL, host="192.168.178.140", audio_port=16384, video_port=16386)
    )
    sound, picture = offer_lines(data)
    assert [(f.payload_type, f.name, f.clock_hz) for f in sound.rtp_formats()] == [
        (8, "PCMA", 8000),
        (0, "PCMU", 8000),
        (101, "telephone-event", 8000),
    ]
    assert sound.rtp_formats()[2].fmtp == "0-16"
    assert sound.direction == "sendrecv"
    assert ["packetization-mode=1" in f.fmtp for f in picture.rtp_formats()] == [True, False]
    assert ["sprop-parameter-sets=" in f.fmtp for f in picture.rtp_formats()] == [True, False]
    assert picture.direction == "sendonly"
    assert len(data) < 630


def test_the_offer_without_a_camera_has_no_picture() -> None:
    assert [line.kind for line in offer_lines(OfferAnswer(7).create_offer(AUDIO))] == ["audio"]


def test_rtcp_is_named_only_where_it_is_not_one_above_rtp() -> None:
    usual = OfferAnswer(7).create_offer(replace(LOCAL, audio_rtcp_port=4001, video_rtcp_port=4003))
    assert b"a=rtcp:" not in usual
    sound, picture = offer_lines(
        OfferAnswer(7).create_offer(replace(LOCAL, audio_rtcp_port=5001, video_rtcp_port=5003))
    )
    assert (sound.rtcp, picture.rtcp) == ((5001, None), (5003, None))


def test_an_ipv6_station_writes_ip6_in_origin_and_connection() -> None:
    data = OfferAnswer(7).create_offer(replace(LOCAL, host="2001:db8::1"))
    assert b"o=- 7 1 IN IP6 2001:db8::1\r\n" in data
    assert b"c=IN IP6 2001:db8::1\r\n" in data


def test_the_version_grows_only_when_the_description_changes() -> None:
    machine = OfferAnswer(7)
    versions = []
    for local in (LOCAL, LOCAL, replace(LOCAL, audio_direction="inactive"), LOCAL, LOCAL):
        versions.append(SessionDescription.parse(machine.create_offer(local)).origin.split()[1:3])
        machine.reject_offer()
    assert versions == [["7", "1"], ["7", "1"], ["7", "2"], ["7", "3"], ["7", "3"]]


def test_a_refresh_by_the_peer_with_its_unchanged_offer_leaves_our_version_alone() -> None:
    machine = OfferAnswer(7)
    machine.receive_offer(MONITOR)
    first, agreement = machine.create_answer(LOCAL)
    machine.receive_offer(MONITOR)
    assert machine.create_answer(LOCAL) == (first, agreement)


# --- answers to our offer ----------------------------------------------------------------------------------


def test_pitfall_04_an_answer_with_static_types_and_no_video_line_is_a_sound_only_call() -> None:
    agreement = agreed(AUDIO_ONLY)
    assert agreement.video is None
    assert audio(agreement) == AgreedMedia(
        kind="audio",
        direction="sendrecv",
        remote_host="203.0.113.1",
        remote_rtp_port=54400,
        remote_rtcp_host="203.0.113.1",
        remote_rtcp_port=54401,
        codec=Codec("PCMU", 8000, 0, 0),
        dtmf=None,
        ptime_ms=20,
    )


def test_pitfall_34_each_side_sends_with_the_numbers_the_other_named() -> None:
    answer = sdp(
        *HEAD,
        "m=audio 7078 RTP/AVP 8 96",
        "a=rtpmap:96 telephone-event/8000",
        "m=video 9078 RTP/AVP 120",
        "a=rtpmap:120 H264/90000",
        "a=fmtp:120 packetization-mode=0",
        "a=recvonly",
    )
    agreement = agreed(answer)
    assert audio(agreement).dtmf == Codec("telephone-event", 8000, payload_type=96, receive_payload_type=101)
    picture = video(agreement).codec
    assert (picture.payload_type, picture.receive_payload_type) == (120, 97)  # 97 is our mode 0


def test_the_first_codec_of_the_answer_that_is_ours_is_taken() -> None:
    assert audio(agreed(sdp(*HEAD, "m=audio 4 RTP/AVP 18 0 8"))).codec.name == "PCMU"


def test_a_refused_picture_keeps_the_sound() -> None:
    agreement = agreed(sdp(*HEAD, "m=audio 4 RTP/AVP 8", "m=video 0 RTP/AVP 96"))
    assert agreement.video is None
    assert audio(agreement).codec.name == "PCMA"


def test_a_preview_refuses_the_sound_and_takes_the_picture() -> None:
    agreement = agreed(PREVIEW)
    assert agreement.audio is None
    assert (video(agreement).direction, video(agreement).remote_rtp_port) == ("sendonly", 9078)


def test_a_picture_whose_audio_line_was_dropped_is_found_by_its_kind() -> None:
    agreement = agreed(sdp(*HEAD, *H264, "a=recvonly"))
    assert agreement.audio is None
    assert video(agreement).codec.payload_type == 97


def test_pitfall_05_swapped_and_surplus_lines_of_an_answer_are_sorted_out() -> None:
    agreement = agreed(sdp(*HEAD, *H264, "m=audio 4 RTP/AVP 8", "m=audio 6 RTP/AVP 0", "m=application 8 udp x"))
    assert audio(agreement).remote_rtp_port == 4
    assert video(agreement).remote_rtp_port == 9078


def test_an_answer_with_nothing_we_offered_agrees_on_nothing() -> None:
    assert agreed(sdp(*HEAD, "m=audio 4 RTP/AVP 18 9")) == Agreement(None, None)


def test_a_codec_s_name_compares_without_case_and_its_clock_and_channels_count() -> None:
    other_clock = sdp(*HEAD, "m=audio 4 RTP/AVP 97 98 99", "a=rtpmap:97 PCMA/16000", "a=rtpmap:98 pcma/8000/2")
    assert agreed(other_clock).audio is None
    assert audio(agreed(other_clock + b"a=rtpmap:99 pcma/8000/1\r\n")).codec == Codec("PCMA", 8000, 99, 8)


@pytest.mark.parametrize(
    ("offered", "answered", "ours"),
    [
        ("sendrecv", "sendrecv", "sendrecv"),
        ("sendrecv", "sendonly", "recvonly"),
        ("sendrecv", "recvonly", "sendonly"),
        ("sendrecv", "inactive", "inactive"),
        ("sendonly", "recvonly", "sendonly"),
        ("sendonly", "inactive", "inactive"),
        ("recvonly", "sendonly", "recvonly"),
        ("inactive", "inactive", "inactive"),
        # Not legal, and copied from our offer by monitors that show the picture all the same.
        ("sendonly", "sendonly", "sendonly"),
        ("sendonly", "sendrecv", "sendonly"),
        ("recvonly", "recvonly", "recvonly"),
        ("inactive", "sendrecv", "inactive"),
    ],
)
def test_direction_of_an_answered_line(offered: Direction, answered: Direction, ours: Direction) -> None:
    local = replace(LOCAL, audio_direction=offered)
    agreement = agreed(sdp(*HEAD, "m=audio 4 RTP/AVP 8", f"a={answered}"), local)
    assert audio(agreement).direction == ours


def test_another_early_dialog_s_answer_and_the_final_one_replace_the_provisional_one() -> None:
    machine = OfferAnswer(7)
    machine.create_offer(LOCAL)
    assert machine.receive_answer(PREVIEW, provisional=True).audio is None
    assert machine.receive_answer(AUDIO_ONLY, provisional=True).video is None
    final = machine.receive_answer(MONITOR)
    assert final.audio is not None
    assert final.video is not None
    assert machine.agreement == final


def test_pitfall_04_a_refused_first_offer_is_repeated_with_sound_only() -> None:
    machine = OfferAnswer(7)
    machine.create_offer(LOCAL)
    machine.reject_offer()  # 488, for the picture
    assert [line.kind for line in offer_lines(machine.create_offer(AUDIO))] == ["audio"]
    assert machine.receive_answer(AUDIO_ONLY).audio is not None


def test_a_failed_answer_after_early_media_leaves_no_agreement() -> None:
    machine = OfferAnswer(7)
    machine.create_offer(LOCAL)
    machine.receive_answer(PREVIEW, provisional=True)
    machine.reject_offer()
    assert machine.agreement is None


# --- offers of the peer ------------------------------------------------------------------------------------


def test_pitfall_05_every_offered_line_is_answered_in_its_place() -> None:
    answer, agreement = answered(GATEWAY)
    assert lines(answer) == [
        ("audio", 4000, "RTP/AVP", ("8",)),
        ("application", 0, "udp", ("5",)),
        ("video", 4002, "RTP/AVP", ("98",)),
    ]
    assert (audio(agreement).remote_host, video(agreement).remote_host) == ("198.51.100.9", "198.51.100.11")
    assert (audio(agreement).remote_rtcp_host, audio(agreement).remote_rtcp_port) == ("198.51.100.10", 21001)


def test_a_second_line_of_a_kind_is_refused() -> None:
    answer, _ = answered(sdp(*HEAD, "m=audio 4 RTP/AVP 8", "m=audio 6 RTP/AVP 0", *H264, *H264))
    assert [media.port for media in answer.media] == [4000, 0, 4002, 0]


def test_an_answer_echoes_the_profile_of_the_transport() -> None:
    answer, _ = answered(SOFTPHONE)
    assert [media.protocol for media in answer.media] == ["RTP/AVPF", "RTP/AVPF"]


def test_of_a_secure_line_and_a_plain_one_the_plain_one_is_taken() -> None:
    answer, agreement = answered(SECURE_TWICE)
    assert lines(answer) == [("audio", 0, "RTP/SAVP", ("8",)), ("audio", 4000, "RTP/AVP", ("8",))]
    assert audio(agreement).remote_rtp_port == 4002
    assert b"crypto" not in bytes(answer)


def test_the_peer_s_order_of_codecs_decides_and_one_is_answered() -> None:
    answer, agreement = answered(sdp(*HEAD, "m=audio 4 RTP/AVP 18 0 8"))
    assert answer.media[0].formats == ("0",)
    assert audio(agreement).codec == Codec("PCMU", 8000, 0, 0)


def test_pitfall_11_telephone_event_is_answered_at_the_codec_s_clock() -> None:
    answer, agreement = answered(SOFTPHONE)
    assert answer.media[0].formats == ("0", "100")
    assert audio(agreement).dtmf == Codec("telephone-event", 8000, 100, 100)


def test_pitfall_11_telephone_event_at_another_clock_is_better_than_none() -> None:
    offer = sdp(*HEAD, "m=audio 4 RTP/AVP 8 99", "a=rtpmap:99 telephone-event/48000")
    answer, agreement = answered(offer)
    assert b"a=rtpmap:99 telephone-event/48000" in bytes(answer)
    assert audio(agreement).dtmf == Codec("telephone-event", 48000, 99, 99)


@pytest.mark.parametrize(
    ("offered", "ours"),
    [("sendrecv", "sendonly"), ("recvonly", "sendonly"), ("sendonly", "inactive"), ("inactive", "inactive")],
)
def test_a_picture_is_only_ever_sent(offered: Direction, ours: Direction) -> None:
    answer, agreement = answered(sdp(*HEAD, "m=audio 4 RTP/AVP 8", *H264, f"a={offered}"))
    assert (answer.media[1].port, answer.media[1].direction) == (4002, ours)
    assert video(agreement).direction == ours


def test_an_offered_picture_is_refused_by_a_station_without_camera() -> None:
    answer, agreement = answered(MONITOR, AUDIO)
    assert lines(answer)[1] == ("video", 0, "RTP/AVP", ("102",))
    assert agreement.video is None


def test_pitfall_04_no_common_picture_does_not_cost_the_call() -> None:
    answer, agreement = answered(sdp(*HEAD, "m=audio 4 RTP/AVP 8", "m=video 6 RTP/AVP 96", "a=rtpmap:96 VP8/90000"))
    assert [media.port for media in answer.media] == [4000, 0]
    assert agreement.video is None


def test_a_picture_alone_is_a_call() -> None:
    answer, agreement = answered(sdp(*HEAD, *H264, "a=recvonly"))
    assert agreement.audio is None
    assert answer.media[0].direction == "sendonly"


@pytest.mark.parametrize(
    ("offer", "reason"),
    [
        (("m=audio 4 RTP/AVP 18",), "no common audio codec"),
        (("m=audio 4 RTP/AVP 18", *H264), "no common audio codec"),
        (("m=audio 4 RTP/AVP 99", "a=rtpmap:99 PCM/16000"), "no common audio codec"),
        (("m=audio 4 RTP/SAVP 8",), "RTP/SAVP is offered, and encryption is switched off here"),
        (("m=application 4 udp x",), "no media in common"),
        (("m=video 6 RTP/AVP 34",), "no media in common"),
    ],
)
def test_an_offer_without_anything_in_common_is_refused_with_its_reason(
    offer: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(SdpError, match=reason):
        answered(sdp(*HEAD, *offer))


def test_an_offer_that_switches_every_stream_off_is_answered_so() -> None:
    answer, agreement = answered(sdp(*HEAD, "m=audio 0 RTP/AVP 8", "m=video 0 RTP/AVP 97"))
    assert [media.port for media in answer.media] == [0, 0]
    assert agreement == Agreement(None, None)


def test_a_line_without_any_address_is_refused() -> None:
    with pytest.raises(SdpError, match="no address for audio"):
        answered(sdp("v=0", "o=- 1 1 IN IP4 192.0.2.9", "s=-", "t=0 0", "m=audio 4 RTP/AVP 8"))


@pytest.mark.parametrize(
    ("attributes", "ptime_ms"),
    [
        ((), 20),
        (("a=ptime:30",), 30),
        (("a=ptime:60", "a=maxptime:40"), 40),
        (("a=ptime:200",), 60),
        (("a=ptime:5",), 10),
        (("a=ptime:x", "a=maxptime:-1"), 20),
    ],
)
def test_packets_are_as_long_as_the_peer_wants_within_10_to_60_ms(
    attributes: tuple[str, ...], ptime_ms: int
) -> None:
    assert audio(agreed(sdp(*HEAD, "m=audio 4 RTP/AVP 8", *attributes))).ptime_ms == ptime_ms


# --- H.264 -------------------------------------------------------------------------------------------------


def h264(*formats: str) -> tuple[str, ...]:
    """A video line with one H.264 format per fmtp, numbered from 110; "-" stands for no fmtp line."""
    numbers = range(110, 110 + len(formats))
    line = [f"m=video 9078 RTP/AVP {' '.join(map(str, numbers))}"]
    for number, fmtp in zip(numbers, formats, strict=True):
        line.append(f"a=rtpmap:{number} H264/90000")
        if fmtp != "-":
            line.append(f"a=fmtp:{number} {fmtp}")
    return tuple(line)


@pytest.mark.parametrize(
    ("formats", "number", "mode"),
    [
        (("packetization-mode=1;profile-level-id=42e01f",), 110, 1),
        (("profile-level-id=42e00a; packetization-mode=1",), 110, 1),  # level 1 only: no reason to send nothing
        (("profile-level-id=42E034",), 110, 0),
        (("-",), 110, 0),  # absent: mode 0, baseline
        (("packetization-mode=0", "packetization-mode=1"), 111, 1),
        (("profile-level-id=64001f;packetization-mode=1", "profile-level-id=42801F;packetization-mode=1"), 111, 1),
        (("profile-level-id=42001f;packetization-mode=1", "profile-level-id=42c01f;packetization-mode=1"), 111, 1),
        (("profile-level-id=640028;packetization-mode=1",), 110, 1),  # every high decoder shows our profile
        (("packetization-mode=2", "profile-level-id=42e01f"), 111, 0),
        (("profile-level-id=zz;packetization-mode=7",), 110, 0),
    ],
)
def test_pitfall_06_h264_is_matched_by_mode_and_profile_never_by_level(
    formats: tuple[str, ...], number: int, mode: int
) -> None:
    offer = sdp(*HEAD, "m=audio 4 RTP/AVP 8", *h264(*formats))
    answer, agreement = answered(offer)
    assert answer.media[1].formats == (str(number),)
    assert (video(agreement).codec.payload_type, video(agreement).packetization_mode) == (number, mode)
    read = video(agreed(offer))
    assert (read.codec.payload_type, read.packetization_mode) == (number, mode)


@pytest.mark.parametrize(
    "formats", [("packetization-mode=2",), ("profile-level-id=f4001f",), ("profile-level-id=ff001f",)]
)
def test_h264_that_cannot_show_our_stream_is_refused(formats: tuple[str, ...]) -> None:
    answer, agreement = answered(sdp(*HEAD, "m=audio 4 RTP/AVP 8", *h264(*formats)))
    assert answer.media[1].port == 0
    assert agreement.video is None


def test_a_main_profile_camera_is_not_shown_by_a_baseline_monitor() -> None:
    main = replace(LOCAL, video_profile_level_id="4d001f")
    assert agreed(sdp(*HEAD, "m=audio 4 RTP/AVP 8", *h264("profile-level-id=42e01f")), main).video is None
    assert agreed(sdp(*HEAD, "m=audio 4 RTP/AVP 8", *h264("profile-level-id=64001f")), main).video is not None


def test_pitfall_06_the_answered_parameters_are_ours_in_the_offer_s_profile_and_nothing_is_copied() -> None:
    theirs = "profile-level-id=428014;packetization-mode=1;max-mbps=245760;sprop-parameter-sets=QUFB"
    answer, agreement = answered(sdp(*HEAD, "m=audio 4 RTP/AVP 8", *h264(theirs)))
    fmtp = answer.media[1].rtp_formats()[0].fmtp
    assert fmtp == f"profile-level-id=42801f;packetization-mode=1;sprop-parameter-sets={LOCAL.sprop_parameter_sets}"
    assert video(agreement).codec.fmtp == theirs


def test_level_asymmetry_is_answered_where_it_was_offered() -> None:
    answer, _ = answered(SOFTPHONE)
    assert "level-asymmetry-allowed=1" in answer.media[1].rtp_formats()[0].fmtp


# --- addresses and hold ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "ours"),
    [("sendonly", "recvonly"), ("recvonly", "sendonly"), ("inactive", "inactive"), ("sendrecv", "sendrecv")],
)
def test_hold_and_resume_are_answered_with_the_mirrored_direction(offered: Direction, ours: Direction) -> None:
    machine = OfferAnswer(7)
    machine.receive_offer(AUDIO_ONLY)
    machine.create_answer(LOCAL)
    machine.receive_offer(AUDIO_ONLY.replace(b"a=sendrecv", f"a={offered}".encode()))
    data, agreement = machine.create_answer(LOCAL)
    assert f"a={ours}\r\n".encode() in data
    assert audio(agreement).direction == ours


def test_hold_by_null_address_stops_sending_and_resume_restores_the_destination() -> None:
    machine = OfferAnswer(7)
    machine.receive_offer(AUDIO_ONLY)
    machine.create_answer(LOCAL)
    machine.receive_offer(OLD_HOLD)
    data, held = machine.create_answer(LOCAL)
    assert (audio(held).direction, audio(held).remote_host, audio(held).remote_rtcp_host) == (
        "recvonly",
        "0.0.0.0",
        "0.0.0.0",
    )
    assert b"a=recvonly\r\n" in data
    machine.receive_offer(AUDIO_ONLY)
    resumed = audio(machine.create_answer(LOCAL)[1])
    assert (resumed.direction, resumed.remote_host, resumed.remote_rtp_port) == ("sendrecv", "203.0.113.1", 54400)


@pytest.mark.parametrize(
    ("address", "null"),
    [
        ("IP4 0.0.0.0", "0.0.0.0"),
        ("IP6 ::", "::"),
        ("IP4 224.0.0.1/127", "0.0.0.0"),
        ("IP6 ff02::1", "::"),
        ("IP4 255.255.255.255", "0.0.0.0"),
        ("IP4 phone.example.org", "0.0.0.0"),
        ("IP4 (null)", "0.0.0.0"),
        ("IP4 1.2.3", "0.0.0.0"),
    ],
)
def test_nothing_is_sent_to_addresses_that_name_no_host(address: str, null: str) -> None:
    stream = audio(agreed(sdp("v=0", f"c=IN {address}", "m=audio 4 RTP/AVP 8")))
    assert (stream.remote_host, stream.remote_rtcp_host) == (null, null)
    assert not stream.sends
    assert stream.receives


def test_rtcp_to_an_address_that_names_no_host_goes_to_rtp_s() -> None:
    stream = audio(agreed(sdp(*HEAD, "m=audio 4 RTP/AVP 8", "a=rtcp:99 IN IP4 239.1.1.1")))
    assert (stream.remote_rtcp_host, stream.remote_rtcp_port) == ("203.0.113.1", 99)


def test_an_ipv6_peer_is_reached_at_its_address() -> None:
    _, agreement = answered(SOFTPHONE)
    assert (audio(agreement).remote_host, audio(agreement).remote_rtcp_port) == ("2001:db8::2", 7077)


# --- re-offers ---------------------------------------------------------------------------------------------


def test_a_re_offer_keeps_the_order_and_numbers_of_the_peer_s_offer() -> None:
    offer = sdp(
        *HEAD,
        *h264("packetization-mode=1"),
        "m=application 4 udp x",
        "m=audio 4 RTP/SAVP 8",
        "m=audio 6 RTP/AVP 8 96",
        "a=rtpmap:96 telephone-event/8000",
    )
    machine = OfferAnswer(7)
    machine.receive_offer(offer)
    machine.create_answer(LOCAL)
    again = SessionDescription.parse(machine.create_offer(LOCAL))
    assert lines(again) == [
        ("video", 4002, "RTP/AVP", ("110", "97")),
        ("application", 0, "udp", ("x",)),
        ("audio", 0, "RTP/SAVP", ("8",)),
        ("audio", 4000, "RTP/AVP", ("8", "0", "96")),
    ]


def test_a_number_taken_by_the_peer_s_offer_is_given_to_nothing_else() -> None:
    machine = OfferAnswer(7)
    machine.receive_offer(sdp(*HEAD, "m=audio 4 RTP/AVP 8", "m=video 6 RTP/AVP 97", *H264[1:]))  # 97 is mode 0
    machine.create_answer(LOCAL)
    machine.receive_offer(
        sdp(*HEAD, "m=audio 4 RTP/AVP 8", "m=video 6 RTP/AVP 97", *H264[1:], "a=fmtp:97 packetization-mode=1")
    )
    machine.create_answer(LOCAL)
    assert lines(SessionDescription.parse(machine.create_offer(LOCAL)))[1][3] == ("97", "98")


def test_a_stream_that_ends_is_switched_off_in_its_place_and_may_come_back() -> None:
    machine = OfferAnswer(7)
    machine.create_offer(LOCAL)
    machine.receive_answer(MONITOR)
    without = SessionDescription.parse(machine.create_offer(AUDIO))
    assert [media.port for media in without.media] == [4000, 0]
    assert machine.receive_answer(AUDIO_ONLY).video is None
    assert [media.port for media in SessionDescription.parse(machine.create_offer(LOCAL)).media] == [4000, 4002]


def test_a_stream_can_be_added_to_a_sound_only_call() -> None:
    machine = OfferAnswer(7)
    machine.create_offer(AUDIO)
    machine.receive_answer(AUDIO_ONLY)
    machine.create_offer(LOCAL)
    assert machine.receive_answer(MONITOR).video is not None


def test_glare_leaves_our_offer_open_and_its_answer_is_taken() -> None:
    machine = OfferAnswer(7)
    machine.create_offer(LOCAL)
    with pytest.raises(SdpError):
        machine.receive_offer(MONITOR)
    assert machine.state is State.LOCAL_OFFER
    assert machine.receive_answer(MONITOR).video is not None


def test_two_machines_agree_with_each_other_from_both_ends() -> None:
    station, monitor = OfferAnswer(7), OfferAnswer(8)
    watching = LocalMedia("192.0.2.2", 5000, 5002, ("PCMU",), video_direction="recvonly")
    monitor.receive_offer(station.create_offer(LOCAL))
    answer, seen = monitor.create_answer(watching)
    agreement = station.receive_answer(answer)
    assert (video(agreement).direction, video(seen).direction) == ("sendonly", "recvonly")
    assert audio(agreement).codec == audio(seen).codec == Codec("PCMU", 8000, 0, 0)
    assert (audio(agreement).remote_rtp_port, audio(seen).remote_rtp_port) == (5000, 4000)
    assert video(agreement).packetization_mode == video(seen).packetization_mode == 1
    station.receive_offer(monitor.create_offer(watching))
    _, again = station.create_answer(LOCAL)
    assert again == agreement
