"""The last good copy: whole, for its owner alone, and believed only where nobody else could have written it."""

import os
from pathlib import Path

import pytest

from firmware import last_good
from firmware.last_good import LastGood, Refused

GOOD = b"[station]\n"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "station.last-good.toml"


def read(copy: Path) -> LastGood:
    kept = last_good.read(copy)
    assert kept is not None
    return kept


def give_away(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it somebody else's: the file, or where only root may do that, us."""
    if os.geteuid() == 0:
        os.chown(copy, 4242, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4242)


def test_what_is_kept_is_read_and_is_for_its_owner_alone(copy: Path) -> None:
    before = os.umask(0)
    try:
        last_good.keep(copy, GOOD)
    finally:
        os.umask(before)
    assert read(copy).data == GOOD
    assert copy.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_what_is_the_same_is_not_written_and_keeps_its_time(copy: Path) -> None:
    last_good.keep(copy, GOOD)
    os.utime(copy, (1e9, 1e9))
    before = copy.stat()
    last_good.keep(copy, GOOD)
    assert (copy.stat().st_ino, copy.stat().st_mtime) == (before.st_ino, before.st_mtime)
    assert read(copy).since.startswith("2001-09-0")


def test_what_is_another_takes_its_place(copy: Path) -> None:
    last_good.keep(copy, GOOD)
    last_good.keep(copy, b"other = 1\n")
    assert read(copy).data == b"other = 1\n"


def test_what_a_power_cut_left_half_written_does_no_harm(copy: Path) -> None:
    copy.with_name(f".{copy.name}.new").write_text("[stat")
    last_good.keep(copy, GOOD)
    assert read(copy).data == GOOD
    assert len(list(copy.parent.iterdir())) == 1


def test_a_disk_that_takes_nothing_leaves_the_copy_of_before(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last_good.keep(copy, GOOD)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        last_good.keep(copy, b"other = 1\n")
    assert read(copy).data == GOOD
    assert len(list(copy.parent.iterdir())) == 1


def test_a_link_that_somebody_laid_is_not_written_through(copy: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    copy.with_name(f".{copy.name}.new").symlink_to(precious)
    copy.symlink_to(precious)
    last_good.keep(copy, GOOD)
    assert precious.read_text() == "mine"
    assert read(copy).data == GOOD


def test_none_is_there(copy: Path) -> None:
    assert last_good.read(copy) is None


def test_one_of_another_user_is_refused_and_told_whose(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last_good.keep(copy, GOOD)
    give_away(copy, monkeypatch)
    with pytest.raises(Refused, match=rf"{copy}: belongs to user \d+, not to user \d+; remove it"):
        last_good.read(copy)
    kept = last_good.read(copy, of_anybody=True)
    assert kept is not None
    assert kept.data == GOOD


def test_one_of_root_is_taken(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to have a file of root's")
    last_good.keep(copy, GOOD)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert read(copy).data == GOOD


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_one_that_others_may_write_is_refused_and_replaced_by_the_next_good_start(copy: Path, mode: int) -> None:
    last_good.keep(copy, GOOD)
    copy.chmod(mode)
    for of_anybody in (False, True):
        with pytest.raises(Refused, match=f"{copy}: others may write it; remove it, or run chmod 600 {copy}"):
            last_good.read(copy, of_anybody=of_anybody)
    last_good.keep(copy, GOOD)
    assert read(copy).data == GOOD


def test_what_is_no_file_is_refused(copy: Path) -> None:
    os.mkfifo(copy, 0o600)
    with pytest.raises(Refused, match="is no regular file"):
        last_good.read(copy)
    copy.unlink()
    copy.mkdir(0o700)
    with pytest.raises(Refused, match=f"{copy}: "):
        last_good.read(copy)
    copy.rmdir()
    copy.symlink_to(copy.with_name("elsewhere"))
    with pytest.raises(Refused, match=f"{copy}: "):
        last_good.read(copy)


def test_one_that_grew_without_bound_is_refused(copy: Path) -> None:
    last_good.keep(copy, bytes(last_good.MAX_BYTES + 1))
    with pytest.raises(Refused, match="is larger than"):
        last_good.read(copy)
