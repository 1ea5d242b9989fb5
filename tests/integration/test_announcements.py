"""What the visitor, who talks with him and a caller hear: recordings made by tools/announcements, or tones."""

import subprocess
import sys
import wave
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.baresip import Baresip
from tests.support.peers import Peers
from tests.support.sound import Sound, read_wav
from tests.support.speech import missing
from tests.support.station import CODE, Portero
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.sound, pytest.mark.skipif(bool(missing()), reason=missing())]

TOOL = Path(__file__).parents[2] / "tools" / "announcements"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("announcements")
    subprocess.run([sys.executable, str(TOOL), str(folder), "es"], check=True, capture_output=True)
    return folder


def _said(heard: Sound, recording: Path) -> float:
    """How far what is heard follows the loudness of the recording, at best over all times: 1 is exactly."""
    words, sound = _loudness(read_wav(recording)), _loudness(heard)
    times = range(len(sound) - len(words))
    return max((_correlation(words, sound[at : at + len(words)]) for at in times), default=0.0)


def _loudness(sound: Sound) -> list[float]:
    step = sound.rate_hz // 50
    samples = sound.samples
    return [sum(map(abs, samples[at : at + step])) / step for at in range(0, len(samples) - step, step)]


def _correlation(a: Sequence[float], b: Sequence[float]) -> float:
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    cross = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    power = sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)
    return cross / power**0.5 if power > 0 else 0.0


def _says(heard: Path, recording: Path) -> bool:
    return _said(read_wav(heard), recording) > 0.9


def _speaking(folder: Path) -> dict[str, dict[str, object]]:
    return {"announcements": {"folder": str(folder), "languages": ["es"]}}


def _talk(peers: Peers, recordings: Path) -> tuple[Portero, Baresip, int]:
    monitor = peers.baresip("101", video=False)
    quiet = peers.folder / "quiet.wav"
    with wave.open(str(quiet), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16_000))
    door = peers.portero(stages=[([monitor.uri], 60)], sections=_speaking(recordings), microphone_file=quiet)
    press = door.press()
    door.wait_event("leg-ringing", press=press)
    monitor.accept()
    door.wait_event("leg-answered", press=press)
    return door, monitor, press


def test_the_visitor_is_told_that_nobody_answers(peers: Peers, recordings: Path) -> None:
    silent = peers.baresip("101", video=False)
    door = peers.portero(stages=[([silent.uri], 2)], sections=_speaking(recordings))

    press = door.press()

    door.wait_event("door-sound", press=press, sound="no-answer")
    wait_until(lambda: _says(door.speaker, recordings / "es" / "no-answer.wav"), "the words", poll_s=0.3)


def test_the_visitor_is_told_that_the_line_is_busy(peers: Peers, recordings: Path) -> None:
    door = peers.portero(stages=[([peers.sipp("busy").uri], 20)], sections=_speaking(recordings))

    press = door.press()

    door.wait_event("door-sound", press=press, sound="busy")
    wait_until(lambda: _says(door.speaker, recordings / "es" / "busy.wav"), "the words", poll_s=0.3)


def test_both_are_told_that_the_door_is_open_and_the_visitor_that_the_call_has_ended(
    peers: Peers, recordings: Path
) -> None:
    door, monitor, press = _talk(peers, recordings)

    monitor.press_keys(CODE)
    door.wait_event("relay-on", press=press)

    opened = recordings / "es" / "door-opened.wav"
    wait_until(lambda: _says(monitor.heard()[-1], opened), "who opened hears it", poll_s=0.3)
    wait_until(lambda: _says(door.speaker, opened), "the visitor hears it", poll_s=0.3)
    monitor.hang_up()
    wait_until(lambda: _says(door.speaker, recordings / "es" / "call-ended.wav"), "the last words", poll_s=0.3)


def test_who_types_a_wrong_code_is_told(peers: Peers, recordings: Path) -> None:
    door, monitor, press = _talk(peers, recordings)

    monitor.press_keys("9999")
    door.wait_event("access-refused", press=press)

    wait_until(lambda: _says(monitor.heard()[-1], recordings / "es" / "wrong-code.wav"), "the words", poll_s=0.3)
    assert door.events("door-sound", press)[-1]["sound"] == "call", "the visitor hears nothing of it"


def test_a_caller_hears_that_the_door_is_in_use_as_early_sound_and_is_refused(
    peers: Peers, recordings: Path
) -> None:
    monitor = peers.baresip("101", video=False)
    sections = _speaking(recordings) | {"calls.incoming": {"policy": "auto-answer", "from": ["sip:102@127.0.0.1"]}}
    door = peers.portero(stages=[([monitor.uri], 60)], sections=sections)
    door.wait_event("leg-ringing", press=door.press())

    remote = f"127.0.0.1:{door.sip_port}"
    caller, phone = peers.line_phone("hears_why", remote=remote, transport="tcp", caller="sip:102@127.0.0.1")
    phone.listen(peers.folder / "heard.wav")
    caller.result()

    refused = door.wait_event("incoming-refused")
    assert (refused["status"], refused["caller"]) == (486, "sip:102@127.0.0.1")
    heard = peers.folder / "heard.wav"
    wait_until(lambda: _says(heard, recordings / "es" / "in-use.wav"), "the words arrived", poll_s=0.3)
    assert monitor.has_call(), "it rings on"


def test_a_recording_that_cannot_be_played_is_a_fault_and_a_tone_sounds(peers: Peers, tmp_path: Path) -> None:
    (tmp_path / "no-answer.wav").write_bytes(b"not a recording")
    silent = peers.baresip("101", video=False)
    door = peers.portero(stages=[([silent.uri], 1)], sections=_speaking(tmp_path))

    fault = door.wait_event("fault", where="announcements")
    press = door.press()
    door.wait_event("press-ended", press=press)

    assert "no-answer.wav" in fault["what"]
    assert door.wait_event("door-sound", press=press, sound="no-answer")
    wait_until(lambda: read_wav(door.speaker).part(-1.0).samples and _is_tone(door.speaker), "the tone", poll_s=0.2)


def _is_tone(path: Path) -> bool:
    """Half a second of congestion tone: 425 Hz in bursts of 200 ms (Spain)."""
    loudness = _loudness(read_wav(path))[-60:]
    return sum(level > 500 for level in loudness) > 15
