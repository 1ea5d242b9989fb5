"""The pool: every file that the lock names, fetched once, checked at each build.

A warm pool needs no network. Debian's archive drops a version when the next one comes, so a pool is worth keeping
as long as the lock that it belongs to.
"""

import contextlib
import hashlib
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from imaging.locking import RELOCK, Lock, Package, Wheel
from imaging.shell import ImageError, run

AT_ONCE = 6
PATIENCE_S = 60


class PoolLacks(ImageError):
    """Something would have to be fetched or made anew, and that was not wanted."""


def default() -> Path:
    """$PORTERO_POOL, else ~/.cache/portero/pool."""
    return Path(os.environ.get("PORTERO_POOL") or Path.home() / ".cache/portero/pool")


def missing(lock: Lock, pool: Path) -> list[str]:
    """Files of the lock that the pool does not have."""
    files: Sequence[Package | Wheel] = (*lock.packages, *lock.wheels)
    return [one.file for one in files if not (pool / one.file).exists()]


def fill(lock: Lock, pool: Path, say: Callable[[str], None]) -> None:
    """Fetch what is missing, and check all. ImageError names the first file that is not what it was."""
    pool.mkdir(parents=True, exist_ok=True)
    missing = [package for package in lock.packages if not (pool / package.file).exists()]
    if missing:
        say(f"fetching {len(missing)} packages, {sum(one.size for one in missing) / 1e6:.0f} MB")
        with ThreadPoolExecutor(AT_ONCE) as workers:
            for _ in workers.map(lambda package: _fetch(package, pool), missing):
                pass
    wheels = [wheel for wheel in lock.wheels if not (pool / wheel.file).exists()]
    if wheels:
        say(f"fetching {len(wheels)} Python packages")
        for wheel in wheels:
            _fetch_wheel(wheel, pool)
    check(lock, pool)


def check(lock: Lock, pool: Path) -> None:
    """ImageError where a file is missing or altered."""
    files: Sequence[Package | Wheel] = (*lock.packages, *lock.wheels)
    with ThreadPoolExecutor(2) as workers:
        digests = workers.map(lambda one: _sha256(pool / one.file), files)
        for one, digest in zip(files, digests, strict=True):
            if digest is None:
                raise ImageError(f"{pool / one.file}: missing from the pool")
            if digest != one.sha256:
                raise ImageError(
                    f"{pool / one.file}: altered: SHA-256 {digest[:12]}…, locked {one.sha256[:12]}…; delete it and "
                    f"build again, or relock with {RELOCK}"
                )


def _fetch(package: Package, pool: Path) -> None:
    target = pool / package.file
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        request = urllib.request.urlopen(package.url, timeout=PATIENCE_S)  # noqa: S310  # of the lock
        with request as answer, fresh.open("wb") as file:
            while piece := answer.read(1 << 20):
                file.write(piece)
        if _sha256(fresh) != package.sha256:
            raise ImageError(
                f"{package.name} {package.version}: {package.url} is not the file that was locked; relock with "
                f"{RELOCK}"
            )
        fresh.replace(target)
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise ImageError(f"{package.url}: {error}; try again later") from error
        raise ImageError(
            f"{package.name} {package.version}: the archive no longer has it; relock with {RELOCK}, or fill "
            f"{pool} from where this lock was built"
        ) from error
    except OSError as error:
        raise ImageError(f"{package.url}: {error}; is there a network? {pool} lacks this package") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()


def _fetch_wheel(wheel: Wheel, pool: Path) -> None:
    """Through pip, which knows where the index is; the hash is checked with all others."""
    kind = "--no-binary=:all:" if wheel.group == "source" else "--only-binary=:all:"
    words = ["--no-deps", kind, "--dest", str(pool), f"{wheel.name}=={wheel.version}"]
    if wheel.group == "root":
        _, _, python, abi, platform = wheel.file.removesuffix(".whl").rsplit("-", 4)
        words += ["--python-version", "3.13", "--implementation", "cp" if python.startswith("cp") else "py"]
        for name in abi.split("."):
            words += ["--abi", name]
        for name in platform.split("."):
            words += ["--platform", name]
    run(sys.executable, "-m", "pip", "download", "--quiet", *words)
    if not (pool / wheel.file).exists():
        raise ImageError(f"{wheel.file}: the index no longer has it; relock with {RELOCK}")


def _sha256(file: Path) -> str | None:
    digest = hashlib.sha256()
    try:
        with file.open("rb") as opened:
            while piece := opened.read(1 << 20):
                digest.update(piece)
    except FileNotFoundError:
        return None
    return digest.hexdigest()
