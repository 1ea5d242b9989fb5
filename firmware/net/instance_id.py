"""Which device this is, for ever: the URN of RFC 5626 section 4.1, by which a registrar knows a station again.

Made once and kept in the state folder. Where that cannot be written, it follows from /etc/machine-id, so that it is
at least the same after each start.
"""

import contextlib
import logging
import os
import uuid
from pathlib import Path

log = logging.getLogger(__name__)

FILE = "instance-id"
_MACHINE_ID = Path("/etc/machine-id")
_OURS = uuid.UUID("7f1c2b0e-5a0e-4d3c-9a57-6d5b1f3f8e21")  # a name space of our own (RFC 4122 4.3)


def instance_urn(state_dir: Path, machine_id: Path = _MACHINE_ID) -> str:
    """As "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"."""
    path = state_dir / FILE
    try:
        return uuid.UUID(path.read_text().strip()).urn
    except (OSError, ValueError):
        pass
    made = uuid.uuid4()
    try:
        _write(path, f"{made}\n")
    except OSError as error:
        log.warning("%s: %s; the device's name follows from %s", path, error.strerror, machine_id)
        with contextlib.suppress(OSError):
            made = uuid.uuid5(_OURS, machine_id.read_text().strip())
    return made.urn


def _write(path: Path, text: str) -> None:
    """Whole or not at all, whenever the power is cut."""
    new = path.with_suffix(".new")
    with new.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
