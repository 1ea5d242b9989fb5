"""What the station does with calls beyond ringing and talking: forks, pictures refused, late offers, hold, handing
on, what a call says of itself, texts. The SIP endpoint and the media engine are stand-ins."""

import errno
from dataclasses import dataclass, field
from types import SimpleNamespace

import msgspec
import pytest

from firmware.config import Account, Button, Calls, Config, Door, Incoming, Stage
from firmware.media.events import MediaFault
from firmware.sdp.description import SessionDescription
from firmware.sdp.offer_answer import LocalMedia, OfferAnswer
from firmware.sip import events as sip_events
from firmware.sip.types import Flow
from firmware.sip.uri import NameAddr, Uri
from firmware.station import events
from firmware.station.events import EventStream
from firmware.station.station import Station
from firmware.station.status import ControlError

PHONE_AT = "192.0.2.9"
CONFIG = Config(
    accounts=(Account(name="pbx", address="sip:door@pbx.example", display_name="Gate", trusted=True),),
    buttons=(
        Button(
            name="flat",
            input="button1",
            doors=("street",),
            display_name="Front",
            subject="Calle Mayor 5",
            alert_info="<http://127.0.0.1/dr3>",
            stages=(Stage(ring=("101",), seconds=20), Stage(ring=("guard",), seconds=20, auto_answer=True)),
        ),
    ),
    doors=(Door(name="street", relay="relay1"),),
    calls=Calls(
        transfer="accept",
        transfer_to=("102", "sip:guard@192.0.2.50"),
        incoming=Incoming(policy="auto-answer", from_=("sip:101@pbx.example",)),
    ),
)


class Phone:
    """Keeps what it is told, in order."""

    def __init__(self) -> None:
        self.did: list[tuple[object, ...]] = []
        self.number = 0
        self.host = "192.0.2.1"  # of the door, as phones see it

    def local_host_towards(self, _: str) -> str:
        return self.host

    def bindings(self, user: str) -> tuple[()]:
        return ()

    def invite(self, uri: Uri, sdp: bytes, **options: object) -> int:
        self.number += 1
        self.did.append(("invite", str(uri), sdp, options))
        return self.number

    def message(self, target: Uri, text: str, *, account: str | None = None) -> int:
        self.did.append(("message", str(target), text, account))
        return 7

    def __getattr__(self, verb: str) -> object:
        if verb.startswith("_"):
            raise AttributeError(verb)
        return lambda *arguments, **options: self.did.append((verb, *arguments, *options.values()))

    def of(self, verb: str) -> list[tuple[object, ...]]:
        return [did[1:] for did in self.did if did[0] == verb]


@dataclass
class MediaLeg:
    audio_port: int = 40000
    video_port: int | None = 40002
    profile_level_id: str = "42e01f"
    sprop_parameter_sets: str = ""
    audio: tuple[bool, bool] = (False, False)
    connected: list[object] = field(default_factory=list)
    secured: bool | None = None  # by handshake; with ICE
    gathered: bool = False
    moved_to: list[str] = field(default_factory=list)
    gathers: bool = False
    names: list[object] = field(default_factory=list)  # what was done about those of ICE

    def move(self, host: str) -> None:
        self.moved_to.append(host)
        self.audio_port += 10
        self.gathers = bool(self.secured)

    def renew(self, kinds: frozenset[str]) -> None:
        self.names.append(set(kinds))

    def keep(self) -> None:
        self.names.append("kept")

    def transport(self, media: str) -> None:
        return None

    def secure(self, *, ice: bool) -> None:
        self.secured = ice

    async def gather(self) -> None:
        self.gathered = True
        self.gathers = False

    def connect(self, agreement: object, *, talk: bool, listen: bool) -> None:
        self.connected.append(agreement)

    def set_audio(self, *, talk: bool, listen: bool) -> None:
        self.audio = (talk, listen)

    def play(self, tone: str) -> None: ...

    def statistics(self) -> dict[str, int]:
        return {}

    def close(self) -> dict[str, int]:
        return {}


