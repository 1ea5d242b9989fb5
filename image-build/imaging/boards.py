"""What a board's folder says of its image: image.toml, and the files beside it."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from imaging.shell import ImageError

LOADERS = ("qemu", "rpi")


@dataclass(frozen=True, slots=True)
class BoardImage:
    """`loader`: who starts U-Boot. `disk_mb`: the image is made this large; 0: as large as it must be. `cmdline`:
    the board's words on the kernel's command line."""

    name: str
    folder: Path
    loader: str
    hybrid: bool
    disk_mb: int
    cmdline: str


def read(boards: Path, name: str) -> BoardImage:
    """ImageError names what the folder lacks."""
    folder = boards / name
    known = ", ".join(sorted(file.parent.name for file in boards.glob("*/image.toml")))
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such board; there are {known}")
    for file in ("board.toml", "image.toml", "cmdline.txt"):
        if not (folder / file).is_file():
            raise ImageError(
                f"{folder / file}: missing; an image needs board.toml, image.toml and cmdline.txt there"
            )
    try:
        values = tomllib.loads((folder / "image.toml").read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ImageError(f"{folder / 'image.toml'}: {error}") from error
    loader = values.get("loader")
    if loader not in LOADERS:
        raise ImageError(f"{folder / 'image.toml'}: loader is {loader!r}; write one of {', '.join(LOADERS)}")
    if loader == "rpi" and not (folder / "config.txt").is_file():
        raise ImageError(f"{folder / 'config.txt'}: missing; a Raspberry Pi's loader reads it")
    disk_mb = values.get("disk_mb", 0)
    if not isinstance(disk_mb, int) or disk_mb < 0:
        raise ImageError(f"{folder / 'image.toml'}: disk_mb is {disk_mb!r}; write whole megabytes")
    cmdline = " ".join((folder / "cmdline.txt").read_text().split())
    return BoardImage(name, folder, loader, loader == "rpi", disk_mb, cmdline)
