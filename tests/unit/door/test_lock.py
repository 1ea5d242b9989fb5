import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import firmware.door.lock
from firmware.door.lock import RELEASE_LEAD_S, RETRY_S, Door, Lock, Record, Switch, Tell, TellAll
from firmware.door.protocol import PulseRequest

STREET = Door("street", 3000, 10_000)
YARD = Door("yard", 500, 1000)


class World:
    """A lock with its lines, done by the rules of the shell: each switch is read back before anything else."""

    def __init__(self, *doors: Door) -> None:
        self.now = 100.0
        self.lock = Lock(doors)
        self.level = {door.name: False for door in doors}
        self.obeys = {door.name: {True: True, False: True} for door in doors}  # does the line do as it is told
        self.broken: set[str] = set()  # doors whose line raises
        self.told: list[tuple[int | None, dict]] = []
        self.journal: list[dict] = []
        self.edges: dict[str, list[tuple[float, bool]]] = {door.name: [] for door in doors}
        self.request = itertools.count(1)
        for door in doors:
            self.lock.line_read(door.name, False, self.now)
        self.perform()

    def perform(self) -> None:
        while actions := self.lock.take_actions():
            for action in actions:
                match action:
                    case Switch(door, active):
                        self.switch(door, active)
                    case Tell(client, message):
                        self.told.append((client, message))
                    case TellAll(_, message):
                        self.told.append((None, message))
                    case Record(_, entry):
                        self.journal.append(entry)

    def switch(self, door: str, active: bool) -> None:
        if door in self.broken:
            self.lock.line_failed(door, "Input/output error", self.now)
            return
        if self.obeys[door][active] and self.level[door] != active:
            self.level[door] = active
            self.edges[door].append((self.now, active))
        self.lock.line_read(door, self.level[door], self.now)

    def pulse(self, door: str = "street", pulse_ms: int | None = None, client: int = 1, age_s: float = 0.0) -> int:
        request = next(self.request)
        asked = PulseRequest(request, door, pulse_ms, self.now - age_s, {"by": "test"})
        self.lock.pulse(client, asked, self.now)
        self.perform()
        return request

    def advance(self, seconds: float) -> None:
        """Let time go by, with each timer at its own time."""
        end = self.now + seconds
        while (deadline := self.lock.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.lock.handle_timer(self.now)
            self.perform()
            assert self.lock.next_deadline() != deadline, "the timer went off and nothing came of it"
        self.now = end

    def lose(self, client: int) -> None:
        self.lock.lose_client(client)
        self.perform()

    def stop(self) -> None:
        self.lock.stop()
        self.perform()

    def events(self, *kinds: str) -> list[dict]:
        return [message for _, message in self.told if message["event"] in kinds]

    def records(self, kind: str) -> list[dict]:
        return [entry for entry in self.journal if entry["kind"] == kind]


def bring_to(state: str) -> World:
    """A world whose one door is in this state, the last input being what the table says of it."""
    if state == "releasing":
        world = World.__new__(World)
        world.__init__(*())  # type: ignore[misc]
        world.lock = Lock([STREET])
        world.level = {"street": False}
        world.obeys = {"street": {True: True, False: True}}
        world.edges = {"street": []}
        return world
    world = World(STREET)
    if state == "switching":
        world.lock.pulse(1, PulseRequest(next(world.request), "street", None, world.now, {}), world.now)
    elif state == "open":
        world.pulse()
    elif state == "stuck":
        world.pulse()
        world.obeys["street"][False] = False
        world.lose(1)
    assert world.lock.state("street") == state
    world.told.clear()
    world.journal.clear()
    return world


def give(world: World, what: str) -> list[object]:
    """Put one input in; the actions it caused, undone."""
    lock, now = world.lock, world.now
    request = PulseRequest(99, "street", None, now, {})
    match what:
        case "reads active":
            lock.line_read("street", True, now)
        case "reads inactive":
            lock.line_read("street", False, now)
        case "line fails":
            lock.line_failed("street", "Input/output error", now)
        case "pulse":
            lock.pulse(1, request, now)
        case "bad pulse":
            lock.pulse(1, PulseRequest(99, "street", 10_001, now, {}), now)
        case "time":
            lock.handle_timer(now + 60)
        case "client lost":
            lock.lose_client(1)
        case "stop":
            lock.stop()
    return list(lock.take_actions())


ON, OFF = Switch("street", True), Switch("street", False)
ROWS = [
    # state, input, next state, what is switched, what is told, what is journalled
    ("releasing", "reads inactive", "released", None, set(), set()),
    ("releasing", "reads active", "stuck", None, {"fault"}, {"fault"}),
    ("releasing", "line fails", "stuck", None, {"fault"}, {"fault"}),
    ("released", "pulse", "switching", ON, {"accepted", "line-on"}, {"granted"}),
    ("released", "bad pulse", "released", None, {"refused"}, {"refused"}),
    ("switching", "reads active", "open", None, {"read-back"}, set()),
    ("switching", "reads inactive", "releasing", OFF, {"read-back", "fault"}, {"fault"}),
    ("switching", "line fails", "releasing", OFF, {"fault"}, {"fault"}),
    ("open", "pulse", "open", None, {"refused"}, {"refused"}),
    ("open", "time", "releasing", OFF, set(), set()),
    ("open", "client lost", "releasing", OFF, set(), set()),
    ("open", "stop", "releasing", OFF, set(), set()),
    ("stuck", "pulse", "stuck", None, {"refused"}, {"refused"}),
    ("stuck", "time", "releasing", OFF, set(), set()),
    ("stuck", "stop", "releasing", OFF, set(), set()),
]


@pytest.mark.parametrize(("state", "what", "after", "switched", "told", "journalled"), ROWS)
def test_each_row_of_the_table(
    state: str, what: str, after: str, switched: Switch | None, told: set, journalled: set
) -> None:
    world = bring_to(state)
    if state == "switching":
        world.lock.take_actions()  # the switching on itself, and what is told of it
    actions = give(world, what)
    assert world.lock.state("street") == after
    assert [action for action in actions if isinstance(action, Switch)] == ([switched] if switched else [])
    assert {action.message["event"] for action in actions if isinstance(action, Tell | TellAll)} == told
    assert {action.entry["kind"] for action in actions if isinstance(action, Record)} == journalled


def test_the_rows_tested_are_those_of_the_docstring() -> None:
    documented = re.findall(
        r"^    (\w+) +(\w+(?: \w+)?) {2,}(\w+) ", firmware.door.lock.__doc__ or "", re.MULTILINE
    )
    assert [row for row in documented if row[0] != "state"] == [row[:3] for row in ROWS]


def test_a_pulse_is_told_and_journalled_from_on_to_off_in_order() -> None:
    world = World(STREET)
    request = world.pulse(pulse_ms=2000)
    world.advance(5)
    events = [message["event"] for _, message in world.told]
    assert events == ["accepted", "line-on", "read-back", "read-back", "line-off"]
    assert all(message["request"] == request for _, message in world.told)
    assert [(message["active"], message["expected"]) for message in world.events("read-back")] == [
        (True, True),
        (False, False),
    ]
    granted, released = world.journal
    assert (granted["kind"], granted["door"], granted["pulse_ms"]) == ("granted", "street", 2000)
    assert granted["evidence"] == {"by": "test"}
    assert (released["kind"], released["on_ms"], released["reason"]) == ("released", 1999, "pulse ended")


def test_the_relay_is_on_for_the_pulse_and_never_longer() -> None:
    world = World(STREET)
    world.pulse(pulse_ms=2000)
    world.advance(10)
    (on_s, _), (off_s, _) = world.edges["street"]
    assert off_s - on_s == pytest.approx(2.0 - RELEASE_LEAD_S)
    assert off_s - on_s <= 2.0


def test_without_a_length_the_pulse_is_the_doors_own() -> None:
    world = World(STREET)
    world.pulse()
    assert world.events("accepted")[0]["pulse_ms"] == 3000


@pytest.mark.parametrize("pulse_ms", [-1, 0, 49, 10_001, 2**53])
def test_a_length_out_of_bounds_is_refused_with_the_bounds(pulse_ms: int) -> None:
    world = World(STREET)
    world.pulse(pulse_ms=pulse_ms)
    assert world.events("refused")[0]["reason"] == f"pulse_ms is {pulse_ms}; this door takes 50 to 10000"
    assert world.edges["street"] == []


def test_an_unknown_door_is_refused_with_those_there_are() -> None:
    world = World(STREET, YARD)
    world.pulse(door="cellar")
    assert world.events("refused")[0]["reason"] == "there is no door of that name; there are: street, yard"
    assert world.records("refused")[0]["door"] == "cellar"


def test_a_second_pulse_while_open_is_refused_and_prolongs_nothing() -> None:
    world = World(STREET)
    world.pulse(pulse_ms=1000)
    for _ in range(9):
        world.advance(0.1)
        world.pulse(pulse_ms=1000)
    world.advance(0.2)
    assert [event["reason"] for event in world.events("refused")] == ["already open"] * 9
    (on_s, _), (off_s, _) = world.edges["street"]
    assert off_s - on_s <= 1.0


def test_a_request_that_waited_too_long_opens_nothing() -> None:
    world = World(STREET)
    world.pulse(age_s=1.5)
    assert world.events("refused")[0]["reason"] == "the request is 1.5 s old"
    world.pulse(age_s=-2)
    assert "from the future" in world.events("refused")[1]["reason"]
    world.pulse(age_s=0.9)
    assert world.level["street"]


def test_a_lost_client_releases_its_own_doors_only() -> None:
    world = World(STREET, YARD)
    world.pulse("street", client=1)
    world.pulse("yard", client=2)
    world.lose(1)
    assert world.level == {"street": False, "yard": True}
    assert world.events("line-off")[0]["reason"] == "client lost"
    world.advance(1)
    assert world.level["yard"] is False


def test_stopping_releases_all_doors_and_refuses_from_then_on() -> None:
    world = World(STREET, YARD)
    world.pulse("street")
    world.pulse("yard")
    world.stop()
    assert world.level == {"street": False, "yard": False}
    assert {event["reason"] for event in world.events("line-off")} == {"stopping"}
    world.pulse("street")
    assert world.events("refused")[0]["reason"] == "portero-door is stopping"
    assert world.level["street"] is False


def test_a_relay_that_does_not_switch_on_is_released_and_a_fault_until_one_does() -> None:
    world = World(STREET)
    world.obeys["street"][True] = False
    world.pulse()
    assert world.lock.state("street") == "released"
    assert world.events("line-off")[0]["reason"] == "relay did not switch"
    assert world.events("fault")[0]["where"] == "relay of street"
    assert world.lock.status(world.now)["faults"]
    world.obeys["street"][True] = True
    world.pulse()
    assert world.events("fault-cleared") == [{"event": "fault-cleared", "where": "relay of street"}]
    assert world.lock.status(world.now)["faults"] == []


def test_a_relay_that_does_not_release_is_tried_each_second_and_told_off_only_when_it_is() -> None:
    world = World(STREET)
    world.pulse(pulse_ms=1000)
    world.obeys["street"][False] = False
    world.advance(5)
    assert world.lock.state("street") == "stuck"
    assert len(world.events("fault")) == 1
    assert world.events("line-off") == []
    assert len([event for event in world.events("read-back") if event["active"] != event["expected"]]) == 5
    world.pulse()
    assert world.events("refused")[0]["reason"] == "the relay does not release"
    world.obeys["street"][False] = True
    world.advance(RETRY_S)
    assert world.lock.state("street") == "released"
    assert world.events("line-off")[0]["on_ms"] > 5000
    assert len(world.events("fault-cleared")) == 1


def test_a_line_that_raises_is_a_fault_with_its_error_and_no_exception() -> None:
    world = World(STREET)
    world.broken.add("street")
    world.pulse()
    assert "Input/output error" in world.events("fault")[0]["what"]
    world.broken.clear()
    world.advance(RETRY_S)
    assert world.lock.state("street") == "released"


def test_a_relay_that_is_on_at_the_start_is_a_fault_and_refuses() -> None:
    lock = Lock([STREET])
    lock.line_read("street", True, 0.0)
    assert lock.state("street") == "stuck"
    assert lock.next_deadline() == RETRY_S


def test_a_repeated_fault_is_told_once() -> None:
    lock = Lock([])
    for _ in range(3):
        lock.report_fault("door journal", "No space left on device", "make room")
    assert len(lock.take_actions()) == 2
    lock.clear_fault("door journal")
    lock.clear_fault("door journal")
    assert len(lock.take_actions()) == 2


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("pulse"),
            st.sampled_from(["street", "yard", "cellar"]),
            st.one_of(st.none(), st.integers(-10, 12_000)),
            st.integers(1, 3),
            st.sampled_from([0.0, 0.5, 1.5, -3.0]),
        ),
        st.tuples(st.just("advance"), st.floats(0, 4)),
        st.tuples(st.just("lose"), st.integers(1, 3)),
        st.tuples(st.just("refuse line"), st.sampled_from(["street", "yard"]), st.booleans(), st.booleans()),
        st.tuples(st.just("stop")),
    ),
    max_size=40,
)