class Engine:
    def __init__(self) -> None:
        self.legs: dict[str, MediaLeg] = {}
        self.sounds: list[str | None] = []
        self.announcements = SimpleNamespace(seconds={})

    def open_leg(self, name: str, host: str, on_event: object, *, video: bool) -> MediaLeg:
        self.legs[name] = MediaLeg(video_port=40002 if video else None)
        return self.legs[name]

    def play(self, tone: str | None) -> None:
        self.sounds.append(tone)

    def announce(self, name: str) -> None:
        self.sounds.append(name)


class House:
    def __init__(self, config: Config = CONFIG) -> None:
        self.now = 1000.0
        self.phone, self.engine = Phone(), Engine()
        self.told: list[object] = []
        stream = EventStream(monotonic=lambda: self.now)
        stream.subscribe(lambda record: self.told.append(record.event))
        self.deadlines: list[float] = []
        self.station = Station(config, stream, self.phone, self.engine, None, loop=self)  # type: ignore[arg-type]

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: object) -> "House":
        return self

    def cancel(self) -> None: ...

    def sip(self, *happened: sip_events.Event) -> None:
        for event in happened:
            self.station.sip_event(event)

    def of(self, kind: type) -> list[object]:
        return [event for event in self.told if isinstance(event, kind)]

    def ring(self) -> bytes:
        """Press; the offer of call 1."""
        self.station.pressed("flat", "gpio", self.now)
        offer = self.phone.of("invite")[0][1]
        assert isinstance(offer, bytes)
        return offer

    def talk(self) -> None:
        self.sip(sip_events.CallAnswered(1, "tag", answer_to(self.ring())))
        assert self.engine.legs["1.1"].audio == (True, True)


def answer_to(offer: bytes, port: int = 50000, video: bool = True) -> bytes:
    session = OfferAnswer(1)
    session.receive_offer(offer)
    local = LocalMedia(PHONE_AT, port, port + 2 if video else None, video_direction="recvonly")
    return session.create_answer(local)[0]


def an_offer(port: int = 50000, direction: str = "sendrecv") -> bytes:
    return OfferAnswer(2).create_offer(LocalMedia(PHONE_AT, port, audio_direction=direction))  # type: ignore[arg-type]


def incoming(call: int, sdp: bytes = b"", *, replaces: int = 0, user: str = "101") -> sip_events.IncomingCall:
    who = NameAddr.parse(f"<sip:{user}@pbx.example>")
    flow = Flow("udp", ("127.0.0.1", 5060), ("192.0.2.1", 5060), ("127.0.0.1", 5060), 1)
    us = Uri.parse("sip:door@127.0.0.1")
    return sip_events.IncomingCall(call, us, who, NameAddr("", us), flow, "pbx", sdp, (), replaces=replaces)


def ports(media: MediaLeg) -> list[int | None]:
    return [None if a.audio is None else a.audio.remote_rtp_port for a in media.connected]  # type: ignore[attr-defined]


# --- what a call says of itself ------------------------------------------------------------------------------


def test_a_call_says_who_rings_and_how_it_wants_to_be_rung() -> None:
    house = House()
    house.ring()
    options = house.phone.of("invite")[0][2]
    assert isinstance(options, dict)
    assert options["display_name"] == "Front"
    assert options["headers"] == (
        ("Alert-Info", "<http://127.0.0.1/dr3>"),
        ("Subject", "Calle Mayor 5"),
        ("P-Asserted-Identity", "Front <sip:door@pbx.example>"),
    )


def test_a_stage_may_ask_its_phones_to_answer_by_themselves() -> None:
    house = House()
    house.ring()
    house.sip(sip_events.CallEnded(1, "peer", 486, "Busy Here"))
    options = house.phone.of("invite")[1][2]
    assert isinstance(options, dict)
    assert dict(options["headers"])["Answer-Mode"] == "Auto"
    assert dict(options["headers"])["Call-Info"] == "<sip:pbx.example>;answer-after=0"


