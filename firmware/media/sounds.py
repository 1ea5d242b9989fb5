"""What is said to people: recorded announcements in the house's language, and the tones that stand in for them.

An announcement is a WAV file, FOLDER/LANGUAGE/NAME.wav, or FOLDER/NAME.wav whatever the language: the first that is
there counts. PCM of 8 to 32 bits, mono or stereo, at any usual rate. A file that cannot be played is a fault, told
once, and the tone sounds. `tools/announcements` makes spoken ones. All methods are the event loop's.
"""

import array
import audioop
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from firmware.media.codec import FRAME_MS, WIDEBAND_HZ
from firmware.media.tones import COUNTRIES, TonePlayer, tone

How = Literal["spoken", "tone", "off"]
# Each with the tone in place of it; "": silence, for what is no failure.
ANNOUNCEMENTS: dict[str, str] = {
    "no-answer": "congestion",
    "busy": "busy",
    "unreachable": "congestion",
    "out-of-order": "congestion",
    "door-opened": "confirm",
    "wrong-code": "congestion",
    "call-ended": "",
    "please-wait": "ringback",
    "in-use": "",
}
MOST_S = 30
_MOST_BYTES = MOST_S * 48_000 * 2 * 4
_FADE_MS = 5


class RecordingError(Exception):
    """The file cannot be played; the text names it, what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Recording:
    pcm: bytes  # S16LE mono
    rate_hz: int

    @property
    def seconds(self) -> float:
        return len(self.pcm) / 2 / self.rate_hz


def load(path: Path) -> Recording:
    """The file as it is played: at 8 kHz if it is at that, else at 16. RecordingError."""
    import wave  # only where there are recordings

    try:
        if path.stat().st_size > _MOST_BYTES:
            raise RecordingError(f"{path}: is larger than {MOST_S} s of sound can be; cut it")
        with wave.open(str(path), "rb") as file:
            channels, width, rate_hz = file.getnchannels(), file.getsampwidth(), file.getframerate()
            if channels > 2 or not 8000 <= rate_hz <= 48_000:
                raise RecordingError(
                    f"{path}: {channels} channels at {rate_hz} Hz; write one or two at 8000 to 48000 Hz"
                )
            pcm = file.readframes(min(file.getnframes(), (MOST_S + 1) * rate_hz))
    except (OSError, EOFError, wave.Error) as error:
        what = getattr(error, "strerror", None) or str(error) or "it ends too early"
        raise RecordingError(f"{path}: {what}; write a WAV file of 16-bit PCM") from error
    pcm = pcm[: len(pcm) - len(pcm) % (width * channels)]
    if width == 1:
        pcm = audioop.bias(pcm, 1, -128)  # 8-bit WAV is unsigned
    if width != 2:
        pcm = audioop.lin2lin(pcm, width, 2)
    if channels == 2:
        pcm = audioop.tomono(pcm, 2, 0.5, 0.5)
    if rate_hz not in (8000, WIDEBAND_HZ):
        pcm, _ = audioop.ratecv(pcm, 2, 1, rate_hz, WIDEBAND_HZ, None)
        rate_hz = WIDEBAND_HZ
    recording = Recording(pcm, rate_hz)
    if not pcm:
        raise RecordingError(f"{path}: holds no sound; record it again")
    if recording.seconds > MOST_S:
        raise RecordingError(f"{path}: is {recording.seconds:.0f} s long, more than {MOST_S}; cut it")
    return recording


class RecordingPlayer:
    """Gives a recording frame by frame, once."""

    def __init__(self, recording: Recording) -> None:
        self.rate_hz = recording.rate_hz
        self._size = recording.rate_hz * FRAME_MS // 1000 * 2
        self._rest = memoryview(recording.pcm)

    def frame(self) -> bytes | None:
        """The next 20 ms, S16LE; None at the end."""
        if not self._rest:
            return None
        frame, self._rest = self._rest[: self._size], self._rest[self._size :]
        return bytes(frame).ljust(self._size, b"\x00")

    def stop(self) -> None:
        """End at the next frame, fading out."""
        sound = array.array("h")
        sound.frombytes(self._rest[: 2 * (self.rate_hz * _FADE_MS // 1000)])
        length = len(sound)
        for index in range(length):
            sound[index] = sound[index] * (length - index) // length
        self._rest = memoryview(sound.tobytes())


class Playable(Protocol):
    """Gives frames of 20 ms, S16LE at `rate_hz`, and None at its end; `stop` ends it soon and without a click."""

    @property
    def rate_hz(self) -> int: ...

    def frame(self) -> bytes | None: ...

    def stop(self) -> None: ...


class Chain:
    """One player after another, each at its own rate: `rate_hz` is that of the frame given last."""

    def __init__(self, *players: Playable) -> None:
        self._players = list(players)
        self.rate_hz = players[0].rate_hz

    def frame(self) -> bytes | None:
        while self._players:
            frame = self._players[0].frame()
            if frame is not None:
                self.rate_hz = self._players[0].rate_hz
                return frame
            del self._players[0]
        return None

    def stop(self) -> None:
        del self._players[1:]
        for player in self._players:
            player.stop()


class Sounds:
    """`how` says of an announcement whether it is spoken, a tone or nothing; "spoken" where it says nothing.

    `on_fault` hears what is wrong with the files, and "" when nothing is any more. KeyError for an unknown
    country.
    """

    def __init__(
        self,
        country: str,
        folder: Path | None = None,
        languages: Sequence[str] = (),
        how: Mapping[str, How] | None = None,
        on_fault: Callable[[str], None] = lambda _: None,
    ) -> None:
        if country not in COUNTRIES:
            raise KeyError(country)
        self._country = country
        self._folder = folder
        self._languages = tuple(languages)
        self._how = dict(how or {})
        self._on_fault = on_fault
        self._faults: dict[str, str] = {}
        self._loaded: dict[Path, tuple[tuple[int, int], Recording]] = {}
        self.seconds: dict[str, float] = {}  # of each announcement that is spoken, as last looked at

    def check(self) -> None:
        """Look at all files once: what is wrong is told before somebody has to hear it, and `seconds` is known."""
        if self._folder is not None and not self._folder.is_dir():
            self._fault("", f"{self._folder}: there is no such folder; make it with tools/announcements")
            return
        for name in ANNOUNCEMENTS:
            self._recording(name)
        spoken = any(self._how.get(name, "spoken") == "spoken" for name in ANNOUNCEMENTS)
        if self._folder is not None and spoken and not self.seconds and not any(self._faults.values()):
            languages = ", ".join(self._languages)
            self._fault("", f"{self._folder}: has no recording in {languages}; make them with tools/announcements")

    def player(self, name: str, *, once: bool = False) -> Playable | None:
        """What sounds for `name`, a tone or an announcement; None: nothing. `once`: one round of a cadence."""
        if name not in ANNOUNCEMENTS:
            return self._tone(name, once=once)
        instead = ANNOUNCEMENTS[name]
        if self._how.get(name, "spoken") == "off":
            return None
        recording = self._recording(name)
        if recording is None:
            return self._tone(instead, once=once) if instead else None
        if name == "please-wait" and not once:  # what is waited for goes on ringing
            return Chain(RecordingPlayer(recording), self._tone(instead, once=False))
        return RecordingPlayer(recording)

    def _tone(self, name: str, *, once: bool) -> TonePlayer:
        found = tone(name, self._country)
        return TonePlayer(replace(found, repeat=False) if once else found)

    def _recording(self, name: str) -> Recording | None:
        if self._folder is None or name not in ANNOUNCEMENTS or self._how.get(name, "spoken") != "spoken":
            return None
        self.seconds.pop(name, None)
        for place in (*(self._folder / language for language in self._languages), self._folder):
            path = place / f"{name}.wav"
            if not path.is_file():
                continue
            try:
                recording = self._load(path)
            except RecordingError as error:
                self._fault(name, str(error))
                return None
            self._fault(name, "")
            self.seconds[name] = recording.seconds
            return recording
        self._fault(name, "")
        return None

    def _load(self, path: Path) -> Recording:
        """Read once, and again when the file has changed: a slow card must not hold up the loop in a visit."""
        try:
            status = path.stat()
        except OSError as error:
            raise RecordingError(f"{path}: {error.strerror}") from error
        version = (status.st_mtime_ns, status.st_size)
        known = self._loaded.get(path)
        if known is None or known[0] != version:
            known = self._loaded[path] = (version, load(path))
        return known[1]

    def _fault(self, name: str, what: str) -> None:
        if what == self._faults.get(name, ""):
            return
        self._faults[name] = what
        self._on_fault(next((text for text in self._faults.values() if text), ""))
