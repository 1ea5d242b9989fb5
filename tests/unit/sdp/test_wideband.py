"""Offers and answers of G.722 and Opus: clocks, channels, numbers, format parameters, telephone-events."""

import re

import pytest

from firmware.sdp import AgreedMedia, LocalMedia, OfferAnswer

LOCAL = LocalMedia("192.0.2.1", 4000, audio_codecs=("opus", "G722", "PCMA", "PCMU"))
HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n"


def sdp(formats: str, *attributes: str) -> bytes:
    lines = [f"m=audio 5000 RTP/AVP {formats}", *(f"a={attribute}" for attribute in attributes)]
    return (HEAD + "".join(line + "\r\n" for line in lines)).encode()


def answered(offer: bytes, local: LocalMedia = LOCAL) -> tuple[str, AgreedMedia]:
    machine = OfferAnswer(1)
    machine.receive_offer(offer)
    answer, agreement = machine.create_answer(local)
    assert agreement.audio is not None
    return answer.decode(), agreement.audio


def agreed(answer: bytes, local: LocalMedia = LOCAL) -> AgreedMedia:
    machine = OfferAnswer(1)
    machine.create_offer(local)
    agreement = machine.receive_answer(answer)
    assert agreement.audio is not None
    return agreement.audio


def test_the_offer_names_each_codec_as_its_rfc_does() -> None:
    offer = OfferAnswer(1).create_offer(LOCAL).decode()
    assert "m=audio 4000 RTP/AVP 111 9 8 0 101 102\r\n" in offer
    assert "a=rtpmap:111 opus/48000/2\r\n" in offer
    assert "a=fmtp:111 useinbandfec=1;maxplaybackrate=16000\r\n" in offer
    assert "a=rtpmap:9 G722/8000\r\n" in offer
    assert "a=rtpmap:101 telephone-event/8000\r\n" in offer
    assert "a=rtpmap:102 telephone-event/48000\r\n" in offer


def test_the_order_is_the_accounts() -> None:
    offer = OfferAnswer(1).create_offer(LocalMedia("192.0.2.1", 4000, audio_codecs=("PCMU", "G722"))).decode()
    assert "m=audio 4000 RTP/AVP 0 9 101\r\n" in offer


def test_opus_is_answered_with_the_number_of_the_offer() -> None:
    answer, audio = answered(
        sdp("96 0 97", "rtpmap:96 OPUS/48000/2", "rtpmap:97 telephone-event/48000", "fmtp:96 useinbandfec=1")
    )
    assert "m=audio 4000 RTP/AVP 96 97\r\n" in answer
    assert "a=rtpmap:96 opus/48000/2\r\n" in answer
    assert (audio.codec.name, audio.codec.clock_hz, audio.codec.payload_type) == ("opus", 48_000, 96)
    assert audio.codec.fmtp == "useinbandfec=1"
    assert audio.dtmf is not None
    assert (audio.dtmf.clock_hz, audio.dtmf.payload_type) == (48_000, 97)


@pytest.mark.parametrize("rtpmap", ["opus/48000", "opus/48000/1", "Opus/48000/2"])
def test_opus_is_opus_however_its_channels_are_written(rtpmap: str) -> None:
    assert answered(sdp("120", f"rtpmap:120 {rtpmap}"))[1].codec.name == "opus"


@pytest.mark.parametrize("rtpmap", ["G722/16000", "PCMA/16000", "opus/16000", "PCMU/8000/2"])
def test_a_name_with_another_clock_is_another_codec(rtpmap: str) -> None:
    _, audio = answered(sdp("96 0", f"rtpmap:96 {rtpmap}"))
    assert audio.codec.name == "PCMU"


def test_g722_needs_no_rtpmap() -> None:
    _, audio = answered(sdp("9 101", "rtpmap:101 telephone-event/8000"))
    assert (audio.codec.name, audio.codec.clock_hz, audio.codec.payload_type) == ("G722", 8000, 9)


def test_events_have_the_clock_of_the_codec_that_was_chosen() -> None:
    both = sdp(
        "111 8 126 101",
        "rtpmap:111 opus/48000/2",
        "rtpmap:126 telephone-event/48000",
        "rtpmap:101 telephone-event/8000",
    )
    _, wide = answered(both)
    assert wide.dtmf is not None
    assert wide.dtmf.payload_type == 126
    _, narrow = answered(both, LocalMedia("192.0.2.1", 4000, audio_codecs=("PCMA",)))
    assert narrow.dtmf is not None
    assert narrow.dtmf.payload_type == 101


def test_events_at_8000_are_taken_where_a_phone_has_no_others() -> None:
    _, audio = answered(sdp("111 101", "rtpmap:111 opus/48000/2", "rtpmap:101 telephone-event/8000"))
    assert audio.dtmf is not None
    assert (audio.dtmf.clock_hz, audio.dtmf.payload_type) == (8000, 101)


def test_every_number_that_may_bring_events_is_known_after_an_answer() -> None:
    audio = agreed(
        sdp(
            "111 101 102",
            "rtpmap:111 opus/48000/2",
            "rtpmap:101 telephone-event/8000",
            "rtpmap:102 telephone-event/48000",
        )
    )
    assert audio.dtmf is not None
    assert audio.dtmf.receive_payload_type == 102
    assert audio.event_types == (102, 101)


@pytest.mark.parametrize(
    ("fmtp", "ours", "wanted"),
    [
        ("", 0, 0),
        ("maxaveragebitrate=20000", 0, 20_000),
        ("maxaveragebitrate=20000; useinbandfec=1", 24_000, 20_000),
        ("maxaveragebitrate=64000", 24_000, 24_000),
        ("", 24_000, 24_000),
        ("maxaveragebitrate=1", 0, 6000),
        ("maxaveragebitrate=99999999999", 0, 0),
        ("maxaveragebitrate=-5", 24_000, 24_000),
    ],
)
def test_the_bit_rate_is_the_lower_of_both(fmtp: str, ours: int, wanted: int) -> None:
    local = LocalMedia("192.0.2.1", 4000, audio_codecs=("opus",), opus_bit_rate=ours)
    attributes = ["rtpmap:111 opus/48000/2"] + ([f"fmtp:111 {fmtp}"] if fmtp else [])
    answer, audio = answered(sdp("111", *attributes), local)
    assert audio.bit_rate == wanted
    said = re.search(r"maxaveragebitrate=(\d+)", answer)
    assert (int(said[1]) if said else 0) == ours


def test_a_number_that_the_peer_gave_to_opus_stays_in_our_next_offer() -> None:
    machine = OfferAnswer(1)
    machine.receive_offer(sdp("101 0", "rtpmap:101 opus/48000/2"))
    machine.create_answer(LOCAL)
    offer = machine.create_offer(LOCAL).decode()
    assert "a=rtpmap:101 opus/48000/2\r\n" in offer
    assert "a=rtpmap:102 telephone-event/8000\r\n" in offer or "a=rtpmap:103 telephone-event/8000\r\n" in offer
    numbers = re.findall(r"a=rtpmap:(\d+)", offer)
    assert len(numbers) == len(set(numbers))