def test_nothing_is_asserted_to_a_server_that_does_not_trust_us() -> None:
    house = House(replace_accounts(trusted=False))
    house.ring()
    options = house.phone.of("invite")[0][2]
    assert isinstance(options, dict)
    assert "P-Asserted-Identity" not in dict(options["headers"])


def replace_accounts(*, trusted: bool) -> Config:
    account = msgspec.structs.replace(CONFIG.accounts[0], trusted=trusted)
    return msgspec.structs.replace(CONFIG, accounts=(account,))


# --- a picture that is refused -------------------------------------------------------------------------------


def test_pitfall_04_a_phone_without_a_screen_is_offered_sound_and_its_answer_is_understood() -> None:
    house = House()
    house.ring()
    (fallback,) = house.phone.of("fall_back")[0][1]
    assert [media.kind for media in SessionDescription.parse(fallback).media] == ["audio"]
    house.sip(sip_events.OfferReduced(1, 488))
    house.sip(sip_events.CallAnswered(1, "tag", answer_to(fallback)))
    media = house.engine.legs["1.1"]
    assert ports(media) == [50000]
    assert media.connected[0].video is None  # type: ignore[attr-defined]
    assert media.audio == (True, True)


# --- forks ---------------------------------------------------------------------------------------------------


def test_pitfall_13_each_fork_has_its_own_answer_and_the_one_that_answers_counts() -> None:
    house = House()
    offer = house.ring()
    house.sip(
        sip_events.CallProgress(1, "one", 183, answer_to(offer, 51000), final=True),
        sip_events.CallProgress(1, "two", 183, answer_to(offer, 52000)),
        sip_events.CallAnswered(1, "one", b""),
    )
    assert ports(house.engine.legs["1.1"]) == [51000, 52000, 51000]


def test_pitfall_13_a_fork_that_never_rang_may_answer() -> None:
    house = House()
    offer = house.ring()
    house.sip(
        sip_events.CallProgress(1, "one", 183, answer_to(offer, 51000), final=True),
        sip_events.CallAnswered(1, "three", answer_to(offer, 53000)),
    )
    assert ports(house.engine.legs["1.1"]) == [51000, 53000]


def test_a_b2bua_that_answers_under_another_tag_without_a_description_keeps_the_early_one() -> None:
    house = House()
    offer = house.ring()
    house.sip(
        sip_events.CallProgress(1, "one", 183, answer_to(offer, 51000)),
        sip_events.CallAnswered(1, "other", b""),
    )
    assert ports(house.engine.legs["1.1"]) == [51000, 51000]


def test_a_199_gives_picture_and_sound_to_another_fork_or_to_nobody() -> None:
    house = House()
    offer = house.ring()
    house.sip(
        sip_events.CallProgress(1, "one", 183, answer_to(offer, 51000)),
        sip_events.CallProgress(1, "two", 183, answer_to(offer, 52000)),
        sip_events.CallProgress(1, "two", 199, b""),
        sip_events.CallProgress(1, "one", 199, b""),
    )
    assert ports(house.engine.legs["1.1"]) == [51000, 52000, 51000, None]
    assert not house.of(events.LegFailed)


def test_an_update_of_an_early_dialog_moves_its_media() -> None:
    house = House()
    offer = house.ring()
    house.sip(
        sip_events.CallProgress(1, "one", 183, answer_to(offer, 51000), final=True),
        sip_events.Reoffered(1, an_offer(54000), "one"),
    )
    call, sdp, dialog = house.phone.of("answer_offer")[0]
    assert (call, dialog) == (1, "one")
    assert isinstance(sdp, bytes)
    assert ports(house.engine.legs["1.1"]) == [51000, 54000]


