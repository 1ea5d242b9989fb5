"""A million steps of random programs over three cores and a hostile peer, against the invariants of world.py.

The seeds of a run are fixed; PROGRAMS_FROM=n in the environment starts at another one. A program that breaks an
invariant is shrunk and printed with its seed: make a test of it beside the code that was wrong.
"""

import collections
import os

import pytest

from firmware.sip import acknowledgements, call, dialog, outgoing_request, server_invite
from tests.programs.opcodes import listing, program_of, run, shrink
from tests.programs.world import Broken, World

FIRST = int(os.environ.get("PROGRAMS_FROM", "0"))
LENGTH = 400  # instructions of a program
BLOCKS, STEPS = 16, 62_500  # a million in all; a minute of one core


@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_programs_hold_every_invariant(block: int) -> None:
    steps, seed = 0, FIRST + 1_000_000 * block
    print(f"seeds from {seed}")
    while steps < STEPS:
        outcome = run(program_of(seed, LENGTH))
        steps += outcome.steps
        if outcome.failure is not None:
            pytest.fail(explained(seed, outcome.failure))
        seed += 1


def explained(seed: int, failure: BaseException) -> str:
    kind = type(failure)
    smallest = shrink(program_of(seed, LENGTH), lambda part: isinstance(run(part).failure, kind))
    return f"seed {seed}: {kind.__name__}: {run(smallest).failure}\n{listing(smallest)}\n    {smallest!r}"


def test_a_program_runs_the_same_each_time() -> None:
    program = program_of(7, LENGTH)
    assert [run(program).steps for _ in range(2)] == [run(program).steps] * 2


def test_programs_reach_every_kind_of_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """A world in which nothing much happens would hold any invariant."""
    told: collections.Counter[str] = collections.Counter()
    original = World._told

    def count(self: World, node: object, event: object) -> None:
        told[type(event).__name__] += 1
        original(self, node, event)  # type: ignore[arg-type]

    monkeypatch.setattr(World, "_told", count)
    for seed in range(80):
        run(program_of(seed, LENGTH))
    wanted = {
        *("InviteSent", "CallTrying", "CallProgress", "CallAnswered", "CallEnded", "IncomingCall", "InfoReceived"),
        *("CallAcknowledged", "Reoffered", "RegistrationChanged", "OfferAnswered", "OfferRefused", "Refreshed"),
        *("TextReceived", "TextDelivered", "UserRegistered", "UserRefused", "WatcherChanged"),
    }
    assert wanted <= set(told), wanted - set(told)
    assert min(told["CallAnswered"], told["CallAcknowledged"]) > 100


# --- what the invariants are worth: bugs that were put in on purpose ---


def no_ack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acknowledgements.Acknowledgements, "send", lambda *_, **__: None)


def same_cseq(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialog.Dialog, "next_cseq", lambda self: self.local_cseq + 1)


def second_end(monkeypatch: pytest.MonkeyPatch) -> None:
    original = call.Call.end

    def twice(self: call.Call, *arguments: object) -> None:
        original(self, *arguments)  # type: ignore[arg-type]
        self.state = "answered"
        original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(call.Call, "end", twice)


def transaction_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {key: row for key, row in server_invite.TABLE.items() if key != ("accepted", "timer L")}
    monkeypatch.setattr(server_invite.InviteServerTransaction, "table", table)


def raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(outgoing_request.OutgoingRequest, "received", broken)


@pytest.mark.parametrize(
    "bug", [no_ack, same_cseq, second_end, transaction_for_ever, raises], ids=lambda bug: bug.__name__
)
def test_a_bug_is_found_and_its_program_shrunk(bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    found = next((seed for seed in range(40) if run(program_of(seed, LENGTH)).failure is not None), None)
    assert found is not None
    kind = type(run(program_of(found, LENGTH)).failure)
    assert kind is KeyError if bug is raises else issubclass(kind, Broken)
    smallest = shrink(program_of(found, LENGTH), lambda part: isinstance(run(part).failure, kind))
    assert len(smallest) // 3 <= 12
