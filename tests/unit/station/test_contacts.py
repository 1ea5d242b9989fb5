"""Door contacts: opened and shut, by the station or not, and left open."""

import pytest

from firmware.config import Door
from firmware.station import events
from firmware.station.contacts import Contacts
from firmware.station.events import Event, EventStream
from firmware.station.faults import Faults
from tests.support.hand_clock import HandClock

ON = events.RelayOn(press=1, door="street", pulse_ms=3000)
OFF = events.RelayOff(press=1, door="street", on_ms=3000, reason="pulse ended")


class House:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.told: list[Event] = []
        self.stream = EventStream(monotonic=self.clock.time)
        doors = (
            Door(name="street", relay="relay1", contact="door", held_open_s=60),
            Door(name="yard", relay="relay2", contact="yard", held_open_s=0),
            Door(name="cellar", relay="relay3"),
        )
        self.contacts = Contacts(doors, Faults(self.stream), self.clock, self.clock.time)  # type: ignore[arg-type]
        self.stream.subscribe(self.contacts.take)
        self.stream.subscribe(lambda record: self.told.append(record.event))

    def move(self, is_open: bool, door: str = "street") -> Event:
        self.contacts.changed(door, is_open, self.clock.now_s)
        return self.told[-1]


@pytest.fixture
def house() -> House:
    return House()


def test_a_door_that_is_opened_during_the_pulse_was_unlocked_by_the_station(house: House) -> None:
    house.stream.publish(ON)
    house.clock.wait(2)
    assert house.move(True) == events.DoorOpened(door="street", unlocked=True)


@pytest.mark.parametrize(("after_s", "unlocked"), [(0.5, True), (9.9, True), (10.1, False), (3600, False)])
def test_some_seconds_after_the_pulse_it_still_was(house: House, after_s: float, unlocked: bool) -> None:
    house.stream.publish(ON)
    house.stream.publish(OFF)
    house.clock.wait(after_s)
    assert house.move(True) == events.DoorOpened(door="street", unlocked=unlocked)


def test_a_door_that_nobody_unlocked_and_another_doors_pulse_are_told_apart(house: House) -> None:
    house.stream.publish(events.RelayOn(press=1, door="yard", pulse_ms=3000))
    assert house.move(True) == events.DoorOpened(door="street", unlocked=False)
    assert house.move(True, "yard") == events.DoorOpened(door="yard", unlocked=True)


def test_a_door_without_a_contact_tells_nothing(house: House) -> None:
    house.stream.publish(events.RelayOn(press=1, door="cellar", pulse_ms=3000))
    assert len(house.told) == 1


def test_a_shut_door_tells_how_long_it_stood_open(house: House) -> None:
    house.move(True)
    house.clock.wait(4.25)
    assert house.move(False) == events.DoorClosed(door="street", open_s=4.2)


def test_a_door_left_open_is_a_fault_until_it_is_shut(house: House) -> None:
    house.move(True)
    house.clock.wait(59.9)
    assert len(house.told) == 1
    house.clock.wait(0.2)
    fault = house.told[1]
    assert isinstance(fault, events.Fault)
    assert (fault.where, fault.what) == ("door street", "has stood open for 60 s")
    house.move(False)
    assert [type(event) for event in house.told[2:]] == [events.DoorClosed, events.FaultCleared]


def test_a_door_shut_in_time_is_no_fault_and_opened_again_has_its_whole_time(house: House) -> None:
    house.move(True)
    house.clock.wait(50)
    house.move(False)
    house.move(True)
    house.clock.wait(50)
    assert not [event for event in house.told if isinstance(event, events.Fault)]


def test_a_door_that_may_stand_open_is_never_a_fault(house: House) -> None:
    house.move(True, "yard")
    house.clock.wait(86_400)
    assert len(house.told) == 1


def test_a_door_found_open_at_the_start_is_told_and_watched_and_found_shut_is_no_news(house: House) -> None:
    house.contacts.found("street", False)
    assert house.told == []
    house.contacts.found("street", True)
    house.contacts.found("street", True)  # its chip was away for a moment
    assert house.told == [events.DoorOpened(door="street", unlocked=False)]
    house.clock.wait(61)
    assert isinstance(house.told[1], events.Fault)


def test_nothing_is_told_after_the_end(house: House) -> None:
    house.move(True)
    house.contacts.close()
    house.clock.wait(3600)
    assert len(house.told) == 1
