"""What drivers find on a device, over files and structures as the kernel lays them out."""

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from drivers import access, machine
from drivers.access import User
from drivers.audio import probing as audio
from drivers.camera import probing as camera
from drivers.camera.base import CameraError
from drivers.findings import Finding
from drivers.gpio import probing as gpio
from tests.support.fake_pcm import FakeCard, FakePcm

ROOT = User("root", 0, frozenset((0,)))
NOBODY = User("nobody", 65_534, frozenset((65_534,)))


def wrong(findings: Iterable[Finding]) -> list[str]:
    return [f"{each.where}: {each.what} -> {each.remedy}" for each in findings if not each.well]


def put(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


# --- lines -----------------------------------------------------------------------------------------------------


@dataclass
class Info:
    label: str = ""
    num_lines: int = 8
    used: bool = False
    consumer: str = ""


class Chip:
    """As gpiod.Chip: its lines' consumers by line."""

    closed = 0

    def __init__(self, label: str, consumers: dict[int, str]) -> None:
        self._label = label
        self._consumers = consumers

    def get_info(self) -> Info:
        return Info(self._label)

    def get_line_info(self, line: int) -> Info:
        return Info(used=line in self._consumers, consumer=self._consumers.get(line, ""))

    def close(self) -> None:
        Chip.closed += 1


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    for number in (0, 1):
        put(tmp_path / f"gpiochip{number}", "")
    return tmp_path


def lines(devices: Path, *wanted: tuple[str, int], user: User = ROOT) -> list[Finding]:
    chips = {"gpiochip0": Chip("pl061", {3: "gpio-keys", 4: "portero-door", 5: ""}), "gpiochip1": Chip("rp1", {})}
    names = [gpio.Wanted(f"outputs.relay{line}", chip, line, user) for chip, line in wanted]
    return list(gpio.check(names, devices, lambda path: chips[path.name]))


def test_a_line_is_free_or_ours_or_somebodys(devices: Path) -> None:
    found = lines(devices, ("pl061", 1), ("pl061", 4), ("pl061", 3), ("pl061", 5))
    assert [each.what for each in found] == [
        'line 1 of "pl061" is free',
        'line 4 of "pl061" is held by portero-door, as it should be',
        'line 3 of "pl061" is taken by "gpio-keys"',
        'line 5 of "pl061" is taken by "an unnamed user"',
    ]
    assert [each.well for each in found] == [True, True, False, False]


def test_a_line_that_the_chip_does_not_have_is_told(devices: Path) -> None:
    assert wrong(lines(devices, ("rp1", 8))) == [
        'outputs.relay8: there is no line 8 of "rp1" -> write one of 0 to 7'
    ]


def test_a_chip_that_is_not_there_is_answered_with_those_that_are(devices: Path) -> None:
    (told,) = wrong(lines(devices, ("mcp23017", 1)))
    assert told.startswith('outputs.relay1: there is no chip "mcp23017"; present: "pl061", "rp1" -> ')


def test_a_chip_that_may_not_be_opened_is_named(devices: Path) -> None:
    def refuse(path: Path) -> Chip:
        raise PermissionError(13, "Permission denied")

    (told,) = wrong(gpio.check([gpio.Wanted("outputs.relay1", "rp1", 1, ROOT)], devices, refuse))
    assert f"present: {devices}/gpiochip0 (Permission denied)" in told


def test_every_chip_is_closed_again(devices: Path) -> None:
    Chip.closed = 0
    lines(devices, ("pl061", 1), ("none", 1))
    assert Chip.closed == 2


def test_a_user_who_may_not_open_the_chip_is_told_once(devices: Path) -> None:
    (devices / "gpiochip0").chmod(0o600)
    (told,) = wrong(lines(devices, ("pl061", 1), ("pl061", 2), user=NOBODY))
    assert "user nobody may not use" in told
    assert "udev.rules" in told


# --- access ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "uid", "groups", "allowed"),
    [
        (0o600, 0, set[int](), True),
        (0o660, 1, {44}, True),
        (0o660, 1, {45}, False),
        (0o640, 1, {44}, False),
        (0o666, 1, set[int](), True),
        (0o600, 7, set[int](), True),
        (0o066, 7, set[int](), False),  # the owner's own bits count, as for the kernel
    ],
)
def test_access_is_judged_as_the_kernel_does(mode: int, uid: int, groups: set[int], allowed: bool) -> None:
    status = os.stat_result((mode, 0, 0, 1, 7, 44, 0, 0, 0, 0))
    assert User("x", uid, frozenset(groups)).may_use(status) is allowed