@settings(max_examples=600, deadline=None)
@given(STEPS)
def test_whatever_is_asked_and_whenever_the_lock_keeps_its_promises(steps: list[tuple]) -> None:
    world = World(STREET, YARD)
    honest = True
    asked = 0
    for step, *values in steps:
        match step:
            case "pulse":
                door, pulse_ms, client, age_s = values
                world.pulse(door, pulse_ms, client, age_s)
                asked += 1
            case "advance":
                world.advance(*values)
            case "lose":
                world.lose(*values)
                open_by = [
                    message for message in world.lock.status(world.now)["doors"] if message["state"] == "open"
                ]
                assert all(_client_of(world, door["name"]) != values[0] for door in open_by)
            case "refuse line":
                door, active, obeys = values
                world.obeys[door][active] = obeys
                honest = honest and obeys
            case "stop":
                world.stop()
                assert not honest or not any(world.level.values())
    world.obeys = {name: {True: True, False: True} for name in world.obeys}
    world.advance(20)
    world.stop()
    assert not any(world.level.values())
    assert len(world.events("accepted", "refused")) == asked  # each request is answered once
    granted, released = world.records("granted"), world.records("released")
    assert sorted(entry["request"] for entry in granted) == sorted(entry["request"] for entry in released)
    assert len(world.events("line-on")) == len(world.events("line-off")) == len(granted)
    assert len(world.events("accepted")) == len(granted)
    for name, maximum_s in (("street", 10.0), ("yard", 1.0)):
        edges = world.edges[name]
        assert [active for _, active in edges] == [n % 2 == 0 for n in range(len(edges))]
        if honest:
            bounds = [entry["pulse_ms"] / 1000 for entry in granted if entry["door"] == name]
            on_s = [off[0] - on[0] for on, off in zip(edges[::2], edges[1::2], strict=True)]
            assert len(on_s) == len(bounds)
            assert all(length <= bound <= maximum_s for length, bound in zip(on_s, bounds, strict=True))


