"""Images that `make image` has left in build/image: partitions, boot files, boot state, contents of the root."""

import json
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest
from imaging import disk

IMAGES = Path(__file__).parents[3] / "build/image"
ORDER = ["firmware", "bootA", "bootB", "rootA", "rootB", "bootstate"]


@pytest.fixture(params=["qemu-virt", "rpi-debian"])
def image(request: pytest.FixtureRequest) -> Path:
    folder = IMAGES / str(request.param)
    if not (folder / "disk.img").exists():
        pytest.skip(f"not built: make image BOARD={request.param}")
    for tool in ("sfdisk", "mdir", "unsquashfs"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: tools/setup image")
    return folder


def output(*command: object) -> str:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


def partitions(image: Path) -> dict[str, dict[str, Any]]:
    table = json.loads(output("sfdisk", "--json", image / "disk.img"))["partitiontable"]
    assert table["label"] == "gpt"
    return {entry["name"]: entry for entry in table["partitions"]}


def content(image: Path, name: str, most: int | None = None) -> bytes:
    entry = partitions(image)[name]
    with (image / "disk.img").open("rb") as file:
        file.seek(entry["start"] * 512)
        return file.read(min(entry["size"] * 512, most or entry["size"] * 512))


def on_fat(image: Path, name: str) -> set[str]:
    """Paths on a FAT partition, in small letters."""
    at = partitions(image)[name]["start"] * 512
    listing = output("mdir", "-/", "-b", "-i", f"{image / 'disk.img'}@@{at}", "::")
    return {line.removeprefix("::/").lower() for line in listing.splitlines() if line}


def test_partitions_are_those_that_boot_script_and_initramfs_look_for(image: Path) -> None:
    found = partitions(image)
    assert list(found) == ORDER
    assert [name for name, entry in found.items() if "LegacyBIOSBootable" in entry.get("attrs", "")] == ["firmware"]


def test_both_slots_hold_the_same(image: Path) -> None:
    assert content(image, "bootA") == content(image, "bootB")
    root = (image / "root.squashfs").read_bytes()
    for name in ("rootA", "rootB"):
        assert content(image, name, len(root)) == root


def test_the_boot_state_starts_slot_a_with_three_tries(image: Path) -> None:
    state = content(image, "bootstate", disk.STATE_BYTES)
    assert int.from_bytes(state[:4], "little") == zlib.crc32(state[4:])
    assert state[4:].rstrip(b"\0").split(b"\0") == [b"BOOT_ORDER=A B", b"BOOT_A_LEFT=3", b"BOOT_B_LEFT=3"]


def test_slots_have_kernel_and_initramfs_and_firmware_has_the_script(image: Path) -> None:
    assert on_fat(image, "bootA") == {"vmlinuz", "initrd.img"}
    assert {"boot.scr", "board.env", "provision/readme.txt"} <= on_fat(image, "firmware")
    assert b"BOOT_ORDER" in content(image, "firmware")


def test_a_pi_finds_its_loader_its_trees_and_an_mbr(image: Path) -> None:
    if image.name != "rpi-debian":
        pytest.skip("no Pi")
    files = on_fat(image, "firmware")
    assert {
        "bootcode.bin",
        "start.elf",
        "start4.elf",
        "fixup.dat",
        "fixup4.dat",
        "config.txt",
        "u-boot.bin",
    } <= files
    for model in ("bcm2837-rpi-3-b", "bcm2837-rpi-zero-2-w", "bcm2711-rpi-4-b", "bcm2711-rpi-cm4-io"):
        assert f"{model}.dtb" in files
    # A Pi 3's ROM reads the MBR: its first FAT entry is the very partition of the GPT.
    with (image / "disk.img").open("rb") as file:
        record = file.read(512)
    entries = [record[446 + 16 * n : 462 + 16 * n] for n in range(4)]
    fat = [entry for entry in entries if entry[4] == 0x0C]
    assert len(fat) == 1
    assert int.from_bytes(fat[0][8:12], "little") == partitions(image)["firmware"]["start"]


def test_device_trees_are_readable_and_name_their_board(image: Path, tmp_path: Path) -> None:
    if image.name != "rpi-debian":
        pytest.skip("no Pi")
    if shutil.which("dtc") is None:
        pytest.skip("dtc is not installed: tools/setup image")
    at = partitions(image)["firmware"]["start"] * 512
    for name in sorted(name for name in on_fat(image, "firmware") if name.endswith((".dtb", ".dtbo"))):
        output("mcopy", "-o", "-i", f"{image / 'disk.img'}@@{at}", f"::{name}", tmp_path / "tree")
        source = output("dtc", "-q", "-I", "dtb", "-O", "dts", tmp_path / "tree")
        assert 'compatible = "raspberrypi,' in source or name.endswith(".dtbo"), name


def test_nobody_has_a_password_and_no_key_is_shared(image: Path) -> None:
    shadow = output("unsquashfs", "-cat", image / "root.squashfs", "etc/shadow")
    assert shadow
    assert all(line.split(":")[1] in ("*", "!", "!*") for line in shadow.splitlines())
    listing = output("unsquashfs", "-l", image / "root.squashfs")
    assert "ssh_host_" not in listing
    assert "/etc/apt" not in listing, "it names the machine that built this"
    assert "/usr/lib/portero/firmware/app.py" in listing
    assert output("unsquashfs", "-cat", image / "root.squashfs", "etc/machine-id") == ""


def test_manifest_and_bill_of_materials_say_what_is_there(image: Path) -> None:
    manifest = json.loads((image / "manifest.json").read_text())
    for name, entry in manifest["files"].items():
        assert (image / name).stat().st_size == entry["bytes"], name
    bill = json.loads((image / "sbom.cdx.json").read_text())
    names = {component["name"] for component in bill["components"]}
    assert {"libc6", "openssh-server", "av"} <= names
    assert all(component["version"] and component["purl"] for component in bill["components"])