# --- 16: hold ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "answered"), [("sendonly", "recvonly"), ("recvonly", "sendonly"), ("inactive", "inactive")]
)
def test_pitfall_16_a_hold_is_answered_in_kind_and_the_resume_restores_where_sound_goes(
    offered: str, answered: str
) -> None:
    house = House()
    house.talk()
    house.sip(sip_events.Reoffered(1, an_offer(50000, offered)))
    sdp = house.phone.of("answer_offer")[0][1]
    assert isinstance(sdp, bytes)
    assert SessionDescription.parse(sdp).media[0].direction == answered
    house.sip(sip_events.Reoffered(1, an_offer(50000)))
    sdp = house.phone.of("answer_offer")[1][1]
    assert isinstance(sdp, bytes)
    assert SessionDescription.parse(sdp).media[0].direction == "sendrecv"
    assert ports(house.engine.legs["1.1"])[-1] == 50000
    assert house.engine.legs["1.1"].connected[-1].audio.sends  # type: ignore[attr-defined]
    assert not house.of(events.LegEnded)


def test_pitfall_16_a_hold_by_the_null_address_sends_nothing_and_is_answered() -> None:
    house = House()
    house.talk()
    held = an_offer().replace(PHONE_AT.encode(), b"0.0.0.0")
    house.sip(sip_events.Reoffered(1, held))
    assert len(house.phone.of("answer_offer")) == 1
    audio = house.engine.legs["1.1"].connected[-1].audio  # type: ignore[attr-defined]
    assert (audio.remote_host, audio.sends) == ("0.0.0.0", False)


def test_pitfall_16_a_direction_on_the_last_line_without_an_end_is_seen() -> None:
    house = House()
    house.talk()
    house.sip(sip_events.Reoffered(1, an_offer(direction="inactive").rstrip(b"\r\n")))
    assert not house.engine.legs["1.1"].connected[-1].audio.sends  # type: ignore[attr-defined]


def test_pitfall_16_an_offerless_reinvite_gets_everything_we_have_and_its_answer_counts() -> None:
    house = House()
    house.talk()
    house.sip(sip_events.Reoffered(1, an_offer(50000, "sendonly")), sip_events.Reoffered(1, b""))
    offer = house.phone.of("answer_offer")[1][1]
    assert isinstance(offer, bytes)
    described = SessionDescription.parse(offer)
    assert [(media.kind, bool(media.port)) for media in described.media] == [("audio", True), ("video", True)]
    assert described.media[0].direction == "sendrecv"
    house.sip(sip_events.CallAcknowledged(1, answer_to(offer, 55000)))
    assert ports(house.engine.legs["1.1"])[-1] == 55000


def test_pitfall_17_a_refresh_changes_nothing_unless_the_answer_does() -> None:
    house = House()
    offer = house.ring()
    answer = answer_to(offer)
    house.sip(sip_events.CallAnswered(1, "tag", answer))
    house.sip(sip_events.Refreshed(1, b""), sip_events.Refreshed(1, answer))
    assert ports(house.engine.legs["1.1"]) == [50000]
    house.sip(sip_events.Refreshed(1, answer_to(offer, 56000)))
    assert ports(house.engine.legs["1.1"]) == [50000, 56000]
    house.sip(sip_events.Refreshed(1, b"nonsense"))
    assert ports(house.engine.legs["1.1"]) == [50000, 56000]


# --- 32: late offers -----------------------------------------------------------------------------------------


def test_pitfall_32_a_caller_without_an_offer_gets_ours_and_media_starts_with_its_ack() -> None:
    house = House()
    house.sip(incoming(9))
    ((call, offer),) = house.phone.of("accept")
    assert call == 9
    assert isinstance(offer, bytes)
    media = house.engine.legs["1.1"]
    assert media.connected == []
    house.sip(sip_events.CallAcknowledged(9, answer_to(offer)))
    assert ports(media) == [50000]


def test_pitfall_32_an_answer_that_makes_no_sense_ends_the_call() -> None:
    house = House()
    house.sip(incoming(9))
    house.sip(sip_events.CallAcknowledged(9, b"nonsense"))
    assert house.phone.of("hangup")[0][0] == 9
    assert [event.status for event in house.of(events.IncomingRefused)] == [488]  # type: ignore[attr-defined]


# --- handing on ----------------------------------------------------------------------------------------------


def transfer(house: House, target: str) -> None:
    house.sip(sip_events.TransferAsked(1, Uri.parse(target), "<sip:101@pbx.example>"))


