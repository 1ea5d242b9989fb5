"""The ALSA driver over PCMs of a fake card; then over ALSA's own PCMs without a card, where pyalsaaudio is."""

import array
import os
from pathlib import Path

import pytest

from drivers.audio.alsa import AlsaAudio, find_card
from drivers.audio.base import AudioDevice, AudioError
from firmware.media.events import MediaFault
from firmware.media.sound_card import SoundCard
from tests.support.fake_pcm import FakeCard, FakePcm

FRAME = bytes(range(1, 161)) * 4  # 320 samples


def device(card: FakeCard, /, **names: str) -> AlsaAudio:
    names = names or {"capture_pcm": "mic", "playback_pcm": "spk"}
    return AlsaAudio(rate_hz=16_000, open_pcm=card.open_pcm, clock=card.clock, **names)


def started(card: FakeCard) -> tuple[AlsaAudio, FakePcm, FakePcm]:
    audio = device(card)
    audio.start()
    assert card.capture is not None
    assert card.playback is not None
    return audio, card.capture, card.playback


def write_frames(audio: AlsaAudio, frames: int) -> None:
    for _ in range(frames):
        audio.write(FRAME)


def samples(frame: bytes) -> list[int]:
    return list(array.array("h", frame))


def test_frames_follow_each_other_at_the_pace_of_the_card() -> None:
    card = FakeCard()
    audio, _, playback = started(card)
    before = card.now
    heard: list[int] = []
    for _ in range(100):
        heard += samples(audio.read())
        audio.write(FRAME)
    assert card.now - before == pytest.approx(2.0)
    assert heard == [(n + 1) % 1000 for n in range(32_000)]
    assert playback.written == bytes(2 * len(FRAME)) + FRAME * 100
    assert audio.restarts == 0


def test_two_periods_are_played_ahead_in_one_write_and_stay_ahead() -> None:
    card = FakeCard()
    audio, _, playback = started(card)
    audio.read()
    audio.write(FRAME)
    assert playback.writes == [960]
    for _ in range(50):
        audio.read()
        assert playback.queued() == 640
        audio.write(FRAME)


def test_an_overrun_starts_both_directions_anew_and_is_told() -> None:
    card = FakeCard()
    audio, capture, playback = started(card)
    audio.read()
    audio.write(FRAME)
    card.now += 0.3  # longer than the buffer
    frame = audio.read()
    assert audio.restarts == 1
    assert samples(frame)[0] == 1  # the beginning of the new capture: nothing of the old one is mixed in
    audio.write(FRAME)
    assert (capture.starts, playback.starts) == (2, 2)
    assert playback.queued() == 960


def test_an_underrun_starts_both_directions_anew_and_is_told() -> None:
    card = FakeCard()
    audio, capture, playback = started(card)
    audio.read()
    audio.write(FRAME)
    card.now += 0.07
    audio.write(FRAME)
    assert audio.restarts == 1
    assert samples(audio.read())[0] == 1
    audio.write(FRAME)
    assert (capture.starts, playback.starts) == (2, 2)


