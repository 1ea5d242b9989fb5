"""G.711 and the sample rates around it. All sound inside is S16LE mono; codecs run at 8 kHz.

`audioop` does the work in C: 0.5 us for a frame both ways, against 6 us through PyAV. Python 3.13 has it
from the audioop-lts package. Wideband codecs are not here.
"""

import audioop
from collections.abc import Callable
from dataclasses import dataclass

BUS_HZ = 8000  # the rate at which legs and tones are mixed
FRAME_MS = 20
FRAME_SAMPLES = BUS_HZ * FRAME_MS // 1000
FRAME_BYTES = FRAME_SAMPLES * 2
SILENCE = bytes(FRAME_BYTES)


@dataclass(frozen=True, slots=True)
class AudioCodec:
    """`encode` and `decode` take and give any whole number of samples; `silence` is one encoded frame."""

    name: str
    encode: Callable[[bytes], bytes]
    decode: Callable[[bytes], bytes]
    silence: bytes


def _encode_ulaw(pcm: bytes) -> bytes:
    return audioop.lin2ulaw(pcm, 2)


def _decode_ulaw(payload: bytes) -> bytes:
    return audioop.ulaw2lin(payload, 2)


def _encode_alaw(pcm: bytes) -> bytes:
    return audioop.lin2alaw(pcm, 2)


def _decode_alaw(payload: bytes) -> bytes:
    return audioop.alaw2lin(payload, 2)


CODECS: dict[str, AudioCodec] = {
    "PCMU": AudioCodec("PCMU", _encode_ulaw, _decode_ulaw, _encode_ulaw(SILENCE)),
    "PCMA": AudioCodec("PCMA", _encode_alaw, _decode_alaw, _encode_alaw(SILENCE)),
}


class Resampler:
    """Converts a stream of frames from `from_hz` to `to_hz`, keeping its state between frames."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._from_hz = from_hz
        self._to_hz = to_hz
        self._state: tuple[int, tuple[tuple[int, int], ...]] | None = None

    def convert(self, pcm: bytes) -> bytes:
        if self._from_hz == self._to_hz:
            return pcm
        if self._from_hz == 2 * self._to_hz:
            # Every pair of samples taken as left and right: the mean of the two is a decimation with a
            # zero at the old band's edge, in one call and without state. ratecv only drops samples.
            return audioop.tomono(pcm, 2, 0.5, 0.5)
        converted, self._state = audioop.ratecv(pcm, 2, 1, self._from_hz, self._to_hz, self._state)
        missing = len(pcm) * self._to_hz // self._from_hz - len(converted)
        return bytes(missing) + converted if missing else converted  # the first frame comes a little short
