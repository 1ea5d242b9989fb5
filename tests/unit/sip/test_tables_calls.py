"""The tables that the docstrings of the calls' machines print, walked row by row."""

import re
from types import ModuleType

import pytest

from firmware.sip import reliable, session, session_timer
from firmware.sip.dialog import Dialog
from firmware.sip.message import Response
from firmware.sip.reliable import ReliableResponses
from firmware.sip.session import COLLISIONS, TABLE, Session
from firmware.sip.session_timer import SessionTimer
from firmware.sip.timers import Schedule
from tests.support.sip_link import Bench, invite, reply, request_of


def rows(module: ModuleType, columns: int) -> list[tuple[str, ...]]:
    found = []
    for line in (module.__doc__ or "").splitlines():
        cells = tuple(cell.strip() for cell in line.split("|"))
        if len(cells) == columns and cells[0] not in ("state", "offer") and not cells[0].startswith("---"):
            found.append(cells)
    assert found
    return found


# --- whose offer is open -------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", rows(session, 4), ids=" ".join)
def test_each_row_of_the_offers(row: tuple[str, str, str, str]) -> None:
    state, what, following, collision = row
    one = Session(Dialog.as_client(invite(), reply(invite(), 200)), offer=state)  # type: ignore[arg-type]
    one.step(what)  # type: ignore[arg-type]
    assert one.offer == following
    if collision:
        request = request_of("UPDATE", branch="z9hG4bK1")
        assert one.collision(request, offers=True) == int(collision)


def test_the_rows_of_the_offers_are_the_table() -> None:
    documented = {(state, what) for state, what, following, _ in rows(session, 4) if state != following}
    assert documented == set(TABLE)
    assert {state: int(status or 0) for state, _, _, status in rows(session, 4) if status} == {
        state: status for state, status in COLLISIONS.items() if status
    }


# --- session timers ------------------------------------------------------------------------------------------


class Timer:
    """A session timer brought into a state, and what it called."""

    def __init__(self, state: str) -> None:
        self.called: list[str] = []
        self.schedule = Schedule()
        self.timer = SessionTimer(
            self.schedule,
            1800,
            on_refresh=lambda now: self.called.append("on_refresh"),
            on_expired=lambda now: self.called.append("on_expired"),
        )
        if state != "off":
            self.agree("uac" if state == "refreshing" else "uas", 0.0)
        assert self.timer.state == state

    def agree(self, who: str, now: float) -> None:
        self.timer.accepted(invite(), response(f"90;refresher={who}"), now)


def response(session_expires: str = "") -> Response:
    headers = (("Session-Expires", session_expires),) if session_expires else ()
    return reply(invite(), 200, headers=headers)


@pytest.mark.parametrize("row", rows(session_timer, 4), ids=" ".join)
def test_each_row_of_the_session_timer(row: tuple[str, str, str, str]) -> None:
    state, what, following, happens = row
    one = Timer(state)
    if what.startswith("agreed"):
        one.agree("uac" if "we refresh" in what else "uas", 1.0)
        assert one.schedule.next_deadline() == 1.0 + (45 if following == "refreshing" else 60)
    elif what == "half of the interval":
        one.schedule.ring_due(45.0)
    elif what == "refresh failed":
        one.schedule.ring_due(45.0)
        one.timer.failed(45.0)
        one.schedule.ring_due(45.0 + 90 / 8)
        assert one.called == ["on_refresh", "on_refresh"]
    elif what == "nearly expired":
        one.schedule.ring_due(59.9)
        assert "on_expired" not in one.called
        one.schedule.ring_due(60.0)
    elif what == "2xx without Session-Expires":
        one.timer.accepted(invite(), response(), 1.0)
    else:
        assert what == "stop"
        one.timer.stop()
    assert one.timer.state == following
    called = re.match(r"on_\w+", happens)
    if called is not None:
        assert one.called[-1] == called[0]
    if following == "off":
        assert len(one.schedule) == 0


# --- reliable provisional responses --------------------------------------------------------------------------


class Reliable:
    def __init__(self, state: str) -> None:
        self.bench = Bench()
        stack = self.bench.core._stack
        self.server = stack.transactions.open_server(invite(), self.bench.flow, 0.0, stranger=True)
        self.silences: list[float] = []
        self.machine = ReliableResponses(stack, self.server, self.silences.append)
        if state == "waiting":
            self.send()
        elif state == "stopped":
            self.machine.stop()
        self.sent()

    def send(self) -> None:
        self.machine.send(reply(self.server.request, 183, sdp=b"v=0\r\n"), 0.0)

    def sent(self) -> list[Response]:
        return [message for message in self.bench.sent() if isinstance(message, Response)]

    def prack(self, rack: str) -> bool:
        request = request_of("PRACK", branch="z9hG4bKp", headers=(("RAck", rack),))
        return self.machine.acknowledge(request, 0.0) is not None


@pytest.mark.parametrize("row", rows(reliable, 4), ids=" ".join)
def test_each_row_of_the_reliable_responses(row: tuple[str, str, str, str]) -> None:
    state, what, following, _ = row
    one = Reliable(state)
    number = one.machine._next - 1
    if what == "send":
        one.send()
        assert [bool(r.headers.get("RSeq")) for r in one.sent()] == ([True] if state == "idle" else [])
    elif what == "repeat":
        one.bench.advance(7.5)
        assert len({bytes(response) for response in one.sent()}) == 1
    elif what == "PRACK, none queued":
        assert one.prack(f"{number} 1 INVITE")
    elif what == "PRACK, more queued":
        one.send()
        assert one.prack(f"{number} 1 INVITE")
        assert [r.headers.get("RSeq") for r in one.sent()] == [str(number + 1)]
    elif what == "PRACK of another":
        for rack in (f"{number + 1} 1 INVITE", f"{number} 2 INVITE", f"{number} 1 UPDATE", "x", ""):
            assert not one.prack(rack)
    elif what == "64*T1":
        one.bench.advance(31.9)
        assert not one.silences
        one.bench.advance(0.2)
        assert one.silences == [32.0]
    else:
        assert what == "stop"
        one.machine.stop()
    assert one.machine.state == following
    if following != "waiting":
        one.sent()
        one.bench.advance(120)
        assert 183 not in [response.status for response in one.sent()]
