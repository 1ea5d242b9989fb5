"""Every codec keeps level and length of what it codes, and makes something of rubbish and of nothing."""

import audioop

import pytest

from firmware.media import codec as codecs
from firmware.media.codec import AudioCodec, CodecUnavailable, codec, usable
from firmware.rtp import opus as opus_packets
from tests.support.media import heard, tone_frames
from tests.support.sound import level_db

NAMES = ("PCMU", "PCMA", "G722", "opus", "L16")


def made(name: str, **settings: object) -> AudioCodec:
    found = codec(name, **settings)  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_tone_survives_coding(name: str) -> None:
    used = made(name)
    frames = tone_frames(1000, 25, rate_hz=used.rate_hz)
    decoded = [used.decode(used.encode(frame)) for frame in frames]
    assert {len(frame) for frame in decoded} == {used.frame_bytes}
    assert level_db(heard(decoded[5:], used.rate_hz), 1000) == pytest.approx(-12.04, abs=0.7)


@pytest.mark.parametrize("name", ["G722", "opus", "L16"])
def test_wideband_codecs_carry_what_a_telephone_cuts_off(name: str) -> None:
    used = made(name)
    decoded = [used.decode(used.encode(frame)) for frame in tone_frames(5500, 25, rate_hz=used.rate_hz)]
    assert level_db(heard(decoded[5:], used.rate_hz), 5500) > -18


@pytest.mark.parametrize("name", NAMES)
def test_a_frame_of_silence_is_twenty_milliseconds_of_it(name: str) -> None:
    used = made(name)
    assert used.samples(used.silence) == used.clock_hz // 50
    frames = [used.decode(used.silence) for _ in range(100)]
    assert {len(frame) for frame in frames} == {used.frame_bytes}
    assert max(audioop.max(frame, 2) for frame in frames) < 40


@pytest.mark.parametrize("name", ["PCMU", "PCMA", "G722", "L16"])
def test_a_part_of_a_payload_is_that_part_of_the_sound(name: str) -> None:
    used = made(name)
    payload = used.encode(tone_frames(1000, 1, rate_hz=used.rate_hz)[0])
    half = used.decode(payload[: used.clock_hz // 100 * used.octets])
    assert len(half) == used.frame_bytes // 2


def test_what_no_codec_made_is_decoded_to_something() -> None:
    opus, g722 = made("opus"), made("G722")
    for payload in (b"", b"\xff", b"\xff\xff", b"\x0b\xff", bytes(1500), b"\x48" + bytes(1400)):
        assert len(opus.decode(payload)) == opus_packets.duration(payload) // 3 * 2
    assert len(g722.decode(bytes(5000))) == 20_000


def test_opus_conceals_a_loss_by_itself() -> None:
    used = made("opus")
    sound = b""
    for frame in tone_frames(400, 20, rate_hz=16_000):
        sound = used.decode(used.encode(frame))
    assert used.conceal is not None
    concealed = used.conceal(960, b"")
    assert len(concealed) == len(sound)
    assert audioop.rms(concealed, 2) > audioop.rms(sound, 2) / 2


def test_opus_takes_a_lost_frame_from_the_packet_after_it() -> None:
    """Something that concealment cannot guess: a tone that begins in the frame that is lost."""
    plain, told = made("opus", in_band_fec=True), made("opus", in_band_fec=True)
    assert told.expect_loss is not None
    told.expect_loss(0.2)
    still = [bytes(640)] * 20
    tone = tone_frames(500, 3, rate_hz=16_000)
    payloads = [told.encode(frame) for frame in still + tone]
    for payload in payloads[:20]:
        told.decode(payload)
        plain.decode(payload)
    assert told.conceal is not None
    assert plain.conceal is not None
    with_following = audioop.rms(told.conceal(960, payloads[21]), 2)
    without = audioop.rms(plain.conceal(960, b""), 2)
    assert with_following > 10 * max(1, without)


def test_the_bit_rate_is_the_encoders() -> None:
    frames = tone_frames(700, 50, rate_hz=16_000)
    sizes = {}
    for rate in (12_000, 40_000):
        used = made("opus", bit_rate=rate)
        sizes[rate] = sum(len(used.encode(frame)) for frame in frames)
    assert sizes[12_000] * 1.5 < sizes[40_000] < 40_000 / 8 * 1.4


def test_a_codec_whose_library_is_missing_is_not_offered(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(codecs, "_missing", {})

    def missing(name: str) -> AudioCodec:
        raise CodecUnavailable("no libexample; install it")

    monkeypatch.setattr(codecs, "codec", missing)
    assert usable(("opus", "PCMA")) == ("PCMA",)
    assert usable(("opus", "PCMA")) == ("PCMA",)
    assert [record.getMessage() for record in caplog.records] == ["opus is not offered: no libexample; install it"]


def test_a_name_that_is_no_codec_is_none() -> None:
    assert codec("GSM") is None
