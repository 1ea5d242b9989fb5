"""What the rig provisions is a configuration that the station takes."""

import sys
import tomllib
from pathlib import Path

import pytest

import board
from firmware.config.loading import inspect
from hil import provision


@pytest.mark.parametrize("name", ["qemu-virt", "rpi-debian"])
def test_the_station_takes_it_without_a_complaint(tmp_path: Path, name: str) -> None:
    folder = provision.write_provision(tmp_path, provision.station_toml(name), "ssh-ed25519 AAAA rig\n")
    file = folder / "station.toml"
    file.chmod(0o600)
    config, problems = inspect(file)
    assert config is not None, problems
    assert problems == ()
    wired = tomllib.loads((Path(board.__file__).parent / name / "board.toml").read_text())
    assert {button.input for button in config.buttons} <= set(wired["inputs"])
    assert {door.relay for door in config.doors} <= set(wired["outputs"])


def test_a_benchs_card_is_written_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key.pub").write_text("ssh-ed25519 AAAA bench\n")
    monkeypatch.setattr("sys.argv", ["provision", "rpi-debian", str(tmp_path / "key.pub"), str(tmp_path)])
    assert provision.main() == 0
    assert (tmp_path / "provision/authorized_keys").read_text() == "ssh-ed25519 AAAA bench\n"
    monkeypatch.setattr(sys, "argv", ["provision"])
    assert provision.main() == 2
    assert "usage" in capsys.readouterr().err
