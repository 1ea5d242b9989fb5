"""Debian's part of the root, as a tar: mmdebstrap on exactly the locked packages.

Maintainer scripts run under emulation, which is where an image's time goes. What comes out depends on the lock and
the initramfs files alone, so it is kept beside the pool.
"""

import hashlib
import lzma
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imaging.locking import Lock
from imaging.shell import ImageError, run

INITRAMFS = ("etc/initramfs-tools", "usr/share/initramfs-tools")  # of our files: what the kernel package packs
KEEP_BASES = 2
AR_MAGIC, AR_HEADER = b"!<arch>\n", 60


def base(lock: Lock, wanted: dict[str, Any], source: Path, pool: Path, scratch: Path, *, keep: bool = True) -> Path:
    """A tar of Debian's part. `keep`: take it from the pool where it is, and leave it there."""
    command = make_command(lock, wanted, source / "root")
    kept = kept_base(lock, wanted, source, pool)
    if keep and kept.exists():
        kept.touch()
        return kept
    repository = scratch / "repository"
    _make_repository(lock, wanted, pool, repository)
    made = (pool if keep else scratch) / f".{kept.stem}.{os.getpid()}.tar"
    # Mounts of its own, so that none is left over however it ends.
    command = ["unshare", "--mount", "--fork", "--kill-child", *command, wanted["suite"], str(made)]
    command.append(f"deb [trusted=yes] copy:{repository} {wanted['suite']} main")
    try:
        run(*command, env={"SOURCE_DATE_EPOCH": str(lock.epoch), "TMPDIR": str(scratch)})
        if not keep:
            return made
        made.replace(kept)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(repository, ignore_errors=True)
    for old in sorted(pool.glob("base-*.tar"), key=lambda file: file.stat().st_mtime)[:-KEEP_BASES]:
        old.unlink()
    return kept


def kept_base(lock: Lock, wanted: dict[str, Any], source: Path, pool: Path) -> Path:
    """Where the tar is kept that these make."""
    overlay = source / "root"
    inputs = make_command(lock, wanted, overlay)
    inputs += [str(lock.epoch), *(package.sha256 for package in lock.of_group("root"))]
    inputs += [digest(overlay / path) for path in INITRAMFS]
    name = hashlib.sha256("\n".join(inputs).replace(str(overlay), "").encode()).hexdigest()[:16]
    return pool / f"base-{name}.tar"


def make_command(lock: Lock, wanted: dict[str, Any], overlay: Path) -> list[str]:
    # Modes, and not times: those of a checkout would get into the initramfs.
    copy = "cp --recursive --no-dereference --preserve=mode"
    hooks = [f'mkdir -p "$1/{path}" && {copy} "{overlay / path}/." "$1/{path}/"' for path in INITRAMFS]
    # Key files that are there keep the package from making some, slowly and for everybody the same.
    keys = " ".join(f'"$1/etc/ssh/ssh_host_{kind}_key"' for kind in ("rsa", "ecdsa", "ed25519"))
    hooks.append(f'mkdir -p "$1/etc/ssh" && touch {keys}')
    return [
        "mmdebstrap",
        "--mode=root",
        "--variant=essential",
        "--format=tar",
        "--dpkgopt=force-unsafe-io",
        f"--architectures={wanted['architecture']}",
        "--include=" + ",".join(package.name for package in lock.of_group("root")),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _excluded(wanted)),
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        *(f"--essential-hook={hook}" for hook in hooks),
    ]


def unpack(package: Path, to: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    run("dpkg-deb", "--extract", package, to)


def digest(*paths: Path) -> str:
    """Of names, modes and contents below these."""
    whole = hashlib.sha256()
    for path in paths:
        for file in sorted([path, *path.rglob("*")]):
            if file.is_file() and "__pycache__" not in file.parts:
                whole.update(f"{file.relative_to(path)} {file.stat().st_mode & 0o111}\n".encode())
                whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()


def _excluded(wanted: dict[str, Any]) -> Iterator[str]:
    for name in ("man", "doc", "info", "locale", "lintian", "bash-completion", "i18n"):
        yield f"/usr/share/{name}/*"
    yield "/usr/lib/udev/hwdb.d/*"  # names of all the world's hardware, indexed for a minute
    for name in wanted["root"]["leave_out_modules"]:
        yield f"/usr/lib/modules/*/kernel/{name}/*"


def _make_repository(lock: Lock, wanted: dict[str, Any], pool: Path, repository: Path) -> None:
    """An archive of exactly the locked packages. Its Release file is what mmdebstrap knows the suite by."""
    suite, architecture = wanted["suite"], wanted["architecture"]
    lists = repository / "dists" / suite / "main" / f"binary-{architecture}"
    lists.mkdir(parents=True)
    (repository / "pool").mkdir()
    for package in lock.of_group("root"):
        _inflate(pool / package.file, repository / "pool" / package.file)
    (lists / "Packages").write_text(run("apt-ftparchive", "packages", "pool", cwd=repository))
    fields = {"Suite": suite, "Codename": suite, "Components": "main", "Architectures": architecture}
    words = [word for name, value in fields.items() for word in ("-o", f"APT::FTPArchive::Release::{name}={value}")]
    release = run("apt-ftparchive", *words, "release", f"dists/{suite}", cwd=repository)
    (repository / "dists" / suite / "Release").write_text(release)


def _inflate(file: Path, to: Path) -> None:
    """The same package without compression: undone here in a moment, under emulation in minutes."""
    data = file.read_bytes()
    if not data.startswith(AR_MAGIC):
        raise ImageError(f"{file}: not a Debian package; delete it and build again")
    with to.open("wb") as made:
        made.write(AR_MAGIC)
        at = len(AR_MAGIC)
        while at < len(data):
            header = data[at : at + AR_HEADER]
            size = int(header[48:58])
            name, content = header[:16].rstrip(b" /"), data[at + AR_HEADER : at + AR_HEADER + size]
            if name.endswith(b".tar.xz"):
                name, content = name.removesuffix(b".xz"), lzma.decompress(content)
            made.write(name.ljust(16) + header[16:48] + str(len(content)).encode().ljust(10) + header[58:])
            made.write(content + b"\n" * (len(content) % 2))
            at += AR_HEADER + size + size % 2
