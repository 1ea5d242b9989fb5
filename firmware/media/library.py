"""C libraries that codecs and resampling are called from, by ctypes.

They are Debian packages, loaded with the first call that needs them: a call into one costs a microsecond or two,
a Python binding that wraps frames in objects costs ten.
"""

import ctypes
from functools import cache


@cache
def load(soname: str) -> ctypes.CDLL | None:
    """The library, None where it is not installed. By its exact name: `find_library` would start a compiler."""
    try:
        return ctypes.CDLL(soname)
    except OSError:
        return None


def load_any(sonames: tuple[str, ...]) -> ctypes.CDLL | None:
    """The first of them that is there."""
    return next((found for soname in sonames if (found := load(soname)) is not None), None)
