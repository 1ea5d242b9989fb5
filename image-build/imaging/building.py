"""An image from beginning to end: everything is made in a scratch folder beside its place, and moved when whole."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imaging import boards, debian, disk, locking, pool, python, sbom
from imaging.boards import BoardImage
from imaging.locking import Lock
from imaging.root import SITE, Root, finish
from imaging.shell import ImageError, run

NEED_BYTES = 6 << 30
LONG = 30  # zstd's window, in bits: slot B costs nothing when A is within it


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for. `twice`: root and boot images are made again from nothing, and have to be the same.
    `from_pool`: PoolLacks rather than fetch something or make Debian's part."""

    repository: Path
    board: str
    pool: Path
    out: Path
    wanted: dict[str, Any]
    lock_file: Path
    twice: bool = False
    from_pool: bool = False


def build(order: Order, say: Callable[[str], None]) -> None:
    """build/image/<board>/ as docs/image.md describes it. ImageError, and nothing left behind, where it fails."""
    begun = time.monotonic()
    board = boards.read(order.repository / "board", order.board)
    lock = locking.read(order.lock_file)
    _check_host(order.out)
    order.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        _only_one(order.out, stack)
        if order.from_pool:
            _check_pool(order, lock)
        pool.fill(lock, order.pool, say)
        scratch = Path(tempfile.mkdtemp(dir=order.out, prefix=".work-"))
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        epoch = _commit_time(order.repository)
        for package in lock.of_group("boot"):
            debian.unpack(order.pool / package.file, scratch / "boot-packages")
        root, boot = _make_root(order, lock, epoch, scratch, say, keep=True)
        if order.twice:
            say("again, from nothing")
            again, boot_again = _make_root(order, lock, epoch, scratch, say, keep=False)
            _compare({root.squashfs: again.squashfs, boot: boot_again})
            say("root and boot images are the same, byte by byte")
            shutil.rmtree(again.folder)
        done = scratch / "done"
        done.mkdir()
        firmware = _firmware(order, board, lock, epoch, scratch)
        image = disk.make_disk(board, root, boot, firmware, epoch, _folder(scratch / "disk"))
        say("compressing")
        run("zstd", "-q", "-T0", "-9", f"--long={LONG}", image, "-o", done / "disk.img.zst")
        image.rename(done / "disk.img")
        for file in ("root.squashfs", "vmlinuz", "initrd.img"):
            (root.folder / file).rename(done / file)
        if board.loader == "qemu":
            shutil.copyfile(scratch / "boot-packages/usr/lib/u-boot/qemu_arm64/u-boot.bin", done / "u-boot.bin")
        _describe(order, board, lock, root, done, time.monotonic() - begun)
        _replace(done, order.out / board.name)
    sizes = {
        name: (order.out / board.name / name).stat().st_size / 1e6 for name in ("disk.img.zst", "root.squashfs")
    }
    packages = sum(1 for _ in lock.of_group("root"))
    say(
        f"{order.out / board.name}: {sizes['disk.img.zst']:.0f} MB compressed, {root.installed_bytes / 1e6:.0f} MB "
        f"installed, {packages} packages, {time.monotonic() - begun:.0f} s"
    )


def _check_pool(order: Order, lock: Lock) -> None:
    remedy = f"make image BOARD={order.board} fills it"
    if lacks := pool.missing(lock, order.pool):
        raise pool.PoolLacks(f"{order.pool} lacks {len(lacks)} files, {lacks[0]} the first: {remedy}")
    kept = debian.kept_base(lock, order.wanted, order.repository / "image-build", order.pool)
    if not kept.exists():
        raise pool.PoolLacks(f"{order.pool} lacks Debian's part ({kept.name}): {remedy}")


