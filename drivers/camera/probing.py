"""Whether the board's camera can be had: there, able to send the form, size and rate, and nobody else's.

V4L2's ioctls and structures are those of <linux/videodev2.h>, native integers. Nothing is set and no picture taken,
so a station that runs is not disturbed.
"""

import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from drivers.access import User
from drivers.access import check as check_access
from drivers.camera.base import CameraError
from drivers.camera.v4l2 import present
from drivers.findings import Finding

Ioctl = Callable[[int, int, bytearray], object]

OURS = "portero"
QUERYCAP, ENUM_FMT, ENUM_FRAMESIZES, ENUM_FRAMEINTERVALS = 0x80685600, 0xC0405602, 0xC02C564A, 0xC034564B
_CAPTURE, _STREAMING, _DISCRETE = 1, 0x04000000, 1
_FORMS = {"auto": (b"MJPG", b"YUYV"), "mjpeg": (b"MJPG",), "yuyv": (b"YUYV",), "h264": (b"H264",)}
_MOST = 256  # entries of one list: a driver that never ends it is not believed
_WHERE = "camera.device"


def check_v4l2(
    device: str,
    form: str,
    size: tuple[int, int],
    fps: int,
    user: User,
    *,
    ioctl: Ioctl = fcntl.ioctl,
    processes: Path = Path("/proc"),
) -> Iterator[Finding]:
    path = Path(device)
    if not path.exists():
        remedy = "plug it in, write the name of one that is there, or install the board's udev.rules"
        yield Finding(_WHERE, f"{device} is missing; {present()}", remedy)
        return
    yield from check_access("camera", path, user)
    try:
        node = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        yield Finding(_WHERE, f"{device}: {error.strerror}", "run this as root")
        return
    try:
        yield from _able(device, node, form, size, fps, ioctl)
    except OSError as error:
        yield Finding(_WHERE, f"{device} is no V4L2 device ({error.strerror})", f"write another; {present()}")
    finally:
        os.close(node)
    for holder in holders(path, processes) - {OURS}:
        yield Finding(_WHERE, f"{holder} has {device} open", f"end {holder}")


def _able(device: str, node: int, form: str, size: tuple[int, int], fps: int, ioctl: Ioctl) -> Iterator[Finding]:
    asked = bytearray(104)
    ioctl(node, QUERYCAP, asked)
    name = bytes(asked[16:48]).rstrip(b"\0").decode(errors="replace")
    if not struct.unpack_from("=I", asked, 88)[0] & _CAPTURE:
        yield Finding(
            _WHERE, f"{device} ({name}) gives no pictures", f"write the node of it that does; {present()}"
        )
        return
    there = _formats(node, ioctl)
    for wanted in _FORMS[form]:
        if wanted not in there:
            continue
        rates = _rates(node, wanted, size, ioctl)
        if rates is None:
            remedy = f"write a size of these: {_sizes(node, wanted, ioctl)}"
            yield Finding("camera.width", f"{name} does not send {wanted.decode()} of {size[0]}x{size[1]}", remedy)
        elif rates and not any(abs(rate - fps) < 0.5 for rate in rates):
            list_ = ", ".join(f"{rate:g}" for rate in sorted(rates))
            yield Finding("camera.fps", f"{name} does not send {fps} pictures a second", f"write one of {list_}")
        else:
            yield Finding(
                _WHERE, f"{name} sends {wanted.decode()} of {size[0]}x{size[1]} at {fps} pictures a second"
            )
        return
    able = [name for name, codes in _FORMS.items() if name != "auto" and codes[0] in there]
    remedy = f"write {_list(able)}" if able else "another camera: this one has no form that the station reads"
    yield Finding("camera.form", f"{name} does not send {_list([code.decode() for code in _FORMS[form]])}", remedy)


def _list(words: list[str]) -> str:
    return " or ".join(words)