def test_a_service_has_the_groups_of_its_unit_too(tmp_path: Path) -> None:
    put(tmp_path / "nobody.service", "[Service]\nSupplementaryGroups=audio video\nSupplementaryGroups=tty\n")
    names = access.User.of_service("nobody", (tmp_path,)).groups
    import grp

    assert {grp.getgrnam(name).gr_gid for name in ("audio", "video", "tty")} <= names


def test_where_no_such_user_is_the_one_who_asks_is_judged() -> None:
    assert access.User.of_service("there-is-no-such-user") == access.User.current()


def test_a_device_with_a_group_of_its_own_is_answered_with_that_group(tmp_path: Path) -> None:
    import grp

    node = put(tmp_path / "node", "")
    group = grp.getgrnam("video")
    try:
        os.chown(node, -1, group.gr_gid)
    except PermissionError:
        pytest.skip("needs root: a file is given to another group")
    node.chmod(0o660)
    (told,) = wrong(access.check("camera", node, NOBODY))
    assert told.endswith("adduser nobody video, or SupplementaryGroups=video in its unit; then restart it")


# --- cameras ---------------------------------------------------------------------------------------------------


class UsbCamera:
    """Answers V4L2's ioctls: forms with sizes with rates."""

    def __init__(self, capabilities: int = 0x04000001, **forms: dict[tuple[int, int], list[int]]) -> None:
        self.capabilities = capabilities
        self.forms = {name.encode(): sizes for name, sizes in forms.items()}

    def __call__(self, node: int, request: int, data: bytearray) -> None:
        (index,) = struct.unpack_from("=I", data)
        match request:
            case camera.QUERYCAP:
                data[16:48] = b"Door cam".ljust(32, b"\0")
                struct.pack_into("=I", data, 88, self.capabilities)
            case camera.ENUM_FMT:
                data[44:48] = self._entry(list(self.forms), index)
            case camera.ENUM_FRAMESIZES:
                width, height = self._entry(list(self.forms[bytes(data[4:8])]), index)
                struct.pack_into("=3I", data, 8, 1, width, height)
            case camera.ENUM_FRAMEINTERVALS:
                size = struct.unpack_from("=2I", data, 8)
                rates = self.forms[bytes(data[4:8])].get(size, [])
                struct.pack_into("=3I", data, 16, 1, 1, self._entry(rates, index))

    @staticmethod
    def _entry(entries: list, index: int):  # type: ignore[no-untyped-def, type-arg]
        if index >= len(entries):
            raise OSError(22, "Invalid argument")
        return entries[index]


@pytest.fixture
def node(tmp_path: Path) -> Path:
    return put(tmp_path / "video0", "")


def usb(node: Path, ioctl: camera.Ioctl, form: str = "auto", fps: int = 15, user: User = ROOT) -> list[Finding]:
    return list(
        camera.check_v4l2(str(node), form, (640, 480), fps, user, ioctl=ioctl, processes=node.parent / "proc")
    )


def test_a_camera_that_sends_what_the_board_wants_is_named(node: Path) -> None:
    (found,) = usb(node, UsbCamera(MJPG={(640, 480): [30, 15]}))
    assert found == Finding("camera.device", "Door cam sends MJPG of 640x480 at 15 pictures a second")


