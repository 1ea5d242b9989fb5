"""FFmpeg through PyAV, loaded with the first picture, without the memory that nothing but its linking used.

PyAV links some forty libraries. Binding them to each other touches symbol and relocation tables all over their
files, which makes 12 MB of a process that encodes H.264 resident; 9 MB of it are never looked at again. The kernel
would take those pages back when memory is short; here they go at once, and the few that are wanted come again.
"""

import ctypes
import importlib
import logging
import sys
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)

_DONT_NEED = 4  # MADV_DONTNEED of <sys/mman.h>: for a private mapping nobody has written to, "read it again"


class _Mapping(NamedTuple):
    start: int
    size: int
    file: str


def load() -> None:
    """Import PyAV, a tenth of a second; nothing where that is done. ImportError where it is not installed."""
    if "av" in sys.modules:
        return
    before = {mapping.file for mapping in _unwritten()}
    importlib.import_module("av")
    hand_back([mapping for mapping in _unwritten() if mapping.file not in before])


def hand_back(mappings: list[_Mapping]) -> None:
    """Their pages are no longer this process's until they are read again."""
    advise = ctypes.CDLL(None, use_errno=True).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for mapping in mappings:
        if advise(mapping.start, mapping.size, _DONT_NEED):  # it costs memory, nothing else
            log.debug("%s: madvise: error %d", mapping.file, ctypes.get_errno())


def _unwritten() -> list[_Mapping]:
    """What is mapped of files and cannot have been written to: code, and the tables at a file's beginning.

    Constants elsewhere may have been relocated before they were made read-only, which reading again would undo.
    """
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, permissions, offset, _device, inode, *name = line.split(maxsplit=5)
        if inode != "0" and (permissions == "r-xp" or (permissions == "r--p" and not int(offset, 16))):
            start, end = (int(address, 16) for address in addresses.split("-"))
            found.append(_Mapping(start, end - start, name[0] if name else ""))
    return found
