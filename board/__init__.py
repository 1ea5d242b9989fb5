"""Boards: which drivers a station uses, and which lines its buttons and relays are wired to.

A board is a folder here with a board.toml, or the path of such a file elsewhere. Lines are named by their chip's
label and the line's number on it, never by a gpiochip's number, which changes with the kernel. The lock process
reads this too, so it needs nothing but the standard library. All of `[outputs]` is the lock process's own.
"""

import os
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from board.placement import Place, Reserved, check, check_boot_loader, chip_labels, machine, reservations
from board.tables import Complaints, Table

Pull = Literal["up", "down", "none"]

_HERE = Path(__file__).parent
_LINES_PER_CHIP = 512
CAMERA_FORMS = ("auto", "h264", "mjpeg", "yuyv")
_STABLE_NAMES = ("/dev/v4l/by-id/", "/dev/v4l/by-path/", "/dev/portero/")  # the last by our udev.rules
_LEVEL_4_BLOCKS = 245_760  # of 16 by 16 pixels in a second: ITU-T H.264 table A-1; above it no monitor follows
_OPPOSITE = {"up": "down", "down": "up"}


class BoardError(Exception):
    """The board cannot be read; the text has a line for each problem, with file and key."""


@dataclass(frozen=True, slots=True)
class CameraSpec:
    """`device` names the camera: below /dev/v4l for v4l2, part of its name or place for picamera2, empty its first.

    `form` is what a v4l2 camera is to send. `warm`: opened soon after the start, which costs 25 to 60 MB, and not
    with the first call only.
    """

    driver: str
    device: str
    form: str
    width: int
    height: int
    fps: int
    bitrate_kbps: int
    warm: bool


@dataclass(frozen=True, slots=True)
class AudioSpec:
    """`canceller` of echo: "webrtc", "speex", "none", or empty where nothing is done for hands-free talk. Of
    `alsa`: `card`, or the names of two PCMs. Of `simulated`, the rest: `microphone` is a tone in Hz, a WAV file,
    or None for silence; `speaker` a WAV file to write, or None."""

    driver: str
    rate_hz: int
    canceller: str
    card: str  # as drivers.audio.alsa.find_card takes it
    capture_pcm: str
    playback_pcm: str
    microphone: float | Path | None
    speaker: Path | None
    echo_gain: float
    echo_delay_ms: float


@dataclass(frozen=True, slots=True)
class Input:
    """A line that a button or a sensor is wired to. `active_low`: pressed is the low level.

    In the file, `normally_closed = true` says that the contact is closed at rest and its pull makes the line active
    when it opens, or its wire is cut.
    """

    chip: str
    line: int
    active_low: bool
    pull: Pull
    debounce_ms: int


@dataclass(frozen=True, slots=True)
class Output:
    """A line that switches a relay or a light. `active_low`: it is on at the low level."""

    chip: str
    line: int
    active_low: bool


@dataclass(frozen=True, slots=True)
class Board:
    name: str
    file: Path
    camera: CameraSpec | None
    audio: AudioSpec
    gpio: str  # the driver of all lines
    inputs: dict[str, Input]
    outputs: dict[str, Output]  # relays, the lock process's own
    lights: dict[str, Output]
    reserved: tuple[Reserved, ...]
    machines: tuple[str, ...]  # by device tree, those that [chips] names; empty: any
    watchdog: str  # the kernel module of the hardware's watchdog; empty where there is none to speak of

    def beside(self, name: str) -> str:
        """The text of another file of the board's folder ("cmdline.txt"); empty where it has none."""
        file = self.file.parent / name
        return _bytes(file).decode(errors="replace") if file.is_file() else ""


def load(name_or_path: str, compatible: Collection[str] | None = None) -> Board:
    """The board of this name, or of the board.toml (or its folder) at this path. BoardError for what is wrong.

    `compatible`: what the machine is, as its device tree says; None: this one.
    """
    file = _find(name_or_path)
    complaints = Complaints(file)
    root = _read(file, complaints)
    gpio, inputs, outputs, lights = (root.table(key) for key in ("gpio", "inputs", "outputs", "lights"))
    named = root.table("chips")
    chips = chip_labels(named, machine() if compatible is None else compatible)
    watchdog = root.table("watchdog")
    board = Board(
        name=file.parent.name if file.parent.parent == _HERE else str(file),
        file=file,
        camera=_camera(root.table("camera")) if "camera" in root else None,
        audio=_audio(root.table("audio"), file.parent),
        gpio=gpio.text("driver"),
        inputs={name: _input(inputs.table(name), chips) for name in inputs},
        outputs={name: _output(outputs.table(name), chips) for name in outputs},
        lights={name: _output(lights.table(name), chips) for name in lights},
        reserved=reservations(root.table("reserved"), chips),
        machines=tuple(dict.fromkeys(part for name in named for part in named.table(name))),
        watchdog=watchdog.text("module") if "watchdog" in root else "",
    )
    for table in (gpio, watchdog, root):
        table.finish()
    check(places(board), board.reserved, complaints)
    early = Complaints(file.parent / "config.txt")
    check_boot_loader(board.beside("config.txt"), places(board), early)
    if complaints.lines or early.lines:
        raise BoardError("\n".join((*complaints.lines, *early.lines)))
    return board


