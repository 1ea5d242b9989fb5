"""`portero` as a service of systemd (Type=notify): ready, status, watchdog, end. Started otherwise it says nothing.

The watchdog is fed from the event loop that serves calls, by a timer that comes due like all its others: a loop
that hangs feeds nothing, and systemd starts the station anew. Nor is it fed while `healthy` says no, when the audio
thread stands still. The hardware's watchdog is systemd's own to feed (RuntimeWatchdogSec=).

Words go out by the lock process's sd_notify(3) and not by systemd-python's: that one waits while systemd does not
read (a PID 1 that hangs, a full socket), and every call with it.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping

from firmware.door.systemd import Notifier, watchdog_period_s
from firmware.station import events
from firmware.station.events import Record
from firmware.station.overview import Overview

log = logging.getLogger(__name__)


class Service:
    """`healthy` is asked each time before the watchdog is fed; `overview` says what the status line shows."""

    def __init__(
        self,
        healthy: Callable[[], bool],
        overview: Overview,
        loop: asyncio.AbstractEventLoop,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._notifier = Notifier(environment)
        self._healthy = healthy
        self._overview = overview
        self._loop = loop
        self._period_s = watchdog_period_s(environment)
        self._timer: asyncio.TimerHandle | None = None
        self._status = ""
        self._well = True

    def ready(self) -> None:
        self._notifier.send(READY="1")
        self._tell_status()
        if self._period_s:
            self._feed()

    def take(self, record: Record) -> None:
        """Subscribe this to the stream, after the overview."""
        match record.event:
            case (
                events.RegistrationChanged()
                | events.Fault()
                | events.FaultCleared()
                | events.InviteSent()
                | events.LegRinging()
                | events.LegAnswered()
                | events.PressEnded()
                | events.LegEnded()
            ):
                self._tell_status()

    def stopping(self, reason: str) -> None:
        self._notifier.send(STOPPING="1", STATUS=f"stopping: {reason}")

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tell_status(self) -> None:
        text = self._overview.in_short()
        if text != self._status:
            self._status = text
            self._notifier.send(STATUS=text)

    def _feed(self) -> None:
        self._timer = self._loop.call_later(self._period_s, self._feed)
        well = self._healthy()
        if well:
            self._notifier.send(WATCHDOG="1")
        elif self._well:
            log.error("the audio thread stands still: the watchdog is not fed, systemd will start the station anew")
        self._well = well
