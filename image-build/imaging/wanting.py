"""What an image is to have: packages.toml, and what a board's own packages.toml says otherwise.

A board's file may add `archives`, and in `[root]` add `packages` and take away `without`; `[key]` says who signs an
added archive. Such a board has a lock of its own.
"""

import tomllib
from pathlib import Path
from typing import Any

from imaging.shell import ImageError


def read(common: Path, board: Path | None = None) -> dict[str, Any]:
    """`board` is its folder. ImageError with the place where a file is wrong."""
    wanted = _load(common)
    wanted["name"] = f"{wanted['suite']}-{wanted['architecture']}"
    file = board / "packages.toml" if board is not None else None
    if board is None or file is None or not file.exists():
        return wanted
    own = _load(file)
    root = own.get("root", {})
    without = set(root.get("without", ()))
    unknown = without - set(wanted["root"]["packages"])
    if unknown:
        raise ImageError(f"{file}: root.without: {', '.join(sorted(unknown))}: not in {common}")
    kept = [name for name in wanted["root"]["packages"] if name not in without]
    wanted["root"] = {**wanted["root"], "packages": [*kept, *root.get("packages", ())]}
    wanted["archives"] = [*wanted["archives"], *own.get("archives", ())]
    wanted["key"] = own.get("key")
    wanted["name"] = board.name
    return wanted


def _load(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ImageError(f"{file}: {error}") from error