@dataclass(frozen=True, slots=True)
class Outputs:
    """What of a board's outputs can be used, and of its inputs. `wrong` has a line for each problem with the
    outputs; empty: they are in order."""

    driver: str
    lines: dict[str, Output]
    inputs: dict[str, Input]
    wrong: str


def load_outputs(name_or_path: str, compatible: Collection[str] | None = None) -> Outputs:
    """The outputs alone: a relay is released however wrong the rest of the board's file is.

    An output with anything wrong about it is left out, since with the wrong polarity the release would switch it
    on; the others stay. BoardError where there is no file to read.
    """
    file = _find(name_or_path)
    complaints = Complaints(file)
    text = _bytes(file).decode(errors="replace")
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        complaints.lines.append(f"{file}: {error}")
        values = _salvage(text)
    root = Table(values, "", complaints)
    driver = root.table("gpio").text("driver")
    table = root.table("outputs")
    chips = chip_labels(root.table("chips"), machine() if compatible is None else compatible)
    lines: dict[str, Output] = {}
    for name in table:
        before = len(complaints.lines)
        output = _output(table.table(name), chips)
        if len(complaints.lines) == before:
            lines[name] = output
    wrong = str(complaints)
    inputs: dict[str, Input] = {}
    for name in root.table("inputs"):
        before = len(complaints.lines)
        line = _input(root.table("inputs").table(name), chips)
        if len(complaints.lines) == before:
            inputs[name] = line
    return Outputs(driver, lines, inputs, wrong)


def _salvage(text: str) -> dict[str, Any]:
    """`gpio`, `chips` and `outputs` out of a file with a mistake in it: the tables that can be read by themselves.
    One that stands there twice says nothing certain."""
    found: dict[str, dict[str, Any]] = {"gpio": {}, "chips": {}, "outputs": {}}
    twice: set[tuple[str, str]] = set()
    for part in re.split(r"^(?=[ \t]*\[)", text, flags=re.MULTILINE):
        try:
            values = tomllib.loads(part)
        except (tomllib.TOMLDecodeError, RecursionError):
            continue
        for key, known in found.items():
            table = values.get(key)
            for name, value in table.items() if isinstance(table, dict) else ():
                if name in known:
                    twice.add((key, name))
                known[name] = value
    for key, name in twice:
        del found[key][name]
    return found


def _read(file: Path, complaints: Complaints) -> Table:
    try:
        return Table(tomllib.loads(_bytes(file).decode()), "", complaints)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BoardError(f"{file}: {error}") from error


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BoardError(f"{file}: {error.strerror}") from error
    except ValueError as error:  # a NUL in the path
        raise BoardError(f"{str(file)!r}: {error}") from error


def _find(name_or_path: str) -> Path:
    # os.path's questions say no to a name that is too long; pathlib's raise OSError.
    if "/" in name_or_path:
        path = Path(name_or_path)
        return path / "board.toml" if os.path.isdir(path) else path
    file = _HERE / name_or_path / "board.toml"
    if not os.path.isfile(file):
        known = ", ".join(sorted(f'"{path.parent.name}"' for path in _HERE.glob("*/board.toml")))
        raise BoardError(f'there is no board "{name_or_path}"; write one of {known}, or the path of a board.toml')
    return file


def _camera(table: Table) -> CameraSpec:
    driver = table.text("driver")
    usb = driver == "v4l2"
    device = table.text("device") if usb or "device" in table else ""
    if usb and device and not device.startswith(_STABLE_NAMES):
        table.complain(
            "device",
            f'is "{device}", which another camera may be called after the next start; write its name below '
            "/dev/v4l/by-id (ls shows them), or below /dev/v4l/by-path for its socket",
        )
    spec = CameraSpec(
        driver=driver,
        device=device,
        form=table.text("form", "auto", among=CAMERA_FORMS) if usb else "auto",
        width=table.integer("width", 640, least=160, most=1920),
        height=table.integer("height", 480, least=120, most=1080),
        fps=table.integer("fps", 15, least=1, most=60),
        bitrate_kbps=table.integer("bitrate_kbps", 600, least=50, most=20_000),
        warm=table.flag("warm", driver != "simulated"),
    )
    for key, size in (("width", spec.width), ("height", spec.height)):
        if size % 2:
            table.complain(key, f"is {size}, and H.264 wants an even number; write {size - 1}")
    _check_rate(table, spec)
    table.finish()
    return spec


