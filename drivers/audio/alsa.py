"""A sound card through ALSA, by pyalsaaudio: both directions of one card, 20 ms periods, capture as the clock.

What pyalsaaudio and ALSA do unasked is checked here. The constructor of a PCM takes any rate and period and sets
the nearest it has, so what was set is compared with what was asked, and plughw, which converts, is tried where the
bare card does something else. Capture begins with its first read, playback with its first write, which puts two
periods of silence before the frame. An xrun of either direction starts both anew, for an echo canceller needs
them in step; `restarts` counts it. Nothing but `read` waits, and that for half a second at most: a card that is
unplugged or stuck becomes an AudioError, after which the device may be made anew.
"""

import re
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

from drivers.audio.base import FRAME_MS, AudioError

Direction = Literal["capture", "playback"]

_PERIODS = 12  # of the ring buffer, 240 ms: room for the most that is played ahead, and for a tick as late as that
# Silence before the first frame, the time by which a tick may be late. One would do for a tick alone, but another
# thread's C call was seen to hold it up for 14 ms, and an underrun costs the canceller what it has learnt. So each
# one adds a frame: a processor that is kept busy makes the visitor hear a little later, not in pieces.
_AHEAD_FRAMES, _MOST_AHEAD_FRAMES = 2, 8
_SILENT_S = 0.5  # a card that gives nothing for so long is broken
_REFUSED_FRAMES = 50  # and one that takes nothing for a second
_MOST_RESTARTS = 25  # within one read: it cannot be started
_EPIPE = -32
_CARD_LINE = re.compile(r"\s*(\d+) \[(.{15})\]: \S+ - (.*)")


class Pcm(Protocol):
    """What is used of alsaaudio.PCM, opened not to block."""

    def info(self) -> dict[str, Any]: ...
    def read(self) -> tuple[int, bytes]:
        """(frames, samples): (0, b"") for nothing yet, (-EPIPE, b"") after an overrun."""

    def write(self, data: bytes) -> int:
        """Frames taken: 0 where it is full, -EPIPE after an underrun."""

    def drop(self) -> object: ...
    def polldescriptors(self) -> list[tuple[int, int]]: ...
    def polldescriptors_revents(self, ready: list[tuple[int, int]]) -> int: ...
    def close(self) -> None: ...


OpenPcm = Callable[[str, Direction, int, int, int], Pcm]


