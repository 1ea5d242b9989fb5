"""What an installer puts on the boot partition: taken once, refused in words, the device reachable either way."""

from pathlib import Path

import pytest
from ondevice.provision import RESULT, take_over

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJnQ0Zy3cWxkVZ3ZcH6zL6pXJd1bM0pY5rB0q8r6mJ2A installer@laptop"
STATION = """
[station]
board = "simulated"

[[accounts]]
name = "pbx"
address = "sip:door@pbx.example.org"
password_file = "pbx-password"
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    for name in ("portero", "ssh", "network"):
        (made / name).mkdir(parents=True)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "provision"
    made.mkdir()
    return made


def put(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text, newline="")


def left(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {RESULT}


def test_everything_is_taken_and_nothing_stays_on_the_card(folder: Path, data: Path) -> None:
    put(folder, "station.toml", STATION)
    put(folder, "secrets/pbx-password", "s3cret\n")
    put(folder, "authorized_keys", KEY + "\n")
    put(folder, "network/10-door.network", "[Match]\nType=ether\n")
    outcome = take_over(folder, data)
    assert outcome.refused == []
    assert (data / "portero/station.toml").read_text() == STATION
    assert (data / "portero/pbx-password").read_text() == "s3cret\n"
    assert (data / "ssh/authorized_keys").read_text() == KEY + "\n"
    assert (data / "network/10-door.network").exists()
    assert left(folder) == set()
    assert (folder / RESULT).read_text().count("taken: ") == 3


def test_what_was_taken_is_for_its_readers_only(folder: Path, data: Path) -> None:
    put(folder, "station.toml", STATION)
    put(folder, "secrets/pbx-password", "s3cret\n")
    put(folder, "authorized_keys", KEY)
    take_over(folder, data)
    modes = {name: (data / name).stat().st_mode & 0o777 for name in ("portero/pbx-password", "ssh/authorized_keys")}
    assert modes == {"portero/pbx-password": 0o640, "ssh/authorized_keys": 0o600}


def test_a_second_start_with_an_empty_folder_changes_nothing(folder: Path, data: Path) -> None:
    put(folder, "authorized_keys", KEY)
    take_over(folder, data)
    assert take_over(folder, data).lines == []
    assert (data / "ssh/authorized_keys").read_text() == KEY + "\n"


def test_a_station_file_with_errors_is_refused_with_the_line_and_the_keys_are_taken(
    folder: Path, data: Path
) -> None:
    (data / "portero/station.toml").write_text("the one in use")
    put(folder, "station.toml", '[station]\nboard = "simulated"\ncountry = 7\n')
    put(folder, "authorized_keys", KEY)
    outcome = take_over(folder, data)
    assert outcome.taken == ["authorized_keys: 1 keys"]
    assert any("station.toml:3: station.country" in line for line in outcome.refused), outcome.refused
    assert (data / "portero/station.toml").read_text() == "the one in use"
    assert left(folder) == {"station.toml.rejected"}
    assert "REFUSED: station.toml" in (folder / RESULT).read_text()
    assert [path.name for path in (data / "portero").iterdir()] == ["station.toml"]


def test_a_refused_station_file_is_not_tried_again_until_it_is_written_anew(folder: Path, data: Path) -> None:
    put(folder, "station.toml", "[")
    assert take_over(folder, data).refused
    assert take_over(folder, data).lines == []


def test_secrets_are_taken_though_the_station_file_beside_them_is_refused(folder: Path, data: Path) -> None:
    put(folder, "station.toml", "[")
    put(folder, "secrets/pbx-password", "s3cret\n")
    take_over(folder, data)
    assert (data / "portero/pbx-password").read_text() == "s3cret\n"
    assert left(folder) == {"station.toml.rejected"}


def test_files_of_windows_are_taken(folder: Path, data: Path) -> None:
    put(folder, "authorized_keys", f"# mine\r\n{KEY}\r\n")
    put(folder, "network/10.network", "[Match]\r\nType=ether\r\n")
    assert take_over(folder, data).refused == []
    assert (data / "ssh/authorized_keys").read_text() == KEY + "\n"
    assert b"\r" not in (data / "network/10.network").read_bytes()


@pytest.mark.parametrize("text", ["", "# nothing\n", "hello world\n", "ssh-ed25519\n", "\x00\xff" * 40])
def test_a_file_without_a_key_does_not_replace_the_keys_in_use(folder: Path, data: Path, text: str) -> None:
    (data / "ssh/authorized_keys").write_text(KEY)
    put(folder, "authorized_keys", text)
    assert any("no SSH public key in it" in line for line in take_over(folder, data).refused)
    assert (data / "ssh/authorized_keys").read_text() == KEY


def test_one_bad_key_keeps_no_good_one_out(folder: Path, data: Path) -> None:
    put(folder, "authorized_keys", f"{KEY}\nssh-ed25519 AAAA cut-off\n")
    outcome = take_over(folder, data)
    assert outcome.taken == ["authorized_keys: 1 keys"]
    assert outcome.refused == ["authorized_keys: line 2 is no SSH public key; the others were taken"]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("network/eth0.conf", "x", "none of"),
        ("network/10.network", "Address=1.2.3.4\n", "no [Match] section"),
        ("network/10.network", "x" * (2 << 20), "larger than"),
    ],
)
def test_a_network_file_that_is_none_is_refused_by_name(
    folder: Path, data: Path, name: str, text: str, complaint: str
) -> None:
    put(folder, name, text)
    outcome = take_over(folder, data)
    assert len(outcome.refused) == 1
    assert Path(name).name in outcome.refused[0]
    assert complaint in outcome.refused[0]
    assert list((data / "network").iterdir()) == []


def test_wireless_settings_go_where_wpa_supplicant_looks(folder: Path, data: Path) -> None:
    put(folder, "network/wifi.conf", 'network={\n  ssid="house"\n  psk="secret12"\n}\n')
    assert take_over(folder, data).refused == []
    assert (data / "network/wifi/wpa_supplicant-wlan0.conf").stat().st_mode & 0o777 == 0o600


def test_a_folder_where_a_file_should_be_is_refused(folder: Path, data: Path) -> None:
    (folder / "station.toml").mkdir()
    assert take_over(folder, data).refused == ["station.toml: is no file"]


def test_only_a_readme_is_nothing_to_do(folder: Path, data: Path) -> None:
    put(folder, "README.txt", "hello")
    assert take_over(folder, data).lines == []
    assert not (folder / RESULT).exists()
