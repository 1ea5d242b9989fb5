"""The boards that come with the program: their files say the same thing."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import board

FOLDERS = sorted(file.parent for file in Path(board.__file__).parent.glob("*/board.toml"))
FILES = {
    "board.toml",
    "image.toml",
    "packages.toml",
    "config.txt",
    "cmdline.txt",
    "overlays",
    "asound.conf",
    "virtual.yaml",
    "udev.rules",
    "modules.conf",
}
PI = [folder for folder in FOLDERS if (folder / "config.txt").exists()]

I2S_OVERLAYS = ("door-i2s", "googlevoicehat-soundcard")

# What the overlays refer to, as both device trees of Debian's kernel have it.
BASE = """
/dts-v1/;
/ {
  soc {
    #address-cells = <1>; #size-cells = <1>;
    dma: dma@1 { reg = <1 1>; #dma-cells = <1>; };
    gpio: gpio@2 { reg = <2 1>; pcm_gpio18: pcm-gpio18 { brcm,pins = <18 19 20 21>; }; };
    i2s: i2s@3 { reg = <3 1>; status = "disabled"; };
  };
};
"""


def by_name(folder: Path) -> str:
    return folder.name


def settings(folder: Path) -> list[tuple[str, str]]:
    """(key, value) of each line of config.txt."""
    lines = (folder / "config.txt").read_text().splitlines()
    return [tuple(line.split("=", 1)) for line in lines if "=" in line and not line.startswith("#")]  # type: ignore[misc]


@pytest.mark.parametrize("folder", FOLDERS, ids=by_name)
def test_every_board_is_in_order_and_has_no_file_that_nothing_reads(folder: Path) -> None:
    loaded = board.load(folder.name)
    assert loaded.name == folder.name
    assert board.load_outputs(folder.name) == board.Outputs(loaded.gpio, loaded.outputs, loaded.inputs, "")
    assert {path.name for path in folder.iterdir() if path.name != "__pycache__"} <= FILES


@pytest.mark.parametrize("folder", PI, ids=by_name)
def test_the_boot_loader_switches_the_relays_off_and_pulls_the_inputs(folder: Path) -> None:
    loaded = board.load(folder.name)
    early: dict[int, str] = {}
    for key, value in settings(folder):
        if key == "gpio":
            lines, how = value.split("=")
            early |= dict.fromkeys(map(int, lines.split(",")), how)
    wanted = {output.line: "op,dh" if output.active_low else "op,dl" for output in loaded.outputs.values()}
    wanted |= {
        line.line: {"up": "ip,pu", "down": "ip,pd", "none": "ip,pn"}[line.pull] for line in loaded.inputs.values()
    }
    assert early == wanted


@pytest.mark.parametrize("folder", PI, ids=by_name)
def test_what_the_boot_loader_uses_is_reserved(folder: Path) -> None:
    reserved = {each.name for each in board.load(folder.name).reserved}
    config = settings(folder)
    assert ("uart" in reserved) == (("enable_uart", "1") in config)
    assert ("i2s" in reserved) == any(("dtoverlay", name) in config for name in I2S_OVERLAYS)


@pytest.mark.parametrize("folder", FOLDERS, ids=by_name)
def test_the_pcms_of_the_board_stand_in_its_asound_conf(folder: Path) -> None:
    loaded = board.load(folder.name)
    names = {loaded.audio.capture_pcm, loaded.audio.playback_pcm} - {""}
    assert names <= set(re.findall(r"^pcm\.(\w+)", loaded.beside("asound.conf"), re.MULTILINE))


@pytest.mark.parametrize("folder", FOLDERS, ids=by_name)
def test_the_kernels_command_line_is_one_line(folder: Path) -> None:
    assert len(board.load(folder.name).beside("cmdline.txt").splitlines()) <= 1


def test_on_raspberry_pis_kernel_a_line_goes_back_to_its_pull_when_the_lock_is_killed() -> None:
    loaded = board.load("rpi-raspios")
    assert "pinctrl_bcm2835.persist_gpio_outputs=n" in loaded.beside("cmdline.txt").split()
    assert ("dtparam", "strict_gpiod") in settings(loaded.file.parent)


def test_both_boards_for_a_pi_are_wired_alike() -> None:
    debian, raspios = board.load("rpi-debian"), board.load("rpi-raspios")
    assert board.places(debian) == board.places(raspios)
    assert debian.reserved == raspios.reserved


def test_the_rigs_camera_has_the_boards_size_and_rate() -> None:
    loaded = board.load("qemu-virt")
    assert loaded.camera is not None
    virtual = loaded.beside("virtual.yaml")
    assert f"width: {loaded.camera.width}\n" in virtual
    assert f"height: {loaded.camera.height}\n" in virtual
    assert f"- {loaded.camera.fps}\n" in virtual


@pytest.mark.skipif(not shutil.which("fdtoverlay"), reason="device-tree-compiler is not installed")
@pytest.mark.parametrize(
    "source", sorted(Path(board.__file__).parent.glob("*/overlays/*.dts")), ids=lambda file: file.stem
)
def test_an_overlay_compiles_and_fits_the_kernels_device_tree(source: Path, tmp_path: Path) -> None:
    def run(*command: object) -> str:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
        return done.stdout

    base, overlay, both = tmp_path / "base.dtb", tmp_path / "overlay.dtbo", tmp_path / "both.dtb"
    (tmp_path / "base.dts").write_text(BASE)
    run("dtc", "-@", "-I", "dts", "-O", "dtb", "-o", base, tmp_path / "base.dts")
    run("dtc", "-@", "-I", "dts", "-O", "dtb", "-o", overlay, source)
    run("fdtoverlay", "-i", base, "-o", both, overlay)
    assert run("fdtget", both, "/soc/i2s@3", "status") == "okay\n"
    assert run("fdtget", both, "/door-sound", "simple-audio-card,name") == "door\n"
