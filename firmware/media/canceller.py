"""Echo cancellers behind one shape: what the microphone heard and what the speaker was given in, near speech out.

`webrtc` is WebRTC's AEC3 with its noise suppression and high-pass filter (PyPI pywebrtc-audio): it finds the
delay itself, has learnt the room within a word, follows two clocks, and costs 7 ms of CPU a second. `speex` is
libspeexdsp's, for boards that cannot afford that: half the CPU, nothing taken from who talks while the other
does, but seconds to learn and little patience with a speaker that distorts. Both work on frames of 20 ms, S16LE
mono. Libraries are loaded when a canceller is made.
"""

from typing import Any, Protocol

CANCELLERS = ("webrtc", "speex", "none")
FRAMES_PER_S = 50


class CancellerMissing(Exception):
    """This machine does not have it, or not the processor for it; the text says which."""


class EchoCanceller(Protocol):
    """One for each start of the sound card; not for several threads."""

    def process(self, captured: bytes, reference: bytes) -> bytes:
        """20 ms without the echo of `reference`, the very samples that were written to the speaker at the time. The
        result is some milliseconds late."""

    def reset(self) -> None:
        """Forget the room: microphone and speaker are no longer in step."""


def make_canceller(kind: str, rate_hz: int, *, suppression: int = 1) -> EchoCanceller:
    """One of CANCELLERS. `suppression` of noise: 0 to 3 for 6, 12, 18, 21 dB. CancellerMissing, ValueError."""
    match kind:
        case "webrtc":
            return WebrtcCanceller(rate_hz, suppression)
        case "speex":
            return SpeexCanceller(rate_hz, suppression)
        case "none":
            return NoCanceller()
    raise ValueError(f'there is no canceller "{kind}"; write one of {", ".join(CANCELLERS)}')


class NoCanceller:
    def process(self, captured: bytes, reference: bytes) -> bytes:
        return captured

    def reset(self) -> None:
        pass


class WebrtcCanceller:
    def __init__(self, rate_hz: int, suppression: int = 1) -> None:
        try:
            import numpy
            import pywebrtc_audio
        except ImportError as error:
            raise CancellerMissing(f"the webrtc canceller is not installed ({error})") from error
        self._array: Any = numpy.frombuffer
        self._type: Any = numpy.dtype("<i2")
        self._processor: Any = pywebrtc_audio.AudioProcessor(
            sample_rate=rate_hz,
            echo_cancellation=True,
            noise_suppression=True,
            high_pass_filter=True,
            ns_level=suppression,
        )

    def process(self, captured: bytes, reference: bytes) -> bytes:
        array, kind = self._array, self._type
        cleaned: bytes = self._processor.process(array(captured, kind), array(reference, kind)).tobytes()
        return cleaned

    def reset(self) -> None:
        self._processor.reset()


_TAIL_MS = 200  # the room and the sound card's buffers together
_SPEEX_DB = (-6, -12, -18, -21)
# Of speex_echo.h and speex_preprocess.h.
_ECHO_SET_SAMPLING_RATE = 24
_PREPROCESS_SET_NOISE_SUPPRESS = 8
_PREPROCESS_SET_ECHO_STATE = 24


class SpeexCanceller:
    def __init__(self, rate_hz: int, suppression: int = 1) -> None:
        import ctypes

        try:
            library = ctypes.CDLL("libspeexdsp.so.1")
        except OSError as error:
            raise CancellerMissing(
                f"the speex canceller is not installed ({error}); Debian: libspeexdsp1"
            ) from error
        _declare(library)
        samples = rate_hz // FRAMES_PER_S
        self._library = library
        self._output = ctypes.create_string_buffer(2 * samples)
        rate = ctypes.c_int(rate_hz)
        noise_db = ctypes.c_int(_SPEEX_DB[suppression])
        self._echo = ctypes.c_void_p(library.speex_echo_state_init(samples, rate_hz * _TAIL_MS // 1000))
        self._residue = ctypes.c_void_p(library.speex_preprocess_state_init(samples, rate_hz))
        library.speex_echo_ctl(self._echo, _ECHO_SET_SAMPLING_RATE, ctypes.byref(rate))
        library.speex_preprocess_ctl(self._residue, _PREPROCESS_SET_NOISE_SUPPRESS, ctypes.byref(noise_db))
        library.speex_preprocess_ctl(self._residue, _PREPROCESS_SET_ECHO_STATE, self._echo)

    def process(self, captured: bytes, reference: bytes) -> bytes:
        library, output = self._library, self._output
        library.speex_echo_cancellation(self._echo, captured, reference, output)
        library.speex_preprocess_run(self._residue, output)
        return output.raw

    def reset(self) -> None:
        self._library.speex_echo_state_reset(self._echo)

    def __del__(self) -> None:
        if hasattr(self, "_residue"):
            self._library.speex_preprocess_state_destroy(self._residue)
            self._library.speex_echo_state_destroy(self._echo)


def _declare(library: Any) -> None:
    import ctypes

    pointer, number, sound = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    for name, result, arguments in (
        ("speex_echo_state_init", pointer, (number, number)),
        ("speex_echo_state_destroy", None, (pointer,)),
        ("speex_echo_state_reset", None, (pointer,)),
        ("speex_echo_ctl", number, (pointer, number, pointer)),
        ("speex_echo_cancellation", None, (pointer, sound, sound, pointer)),
        ("speex_preprocess_state_init", pointer, (number, number)),
        ("speex_preprocess_state_destroy", None, (pointer,)),
        ("speex_preprocess_ctl", number, (pointer, number, pointer)),
        ("speex_preprocess_run", number, (pointer, pointer)),
    ):
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
