"""A card for the virtual board: a copy of the image, as large as a card, with `provision/` on its boot partition.

mtools write into the FAT partition inside the file, so nothing is mounted and no loop device is needed.
"""

import json
import shutil
import subprocess
from pathlib import Path

CARD_BYTES = 4 << 30
PARTITION = "firmware"


class DiskError(Exception):
    """The image is not what the rig takes; the text says what it lacks."""


def make_card(image: Path, card: Path, provision: Path) -> None:
    """`card` becomes a sparse copy of `image` with the files of `provision`. DiskError says what to do."""
    if not image.exists():
        raise DiskError(f"{image}: is not there; make image BOARD=qemu-virt builds it")
    command = ["cp", "--sparse=always", "--reflink=auto", str(image), str(card)]
    subprocess.run(command, check=True)
    card.chmod(0o600)
    with card.open("r+b") as file:
        if card.stat().st_size < CARD_BYTES:
            file.truncate(CARD_BYTES)
    for tool in ("mcopy", "mdir", "sfdisk"):
        if shutil.which(tool) is None:
            raise DiskError(f"{tool} is not installed; tools/setup hil installs it")
    lay_in(card, provision)


def lay_in(card: Path, provision: Path) -> None:
    """The files of `provision` are on the card's first partition. The card has no power meanwhile."""
    at = f"{card}@@{partition_offset(card)}"
    done = subprocess.run(
        ["mcopy", "-s", "-n", "-o", "-i", at, str(provision), "::"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DiskError(f"{card}: provision/ could not be written into {PARTITION}: {done.stderr.strip()}")


def rename_file(card: Path, partition: str, name: str, to: str) -> None:
    """A file of a FAT partition has another name: not found, as after a torn update. The card has no power."""
    at = f"{card}@@{partition_offset(card, partition)}"
    subprocess.run(["mren", "-i", at, f"::{name}", f"::{to}"], check=True)


def partition_offset(disk: Path, partition: str = PARTITION) -> int:
    """Where the partition begins, in bytes."""
    done = subprocess.run(["sfdisk", "--json", str(disk)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DiskError(f"{disk}: no partition table: {done.stderr.strip()}")
    return offset_in(json.loads(done.stdout), disk, partition)


def offset_in(listing: dict[str, dict[str, object]], disk: Path, name: str = PARTITION) -> int:
    """The same out of sfdisk's JSON."""
    table = listing["partitiontable"]
    partitions = table.get("partitions")
    for partition in partitions if isinstance(partitions, list) else []:
        if partition.get("name") == name:
            return int(partition["start"]) * int(str(table.get("sectorsize", 512)))
    raise DiskError(f"{disk}: has no partition named {name}; make image BOARD=qemu-virt builds one that has")
