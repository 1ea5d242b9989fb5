import json
from pathlib import Path

import pytest

from firmware import cli


def test_a_simulated_board_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check-board", "--board", "simulated"]) == 0
    shown = capsys.readouterr().out
    assert 'ok   outputs.relay1  line 5 of "simulated", simulated' in shown
    assert shown.endswith("All is well\n")


def test_what_is_missing_is_told_with_its_remedy_and_ends_in_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "board.toml").write_text(
        '[gpio]\ndriver = "lines2"\n[audio]\ndriver = "oss"\n[camera]\ndriver = "eye"\n'
        '[watchdog]\nmodule = "none_wdt"\n'
    )
    (tmp_path / "modules.conf").write_text("no_such_module\n")
    assert cli.main(["check-board", "--board", str(tmp_path), "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {each["where"] for each in findings if not each["well"]} >= {
        "gpio.driver",
        "audio.driver",
        "camera.driver",
        "watchdog.module",
        "modules.conf",
    }
    assert all(each["remedy"] for each in findings if not each["well"])
    assert cli.main(["check-board", "--board", str(tmp_path)]) == 1
    assert "-> modprobe no_such_module" in capsys.readouterr().out


def test_a_board_that_is_wrong_is_told_as_the_station_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "board.toml").write_text("[gpio]\n")
    assert cli.main(["check-board", "--board", str(tmp_path)]) == 1
    assert f"{tmp_path}/board.toml: gpio.driver: is missing" in capsys.readouterr().err


def test_without_a_name_the_board_is_the_stations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    station = tmp_path / "station.toml"
    monkeypatch.setattr(cli, "STATION_FILE", str(station))
    assert cli.main(["check-board"]) == 2
    assert f"{station}: No such file or directory; write --board NAME" in capsys.readouterr().err
    station.write_text('[station]\nboard = "simulated"\n')
    assert cli.main(["check-board"]) == 0
