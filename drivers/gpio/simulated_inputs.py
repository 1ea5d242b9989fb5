"""Input lines without hardware: gpiozero's MockFactory, and a hand that drives them.

The lines are those of a Raspberry Pi's header, 4 to 27 (2 and 3 have pull resistors of their own).
"""

from gpiozero.pins.mock import MockFactory

from drivers.gpio.inputs import Inputs


class SimulatedInputs(Inputs):
    def __init__(self) -> None:
        self._mock = MockFactory()
        super().__init__(self._mock)

    def drive(self, line: int, high: bool) -> None:
        """Set the level of a line as the wire to a button would; its callbacks run before this returns."""
        pin = self._mock.pin(line)
        (pin.drive_high if high else pin.drive_low)()
