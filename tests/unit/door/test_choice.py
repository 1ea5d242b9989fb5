"""Which settings the lock goes by when the station's file is spoilt or gone."""

import os
from pathlib import Path

import pytest

from firmware import last_good
from firmware.door.choice import Choice
from firmware.door.lock import Door
from firmware.door.settings import SettingsError

INPUTS, OUTPUTS = ("tamper",), ("relay1", "relay2")
HEAD = '[station]\nboard = "qemu"\nrun_dir = "/r"\nstate_dir = "/s"\n'
GOOD = HEAD + '[access]\ntamper = "tamper"\n[[doors]]\nname = "street"\nrelay = "relay1"\n'
DOORS = ("tamper", {Door("street", 3000, 10_000): "relay1"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "station.toml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    path = tmp_path / "state/door.last-good.toml"
    last_good.keep(path, GOOD.encode())
    os.utime(path, (1e9, 1e9))
    return path


def test_a_good_file_is_used_and_kept(file: Path, copy: Path) -> None:
    file.write_text(GOOD.replace("relay1", "relay2"))
    choice = Choice(file, copy)
    assert choice.judge(INPUTS, OUTPUTS)[1] == {Door("street", 3000, 10_000): "relay2"}
    choice.keep()
    assert copy.read_bytes() == file.read_bytes()
    assert (choice.spoilt, choice.notes) == ("", [])


def test_a_first_good_start_makes_the_copy(file: Path, tmp_path: Path) -> None:
    Choice(file, tmp_path / "new.toml").keep()
    assert (tmp_path / "new.toml").read_text() == GOOD


def test_where_no_copy_is_wanted_none_is_made(file: Path) -> None:
    choice = Choice(file, None)
    choice.keep()
    assert choice.judge(INPUTS, OUTPUTS) == DOORS
    assert os.listdir(file.parent) == [file.name]


SPOILT = {
    "no TOML": GOOD.replace("[[doors]]", "[[doors]").encode(),
    "cut off within a word": GOOD.encode()[: GOOD.index("treet")],
    "cut off before a table": HEAD.encode(),
    "zeros": bytes(200),
    "nothing": b"",
    "another [station]": b"[station]\nboard = 5\n",
    "a wrong door": GOOD.replace("relay1", "relay7").encode(),
    "a wrong cover": GOOD.replace('tamper = "tamper"', 'tamper = "tampr"').encode(),
    "no file": None,
}


@pytest.mark.parametrize("data", SPOILT.values(), ids=SPOILT)
def test_of_a_spoilt_file_the_copys_board_folders_and_doors_are_used(
    file: Path, copy: Path, data: bytes | None
) -> None:
    if data is None:
        file.unlink()
    else:
        file.write_bytes(data)
    choice = Choice(file, copy)
    assert choice.settings.places == ("qemu", Path("/r"), Path("/s"))
    assert choice.judge(INPUTS, OUTPUTS) == DOORS
    assert choice.spoilt.startswith(f"{file}: ")
    assert choice.since.startswith("2001-09-0")
    assert choice.notes == [choice.spoilt, f"goes on with the last good copy of {choice.since}, {copy}"]
    choice.keep()
    assert copy.read_text() == GOOD


def test_what_is_wrong_elsewhere_in_the_file_is_not_the_locks_to_judge(file: Path, copy: Path) -> None:
    file.write_text("accounts = 5\n" + GOOD)
    choice = Choice(file, copy)
    choice.judge(INPUTS, OUTPUTS)
    assert choice.spoilt == ""


def not_used(copy: Path) -> None:
    copy.unlink()


def foreign(copy: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a file away")
    os.chown(copy, 900, -1)


def writable(copy: Path) -> None:
    copy.chmod(0o660)


def spoilt(copy: Path) -> None:
    copy.write_text(GOOD[:-3])


NOTES = {
    not_used: "",
    foreign: "the last good copy is not used: {copy}: belongs to user 900, not to user 0; remove it",
    writable: "the last good copy is not used: {copy}: others may write it; remove it, or run chmod 600 {copy}",
    spoilt: "the last good copy cannot be used either: {copy}: ",
}


@pytest.mark.parametrize(("damage", "note"), NOTES.items())
def test_without_a_copy_to_believe_all_is_as_without_one(file: Path, copy: Path, damage, note: str) -> None:  # type: ignore[no-untyped-def]
    damage(copy)
    note = note.format(copy=copy)
    file.write_text(HEAD + "[[doors\n")
    choice = Choice(file, copy)
    assert choice.settings.places == ("qemu", Path("/r"), Path("/s"))  # as far as the text can be read
    with pytest.raises(SettingsError, match=f"^{file}: .*line 5"):
        choice.judge(INPUTS, OUTPUTS)
    assert len(choice.notes) == bool(note)
    assert "".join(choice.notes).startswith(note)

    file.unlink()
    with pytest.raises(SettingsError) as caught:
        Choice(file, copy)
    assert str(caught.value).splitlines()[0] == f"{file}: No such file or directory"
    assert note in str(caught.value)


def test_a_copy_whose_doors_the_board_does_not_have_is_an_error_of_both(file: Path, copy: Path) -> None:
    file.unlink()
    choice = Choice(file, copy)
    with pytest.raises(SettingsError, match=f'{copy}: doors.* is "relay1"; write one of "strike"'):
        choice.judge(INPUTS, ("strike",))
    assert choice.notes[0] == f"{file}: No such file or directory"


def test_wrong_doors_of_another_board_are_not_taken_from_the_copy(file: Path, copy: Path) -> None:
    file.write_text(GOOD.replace("qemu", "rpi").replace("relay1", "relay7"))
    choice = Choice(file, copy)
    with pytest.raises(SettingsError, match=f"{file}: .*relay7"):
        choice.judge(INPUTS, OUTPUTS)
    assert choice.notes == [f"the last good copy is of another board or other folders: {copy}"]


def test_a_copy_that_cannot_be_written_is_a_note(file: Path) -> None:
    choice = Choice(file, Path("/proc/door.toml"))
    choice.keep()
    assert len(choice.notes) == 1
    assert choice.notes[0].startswith("the configuration cannot be kept as the last good one: /proc/door.toml: ")
