from collections.abc import Collection
from pathlib import Path

import pytest

import board
from board.placement import spans

HEAD = '[gpio]\ndriver = "lines"\n[audio]\ndriver = "simulated"\n'
PI = 'chip = "pinctrl-bcm2711"\n'
PL061 = 'chip = "9030000.pl061"\n'


@pytest.fixture
def board_file(tmp_path: Path) -> Path:
    return tmp_path / "board.toml"


def complaints(board_file: Path, text: str, compatible: Collection[str] = ()) -> list[str]:
    board_file.write_text(HEAD + text)
    with pytest.raises(board.BoardError) as caught:
        board.load(str(board_file), compatible)
    return [line.removeprefix(f"{board_file}: ") for line in str(caught.value).splitlines()]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            f"[outputs.relay1]\n{PI}line = 5\n",
            "outputs.relay1.line: is GPIO 5, which the chip holds high from power-on until the lock process runs: "
            "a relay that is active at that level opens the door at every start; write one of 9 to 27, or "
            "active_low = true and a relay board for the low level",
        ),
        (
            f"[outputs.relay1]\n{PI}line = 17\nactive_low = true\n",
            "outputs.relay1.line: is GPIO 17, which the chip holds low from power-on until the lock process runs: "
            "a relay that is active at that level opens the door at every start; write one of 4 to 8, or "
            "active_low = false and a relay board for the high level",
        ),
        (
            f"[outputs.relay1]\n{PL061}line = 4\nactive_low = true\n",
            "outputs.relay1.line: is line 4, which the chip holds low from power-on until the lock process runs: "
            "a relay that is active at that level opens the door at every start; write another line of a chip that "
            "does not, or active_low = false and a relay board for the high level",
        ),
        (
            f"[inputs.bell]\n{PL061}line = 3\n",
            "inputs.bell.line: is line 3, which is the kernel's own power button (gpio-keys); write another line",
        ),
        (
            f"[outputs.relay1]\n{PI}line = 1\nactive_low = true\n",
            "outputs.relay1.line: is GPIO 1, which belongs to the EEPROM of a HAT, which is read there at every "
            "start; write another line",
        ),
        (
            f"[inputs.bell]\n{PI}line = 30\n",
            'inputs.bell.line: is GPIO 30 of "pinctrl-bcm2711", which reaches no terminal; write one of 0 to 27',
        ),
        (
            f"[inputs.bell]\n{PL061}line = 8\n",
            'inputs.bell.line: is line 8 of "9030000.pl061", which reaches no terminal; write one of 0 to 7',
        ),
        (
            f'[inputs.bell]\n{PI}line = 2\npull = "down"\n',
            'inputs.bell.pull: is "down", but the board pulls GPIO 2 up with 1.8 kOhm; write "up" or another line',
        ),
        (
            f"[inputs.bell]\n{PI}line = 22\n[lights.bell]\n{PI}line = 22\n",
            'lights.bell.line: is line 22 of "pinctrl-bcm2711", which inputs.bell has already',
        ),
        (
            f'[outputs.relay1]\n{PI}line = 14\n[reserved.uart]\n{PI}lines = [14, 15]\nwhy = "the console"\n',
            'outputs.relay1.line: is line 14 of "pinctrl-bcm2711", which [reserved.uart] keeps (the console); '
            "write a free line, or take that table out if nothing of the kind is connected",
        ),
        (
            f'[reserved.uart]\n{PI}lines = "14"\nwhy = "the console"\n',
            'reserved.uart.lines: is "14"; write a list of whole numbers from 0 to 511',
        ),
        (
            f'[inputs.bell]\n{PI}line = 22\npull = "up"\n',
            'inputs.bell.pull: is "up", which holds the input active; write "down" or "none", or normally_closed = '
            "true for a contact that opens",
        ),
        (
            f'[inputs.loop]\n{PI}line = 22\npull = "down"\nnormally_closed = true\n',
            'inputs.loop.pull: is "down": a cut wire goes unnoticed; write "up"',
        ),
        (f"[reserved.uart]\n{PI}lines = [14]\n", "reserved.uart.why: is missing; write a text in quotes"),
        (
            "[chips.header]\n",
            'chips.header: has no label; write "brcm,bcm2711" = "pinctrl-bcm2711", a line for each machine',
        ),
        ("[watchdog]\nmodul = 1\n", "watchdog.module: is missing; write a text in quotes"),
        (f"[lights.bell]\n{PI}line = 99999\n", "lights.bell.line: is 99999; write a whole number from 0 to 511"),
    ],
)
def test_a_misplaced_function_is_refused_with_its_reason_and_what_to_write(
    board_file: Path, text: str, complaint: str
) -> None:
    assert complaint in complaints(board_file, text)


