"""What of a board is no single device's: the machine, its watchdog, modules, boot settings, files in place."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from drivers.findings import Finding

# Where the system looks for a board's file: as laid by hand, or by an image that serves several boards.
PLACES = {
    "asound.conf": ("etc/asound.conf",),
    "virtual.yaml": ("usr/share/libcamera/pipeline/virtual/virtual.yaml",),
    "udev.rules": ("etc/udev/rules.d/60-portero.rules", "run/udev/rules.d/60-portero.rules"),
    "modules.conf": ("etc/modules-load.d/portero.conf", "run/modules-load.d/portero.conf"),
}
# The BCM2835's counter has 20 bits of 1/65536 s; above, the driver counts on, the chip does not.
_PI_WATCHDOG, _WATCHDOG_MOST_S = "bcm2835_wdt", 15


def check_machine(wanted: Iterable[str], compatible: Iterable[str]) -> Iterator[Finding]:
    """`wanted`: device trees that the board knows; empty: any machine will do."""
    wanted, compatible = list(wanted), sorted(compatible)
    if not wanted:
        return
    if fitting := [each for each in compatible if each in wanted]:
        yield Finding("chips", f"this machine is {fitting[0]}")
        return
    what = compatible[0] if compatible else "no machine with a device tree"
    yield Finding("chips", f"this is {what}; the board is for {', '.join(wanted)}", "choose another board")


def check_watchdog(module: str, root: Path = Path("/")) -> Iterator[Finding]:
    """Of the kernel module `module`; empty: the board has none."""
    if not module:
        return
    where = "watchdog.module"
    for folder in sorted((root / "sys/class/watchdog").glob("watchdog*")):
        driver = folder / "device/driver/module"
        if (driver.resolve().name if driver.exists() else "") not in (module, ""):
            continue
        name = f"/dev/{folder.name} ({_text(folder / 'identity')})"
        if _text(folder / "state") != "active":
            yield Finding(
                where,
                f"{name} is not fed, so it guards nothing",
                "RuntimeWatchdogSec=14s in /etc/systemd/system.conf",
            )
        elif module == _PI_WATCHDOG and _number(folder / "timeout") > _WATCHDOG_MOST_S:
            yield Finding(
                where,
                f"{name} is set to {_number(folder / 'timeout')} s, which a Raspberry Pi's cannot count",
                f"RuntimeWatchdogSec=14s, at most {_WATCHDOG_MOST_S}s",
            )
        else:
            yield Finding(where, f"{name} resets the machine after {_number(folder / 'timeout')} s")
        return
    yield Finding(where, "there is no hardware watchdog", f"modprobe {module}; dmesg says why it is not there")


def check_release(root: Path = Path("/")) -> Iterator[Finding]:
    """What a Raspberry Pi's lines do when the process that drives them is killed."""
    parameter = root / "sys/module/pinctrl_bcm2835/parameters/persist_gpio_outputs"
    if not parameter.exists():
        return
    if _text(parameter) == "Y":
        yield Finding(
            "outputs",
            "a killed lock process leaves its relays as they are",
            "dtparam=strict_gpiod in config.txt, or pinctrl_bcm2835.persist_gpio_outputs=n for the kernel",
        )
    else:
        yield Finding("outputs", "a killed lock process leaves its relays to their pull resistors: off")


def check_modules(text: str, root: Path = Path("/")) -> Iterator[Finding]:
    """`text` is the board's modules.conf."""
    for line in text.splitlines():
        module = line.strip()
        if not module or module.startswith("#"):
            continue
        if not (root / "sys/module" / module.replace("-", "_")).exists():
            yield Finding("modules.conf", f"the kernel module {module} is not loaded", f"modprobe {module}")


def check_command_line(text: str, root: Path = Path("/")) -> Iterator[Finding]:
    """`text` is the board's cmdline.txt: each of its words has to stand in the running kernel's."""
    running = _text(root / "proc/cmdline").split()
    if missing := [word for word in text.split() if word not in running]:
        yield Finding(
            "cmdline.txt",
            f"the kernel was booted without {' '.join(missing)}",
            "add it to the kernel's command line and boot anew",
        )
    elif text.strip():
        yield Finding("cmdline.txt", "the kernel was booted with all of it")


def check_boot_settings(text: str, firmware: Path = Path("/boot/firmware")) -> Iterator[Finding]:
    """`text` is the board's config.txt, `firmware` where the boot loader's partition is mounted, if it is."""
    file = firmware / "config.txt"
    if not text or not file.exists():
        return
    there = set(_settings(file.read_text(errors="replace")))
    if missing := [line for line in _settings(text) if line not in there]:
        yield Finding("config.txt", f"{file} does not have {', '.join(missing)}", f"add it to {file} and boot anew")
    else:
        yield Finding("config.txt", f"{file} has all of it")


def check_files(files: Mapping[str, str], root: Path = Path("/")) -> Iterator[Finding]:
    """`files`: a board's files with their text, those that have a place on the device."""
    for name, text in files.items():
        if not text:
            continue
        places = [root / place for place in PLACES[name]]
        place = next((place for place in places if place.is_file()), places[0])
        if not place.is_file():
            yield Finding(name, f"{place} is missing", f"copy the board's {name} there and boot anew")
        elif place.read_text(errors="replace") != text:
            yield Finding(
                name, f"{place} is not the board's {name}", f"copy the board's {name} there and boot anew"
            )
        else:
            yield Finding(name, f"{place} is in place")


def _settings(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(("#", "["))]


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(file: Path) -> int:
    text = _text(file)
    return int(text) if text.isdecimal() else 0
