"""Sound from one rate to another, frame by frame, keeping its state between frames.

libspeexdsp's polyphase filter does it where the library is there (3 ms of delay, 10 us a frame); audioop where it
is not, which lets half of the old band's upper end fold down into speech and, going up, mirrors it.
"""

import audioop
import ctypes
import weakref
from collections.abc import Callable

from firmware.media.library import load

_QUALITY = 3  # what the library calls VoIP: 48 taps
_MOST_MS = 20


class Resampler:
    """Converts a stream of frames of up to 20 ms from `from_hz` to `to_hz`; 20 ms give exactly 20 ms."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self.from_hz = from_hz
        self.to_hz = to_hz
        self.convert: Callable[[bytes], bytes] = _unchanged
        if from_hz != to_hz:
            self.convert = _by_speex(from_hz, to_hz) or _Interpolation(from_hz, to_hz).convert


def _unchanged(pcm: bytes) -> bytes:
    return pcm


class _Interpolation:
    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._from_hz = from_hz
        self._to_hz = to_hz
        self._state: tuple[int, tuple[tuple[int, int], ...]] | None = None

    def convert(self, pcm: bytes) -> bytes:
        if self._from_hz == 2 * self._to_hz:
            # Every pair of samples taken as left and right: the mean of the two is a decimation with a
            # zero at the old band's edge, in one call and without state. ratecv only drops samples.
            return audioop.tomono(pcm, 2, 0.5, 0.5)
        converted, self._state = audioop.ratecv(pcm, 2, 1, self._from_hz, self._to_hz, self._state)
        missing = len(pcm) * self._to_hz // self._from_hz - len(converted)
        return bytes(missing) + converted if missing else converted  # the first frame comes a little short


def _by_speex(from_hz: int, to_hz: int) -> Callable[[bytes], bytes] | None:
    library = load("libspeexdsp.so.1")
    if library is None:
        return None
    library.speex_resampler_init.restype = ctypes.c_void_p
    library.speex_resampler_destroy.argtypes = (ctypes.c_void_p,)
    state = library.speex_resampler_init(1, from_hz, to_hz, _QUALITY, None)
    if not state:
        return None
    return _Polyphase(library, state, from_hz, to_hz).convert


class _Polyphase:
    def __init__(self, library: ctypes.CDLL, state: int, from_hz: int, to_hz: int) -> None:
        weakref.finalize(self, library.speex_resampler_destroy, state)
        self._state = ctypes.c_void_p(state)
        self._from_hz, self._to_hz = from_hz, to_hz
        self._out = ctypes.create_string_buffer(4 * to_hz * _MOST_MS // 1000)
        self._taken, self._given = ctypes.c_uint32(), ctypes.c_uint32()
        self._taken_at, self._given_at = ctypes.byref(self._taken), ctypes.byref(self._given)
        self._process = library.speex_resampler_process_int
        self._process.argtypes = (ctypes.c_void_p, ctypes.c_uint32, *(ctypes.c_void_p,) * 4)

    def convert(self, pcm: bytes) -> bytes:
        taken, given = self._taken, self._given
        taken.value = len(pcm) // 2
        given.value = wanted = len(pcm) // 2 * self._to_hz // self._from_hz
        self._process(self._state, 0, pcm, self._taken_at, self._out, self._given_at)
        count = given.value
        sound = ctypes.string_at(self._out, 2 * count)
        return sound if count == wanted else sound.ljust(2 * wanted, b"\x00")
