"""libspandsp (LGPL, a telephony library in wide use) through ctypes: it makes DTMF for the tests, and hears it."""

import ctypes
import ctypes.util

try:
    _library: ctypes.CDLL | None = ctypes.CDLL(ctypes.util.find_library("spandsp") or "libspandsp.so.2")
except OSError:
    _library = None

_CHUNK = 8000


def missing() -> str:
    """What has to be installed before spandsp can be asked; empty: nothing."""
    return "" if _library is not None else "libspandsp is not installed (make setup installs it with baresip)"


def _lib() -> ctypes.CDLL:
    assert _library is not None, missing()
    library = _library
    for name in ("dtmf_tx_init", "dtmf_rx_init"):
        getattr(library, name).restype = ctypes.c_void_p
    pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    library.dtmf_tx_put.argtypes = [pointer, text, number]
    library.dtmf_tx.argtypes = [pointer, pointer, number]
    library.dtmf_tx_set_timing.argtypes = [pointer, number, number]
    library.dtmf_tx_set_level.argtypes = [pointer, number, number]
    library.dtmf_tx_free.argtypes = [pointer]
    library.dtmf_rx.argtypes = [pointer, text, number]
    library.dtmf_rx_get.argtypes = [pointer, text, number]
    library.dtmf_rx_free.argtypes = [pointer]
    return library


def tape(keys: str, *, tone_ms: int = 50, gap_ms: int = 50, dbm0: int = -10, twist_db: int = 0) -> bytes:
    """`keys` as sound, S16LE at 8 kHz; `dbm0` is the level of the low tone, the high one is `twist_db` louder."""
    library = _lib()
    sender = library.dtmf_tx_init(None)
    library.dtmf_tx_set_timing(sender, tone_ms, gap_ms)
    library.dtmf_tx_set_level(sender, dbm0, twist_db)
    sound = b""
    buffer = (ctypes.c_int16 * _CHUNK)()
    for start in range(0, len(keys), 64):  # it queues 128
        library.dtmf_tx_put(sender, keys[start : start + 64].encode(), -1)
        while count := library.dtmf_tx(sender, ctypes.cast(buffer, ctypes.c_void_p), _CHUNK):
            sound += bytes(buffer)[: 2 * count]
    library.dtmf_tx_free(sender)
    return sound


class Receiver:
    """What spandsp hears."""

    def __init__(self) -> None:
        self._library = _lib()
        self._receiver = self._library.dtmf_rx_init(None, None, None)

    def feed(self, pcm: bytes) -> str:
        """The keys in S16LE at 8 kHz since the last call; it reports each at its start."""
        heard = ""
        for start in range(0, len(pcm), 2 * _CHUNK):
            part = pcm[start : start + 2 * _CHUNK]
            self._library.dtmf_rx(self._receiver, part, len(part) // 2)
            buffer = ctypes.create_string_buffer(129)
            self._library.dtmf_rx_get(self._receiver, buffer, 128)
            heard += buffer.value.decode()
        return heard

    def close(self) -> None:
        self._library.dtmf_rx_free(self._receiver)
