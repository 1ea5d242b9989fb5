"""A configuration that is spoilt or gone, and the last good copy in its place."""

import logging
import os
from pathlib import Path

import pytest

from firmware import last_good
from firmware.config import ConfigError, load_or_last_good

GOOD = """\
[[accounts]]
name = "pbx"
address = "sip:door@pbx.example;transport=tls"
password_file = "pbx-password"
  [accounts.tls]
  ca_file = "house-ca.pem"
[[buttons]]
name = "flat"
input = "button1"
  [[buttons.stages]]
  ring = ["101"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A station's file, with what it names beside it and the copy of it in another folder."""
    (tmp_path / "pbx-password").write_text("knock-knock\n")
    (tmp_path / "house-ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    last_good.keep(tmp_path / "state/last-good.toml", GOOD.encode())
    path = tmp_path / "station.toml"
    path.write_text(GOOD)
    path.chmod(0o600)
    return path


@pytest.fixture
def copy(file: Path) -> Path:
    return file.parent / "state/last-good.toml"


def test_a_good_file_is_used_and_what_was_read_is_there_to_be_kept(file: Path, copy: Path) -> None:
    file.write_text(GOOD.replace("flat", "house") + "# ü\r\n")
    loaded = load_or_last_good(file, copy)
    assert loaded.config.buttons[0].name == "house"
    assert loaded.data == file.read_bytes()
    assert loaded.spoilt is None


SPOILT = {
    "no TOML": (GOOD.replace("[[buttons]]", "[[buttons]").encode(), ":7: not TOML: "),
    "cut off within a word": (GOOD.encode()[: GOOD.index("flat")], ":8: not TOML: "),
    "cut off before a table": (GOOD.encode()[: GOOD.index("[[buttons]]")], ": buttons: there is none, "),
    "zeros of a file system after a power cut": (bytes(200), ":1: not TOML: "),
    "nothing": (b"", ": the file is empty"),
    "no text": (b"\xff\xff\xff\xff", ": line 1 is not UTF-8 text"),
    "an unknown key": (GOOD.replace("input =", "inputt =").encode(), ":7: buttons[0].input: is missing"),
    "a line that the board lacks": (
        GOOD.replace('"button1"', '"buton1"').encode(),
        ':9: buttons[0].input: "buton1" is none of ',
    ),
}


@pytest.mark.parametrize(("data", "told"), SPOILT.values(), ids=SPOILT)
def test_of_a_spoilt_file_the_copy_is_used_and_the_first_problem_told(
    file: Path, copy: Path, data: bytes, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    os.utime(copy, (1e9, 1e9))
    file.write_bytes(data)
    loaded = load_or_last_good(file, copy)
    assert loaded.config.buttons[0].name == "flat"
    assert str(loaded.spoilt).startswith(f"{file}{told.split(': ')[0]}")
    assert told in str(loaded.spoilt)
    assert loaded.since.startswith("2001-09-0")
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors[0] == str(loaded.spoilt)
    assert str(copy) in errors[1]


def test_of_a_file_that_is_gone_the_copy_is_used_with_secrets_and_certificates_where_they_were(
    file: Path, copy: Path
) -> None:
    file.unlink()
    loaded = load_or_last_good(file, copy)
    account = loaded.config.accounts[0]
    assert account.password is not None
    assert account.password.reveal() == "knock-knock"
    assert account.tls.ca_file == str(file.parent / "house-ca.pem")
    assert str(loaded.spoilt) == f"{file}: there is no such file; give the path of the configuration file"


def test_a_warning_spoils_nothing_and_those_of_the_copy_are_told(
    file: Path, copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    last_good.keep(copy, b"[station]\n")
    file.write_text("[sip]\n")
    assert load_or_last_good(file, copy).data == b"[sip]\n"
    file.unlink()
    caplog.clear()
    assert load_or_last_good(file, copy).spoilt is not None
    assert f"{copy}: warning: buttons: " in caplog.text


def test_without_a_copy_all_problems_of_the_file_are_told(file: Path, copy: Path) -> None:
    file.write_text(GOOD.replace("input =", "inputt ="))
    for without in (None, copy.with_name("none.toml")):
        with pytest.raises(ConfigError) as caught:
            load_or_last_good(file, without)
        assert len(caught.value.problems) == 2
        assert all(problem.file == str(file) for problem in caught.value.problems)


def test_a_copy_that_is_spoilt_too_is_told_and_the_files_problems_are_the_error(
    file: Path, copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy.write_text("[")
    file.unlink()
    with pytest.raises(ConfigError, match=f"{file}: there is no such file"):
        load_or_last_good(file, copy)
    assert f"the last good copy cannot be used either: {copy}:1: not TOML" in caplog.text


def test_a_copy_that_others_may_write_is_told_and_the_files_problems_are_the_error(
    file: Path, copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy.chmod(0o666)
    file.unlink()
    with pytest.raises(ConfigError, match=f"{file}: there is no such file"):
        load_or_last_good(file, copy)
    assert f"the last good copy is not used: {copy}: others may write it" in caplog.text
