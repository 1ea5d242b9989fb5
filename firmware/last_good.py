"""The last good copy of the configuration: what a process read when it last started well, for the day on which the
file is damaged or gone.

`portero` and `portero-door` each keep one of their own and believe no copy that somebody else could have written.
The standard library alone: the lock process uses this.
"""

import contextlib
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 1_000_000
_NEVER_WAIT = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # neither for a FIFO's other end nor along a link


class Refused(Exception):
    """The copy must not be used; the text says which, why and what to do."""


@dataclass(frozen=True, slots=True)
class LastGood:
    """A copy: its bytes as they stood in the file, and since when (local time) they are the last good ones."""

    path: Path
    data: bytes
    since: str


def read(path: Path, *, of_anybody: bool = False) -> LastGood | None:
    """The copy at `path`, None where there is none. `of_anybody` takes it from any owner: for whoever decides
    nothing of weight by it. Refused where it is not a file of this user or root, others may write it, it is larger
    than MAX_BYTES, or it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _NEVER_WAIT)
        with open(descriptor, "rb") as file:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                raise Refused(f"{path}: is no regular file; remove it")
            if not of_anybody and state.st_uid not in (0, os.geteuid()):
                raise Refused(f"{path}: belongs to user {state.st_uid}, not to user {os.geteuid()}; remove it")
            if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise Refused(f"{path}: others may write it; remove it, or run chmod 600 {path}")
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise Refused(f"{path}: is larger than {MAX_BYTES} bytes; remove it")
    return LastGood(path, data, time.strftime("%Y-%m-%d %H:%M", time.localtime(state.st_mtime)))


def keep(path: Path, data: bytes) -> None:
    """Make `data` the copy at `path`, for this user alone: whole or not at all, and on the disk when this returns.
    A copy that is the same already is left as it is, with its time. May wait for the disk. OSError if it fails."""
    with contextlib.suppress(Refused):
        kept = read(path)
        if kept is not None and kept.data == data:
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)  # of a start that was cut off
    # O_EXCL: where several may write into the folder, nobody else's file or link is written into.
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NEVER_WAIT, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