@pytest.mark.parametrize(
    ("ioctl", "form", "told"),
    [
        (
            UsbCamera(YUYV={(640, 480): [15]}),
            "mjpeg",
            "camera.form: Door cam does not send MJPG -> write yuyv",
        ),
        (
            UsbCamera(GREY={(640, 480): [15]}),
            "auto",
            "camera.form: Door cam does not send MJPG or YUYV -> another camera: this one has no form that the "
            "station reads",
        ),
        (
            UsbCamera(MJPG={(320, 240): [15], (1280, 720): [15]}),
            "auto",
            "camera.width: Door cam does not send MJPG of 640x480 -> write a size of these: 320x240, 1280x720",
        ),
        (
            UsbCamera(MJPG={(640, 480): [30, 25]}),
            "auto",
            "camera.fps: Door cam does not send 15 pictures a second -> write one of 25, 30",
        ),
    ],
)
def test_a_camera_that_does_not_send_that_is_answered_with_what_it_does(
    node: Path, ioctl: UsbCamera, form: str, told: str
) -> None:
    assert wrong(usb(node, ioctl, form)) == [told]


def test_a_node_of_a_camera_that_gives_no_pictures_is_told(node: Path) -> None:
    (told,) = wrong(usb(node, UsbCamera(capabilities=0x00800000)))
    assert "(Door cam) gives no pictures" in told


def test_what_is_no_camera_is_told(node: Path) -> None:
    def no_terminal(*_: object) -> None:
        raise OSError(25, "Inappropriate ioctl for device")

    (told,) = wrong(usb(node, no_terminal))
    assert "is no V4L2 device" in told


def test_a_driver_whose_list_never_ends_is_left(node: Path) -> None:
    class Endless(UsbCamera):
        @staticmethod
        def _entry(entries: list, index: int):  # type: ignore[no-untyped-def, type-arg]
            return entries[index % len(entries)]

    assert wrong(usb(node, Endless(MJPG={(640, 480): [15]}))) == []


def test_a_camera_that_is_not_there_is_told(tmp_path: Path) -> None:
    (told,) = wrong(usb(tmp_path / "none", UsbCamera()))
    assert "none is missing" in told


def test_the_program_that_has_the_camera_is_named_unless_it_is_ours(node: Path) -> None:
    for pid, name in ((11, "portero"), (12, "cheese")):
        put(node.parent / f"proc/{pid}/comm", f"{name}\n")
        (node.parent / f"proc/{pid}/fd").mkdir()
        (node.parent / f"proc/{pid}/fd/7").symlink_to(node)
    (told,) = wrong(usb(node, UsbCamera(MJPG={(640, 480): [15]})))
    assert told == f"camera.device: cheese has {node} open -> end cheese"


def csi(root: Path, found: str | Exception, *, encodes: bool = False, user: User = ROOT) -> list[Finding]:
    def find(which: str) -> str:
        if isinstance(found, Exception):
            raise found
        return found

    return list(camera.check_picamera2("", user, find=find, has_encoder=lambda: encodes, root=root))


def test_a_libcamera_camera_says_who_encodes_and_where_buffers_come_from(tmp_path: Path) -> None:
    put(tmp_path / "dev/udmabuf", "")
    assert [each.what for each in csi(tmp_path, "imx708 at /base/soc")] == [
        f"buffers come from {tmp_path}/dev/udmabuf",
        "imx708 at /base/soc; H.264 by the processor",
    ]
    put(tmp_path / "dev/dma_heap/linux,cma", "")
    assert [each.what for each in csi(tmp_path, "imx708 at /base/soc", encodes=True)] == [
        f"buffers come from {tmp_path}/dev/dma_heap/linux,cma",
        "imx708 at /base/soc; H.264 by the board's encoder",
    ]


@pytest.mark.parametrize("error", [CameraError("libcamera finds no camera"), RuntimeError("libcamera is busy")])
def test_whatever_libcamera_raises_is_a_finding(tmp_path: Path, error: Exception) -> None:
    told = wrong(csi(tmp_path, error))
    assert len(told) == 2
    assert "neither /dev/dma_heap nor /dev/udmabuf" in told[0]
    assert str(error) in told[1]


