"""Announcements: found by language, played as recorded, replaced by a tone where they cannot be."""

import audioop
import math
import struct
import subprocess
import sys
import tomllib
import wave
from array import array
from pathlib import Path

import pytest

from firmware.media.sounds import ANNOUNCEMENTS, Chain, Playable, RecordingError, RecordingPlayer, Sounds, load
from firmware.media.tones import TONES, TonePlayer
from tests.support.sound import Sound, level_db, read_wav
from tests.support.speech import missing

TOOL = Path(__file__).parents[3] / "tools" / "announcements"


def record(
    path: Path, *, hz: float = 1000, seconds: float = 0.5, rate_hz: int = 16_000, channels: int = 1, width: int = 2
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = array(
        "h", (round(8000 * math.sin(2 * math.pi * hz * n / rate_hz)) for n in range(int(seconds * rate_hz)))
    )
    pcm = samples.tobytes()
    if channels == 2:
        pcm = audioop.tostereo(pcm, 2, 1, 1)
    if width != 2:
        pcm = audioop.lin2lin(pcm, 2, width)
    if width == 1:
        pcm = audioop.bias(pcm, 1, 128)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        file.writeframes(pcm)
    return path


def played(player: Playable | None, most: int = 500) -> Sound:
    assert player is not None
    samples, rate_hz = array("h"), player.rate_hz
    for _ in range(most):
        frame = player.frame()
        if frame is None:
            return Sound(rate_hz, samples)
        assert len(frame) == player.rate_hz // 50 * 2
        samples.frombytes(frame)
    return Sound(rate_hz, samples)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("rate_hz", "bus_hz"), [(8000, 8000), (16_000, 16_000), (22_050, 16_000), (48_000, 16_000)]
)
def test_every_usual_recording_is_heard_at_its_pitch_level_and_length(
    tmp_path: Path, rate_hz: int, bus_hz: int, channels: int, width: int
) -> None:
    recording = load(record(tmp_path / "a.wav", rate_hz=rate_hz, channels=channels, width=width))
    assert recording.rate_hz == bus_hz
    sound = played(RecordingPlayer(recording))
    assert sound.seconds == pytest.approx(0.5, abs=0.021)
    assert level_db(sound.part(0.1, 0.4), 1000) == pytest.approx(20 * math.log10(8000 / 32768), abs=0.6)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it ends too early"),
        (b"ID3 an mp3 file", "RIFF"),
        (b"RIFF\x24\0\0\0WAVE", "missing"),
        (
            b"RIFF"
            + struct.pack("<I", 38)
            + b"WAVEfmt "
            + struct.pack("<IHHIIHH", 16, 7, 1, 8000, 8000, 1, 8)
            + b"data\x02\0\0\0\0\0",
            "unknown format",
        ),
    ],
    ids=["empty", "mp3", "cut", "mu-law"],
)
def test_what_is_no_recording_is_refused_with_its_name_and_a_remedy(
    tmp_path: Path, content: bytes, said: str
) -> None:
    file = tmp_path / "busy.wav"
    file.write_bytes(content)
    with pytest.raises(RecordingError, match="write a WAV file of 16-bit PCM") as refused:
        load(file)
    assert str(file) in str(refused.value)
    assert said in str(refused.value)


def test_recordings_that_are_too_long_too_slow_or_silent_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="cut it"):
        load(record(tmp_path / "long.wav", seconds=31, rate_hz=8000))
    with pytest.raises(RecordingError, match="8000 to 48000 Hz"):
        load(record(tmp_path / "slow.wav", rate_hz=4000))
    with pytest.raises(RecordingError, match="holds no sound"):
        load(record(tmp_path / "none.wav", seconds=0))


def test_the_preferred_language_is_heard_then_the_next_then_the_folder_itself(tmp_path: Path) -> None:
    record(tmp_path / "es" / "busy.wav", hz=500)
    record(tmp_path / "en" / "busy.wav", hz=700)
    record(tmp_path / "en" / "no-answer.wav", hz=900)
    record(tmp_path / "wrong-code.wav", hz=1100)
    sounds = Sounds("es", tmp_path, ("es", "en"))
    for name, hz in (("busy", 500), ("no-answer", 900), ("wrong-code", 1100)):
        assert level_db(played(sounds.player(name)), hz) > -20
    sounds.check()
    assert set(sounds.seconds) == {"busy", "no-answer", "wrong-code"}


def test_without_recordings_every_announcement_is_the_tone_in_its_place() -> None:
    sounds = Sounds("es")
    sounds.check()
    assert sounds.seconds == {}
    for name, instead in ANNOUNCEMENTS.items():
        player = sounds.player(name)
        if not instead:
            assert player is None
            continue
        assert played(player, 25).samples == played(sounds.player(instead), 25).samples


