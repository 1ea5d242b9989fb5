"""What the lock notes for the program that releases its lines when it has been killed."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from firmware.door.process import PLACES_NAME, _note_places

LINES = {
    "relay1": SimpleNamespace(place="/dev/gpiochip0 4 0"),
    "relay 2": SimpleNamespace(place="/dev/gpiochip1 7 1"),
}


def test_each_line_of_a_real_chip_is_noted_and_no_simulated_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    _note_places({**LINES, "lamp": SimpleNamespace(place="")})  # type: ignore[arg-type]
    assert (tmp_path / PLACES_NAME).read_text() == "/dev/gpiochip0 4 0 relay1\n/dev/gpiochip1 7 1 relay 2\n"


def test_where_it_cannot_be_written_the_lock_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "gone"))
    _note_places(LINES)  # type: ignore[arg-type]
    assert "when this process is killed, the next start releases" in capsys.readouterr().err
