"""Hands-free as a whole, on frames that the test passes by hand."""

import array
import logging
import random
from pathlib import Path

import pytest

from firmware.media import calibration
from firmware.media.calibration import Calibration
from firmware.media.canceller import CancellerMissing, EchoCanceller, NoCanceller
from firmware.media.handsfree import HandsFree, HandsFreeSettings
from firmware.media.levels import factor, level_db
from tests.support.media import tone_frames

RATE_HZ = 16_000
SILENCE = bytes(640)
NOON, MIDNIGHT = 12 * 60, 0


class RecordingCanceller:
    """Notes what it is given."""

    def __init__(self) -> None:
        self.pairs: list[tuple[bytes, bytes]] = []
        self.resets = 0

    def process(self, captured: bytes, reference: bytes) -> bytes:
        self.pairs.append((captured, reference))
        return captured

    def reset(self) -> None:
        self.resets += 1


def noise_frames(db: float, frames: int) -> list[bytes]:
    source = random.Random(4)
    rms = 32768 * factor(db)
    return [array.array("h", (round(source.gauss(0, rms)) for _ in range(320))).tobytes() for _ in range(frames)]


def door(
    calibration: Calibration = Calibration(),  # noqa: B008 — frozen
    minute: int = NOON,
    canceller: EchoCanceller | None = None,
    **settings: object,
) -> HandsFree:
    made = HandsFree(
        HandsFreeSettings(**settings),  # type: ignore[arg-type]
        calibration,
        RATE_HZ,
        minute_of_day=lambda: minute,
        make=lambda *_, **__: canceller or NoCanceller(),
    )
    made.load()
    if isinstance(canceller, RecordingCanceller):
        canceller.pairs.clear()  # those of the trial
    made.align(0)
    return made