class AlsaAudio:
    """`card`: a card as `find_card` takes it; or `capture_pcm` and `playback_pcm`, names of asound.conf.

    `open_pcm(name, direction, rate_hz, period, periods)` opens a mono S16LE PCM that does not block.
    """

    def __init__(
        self,
        card: str = "",
        rate_hz: int = 16_000,
        *,
        capture_pcm: str = "",
        playback_pcm: str = "",
        open_pcm: OpenPcm | None = None,
        find: Callable[[str], str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rate_hz = rate_hz
        self.restarts = 0
        self._card = card
        self._names: dict[Direction, str] = {"capture": capture_pcm, "playback": playback_pcm}
        self._open_pcm = open_pcm or _open
        self._find = find or find_card
        self._clock = clock
        self._frame_bytes = rate_hz * FRAME_MS // 1000 * 2
        self._capture: Pcm | None = None
        self._playback: Pcm | None = None
        self._ahead_frames = _AHEAD_FRAMES
        self._ahead_bytes = 0  # of one of them
        self._plays = False
        self._captured = bytearray()
        self._refused = 0
        self._poll = select.poll()

    def start(self) -> None:
        try:
            self._capture, period = self._direction("capture")
            for descriptor, events in self._capture.polldescriptors():
                self._poll.register(descriptor, events)
            self._playback, period = self._direction("playback")
            self._ahead_bytes = max(self._frame_bytes, 2 * period)
            self._begin(self._capture)
        except BaseException:
            self.stop()
            raise

    def read(self) -> bytes:
        capture = self._capture
        if capture is None:
            raise AudioError("the sound card is not started")
        captured = self._captured
        deadline_s = self._clock() + _SILENT_S
        restarts_until = self.restarts + _MOST_RESTARTS
        while len(captured) < self._frame_bytes:
            try:
                count, samples = capture.read()
                if count > 0:
                    captured += samples
                elif count == _EPIPE:
                    self._restart()
                    deadline_s = self._clock() + _SILENT_S
                elif not self._wait(capture, deadline_s):
                    raise AudioError(f"{self._place('capture')}: no sound came for {_SILENT_S} s")
            except OSError as error:
                raise AudioError(str(error)) from error
            except Exception as error:
                raise _as_audio_error(error) from error
            if self.restarts > restarts_until:
                raise AudioError(f"{self._place('capture')}: overruns as soon as it is started")
        frame = bytes(captured[: self._frame_bytes])
        del captured[: self._frame_bytes]
        return frame

    def write(self, frame: bytes) -> None:
        playback = self._playback
        if playback is None:
            raise AudioError("the sound card is not started")
        try:
            # In one write: the first sample that is written starts the playback.
            ahead = b"" if self._plays else bytes(self._ahead_frames * self._ahead_bytes)
            taken = playback.write(ahead + frame)
            self._plays = True
            if taken == _EPIPE:
                self._ahead_frames = min(self._ahead_frames + 1, _MOST_AHEAD_FRAMES)
                self._restart()
        except Exception as error:
            raise _as_audio_error(error) from error
        self._refused = 0 if taken else self._refused + 1
        if self._refused >= _REFUSED_FRAMES:
            raise AudioError(f"{self._place('playback')}: it took no sound for a second")

    def stop(self) -> None:
        pcms, self._capture, self._playback = (self._capture, self._playback), None, None
        self._poll = select.poll()
        for pcm in pcms:
            if pcm is not None:
                pcm.close()

    # --- in step -------------------------------------------------------------------------------------------

    def _begin(self, capture: Pcm) -> None:
        """Start the capture. Playback begins when its first frame is there: however long the card took for that,
        what is written ahead is ahead then."""
        self._captured.clear()
        self._refused = 0
        self._plays = False
        count, samples = capture.read()  # not waited for: this starts it
        if count > 0:
            self._captured += samples

    def _restart(self) -> None:
        assert self._capture is not None
        assert self._playback is not None
        self.restarts += 1
        self._capture.drop()
        self._playback.drop()
        self._begin(self._capture)

    def _wait(self, capture: Pcm, deadline_s: float) -> bool:
        """Until something was captured, or something is wrong; False at the deadline. Asked once more when it has
        passed: it may have been ourselves who were kept from the processor."""
        while True:
            left_s = max(0.0, deadline_s - self._clock())
            ready = self._poll.poll(left_s * 1000)
            # A plugin's descriptor need not mean what it seems to: the PCM itself says what it stands for.
            if ready and capture.polldescriptors_revents(ready):
                return True
            if not left_s:
                return False

    def try_direction(self, direction: Direction) -> str:
        """Open one direction and close it: how it went, in words. AudioError if it does not."""
        pcm, period = self._direction(direction)
        converts = str(pcm.info().get("name", "")).startswith("plughw:")
        pcm.close()
        return f"periods of {period}" + (", converted by plughw" if converts else "")

    # --- opening -------------------------------------------------------------------------------------------

    def _direction(self, direction: Direction) -> tuple[Pcm, int]:
        """The opened PCM and its period in samples."""
        name = self._names[direction]
        if name:
            return self._checked(name, direction)
        card = self._find(self._card)
        try:
            return self._checked(f"hw:CARD={card}", direction)
        except _Unsuited:
            return self._checked(f"plughw:CARD={card}", direction)

    def _checked(self, name: str, direction: Direction) -> tuple[Pcm, int]:
        frame = self.rate_hz * FRAME_MS // 1000
        try:
            pcm = self._open_pcm(name, direction, self.rate_hz, frame, _PERIODS)
        except Exception as error:
            raise _as_audio_error(error, f"{name} ({direction})") from error
        try:
            info = pcm.info()
            wrong = [
                f"{key} {info.get(key)} instead of {wanted}"
                for key, wanted in (("rate", self.rate_hz), ("channels", 1), ("format_name", "S16_LE"))
                if info.get(key) != wanted
            ]
            period, buffer = int(info["period_size"]), int(info["buffer_size"])
            if period > 2 * frame or buffer < 3 * max(period, frame):
                wrong.append(
                    f"periods of {period} in a buffer of {buffer} instead of {frame} in {_PERIODS * frame}"
                )
            if wrong:
                raise _Unsuited(f"{name} ({direction}) has {', '.join(wrong)}; write another audio.rate_hz")
        except BaseException:
            pcm.close()
            raise
        return pcm, period

    def _place(self, direction: Direction) -> str:
        return f"{self._names[direction] or self._card} ({direction})"


class _Unsuited(AudioError):
    """The PCM is there, but not with the parameters that were asked for."""


def _as_audio_error(error: Exception, place: str = "") -> AudioError:
    if isinstance(error, AudioError):
        return error
    text = str(error) or type(error).__name__
    return AudioError(f"{place}: {text}" if place and place not in text else text)


def _open(name: str, direction: Direction, rate_hz: int, period: int, periods: int) -> Pcm:
    try:
        import alsaaudio
    except ImportError as error:
        raise AudioError(f"pyalsaaudio is not installed ({error}); run tools/setup") from error
    pcm: Pcm = alsaaudio.PCM(
        type=alsaaudio.PCM_CAPTURE if direction == "capture" else alsaaudio.PCM_PLAYBACK,
        mode=alsaaudio.PCM_NONBLOCK,
        rate=rate_hz,
        channels=1,
        format=alsaaudio.PCM_FORMAT_S16_LE,
        periodsize=period,
        periods=periods,
        device=name,
    )
    return pcm


# --- cards -----------------------------------------------------------------------------------------------------


def find_card(
    wanted: str, *, cards: Path = Path("/proc/asound/cards"), devices: Path = Path("/sys/class/sound")
) -> str:
    """The id of the card `wanted`: its id, a part of its name, or "usb:" and the port it is in ("usb:1-1.2").

    Never its index, which depends on who was found first. AudioError where there is none, or more than one.
    """
    known = _cards(cards, devices)
    port = wanted.removeprefix("usb:")
    if port != wanted:
        found = [card for card, (_, where) in known.items() if where == port]
    elif wanted in known:
        return wanted
    else:
        found = [card for card, (name, _) in known.items() if wanted.lower() in name.lower()]
    if len(found) == 1:
        return found[0]
    present = "; ".join(
        f'"{card}" ({name}{f", usb:{where}" if where else ""})' for card, (name, where) in known.items()
    )
    what = "there is no" if not found else f"{len(found)} cards match, none is the"
    raise AudioError(f'{what} sound card "{wanted}"; present: {present or "none"}')


def _cards(cards: Path, devices: Path) -> dict[str, tuple[str, str]]:
    """Card id -> (name, USB port or empty)."""
    try:
        lines = cards.read_text(errors="replace").splitlines()
    except OSError:
        return {}  # no sound in this kernel
    known = {}
    for line in lines:
        match = _CARD_LINE.fullmatch(line)
        if match is not None:
            index, card, name = match.groups()
            known[card.strip()] = (name.strip(), _usb_port(devices / f"card{index}" / "device"))
    return known


def _usb_port(device: Path) -> str:
    """Of the interface ("1-1.2:1.0") that the card's device is; empty where it is no USB card."""
    interface = device.resolve().name if device.exists() else ""
    port, colon, _ = interface.partition(":")
    return port if colon and re.fullmatch(r"\d+-[\d.]+", port) else ""
