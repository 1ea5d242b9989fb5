"""`portero` that lets callers in as often as they call: `python -m tests.support.busy_station run ...`.

A door lets in twenty calls a minute, and its transactions last 32 s. Whoever looks for what calls leave behind
wants thousands, and soon to be over; all else is as it is.
"""

import sys
from dataclasses import replace

from firmware import app
from firmware.cli import main
from firmware.config import Config
from firmware.sip.configuration import Configuration
from firmware.sip.timers import Timers
from firmware.station import incoming, ration

T1_S = 0.05  # RFC 3261 17.1.1.2 lets whoever knows the way to be short take less than 0.5

_sip_configuration = app.sip_configuration


class Unbound(ration.Bound):
    def full(self, now: float) -> bool:
        return False

    def take(self, now: float) -> None:
        pass


def short_lived(config: Config, instance: str = "") -> Configuration:
    return replace(_sip_configuration(config, instance), timers=Timers(t1_s=T1_S))


if __name__ == "__main__":
    incoming.Bound = Unbound  # type: ignore[misc]
    app.sip_configuration = short_lived
    sys.exit(main())
