"""`doorctl audio` on a simulated niche, whose time passes as fast as the machine can."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from drivers.audio.base import AudioError
from drivers.audio.simulated import SimulatedAudio
from firmware.media import calibration
from firmware.media.calibration import Calibration
from firmware.media.engine import Engine
from firmware.media.handsfree import HandsFree, HandsFreeSettings
from firmware.media.sound_check import Heard, Recording
from firmware.station.events import EventStream, SoundChecked
from firmware.station.sound_check import SoundCheck, settings_for
from firmware.station.status import ControlError
from tests.support.media import until

pytest.importorskip("pywebrtc_audio", reason="pywebrtc-audio is not installed (tools/setup test)")


class Time:
    """A clock that stands still but while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Niche:
    """A door with a simulated sound card, and what its sound check says."""

    def __init__(self, folder: Path, settings: HandsFreeSettings, **card: Any) -> None:
        loop = asyncio.get_running_loop()
        self.file = folder / "sound.json"
        self.events: list[object] = []
        stream = EventStream()
        stream.subscribe(lambda record: self.events.append(record.event))
        self.hands_free = HandsFree(settings, calibration.load(self.file), Engine.HANDS_FREE_HZ)
        self.time = Time()
        self.error: AudioError | None = None
        self.card = card
        self.engine = Engine(audio=self.make, hands_free=self.hands_free, call_soon=loop.call_soon_threadsafe)
        self.check = SoundCheck(self.engine, self.hands_free, self.file, stream)

    def make(self) -> SimulatedAudio:
        if self.error is not None:
            raise self.error
        options = {"microphone": None, "rate_hz": 16_000, "echo_gain": 0.3, "echo_delay_ms": 70} | self.card
        return SimulatedAudio(**options, clock=lambda: self.time.now, sleep=self.time.sleep)


def run(
    tmp_path: Path,
    test: Callable[[Niche], Coroutine[Any, Any, None]],
    settings: HandsFreeSettings = HandsFreeSettings(),  # noqa: B008 — frozen
    **card: Any,
) -> None:
    async def scene() -> None:
        niche = Niche(tmp_path, settings, **card)
        try:
            async with asyncio.timeout(60):
                await test(niche)
        finally:
            niche.engine.close()

    asyncio.run(scene())


def test_a_niche_that_is_well_is_measured_and_said_to_be_well(tmp_path: Path) -> None:
    async def test(niche: Niche) -> None:
        answer = await niche.check.run("loop")
        assert answer["ok"], answer
        assert answer["wrong"] == []
        assert answer["delay_ms"] == pytest.approx(90, abs=21)  # the card's 70 ms and its frames
        assert answer["coupling_db"] == pytest.approx(-10.5, abs=2)
        assert answer["canceller"] == "webrtc"
        assert answer["margin_db"] > 35  # type: ignore[operator]
        assert isinstance(niche.events[-1], SoundChecked)
        assert niche.events[-1].works
        assert not niche.file.exists()

    run(tmp_path, test)


def test_a_calibration_is_kept_and_used_at_once(tmp_path: Path) -> None:
    async def test(niche: Niche) -> None:
        answer = await niche.check.run("calibrate")
        assert answer["ok"], answer
        kept = calibration.load(niche.file)
        assert kept.delay_ms == pytest.approx(80, abs=21)
        assert kept.level_db == pytest.approx(4.5, abs=2)
        assert kept.ceiling_db == -1
        assert kept.margin_db == answer["margin_db"]
        assert niche.hands_free.status()["margin_db"] == kept.margin_db
        assert niche.hands_free.status()["speaker_gain_db"] == kept.level_db
        assert answer["saved"] is True
        again = await niche.check.run("loop")
        assert again["ok"], again

    run(tmp_path, test)


def test_a_speaker_that_is_too_loud_for_its_microphone_is_turned_down(tmp_path: Path) -> None:
    async def test(niche: Niche) -> None:
        answer = await niche.check.run("calibrate")
        kept = calibration.load(niche.file)
        assert kept.level_db == pytest.approx(-18, abs=2)
        assert kept.ceiling_db <= -12
        assert answer["coupling_db"] == pytest.approx(12, abs=2)

    run(tmp_path, test, echo_gain=4.0)


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"echo_gain": 0.0, "microphone": 440}, "does not hear the speaker: is the speaker connected"),
        ({"echo_gain": 0.0}, "the microphone is dead"),
        ({"echo_gain": 9.0}, "the microphone clips"),
    ],
    ids=["no speaker", "no microphone", "too loud"],
)
def test_what_is_wrong_is_said_in_words(tmp_path: Path, card: dict[str, Any], words: str) -> None:
    async def test(niche: Niche) -> None:
        answer = await niche.check.run("loop")
        assert not answer["ok"]
        assert words in str(answer["wrong"])
        assert isinstance(niche.events[-1], SoundChecked)
        assert words in niche.events[-1].wrong

    run(tmp_path, test, **card)