@pytest.mark.parametrize("target", ["sip:102@pbx.example", "sip:guard@192.0.2.50:5070"])
def test_the_door_is_handed_on_to_whom_the_configuration_names(target: str) -> None:
    house = House()
    house.talk()
    transfer(house, target)
    assert house.phone.of("accept_transfer") == [(1,)]
    assert len(house.phone.of("invite")) == 2
    house.sip(sip_events.CallProgress(2, "x", 180, b""))
    offer = house.phone.of("invite")[1][1]
    assert isinstance(offer, bytes)
    assert house.engine.legs["1.1"].audio == (True, True), "the first one talks on"
    house.sip(sip_events.CallAnswered(2, "x", answer_to(offer)))
    assert house.phone.of("transfer_progress") == [(1, 180, ""), (1, 200, "")]
    assert house.engine.legs["1.2"].audio == (True, True)
    assert house.phone.of("hangup") == [(1, "")]
    house.sip(sip_events.CallEnded(1, "us", 200, ""))
    assert not house.of(events.PressEnded)
    house.sip(sip_events.CallEnded(2, "peer", 200, "BYE"))
    assert len(house.of(events.PressEnded)) == 1


@pytest.mark.parametrize("target", ["sip:103@pbx.example", "sip:102@evil.example", "sip:+906@pbx.example"])
def test_the_door_is_handed_on_to_nobody_else(target: str) -> None:
    house = House()
    house.talk()
    transfer(house, target)
    assert house.phone.of("refuse_transfer") == [(1, 603)]
    assert len(house.phone.of("invite")) == 1
    (asked,) = house.of(events.TransferAsked)
    assert isinstance(asked, events.TransferAsked)
    assert (asked.target, asked.successor) == (target, "")


def test_who_hands_the_door_on_and_leaves_lets_the_visitor_hear_ringback() -> None:
    house = House()
    house.talk()
    transfer(house, "sip:102@pbx.example")
    house.sip(sip_events.CallEnded(1, "peer", 200, "BYE"))
    assert house.engine.sounds[-1] == "please-wait", "ringback, after the words for it"
    assert not house.of(events.PressEnded)
    house.sip(sip_events.CallEnded(2, "peer", 486, "Busy Here"))
    (ended,) = house.of(events.PressEnded)
    assert isinstance(ended, events.PressEnded)
    assert ended.reason == "handed on, and nobody there"


def test_a_failed_handing_on_leaves_the_call_where_it_was() -> None:
    house = House()
    house.talk()
    transfer(house, "sip:102@pbx.example")
    house.sip(sip_events.CallEnded(2, "peer", 486, "Busy Here"))
    assert house.phone.of("transfer_progress") == [(1, 486, "Busy Here")]
    assert house.engine.legs["1.1"].audio == (True, True)
    transfer(house, "sip:102@pbx.example")
    assert len(house.phone.of("accept_transfer")) == 2


def test_who_hands_the_door_on_to_nobody_that_can_be_called_hears_so_and_may_try_again() -> None:
    house = House()
    house.talk()
    opened = house.engine.open_leg

    def no_ports(*_: object, **__: object) -> MediaLeg:
        raise OSError("no free port")

    house.engine.open_leg = no_ports  # type: ignore[method-assign]
    transfer(house, "sip:102@pbx.example")
    assert house.phone.of("transfer_progress") == [(1, 500, "")]
    house.engine.open_leg = opened  # type: ignore[method-assign]
    transfer(house, "sip:102@pbx.example")
    assert len(house.phone.of("accept_transfer")) == 2
    assert house.phone.of("invite")[-1][0] == "sip:102@pbx.example"


def test_replaces_hands_the_door_to_a_caller_who_may_call() -> None:
    house = House()
    house.talk()
    house.sip(incoming(9, an_offer(57000), replaces=1))
    assert house.phone.of("accept")[0][0] == 9
    assert house.phone.of("hangup") == []
    house.sip(sip_events.CallAcknowledged(9))
    assert ports(house.engine.legs["1.2"]) == [57000]
    assert house.engine.legs["1.2"].audio == (True, True)
    assert house.phone.of("hangup") == [(1, "")]


