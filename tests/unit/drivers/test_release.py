"""The release of a killed lock's lines: what it asks of the kernel, and that it needs nothing loaded for it."""

import fcntl
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from drivers.gpio import release

SCRIPT = release.__file__


@pytest.mark.parametrize(("active_low", "flags"), [(False, 0b1000), (True, 0b1010)])
def test_the_request_is_the_kernels_struct(active_low: bool, flags: int) -> None:
    """Sizes and offsets as the C compiler gives them for linux/gpio.h on 64-bit machines."""
    asked = release.request(17, active_low=active_low)
    assert len(asked) == 592
    assert struct.unpack_from("=I", asked) == (17,)
    assert asked[256:288].rstrip(b"\0") == release.CONSUMER
    assert struct.unpack_from("=QI", asked, 288) == (flags, 0)  # no attributes
    assert struct.unpack_from("=II", asked, 560) == (1, 0)
    assert struct.unpack_from("=i", asked, 588) == (-1,)


def test_every_line_is_asked_for_whatever_becomes_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chip = tmp_path / "gpiochip0"
    chip.touch()
    asked: list[tuple[int, bytes]] = []

    def ioctl(fd: int, number: int, data: bytearray) -> int:
        if data[0] == 3:
            raise OSError(16, "Device or resource busy")
        asked.append((number, bytes(data)))
        struct.pack_into("=i", data, 588, os.open(os.devnull, os.O_RDONLY))
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    file = tmp_path / "lines"
    file.write_text(f"{chip} 3 0 gate\n{tmp_path}/gone 4 0 lamp\nnot a line\n{chip} 4 1 relay 1\n")
    before = len(os.listdir("/proc/self/fd"))
    assert release.release(str(file)) == 1
    assert len(os.listdir("/proc/self/fd")) == before
    assert asked == [(0xC250B407, bytes(release.request(4, active_low=True)))]
    told = capsys.readouterr()
    assert told.out == "portero-door: released relay 1\n"
    assert [line.split(": ")[2] for line in told.err.splitlines()] == [
        f"{chip} 3 0 gate",
        f"{tmp_path}/gone 4 0 lamp",
        "not a line",
    ]


def test_without_the_file_there_was_nothing_to_release_and_it_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", SCRIPT, str(tmp_path / "lines")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "No such file or directory" in done.stderr


def test_no_more_is_loaded_than_python_needs_to_begin(tmp_path: Path) -> None:
    (tmp_path / "lines").touch()
    run = [sys.executable, "-I", "-S", "-X", "importtime", SCRIPT, str(tmp_path / "lines")]
    bare = [sys.executable, "-I", "-S", "-X", "importtime", "-c", "pass"]
    more = imports(run) - imports(bare)
    of_os = {"os", "stat", "_stat", "posixpath", "genericpath", "_collections_abc"}
    assert more <= {"fcntl", "struct", "_struct", *of_os}, more


def imports(command: list[str]) -> set[str]:
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return {line.split("|")[-1].strip() for line in told.splitlines()}
