"""A call to us that is over goes at once: in a cycle it would wait for Python to search, with its messages."""

import gc
import weakref
from collections.abc import Callable, Iterator

import pytest

from firmware.sip.call import Call
from firmware.sip.message import Request
from tests.support.sip_link import Bench, invite, reply, request_of

ANSWER = b"v=0\r\ns=answer\r\n"


@pytest.fixture
def no_search() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def answered_and_ended_by_the_peer(bench: Bench) -> "weakref.ref[Call]":
    bench.receive(invite(headers=(("Session-Expires", "1800;refresher=uas"), ("Supported", "timer"))))
    call = _only_call(bench)
    bench.core.ring(1, bench.now)
    bench.core.accept(1, ANSWER, bench.now)
    tag = bench.sent()[-1].to.tag or ""
    bench.receive(request_of("ACK", branch="z9hG4bKack", to_tag=tag))
    bench.receive(request_of("BYE", branch="z9hG4bKbye", to_tag=tag, cseq=2))
    return call


def answered_and_never_acknowledged(bench: Bench) -> "weakref.ref[Call]":
    bench.receive(invite())
    call = _only_call(bench)
    bench.core.accept(1, ANSWER, bench.now)
    return call


def cancelled_by_the_peer(bench: Bench) -> "weakref.ref[Call]":
    bench.receive(invite(headers=(("Require", "100rel"),)))
    call = _only_call(bench)
    bench.core.ring(1, bench.now)
    bench.receive(request_of("CANCEL", branch="z9hG4bKpeer1"))
    return call


def hung_up_by_us(bench: Bench) -> "weakref.ref[Call]":
    bench.receive(invite())
    call = _only_call(bench)
    bench.core.accept(1, ANSWER, bench.now)
    bench.receive(request_of("ACK", branch="z9hG4bKack", to_tag=bench.sent()[-1].to.tag or ""))
    bench.core.hangup(1, bench.now)
    for request in bench.sent():
        if isinstance(request, Request):
            bench.receive(reply(request, 200, "peer"))
    return call


@pytest.mark.parametrize(
    "play",
    [
        answered_and_ended_by_the_peer,
        answered_and_never_acknowledged,
        cancelled_by_the_peer,
        hung_up_by_us,
    ],
)
@pytest.mark.usefixtures("no_search")
def test_nothing_of_a_call_is_left_to_the_search_for_cycles(play: Callable[[Bench], "weakref.ref[Call]"]) -> None:
    bench = Bench()
    call = play(bench)
    bench.advance(120)  # all its transactions are over
    bench.sent()
    bench.events()
    assert not bench.core.counts()["transactions"]
    assert call() is None, [type(holder) for holder in gc.get_referrers(call())]


def _only_call(bench: Bench) -> "weakref.ref[Call]":
    (call,) = bench.core._calls.by_number.values()
    return weakref.ref(call)
