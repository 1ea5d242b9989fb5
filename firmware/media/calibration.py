"""What a calibration found out about a door's speaker, microphone and niche, kept in the state folder."""

import json
import logging
import math
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

log = logging.getLogger(__name__)

FILE_NAME = "sound.json"


@dataclass(frozen=True, slots=True)
class Calibration:
    """`delay_ms`: from the write to the microphone, at least; `level_db`: what the speaker's gain is corrected by;
    `ceiling_db`: of full scale, above which the speaker distorts; `margin_db`: by how much what comes back to
    the far end is below what it sent, all configured gains being 0; None while nobody has measured it."""

    delay_ms: float = 0.0
    level_db: float = 0.0
    ceiling_db: float = -1.0
    margin_db: float | None = None


def load(path: Path) -> Calibration:
    """The file's; the plain one where there is none or it is spoilt (which is logged)."""
    try:
        values = json.loads(path.read_bytes())
        known = {field.name: values[field.name] for field in fields(Calibration) if field.name in values}
        if not all(
            isinstance(value, int | float) and math.isfinite(value)
            for name, value in known.items()
            if not (name == "margin_db" and value is None)
        ):
            raise ValueError("it holds something else than numbers")
        return Calibration(**known)
    except FileNotFoundError:
        return Calibration()
    except (OSError, ValueError, TypeError) as error:
        log.warning("%s: %s; not calibrated: run doorctl audio calibrate", path, error)
        return Calibration()


def save(path: Path, calibration: Calibration) -> None:
    """In place of what was there, whole or not at all. OSError."""
    partial = path.with_suffix(".new")
    with partial.open("w") as file:
        json.dump(asdict(calibration), file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
