import re
from collections.abc import Callable
from pathlib import Path

import pytest

import board

BROKEN = """
[gpio]
drivr = "simulated"
[audio]
driver = "simulated"
rate_hz = 8001
[inputs.bell]
chip = "soc"
line = -1
active_low = 1
pull = "sideways"
[outputs]
relay1 = 5
[outputs.relay2]
chip = "soc"
line = 4
[outputs.relay3]
chip = "soc"
line = 4
"""


@pytest.fixture
def board_file(tmp_path: Path) -> Path:
    return tmp_path / "board.toml"


def test_the_simulated_board_has_camera_sound_buttons_and_relays() -> None:
    loaded = board.load("simulated")
    assert loaded.name == "simulated"
    assert loaded.camera is not None
    assert loaded.camera.driver == loaded.audio.driver == loaded.gpio == "simulated"
    assert {"button1", "button2"} <= loaded.inputs.keys()
    assert {"relay1", "relay2"} <= loaded.outputs.keys()


def test_the_lock_reads_the_same_outputs_as_the_station() -> None:
    loaded = board.load("simulated")
    assert board.load_outputs("simulated") == board.Outputs(loaded.gpio, loaded.outputs, loaded.inputs, "")


def test_a_board_elsewhere_is_found_by_its_file_or_its_folder(board_file: Path) -> None:
    source = Path(board.__file__).parent / "simulated" / "board.toml"
    board_file.write_text(source.read_text())
    assert board.load(str(board_file)).outputs == board.load("simulated").outputs
    assert board.load(str(board_file.parent)).outputs == board.load("simulated").outputs


def test_an_unknown_board_is_answered_with_those_there_are() -> None:
    with pytest.raises(board.BoardError, match=r'no board "simulatd"; write one of .*"simulated"'):
        board.load("simulatd")


@pytest.mark.parametrize("load", [board.load, board.load_outputs])
@pytest.mark.parametrize("name", ["a" * 5000, "/" + "a/" * 3000, "\0", "/\0", "/etc/shadow/x", "..", ""])
def test_a_name_that_cannot_be_a_board_is_refused(load: Callable[[str], object], name: str) -> None:
    with pytest.raises(board.BoardError):
        load(name)


def test_every_problem_is_named_with_file_and_key(board_file: Path) -> None:
    board_file.write_text(BROKEN)
    with pytest.raises(board.BoardError) as caught:
        board.load(str(board_file))
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{board_file}: ") for line in lines)
    for expected in (
        'gpio.drivr: is not known here; did you mean "driver"?',
        "gpio.driver: is missing; write a text in quotes",
        "audio.rate_hz: is 8001, which 20 ms do not divide",
        "inputs.bell.line: is -1; write a whole number from 0 to 511",
        "inputs.bell.active_low: is 1; write true or false",
        'inputs.bell.pull: is "sideways"; write one of "down", "none", "up"',
        "outputs.relay1: is 5; write it as a table, [outputs.relay1]",
        'outputs.relay3.line: is line 4 of "soc", which outputs.relay2 has already',
    ):
        assert any(expected in line for line in lines), expected
    assert len(lines) == 8


def audio(board_file: Path, text: str) -> board.AudioSpec:
    board_file.write_text(f'[gpio]\ndriver = "simulated"\n[audio]\ndriver = "alsa"\n{text}')
    return board.load(str(board_file)).audio


def test_a_sound_card_is_named_by_itself_or_by_two_pcms(board_file: Path) -> None:
    spec = audio(board_file, 'card = "usb:1-1.2"')
    assert (spec.driver, spec.card, spec.rate_hz) == ("alsa", "usb:1-1.2", 16_000)
    spec = audio(board_file, 'capture_pcm = "mic"\nplayback_pcm = "spk"\nrate_hz = 48000')
    assert (spec.card, spec.capture_pcm, spec.playback_pcm, spec.rate_hz) == ("", "mic", "spk", 48_000)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('card = "0"', 'audio.card: is "0"; write its id or name, or "usb:" and its port'),
        ('card = "hw:1"', 'audio.card: is "hw:1"; write its id or name'),
        ("", "audio.card: is missing"),
        ('capture_pcm = "mic"', "audio.playback_pcm: is missing"),
        ('card = "Device"\ncapture_pcm = "mic"\nplayback_pcm = "spk"', "audio.card: stands beside capture_pcm"),
    ],
)
def test_a_sound_card_that_is_not_named_or_only_by_its_number_is_refused(
    board_file: Path, text: str, complaint: str
) -> None:
    with pytest.raises(board.BoardError, match=complaint):
        audio(board_file, text)


def test_a_pull_that_holds_a_button_pressed_is_refused(board_file: Path) -> None:
    board_file.write_text(
        '[gpio]\ndriver = "simulated"\n[audio]\ndriver = "simulated"\n'
        '[inputs.bell]\nchip = "soc"\nline = 4\nactive_low = true\npull = "down"\n'
    )
    with pytest.raises(board.BoardError, match=r'inputs.bell.pull: is "down", which holds the input active'):
        board.load(str(board_file))


