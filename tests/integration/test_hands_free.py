"""A call with a door that hears its own speaker: the far end must not hear itself.

The door's room is the simulated sound card's, and then ALSA's over PulseAudio.
"""

import asyncio
import json
import statistics
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers.audio.alsa import AlsaAudio
from drivers.audio.base import AudioDevice
from drivers.audio.simulated import SimulatedAudio
from firmware.media.calibration import Calibration
from firmware.media.engine import Engine
from firmware.media.handsfree import HandsFree, HandsFreeSettings
from tests.support.media import agreement, audio, until
from tests.support.peers import Peers
from tests.support.pulse import PulseCard
from tests.support.sound import Sound, read_wav
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.sound]
pytest.importorskip("numpy", reason="numpy is not installed (tools/setup test)")
pytest.importorskip("pywebrtc_audio", reason="pywebrtc-audio is not installed (tools/setup test)")

CALL_S = 7.0
LEARNT_S = 3.0


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """What the far end says: 16 kHz, without end."""
    return say(tmp_path / "far.wav", 16_000)


def say(path: Path, rate_hz: int) -> Path:
    from tests.support.echo_room import babble

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(babble(rate_hz=rate_hz))
    return path


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PulseCard]:
    card = PulseCard(tmp_path)
    for name, value in card.environment.items():
        monkeypatch.setenv(name, value)
    card.start()
    yield card
    card.stop()


def loudness_db(sound: Sound) -> float:
    """Of most of the time: each stall of this machine costs an xrun, after which the canceller learns anew."""
    from tests.support.echo_room import level_db

    window = sound.rate_hz * 600 // 1000
    pcm = bytes(memoryview(sound.samples).cast("B"))  # type: ignore[arg-type]
    return statistics.median(level_db(pcm[at : at + 2 * window]) for at in range(0, len(pcm) - 2 * window, window))


def heard_by_far_end(
    device: Callable[[], AudioDevice], speech: Path, folder: Path, canceller: str
) -> tuple[float, dict[str, object]]:
    """Level (dB) of what comes back to the far end once the room is learnt, and the door's status."""
    back = folder / "back.wav"
    found: dict[str, object] = {}

    async def call() -> None:
        loop = asyncio.get_running_loop()
        settings = HandsFreeSettings(canceller=canceller, half_duplex="never", boost_db=0)
        hands_free = HandsFree(settings, Calibration(), Engine.HANDS_FREE_HZ)
        door = Engine(audio=device, hands_free=hands_free, call_soon=loop.call_soon_threadsafe)
        phone = Engine(audio=lambda: SimulatedAudio(speech, back, 16_000), call_soon=loop.call_soon_threadsafe)
        a = door.open_leg("1.1", "127.0.0.1", lambda _: None)
        b = phone.open_leg("m", "127.0.0.1", lambda _: None)
        a.connect(agreement(audio(b.audio_port)), talk=True, listen=True)
        b.connect(agreement(audio(a.audio_port)), talk=True, listen=True)
        await until(lambda: door.status()["hands_free"]["canceller"] == canceller, "the canceller")  # type: ignore[index]
        await until(lambda: b.statistics()["audio_received"] >= CALL_S * 50, "the call to last")  # type: ignore[operator]
        found.update(door.status())
        a.close()
        b.close()
        door.close()
        phone.close()

    asyncio.run(call())
    sound = read_wav(back)
    return loudness_db(sound.part(LEARNT_S, sound.seconds - 0.5)), found


def simulated() -> AudioDevice:
    return SimulatedAudio(None, None, 16_000, echo_gain=0.7, echo_delay_ms=60)


@pytest.mark.parametrize(("canceller", "taken_db"), [("webrtc", 25), ("speex", 15)])
def test_the_far_end_does_not_hear_itself_from_a_simulated_niche(
    speech: Path, tmp_path: Path, canceller: str, taken_db: float
) -> None:
    without, _ = heard_by_far_end(simulated, speech, tmp_path, "none")
    cancelled, _ = heard_by_far_end(simulated, speech, tmp_path, canceller)
    assert without > -35
    assert cancelled < without - taken_db


def test_the_far_end_does_not_hear_itself_through_alsa(card: PulseCard, speech: Path, tmp_path: Path) -> None:
    def alsa() -> AudioDevice:
        return AlsaAudio(rate_hz=16_000, capture_pcm="door_mic", playback_pcm="door_spk")

    without, _ = heard_by_far_end(alsa, speech, tmp_path, "none")
    cancelled, status = heard_by_far_end(alsa, speech, tmp_path, "webrtc")
    assert without > -35
    assert cancelled < without - 20, status


def test_a_monitor_does_not_hear_itself_from_a_station_on_alsa(card: PulseCard, peers: Peers) -> None:
    """The whole station, as board.toml has it, and baresip: what it is sent while it talks is all but silence."""
    monitor = peers.baresip("101", microphone=say(peers.folder / "far8.wav", 8000), video=False)
    heard = {}
    for canceller in ("none", "webrtc"):
        door = peers.portero(
            stages=[([monitor.uri], 30)],
            sound_card={"driver": "alsa", "capture_pcm": "door_mic", "playback_pcm": "door_spk"},
            sections={"audio": {"canceller": canceller, "half_duplex": "never"}},
        )
        press = door.press()
        wait_until(monitor.has_call, "the monitor rings")
        monitor.accept()
        door.wait_event("leg-answered", press=press)
        wait_until(lambda: len(monitor.heard()) > len(heard) and monitor.heard_s() > CALL_S, "the call to last")
        door.hang_up()
        door.wait_event("leg-ended", press=press)
        sound = read_wav(monitor.heard()[-1])
        heard[canceller] = loudness_db(sound.part(LEARNT_S))
        door.stop()
    assert heard["none"] > -35
    assert heard["webrtc"] < heard["none"] - 20, heard


def test_a_technician_calibrates_a_station_and_is_refused_while_it_rings(peers: Peers) -> None:
    monitor = peers.baresip("101", video=False)
    door = peers.portero(
        stages=[([monitor.uri], 30)],
        sound_card={
            "driver": "simulated",
            "rate_hz": 16_000,
            "echo_gain": 0.3,
            "echo_delay_ms": 60,
            "canceller": "webrtc",
        },
    )
    calibrated = door.try_doorctl("audio", "calibrate", timeout_s=60)
    assert calibrated.returncode == 0, calibrated.stderr
    answer = json.loads(calibrated.stdout)
    assert answer["saved"]
    assert 60 <= answer["delay_ms"] <= 120  # and the sound card's frames
    assert answer["margin_db"] > 25
    door.wait_event("sound-checked", action="calibrate", works=True)
    door.press()
    wait_until(monitor.has_call, "the monitor rings")
    refused = door.try_doorctl("audio", "loop")
    assert refused.returncode == 1
    assert "the door is in a call; end it first with: doorctl hangup" in refused.stderr


def test_a_sound_check_measures_the_room_through_alsa(card: PulseCard, peers: Peers) -> None:
    door = peers.portero(
        stages=[(["sip:101@127.0.0.1:9"], 30)],
        sound_card={"driver": "alsa", "capture_pcm": "door_mic", "playback_pcm": "door_spk"},
    )
    answer = json.loads(door.try_doorctl("audio", "loop", timeout_s=60).stdout)
    assert answer["coupling_db"] == pytest.approx(0, abs=3), answer
    assert 60 <= answer["delay_ms"] <= 300  # the loop's 60 ms, and what ALSA and PulseAudio have queued
    assert answer["canceller"] == "webrtc"
    assert not answer["clipped"]
