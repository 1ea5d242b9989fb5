"""Long calls between two cores over a lossy, duplicating, reordering link: reliable 183s, offers from both sides
that meet, refreshes. At the end both sides must hold the same session, and nothing may be left."""

import random
from collections import Counter

import pytest

from firmware.sip.configuration import Configuration
from firmware.sip.events import (
    CallAnswered,
    CallEnded,
    CallProgress,
    Event,
    IncomingCall,
    OfferAnswered,
    OfferDue,
    OfferRefused,
    Refreshed,
    Reoffered,
)
from firmware.sip.message import Request, parse_message
from firmware.sip.uri import Uri
from tests.support.sip_link import Link, Node

CONFIGURATION = Configuration(session_expires_s=120, max_calls=500, max_transactions=5000)
TALK_S = 300.0


class Side:
    """One station: answers every offer, makes some of its own, and knows which exchange it completed last."""

    def __init__(self, link: Link, node: Node) -> None:
        self.link = link
        self.node = node
        self.names: dict[int, str] = {}  # call number -> what both sides call it
        self.session: dict[str, bytes] = {}  # the offer that both should hold
        self.made = 0
        self.open: dict[int, bytes] = {}  # our own offer under way
        self.outcomes: Counter[str] = Counter()
        node.react = self._react

    def reoffer(self, call: int) -> None:
        if call in self.open or call not in self.names:
            return
        self.made += 1
        sdp = f"v=0 {self.node.name} {self.made}".encode()
        self.open[call] = sdp
        self.node.core.reoffer(call, sdp, self.link.now)

    def _react(self, node: Node, event: Event) -> None:
        core, now = node.core, self.link.now
        match event:
            case IncomingCall():
                self.names[event.call] = event.request_uri.user or ""
                core.ring(event.call, now, status=183, sdp=b"answer to " + event.sdp)
                self.session[self.names[event.call]] = event.sdp
                self.link.at(now + 2, lambda: core.accept(event.call, b"answer to " + event.sdp, self.link.now))
            case CallAnswered():
                self.outcomes["answered"] += 1
            case CallProgress() if event.final:
                self.outcomes["final 183"] += 1
            case Reoffered():
                core.answer_offer(event.call, b"answer to " + event.sdp, now, dialog=event.dialog)
                self.session[self.names[event.call]] = event.sdp
            case OfferAnswered():
                sdp = self.open.pop(event.call)
                assert event.sdp == b"answer to " + sdp
                self.session[self.names[event.call]] = sdp
                self.outcomes["offer answered"] += 1
            case OfferRefused():
                assert event.status == 491
                self.open.pop(event.call, None)
                self.outcomes["put off" if event.again else "given up"] += 1
            case OfferDue():
                self.reoffer(event.call)
            case Refreshed():
                self.outcomes["refreshed"] += 1
            case CallEnded():
                self.names.pop(event.call, None)
                self.open.pop(event.call, None)


@pytest.mark.parametrize(("seed", "loss"), [(1, 0.0), (2, 0.1), (3, 0.25), (4, 0.25)])
def test_long_calls_whose_offers_meet_end_in_the_same_session_on_both_sides(seed: int, loss: float) -> None:
    link = Link(seed, loss=loss, duplicates=0.1, delay_s=(0.001, 0.4))
    rng = random.Random(seed)
    door, monitor = (
        Side(link, link.add(name, host, CONFIGURATION))
        for name, host in (("door", "10.0.0.1"), ("monitor", "10.0.0.2"))
    )
    calls = 30
    for number in range(calls):
        name = str(number)

        def begin(name: str = name) -> None:
            offer = f"v=0 first {name}".encode()
            call = door.node.core.invite(Uri.parse(f"sip:{name}@10.0.0.2"), offer, link.now)
            door.names[call] = name
            door.session[name] = offer
            for _ in range(6):
                when = link.now + rng.uniform(40, TALK_S - 100)
                # Both sides at nearly the same moment, so that they meet.
                link.at(when, lambda: door.reoffer(call))
                link.at(when + rng.uniform(0, 0.3), lambda: meet(monitor, name))
            link.at(link.now + TALK_S, lambda: door.node.core.hangup(call, link.now))

        link.at(number * 0.3, begin)

    def meet(side: Side, name: str) -> None:
        for call, known in tuple(side.names.items()):
            if known == name:
                side.reoffer(call)

    link.run(TALK_S - 5)
    assert door.open == monitor.open == {}
    same = [name for name in door.names.values() if door.session[name] == monitor.session[name]]
    assert len(same) == len(door.names), "two sides hold different sessions"
    link.run(TALK_S + 120)

    for side in (door, monitor):
        ended = Counter(event.call for event in side.node.of(CallEnded) if isinstance(event, CallEnded))
        assert len(ended) == calls
        assert set(ended.values()) == {1}
        counts = side.node.core.counts()
        assert not {name: value for name, value in counts.items() if value and name != "dropped"}
    if loss <= 0.1:
        assert door.outcomes["answered"] == calls
        assert {event.status for event in door.node.of(CallEnded) if isinstance(event, CallEnded)} == {200}
    assert door.outcomes["final 183"] > calls * 0.5
    assert door.outcomes["put off"] + monitor.outcomes["put off"] > 10, "no offers met"
    assert door.outcomes["offer answered"] > 30
    assert door.outcomes["refreshed"] + monitor.outcomes["refreshed"] > 30


def test_pitfall_03_a_lossy_link_acknowledges_each_reliable_183_once() -> None:
    link = Link(11, loss=0.3, duplicates=0.3, delay_s=(0.001, 0.3))
    door, monitor = (
        Side(link, link.add(name, host, CONFIGURATION))
        for name, host in (("door", "10.0.0.1"), ("monitor", "10.0.0.2"))
    )
    for number in range(50):
        uri = Uri.parse(f"sip:{number}@10.0.0.2")
        link.at(number * 0.5, lambda uri=uri: door.node.core.invite(uri, b"v=0", link.now))  # type: ignore[misc]
    link.run(120)
    pracks: Counter[tuple[str, str]] = Counter()
    branches = set()
    for _, _, _, data in link.trace:
        message = parse_message(data)
        if isinstance(message, Request) and message.method == "PRACK" and message.top_via.branch not in branches:
            branches.add(message.top_via.branch)
            pracks[message.call_id, message.headers.get("RAck") or ""] += 1
    assert len(pracks) == 50
    assert set(pracks.values()) == {1}
    assert door.outcomes["final 183"] == 50
    assert len(monitor.node.of(IncomingCall)) == 50