def test_buffers_and_media_nodes_have_to_be_open_to_the_station(tmp_path: Path) -> None:
    for name in ("udmabuf", "media0"):
        put(tmp_path / "dev" / name, "").chmod(0o600)
    assert len(wrong(csi(tmp_path, "x", user=NOBODY))) == 2


# --- sound -----------------------------------------------------------------------------------------------------

CARDS = " 1 [door           ]: USB-Audio - USB Audio Device\n                      C-Media at usb-1.2\n"


def test_a_card_that_works_in_both_directions(tmp_path: Path) -> None:
    put(tmp_path / "proc/asound/cards", CARDS)
    found = list(audio.check("door", 16_000, ROOT, open_pcm=FakeCard().open_pcm, root=tmp_path))
    assert [each.what for each in found] == [
        'sound card "door" is there, its id is "door"',
        "capture works at 16000 Hz, periods of 320",
        "playback works at 16000 Hz, periods of 320",
    ]


def test_a_card_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    put(tmp_path / "proc/asound/cards", CARDS)
    (told,) = wrong(audio.check("wm8960", 16_000, ROOT, open_pcm=FakeCard().open_pcm, root=tmp_path))
    assert told.startswith('audio.card: there is no sound card "wm8960"; present: "door" (USB Audio Device) -> ')


def busy(*_: object) -> FakePcm:
    raise OSError(16, "Device or resource busy")


@pytest.mark.parametrize(
    ("owner", "told"), [("portero", ""), ("pulseaudio", "pulseaudio has it -> end pulseaudio")]
)
def test_who_has_the_card_is_named_and_the_station_may(tmp_path: Path, owner: str, told: str) -> None:
    for direction in "cp":
        put(tmp_path / f"proc/asound/card1/pcm0{direction}/sub0/status", "state: RUNNING\nowner_pid   : 99\n")
    put(tmp_path / "proc/99/comm", owner)
    found = list(audio.check("", 16_000, ROOT, capture_pcm="mic", playback_pcm="spk", open_pcm=busy, root=tmp_path))
    assert [line.endswith(told) for line in wrong(found)] == [True, True] if told else not wrong(found)
    assert all(owner in each.what for each in found)


def test_a_pcm_that_does_not_open_is_told_with_its_asound_conf(tmp_path: Path) -> None:
    told = wrong(audio.check("", 16_000, ROOT, capture_pcm="mic", playback_pcm="spk", open_pcm=busy, root=tmp_path))
    assert len(told) == 2
    assert all("/etc/asound.conf" in line for line in told)


def test_sound_devices_have_to_be_open_to_the_station(tmp_path: Path) -> None:
    put(tmp_path / "dev/snd/controlC1", "").chmod(0o600)
    put(tmp_path / "proc/asound/cards", CARDS)
    (told,) = wrong(audio.check("door", 16_000, NOBODY, open_pcm=FakeCard().open_pcm, root=tmp_path))
    assert "user nobody may not use" in told


# --- the machine -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "here", "told"),
    [
        ((), (), []),
        (("brcm,bcm2711",), ("raspberrypi,4-model-b", "brcm,bcm2711"), []),
        (
            ("brcm,bcm2711",),
            ("linux,dummy-virt",),
            ["chips: this is linux,dummy-virt; the board is for brcm,bcm2711 -> choose another board"],
        ),
    ],
)
def test_the_machine_is_one_the_board_is_for(
    wanted: tuple[str, ...], here: tuple[str, ...], told: list[str]
) -> None:
    assert wrong(machine.check_machine(wanted, here)) == told


def watchdog(root: Path, state: str, timeout_s: int, module: str = "i6300esb") -> list[str]:
    folder = root / "sys/class/watchdog/watchdog0"
    for name, text in (("state", state), ("timeout", str(timeout_s)), ("identity", "i6300ESB timer")):
        put(folder / name, f"{text}\n")
    return wrong(machine.check_watchdog(module, root))


