"""The units of the image: hardened, and such that a door rings again by itself."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from drivers.gpio import release
from firmware.api.places import STATE_DIR
from firmware.door.process import PLACES_NAME

ROOT = Path(__file__).parents[3]
UNITS = ROOT / "image-build/root/usr/lib/systemd/system"
STATION = ("portero.service", "portero-door.service")


def read(name: str) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNITS / name)
    return unit


@pytest.mark.parametrize("name", STATION)
def test_what_faces_the_network_or_holds_the_relays_is_hardened(name: str) -> None:
    """`systemd-analyze security` of at most 2.0."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", UNITS / name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-400:] + done.stderr


@pytest.mark.parametrize("name", STATION)
def test_it_is_restarted_however_often_it_ends(name: str) -> None:
    unit = read(name)
    assert unit["Service"]["Restart"] == "always"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert "WatchdogSec" in unit["Service"]


@pytest.mark.parametrize(("name", "copy"), [("portero", "station"), ("portero-door", "door")])
def test_it_starts_with_its_configuration_or_with_the_last_good_copy_of_it(name: str, copy: str) -> None:
    kept = f"/data/portero/state/{copy}.last-good.toml"
    text = (UNITS / f"{name}.service").read_text()
    conditions = [line for line in text.splitlines() if line.startswith("Condition")]
    assert conditions == [f"ConditionPathExists=|{path}" for path in ("/data/portero/station.toml", kept)]
    commands = [line for line in text.splitlines() if "--config" in line]
    assert commands
    assert all(f"--last-good {kept}" in command for command in commands)


def test_the_lock_need_not_wait_for_udev_to_open_its_chips() -> None:
    files = ROOT / "image-build/root/usr/lib/tmpfiles.d/portero.conf"
    group = read("portero-door.service")["Service"]["Group"]
    assert f"z /dev/gpiochip* 0660 root {group}" in files.read_text().splitlines()


def test_doorctl_finds_what_a_stopped_station_stored() -> None:
    files = ROOT / "image-build/root/usr/lib/tmpfiles.d/portero.conf"
    assert f"L {STATE_DIR} - - - - /data/portero/state" in files.read_text().splitlines()


def test_relays_are_released_after_any_end_of_the_lock() -> None:
    unit = read("portero-door.service")["Service"]
    *command, script, file = unit["ExecStopPost"].split()
    assert command == ["/usr/bin/python3", "-I", "-S"]  # nothing but itself is loaded
    assert script == f"/usr/lib/portero/{Path(release.__file__).relative_to(ROOT)}"
    assert file == f"/run/{unit['RuntimeDirectory']}/{PLACES_NAME}"


def test_only_the_lock_goes_without_a_network() -> None:
    assert read("portero-door.service")["Service"]["RestrictAddressFamilies"] == "AF_UNIX"
    assert "AF_INET" in read("portero.service")["Service"]["RestrictAddressFamilies"]


def test_the_hardware_watchdog_is_asked_for_no_more_than_a_pi_can_count() -> None:
    manager = configparser.ConfigParser()
    manager.read(UNITS.parent / "system.conf.d/portero.conf")
    for key in ("RuntimeWatchdogSec", "RebootWatchdogSec"):
        assert int(manager["Manager"][key].removesuffix("s")) <= 15


def test_nobody_logs_in_with_a_password() -> None:
    words = dict(
        line.split(None, 1)
        for line in (UNITS.parents[3] / "etc/ssh/sshd_config.d/portero.conf").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert words["AuthenticationMethods"] == "publickey"
    assert words["PasswordAuthentication"] == words["KbdInteractiveAuthentication"] == "no"
