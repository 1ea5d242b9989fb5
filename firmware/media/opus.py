"""Opus (RFC 6716, RTP payload of RFC 7587) by libopus: mono, 20 ms, sound at 16 kHz, an RTP clock of 48 kHz.

Through ctypes, because what matters at a door, concealment and in-band forward error correction, is out of reach
through PyAV. The bus carries 16 kHz, so coder and decoder run at that: the library resamples nothing, and the
payload is the same Opus that every receiver decodes at the rate it likes. Complexity 2 of 10: a tenth of a
millisecond for a frame, half of what 5 takes and a quarter of 9, for speech at a rate where they sound alike.
"""

import ctypes
import weakref
from functools import cache
from typing import Any

from firmware.media.codec import WIDEBAND_HZ, AudioCodec, CodecUnavailable, frame_bytes
from firmware.media.library import load
from firmware.rtp.opus import CLOCK_HZ, duration

DEFAULT_BIT_RATE = 32_000
_COMPLEXITY = 2
_LONGEST_S = 0.12  # a packet's longest duration (RFC 6716 3.2.5)
_ROOM = 2 * int(WIDEBAND_HZ * _LONGEST_S)
_PAYLOAD = 1275  # the longest frame (RFC 6716 3.2.1)
_STEP = 40  # samples of 2.5 ms: lengths that are concealed are multiples of it
_RATIO = CLOCK_HZ // WIDEBAND_HZ

# opus_defines.h
_VOIP = 2048
_SET_BITRATE, _SET_COMPLEXITY, _SET_FEC, _SET_LOSS, _SET_SIGNAL = 4002, 4010, 4012, 4014, 4024
_VOICE = 3001


@cache
def _library() -> ctypes.CDLL:
    library = load("libopus.so.0")
    if library is None:
        raise CodecUnavailable("no libopus.so.0; install the Debian package libopus0")
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    for name in ("opus_encoder_create", "opus_decoder_create"):
        getattr(library, name).restype = pointer
    library.opus_encoder_create.argtypes = (ctypes.c_int32, integer, integer, pointer)
    library.opus_decoder_create.argtypes = (ctypes.c_int32, integer, pointer)
    library.opus_encoder_destroy.argtypes = library.opus_decoder_destroy.argtypes = (pointer,)
    library.opus_encoder_destroy.restype = library.opus_decoder_destroy.restype = None
    library.opus_encode.argtypes = (pointer, ctypes.c_char_p, integer, pointer, ctypes.c_int32)
    library.opus_decode.argtypes = (pointer, ctypes.c_char_p, ctypes.c_int32, pointer, integer, integer)
    return library


class _Encoder:
    def __init__(self, bit_rate: int, *, in_band_fec: bool) -> None:
        library = _library()
        self._state: int = library.opus_encoder_create(WIDEBAND_HZ, 1, _VOIP, None)
        weakref.finalize(self, library.opus_encoder_destroy, self._state)
        self._out = ctypes.create_string_buffer(_PAYLOAD)
        self._encode: Any = library.opus_encode
        self._set: Any = library.opus_encoder_ctl
        self._control(_SET_COMPLEXITY, _COMPLEXITY)
        self._control(_SET_SIGNAL, _VOICE)
        self._control(_SET_BITRATE, bit_rate or DEFAULT_BIT_RATE)
        self._fec = in_band_fec
        if in_band_fec:
            self._control(_SET_FEC, 1)
            self.expect_loss(0.01)

    def _control(self, request: int, value: int) -> None:
        self._set(ctypes.c_void_p(self._state), ctypes.c_int(request), ctypes.c_int32(value))

    def encode(self, pcm: bytes) -> bytes:
        count = self._encode(self._state, pcm, len(pcm) // 2, self._out, _PAYLOAD)
        return ctypes.string_at(self._out, max(0, count))

    def expect_loss(self, share: float) -> None:
        """How much of the rate goes into describing the frame before once more. A loss just past is likely back,
        so never nothing."""
        if self._fec:
            self._control(_SET_LOSS, max(1, min(30, round(100 * share))))


class _Decoder:
    def __init__(self) -> None:
        library = _library()
        self._state: int = library.opus_decoder_create(WIDEBAND_HZ, 1, None)
        weakref.finalize(self, library.opus_decoder_destroy, self._state)
        self._out = ctypes.create_string_buffer(2 * _ROOM)
        self._decode: Any = library.opus_decode

    def decode(self, payload: bytes) -> bytes:
        samples = duration(payload) // _RATIO
        if not samples:
            return b""
        count = self._decode(self._state, payload, len(payload), self._out, _ROOM, 0)
        return ctypes.string_at(self._out, 2 * samples) if count == samples else self._conceal(samples)

    def conceal(self, missing: int, following: bytes) -> bytes:
        """`missing` samples of the RTP clock, from `following`'s copy of them where it has one."""
        samples = missing // _RATIO
        if following:
            whole = min(_ROOM, -(-samples // _STEP) * _STEP)
            count = self._decode(self._state, following, len(following), self._out, whole, 1)
            if count == whole:
                return ctypes.string_at(self._out, 2 * whole)[
                    2 * (whole - samples) :
                ]  # it ends where `following` begins
        return self._conceal(samples)

    def _conceal(self, samples: int) -> bytes:
        whole = min(_ROOM, -(-samples // _STEP) * _STEP)
        count = self._decode(self._state, None, 0, self._out, whole, 0)
        return ctypes.string_at(self._out, 2 * samples) if count == whole else bytes(2 * samples)


@cache
def _silence() -> bytes:
    encoder = _Encoder(DEFAULT_BIT_RATE, in_band_fec=False)
    silent = bytes(frame_bytes(WIDEBAND_HZ))
    return [encoder.encode(silent) for _ in range(10)][-1]  # by then the encoder has settled


def codec(bit_rate: int = 0, *, in_band_fec: bool = False) -> AudioCodec:
    """For one stream, `bit_rate` in bits a second. CodecUnavailable where the library is not installed."""
    encoder, decoder = _Encoder(bit_rate, in_band_fec=in_band_fec), _Decoder()
    return AudioCodec(
        "opus",
        WIDEBAND_HZ,
        CLOCK_HZ,
        encoder.encode,
        decoder.decode,
        _silence(),
        octets=0,
        shared=False,
        samples=duration,
        conceal=decoder.conceal,
        expect_loss=encoder.expect_loss,
    )
