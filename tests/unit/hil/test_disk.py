"""Where a card is provisioned, and what is said where it cannot be."""

import shutil
import subprocess
from pathlib import Path

import pytest

from hil.disk import CARD_BYTES, DiskError, make_card, offset_in, partition_offset

CARD = Path("card.img")


def _listing(*names: str) -> dict[str, dict[str, object]]:
    partitions = [{"name": name, "start": 2048 * number} for number, name in enumerate(names, 1)]
    return {"partitiontable": {"label": "gpt", "sectorsize": 512, "partitions": partitions}}


def test_the_partition_is_found_by_its_name() -> None:
    assert offset_in(_listing("bootA", "firmware"), CARD) == 2 * 2048 * 512


@pytest.mark.parametrize("listing", [_listing("bootA"), {"partitiontable": {"label": "gpt"}}])
def test_an_image_without_it_says_what_builds_one(listing: dict[str, dict[str, object]]) -> None:
    with pytest.raises(DiskError, match=r"card.img: has no partition named firmware; make image"):
        offset_in(listing, CARD)


def test_an_image_that_is_not_there_says_what_builds_it(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="is not there; make image BOARD=qemu-virt"):
        make_card(tmp_path / "disk.img", tmp_path / "card.img", tmp_path)
    assert list(tmp_path.iterdir()) == []


def _need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (tools/setup hil installs it)")


def test_the_files_lie_in_the_cards_partition_and_the_image_stays_as_it_was(tmp_path: Path) -> None:
    _need("sfdisk", "mkfs.vfat", "mcopy")
    image, card, provision = tmp_path / "disk.img", tmp_path / "card.img", tmp_path / "provision"
    image.write_bytes(b"\0" * (64 << 20))
    table = "label: gpt\nstart=2048, size=65536, name=firmware\n"
    subprocess.run(["sfdisk", "-q", str(image)], input=table, text=True, check=True)
    subprocess.run(["mkfs.vfat", "--offset", "2048", str(image), "32768"], capture_output=True, check=True)
    before = image.read_bytes()
    provision.mkdir()
    (provision / "station.toml").write_text("[station]\n")
    make_card(image, card, provision)
    assert image.read_bytes() == before
    assert card.stat().st_size == CARD_BYTES
    assert card.stat().st_blocks * 512 < CARD_BYTES / 10
    at = f"{card}@@{partition_offset(card)}"
    done = subprocess.run(
        ["mtype", "-i", at, "::provision/station.toml"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[station]\n"
