"""From a root to a disk image: boot partitions, boot state, GPT. Every identifier is fixed, so that the same input
gives the same bytes.

    firmware   FAT    what the board's loader reads, U-Boot's script, provision/
    bootA/B    FAT    kernel and initramfs of a slot
    rootA/B    squashfs
    bootstate  a U-Boot environment of 4 KiB: which slot, and how many starts are left
    data       made at the first boot, from the rest of the disk

Slots are told apart by partition label alone: their contents are the same.
"""

import os
import uuid
import zlib
from pathlib import Path

from imaging.boards import BoardImage
from imaging.root import Root
from imaging.shell import ImageError, run

MIB = 1 << 20
FIRMWARE_MB, BOOT_MB, ROOT_MB, STATE_MB = 64, 96, 384, 1
STATE_BYTES = 4096
NAMESPACE = uuid.UUID("6f1c52a4-6c1f-4f0f-9d5e-2f5f7f2a4c11")
TYPES = {
    "fat": "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7",
    "linux": "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
}


def make_slot(root: Root, epoch: int, to: Path) -> Path:
    """The boot partition of a slot."""
    image = to / "boot.vfat"
    _make_fat(image, BOOT_MB, "boot", {"vmlinuz": root.vmlinuz, "initrd.img": root.initrd}, epoch, 16)
    return image


def make_disk(board: BoardImage, root: Root, boot: Path, firmware: dict[str, Path], epoch: int, to: Path) -> Path:
    """disk.img in `to`. `firmware`: path on the partition, and the file that goes there."""
    if root.squashfs.stat().st_size > ROOT_MB * MIB:
        raise ImageError(
            f"the root has {root.squashfs.stat().st_size / MIB:.0f} MiB, a slot {ROOT_MB}; drop packages"
        )
    _make_fat(to / "firmware.vfat", FIRMWARE_MB, "firmware", firmware, epoch, 32)
    (to / "bootstate.bin").write_bytes(boot_state())
    (to / "genimage.cfg").write_text(_genimage(board, root, boot, to))
    empty, scratch = to / "empty", to / "genimage"
    empty.mkdir()
    run(
        "genimage", "--config", to / "genimage.cfg", "--rootpath", empty, "--tmppath", scratch, "--inputpath", to,
        "--outputpath", to, env={"SOURCE_DATE_EPOCH": str(epoch)},
    )  # fmt: skip
    disk = to / "disk.img"
    if board.disk_mb * MIB > disk.stat().st_size:
        os.truncate(disk, board.disk_mb * MIB)
    return disk


def boot_state(order: str = "A B", left: int = 3) -> bytes:
    """U-Boot's form of an environment: CRC-32 of the rest, then NAME=VALUE, each ended by a zero, and zeros."""
    text = f"BOOT_ORDER={order}\0BOOT_A_LEFT={left}\0BOOT_B_LEFT={left}\0".encode()
    rest = text.ljust(STATE_BYTES - 4, b"\0")
    return zlib.crc32(rest).to_bytes(4, "little") + rest


def _make_fat(image: Path, size_mb: int, label: str, files: dict[str, Path], epoch: int, bits: int) -> None:
    """A FAT file system with these files, stamped with `epoch`."""
    need = sum(file.stat().st_size for file in files.values())
    if need > (size_mb - 2) * MIB:
        raise ImageError(f"partition {label}: {need / MIB:.0f} MiB of files, {size_mb} MiB of room")
    with image.open("wb") as opened:
        opened.truncate(size_mb * MIB)
    number = f"{zlib.crc32(label.encode()):08x}"
    run("mkfs.vfat", "--invariant", "-F", str(bits), "-i", number, "-n", label.upper(), image)
    environment = {"SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC", "MTOOLS_SKIP_CHECK": "1"}
    folders = sorted({str(parent) for name in files for parent in Path(name).parents if str(parent) != "."})
    for folder in folders:
        run("mmd", "-i", image, f"::{folder}", env=environment)
    for name, file in sorted(files.items()):
        os.utime(file, (epoch, epoch))
        run("mcopy", "-m", "-i", image, file, f"::{name}", env=environment)


def _genimage(board: BoardImage, root: Root, boot: Path, to: Path) -> str:
    def identifier(name: str) -> str:
        return str(uuid.uuid5(NAMESPACE, f"{board.name}/{name}"))

    def partition(name: str, image: Path, size_mb: int, kind: str, *more: str) -> str:
        words = (
            f'image = "{image}"',
            f"size = {size_mb}M",
            f'partition-uuid = "{identifier(name)}"',
            f'partition-type-uuid = "{TYPES[kind]}"',
            *more,
        )
        return f"  partition {name} {{\n" + "".join(f"    {word}\n" for word in words) + "  }\n"

    # U-Boot looks for its script on the one partition that is marked; a Pi 3's ROM looks into the MBR.
    marked = ("bootable = true", *(("partition-type = 0x0c",) if board.hybrid else ()))
    return (
        "image disk.img {\n  hdimage {\n    align = 1M\n"
        f'    partition-table-type = "{"hybrid" if board.hybrid else "gpt"}"\n'
        f'    disk-uuid = "{identifier("disk")}"\n'
        + (f"    disk-signature = 0x{zlib.crc32(board.name.encode()):08x}\n" if board.hybrid else "")
        + "  }\n"
        + partition("firmware", to / "firmware.vfat", FIRMWARE_MB, "fat", *marked)
        + partition("bootA", boot, BOOT_MB, "fat")
        + partition("bootB", boot, BOOT_MB, "fat")
        + partition("rootA", root.squashfs, ROOT_MB, "linux")
        + partition("rootB", root.squashfs, ROOT_MB, "linux")
        + partition("bootstate", to / "bootstate.bin", STATE_MB, "linux")
        + "}\n"
    )
