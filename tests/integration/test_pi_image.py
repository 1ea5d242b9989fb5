"""The Pis' image as far as QEMU's raspi3b goes: no firmware of the GPU's, no lines that can be pressed, no network;
but U-Boot, the slot it takes, the kernel on the board's own device tree, and the card whose data partition is made.
What comes next writes to an emulated card for minutes.

It is tried where `make image BOARD=rpi-debian` has left an image.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.peers import Peers
from tests.support.processes import Program
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration
IMAGE = Path(__file__).parents[2] / "build/image/rpi-debian/disk.img"
CARD_BYTES = 4 << 30  # QEMU takes cards of a power of two
STEP_S = 200.0
TREE = "bcm2837-rpi-3-b.dtb"
STEPS = (
    "Portero: slot A of rpi-debian",
    "Starting kernel",
    "Machine model: Raspberry Pi 3 Model B",
    "mmcblk0: p1 p2 p3 p4 p5 p6 p7",  # the data partition, made on the first start
)


def test_a_pi_3_starts_the_image(peers: Peers) -> None:
    if not IMAGE.exists():
        pytest.skip("not built: make image BOARD=rpi-debian")
    for program in ("qemu-system-aarch64", "sfdisk", "mcopy"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: tools/setup hil")
    card = peers.folder / "card.img"
    subprocess.run(["cp", "--sparse=always", IMAGE, card], check=True)
    os.truncate(card, CARD_BYTES)
    at = _firmware_at(IMAGE)
    subprocess.run(["mcopy", "-o", "-i", f"{IMAGE}@@{at}", "::u-boot.bin", f"::{TREE}", peers.folder], check=True)
    console = peers.folder / "console.log"
    command = ["qemu-system-aarch64", "-M", "raspi3b", "-display", "none", "-monitor", "none", "-no-reboot"]
    # What the GPU's firmware would do: U-Boot and the tree into memory.
    command += ["-kernel", "u-boot.bin", "-dtb", TREE, "-drive", f"file={card},if=sd,format=raw"]
    command += ["-serial", "null", "-serial", f"file:{console}"]
    board = Program("raspi3b", command, peers.folder)
    board.start()
    try:
        for step in STEPS:
            wait_until(lambda step=step: not board.alive or step in _text(console), step, STEP_S, 1)
            assert board.alive, f"it ended before {step!r}:\n{_text(console)[-2000:]}"
    finally:
        board.stop()
        card.unlink()


def _text(file: Path) -> str:
    return file.read_text(errors="replace") if file.exists() else ""


def _firmware_at(image: Path) -> int:
    listed = subprocess.run(["sfdisk", "--json", image], check=True, capture_output=True, text=True).stdout
    entries = json.loads(listed)["partitiontable"]["partitions"]
    (start,) = (entry["start"] for entry in entries if entry["name"] == "firmware")
    return int(start) * 512