def test_each_underrun_puts_a_period_more_ahead_up_to_eight() -> None:
    card = FakeCard()
    audio, _, playback = started(card)
    ahead = []
    for _ in range(9):
        audio.read()
        audio.write(FRAME)
        ahead.append(playback.writes[-1] // 320 - 1)
        card.now += 0.19  # more than is ahead; less than the buffer, so the capture has not overrun
        audio.write(FRAME)
    assert ahead == [2, 3, 4, 5, 6, 7, 8, 8, 8]


def test_a_full_speaker_does_not_hold_up_the_tick_and_the_rest_of_the_frame_is_dropped() -> None:
    card = FakeCard()
    audio, _, playback = started(card)
    before = card.now
    for _ in range(13):
        audio.write(FRAME)
    assert card.now == before
    assert playback.queued() == 3840


def test_a_late_reader_gets_what_the_card_still_has_without_waiting() -> None:
    card = FakeCard()
    audio, _, playback = started(card)
    audio.read()
    audio.write(FRAME)
    card.now += 0.04
    before = card.now
    assert samples(audio.read() + audio.read()) == list(range(321, 961))
    assert card.now == before
    audio.write(FRAME)
    assert (playback.starts, audio.restarts) == (1, 0)


def test_a_reader_kept_from_the_processor_for_long_does_not_blame_the_card() -> None:
    card = FakeCard()
    audio, capture, _ = started(card)
    audio.read()
    audio.write(FRAME)
    read = capture.read

    def held() -> tuple[int, bytes]:
        count, data = read()
        if count == 0 and audio.restarts == 0:
            card.now += 0.6
        return count, data

    capture.read = held  # type: ignore[method-assign]
    assert samples(audio.read())[0] == 1  # the capture was begun anew
    assert audio.restarts == 1


def test_a_card_that_gives_nothing_is_told_after_half_a_second() -> None:
    card = FakeCard()
    audio, _, _ = started(card)
    card.stuck = True
    before = card.now
    with pytest.raises(AudioError, match=r"mic \(capture\): no sound came for 0.5 s"):
        audio.read()
    assert card.now - before == pytest.approx(0.5, abs=0.11)


def test_a_speaker_that_takes_nothing_for_a_second_is_told() -> None:
    card = FakeCard()
    audio, _, _ = started(card)
    card.stuck = True
    with pytest.raises(AudioError, match=r"spk \(playback\): it took no sound for a second"):
        write_frames(audio, 60)


def test_a_card_that_is_pulled_out_and_put_back_is_found_again_by_the_sound_card() -> None:
    card = FakeCard()
    faults: list[MediaFault] = []

    def sleep(seconds: float) -> None:
        card.now += seconds

    sound = SoundCard(lambda: device(card), faults.append, clock=card.clock, sleep=sleep)
    sound.start()

    def talk(ticks: int) -> None:
        for _ in range(ticks):
            sound.write(bytes(len(sound.read())))

    talk(20)
    before = sound.restarts
    assert card.capture is not None
    card.capture.failure = card.refusal = OSError("No such device")
    talk(100)
    assert [fault.what for fault in faults] == [
        "microphone: No such device",
        "mic (capture): No such device",
    ]
    card.refusal = None
    talk(300)
    assert faults[-1] == MediaFault("audio", "")
    assert sound.restarts != before
    assert any(sound.read())


@pytest.mark.parametrize("direction", ["capture", "playback"])
def test_a_card_that_is_unplugged_is_an_error_and_can_be_stopped_and_made_anew(direction: str) -> None:
    card = FakeCard()
    audio, capture, playback = started(card)
    broken = capture if direction == "capture" else playback
    broken.failure = RuntimeError("No such device [hw:CARD=Device]")
    with pytest.raises(AudioError, match="No such device"):
        audio.write(audio.read())
    audio.stop()
    assert capture.closed
    assert playback.closed
    with pytest.raises(AudioError, match="not started"):
        audio.read()
    audio.start()
    assert samples(audio.read())[0] == 1


def test_parameters_that_a_named_pcm_does_not_have_are_refused_with_what_it_has() -> None:
    card = FakeCard()
    original = card.open_pcm

    def at_48k(name: str, direction: str, rate_hz: int, period: int, periods: int) -> FakePcm:
        pcm = original(name, direction, rate_hz, period, periods)
        pcm.parameters |= {"rate": 48_000, "channels": 2}
        return pcm

    audio = AlsaAudio(capture_pcm="mic", playback_pcm="spk", open_pcm=at_48k, clock=card.clock)
    with pytest.raises(AudioError, match=r"mic \(capture\) has rate 48000 instead of 16000, channels 2 instead of"):
        audio.start()
    assert card.capture is not None
    assert card.capture.closed


def test_a_pcm_that_cannot_be_opened_is_named() -> None:
    card = FakeCard()
    card.refusal = OSError("Device or resource busy")
    with pytest.raises(AudioError, match=r"mic \(capture\): Device or resource busy"):
        device(card).start()


# --- cards ---------------------------------------------------------------------------------------------------

CARDS = """\
 0 [vc4hdmi        ]: vc4-hdmi - vc4-hdmi
                      vc4-hdmi
 1 [Device         ]: USB-Audio - USB Audio Device
                      C-Media Electronics Inc. USB Audio Device at usb-3f980000.usb-1.2, full speed
 2 [Device_1       ]: USB-Audio - USB Audio Device
                      C-Media Electronics Inc. USB Audio Device at usb-3f980000.usb-1.4, full speed
"""


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Path, Path]:
    """/proc/asound/cards and /sys/class/sound of a Pi with two equal USB cards."""
    (tmp_path / "cards").write_text(CARDS)
    for index, device in enumerate(("platform/soc/hdmi", "usb1/1-1/1-1.2/1-1.2:1.0", "usb1/1-1/1-1.4/1-1.4:1.0")):
        (tmp_path / "devices" / device).mkdir(parents=True)
        (tmp_path / "sound" / f"card{index}").mkdir(parents=True)
        (tmp_path / "sound" / f"card{index}" / "device").symlink_to(tmp_path / "devices" / device)
    return tmp_path / "cards", tmp_path / "sound"


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("usb:1-1.4", "Device_1"), ("usb:1-1.2", "Device"), ("vc4hdmi", "vc4hdmi"), ("Device_1", "Device_1")],
)
def test_a_card_is_found_by_id_name_or_port(machine: tuple[Path, Path], wanted: str, found: str) -> None:
    assert find_card(wanted, cards=machine[0], devices=machine[1]) == found


