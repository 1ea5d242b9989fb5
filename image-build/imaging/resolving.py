"""Makes the lock: asks Debian's archive and the Python package index what packages.toml comes to today.

apt works in a folder of its own, for the image's suite and architecture; nothing of the host's packages counts.
"""

import email
import hashlib
import os
import re
import sys
import time
import tomllib
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

from imaging.locking import Lock, Package, Wheel
from imaging.shell import ImageError, run

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_URI = re.compile(r"^'(?P<url>[^']+)' (?P<file>\S+) (?P<size>\d+) (?P<hash>\S*)$", re.MULTILINE)


def resolve(wanted: dict[str, Any], pyproject: Path, folder: Path, pool: Path) -> Lock:
    """The lock of today. `folder` is scratch; wheels are downloaded into `pool`."""
    environment = {"APT_CONFIG": str(_apt_root(wanted, folder))}
    run("apt-get", "update", env=environment)
    found: dict[str, tuple[Package, set[str]]] = {}
    for group in ("root", "boot", "build"):
        names = list(wanted[group]["packages"])
        if group == "root":
            names = [*_essential(environment), *names]
        exact = group != "root"  # what is only unpacked needs nothing that it depends on
        for package in _locked(names, exact, environment, folder):
            found.setdefault(package.sha256, (package, set()))[1].add(group)
    packages = (
        Package(one.name, one.version, one.size, one.sha256, one.url, tuple(sorted(groups)))
        for one, groups in found.values()
    )
    wheels = _wheels(wanted["wheels"], pyproject, folder, pool)
    return Lock(int(time.time()), tuple(sorted(packages, key=lambda one: one.name)), tuple(wheels))


def _apt_root(wanted: dict[str, Any], folder: Path) -> Path:
    for name in ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/apt/lists/partial", "var/lib/dpkg"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "var/cache/apt/archives/partial").mkdir(parents=True, exist_ok=True)
    (folder / "var/lib/dpkg/status").touch()
    sources = []
    for archive in wanted["archives"]:
        keyring = KEYRING if "debian.org/" in archive[0] else _keyring(archive[0], wanted.get("key"), folder)
        sources.append(f"deb [signed-by={keyring}] {' '.join(archive)}\n")
    (folder / "etc/apt/sources.list").write_text("".join(sources))
    configuration = folder / "apt.conf"
    architecture = wanted["architecture"]
    configuration.write_text(
        f'Dir "{folder}";\nDir::State::status "{folder}/var/lib/dpkg/status";\n'
        f'APT::Architecture "{architecture}";\nAPT::Architectures "{architecture}";\n'
        'APT::Install-Recommends "false";\nAcquire::Languages "none";\nAPT::Sandbox::User "root";\n'
    )
    return configuration


def _keyring(archive: str, key: dict[str, str] | None, folder: Path) -> Path:
    """The one key, by its fingerprint, out of the archive's own keyring package."""
    if key is None:
        raise ImageError(f"{archive}: no [key] beside it in packages.toml says who signs it")
    package, unpacked, keyring = folder / "keyring.deb", folder / "keyring", folder / "archive.gpg"
    url = f"{archive}/{key['package']}"
    if not url.startswith("https:"):
        raise ImageError(f"{archive}: its key would come unprotected; write https")
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310  # https, as said
            package.write_bytes(answer.read())
    except OSError as error:
        raise ImageError(f"{url}: {error}; this image is locked where that archive can be reached") from error
    run("dpkg-deb", "--extract", package, unpacked)
    home = folder / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ("gpg", "--batch", "--quiet", "--homedir", home)
    for file in sorted(unpacked.rglob("*.[gp][pg][gp]")):
        run(*gpg, "--import", file)
    run(*gpg, "--output", keyring, "--export", key["fingerprint"])
    if not keyring.exists():
        raise ImageError(f"{url}: holds no key {key['fingerprint']}")
    return keyring


def _essential(environment: dict[str, str]) -> list[str]:
    text = run("apt-cache", "dumpavail", env=environment)
    return re.findall(r"^Package: (\S+)\n(?:\S.*\n| .*\n)*?Essential: yes$", text, re.MULTILINE)


def _locked(names: list[str], exact: bool, environment: dict[str, str], folder: Path) -> list[Package]:
    if exact:
        text = "".join(run("apt-get", "download", "--print-uris", *names, env=environment, cwd=folder))
    else:
        text = run("apt-get", "install", "-qq", "--print-uris", "--yes", *names, env=environment)
    packages = []
    for match in _URI.finditer(text):
        name, version, _ = match["file"].rsplit("_", 2)
        details = run("apt-cache", "show", f"{name}={version.replace('%3a', ':')}", env=environment)
        sha256 = re.search(r"^SHA256: ([0-9a-f]{64})$", details, re.MULTILINE)
        if sha256 is None:
            raise ImageError(f"{name}: the archive gives no SHA-256 of it")
        packages.append(Package(name, version.replace("%3a", ":"), int(match["size"]), sha256[1], match["url"], ()))
    return packages


def _wheels(wanted: dict[str, Any], pyproject: Path, folder: Path, pool: Path) -> list[Wheel]:
    from_source = set(wanted["from_source"])
    requirements: list[str] = []
    sources: list[str] = []
    for text in tomllib.loads(pyproject.read_text())["project"]["dependencies"]:
        # The image's Python is the newest that we run on: what is asked for below an older one is not for it.
        requirement, _, marker = (part.strip() for part in text.partition(";"))
        if marker and not marker.startswith("python_version >="):
            continue
        (sources if re.split(r"[<>=~! ]", requirement)[0] in from_source else requirements).append(requirement)
    target = ["--only-binary=:all:", "--python-version", wanted["python"], "--implementation", "cp"]
    abi = "cp" + wanted["python"].replace(".", "")
    for platform in wanted["platforms"]:
        target += ["--platform", platform]
    for name in (abi, "abi3", "none"):
        target += ["--abi", name]
    wheels: list[Wheel] = []
    for group, words in (
        ("root", [*target, *requirements]),
        ("root", [*target, "--no-deps", *wanted["without_dependencies"]]),
        ("host", ["--no-deps", "--only-binary=:all:", *wanted["host"]]),
        ("source", ["--no-deps", "--no-binary=:all:", *sources]),
    ):
        place = folder / f"wheels-{len(wheels)}"
        run(sys.executable, "-m", "pip", "download", "--quiet", "--dest", place, *words)
        for file in sorted(place.iterdir()):
            name, version = _name_of(file)
            if group == "root" and name in wanted["never_imported"]:
                continue
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            wheels.append(Wheel(name, version, file.name, digest, group))
            pool.mkdir(parents=True, exist_ok=True)
            run("cp", file, pool / file.name)
            os.unlink(file)
    return sorted(wheels, key=lambda one: (one.group, one.name))


def _name_of(file: Path) -> tuple[str, str]:
    if file.suffix != ".whl":
        name, _, version = file.name.removesuffix(".tar.gz").rpartition("-")
        return name, version
    with zipfile.ZipFile(file) as archive:
        member = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(member))
    return str(metadata["Name"]).lower(), str(metadata["Version"])
