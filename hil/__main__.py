"""`make hil`: checks what a rig needs, has the image built where there is none, runs the tests, leaves a report.

A virtual rig that cannot be had here (no root, no QEMU, no image) is skipped, aloud and with the reason, and the
exit status is 0: a machine that cannot run it must not look like a device that failed. `--minutes` is for a check
of every change on a shared machine: see hil/shared.py.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
RIGS = Path(__file__).parent / "rigs"
UBOOT = Path("/usr/lib/u-boot/qemu_arm64/u-boot.bin")
PROGRAMS = ("qemu-system-aarch64", "mcopy", "sfdisk", "ip", "unshare", "dnsmasq", "kamailio", "baresip", "ssh")
DISK_NEEDED = 6 << 30
LEAST_MINUTES = 15  # for the image, a boot and a call
POOL_LACKS = 3  # image-build/build.py
REPORTS = ROOT / "build" / "hil"


def main() -> int:
    begun_s = time.monotonic()
    arguments = _arguments()
    rig = rig_file(arguments.rig)
    if not rig.exists():
        known = ", ".join(sorted(file.stem for file in RIGS.glob("*.yaml")))
        print(f"hil: {rig}: no such rig; known are {known}, or the path of a file", file=sys.stderr)
        return 2
    virtual = is_virtual(rig)
    if virtual and (missing := why_not(os.geteuid())):
        return _skipped(arguments.rig, missing)
    if arguments.minutes is not None and arguments.minutes < LEAST_MINUTES:
        return _skipped(arguments.rig, [f"{arguments.minutes} minutes are left, and it needs {LEAST_MINUTES}"])
    image = Path(arguments.image).resolve() if arguments.image else ROOT / "build/image/qemu-virt/disk.img"
    if virtual and not image.exists():
        if arguments.image:
            print(f"hil: {image}: no such image", file=sys.stderr)
            return 2
        if problem := _build(image, from_pool=arguments.minutes is not None):
            return problem if isinstance(problem, int) else _skipped(arguments.rig, [problem])
    options = ["--full"] if arguments.full else []
    if arguments.minutes is not None:
        options.append(f"--minutes={arguments.minutes - (time.monotonic() - begun_s) / 60:.1f}")
    return _run(rig, image if virtual else None, [*options, *arguments.pytest])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m hil", description="Drive a whole device from outside.")
    parser.add_argument("--rig", default="qemu-virt", help="a file of hil/rigs without .yaml, or a path")
    parser.add_argument("--image", default=os.environ.get("IMAGE"), help="a disk.img in place of build/image's")
    parser.add_argument("--full", action="store_true", help="the relay's cases twenty times each")
    parser.add_argument(
        "--minutes", type=float, help="begin no test later; the image from what the pool has, or not at all"
    )
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, after --")
    return parser.parse_args()


def rig_file(name: str) -> Path:
    return Path(name).resolve() if name.endswith(".yaml") else RIGS / f"{name}.yaml"


class _Loader(yaml.SafeLoader):
    """labgrid's YAML, whose templates are labgrid's to fill."""


_Loader.add_constructor("!template", lambda loader, node: loader.construct_scalar(node))


def rig_data(rig: Path) -> dict:  # type: ignore[type-arg]
    return yaml.load(rig.read_text(), _Loader)


def is_virtual(rig: Path) -> bool:
    """Whether its device is a QEMU, in a network of its own."""
    return rig_data(rig)["options"]["network"] == "tap"


def why_not(user: int) -> list[str]:
    """What a virtual rig lacks on this machine."""
    missing = []
    if user != 0:
        missing.append("it needs root for a network of its own (sudo make hil)")
    missing += [f"{name} is not installed (tools/setup hil)" for name in PROGRAMS if shutil.which(name) is None]
    if not UBOOT.exists():
        missing.append(f"{UBOOT} is not there (tools/setup hil installs u-boot-qemu)")
    if not Path("/dev/net/tun").exists():
        missing.append("/dev/net/tun is not there: the kernel lets no virtual network card be made")
    if shutil.disk_usage(tempfile.gettempdir()).free < DISK_NEEDED:
        missing.append(f"{tempfile.gettempdir()} has less than {DISK_NEEDED >> 30} GB free")
    return missing


def _build(image: Path, *, from_pool: bool) -> int | str:
    """0 where the image is there now; a reason why it cannot be built here; or the status of a failed build."""
    if not (ROOT / "image-build").exists():
        return f"{image} is not there, and nothing here builds it"
    print(f"hil: {image} is not there: make image BOARD=qemu-virt", flush=True)
    if not from_pool:
        return subprocess.run(["make", "image", "BOARD=qemu-virt"], cwd=ROOT, check=False).returncode
    command = [sys.executable, "image-build/build.py", "--board", "qemu-virt", "--from-pool"]
    built = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    if built.returncode == POOL_LACKS:
        return built.stderr.strip()
    print(built.stderr, end="", file=sys.stderr, flush=True)
    return built.returncode


def _skipped(rig: str, reasons: list[str]) -> int:
    for reason in reasons:
        print(f"hil: SKIPPED, RIG={rig}: {reason}", flush=True)
    return 0


def _run(rig: Path, image: Path | None, arguments: list[str]) -> int:
    shutil.rmtree(REPORTS, ignore_errors=True)
    REPORTS.mkdir(parents=True)
    # Not below build/: names of Unix sockets are at most 107 bytes long.
    run = Path(tempfile.mkdtemp(prefix="portero-hil-"))
    # The image's own loader, where it brings one: what was built together is tried together.
    own = image.with_name("u-boot.bin") if image else UBOOT
    environment = {
        **os.environ,
        "LG_HIL_RUN": str(run),
        "LG_HIL_UBOOT": str(own if own.exists() else UBOOT),
        "HIL_IMAGE": str(image or ""),
    }
    command = [sys.executable, "-m", "pytest", str(ROOT / "hil/tests"), "-v", "-ra", "--no-fold-skipped"]
    command += ["--lg-env", str(rig)]
    command += [f"--html={REPORTS / 'report.html'}", "--self-contained-html", f"--junitxml={REPORTS / 'junit.xml'}"]
    command += ["-p", "no:xdist", *arguments]
    try:
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    finally:
        if (run / "console.log").exists():
            shutil.copy(run / "console.log", REPORTS / "console.log")
        shutil.rmtree(run, ignore_errors=True)
        print(f"hil: the report is {REPORTS / 'report.html'}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