def test_a_canceller_that_is_not_installed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pywebrtc_audio", None)

    async def test(niche: Niche) -> None:
        answer = await niche.check.run("loop")
        assert answer["canceller"] != "webrtc"
        assert "the webrtc canceller is not installed" in str(answer["wrong"])

    run(tmp_path, test)


def test_a_microphone_that_is_turned_up_makes_the_margin_smaller(tmp_path: Path) -> None:
    margins: list[float] = []

    async def test(niche: Niche) -> None:
        answer = await niche.check.run("loop")
        margins.append(float(str(answer["margin_db"])))

    async def calibrate(niche: Niche) -> None:
        answer = await niche.check.run("calibrate")
        kept.append(calibration.load(niche.file).margin_db)
        assert niche.hands_free.status()["margin_db"] == pytest.approx(answer["margin_db"])

    kept: list[float | None] = []
    for microphone_db in (0.0, 12.0):
        settings = HandsFreeSettings(canceller="none", microphone_db=microphone_db)
        run(tmp_path / "loop", test, settings)
        run(tmp_path, calibrate, settings)
    assert margins[0] - margins[1] == pytest.approx(12, abs=0.5)
    assert kept[0] == pytest.approx(kept[1], abs=0.5)  # of the niche, whatever is configured


def test_a_niche_without_a_speaker_is_not_calibrated(tmp_path: Path) -> None:
    async def test(niche: Niche) -> None:
        answer = await niche.check.run("calibrate")
        assert answer["saved"] is False
        assert not niche.file.exists()

    run(tmp_path, test, echo_gain=0.0, microphone=440)


def test_a_sound_card_that_does_not_open_is_what_is_wrong(tmp_path: Path) -> None:
    async def test(niche: Niche) -> None:
        niche.error = AudioError('there is no sound card "usb:1-1.2"; present: none')
        answer = await niche.check.run("loop")
        assert answer["wrong"] == [
            'the sound card does not work: there is no sound card "usb:1-1.2"; present: none'
        ]

    run(tmp_path, test)


def test_a_check_is_refused_while_the_door_is_used_or_checked(tmp_path: Path) -> None:
    async def test(niche: Niche) -> None:
        niche.engine.play("ringback")
        with pytest.raises(ControlError, match="in a call; end it first with: doorctl hangup"):
            await niche.check.run("loop")
        niche.engine.play(None)
        await until(lambda: not niche.engine.busy, "the tone's end")
        first = asyncio.create_task(niche.check.run("loop"))
        await asyncio.sleep(0)
        with pytest.raises(ControlError, match="a sound check is going on"):
            await niche.check.run("calibrate")
        assert (await first)["ok"]

    run(tmp_path, test)


def test_a_call_ends_a_check_at_once_and_changes_nothing(tmp_path: Path) -> None:
    async def test(niche: Niche) -> None:
        niche.time.sleep = lambda seconds: __import__("time").sleep(0.01)  # type: ignore[method-assign]
        check = asyncio.create_task(niche.check.run("calibrate"))
        await until(lambda: niche.engine.status()["running"], "the sound card")
        niche.engine.play("ringback")
        with pytest.raises(ControlError, match="a call came in between"):
            await check
        assert not niche.file.exists()
        assert niche.engine.busy

    run(tmp_path, test)


def test_an_unknown_action_is_refused(tmp_path: Path) -> None:
    async def test(niche: Niche) -> None:
        with pytest.raises(ControlError, match="loop or calibrate"):
            await niche.check.run("sing")

    run(tmp_path, test)


def test_a_board_that_is_not_hands_free_is_not_calibrated(tmp_path: Path) -> None:
    async def test(niche: Niche) -> None:
        check = SoundCheck(niche.engine, None, niche.file, EventStream())
        with pytest.raises(ControlError, match="canceller"):
            await check.run("calibrate")

    run(tmp_path, test)


def test_the_reference_comes_a_little_early_and_never_late() -> None:
    chirps = tuple(
        Heard(-20 + at, -30 + at, delay_ms, 0.9, False) for at, delay_ms in enumerate((43.0, 41.0, 44.0))
    )
    recording = Recording(-60, False, False, chirps)
    assert settings_for(recording, -10.0) == Calibration(delay_ms=31.0, level_db=4.0, ceiling_db=-1.0)
    early = Recording(-60, False, False, (Heard(-20, -30, 4.0, 0.9, False),))
    assert settings_for(early, -10.0).delay_ms == 0.0
