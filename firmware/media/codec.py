"""Sound codecs: what each is to a stream, and those that need no library of their own (G.711, L16).

All sound inside is S16LE mono. A codec has two rates: that of the sound it takes and gives, and that of its RTP
clock, which differ for G.722 (16 kHz sound, 8 kHz clock: RFC 3551 4.5.2) and Opus (decoded at 16 kHz here, 48 kHz
clock: RFC 7587 4.1). `audioop` does G.711 in C: 0.5 us for a frame both ways, against 6 us through PyAV. G.722
and Opus are in modules of their own, loaded with the first call that may use them.
"""

import audioop
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

NARROWBAND_HZ = 8000
WIDEBAND_HZ = 16_000
FRAME_MS = 20

log = logging.getLogger(__name__)


class CodecUnavailable(Exception):
    """The library that does the codec's work is not installed; the text names it and its Debian package."""


@dataclass(frozen=True, slots=True)
class AudioCodec:
    """One stream's encoder and decoder; those of codecs without memory are shared by all streams.

    `encode` takes a 20 ms frame at `rate_hz` and gives a payload; `decode` takes a payload, or as many of its
    octets as RTP samples are wanted where `octets` says how many one has. It never raises: of rubbish it makes
    silence or concealment. `silence` is one encoded frame.
    """

    name: str
    rate_hz: int
    clock_hz: int
    encode: Callable[[bytes], bytes]
    decode: Callable[[bytes], bytes]
    silence: bytes
    octets: int = 1  # of payload for a sample of the RTP clock; 0: a payload cannot be cut
    shared: bool = True  # has no memory: what it makes of a frame is good for every stream
    samples: Callable[[bytes], int] = len  # of the RTP clock, in a payload
    # Where the codec conceals by itself: RTP samples that are missing, and the payload right after them or b"".
    conceal: Callable[[int, bytes], bytes] | None = None
    expect_loss: Callable[[float], None] | None = None  # share of packets that the peer misses, 0 to 1

    @property
    def frame_bytes(self) -> int:
        return self.rate_hz * FRAME_MS // 1000 * 2


def frame_bytes(rate_hz: int) -> int:
    """20 ms of sound."""
    return rate_hz * FRAME_MS // 1000 * 2


def _g711(name: str, encode: Callable[[bytes], bytes], decode: Callable[[bytes], bytes]) -> AudioCodec:
    silence = encode(bytes(frame_bytes(NARROWBAND_HZ)))
    return AudioCodec(name, NARROWBAND_HZ, NARROWBAND_HZ, encode, decode, silence)


def _encode_ulaw(pcm: bytes) -> bytes:
    return audioop.lin2ulaw(pcm, 2)


def _decode_ulaw(payload: bytes) -> bytes:
    return audioop.ulaw2lin(payload, 2)


def _encode_alaw(pcm: bytes) -> bytes:
    return audioop.lin2alaw(pcm, 2)


def _decode_alaw(payload: bytes) -> bytes:
    return audioop.alaw2lin(payload, 2)


def _swapped(sound: bytes) -> bytes:
    """Between the network's order of octets and ours."""
    return audioop.byteswap(sound[: len(sound) & ~1], 2)


G711 = {
    "PCMU": _g711("PCMU", _encode_ulaw, _decode_ulaw),
    "PCMA": _g711("PCMA", _encode_alaw, _decode_alaw),
}
_L16 = AudioCodec(
    "L16",
    WIDEBAND_HZ,
    WIDEBAND_HZ,
    _swapped,
    _swapped,
    bytes(frame_bytes(WIDEBAND_HZ)),
    octets=2,
    samples=lambda payload: len(payload) // 2,
)


def codec(name: str, *, bit_rate: int = 0, in_band_fec: bool = False) -> AudioCodec | None:
    """A codec for one stream by the name that `sdp.codecs` has for it, None for others.

    `bit_rate` (bits a second) and `in_band_fec` are for Opus. Raises CodecUnavailable.
    """
    if name in G711:
        return G711[name]
    if name == "L16":
        return _L16
    if name == "G722":
        from firmware.media import g722

        return g722.codec()
    if name == "opus":
        from firmware.media import opus

        return opus.codec(bit_rate, in_band_fec=in_band_fec)
    return None


_missing: dict[str, bool] = {}


def usable(names: Iterable[str]) -> tuple[str, ...]:
    """Those of `names` that work here. What is missing is logged once."""
    return tuple(name for name in names if name in G711 or _works(name))


def _works(name: str) -> bool:
    missing = _missing.get(name)
    if missing is None:
        try:
            missing = codec(name) is None
        except CodecUnavailable as error:
            log.warning("%s is not offered: %s", name, error)
            missing = True
        _missing[name] = missing
    return not missing
