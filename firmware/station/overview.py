"""The moment's picture of the station, kept up to date from the stream of events alone: registrations, doors,
calls, faults and the last press, for `doorctl status`. It holds nothing that an event did not say."""

from dataclasses import replace

from firmware import __version__
from firmware.config import Config
from firmware.station import events
from firmware.station.events import Record
from firmware.station.status import AccountStatus, CallStatus, DoorStatus, FaultStatus, PressStatus, Status


class Overview:
    """Subscribe `take` to the stream. `listen` are the addresses SIP listens on, once they are known."""

    def __init__(self, config: Config) -> None:
        self.listen: tuple[str, ...] = ()
        self._config = config
        self._board = config.station.board
        self._started_s = 0.0
        self._accounts: dict[str, tuple[AccountStatus, float]] = {
            account.name: (
                AccountStatus(name=account.name, address=account.address, state="unregistered"),
                0.0,
            )
            for account in config.accounts
        }
        self._lock_process = False
        self._lines: dict[str, bool | None] = dict.fromkeys((door.name for door in config.doors), None)
        self._open: dict[str, bool] = {}  # doors by their contacts
        self._calls: dict[str, tuple[CallStatus, float]] = {}
        self._faults: dict[str, FaultStatus] = {}
        self._press: PressStatus | None = None

    def take(self, record: Record) -> None:
        now, event = record.monotonic_s, record.event
        match event:
            case events.StationStarted():
                self._started_s, self._board = now, event.board
            case events.RegistrationChanged() if event.account in self._accounts:
                old, since = self._accounts[event.account]
                new = replace(
                    old,
                    state=event.state,
                    status=event.status,
                    reason=event.reason,
                    expires_s=event.expires_s,
                    server=event.server,
                    retry_s=event.retry_s,
                )
                self._accounts[event.account] = (new, since if old.state == new.state else now)
            case events.DoorProcess():
                self._lock_process = event.connected
                self._lines = dict.fromkeys(self._lines, False if event.connected else None)
            case events.RelayReadBack():
                self._lines[event.door] = event.active
            case events.DoorOpened():
                self._open[event.door] = True
            case events.DoorClosed():
                self._open[event.door] = False
            case events.ButtonPressed() if event.action == "ring":
                self._press = PressStatus(
                    press=event.press, button=event.button, source=event.source, time=record.wall_s
                )
            case events.PressEnded() if self._press is not None and self._press.press == event.press:
                self._press = replace(self._press, outcome=event.outcome, reason=event.reason)
            case events.Fault():
                self._faults[event.where] = FaultStatus(
                    where=event.where, what=event.what, remedy=event.remedy, since=record.wall_s
                )
            case events.FaultCleared():
                self._faults.pop(event.where, None)
            case _:
                self._take_call(event, now)

    def _take_call(self, event: events.Event, now: float) -> None:
        match event:
            case events.InviteSent():
                call = CallStatus(
                    press=event.press,
                    leg=event.leg,
                    party=event.target,
                    direction="outgoing",
                    state="calling",
                    since_s=0.0,
                )
                self._calls[event.leg] = (call, now)
            case events.IncomingCall():
                call = CallStatus(
                    press=event.press,
                    leg=event.leg,
                    party=event.caller,
                    direction="incoming",
                    state="talking",
                    since_s=0.0,
                )
                self._calls[event.leg] = (call, now)
            case events.LegRinging() if event.leg in self._calls and self._calls[event.leg][0].state == "calling":
                self._calls[event.leg] = (replace(self._calls[event.leg][0], state="ringing"), now)
            case events.LegAnswered() if event.leg in self._calls:
                self._calls[event.leg] = (replace(self._calls[event.leg][0], state="talking"), now)
            case events.LegFailed() | events.LegCancelled() | events.LegEnded():
                self._calls.pop(event.leg, None)

    def in_short(self) -> str:
        """One line: who has us, what goes on, what is wrong."""
        registered = [name for name, (account, _) in self._accounts.items() if account.state == "registered"]
        parts = [f"registered: {', '.join(registered) or 'nowhere'}"] if self._accounts else []
        states = {call.state for call, _ in self._calls.values()}
        parts.append("talking" if "talking" in states else "ringing" if states else "idle")
        if self._faults:
            parts.append(f"faults: {', '.join(self._faults)}")
        return "; ".join(parts)

    def status(self, now: float, locked_out_s: float) -> Status:
        return Status(
            name=self._config.station.name,
            version=__version__,
            board=self._board,
            uptime_s=round(now - self._started_s, 1),
            listen=self.listen,
            lock_process=self._lock_process,
            locked_out_s=round(locked_out_s, 1),
            accounts=tuple(
                replace(account, since_s=round(now - since, 1)) for account, since in self._accounts.values()
            ),
            buttons=tuple(button.name for button in self._config.buttons),
            doors=tuple(
                DoorStatus(name=name, active=active, open=self._open.get(name))
                for name, active in self._lines.items()
            ),
            calls=tuple(replace(call, since_s=round(now - since, 1)) for call, since in self._calls.values()),
            faults=tuple(self._faults.values()),
            last_press=self._press,
        )
