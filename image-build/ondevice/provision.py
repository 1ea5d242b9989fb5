"""Takes over, once, what an installer put into the folder `provision` of the boot partition.

    station.toml      the station's configuration; judged before it replaces the one in use
    secrets/*         files that it names (passwords, codes, certificates)
    authorized_keys   who may log in by SSH
    network/*         files for systemd-networkd: *.network, *.netdev, *.link; wifi.conf for wpa_supplicant

Each part stands for itself: a mistake in one keeps no other from being taken, least of all the SSH keys, so that
the device can be reached. What was taken is on the data partition before it is removed here. What was refused stays
as NAME.rejected, and `result.txt` says in words what became of everything, as do the console and the journal.
"""

import contextlib
import grp
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PARTITION = Path("/dev/disk/by-partlabel/firmware")
FOLDER = "provision"
RESULT = "result.txt"
MOST_BYTES = 1 << 20
_KEY = re.compile(r"(?:ssh-|ecdsa-|sk-)\S+ [A-Za-z0-9+/]{40,}={0,3}(?: .*)?")
_NETWORK_SUFFIXES = (".network", ".netdev", ".link")


@dataclass(slots=True)
class Outcome:
    """What became of the folder, in lines for a person."""

    taken: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        return [*(f"taken: {line}" for line in self.taken), *(f"REFUSED: {line}" for line in self.refused)]


def take_over(folder: Path, data: Path) -> Outcome:
    """Everything in `folder` to its place below `data`. Never raises for what somebody wrote there."""
    outcome = Outcome()
    for name, take in (
        ("authorized_keys", _take_keys),
        ("network", _take_network),
        ("station.toml", _take_station),
    ):
        place = folder / name
        if not place.exists():
            continue
        try:
            take(place, data, outcome)
        except (OSError, ValueError) as error:
            _refuse(place, str(error), outcome)
    if (folder / "secrets").exists() and not (folder / "station.toml").exists():
        _take_lone_secrets(folder / "secrets", data, outcome)
    if outcome.lines:
        with contextlib.suppress(OSError):
            (folder / RESULT).write_text("\r\n".join(outcome.lines) + "\r\n")
    return outcome


def _take_keys(place: Path, data: Path, outcome: Outcome) -> None:
    text = _read(place).decode("ascii", errors="replace").replace("\r\n", "\n")
    good: list[tuple[int, str]] = []
    bad: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if line and not line.startswith("#"):
            (good if _KEY.fullmatch(line) else bad).append((number, line))
    if not good:
        raise ValueError("no SSH public key in it; write lines as those of ~/.ssh/id_ed25519.pub")
    _place(("\n".join(line for _, line in good) + "\n").encode(), data / "ssh/authorized_keys", 0o600)
    outcome.taken.append(f"authorized_keys: {len(good)} keys")
    if bad:
        _refuse(place, f"line {bad[0][0]} is no SSH public key; the others were taken", outcome)
    else:
        place.unlink()


def _take_network(place: Path, data: Path, outcome: Outcome) -> None:
    for file in sorted(place.iterdir()):
        if file.name.endswith(".rejected"):
            continue
        try:
            text = _read(file).replace(b"\r\n", b"\n")
            if file.name == "wifi.conf":
                _place(text, data / "network/wifi/wpa_supplicant-wlan0.conf", 0o600)
            elif file.suffix not in _NETWORK_SUFFIXES:
                raise ValueError("is none of *.network, *.netdev, *.link and wifi.conf")
            elif not re.search(rb"^\[Match\]|^\[NetDev\]", text, re.MULTILINE):
                raise ValueError("has no [Match] section; see systemd.network(5)")
            else:
                _place(text, data / "network" / file.name, 0o644)
        except (OSError, ValueError) as error:
            _refuse(file, str(error), outcome)
        else:
            file.unlink()
            outcome.taken.append(f"network/{file.name}")
    with contextlib.suppress(OSError):
        place.rmdir()


def _take_station(place: Path, data: Path, outcome: Outcome) -> None:
    """Judged in a folder as it would be in use: with the secrets of before and those that come with it."""
    home = data / "portero"
    secrets = sorted(path for path in (place.parent / "secrets").glob("*") if path.is_file())
    with tempfile.TemporaryDirectory(dir=home, prefix=".provision-") as name:
        trial = Path(name)
        for file in home.iterdir():
            if file.is_file() and file.name != "station.toml":
                shutil.copyfile(file, trial / file.name)
        for file in secrets:
            _place(_read(file), trial / file.name, 0o640)
        _place(_read(place).replace(b"\r\n", b"\n"), trial / "station.toml", 0o640)
        problems = _problems(trial / "station.toml")
        if problems:
            raise ValueError("\n".join(problems))
    # Secrets first: the new file may name them, the old one does not mind them.
    for file in secrets:
        _place(_read(file), home / file.name, 0o640)
    _place(_read(place).replace(b"\r\n", b"\n"), home / "station.toml", 0o640)
    for file in (*secrets, place):
        file.unlink()
    with contextlib.suppress(OSError):
        (place.parent / "secrets").rmdir()
    outcome.taken.append("station.toml" + (f" with {len(secrets)} secrets" if secrets else ""))


def _take_lone_secrets(place: Path, data: Path, outcome: Outcome) -> None:
    for file in sorted(place.iterdir()):
        try:
            _place(_read(file), data / "portero" / file.name, 0o640)
            file.unlink()
        except (OSError, ValueError) as error:
            _refuse(file, str(error), outcome)
        else:
            outcome.taken.append(f"secrets/{file.name}")
    with contextlib.suppress(OSError):
        place.rmdir()


def _problems(file: Path) -> list[str]:
    """What is wrong with a station file; empty where nothing is. Warnings do not count."""
    from firmware.config import inspect

    config, problems = inspect(str(file))
    return [] if config is not None else [str(problem).replace(f"{file.parent}/", "") for problem in problems]


def _read(file: Path) -> bytes:
    if not file.is_file():
        raise ValueError("is no file")
    if file.stat().st_size > MOST_BYTES:
        raise ValueError(f"is larger than {MOST_BYTES} bytes")
    return file.read_bytes()


def _place(text: bytes, target: Path, mode: int) -> None:
    """Whole or not at all, and on the disk when this returns."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    if mode == 0o640:
        with contextlib.suppress(KeyError, PermissionError):
            os.chown(fresh, 0, grp.getgrnam("portero").gr_gid)
    fresh.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _refuse(file: Path, why: str, outcome: Outcome) -> None:
    outcome.refused += [f"{file.name}: {line}" for line in why.splitlines()]
    with contextlib.suppress(OSError):
        file.rename(file.with_name(file.name + ".rejected"))


@contextlib.contextmanager
def _mounted(partition: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/run", prefix="firmware-") as name:
        mount = ["/usr/bin/mount", "-t", "vfat", "-o", "umask=0077,sync", str(partition), name]
        subprocess.run(mount, check=True, timeout=30)  # noqa: S603  # our own words
        try:
            yield Path(name)
        finally:
            subprocess.run(["/usr/bin/umount", name], check=False, timeout=60)  # noqa: S603


def main() -> int:
    data = Path("/data")
    try:
        with _mounted(PARTITION) as boot:
            folder = boot / FOLDER
            outcome = take_over(folder, data) if folder.is_dir() else Outcome()
    except (OSError, subprocess.SubprocessError) as error:
        print(f"portero-provision: the partition firmware cannot be read: {error}", file=sys.stderr)
        return 1
    for line in outcome.lines:
        print(f"portero-provision: {line}")
    return 1 if outcome.refused else 0


if __name__ == "__main__":
    sys.exit(main())
