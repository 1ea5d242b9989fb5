"""Where demonstrations keep their stations, and which of them doorctl finds."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.api.places import MOST_DEMOS, demo_folder
from firmware.demo.show import _own_place


@pytest.fixture
def kept() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture(autouse=True)
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path / f"portero-demo-{os.getuid()}"


def test_each_demo_has_a_place_of_its_own_and_gives_it_back(first: Path, kept: contextlib.ExitStack) -> None:
    with contextlib.ExitStack() as other:
        assert _own_place(None, other) == first
        assert _own_place(None, kept) == first.with_name(f"{first.name}-2")
    assert _own_place(None, kept) == first


def test_more_demos_than_there_are_places_for_are_told_so(kept: contextlib.ExitStack) -> None:
    assert len({_own_place(None, kept) for _ in range(MOST_DEMOS)}) == MOST_DEMOS
    with pytest.raises(BlockingIOError, match="--folder"):
        _own_place(None, kept)


def test_a_folder_in_which_a_demo_runs_is_not_taken_by_another(tmp_path: Path, kept: contextlib.ExitStack) -> None:
    folder = str(tmp_path / "mine")
    assert _own_place(folder, kept) == tmp_path / "mine"
    with pytest.raises(BlockingIOError, match="another demo runs in"):
        _own_place(folder, kept)


def test_a_link_that_somebody_laid_there_is_not_followed(
    tmp_path: Path, first: Path, kept: contextlib.ExitStack
) -> None:
    (tmp_path / "precious").mkdir()
    first.symlink_to(tmp_path / "precious")
    with pytest.raises(PermissionError, match="somebody else's"):
        _own_place(None, kept)
    assert demo_folder() is None
    assert not list((tmp_path / "precious").iterdir())


def test_doorctl_means_the_demo_that_runs_and_else_the_one_before(first: Path, kept: contextlib.ExitStack) -> None:
    assert demo_folder() is None
    _own_place(None, kept)
    second = _own_place(None, kept)
    assert demo_folder() == first
    (second / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as station:
        station.bind(str(second / "run" / "portero.sock"))
        station.listen()
        assert demo_folder() == second
    assert demo_folder() == first