def _client_of(world: World, door: str) -> int:
    """Whose pulse is on at this door, by what was told."""
    accepted = [(client, message) for client, message in world.told if message["event"] == "accepted"]
    return next(client for client, message in reversed(accepted) if message["door"] == door)  # type: ignore[return-value]


def test_while_the_cover_is_off_no_pulse_is_granted_and_one_that_is_on_ends_in_its_time() -> None:
    world = World(STREET, YARD)
    world.pulse("street")
    world.lock.tamper("the station's cover is off")
    world.perform()
    world.pulse("yard")
    assert world.level == {"street": True, "yard": False}
    assert world.told[-1][1]["reason"] == "tamper: the station's cover is off"
    assert world.journal[-1]["kind"] == "refused"
    world.now += 3.0
    world.lock.handle_timer(world.now)
    world.perform()
    assert world.level == {"street": False, "yard": False}
    world.lock.tamper("")
    world.pulse("yard")
    assert world.level["yard"]


def test_an_open_cover_is_a_fault_told_once_and_cleared() -> None:
    world = World(STREET)
    before = len(world.told)
    for what in ("the station's cover is off", "the station's cover is off", "", ""):
        world.lock.tamper(what)
        world.perform()
    told = [(message["event"], message["where"]) for _, message in world.told[before:]]
    assert told == [("fault", "tamper"), ("fault-cleared", "tamper")]
    assert world.lock.status(world.now)["faults"] == []