def _make_root(
    order: Order, lock: Lock, epoch: int, scratch: Path, say: Callable[[str], None], *, keep: bool
) -> tuple[Root, Path]:
    source = order.repository / "image-build"
    work = _folder(scratch / ("root" if keep else "again"))
    temporary = _folder(work / "temporary")
    begun = time.monotonic()
    base = debian.base(lock, order.wanted, source, order.pool, temporary, keep=keep)
    say(f"Debian's part: {time.monotonic() - begun:.0f} s")
    begun = time.monotonic()

    def lay_in(root: Path) -> None:
        python.lay_in(lock, order.pool, order.repository, epoch, temporary, root / SITE)
        _lay_in_radio(scratch / "boot-packages", root)
        _lay_in_authorities(scratch / "boot-packages", root)

    root = finish(base, lay_in, source, order.repository / "board", epoch, temporary, work)
    shutil.rmtree(temporary)
    boot = disk.make_slot(root, epoch, work)
    say(f"our part: {time.monotonic() - begun:.0f} s")
    return root, boot


def _lay_in_radio(unpacked: Path, root: Path) -> None:
    """What the radio chips of the Pis load: 2 MB of a package of 20."""
    for chip in ("43430", "43436", "43455", "43456"):
        for file in sorted((unpacked / "usr/lib/firmware").glob(f"*/*fmac{chip}*")):
            target = root / file.relative_to(unpacked)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target, follow_symlinks=False)


