"""`portero` that lets callers in as often as they call: `python -m tests.support.busy_station run ...`.

A door lets in twenty calls a minute. Whoever looks for what calls leave behind wants thousands, and all
else as it is.
"""

import sys

from firmware.cli import main
from firmware.station import incoming, ration


class Unbound(ration.Bound):
    def full(self, now: float) -> bool:
        return False

    def take(self, now: float) -> None:
        pass


if __name__ == "__main__":
    incoming.Bound = Unbound  # type: ignore[misc]
    sys.exit(main())