def _formats(node: int, ioctl: Ioctl) -> list[bytes]:
    return [bytes(entry[44:48]) for entry in _entries(node, ENUM_FMT, bytearray(64), ioctl, type=_CAPTURE)]


def _sizes(node: int, form: bytes, ioctl: Ioctl) -> str:
    seed = bytearray(44)
    seed[4:8] = form
    sizes = [struct.unpack_from("=3I", entry, 8) for entry in _entries(node, ENUM_FRAMESIZES, seed, ioctl)]
    return ", ".join(f"{width}x{height}" for kind, width, height in sizes if kind == _DISCRETE) or "others"


def _rates(node: int, form: bytes, size: tuple[int, int], ioctl: Ioctl) -> list[float] | None:
    """Pictures a second at this size; empty where any will do; None where it does not have the size."""
    seed = bytearray(52)
    seed[4:8] = form
    struct.pack_into("=2I", seed, 8, *size)
    rates: list[float] = []
    some = False
    for entry in _entries(node, ENUM_FRAMEINTERVALS, seed, ioctl):
        some = True
        kind, numerator, denominator = struct.unpack_from("=3I", entry, 16)
        if kind != _DISCRETE:
            return []
        if numerator:
            rates.append(denominator / numerator)
    return rates if some else None


def _entries(node: int, request: int, seed: bytearray, ioctl: Ioctl, *, type: int = 0) -> Iterator[bytearray]:
    for index in range(_MOST):
        entry = bytearray(seed)
        struct.pack_into("=I", entry, 0, index)
        if type:
            struct.pack_into("=I", entry, 4, type)
        try:
            ioctl(node, request, entry)
        except OSError:
            return  # EINVAL ends the list
        yield entry


def holders(node: Path, processes: Path = Path("/proc")) -> set[str]:
    """The programs that have it open, as far as this user may see."""
    wanted = os.path.realpath(node)
    found = set()
    for descriptor in processes.glob("[0-9]*/fd/*"):
        try:
            if os.readlink(descriptor) == wanted and int(descriptor.parts[-3]) != os.getpid():
                found.add((descriptor.parents[1] / "comm").read_text().strip())
        except (OSError, ValueError):
            continue  # gone meanwhile
    return found


# --- libcamera -------------------------------------------------------------------------------------------------


def check_picamera2(
    which: str,
    user: User,
    *,
    find: Callable[[str], str] | None = None,
    has_encoder: Callable[[], bool] | None = None,
    root: Path = Path("/"),
) -> Iterator[Finding]:
    if find is None or has_encoder is None:
        from drivers.camera import picamera2  # with its package: 1 s

        find, has_encoder = find or picamera2.find, has_encoder or picamera2.has_encoder
    heaps = [
        node for node in sorted((root / "dev/dma_heap").glob("*")) if "cma" in node.name or "vidbuf" in node.name
    ]
    buffers = heaps or [node for node in (root / "dev/udmabuf",) if node.exists()]
    if buffers:
        yield Finding("camera", f"buffers come from {buffers[0]}")
        yield from check_access("camera", buffers[0], user)
    else:
        remedy = "boot a kernel that has one: Debian's has /dev/udmabuf, Raspberry Pi's /dev/dma_heap"
        yield Finding("camera", "there is neither /dev/dma_heap nor /dev/udmabuf to have buffers from", remedy)
    for node in sorted((root / "dev").glob("media*")):
        yield from check_access("camera", node, user)
    try:
        name = find(which)
    except CameraError as error:
        yield Finding("camera", str(error), "see docs/cameras.md, and v4l2-ctl --list-devices for what there is")
        return
    except Exception as error:  # noqa: BLE001 — libcamera's Python raises what it likes
        yield Finding("camera", f"libcamera: {error}", "see the journal; another program may have the camera")
        return
    how = "the board's encoder" if has_encoder() else "the processor"
    yield Finding("camera", f"{name}; H.264 by {how}")
