"""The four transaction machines, row by row as their docstrings print them, and their timers by the clock."""

import re
from types import ModuleType

import pytest

from firmware.sip import client_invite, client_request, server_invite, server_request
from firmware.sip.client_invite import InviteClientTransaction
from firmware.sip.client_request import ClientTransaction
from firmware.sip.message import Request, Response, parse_message
from firmware.sip.server_invite import InviteServerTransaction
from firmware.sip.server_request import ServerTransaction
from firmware.sip.timers import Timers
from firmware.sip.transaction import (
    Deliver,
    Failed,
    Output,
    StartTimer,
    StopTimer,
    Terminated,
    TimedOut,
    Transaction,
    Transmit,
)
from tests.support.sip_link import invite, reply, request_of

MODULES = {
    client_invite: InviteClientTransaction,
    client_request: ClientTransaction,
    server_invite: InviteServerTransaction,
    server_request: ServerTransaction,
}

Row = tuple[str, str, str, tuple[str, ...]]


def documented(module: ModuleType) -> list[Row]:
    """The transition table as the module's docstring prints it."""
    rows = []
    for line in (module.__doc__ or "").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 4 and cells[0] != "state" and not cells[0].startswith("---"):
            steps = tuple(step.strip() for step in cells[3].split(",") if step.strip())
            rows.append((cells[0], cells[1], cells[2], steps))
    return rows


ROWS = [
    pytest.param(module, row, reliable, id=f"{module.__name__.split('.')[-1]}: {row[0]}, {row[1]}, {reliable=}")
    for module in MODULES
    for row in documented(module)
    for reliable in (False, True)
]


def machine_in(module: ModuleType, state: str, reliable: bool) -> Transaction:
    method = "INVITE" if "invite" in module.__name__ else "OPTIONS"
    request = request_of(method, branch="z9hG4bK1")
    machine: Transaction = MODULES[module](request, Timers(), reliable=reliable)
    if isinstance(machine, InviteServerTransaction | ServerTransaction):
        machine.bytes_of("send", reply(request, 180))  # something to repeat
    machine.state = state
    return machine


def message_for(name: str) -> Request | Response | None:
    status = {"1xx": 180, "2xx": 200, "3xx-6xx": 486, "final": 404}.get(name.removeprefix("send "))
    if status is not None:
        return reply(invite(), status)
    if name in ("INVITE", "ACK", "request", "start"):
        return request_of("ACK" if name == "ACK" else "INVITE", branch="z9hG4bK1")
    return None


def described(output: Output) -> str:
    """An output in the words of the table."""
    if isinstance(output, StartTimer):
        return f"start {output.name}"
    if isinstance(output, StopTimer):
        return f"stop {output.name}"
    if isinstance(output, Transmit):
        first = output.data.split(b"\r\n")[0]
        return "ack" if first.startswith(b"ACK") else "send 100" if b" 100 " in first else "send"
    words = {Deliver: "deliver", TimedOut: "timeout", Failed: "fail", Terminated: "terminated"}
    return words[type(output)]


UNRELIABLE_ONLY = {"start A", "start E", "start G"}  # repeats, which a reliable transport does itself
ENDS_AT_ONCE = {"start D", "start I", "start J", "start K"}  # waits for repeats, zero on a reliable transport


@pytest.mark.parametrize(("module", "row", "reliable"), ROWS)
def test_each_row_of_the_table_is_what_the_machine_does(module: ModuleType, row: Row, reliable: bool) -> None:
    state, name, following, steps = row
    machine = machine_in(module, state, reliable)
    outputs = machine.step(name, message_for(name), reason="gone")
    expected = list(steps)
    if reliable:
        expected = [step for step in expected if step not in UNRELIABLE_ONLY]
        if ENDS_AT_ONCE & set(expected):
            expected = [step for step in expected if step not in ENDS_AT_ONCE]
            following = "terminated"
    if following == "terminated":
        expected.append("terminated")
    assert [described(output) for output in outputs] == expected
    assert machine.state == following


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_documented_table_is_the_whole_table(module: ModuleType) -> None:
    rows = documented(module)
    assert {(state, name): (following, steps) for state, name, following, steps in rows} == dict(module.TABLE)
    assert len(rows) == len(module.TABLE)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_an_input_that_no_row_names_changes_nothing(module: ModuleType) -> None:
    inputs = {name for _, name in module.TABLE}
    states = {state for state, _ in module.TABLE} | {"terminated"}
    for state in states:
        for name in inputs:
            if (state, name) not in module.TABLE:
                machine = machine_in(module, state, reliable=False)
                assert machine.step(name, message_for(name)) == []
                assert machine.state == state


def waits(machine: Transaction, timer: str, times: int) -> list[float]:
    """How long each of the next `times` runs of a repeating timer lasts."""
    found = []
    for _ in range(times):
        outputs = machine.step(f"timer {timer}")
        found += [output.after_s for output in outputs if isinstance(output, StartTimer)]
    return found


def test_timer_a_doubles_without_bound() -> None:
    machine = InviteClientTransaction(invite(), Timers(), reliable=False)
    first = [o.after_s for o in machine.step("start") if isinstance(o, StartTimer) and o.name == "A"]
    assert first + waits(machine, "A", 5) == [0.5, 1, 2, 4, 8, 16]


def test_timer_e_doubles_up_to_t2_and_is_t2_once_the_server_works() -> None:
    machine = ClientTransaction(request_of("OPTIONS", branch="z9hG4bK1"), Timers(), reliable=False)
    machine.step("start")
    assert waits(machine, "E", 5) == [1, 2, 4, 4, 4]
    early = ClientTransaction(request_of("OPTIONS", branch="z9hG4bK1"), Timers(), reliable=False)
    early.step("start")
    early.step("1xx", reply(early.request, 100))
    assert waits(early, "E", 2) == [4, 4]


def test_timer_g_doubles_up_to_t2() -> None:
    machine = InviteServerTransaction(invite(), Timers(), reliable=False)
    refused = machine.step("send 3xx-6xx", reply(invite(), 486))
    assert [o.after_s for o in refused if isinstance(o, StartTimer)] == [0.5, 32]
    assert waits(machine, "G", 5) == [1, 2, 4, 4, 4]


def test_the_ack_to_a_refusal_repeats_the_branch_and_takes_the_tag_of_the_refusal() -> None:
    request = invite(headers=(("Route", "<sip:proxy;lr>"), ("Proxy-Authorization", "Digest x=y")))
    machine = InviteClientTransaction(request, Timers(), reliable=False)
    machine.step("start")
    outputs = machine.step("3xx-6xx", reply(request, 486, "callee"))
    ack = parse_message(next(o.data for o in outputs if isinstance(o, Transmit)))
    assert isinstance(ack, Request)
    assert (ack.method, ack.top_via, str(ack.cseq)) == ("ACK", request.top_via, "1 ACK")
    assert ack.to.tag == "callee"
    assert ack.headers.get("Route") == "<sip:proxy;lr>"
    assert ack.headers.get("Proxy-Authorization") == "Digest x=y"
    assert not ack.body
    assert not re.search(rb"Content-Type", bytes(ack))