def test_a_watchdog_is_there_and_fed_within_what_it_can_count(tmp_path: Path) -> None:
    assert "no hardware watchdog -> modprobe i6300esb" in wrong(machine.check_watchdog("i6300esb", tmp_path))[0]
    assert watchdog(tmp_path, "active", 14) == []
    assert "is not fed" in watchdog(tmp_path, "inactive", 14)[0]
    assert watchdog(tmp_path, "active", 60) == []
    assert "is set to 60 s, which a Raspberry Pi's" in watchdog(tmp_path, "active", 60, "bcm2835_wdt")[0]
    assert wrong(machine.check_watchdog("", tmp_path / "none")) == []


def test_another_watchdog_is_not_taken_for_the_boards(tmp_path: Path) -> None:
    folder = tmp_path / "sys/class/watchdog/watchdog0"
    assert watchdog(tmp_path, "active", 14) == []
    (tmp_path / "sys/module/softdog").mkdir(parents=True)
    (folder / "device/driver").mkdir(parents=True)
    (folder / "device/driver/module").symlink_to(tmp_path / "sys/module/softdog")
    assert "no hardware watchdog" in wrong(machine.check_watchdog("i6300esb", tmp_path))[0]


def test_relays_have_to_fall_back_when_the_lock_is_killed(tmp_path: Path) -> None:
    assert list(machine.check_release(tmp_path)) == []
    parameter = put(tmp_path / "sys/module/pinctrl_bcm2835/parameters/persist_gpio_outputs", "N\n")
    assert wrong(machine.check_release(tmp_path)) == []
    parameter.write_text("Y\n")
    (told,) = wrong(machine.check_release(tmp_path))
    assert "leaves its relays as they are -> dtparam=strict_gpiod" in told


def test_modules_have_to_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "sys/module/snd_aloop").mkdir(parents=True)
    assert wrong(machine.check_modules("# two\nsnd-aloop\ni6300esb\n", tmp_path)) == [
        "modules.conf: the kernel module i6300esb is not loaded -> modprobe i6300esb"
    ]


def test_the_command_line_has_to_have_the_boards_words(tmp_path: Path) -> None:
    put(tmp_path / "proc/cmdline", "root=PARTLABEL=rootA panic=10\n")
    (told,) = wrong(machine.check_command_line("console=tty0 panic=10\n", tmp_path))
    assert "booted without console=tty0 ->" in told
    assert wrong(machine.check_command_line("panic=10", tmp_path)) == []


def test_the_boot_loaders_settings_are_compared_where_they_can_be_seen(tmp_path: Path) -> None:
    text = "# off\ngpio=17=op,dl\nenable_uart=1\n"
    assert list(machine.check_boot_settings(text, tmp_path)) == []
    put(tmp_path / "config.txt", "enable_uart=1\n")
    (told,) = wrong(machine.check_boot_settings(text, tmp_path))
    assert "config.txt does not have gpio=17=op,dl" in told
    put(tmp_path / "config.txt", text)
    assert wrong(machine.check_boot_settings(text, tmp_path)) == []


def test_the_boards_files_have_to_be_in_place(tmp_path: Path) -> None:
    files = {"asound.conf": "pcm.x", "udev.rules": ""}
    assert "etc/asound.conf is missing" in wrong(machine.check_files(files, tmp_path))[0]
    put(tmp_path / "etc/asound.conf", "pcm.y")
    assert "is not the board's asound.conf" in wrong(machine.check_files(files, tmp_path))[0]
    put(tmp_path / "etc/asound.conf", "pcm.x")
    assert wrong(machine.check_files(files, tmp_path)) == []


def test_a_file_laid_at_boot_for_one_of_several_boards_is_in_place(tmp_path: Path) -> None:
    put(tmp_path / "run/udev/rules.d/60-portero.rules", "rule")
    assert wrong(machine.check_files({"udev.rules": "rule"}, tmp_path)) == []