def test_a_light_may_be_on_for_a_moment_at_power_on(board_file: Path) -> None:
    board_file.write_text(f"{HEAD}[lights.bell]\n{PI}line = 5\n")
    assert board.load(str(board_file)).lights == {"bell": board.Output("pinctrl-bcm2711", 5, False)}


def test_a_chip_that_nothing_is_known_of_is_taken_as_it_is(board_file: Path) -> None:
    board_file.write_text(f'{HEAD}[outputs.relay1]\nchip = "mcp23017"\nline = 15\nactive_low = true\n')
    assert board.load(str(board_file)).outputs["relay1"].line == 15


WIRED = (
    f"[outputs.relay1]\n{PI}line = 17\n[outputs.gate]\n{PI}line = 7\nactive_low = true\n"
    f'[inputs.bell]\n{PI}line = 22\nactive_low = true\npull = "up"\n[lights.bell]\n{PI}line = 24\n'
)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ("gpio=17=op,dh", "switches outputs.relay1 on at every start; write gpio=17=op,dl"),
        ("gpio=16-18=op,dh", "switches outputs.relay1 on at every start; write gpio=17=op,dl"),
        ("gpio=7,17=op,dl", "switches outputs.gate on at every start; write gpio=7=op,dh"),
        ("gpio=17=ip,pu", "pulls outputs.relay1 on at every start; write gpio=17=ip,pd"),
        ("gpio=7=ip,pd", "pulls outputs.gate on at every start; write gpio=7=ip,pu"),
        ("gpio=22=op,dh", "drives inputs.bell, which its contact shorts; write gpio=22=ip,pu"),
    ],
)
def test_a_boot_loader_that_switches_a_relay_on_is_refused(board_file: Path, config: str, complaint: str) -> None:
    (board_file.parent / "config.txt").write_text(f"arm_64bit=1\n{config}\n")
    board_file.write_text(HEAD + WIRED)
    with pytest.raises(board.BoardError) as caught:
        board.load(str(board_file))
    pin = complaint.rpartition("=")[0].rpartition("gpio=")[2]
    assert str(caught.value) == f"{board_file.parent}/config.txt: line 2: gpio={pin}: {complaint}"


def test_a_boot_loader_that_leaves_relays_off_is_well(board_file: Path) -> None:
    (board_file.parent / "config.txt").write_text(
        "#gpio=17=op,dh\ngpio=17=op,dl\ngpio=7=op,dh\ngpio=22=ip,pu\ngpio=24=op,dh\ngpio=x=op\n"
    )
    board_file.write_text(HEAD + WIRED)
    assert board.load(str(board_file)).outputs.keys() == {"relay1", "gate"}


NAMED = '[chips.header]\n"brcm,bcm2711" = "pinctrl-bcm2711"\n"brcm,bcm2837" = "pinctrl-bcm2835"\n'


@pytest.mark.parametrize(
    ("compatible", "label"),
    [
        ({"raspberrypi,4-model-b", "brcm,bcm2711"}, "pinctrl-bcm2711"),
        ({"raspberrypi,model-zero-2-w", "brcm,bcm2837"}, "pinctrl-bcm2835"),
        (set[str](), "pinctrl-bcm2711"),
    ],
)
def test_a_chip_has_the_label_that_it_has_on_this_machine(
    board_file: Path, compatible: set[str], label: str
) -> None:
    board_file.write_text(f'{HEAD}{NAMED}[outputs.relay1]\nchip = "header"\nline = 17\n')
    assert board.load(str(board_file), compatible).outputs["relay1"].chip == label
    assert board.load_outputs(str(board_file), compatible).lines["relay1"].chip == label


def test_the_lock_finds_the_label_in_a_file_with_a_mistake_too(board_file: Path) -> None:
    board_file.write_text(f'{HEAD}{NAMED}[outputs.relay1]\nchip = "header"\nline = 17\n[camera\n')
    outputs = board.load_outputs(str(board_file), {"brcm,bcm2837"})
    assert outputs.lines == {"relay1": board.Output("pinctrl-bcm2835", 17, False)}
    assert outputs.wrong


def test_a_misplaced_relay_is_released_all_the_same(board_file: Path) -> None:
    board_file.write_text(f"{HEAD}[outputs.relay1]\n{PI}line = 5\n")
    assert board.load_outputs(str(board_file)).lines == {"relay1": board.Output("pinctrl-bcm2711", 5, False)}


def test_a_machine_is_what_its_device_tree_says(tmp_path: Path) -> None:
    from board.placement import machine

    file = tmp_path / "compatible"
    file.write_bytes(b"raspberrypi,3-model-b\0brcm,bcm2837\0")
    assert machine(file) == {"raspberrypi,3-model-b", "brcm,bcm2837"}
    assert machine(tmp_path / "none") == frozenset()


def test_spans() -> None:
    assert spans({4, 0, 1, 2}) == "0 to 2, 4"
