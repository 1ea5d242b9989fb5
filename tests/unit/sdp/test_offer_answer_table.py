"""Walks the transition table of offer_answer.py's docstring row by row."""

from collections.abc import Callable

import pytest

from firmware.sdp import offer_answer
from firmware.sdp.errors import OutOfTurn, SdpError
from firmware.sdp.offer_answer import Agreement, LocalMedia, OfferAnswer, State
from tests.support.sdp_samples import AUDIO_ONLY, HEAD, MONITOR, sdp

LOCAL = LocalMedia("192.0.2.1", 4000, 4002)
UNREADABLE = sdp("v=0", "m=audio")
UNUSABLE = sdp(*HEAD, "m=audio 4000 RTP/AVP 18")

Row = tuple[str, str, str, str]


def table() -> list[Row]:
    lines = [line for line in (offer_answer.__doc__ or "").splitlines() if line.startswith("| ")]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
    return rows[1:]  # type: ignore[return-value]


def machine_in(state: str) -> tuple[OfferAnswer, Agreement]:
    """A machine with one finished exchange behind it, and what was agreed in it."""
    machine = OfferAnswer(7)
    machine.create_offer(LOCAL)
    agreement = machine.receive_answer(AUDIO_ONLY)
    if state == "LOCAL_OFFER":
        machine.create_offer(LOCAL)
    elif state == "REMOTE_OFFER":
        machine.receive_offer(MONITOR)
    return machine, agreement


def confirm_provisional(machine: OfferAnswer) -> None:
    machine.receive_answer(MONITOR, provisional=True)
    machine.receive_answer(b"")


def answer_unusable(machine: OfferAnswer) -> None:
    machine.reject_offer()
    machine.receive_offer(UNUSABLE)
    machine.create_answer(LOCAL)


EVENTS: dict[str, Callable[[OfferAnswer], object]] = {
    "create_offer": lambda machine: machine.create_offer(LOCAL),
    "repeat_offer": lambda machine: machine.repeat_offer(LOCAL),
    "create_answer": lambda machine: machine.create_answer(LOCAL),
    "create_answer, nothing in common": answer_unusable,
    "receive_offer": lambda machine: machine.receive_offer(MONITOR),
    "receive_offer, unreadable": lambda machine: machine.receive_offer(UNREADABLE),
    "receive_answer": lambda machine: machine.receive_answer(MONITOR),
    "receive_answer, provisional": lambda machine: machine.receive_answer(MONITOR, provisional=True),
    "receive_answer, empty": lambda machine: machine.receive_answer(b""),
    "receive_answer, empty after a provisional one": confirm_provisional,
    "receive_answer, unreadable": lambda machine: machine.receive_answer(UNREADABLE),
    "reject_offer": lambda machine: machine.reject_offer(),
}


@pytest.mark.parametrize("row", table(), ids=lambda row: f"{row[0]}: {row[1]}")
def test_row_of_the_transition_table(row: Row) -> None:
    state, event, next_state, outcome = row
    machine, before = machine_in(state)
    assert machine.state is State[state]

    raised: Exception | None = None
    try:
        EVENTS[event](machine)
    except SdpError as error:
        raised = error

    assert machine.state is State[next_state]
    if "OutOfTurn" in outcome:
        assert isinstance(raised, OutOfTurn)
    elif "SdpError" in outcome:
        assert isinstance(raised, SdpError)
        assert not isinstance(raised, OutOfTurn)
    else:
        assert raised is None
    agreed_anew = raised is None and event.startswith(("receive_answer", "create_answer"))
    assert machine.agreement is not None
    assert (machine.agreement == before) is not agreed_anew
    assert (machine.agreement.video is not None) is agreed_anew  # the first exchange was audio only


def test_the_table_has_every_state_and_every_verb() -> None:
    rows = table()
    assert {row[0] for row in rows} == {state.name for state in State}
    assert {row[1] for row in rows} == set(EVENTS)
    for state in State:
        verbs = {row[1].partition(",")[0] for row in rows if row[0] == state.name}
        assert verbs == {event.partition(",")[0] for event in EVENTS}
