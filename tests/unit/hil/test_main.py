"""Where a rig cannot be had, and what is said then; the rigs' files against the board's."""

import tomllib
from pathlib import Path

import pytest

pytest.importorskip("yaml", reason="PyYAML comes with labgrid (tools/setup hil)")

from hil import __main__ as main

ROOT = Path(__file__).parents[3]


def test_a_machine_without_root_is_told_what_to_do() -> None:
    assert any("sudo make hil" in reason for reason in main.why_not(user=1000))


def test_a_missing_program_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    reasons = main.why_not(user=0)
    assert "qemu-system-aarch64 is not installed (tools/setup hil)" in reasons


def test_a_skip_is_loud_and_no_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["hil", "--rig", "qemu-virt"])
    monkeypatch.setattr(main, "why_not", lambda user: ["no /dev/net/tun"])
    assert main.main() == 0
    assert capsys.readouterr().out == "hil: SKIPPED, RIG=qemu-virt: no /dev/net/tun\n"


def test_a_pool_without_an_image_skips_the_rig_where_time_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build = tmp_path / "image-build/build.py"
    build.parent.mkdir()
    build.write_text("import sys\nprint('image: the pool lacks a.deb', file=sys.stderr)\nsys.exit(3)\n")
    monkeypatch.setattr(main, "ROOT", tmp_path)
    monkeypatch.setattr(main, "why_not", lambda user: [])
    monkeypatch.setattr("sys.argv", ["hil", "--minutes", "30"])
    assert main.main() == 0
    assert capsys.readouterr().out.splitlines()[-1] == "hil: SKIPPED, RIG=qemu-virt: image: the pool lacks a.deb"
    monkeypatch.setattr("sys.argv", ["hil", "--minutes", "3"])
    assert main.main() == 0
    assert "3.0 minutes are left, and it needs 15" in capsys.readouterr().out


def test_the_image_build_says_with_that_status_that_its_pool_lacks_something() -> None:
    assert f"EXIT_POOL = {main.POOL_LACKS}\n" in (ROOT / "image-build/build.py").read_text()


def test_an_unknown_rig_names_those_that_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["hil", "--rig", "qemu"])
    assert main.main() == 2
    assert "known are bench, qemu-virt" in capsys.readouterr().err


def test_an_image_that_was_named_and_is_not_there_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["hil", "--image", str(tmp_path / "disk.img")])
    monkeypatch.setattr(main, "why_not", lambda user: [])
    assert main.main() == 2
    assert "no such image" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["qemu-virt", "bench"])
def test_both_rigs_fill_the_same_roles(name: str) -> None:
    drivers = main.rig_data(main.rig_file(name))["targets"]["main"]["drivers"]
    (strategy,) = [entry["DoorStrategy"] for entry in drivers if "DoorStrategy" in entry]
    assert strategy["bindings"] == {"button": "button1", "contact": "door", "lock": "relay1"}
    names = {settings.get("name") for entry in drivers for settings in entry.values()}
    assert set(strategy["bindings"].values()) <= names
    kinds = {kind for entry in drivers for kind in entry}
    assert {"ConsoleLog", "SSHDriver", "AlsaEar", "AlsaMouth"} <= kinds


def test_the_virtual_rigs_lines_are_those_of_its_board() -> None:
    board = tomllib.loads((ROOT / "board/qemu-virt/board.toml").read_text())
    wired = {**board["inputs"], **board["outputs"]}
    drivers = main.rig_data(main.rig_file("qemu-virt"))["targets"]["main"]["drivers"]
    lines = {entry["name"]: entry["line"] for part in drivers for entry in part.values() if "line" in entry}
    assert lines == {name: wired[name]["line"] for name in lines}
    assert {wired[name]["chip"] for name in lines} == {"9030000.pl061"}


@pytest.mark.parametrize(("name", "virtual"), [("qemu-virt", True), ("bench", False)])
def test_labgrid_binds_every_role_of_both_rigs(
    name: str, virtual: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import labgrid

    monkeypatch.setenv("LG_HIL_RUN", str(tmp_path))
    monkeypatch.setenv("LG_HIL_UBOOT", str(main.UBOOT))
    environment = labgrid.Environment(str(main.rig_file(name)))
    strategy = environment.get_target().get_driver("DoorStrategy", activate=False)
    roles = ("power", "console", "ssh", "button", "contact", "lock", "ear", "mouth")
    assert all(getattr(strategy, role) is not None for role in roles)
    assert (strategy.board is not None) == (strategy.cable is not None) == virtual