def _lay_in_authorities(unpacked: Path, root: Path) -> None:
    """The certificate authorities, as one file where OpenSSL looks for one."""
    certificates = sorted((unpacked / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_text("".join(file.read_text() for file in certificates))


def _firmware(order: Order, board: BoardImage, lock: Lock, epoch: int, scratch: Path) -> dict[str, Path]:
    """The partition that the board's own loader reads."""
    unpacked, made = scratch / "boot-packages", _folder(scratch / "firmware")
    script = made / "boot.scr"
    run(
        "mkimage", "-A", "arm64", "-T", "script", "-C", "none", "-n", "portero", "-d",
        order.repository / "image-build/boot.cmd", script, env={"SOURCE_DATE_EPOCH": str(epoch)},
    )  # fmt: skip
    (made / "board.env").write_text(f"board={board.name}\ncmdline={board.cmdline}\n")
    (made / "README.txt").write_text(PROVISIONING)
    files = {"boot.scr": script, "board.env": made / "board.env", "provision/README.txt": made / "README.txt"}
    if board.loader == "rpi":
        files |= _raspberry(order, board, lock, unpacked, made)
    return files


def _raspberry(order: Order, board: BoardImage, lock: Lock, unpacked: Path, made: Path) -> dict[str, Path]:
    """Raspberry Pi's loader with its configuration, U-Boot, and the kernel's device trees."""
    files = {"config.txt": made / "config.txt", "u-boot.bin": unpacked / "usr/lib/u-boot/rpi_arm64/u-boot.bin"}
    shutil.copyfile(board.folder / "config.txt", made / "config.txt")
    loaders = unpacked / "usr/lib/raspi-firmware"
    for pattern in ("bootcode.bin", "start.elf", "start4.elf", "fixup.dat", "fixup4.dat", "LICENCE.broadcom"):
        for file in loaders.glob(pattern):
            files[file.name] = file
    (kernel,) = (package for package in lock.of_group("root") if package.name.startswith("linux-image-6"))
    debian.unpack(order.pool / kernel.file, made / "kernel")
    files |= _device_trees(made / "kernel")
    for overlay in sorted((board.folder / "overlays").glob("*.dts")):
        compiled = made / f"{overlay.stem}.dtbo"
        run("dtc", "-@", "-I", "dts", "-O", "dtb", "-o", compiled, overlay)
        files[f"overlays/{compiled.name}"] = compiled
    missing = [name for name in ("bootcode.bin", "start.elf", "start4.elf") if name not in files]
    if missing:
        raise ImageError(f"the package raspi-firmware has no {missing[0]}")
    _check_overlays(board.folder / "config.txt", files)
    return files


def _device_trees(kernel: Path) -> dict[str, Path]:
    """Those of an unpacked kernel's package; with overlays where it has some, as Raspberry Pi's has."""
    (place,) = kernel.glob("usr/lib/linux-image-*")
    files = {tree.name: tree for tree in sorted(place.glob("broadcom/bcm2*-rpi-*.dtb"))}
    return files | {f"overlays/{file.name}": file for file in sorted(place.glob("overlays/*.dtb*"))}


def _check_overlays(config: Path, files: dict[str, Path]) -> None:
    """The loader says nothing of an overlay that it does not find."""
    for number, line in enumerate(config.read_text().splitlines(), 1):
        key, _, value = line.partition("=")
        name = value.partition(",")[0].strip()
        if key.strip() == "dtoverlay" and name and f"overlays/{name}.dtbo" not in files:
            raise ImageError(f"{config}: line {number}: no overlay {name}, of the kernel nor of the board")


def _describe(order: Order, board: BoardImage, lock: Lock, root: Root, done: Path, seconds: float) -> None:
    from_git = ("rev-parse", "HEAD")
    commit = run("git", *from_git, cwd=order.repository).strip()
    dirty = bool(run("git", "status", "--porcelain", cwd=order.repository).strip())
    version = _version(order.repository)
    (done / "sbom.cdx.json").write_text(sbom.bill(lock, board.name, version, commit))
    values: dict[str, Any] = {
        "board": board.name,
        "version": version,
        "commit": commit + ("+" if dirty else ""),
        "kernel": root.kernel,
        "lock_sha256": lock.digest,
        "packages": sum(1 for _ in lock.of_group("root")),
        "python_packages": sum(1 for wheel in lock.wheels if wheel.group in ("root", "source")),
        "installed_bytes": root.installed_bytes,
        "build_s": round(seconds),
    }
    files = {file.name: file for file in sorted(done.iterdir())}
    (done / "manifest.json").write_text(sbom.manifest(values, files))


def _check_host(out: Path) -> None:
    if os.geteuid() != 0:
        raise ImageError("needs root, for the users and rights of files in the image; try sudo make image BOARD=…")
    free = shutil.disk_usage(next(path for path in (out, *out.parents) if path.exists())).free
    if free < NEED_BYTES:
        raise ImageError(
            f"{out}: {free / 1e9:.1f} GB free, {NEED_BYTES / 1e9:.1f} GB needed; make room, or use --out"
        )
    if not _runs_arm64():
        raise ImageError("the kernel does not run arm64 programs through qemu-user; run tools/setup image")


def _runs_arm64() -> bool:
    return os.uname().machine == "aarch64" or Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists()


def _only_one(out: Path, stack: ExitStack) -> None:
    lock = stack.enter_context((out / ".lock").open("w"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ImageError(f"{out}: another image is being built there") from error
    for old in out.glob(".work-*"):  # of a build that was killed
        shutil.rmtree(old, ignore_errors=True)


def _compare(pairs: dict[Path, Path]) -> None:
    for one, other in pairs.items():
        if run("sha256sum", one).split()[0] != run("sha256sum", other).split()[0]:
            raise ImageError(f"{one.name}: built twice, and not the same; compare with diffoscope")


def _replace(done: Path, place: Path) -> None:
    old = place.with_name(f".old-{place.name}")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    done.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _commit_time(repository: Path) -> int:
    return int(run("git", "log", "-1", "--format=%ct", cwd=repository))


def _version(repository: Path) -> str:
    for line in (repository / "firmware/__init__.py").read_text().splitlines():
        if line.startswith("__version__"):
            return line.split('"')[1]
    raise ImageError("firmware/__init__.py has no __version__")


PROVISIONING = """\
What is put here is taken over at the next start, once:\r
\r
  station.toml       the configuration\r
  secrets/           files that it names\r
  authorized_keys    SSH public keys of who may log in as root\r
  network/           *.network files of systemd, wifi.conf of wpa_supplicant\r
\r
Afterwards result.txt tells what became of it.\r
"""