def test_tones_are_tones_whatever_lies_in_the_folder(tmp_path: Path) -> None:
    for name in TONES:
        if name not in ANNOUNCEMENTS:
            record(tmp_path / f"{name}.wav")
            assert isinstance(Sounds("es", tmp_path).player(name), TonePlayer)


def test_an_announcement_may_be_a_tone_or_nothing_though_it_is_recorded(tmp_path: Path) -> None:
    for name in ("busy", "no-answer"):
        record(tmp_path / f"{name}.wav")
    sounds = Sounds("es", tmp_path, how={"busy": "tone", "no-answer": "off"})
    assert isinstance(sounds.player("busy"), TonePlayer)
    assert sounds.player("no-answer") is None
    sounds.check()
    assert sounds.seconds == {}


def test_a_bad_file_is_a_fault_told_once_and_over_when_it_is_mended_and_a_tone_sounds(tmp_path: Path) -> None:
    faults: list[str] = []
    file = tmp_path / "busy.wav"
    file.write_bytes(b"no sound")
    sounds = Sounds("es", tmp_path, on_fault=faults.append)
    sounds.check()
    assert isinstance(sounds.player("busy"), TonePlayer)
    assert isinstance(sounds.player("busy"), TonePlayer)
    assert len(faults) == 1
    assert str(file) in faults[0]
    record(file)
    assert isinstance(sounds.player("busy"), RecordingPlayer)
    assert faults[1:] == [""]


def test_a_recording_is_read_once_and_again_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = record(tmp_path / "busy.wav", hz=500)
    sounds = Sounds("es", tmp_path)
    sounds.check()
    with monkeypatch.context() as patch:
        patch.setattr(wave, "open", None)
        assert level_db(played(sounds.player("busy")), 500) > -20
    record(file, hz=700, seconds=0.6)
    assert level_db(played(sounds.player("busy")), 700) > -20
    assert sounds.seconds["busy"] == pytest.approx(0.6)


def test_a_folder_without_any_recording_of_the_languages_is_a_fault(tmp_path: Path) -> None:
    faults: list[str] = []
    record(tmp_path / "fr" / "busy.wav")
    Sounds("es", tmp_path, ("es", "en"), on_fault=faults.append).check()
    assert "no recording in es, en" in faults[0]
    faults.clear()
    Sounds("es", tmp_path, ("es",), dict.fromkeys(ANNOUNCEMENTS, "tone"), on_fault=faults.append).check()
    assert not faults


def test_a_folder_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    faults: list[str] = []
    Sounds("es", tmp_path / "away", on_fault=faults.append).check()
    assert "no such folder" in faults[0]


def test_who_waits_hears_the_words_and_then_ringback(tmp_path: Path) -> None:
    record(tmp_path / "please-wait.wav", hz=700)
    player = Sounds("es", tmp_path).player("please-wait")
    assert player is not None
    words = [player.frame() for _ in range(25)]
    assert level_db(Sound(16_000, array("h", b"".join(filter(None, words)))), 700) > -20
    ringing = [player.frame() for _ in range(25)]
    assert player.rate_hz == 8000
    assert level_db(Sound(8000, array("h", b"".join(filter(None, ringing)))), 425) > -20


def test_a_stopped_recording_fades_and_ends_and_so_does_a_chain(tmp_path: Path) -> None:
    recording = load(record(tmp_path / "a.wav"))
    for player in (RecordingPlayer(recording), Chain(RecordingPlayer(recording), RecordingPlayer(recording))):
        player.frame()
        player.stop()
        last = player.frame()
        assert last is not None
        assert not any(last[-2 * 160 :])
        assert player.frame() is None


@pytest.mark.skipif(bool(missing()), reason=missing())
def test_the_tool_speaks_every_announcement_in_every_language(tmp_path: Path) -> None:
    texts = tomllib.loads(TOOL.with_suffix(".toml").read_text("utf-8"))
    assert all(list(names) == list(ANNOUNCEMENTS) for names in texts.values())
    done = subprocess.run([sys.executable, str(TOOL), str(tmp_path), "es", "pl"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for language in ("es", "pl"):
        sounds = Sounds("es", tmp_path, (language,))
        sounds.check()
        assert set(sounds.seconds) == set(ANNOUNCEMENTS)
        assert all(0.4 < seconds < 6 for seconds in sounds.seconds.values())
    sound = read_wav(tmp_path / "es" / "busy.wav")
    assert sound.rate_hz == 16_000
    assert 20_000 < max(map(abs, sound.samples)) < 24_000


def test_the_tool_says_what_it_wants(tmp_path: Path) -> None:
    for arguments, said in (([], "usage"), ([str(tmp_path), "xx"], "no texts in xx")):
        done = subprocess.run([sys.executable, str(TOOL), *arguments], capture_output=True, text=True)
        assert done.returncode == 2
        assert said in done.stderr
