"""A board's own packages: added, taken away, and under a lock and a key of their own."""

from pathlib import Path

import pytest
from imaging import resolving, wanting
from imaging.shell import ImageError

COMMON = """
suite = "trixie"
architecture = "arm64"
archives = [["http://deb.debian.org/debian", "trixie", "main"]]
[root]
packages = ["kernel", "shell"]
"""


@pytest.fixture
def common(tmp_path: Path) -> Path:
    (tmp_path / "packages.toml").write_text(COMMON)
    return tmp_path / "packages.toml"


@pytest.fixture
def board(tmp_path: Path) -> Path:
    (tmp_path / "door").mkdir()
    return tmp_path / "door"


def test_a_board_without_packages_of_its_own_shares_the_common_lock(common: Path, board: Path) -> None:
    assert wanting.read(common, board) == wanting.read(common)
    assert wanting.read(common)["name"] == "trixie-arm64"


def test_a_board_adds_and_takes_away_and_has_its_own_lock(common: Path, board: Path) -> None:
    (board / "packages.toml").write_text(
        'archives = [["https://a.example", "trixie", "main"]]\n[root]\npackages = ["other"]\nwithout = ["kernel"]\n'
    )
    wanted = wanting.read(common, board)
    assert wanted["root"]["packages"] == ["shell", "other"]
    assert [archive[0] for archive in wanted["archives"]] == ["http://deb.debian.org/debian", "https://a.example"]
    assert wanted["name"] == "door"


def test_taking_away_what_is_not_there_is_a_mistake(common: Path, board: Path) -> None:
    (board / "packages.toml").write_text('[root]\nwithout = ["kernal"]\n')
    with pytest.raises(ImageError, match=r"root\.without: kernal: not in"):
        wanting.read(common, board)


def test_the_recipe_of_every_board_is_in_order() -> None:
    repository = Path(__file__).parents[3]
    for file in (repository / "board").glob("*/packages.toml"):
        wanted = wanting.read(repository / "image-build/packages.toml", file.parent)
        assert wanted["key"] is None or len(wanted["key"]["fingerprint"]) == 40


def test_an_archive_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no \[key\] beside it"):
        resolving._keyring("https://a.example", None, tmp_path)


def test_a_key_is_not_fetched_without_encryption(tmp_path: Path) -> None:
    key = {"package": "k.deb", "fingerprint": "0" * 40}
    with pytest.raises(ImageError, match="its key would come unprotected; write https"):
        resolving._keyring("http://a.example", key, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    key = {"package": "k.deb", "fingerprint": "0" * 40}
    with pytest.raises(ImageError, match=r"127\.0\.0\.1:9/k\.deb: .* where that archive can be reached"):
        resolving._keyring("https://127.0.0.1:9", key, tmp_path)
