"""The file that keeps the users' bindings over a restart: `bindings.json` in the state folder.

Phones come back by themselves, but only when their time is over, and a door must ring after a power cut. So the
file is written whole (a new one beside it, synced, renamed over it), soon after a phone came or went, and seldom
for refreshes, since SD cards wear out. A refresh that was not written yet is allowed for when it is read again.
Writing is done on a thread of its own: a card may take a second. A disk that refuses is a fault; calls go on.
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from firmware.sip.errors import RemoteProtocolError
from firmware.sip.location import Binding
from firmware.sip.uri import NameAddr

log = logging.getLogger(__name__)

SOON_S = 2.0  # phones of one house come back together after a power cut: one write
SELDOM_S = 600.0
LARGEST = 1 << 20  # 32 users with 5 phones and long Contacts are a tenth of it


class BindingsFile:
    """`bindings()` are those to write; `on_result` is told "" when they were, or what went wrong."""

    def __init__(
        self,
        path: Path,
        bindings: Callable[[], Iterable[Binding]],
        on_result: Callable[[str], None],
        *,
        loop: asyncio.AbstractEventLoop,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._bindings = bindings
        self._on_result = on_result
        self._loop = loop
        self._wall = wall
        self._timer: asyncio.TimerHandle | None = None
        self._when = 0.0
        self._writing: asyncio.Future[str] | None = None

    def load(self) -> list[Binding]:
        """What an earlier run wrote; nothing where the file is missing, damaged, or of another version."""
        try:
            with self._path.open("rb") as stream:
                kept = json.loads(stream.read(LARGEST))
            written = float(kept["written"])
            items = list(kept["bindings"])
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("%s cannot be read (%s); users are reached when they register again", self._path, error)
            return []
        # A clock that stands before the time of writing was not set yet: boards without a battery start so.
        passed_s = max(0.0, self._wall() - written)
        found = []
        for item in items:
            try:
                binding = _from_json(item, passed_s, self._loop.time())
            except (RemoteProtocolError, ValueError, TypeError, KeyError, AttributeError) as error:
                log.warning("%s: a binding is left out: %r", self._path, error)
                continue
            found.append(binding)
        return found

    def changed(self, *, soon: bool) -> None:
        """Something is new: `soon` for a phone that came or went, else it was a refresh."""
        when = self._loop.time() + (SOON_S if soon else SELDOM_S)
        if self._timer is not None:
            if self._when <= when:
                return
            self._timer.cancel()
        self._when = when
        self._timer = self._loop.call_at(when, self._due)

    def close(self) -> None:
        """Write what is not written yet, now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._on_result(_write(self._path, self._text()))

    def _due(self) -> None:
        self._timer = None
        if self._writing is not None:
            self.changed(soon=True)
            return
        self._writing = self._loop.run_in_executor(None, _write, self._path, self._text())
        self._writing.add_done_callback(self._written)

    def _written(self, writing: "asyncio.Future[str]") -> None:
        self._writing = None
        if writing.cancelled():
            return
        wrong = writing.result()
        if wrong:
            self.changed(soon=False)
        self._on_result(wrong)

    def _text(self) -> bytes:
        now = self._loop.time()
        items = [_to_json(binding, now) for binding in self._bindings()]
        return json.dumps({"version": 1, "written": self._wall(), "bindings": items}, indent=1).encode()


def _write(path: Path, text: bytes) -> str:
    """Put `text` into the file, all or nothing. Returns what went wrong."""
    beside = path.with_name(path.name + ".new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        return error.strerror or str(error)
    return ""


def _to_json(binding: Binding, now: float) -> dict[str, Any]:
    return {
        "user": binding.user,
        "contact": str(binding.contact),
        "left_s": round(binding.expires_at - now, 1),
        "expires_s": binding.expires_s,
        "call_id": binding.call_id,
        "cseq": binding.cseq,
        "transport": binding.transport,
        "source": list(binding.source),
        "q": binding.q,
        "path": [str(path) for path in binding.path],
        "instance": binding.instance,
        "reg_id": binding.reg_id,
        "agent": binding.agent,
    }


def _from_json(item: dict[str, Any], passed_s: float, now: float) -> Binding:
    host, port = item["source"]
    # It may have been refreshed as late as the next write would have been: a phone that is gone costs a leg that
    # rings nowhere, one that is wrongly forgotten costs the visitor.
    granted_s = int(item["expires_s"])
    left_s = min(float(granted_s), float(item["left_s"]) + SELDOM_S - passed_s)
    return Binding(
        user=str(item["user"]),
        contact=NameAddr.parse(str(item["contact"])),
        expires_at=now + left_s,
        expires_s=granted_s,
        call_id=str(item["call_id"]),
        cseq=int(item["cseq"]),
        transport=str(item["transport"]),
        source=(str(host), int(port)),
        q=float(item["q"]),
        path=tuple(NameAddr.parse(str(path)) for path in item["path"]),
        instance=str(item["instance"]),
        reg_id=int(item["reg_id"]),
        agent=str(item["agent"]),
    )