def talk(hands_free: HandsFree, mix: list[bytes], captured: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """(played, sent)"""
    pairs = [(hands_free.play(m), hands_free.hear(c)) for m, c in zip(mix, captured, strict=True)]
    return [played for played, _ in pairs], [sent for _, sent in pairs]


def test_the_canceller_is_given_what_was_written_after_volume_and_limiter() -> None:
    canceller = RecordingCanceller()
    hands_free = door(canceller=canceller, speaker_db=-6)
    tone, speech = tone_frames(500, 20, rate_hz=RATE_HZ), noise_frames(-30, 20)
    played, _ = talk(hands_free, tone, speech)
    assert canceller.pairs == list(zip(speech, played, strict=True))
    assert level_db(played[-1]) == pytest.approx(level_db(tone[-1]) - 6, abs=0.5)


def test_the_reference_is_given_so_late_as_the_calibration_measured() -> None:
    canceller = RecordingCanceller()
    tone = tone_frames(500, 20, rate_hz=RATE_HZ)
    talk(door(Calibration(delay_ms=50), canceller=canceller), tone, [SILENCE] * 20)
    references = b"".join(reference for _, reference in canceller.pairs)
    assert references == bytes(1600) + b"".join(tone)[:-1600]


def test_after_an_xrun_the_canceller_learns_anew_and_hears_nothing_from_before() -> None:
    canceller = RecordingCanceller()
    hands_free = door(Calibration(delay_ms=50), canceller=canceller)
    before = canceller.resets
    tone = tone_frames(500, 20, rate_hz=RATE_HZ)
    talk(hands_free, tone, [SILENCE] * 20)
    hands_free.align(0)
    assert canceller.resets == before
    hands_free.align(1)
    assert canceller.resets == before + 1
    canceller.pairs.clear()
    talk(hands_free, [SILENCE] * 10, [SILENCE] * 10)
    assert {reference for _, reference in canceller.pairs} == {SILENCE}


def test_a_loud_street_turns_the_speaker_up_by_day_and_not_by_night() -> None:
    tone = tone_frames(500, 1, peak=2000, rate_hz=RATE_HZ)[0]
    street = noise_frames(-30, 400)
    levels = {}
    for minute in (NOON, MIDNIGHT):
        hands_free = door(minute=minute, boost_db=6, night_most_db=0)
        talk(hands_free, [SILENCE] * 400, street)
        levels[minute] = level_db(hands_free.play(tone)) - level_db(tone)
    assert levels[NOON] == pytest.approx(6, abs=0.3)
    assert levels[MIDNIGHT] == pytest.approx(0, abs=0.3)


def test_our_own_loud_sound_is_not_taken_for_street_noise() -> None:
    hands_free = door(boost_db=12)
    talk(hands_free, noise_frames(-20, 300), noise_frames(-20, 300))
    assert hands_free.status()["speaker_gain_db"] == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(
    ("night", "minute", "expected"),
    [
        ((1320, 420), 1320, True),
        ((1320, 420), 419, True),
        ((1320, 420), 420, False),
        ((60, 300), 120, True),
        ((60, 300), 1400, False),
        ((0, 0), 0, False),
    ],
)
def test_the_night_may_pass_midnight(night: tuple[int, int], minute: int, expected: bool) -> None:
    assert HandsFreeSettings(night=night).is_night(minute) is expected


def test_the_speaker_never_passes_the_measured_ceiling() -> None:
    hands_free = door(Calibration(ceiling_db=-12), speaker_db=20)
    played, _ = talk(hands_free, tone_frames(500, 50, peak=20_000, rate_hz=RATE_HZ), [SILENCE] * 50)
    assert max(max(array.array("h", frame)) for frame in played) <= 32768 * factor(-12) + 1


@pytest.mark.parametrize(
    ("half_duplex", "margin_db", "shut"),
    [
        ("auto", None, False),
        ("auto", 12.0, True),
        ("auto", 35.0, False),
        ("always", 35.0, True),
        ("never", 3.0, False),
    ],
)
def test_half_duplex_is_the_last_resort(half_duplex: str, margin_db: float | None, shut: bool) -> None:
    hands_free = door(Calibration(margin_db=margin_db), half_duplex=half_duplex, boost_db=0)
    far = noise_frames(-20, 50)
    echo = noise_frames(-50, 50)
    _, sent = talk(hands_free, far, echo)
    assert hands_free.status()["half_duplex"] is shut
    assert (level_db(sent[-1]) < -62) is shut


def test_a_door_without_a_working_canceller_goes_half_duplex_by_itself() -> None:
    hands_free = door(canceller=None)
    made = HandsFree(HandsFreeSettings(canceller="none"), Calibration(), RATE_HZ)
    made.load()
    assert made.status()["half_duplex"] is True
    assert hands_free.status()["half_duplex"] is False


def test_short_beeps_with_pauses_are_no_howl() -> None:
    hands_free = door(half_duplex="never")
    beep = tone_frames(1000, 5, rate_hz=RATE_HZ)
    for _ in range(20):
        talk(hands_free, beep, beep)
        talk(hands_free, [SILENCE] * 5, [SILENCE] * 5)
    assert hands_free.status()["howls"] == 0


def test_the_line_is_never_dead_silent() -> None:
    hands_free = door()
    talk(hands_free, [SILENCE] * 300, noise_frames(-45, 300))
    _, sent = talk(hands_free, [SILENCE] * 50, [SILENCE] * 50)
    assert all(-76 < level_db(frame) < -50 for frame in sent)


def test_the_microphones_gain_is_applied_and_does_not_clip() -> None:
    hands_free = door(microphone_db=12)
    quiet, loud = (
        tone_frames(500, 50, peak=1000, rate_hz=RATE_HZ),
        tone_frames(500, 50, peak=30_000, rate_hz=RATE_HZ),
    )
    _, sent = talk(hands_free, [SILENCE] * 50, quiet)
    assert level_db(sent[-1]) == pytest.approx(level_db(quiet[-1]) + 12, abs=0.3)
    _, sent = talk(hands_free, [SILENCE] * 50, loud)
    assert max(max(array.array("h", frame)) for frame in sent) < 32_000


def test_where_a_library_is_missing_the_next_simpler_canceller_takes_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def make(kind: str, rate_hz: int, *, suppression: int) -> EchoCanceller:
        if kind == "webrtc":
            raise CancellerMissing("the webrtc canceller is not installed")
        return NoCanceller()

    hands_free = HandsFree(HandsFreeSettings(), Calibration(), RATE_HZ, make=make)
    missing: list[str] = []
    hands_free.on_missing = missing.append
    with caplog.at_level(logging.WARNING):
        hands_free.load()
    assert hands_free.status()["canceller"] == "speex"
    assert "webrtc canceller is not installed" in caplog.text
    assert missing == ["the webrtc canceller is not installed; speex is in its place"]
    chosen = HandsFree(HandsFreeSettings(canceller="speex"), Calibration(), RATE_HZ, make=make)
    chosen.on_missing = missing.append
    chosen.load()
    assert len(missing) == 1  # what was asked for is there


def test_a_canceller_that_this_processor_is_too_slow_for_gives_way() -> None:
    cpu_s = 0.0

    class Slow(NoCanceller):
        def process(self, captured: bytes, reference: bytes) -> bytes:
            nonlocal cpu_s
            cpu_s += 0.03
            return captured

    def make(kind: str, rate_hz: int, *, suppression: int) -> EchoCanceller:
        return Slow() if kind == "webrtc" else NoCanceller()

    hands_free = HandsFree(HandsFreeSettings(), Calibration(), RATE_HZ, make=make, cpu_s=lambda: cpu_s)
    missing: list[str] = []
    hands_free.on_missing = missing.append
    hands_free.load()
    assert hands_free.canceller == "speex"
    assert missing == [
        "the webrtc canceller takes 30 ms of this processor for each 20 ms of sound; speex is in its place"
    ]


# --- what is kept ----------------------------------------------------------------------------------------------


def test_a_calibration_is_found_again(tmp_path: Path) -> None:
    found = Calibration(delay_ms=42.5, level_db=-3, ceiling_db=-6, margin_db=31.5)
    calibration.save(tmp_path / "sound.json", found)
    assert calibration.load(tmp_path / "sound.json") == found
    calibration.save(tmp_path / "sound.json", Calibration())
    assert calibration.load(tmp_path / "sound.json") == Calibration()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"delay_ms": "soon"}', '{"delay_ms": NaN}', "\xff"])
def test_a_spoilt_file_is_no_calibration(tmp_path: Path, text: str) -> None:
    (tmp_path / "sound.json").write_text(text, encoding="latin-1")
    assert calibration.load(tmp_path / "sound.json") == Calibration()


def test_a_door_that_nobody_calibrated_has_the_plain_one(tmp_path: Path) -> None:
    assert calibration.load(tmp_path / "sound.json") == Calibration()
