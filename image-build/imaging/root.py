"""The root file system, one for all boards of an architecture: Debian's packages, then what is ours.

Debian's part comes as a tar (debian.py). Here what is ours goes on top, for every build.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imaging.shell import ImageError, run

SITE = "usr/lib/portero"
SERVICES = (
    "systemd-networkd.service", "systemd-resolved.service", "systemd-timesyncd.service", "nftables.service",
    "ssh.service", "portero.service", "portero-door.service", "portero-provision.service",
    "portero-firewall.service", "portero-firewall.path", "portero-hostkeys.service", "portero-started.service",
)  # fmt: skip
# Nobody logs in with a password, so there is no prompt for one; nothing here waits for a network.
# What a device without seats, screens and other people's programs has no use for, and a slow processor pays at
# each start: sessions, kernel file systems for debugging, credentials and network settings of a hypervisor.
MASKED = (
    "getty@.service", "serial-getty@.service", "autovt@.service", "systemd-networkd-wait-online.service",
    "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "dpkg-db-backup.timer", "ldconfig.service",
    "systemd-update-done.service", "systemd-journal-catalog-update.service", "systemd-firstboot.service",
    "systemd-machine-id-commit.service", "systemd-remount-fs.service", "systemd-pcrphase.service",
    "systemd-logind.service", "user@.service", "user-runtime-dir@.service", "modprobe@.service",
    "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount",
    "sys-fs-fuse-connections.mount", "dev-hugepages.mount", "dev-mqueue.mount",
    "proc-sys-fs-binfmt_misc.automount", "systemd-binfmt.service",
    "systemd-pstore.service", "systemd-udev-load-credentials.service", "systemd-network-generator.service",
    "systemd-networkd-persistent-storage.service", "systemd-hwdb-update.service",
    "wpa_supplicant.service",  # the one without an interface; each has its own
)  # fmt: skip
# Systemd's, each a program run at each start for what is not here; "ssh" makes sockets that nobody asked for.
GENERATORS_LEFT_OUT = (
    "debug", "getty", "gpt-auto", "hibernate-resume", "rc-local", "run", "ssh", "system-update", "sysv", "tpm2",
)  # fmt: skip
# Needed to make the root, not to run it.
LEFT_BEHIND = (
    "boot", "vmlinuz", "vmlinuz.old", "initrd.img", "initrd.img.old", "var", "usr/share/man", "usr/share/info",
    "usr/share/locale", "usr/share/lintian", "usr/share/bash-completion", "usr/share/initramfs-tools",
    "etc/initramfs-tools", "etc/apt", "etc/ssh/ssh_host_*", "usr/share/i18n", "usr/lib/aarch64-linux-gnu/gconv",
)  # fmt: skip
EMPTY_FOLDERS = ("data", "boot", "var")
LINKS = {
    "etc/resolv.conf": "/run/systemd/resolve/stub-resolv.conf",
    "etc/systemd/network": "/data/network",
    "etc/wpa_supplicant": "/data/network/wifi",
    "etc/asound.conf": "/run/portero-board/asound.conf",
    "usr/share/libcamera/pipeline/virtual/virtual.yaml": "/run/portero-board/virtual.yaml",
    "etc/mtab": "../proc/self/mounts",
    "etc/localtime": "/usr/share/zoneinfo/Etc/UTC",
}


@dataclass(frozen=True, slots=True)
class Root:
    """What a board's image takes: files in `folder`, and what is in them."""

    folder: Path
    installed_bytes: int
    kernel: str

    @property
    def squashfs(self) -> Path:
        return self.folder / "root.squashfs"

    @property
    def vmlinuz(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.img"


def finish(
    base_tar: Path, lay_in: Callable[[Path], None], source: Path, boards: Path, epoch: int, scratch: Path, to: Path
) -> Root:
    """Our part on top of `base_tar`, as a squashfs in `to`. `lay_in` puts into it what comes from elsewhere."""
    root = scratch / "root"
    root.mkdir()
    try:
        run(
            "tar", "--extract", "--numeric-owner", "--preserve-permissions", "--file", base_tar, "--directory", root
        )
        _keep_kernel(root, to)
        _lay_over(source / "root", root)
        site = root / SITE
        lay_in(root)
        shutil.copytree(source / "ondevice", site / "ondevice", ignore=shutil.ignore_patterns("__pycache__"))
        for board in sorted(boards.iterdir()):
            if board.is_dir() and not board.name.startswith("_"):
                shutil.copytree(board, site / "board" / board.name, dirs_exist_ok=True)
        (root / "usr/lib/python3/dist-packages/portero.pth").write_text(f"/{SITE}\n")
        _configure(root, epoch)
        _tidy(root)
        run("chown", "-R", "0:0", root / SITE)
        installed = sum(
            file.lstat().st_size for file in root.rglob("*") if file.is_file() and not file.is_symlink()
        )
        _clamp_times(root, epoch)
        # Level 15 makes it a sixteenth smaller, in ten times the time.
        run(
            "mksquashfs", root, to / "root.squashfs", "-comp", "zstd", "-Xcompression-level", "9", "-b", "256K",
            "-noappend", "-no-progress", "-no-exports", "-no-xattrs", "-quiet",
            env={"SOURCE_DATE_EPOCH": str(epoch)},
        )  # fmt: skip
        (kernel,) = (path.name for path in (root / "usr/lib/modules").iterdir())
        return Root(to, installed, kernel)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _lay_over(overlay: Path, root: Path) -> None:
    """Files with the rights that git knows, whatever the umask of this checkout was."""
    for file in sorted(overlay.rglob("*")):
        target = root / file.relative_to(overlay)
        if file.is_dir():
            target.mkdir(exist_ok=True)
        else:
            shutil.copyfile(file, target)
            target.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)