@pytest.mark.parametrize(
    ("camera", "complaint"),
    [
        ('driver = "v4l2"', "camera.device: is missing; write a text in quotes"),
        (
            'driver = "v4l2"\ndevice = "/dev/video0"',
            'camera.device: is "/dev/video0", which another camera may be called after the next start; write its '
            "name below /dev/v4l/by-id",
        ),
        (
            'driver = "v4l2"\ndevice = "/dev/v4l/by-id/x"\nform = "vp8"',
            'camera.form: is "vp8"; write one of "auto", "h264", "mjpeg", "yuyv"',
        ),
        ('driver = "picamera2"\nform = "mjpeg"', "camera.form: is not known here"),
        ('driver = "picamera2"\nwidth = 641', "camera.width: is 641, and H.264 wants an even number; write 640"),
        (
            'driver = "picamera2"\nwidth = 1920\nheight = 1080\nfps = 60',
            "camera.fps: is 60, more than H.264 level 4 carries at that size; write 30 or less",
        ),
        ('driver = "simulated"\nwarm = "yes"', 'camera.warm: is "yes"; write true or false'),
    ],
)
def test_a_camera_that_cannot_be_is_refused_with_its_remedy(board_file: Path, camera: str, complaint: str) -> None:
    board_file.write_text(f'[gpio]\ndriver = "simulated"\n[audio]\ndriver = "simulated"\n[camera]\n{camera}\n')
    with pytest.raises(board.BoardError) as caught:
        board.load(str(board_file))
    assert f"{board_file}: {complaint}" in str(caught.value)


def test_real_cameras_are_opened_after_the_start_the_simulated_one_with_a_call(board_file: Path) -> None:
    for camera, warm in (
        ('driver = "v4l2"\ndevice = "/dev/v4l/by-path/platform-usb-0:1:1.0-video-index0"', True),
        ('driver = "picamera2"\ndevice = "imx708"', True),
        ('driver = "picamera2"\nwarm = false', False),
        ('driver = "simulated"', False),
    ):
        board_file.write_text(f'[gpio]\ndriver = "simulated"\n[audio]\ndriver = "simulated"\n[camera]\n{camera}\n')
        loaded = board.load(str(board_file)).camera
        assert loaded is not None
        assert loaded.warm is warm


def test_relays_are_read_from_a_board_that_is_otherwise_wrong(board_file: Path) -> None:
    board_file.write_text(
        '[gpio]\ndriver = "simulated"\n[audio]\nrate_hz = "loud"\n[outputs.relay1]\nchip = "soc"\nline = 4\n'
    )
    expected = board.Outputs("simulated", {"relay1": board.Output("soc", 4, False)}, {}, "")
    assert board.load_outputs(str(board_file)) == expected


GOOD = '[gpio]\ndriver = "simulated"\n[outputs.good]\nchip = "soc"\nline = 4\nactive_low = true\n'


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ('[outputs.bad]\nchip = "soc"\nline = "six"\n', 'outputs.bad.line: is "six"'),
        ('[outputs.bad]\nchip = "soc"\nline = 6\nactive_low = "yes"\n', 'outputs.bad.active_low: is "yes"'),
        ('[outputs.bad]\nchip = "soc"\nline = 6\nactive_lo = true\n', "outputs.bad.active_lo: is not known here"),
        ('[outputs.bad]\nchip = "soc\nline = 6\n', "line 8"),
        ('[outputs.bad]\nchip = "soc"\nline = 6\n' * 2, "outputs.*bad"),
        ("[outputs.bad\nline = 6\n", "line 7"),
        ("[outputs]\nbad = 6\n", "outputs.bad: is 6"),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_an_output_that_is_right_is_found_beside_one_that_is_wrong(
    board_file: Path, wrong: str, complaint: str, order: int
) -> None:
    board_file.write_text("".join((GOOD, wrong)[::order]))
    read = board.load_outputs(str(board_file))
    assert (read.driver, read.lines) == ("simulated", {"good": board.Output("soc", 4, True)})
    assert re.search(complaint if order == 1 else "outputs|line", read.wrong)
    with pytest.raises(board.BoardError):
        board.load(str(board_file))


def test_an_output_that_a_broken_file_names_twice_is_left_alone(board_file: Path) -> None:
    """With the other polarity its release would switch the relay on."""
    board_file.write_text(GOOD + GOOD.replace("true", "false") + "[outputs.other]\nchip = 'soc'\nline = 5\n")
    assert board.load_outputs(str(board_file)).lines == {"other": board.Output("soc", 5, False)}


@pytest.mark.parametrize("text", [b"[gpio", b"\xff\xfe", b"", b"gpio = 1\ninputs = []\noutputs = 3\naudio = 1"])
def test_a_file_that_is_no_board_is_one_clear_error(board_file: Path, text: bytes) -> None:
    board_file.write_bytes(text)
    with pytest.raises(board.BoardError, match=str(board_file)):
        board.load(str(board_file))
    outputs = board.load_outputs(str(board_file))
    assert str(board_file) in outputs.wrong
    assert not outputs.lines


def test_a_missing_file_is_named(board_file: Path) -> None:
    with pytest.raises(board.BoardError, match=f"{board_file}: No such file"):
        board.load(str(board_file))
