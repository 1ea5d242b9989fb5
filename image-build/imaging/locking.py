"""The lock: which packages and wheels make the image, each with version, size and SHA-256.

A JSON file per suite and architecture, one line an entry, so that a change of one package is a change of one line.
Reading is for every build and needs nothing but the file; writing asks the archive and the package index
(resolving.py).
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote

from imaging.shell import ImageError

RELOCK = "make image-lock BOARD=…"  # of the board that is built: one may have a lock of its own


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package. `url` is where it was when it was locked; `groups` among "root", "boot", "build"."""

    name: str
    version: str
    size: int
    sha256: str
    url: str
    groups: tuple[str, ...]

    @property
    def file(self) -> str:
        return unquote(self.url.rsplit("/", 1)[1])


@dataclass(frozen=True, slots=True)
class Wheel:
    """A file of the Python package index. `group` is "root", "host" or "source"."""

    name: str
    version: str
    file: str
    sha256: str
    group: str


@dataclass(frozen=True, slots=True)
class Lock:
    """`epoch`: when it was made, in seconds since 1970; the time stamp of what has no time of its own."""

    epoch: int
    packages: tuple[Package, ...]
    wheels: tuple[Wheel, ...]
    digest: str = ""

    def of_group(self, group: str) -> Iterator[Package]:
        return (package for package in self.packages if group in package.groups)

    def wheels_of(self, group: str) -> Iterator[Wheel]:
        return (wheel for wheel in self.wheels if wheel.group == group)


def read(file: Path) -> Lock:
    """ImageError where the file is missing or is no lock."""
    try:
        data = file.read_bytes()
        values = json.loads(data)
        packages = tuple(Package(**{**entry, "groups": tuple(entry["groups"])}) for entry in values["packages"])
        wheels = tuple(Wheel(**entry) for entry in values["wheels"])
        epoch = int(values["epoch"])
    except FileNotFoundError as error:
        raise ImageError(f"{file}: missing; make it with {RELOCK}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ImageError(
            f"{file}: not a lock file ({error}); take it from git, or remake it with {RELOCK}"
        ) from error
    for group in ("root", "boot", "build"):
        if not any(group in package.groups for package in packages):
            raise ImageError(f'{file}: no package of group "{group}"; take it from git, or remake it with {RELOCK}')
    return Lock(epoch, packages, wheels, hashlib.sha256(data).hexdigest())


def write(lock: Lock, file: Path) -> None:
    def lines(entries: tuple[Package, ...] | tuple[Wheel, ...]) -> str:
        return ",\n".join("    " + json.dumps(asdict(entry)) for entry in entries)

    text = (
        f'{{\n  "epoch": {lock.epoch},\n  "packages": [\n{lines(lock.packages)}\n  ],\n'
        f'  "wheels": [\n{lines(lock.wheels)}\n  ]\n}}\n'
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(file)