def test_replaces_by_a_stranger_or_against_the_policy_is_refused() -> None:
    house = House()
    house.talk()
    house.sip(incoming(9, an_offer(), replaces=1, user="999"))
    assert house.phone.of("hangup") == [(9, 403)]
    calls = msgspec.structs.replace(CONFIG.calls, transfer="refuse")
    house = House(msgspec.structs.replace(CONFIG, calls=calls))
    house.talk()
    house.sip(incoming(9, an_offer(), replaces=1))
    assert house.phone.of("hangup") == [(9, 603)]
    assert house.engine.legs["1.1"].audio == (True, True)


# --- texts ---------------------------------------------------------------------------------------------------


def test_texts_are_sent_and_told_and_a_flood_of_them_is_not() -> None:
    house = House()
    assert house.station.message("101", "Parcel") == {"message": 7, "target": "101"}
    assert house.phone.of("message") == [("sip:101@pbx.example", "Parcel", "pbx")]
    house.sip(sip_events.TextDelivered(7, 202, "Accepted"))
    assert house.of(events.TextDelivered) == [events.TextDelivered(target="101", status=202, reason="Accepted")]
    flow = Flow("udp", ("127.0.0.1", 5060), ("192.0.2.1", 5060), ("127.0.0.1", 5060), 1)
    text = sip_events.TextReceived(NameAddr.parse("<sip:vto@192.0.2.1>"), flow, "", "Motion")
    for _ in range(100):
        house.sip(text)
    assert len(house.of(events.TextReceived)) == 20
    house.now += 61
    house.sip(text, sip_events.CheckSync(flow, "pbx"))
    assert len(house.of(events.TextReceived)) == 21
    assert house.of(events.CheckSync) == [events.CheckSync(source="udp:192.0.2.1:5060", account="pbx")]


def test_a_text_to_nowhere_is_the_technicians_mistake() -> None:
    house = House(msgspec.structs.replace(CONFIG, accounts=()))
    with pytest.raises(ControlError, match="needs an account"):
        house.station.message("101", "Parcel")


def test_an_attended_transfer_takes_the_place_of_the_call_in_which_it_was_agreed() -> None:
    house = House()
    house.talk()
    transfer(house, "sip:102@pbx.example?Replaces=abc%40x%3Bto-tag%3D1%3Bfrom-tag%3D2&Subject=x")
    options = house.phone.of("invite")[1][2]
    assert isinstance(options, dict)
    headers = dict(options["headers"])
    assert headers["Replaces"] == "abc@x;to-tag=1;from-tag=2"
    assert headers["Require"] == "replaces"
    assert headers["Subject"] == "Calle Mayor 5", "ours, not what the transferor wrote into the URI"


# --- another address of our own ------------------------------------------------------------------------------


def changed(house: House, host: str) -> None:
    house.phone.host = host
    house.sip(sip_events.NetworkChanged(1))


def offered(house: House) -> tuple[str | None, int]:
    """Address and sound port of the last offer within call 1."""
    call, sdp = house.phone.of("reoffer")[-1]
    assert call == 1
    assert isinstance(sdp, bytes)
    description = SessionDescription.parse(sdp)
    return description.host, description.media[0].port


def test_media_goes_on_from_the_new_address_and_the_peer_hears_of_it() -> None:
    house = House()
    house.talk()
    changed(house, "192.0.2.77")
    assert house.engine.legs["1.1"].moved_to == ["192.0.2.77"]
    assert offered(house) == ("192.0.2.77", 40010)
    (_, offer), media = house.phone.of("reoffer")[0], house.engine.legs["1.1"]
    assert isinstance(offer, bytes)
    before = len(media.connected)
    house.sip(sip_events.OfferAnswered(1, answer_to(offer)))
    assert len(media.connected) == before + 1
    assert len(house.phone.of("reoffer")) == 1


