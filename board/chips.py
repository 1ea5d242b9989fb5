"""What is known of GPIO chips by label: how many lines, which are never free, what pulls them before Linux does.

From the data sheets: BCM2835 ARM Peripherals 6.2 and BCM2711 ARM Peripherals 5.3 (alternative functions: the table
has the pulls at power-on; the RP1's are the same), the Raspberry Pi's schematics (1.8 kOhm on the I2C pins, the ID
EEPROM), QEMU's hw/arm/virt.c (PL061). A chip that is not here is taken as it is: nothing is refused on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["up", "down", "none"]


@dataclass(frozen=True, slots=True)
class Chip:
    """`header`: the lines that reach a terminal, each with its pin of the 40-pin header where it is one.

    `taken`: lines that are never free, with the reason. `fixed_up`: those with a resistor to the supply.
    """

    header: Mapping[int, int | None]
    taken: Mapping[int, str] = field(default_factory=dict)
    pulled_up: frozenset[int] = frozenset()  # from power-on until somebody sets it
    pulled_down: frozenset[int] = frozenset()
    fixed_up: frozenset[int] = frozenset()
    name: str = "line {}"

    def boot_pull(self, line: int) -> Level:
        return "up" if line in self.pulled_up else "down" if line in self.pulled_down else "none"

    def line_name(self, line: int) -> str:
        return self.name.format(line)


# BCM line -> pin of the 40-pin header, all models since the B+.
HEADER_PINS = {
    2: 3, 3: 5, 4: 7, 14: 8, 15: 10, 17: 11, 18: 12, 27: 13, 22: 15, 23: 16, 24: 18, 10: 19, 9: 21, 25: 22,
    11: 23, 8: 24, 7: 26, 0: 27, 1: 28, 5: 29, 6: 31, 12: 32, 13: 33, 19: 35, 16: 36, 26: 37, 20: 38, 21: 40,
}  # fmt: skip
_ID = "belongs to the EEPROM of a HAT, which is read there at every start"

RASPBERRY_PI = Chip(
    header=HEADER_PINS,
    taken={0: _ID, 1: _ID},
    pulled_up=frozenset(range(9)),
    pulled_down=frozenset(range(9, 28)),
    fixed_up=frozenset((2, 3)),
    name="GPIO {}",
)
PL061 = Chip(
    header=dict.fromkeys(range(8)),
    taken={3: "is the kernel's own power button (gpio-keys)"},
    pulled_down=frozenset(range(8)),
)

KNOWN: Mapping[str, Chip] = {
    "pinctrl-bcm2835": RASPBERRY_PI,
    "pinctrl-bcm2711": RASPBERRY_PI,
    "pinctrl-rp1": RASPBERRY_PI,
    "9030000.pl061": PL061,
}
