"""Python packages for the device, made and unpacked on the host: nothing of it runs under emulation.

Wheels of the index are unpacked as they are; our own is built from the files of this checkout; what has no wheel is
compiled here for the device.
"""

import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

from imaging.debian import unpack
from imaging.locking import Lock
from imaging.shell import ImageError, run

COMPILER = "aarch64-linux-gnu-gcc"
TAG = "cpython-313-aarch64-linux-gnu"
# Of no use at a door; numpy's alone are 20 MB.
LEFT_OUT = ("/tests/", "/_pyinstaller/", "/f2py/", "/include/", "numpy/testing/", "numpy/random/lib/")
LEFT_OUT_SUFFIXES = (".pyi", ".pyx", ".pxd", ".a", ".h", ".c", ".cpp")


def lay_in(lock: Lock, pool: Path, repository: Path, epoch: int, scratch: Path, site: Path) -> None:
    """Everything that the firmware imports, below `site`."""
    for wheel in lock.wheels_of("root"):
        _unpack_wheel(pool / wheel.file, site)
    for source in lock.wheels_of("source"):
        if source.name != "pyalsaaudio":
            raise ImageError(f"{source.name}: no wheel for the device, and no way known here to compile it")
        _compile_alsaaudio(lock, pool, pool / source.file, scratch, site)
    _unpack_wheel(own_wheel(pool, repository, epoch, scratch), site)
    for file in site.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)


def own_wheel(pool: Path, repository: Path, epoch: int, scratch: Path) -> Path:
    """From a copy of what git knows of here: nothing that lies about gets in, and no older build."""
    copy, out = scratch / "checkout", scratch / "own"
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=repository).split("\0")
    for name in names:
        file = repository / name
        if name and file.is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy / name)
    command = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--find-links", pool)
    environment = {"SOURCE_DATE_EPOCH": str(epoch), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(pool)}
    run(*command, "--wheel-dir", out, copy, env=environment)
    (wheel,) = out.glob("*.whl")
    return wheel


def _unpack_wheel(wheel: Path, site: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if any(part in f"/{name}" for part in LEFT_OUT) or name.endswith(LEFT_OUT_SUFFIXES):
                continue
            if ".data/" in name.split("/", 1)[0] + "/":
                continue  # scripts and headers
            archive.extract(name, site)


def _compile_alsaaudio(lock: Lock, pool: Path, source: Path, scratch: Path, site: Path) -> None:
    headers = scratch / "headers"
    for package in lock.of_group("build"):
        unpack(pool / package.file, headers)
    program = scratch / "alsaaudio.c"
    with tarfile.open(source) as archive:
        member = archive.extractfile(f"{source.name.removesuffix('.tar.gz')}/{program.name}")
        if member is None:
            raise ImageError(f"{source}: has no {program.name}")
        program.write_bytes(member.read())
    include = headers / "usr/include"
    site.mkdir(parents=True, exist_ok=True)
    run(
        COMPILER, "-shared", "-fPIC", "-O2", "-g0", "-Wl,--build-id=none", f"-ffile-prefix-map={scratch}=.",
        "-I", include / "python3.13", "-I", include, "-o", site / f"alsaaudio.{TAG}.so", "alsaaudio.c",
        "-L", headers / "usr/lib/aarch64-linux-gnu", "-lasound", cwd=scratch,
    )  # fmt: skip
