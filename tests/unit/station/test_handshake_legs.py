"""Legs whose description has to be gathered first, and streams whose way or keys do not come about."""

import asyncio
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from firmware.config import MediaSection
from firmware.media import events as media_events
from firmware.sip import events as sip_events
from firmware.station import events
from tests.unit.station.test_calls import CONFIG, House, MediaLeg, an_offer, answer_to, changed, offered


class Gathering(House):
    """Calls are made with ICE; gathering ends when the test says so."""

    def __init__(self) -> None:
        super().__init__(replace(CONFIG, media=MediaSection(ice=True)))
        self.found = asyncio.Event()
        self.on_event: Callable[[object], None] = lambda event: None
        open_leg = self.engine.open_leg

        def opened(name: str, host: str, on_event: Callable[[object], None], *, video: bool) -> MediaLeg:
            self.on_event = on_event
            leg = open_leg(name, host, on_event, video=video)
            leg.gather = self.found.wait  # type: ignore[method-assign,assignment]
            return leg

        self.engine.open_leg = opened  # type: ignore[method-assign,assignment]


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_the_phone_is_called_when_the_ways_are_found() -> None:
    async def scene() -> None:
        house = Gathering()
        house.station.pressed("flat", "gpio", house.now)
        await settled()
        assert not house.phone.of("invite")
        house.found.set()
        await settled()
        assert len(house.phone.of("invite")) == 1
        assert house.engine.legs["1.1"].secured is True

    asyncio.run(scene())


def test_who_is_gone_before_that_is_not_called() -> None:
    async def scene() -> None:
        house = Gathering()
        house.station.pressed("flat", "gpio", house.now)
        await settled()
        house.station.hangup()
        house.found.set()
        await settled()
        assert not house.phone.of("invite")
        assert [event.outcome for event in house.of(events.PressEnded)] == ["cancelled"]  # type: ignore[attr-defined]

    asyncio.run(scene())


def test_gathering_that_breaks_costs_no_call() -> None:
    async def scene() -> None:
        house = Gathering()

        async def broken() -> None:
            raise RuntimeError("a bug")

        house.station.pressed("flat", "gpio", house.now)
        house.engine.legs["1.1"].gather = broken  # type: ignore[method-assign]
        await settled()
        assert len(house.phone.of("invite")) == 1

    asyncio.run(scene())


async def talking() -> tuple[Gathering, MediaLeg]:
    house = Gathering()
    house.found.set()
    house.station.pressed("flat", "gpio", house.now)
    await settled()
    offer = house.phone.of("invite")[0][1]
    assert isinstance(offer, bytes)
    house.sip(sip_events.CallAnswered(1, "tag", answer_to(offer)))
    house.found.clear()
    return house, house.engine.legs["1.1"]


@pytest.mark.parametrize("media", ["audio", "video"])
def test_a_call_whose_sound_has_no_way_ends_and_one_without_picture_goes_on(media: media_events.Media) -> None:
    async def scene() -> None:
        house, _ = await talking()
        house.on_event(media_events.TransportFailed(media, "no way to the peer was found (ICE)"))
        (failed,) = house.of(events.MediaFailed)
        assert failed.why == "no way to the peer was found (ICE)"  # type: ignore[attr-defined]
        assert bool(house.phone.of("hangup")) == (media == "audio")

    asyncio.run(scene())


def test_an_address_that_changes_is_offered_when_the_ways_to_it_are_found() -> None:
    async def scene() -> None:
        house, media = await talking()
        changed(house, "192.0.2.77")
        await settled()
        assert media.moved_to == ["192.0.2.77"]
        assert not house.phone.of("reoffer")
        media.gathers = False
        house.found.set()
        await settled()
        assert offered(house) == ("192.0.2.77", 40010)

    asyncio.run(scene())


def test_a_peer_that_offers_while_the_ways_are_looked_for_is_asked_to_come_again() -> None:
    async def scene() -> None:
        house, _ = await talking()
        changed(house, "192.0.2.77")
        house.sip(sip_events.Reoffered(1, an_offer()))
        assert house.phone.of("reject_offer") == [(1, 491, "")]
        assert not house.phone.of("answer_offer")

    asyncio.run(scene())


def test_new_names_are_taken_back_where_the_offer_that_asked_for_them_is_refused() -> None:
    async def scene() -> None:
        house, media = await talking()
        house.sip(sip_events.Reoffered(1, an_offer().replace(b"m=audio", b"m=image")))
        assert [did[:2] for did in house.phone.of("reject_offer")] == [(1, 488)]
        assert media.names == [set(), "kept"]

    asyncio.run(scene())