def test_a_card_is_found_by_a_part_of_its_name(machine: tuple[Path, Path]) -> None:
    assert find_card("HDMI", cards=machine[0], devices=machine[1]) == "vc4hdmi"


@pytest.mark.parametrize("wanted", ["0", "1", "usb:1-1.3", "wm8960", "USB Audio"])
def test_an_index_a_missing_card_and_an_ambiguous_name_are_refused(machine: tuple[Path, Path], wanted: str) -> None:
    with pytest.raises(AudioError, match=r'"Device_1" \(USB Audio Device, usb:1-1.4\)'):
        find_card(wanted, cards=machine[0], devices=machine[1])


def test_a_machine_without_sound_says_so(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="present: none"):
        find_card("Device", cards=tmp_path / "cards", devices=tmp_path)


def test_the_bare_card_is_asked_first_and_converted_only_where_it_must(
    machine: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drivers.audio.alsa.find_card", lambda wanted: find_card(wanted, cards=machine[0]))
    able, unable = FakeCard(), FakeCard(rate=48_000)
    device(able, card="Device").start()
    device(unable, card="Device").start()
    assert able.opened == ["hw:CARD=Device"] * 2
    assert unable.opened == ["hw:CARD=Device", "plughw:CARD=Device"] * 2


# --- ALSA itself, without a card -----------------------------------------------------------------------------


@pytest.fixture
def alsa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ALSA configuration with a PCM over files: what is played is recorded, what is captured is a ramp."""
    pytest.importorskip("alsaaudio", reason="pyalsaaudio is not installed (tools/setup test)")
    if not Path("/usr/share/alsa/alsa.conf").exists():
        pytest.skip("ALSA's configuration is missing (Debian: libasound2-data)")
    (tmp_path / "in.raw").write_bytes(array.array("h", range(32_000)).tobytes())
    (tmp_path / "asound.conf").write_text(f"""
</usr/share/alsa/alsa.conf>
pcm.nothing {{ type null }}
pcm.spk {{ type file slave.pcm nothing file {tmp_path}/out.raw format raw }}
pcm.mic {{ type file slave.pcm nothing file /dev/null infile {tmp_path}/in.raw format raw }}
""")
    monkeypatch.setenv("ALSA_CONFIG_PATH", os.fspath(tmp_path / "asound.conf"))
    return tmp_path


def test_what_is_written_is_played_and_what_is_captured_is_read_bit_by_bit(alsa: Path) -> None:
    audio: AudioDevice = AlsaAudio(rate_hz=16_000, capture_pcm="mic", playback_pcm="spk")
    audio.start()
    heard: list[int] = []
    for _ in range(20):
        heard += samples(audio.read())
        audio.write(FRAME)
    audio.stop()
    assert heard == list(range(heard[0], heard[0] + 6400))
    assert (alsa / "out.raw").read_bytes() == bytes(1280) + FRAME * 20


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 48_000])
def test_pcms_of_nothing_are_opened_at_every_rate(alsa: Path, rate_hz: int) -> None:
    audio = AlsaAudio(rate_hz=rate_hz, capture_pcm="nothing", playback_pcm="nothing")
    audio.start()
    assert len(audio.read()) == rate_hz // 50 * 2
    audio.stop()


def test_a_pcm_that_alsa_does_not_know_is_an_error_with_its_name(alsa: Path) -> None:
    with pytest.raises(AudioError, match="elsewhere"):
        AlsaAudio(capture_pcm="elsewhere", playback_pcm="spk").start()