def test_a_network_that_brings_no_other_address_is_a_refresh() -> None:
    house = House()
    house.talk()
    changed(house, "192.0.2.1")
    assert house.phone.of("refresh") == [(1,)]
    assert not house.engine.legs["1.1"].moved_to


def test_while_there_is_no_way_out_nothing_is_moved_or_said() -> None:
    house = House()
    house.talk()
    changed(house, "127.0.0.1")
    assert not house.engine.legs["1.1"].moved_to
    assert not house.phone.of("refresh")
    changed(house, "192.0.2.77")
    assert offered(house) == ("192.0.2.77", 40010)


def test_an_address_that_changes_while_it_rings_is_offered_once_somebody_answers() -> None:
    house = House()
    offer = house.ring()
    changed(house, "192.0.2.77")
    assert house.engine.legs["1.1"].moved_to == ["192.0.2.77"]
    assert not house.phone.of("reoffer")
    house.sip(sip_events.CallAnswered(1, "tag", answer_to(offer)))
    assert offered(house) == ("192.0.2.77", 40010)


def test_a_second_change_is_told_after_the_answer_to_the_first() -> None:
    house = House()
    house.talk()
    changed(house, "192.0.2.77")
    changed(house, "192.0.2.78")
    ((_, first),) = house.phone.of("reoffer")
    assert isinstance(first, bytes)
    house.sip(sip_events.OfferAnswered(1, answer_to(first)))
    assert offered(house) == ("192.0.2.78", 40020)


def test_an_offer_that_met_another_is_made_again_when_there_is_room() -> None:
    house = House()
    house.talk()
    changed(house, "192.0.2.77")
    house.sip(sip_events.OfferRefused(1, 491, "Request Pending", again=True))
    assert len(house.phone.of("reoffer")) == 1
    house.sip(sip_events.OfferDue(1))
    assert len(house.phone.of("reoffer")) == 2
    assert offered(house) == ("192.0.2.77", 40010)


def test_a_peer_that_refuses_the_new_address_is_not_asked_for_ever() -> None:
    house = House()
    house.talk()
    changed(house, "192.0.2.77")
    house.sip(sip_events.OfferRefused(1, 488, "Not Acceptable Here"), sip_events.OfferDue(1))
    assert len(house.phone.of("reoffer")) == 1


def test_ports_that_cannot_be_had_leave_the_call_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    house.talk()

    def none(_: str) -> None:
        raise OSError("no free pair of RTP ports")

    monkeypatch.setattr(house.engine.legs["1.1"], "move", none)
    changed(house, "192.0.2.77")
    assert not house.phone.of("reoffer")
    assert house.phone.of("refresh") == [(1,)]


def test_a_range_of_ports_that_is_used_up_is_a_fault_with_its_remedy_until_there_are_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = House()

    def used_up(*_: object, **__: object) -> None:
        raise OSError(errno.EADDRINUSE, "no free pair of RTP ports in 40000-40007 on 192.0.2.1")

    with monkeypatch.context() as patch:
        patch.setattr(house.engine, "open_leg", used_up)
        house.station.pressed("flat", "gpio", house.now)
    (fault,) = house.of(events.Fault)
    assert isinstance(fault, events.Fault)
    assert (fault.where, "40000-40007" in fault.what) == ("media ports", True)
    assert "media.ports" in fault.remedy
    assert all("no free pair" in failed.reason for failed in house.of(events.LegFailed))  # type: ignore[attr-defined]
    house.ring()
    assert house.of(events.FaultCleared) == [events.FaultCleared(where="media ports")]


def test_a_canceller_that_could_not_be_loaded_is_a_fault_in_the_status() -> None:
    house = House()
    house.station.media_fault(
        MediaFault("canceller", "the webrtc canceller is not installed; speex is in its place")
    )
    (fault,) = house.of(events.Fault)
    assert (fault.where, fault.remedy.split(";")[0]) == (
        "canceller",
        "install what is missing, or choose another by audio.canceller of configuration or board.toml",
    )  # type: ignore[attr-defined]