def _check_rate(table: Table, spec: CameraSpec) -> None:
    blocks = -(-spec.width // 16) * -(-spec.height // 16)
    if blocks * spec.fps > _LEVEL_4_BLOCKS:
        most = _LEVEL_4_BLOCKS // blocks
        table.complain("fps", f"is {spec.fps}, more than H.264 level 4 carries at that size; write {most} or less")


def _audio(table: Table, folder: Path) -> AudioSpec:
    driver = table.text("driver")
    card, capture, playback = _sound_card(table) if driver == "alsa" else ("", "", "")
    canceller = "webrtc" if driver == "alsa" else ""
    if "canceller" in table:
        canceller = table.text("canceller", among=("webrtc", "speex", "none"))
    microphone: float | Path | None = None
    if "microphone_tone_hz" in table:
        microphone = table.number("microphone_tone_hz", 440, least=20, most=20_000)
    if "microphone_file" in table:
        if microphone is not None:
            table.complain("microphone_file", "stands beside microphone_tone_hz; write one of them")
        microphone = folder / table.text("microphone_file")
    rate_hz = table.integer("rate_hz", 16_000 if driver == "alsa" else 8000, least=8000, most=48_000)
    if rate_hz % 50:
        table.complain("rate_hz", f"is {rate_hz}, which 20 ms do not divide; write 8000 or 16000")
    spec = AudioSpec(
        driver=driver,
        rate_hz=rate_hz,
        canceller=canceller,
        card=card,
        capture_pcm=capture,
        playback_pcm=playback,
        microphone=microphone,
        speaker=folder / table.text("speaker_file") if "speaker_file" in table else None,
        echo_gain=table.number("echo_gain", 0.0, least=0.0, most=10.0),
        echo_delay_ms=table.number("echo_delay_ms", 40.0, least=0.0, most=1000.0),
    )
    table.finish()
    return spec


def _sound_card(table: Table) -> tuple[str, str, str]:
    """(card, capture PCM, playback PCM): the first, or the others."""
    if "capture_pcm" in table or "playback_pcm" in table:
        if "card" in table:
            table.complain("card", "stands beside capture_pcm and playback_pcm; write it or them")
        return "", table.text("capture_pcm"), table.text("playback_pcm")
    card = table.text("card")
    if card.isdecimal() or card.startswith(("hw:", "plughw:")):
        table.complain("card", f'is "{card}"; write its id or name, or "usb:" and its port: its number may change')
    return card, "", ""


def _input(table: Table, chips: Mapping[str, str]) -> Input:
    chip, line, active_low = _place(table, chips)
    pull = table.text("pull", "none", among=("up", "down", "none"))
    _check_pull(table, active_low, pull)
    debounce_ms = table.integer("debounce_ms", 30, least=0, most=1000)
    table.finish()
    return Input(chip, line, active_low, pull, debounce_ms)  # type: ignore[arg-type]  # `among` has seen to it


def _check_pull(table: Table, active_low: bool, pull: str) -> None:
    active = "down" if active_low else "up"
    if table.flag("normally_closed", False):
        if pull == _OPPOSITE[active]:
            table.complain("pull", f'is "{pull}": a cut wire goes unnoticed; write "{active}"')
    elif pull == active:
        table.complain(
            "pull",
            f'is "{pull}", which holds the input active; write "{_OPPOSITE[pull]}" or "none", or normally_closed = '
            "true for a contact that opens",
        )


def _output(table: Table, chips: Mapping[str, str]) -> Output:
    output = Output(*_place(table, chips))
    table.finish()
    return output


def _place(table: Table, chips: Mapping[str, str]) -> tuple[str, int, bool]:
    chip = table.text("chip")
    return (
        chips.get(chip, chip),
        table.integer("line", least=0, most=_LINES_PER_CHIP - 1),
        table.flag("active_low", False),
    )


def places(board: Board) -> list[Place]:
    """Every line of the board, as its functions stand in the file."""
    found = [
        Place(f"inputs.{name}", line.chip, line.line, line.active_low, "input", line.pull)
        for name, line in board.inputs.items()
    ]
    outputs: tuple[tuple[str, Literal["relay", "light"], dict[str, Output]], ...] = (
        ("outputs", "relay", board.outputs),
        ("lights", "light", board.lights),
    )
    found += [
        Place(f"{table}.{name}", line.chip, line.line, line.active_low, role)
        for table, role, lines in outputs
        for name, line in lines.items()
    ]
    return found
