from pathlib import Path

import pytest

from firmware.door.lock import Door
from firmware.door.settings import Settings, SettingsError

OUTPUTS = ("relay1", "relay2")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "station.toml"


def test_doors_with_their_relays_and_defaults(file: Path) -> None:
    file.write_text(
        '[station]\nboard = "qemu"\nrun_dir = "/r"\nstate_dir = "/s"\n'
        '[[doors]]\nname = "street"\nrelay = "relay1"\n'
        '[[doors]]\nname = "yard"\nrelay = "relay2"\npulse_ms = 500\nmax_pulse_ms = 800\n'
    )
    settings = Settings(file)
    assert (settings.board, settings.run_dir, settings.state_dir) == ("qemu", Path("/r"), Path("/s"))
    assert settings.doors(OUTPUTS) == {Door("street", 3000, 10_000): "relay1", Door("yard", 500, 800): "relay2"}


def test_what_is_left_out_has_its_default(file: Path) -> None:
    file.write_text("")
    settings = Settings(file)
    assert (settings.board, settings.run_dir) == ("simulated", Path("/run/portero"))
    assert settings.doors(OUTPUTS) == {}


def test_other_parts_of_the_file_are_not_judged(file: Path) -> None:
    file.write_text(
        "accounts = 5\n[station]\nnonsense = 1\n[[buttons]]\n"
        '[[doors]]\nname = "street"\nrelay = "relay1"\ncodes = "?"\n'
    )
    assert len(Settings(file).doors(OUTPUTS)) == 1


@pytest.mark.parametrize(
    ("doors", "complaint"),
    [
        ('relay = "relay1"', "doors[0].name: is missing"),
        ('name = "a"', 'doors[0].relay: is missing; write one of "relay1", "relay2"'),
        ('name = "a"\nrelay = "relay9"', 'doors[0].relay: is "relay9"; write one of "relay1", "relay2"'),
        ('name = "a"\nrelay = "relay1"\npulse_ms = 20', "doors[0].pulse_ms: is 20; write a whole number from 50"),
        ('name = "a"\nrelay = "relay1"\npulse_ms = "3 s"', 'doors[0].pulse_ms: is "3 s"; write a whole number'),
        ('name = "a"\nrelay = "relay1"\nmax_pulse_ms = 99999999', "doors[0].max_pulse_ms: is 99999999; write"),
        ('name = "a"\nrelay = "relay1"\npulse_ms = 20000', "pulse_ms: is 20000, more than max_pulse_ms, 10000"),
        (
            'name = "a"\nrelay = "relay1"\n[[doors]]\nname = "b"\nrelay = "relay1"',
            'doors[1].relay: is "relay1", which doors[0] has already',
        ),
        (
            'name = "a"\nrelay = "relay1"\n[[doors]]\nname = "a"\nrelay = "relay2"',
            'doors[1].name: is "a", as that of a door before',
        ),
    ],
)
def test_a_wrong_door_is_named_with_file_key_and_what_to_write(file: Path, doors: str, complaint: str) -> None:
    file.write_text(f"[[doors]]\n{doors}\n")
    with pytest.raises(SettingsError) as caught:
        Settings(file).doors(OUTPUTS)
    assert f"{file}: " in str(caught.value)
    assert complaint in str(caught.value)


def test_doors_written_as_one_table_are_told_how_to_write_them(file: Path) -> None:
    file.write_text('[doors]\nname = "street"\n')
    with pytest.raises(SettingsError, match=r"doors: is a table; write each as \[\[doors\]\]"):
        Settings(file).doors(OUTPUTS)


def test_of_a_file_with_a_mistake_board_and_folders_are_still_found(file: Path) -> None:
    file.write_text(
        '[station]\nboard = "qemu"\n  run_dir = "/r" # sockets\nstate_dir=\'/s\'\n[[doors]\nboard = "b"\n'
    )
    settings = Settings(file)
    assert (settings.board, settings.run_dir, settings.state_dir) == ("qemu", Path("/r"), Path("/s"))
    with pytest.raises(SettingsError, match=f"{file}: .*line 5"):
        settings.doors(OUTPUTS)


def test_bytes_that_are_no_text_do_not_hide_the_board(file: Path) -> None:
    file.write_bytes(b'[station]\nname = "\xff"\nboard = "qemu"\n')
    assert Settings(file).board == "qemu"


def test_a_wrong_board_is_complained_of_after_the_relays_are_released(file: Path) -> None:
    file.write_text("[station]\nboard = 5\n")
    settings = Settings(file)
    assert settings.board == "simulated"
    with pytest.raises(SettingsError, match=r"station\.board: is 5; write a text in quotes"):
        settings.doors(OUTPUTS)


def test_a_file_that_is_not_there_is_named(file: Path) -> None:
    with pytest.raises(SettingsError, match=f"{file}: No such file or directory"):
        Settings(file)


def test_the_covers_input_is_one_of_the_boards(file: Path) -> None:
    file.write_text('[access]\ntamper = "tamper"\nwrong_codes = "many"\n')
    settings = Settings(file)
    assert settings.tamper(("button1", "tamper")) == "tamper"
    assert settings.doors(OUTPUTS) == {}


def test_without_a_cover_to_watch_there_is_none(file: Path) -> None:
    file.write_text("[access]\nwrong_codes = 3\n")
    assert Settings(file).tamper(("tamper",)) == ""


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ('"tampr"', r'access.tamper: is "tampr", which is no input of the board; it has: "button1", "tamper"'),
        ("true", "access.tamper: is true; write a text in quotes"),
    ],
)
def test_a_cover_that_the_board_does_not_have_is_named_with_the_doors(file: Path, value: str, wrong: str) -> None:
    file.write_text(f"[access]\ntamper = {value}\n")
    settings = Settings(file)
    assert settings.tamper(("button1", "tamper")) == ""
    with pytest.raises(SettingsError, match=wrong):
        settings.doors(OUTPUTS)