def _keep_kernel(root: Path, to: Path) -> None:
    for pattern, name in (("vmlinuz-*", "vmlinuz"), ("initrd.img-*", "initrd.img")):
        found = list((root / "boot").glob(pattern))
        if len(found) != 1:
            raise ImageError(f"the kernel package left {len(found)} files boot/{pattern}; one is needed")
        shutil.copyfile(found[0], to / name)


def _configure(root: Path, epoch: int) -> None:
    """What the device's own programs do best: users, services, byte code."""
    environment = {"SOURCE_DATE_EPOCH": str(epoch), "PATH": "/usr/sbin:/usr/bin", "PYTHONHASHSEED": "0"}
    run("chroot", root, "systemd-sysusers", env=environment)
    run("chroot", root, "systemctl", "--quiet", "enable", *SERVICES, env=environment)
    run("chroot", root, "systemctl", "--quiet", "mask", *MASKED, env=environment)
    # By hash, unchecked: the root never changes, and its time stamps are not those of the sources.
    run(
        "chroot", root, "python3", "-m", "compileall", "-q", "-j", "2", "--invalidation-mode", "unchecked-hash",
        f"/{SITE}", env=environment,
    )  # fmt: skip


def _tidy(root: Path) -> None:
    for pattern in LEFT_BEHIND:
        for path in list(root.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    for name in EMPTY_FOLDERS:
        (root / name).mkdir(exist_ok=True)
    generators = {
        f"etc/systemd/system-generators/systemd-{name}-generator": "/dev/null" for name in GENERATORS_LEFT_OUT
    }
    for name, target in (LINKS | generators).items():
        link = root / name
        if link.is_dir() and not link.is_symlink():
            shutil.rmtree(link)
        link.unlink(missing_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    (root / "etc/machine-id").write_text("")
    for name in ("etc/.pwd.lock", "etc/passwd-", "etc/shadow-", "etc/group-", "etc/gshadow-", "etc/.updated"):
        (root / name).unlink(missing_ok=True)


def _clamp_times(root: Path, epoch: int) -> None:
    for path in [root, *root.rglob("*")]:
        if path.lstat().st_mtime > epoch:
            os.utime(path, (epoch, epoch), follow_symlinks=False)
