"""The station between fakes of its neighbours: SIP endpoint, media engine, lock process."""

import asyncio
import dataclasses
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from firmware.config import Account, Button, Calls, Code, Config, Door, Incoming, Secret, Stage, User
from firmware.media import events as media_events
from firmware.net import door_client
from firmware.sdp.agreement import LocalMedia
from firmware.sdp.offer_answer import OfferAnswer
from firmware.sip import events as sip_events
from firmware.sip.location import Binding
from firmware.sip.types import Flow
from firmware.sip.uri import NameAddr, Uri
from firmware.station import events
from firmware.station.events import EventStream, Record
from firmware.station.incoming import BUSY
from firmware.station.station import Station
from firmware.station.status import ControlError
from firmware.station.visit import COMPLETED_ELSEWHERE


class Phone:
    def __init__(self):
        self.invites, self.hangups, self.accepted, self.answers = [], [], [], []
        self.number = 0
        self.headers, self.fallbacks, self.transfers, self.texts, self.infos, self.rings = [], [], [], [], [], []
        self.users, self.over = {}, []  # bindings of each, and those that invites went over

    def local_host_towards(self, _):
        return "127.0.0.1"

    def bindings(self, user):
        return self.users.get(user, ())

    def invite(self, uri, sdp, *, account=None, display_name=None, headers=(), binding=None):
        self.number += 1
        self.over.append(binding)
        self.headers.append(dict(headers))
        self.invites.append((self.number, str(uri), account, display_name, sdp))
        return self.number

    def fall_back(self, call, offers):
        self.fallbacks.append(offers)

    def hangup(self, call, *, status=0, reason=""):
        self.hangups.append((call, status, reason))

    def ring(self, call, *, status=180, sdp=b""):
        self.rings.append((call, status, sdp))

    def accept(self, call, sdp):
        self.accepted.append((call, sdp))

    def answer_offer(self, call, sdp, *, dialog=""):
        self.answers.append((call, sdp))

    def reject_offer(self, call, status, *, dialog=""):
        self.answers.append((call, status))

    def accept_transfer(self, call):
        self.transfers.append((call, 202))

    def refuse_transfer(self, call, status):
        self.transfers.append((call, status))

    def transfer_progress(self, call, status, reason):
        self.transfers.append((call, status))

    def counts(self):
        return {"calls": self.number}

    def info(self, call, content_type, body):
        self.infos.append((call, content_type, body))

    def message(self, target, text, *, account=None, binding=None):
        self.texts.append((str(target), text, account))
        self.over += [binding] if binding is not None else []
        return len(self.texts)


@dataclass
class MediaLeg:
    on_event: object
    audio_port: int = 40000
    video_port: int | None = 40002
    profile_level_id: str = "42e01f"
    sprop_parameter_sets: str = ""
    audio: tuple = (False, False)
    gathers: bool = False
    connected: list = field(default_factory=list)
    secured: bool | None = None  # by handshake; with ICE
    gathered: bool = False
    tones: list = field(default_factory=list)
    digits: list = field(default_factory=list)
    pressed: list = field(default_factory=list)
    keyframes: int = 0
    opened_video: bool = True
    closed: bool = False

    def transport(self, media):
        return None

    def secure(self, *, ice):
        self.secured = ice

    async def gather(self):
        self.gathered = True

    def renew(self, kinds):
        assert not kinds

    def keep(self):
        pass

    def connect(self, agreement, *, talk, listen):
        self.connected.append(agreement)
        self.audio = (talk, listen)

    def set_audio(self, *, talk, listen):
        self.audio = (talk, listen)

    def play(self, tone):
        self.tones.append(tone)

    def request_keyframe(self):
        self.keyframes += 1

    def digit_from_info(self, digit, held_s=0.0):
        self.digits.append(digit)

    def send_digits(self, digits, way="auto"):
        if way == "rtp":
            raise ValueError("the peer takes no telephone-events")
        self.pressed.append((digits, way))

    def note_sent(self, digits):
        self.pressed.append((digits, "noted"))

    def statistics(self):
        return {}

    def close(self):
        self.closed = True
        return {"audio_lost": 0}


class Engine:
    def __init__(self):
        self.announcements, self.announced = SimpleNamespace(seconds={}), []
        self.legs, self.sounds, self.broken = {}, [], False

    def open_leg(self, name, host, on_event, *, video):
        if self.broken:
            raise OSError("no free port")
        self.legs[name] = MediaLeg(on_event, opened_video=video)
        return self.legs[name]

    def play(self, tone):
        self.sounds.append(tone)

    def announce(self, name):
        self.announced.append(name)


class Lock:
    def __init__(self):
        self.pulses = []

    def pulse(self, door, pulse_ms, evidence):
        self.pulses.append((door, pulse_ms, evidence))
        return len(self.pulses)


CONFIG = Config(
    accounts=(Account(name="pbx", address="sip:door@pbx.example.org"),),
    buttons=(
        Button(
            name="flat",
            input="button1",
            doors=("street",),
            display_name="Front",
            stages=(Stage(ring=("101", "sip:mon@192.0.2.9:5062"), seconds=20), Stage(ring=("102",), seconds=20)),
        ),
        Button(name="office", input="button2", stages=(Stage(ring=("201",), seconds=20),)),
        Button(name="nobody", input="button3"),
    ),
    doors=(Door(name="street", relay="relay1", codes=(Code(name="family", digits=Secret("1234")),)),),
    calls=Calls(incoming=Incoming(policy="auto-answer", from_=("sip:101@pbx.example.org", "sip:mon@192.0.2.9"))),
)


BY_UDP = Flow("udp", ("192.0.2.1", 5060), ("192.0.2.9", 5060), ("192.0.2.1", 5060), 1)


def a_peer_answers(offer, video=True):
    session = OfferAnswer(1)
    session.receive_offer(offer)
    port = 50002 if video else None
    local = LocalMedia(host="192.0.2.9", audio_port=50000, video_port=port, video_direction="recvonly")
    return session.create_answer(local)[0]


def a_peer_offers():
    return OfferAnswer(2).create_offer(LocalMedia(host="192.0.2.9", audio_port=50000))


class House:
    def __init__(self, config=CONFIG, loop=None):
        self.now = 1000.0
        self.phone, self.engine, self.lock = Phone(), Engine(), Lock()
        self.told = []
        self.stream = EventStream(monotonic=lambda: self.now)
        self.stream.subscribe(lambda record: self.told.append(record.event))
        self.deadline = None
        self.station = Station(config, self.stream, self.phone, self.engine, self.lock, loop=loop or self)

    # the loop, as far as the station knows it

    def time(self):
        return self.now

    def call_at(self, when, callback):
        self.deadline = (when, callback)
        return self

    def cancel(self):
        self.deadline = None

    def turn_to(self, now):
        """Let the time pass, with every timer due on the way."""
        while self.deadline is not None and self.deadline[0] <= now:
            self.now, callback = self.deadline
            self.deadline = None
            callback()
        self.now = now

    def kinds(self, kind):
        return [event for event in self.told if isinstance(event, kind)]

    def sip(self, event):
        self.station.sip_event(event)

    def ring_and_answer(self):
        self.station.pressed("flat", "gpio", self.now)
        self.sip(sip_events.CallAnswered(1, "tag", a_peer_answers(self.phone.invites[0][4])))

    def type(self, leg, code):
        for digit in code:
            self.now += 0.2
            self.engine.legs[leg].on_event(media_events.Digit(digit, "rtp", self.now))


@pytest.fixture
def house():
    return House()


def test_pitfall_02_press_sends_an_invite_to_every_target_of_the_stage_within_the_same_call(house):
    house.station.pressed("flat", "gpio", house.now)
    assert [invite[1:4] for invite in house.phone.invites] == [
        ("sip:101@pbx.example.org", "pbx", "Front"),
        ("sip:mon@192.0.2.9:5062", None, "Front"),
    ]
    assert house.engine.sounds == ["ringback"]


def test_early_media_is_connected_and_the_microphone_stays_shut_until_the_answer(house):
    house.station.pressed("flat", "gpio", house.now)
    answer = a_peer_answers(house.phone.invites[0][4])
    house.sip(sip_events.CallProgress(1, "tag", 183, answer))
    leg = house.engine.legs["1.1"]
    assert leg.connected[0].video is not None
    assert leg.audio == (False, False)
    leg.on_event(media_events.RtpStarted("audio", "received", house.now))
    assert house.engine.sounds[-1] == "ringback", "silence that arrives does not end it"
    leg.on_event(media_events.SoundHeard(house.now))
    assert leg.audio == (False, True), "the visitor hears the early sound"
    assert house.engine.sounds[-1] is None
    house.sip(sip_events.CallAnswered(1, "tag", b""))
    assert leg.audio == (True, True)


def test_pitfall_02_first_answer_cancels_the_others_with_the_reason(house):
    house.ring_and_answer()
    assert house.phone.hangups == [(2, 0, COMPLETED_ELSEWHERE)]
    house.sip(sip_events.CallEnded(2, "us", 487, "Request Terminated"))
    assert house.engine.legs["1.2"].closed
    assert house.engine.legs["1.1"].audio == (True, True)


def test_an_answer_without_sound_ends_that_leg_and_the_others_ring_on(house):
    house.station.pressed("flat", "gpio", house.now)
    house.sip(sip_events.CallAnswered(1, "tag", b"not sdp"))
    assert house.phone.hangups[0][0] == 1
    assert [event.status for event in house.kinds(events.LegFailed)] == [488]
    assert not house.kinds(events.PressEnded)


def test_the_code_opens_the_door_once_and_the_call_ends_later(house):
    house.ring_and_answer()
    house.type("1.1", "1234")
    assert [pulse[:2] for pulse in house.lock.pulses] == [("street", 3000)]
    evidence = house.lock.pulses[0][2]
    assert (evidence["by"], evidence["leg"], evidence["party"]) == ("code", "1.1", "101")
    assert "1234" not in repr(house.told), "events never carry a code"
    house.station.doors.take(door_client.PulseAccepted(1, "street", 3000, 0.0))
    house.station.doors.take(door_client.LineOn(1, "street", 3000, house.now))
    assert [event.press for event in house.kinds(events.RelayOn)] == [1]
    assert house.engine.legs["1.1"].tones == house.engine.announced == ["door-opened"], "both hear it"
    house.turn_to(house.now + 4.9)
    assert (1, 0, "") not in house.phone.hangups
    house.turn_to(house.now + 0.2)
    assert house.phone.hangups[-1][0] == 1


def test_wrong_codes_are_refused_with_an_event_and_lock(house):
    house.ring_and_answer()
    for _ in range(5):
        house.type("1.1", "9999#")
    assert not house.lock.pulses
    assert len(house.kinds(events.AccessRefused)) == 5
    assert [event.lockout_s for event in house.kinds(events.AccessLocked)] == [30.0]
    house.type("1.1", "1234")
    assert not house.lock.pulses


def test_endless_keys_are_counted_and_the_first_refusals_kept(house):
    house.ring_and_answer()
    for _ in range(2000):
        house.type("1.1", "9")
    assert len(house.kinds(events.DigitReceived)) == 30
    assert house.kinds(events.AccessRefused)[0].evidence.party == "101"
    assert [event.of for event in house.kinds(events.EventsLeftOut)] == ["digit-received", "access-refused"]
    told = len(house.told)
    for _ in range(2000):
        house.type("1.1", "9")
    wrong = sum(bool(event.wrong_codes) for event in house.kinds(events.AccessRefused))
    assert len(house.told) - told <= 2 * wrong
    house.sip(sip_events.CallEnded(1, "peer", 200, "BYE"))
    assert house.kinds(events.LegEnded)[0].left_out["digit-received"] == 3970


def test_endless_ringing_is_counted(house):
    house.station.pressed("flat", "gpio", house.now)
    for n in range(1000):
        house.sip(sip_events.CallProgress(1, f"fork{n}", 180 + n % 4, b""))
    assert len(house.kinds(events.LegRinging)) == 30
    house.sip(sip_events.CallEnded(1, "peer", 486, "Busy"))
    assert house.kinds(events.LegFailed)[0].left_out == {"leg-ringing": 970}


def test_a_lock_out_outlives_a_restart_and_is_its_own_phones_alone(house):
    house.ring_and_answer()
    for _ in range(5):
        house.type("1.1", "9999#")
    assert [event.source for event in house.kinds(events.AccessLocked)] == ["101"]
    refusals = [Record(n, 0.0, 5000.0, event) for n, event in enumerate(house.kinds(events.AccessRefused))]
    after = House()
    after.station.remember_refusals(refusals, 5010.0)
    after.ring_and_answer()
    after.type("1.1", "1234")
    assert not after.lock.pulses
    assert "locked for" in after.kinds(events.AccessRefused)[0].reason
    other = House()
    other.station.remember_refusals(refusals, 5010.0)
    other.station.pressed("flat", "gpio", other.now)
    other.sip(sip_events.CallAnswered(2, "tag", a_peer_answers(other.phone.invites[1][4])))
    other.type("1.2", "1234")
    assert len(other.lock.pulses) == 1


def test_ports_are_free_as_soon_as_a_leg_is_given_up_and_visits_do_not_pile_up(house):
    for _ in range(50):
        house.station.pressed("flat", "gpio", house.now)
        house.station.pressed("office", "gpio", house.now)
    assert sum(not leg.closed for leg in house.engine.legs.values()) == 1
    assert len(house.station._visits.by_press) <= 10
    assert house.kinds(events.ButtonPressed)[-1].action == "ring"
    for number in range(1, house.phone.number + 1):
        house.sip(sip_events.CallEnded(number, "network", 408, ""))
    assert len(house.station._visits.by_press) == 1
    house.station.pressed("flat", "gpio", house.now)
    assert house.phone.invites[-1][1] == "sip:mon@192.0.2.9:5062"


def test_a_wrong_code_is_told_to_who_typed_it(house):
    house.ring_and_answer()
    house.type("1.1", "9999#")
    assert house.engine.legs["1.1"].tones == ["wrong-code"]
    assert not house.engine.announced


def test_the_door_opened_by_word_of_the_technician_is_told_at_the_door(house):
    house.station.pressed("flat", "gpio", house.now)
    house.station._opened(1)
    assert house.engine.announced == ["door-opened"]
    assert house.engine.sounds == ["ringback"], "which goes on"
    assert house.kinds(events.DoorSound)[-1].sound == "door-opened"


@pytest.mark.parametrize(
    ("statuses", "heard"), [((486, 486), "busy"), ((603, 603), "busy"), ((404, 404), "unreachable")]
)
def test_the_visitor_hears_why_nobody_comes(house, statuses, heard):
    house.station.pressed("office", "gpio", house.now)
    house.sip(sip_events.CallEnded(1, "peer", statuses[0], ""))
    assert house.engine.sounds[-1] == heard


@pytest.mark.parametrize(
    ("by", "spoken", "heard"),
    [("peer", {}, None), ("peer", {"call-ended": 1.5}, "call-ended"), ("network", {}, "out-of-order")],
)
def test_the_visitor_hears_how_the_call_ended(house, by, spoken, heard):
    house.engine.announcements.seconds.update(spoken)
    house.ring_and_answer()
    house.sip(sip_events.CallEnded(2, "us", 487, ""))
    house.sip(sip_events.CallEnded(1, by, 200, "BYE"))
    assert house.engine.sounds[-1] == heard
    house.turn_to(house.now + 10)
    assert house.engine.sounds[-1] is None


def test_an_announcement_is_said_to_its_end(house):
    house.engine.announcements.seconds["busy"] = 4.2
    house.station.pressed("office", "gpio", house.now)
    house.sip(sip_events.CallEnded(1, "peer", 486, "Busy Here"))
    house.turn_to(house.now + 4.1)
    assert house.engine.sounds[-1] == "busy"
    house.turn_to(house.now + 0.2)
    assert house.engine.sounds[-1] is None


def test_a_code_before_the_answer_is_refused(house):
    house.station.pressed("flat", "gpio", house.now)
    house.sip(sip_events.CallProgress(1, "tag", 183, a_peer_answers(house.phone.invites[0][4])))
    house.type("1.1", "1234")
    assert not house.lock.pulses
    assert [event.reason for event in house.kinds(events.AccessRefused)] == ["code before the answer"]


def test_code_of_a_button_that_opens_no_door_is_refused(house):
    house.station.pressed("office", "gpio", house.now)
    house.sip(sip_events.CallAnswered(1, "tag", a_peer_answers(house.phone.invites[0][4])))
    house.type("1.1", "1234")
    assert not house.lock.pulses


def test_a_refusal_of_the_lock_process_is_told_and_heard_and_the_call_goes_on(house):
    house.ring_and_answer()
    house.type("1.1", "1234")
    house.station.doors.take(door_client.PulseRefused(1, "street", "no door process: not running"))
    assert "not running" in house.kinds(events.DoorRefused)[0].reason
    assert house.kinds(events.DoorRefused)[0].press == 1
    assert house.engine.legs["1.1"].tones == ["out-of-order"]
    assert not house.kinds(events.LegEnded)


def test_the_lock_process_gone_is_a_fault_until_it_is_back(house):
    house.station.doors.take(door_client.DoorLost(reason="connection closed"))
    assert [event.where for event in house.kinds(events.Fault)] == ["door process"]
    assert house.station.status()["lock_process"] is False
    house.station.doors.take(door_client.DoorConnected(("street",), ()))
    assert [event.where for event in house.kinds(events.FaultCleared)] == ["door process"]


def test_faults_of_the_lock_process_are_the_stations(house):
    stuck = door_client.DoorFault("relay of street", "the line reads inactive", "check the relay")
    house.station.doors.take(stuck)
    assert [event.where for event in house.kinds(events.Fault)] == ["relay of street"]
    house.station.doors.take(door_client.DoorConnected(("street",), (stuck,)))
    assert not house.kinds(events.FaultCleared)
    house.station.doors.take(door_client.DoorConnected(("street",), ()))
    assert [event.where for event in house.kinds(events.FaultCleared)] == ["relay of street"]


def incoming(call, caller, account="", host="198.51.100.7", sdp=None):
    source = Flow("udp", ("127.0.0.1", 5060), (host, 5060), ("127.0.0.1", 5060), 1)
    name = NameAddr.parse(f"<{caller}>")
    return sip_events.IncomingCall(
        call,
        Uri.parse("sip:door@127.0.0.1"),
        name,
        name,
        source,
        account,
        a_peer_offers() if sdp is None else sdp,
        (),
    )


def test_a_caller_that_only_claims_to_be_a_target_is_refused(house):
    house.sip(incoming(9, "sip:101@pbx.example.org"))
    assert house.phone.hangups == [(9, 403, "")]
    assert "proof" in house.kinds(events.IncomingRefused)[0].reason


def test_a_stranger_through_our_server_is_refused(house):
    house.sip(incoming(9, "sip:666@pbx.example.org", account="pbx"))
    assert house.phone.hangups == [(9, 403, "")]


def test_a_flood_of_refused_calls_does_not_push_the_presses_out_of_the_store(house):
    for call in range(200):
        house.sip(incoming(call, "sip:666@pbx.example.org"))
    assert len(house.phone.hangups) == 200
    assert len(house.kinds(events.IncomingRefused)) == 20
    house.now += 61
    house.sip(incoming(201, "sip:666@pbx.example.org"))
    assert len(house.kinds(events.IncomingRefused)) == 21
    assert [(event.of, event.count) for event in house.kinds(events.EventsLeftOut)] == [
        ("incoming-refused", 0),
        ("incoming-refused", 180),
    ]


def test_a_stranger_who_never_tires_does_not_push_the_presses_out_of_the_store_in_a_day(house):
    for call in range(24 * 60 * 20):
        house.now += 3.0
        house.sip(incoming(call, "sip:666@pbx.example.org"))
    assert len(house.told) < 600


def test_users_who_come_and_go_without_end_are_counted(anna):
    for port in range(2000):
        anna.sip(sip_events.UserRegistered(a_phone_of_anna(port), False))
        anna.sip(sip_events.UserUnregistered(a_phone_of_anna(port), "unregistered"))
    assert len(anna.told) == 202


def test_a_target_through_our_server_is_let_in_but_its_code_opens_nothing(house):
    house.sip(incoming(9, "sip:101@pbx.example.org", account="pbx"))
    assert [call for call, _ in house.phone.accepted] == [9]
    house.sip(sip_events.CallAcknowledged(9))
    assert house.engine.legs["1.1"].audio == (True, True)
    house.type("1.1", "1234")
    assert not house.lock.pulses
    assert house.kinds(events.AccessRefused)


def test_who_took_a_call_over_from_outside_opens_nothing():
    calls = replace(CONFIG.calls, transfer="accept")
    house = House(replace(CONFIG, calls=calls))
    house.ring_and_answer()
    house.sip(dataclasses.replace(incoming(9, "sip:101@pbx.example.org", account="pbx"), replaces=1))
    assert [call for call, _ in house.phone.accepted] == [9]
    house.sip(sip_events.CallAcknowledged(9))
    house.type("1.3", "1234")
    assert not house.lock.pulses
    assert "came in" in house.kinds(events.AccessRefused)[0].reason


def test_a_target_from_its_own_address_is_let_in(house):
    house.sip(incoming(9, "sip:mon@192.0.2.9", host="192.0.2.9"))
    assert [call for call, _ in house.phone.accepted] == [9]


def test_nothing_flows_to_a_caller_and_no_press_waits_for_him_before_his_ack(house):
    house.sip(incoming(9, "sip:mon@192.0.2.9", host="192.0.2.9"))
    assert not house.engine.legs["1.1"].connected
    assert not house.kinds(events.IncomingCall)
    house.sip(sip_events.CallEnded(9, "network", 408, "no ACK"))
    assert house.engine.legs["1.1"].closed
    assert [event.status for event in house.kinds(events.IncomingRefused)] == [408]
    assert not house.kinds(events.PressEnded)


def test_a_press_rings_while_a_caller_owes_his_ack_and_he_is_not_let_in_any_more(house):
    house.sip(incoming(9, "sip:mon@192.0.2.9", host="192.0.2.9"))
    house.station.pressed("flat", "gpio", house.now)
    assert len(house.phone.invites) == 2
    house.sip(sip_events.CallAcknowledged(9))
    assert house.phone.hangups[-1][0] == 9
    assert house.engine.legs["1.1"].closed
    assert house.engine.legs["1.1"].audio == (False, False)


def test_calls_that_are_never_acknowledged_hold_a_few_ports_and_fill_no_store(house):
    for call in range(100, 200):
        house.sip(incoming(call, "sip:mon@192.0.2.9", host="192.0.2.9"))
    assert sum(not leg.closed for leg in house.engine.legs.values()) == 4
    assert len(house.kinds(events.IncomingRefused)) == 20
    assert len(house.told) == 21
    house.sip(sip_events.CallAcknowledged(199))
    assert len(house.kinds(events.IncomingCall)) == 1


def test_a_flood_of_calls_that_are_let_in_ends_in_refusals(house):
    for call in range(100, 150):
        house.sip(incoming(call, "sip:mon@192.0.2.9", host="192.0.2.9"))
        house.sip(sip_events.CallAcknowledged(call))
        house.sip(sip_events.CallEnded(call, "peer", 200, "BYE"))
    assert len(house.kinds(events.IncomingCall)) == 20
    assert house.phone.hangups[-1] == (149, 503, "")
    house.now += 61
    house.sip(incoming(200, "sip:mon@192.0.2.9", host="192.0.2.9"))
    assert [call for call, _ in house.phone.accepted][-1] == 200


def test_a_press_ends_the_call_of_who_only_looked_in_and_rings(house):
    house.sip(incoming(9, "sip:101@pbx.example.org", account="pbx"))
    house.sip(sip_events.CallAcknowledged(9))
    house.station.pressed("flat", "gpio", house.now)
    assert house.phone.hangups == [(9, 0, "")]
    assert len(house.phone.invites) == 2
    assert house.kinds(events.ButtonPressed)[-1].action == "ring"


def test_a_call_while_the_door_is_in_use_is_busy(house):
    house.ring_and_answer()
    house.sip(incoming(9, "sip:101@pbx.example.org", account="pbx"))
    assert house.phone.hangups[-1] == (9, 486, "")
    assert house.station.hangup() == {"press": 1}


@pytest.fixture
def busy_house(house):
    """In a call, with words of 2 s for callers."""
    house.engine.announcements.seconds["in-use"] = 2.0
    house.ring_and_answer()
    return house


def test_a_caller_hears_that_the_door_is_in_use_before_he_is_refused(busy_house):
    house = busy_house
    house.sip(incoming(9, "sip:101@pbx.example.org", account="pbx"))
    assert [(call, status, b"m=audio" in sdp) for call, status, sdp in house.phone.rings] == [(9, 183, True)]
    leg = house.engine.legs["2.1"]
    assert leg.connected[0].audio is not None
    assert (leg.audio, leg.tones, leg.opened_video) == ((False, False), [], False)
    house.turn_to(house.now + 0.6)
    assert leg.tones == ["in-use"]
    assert (9, 486, BUSY) not in house.phone.hangups
    house.turn_to(house.now + 2.5)
    assert house.phone.hangups[-1] == (9, 486, BUSY)
    assert leg.closed
    assert [event.status for event in house.kinds(events.IncomingRefused)] == [486]
    house.sip(sip_events.CallEnded(9, "us", 486, "Busy Here"))
    assert house.station.hangup() == {"press": 1}, "the call that was there is still there"
    assert not house.kinds(events.IncomingCall)


def test_a_caller_who_gives_up_while_he_is_told_leaves_nothing_behind(busy_house):
    house = busy_house
    house.sip(incoming(9, "sip:101@pbx.example.org", account="pbx"))
    house.sip(sip_events.CallEnded(9, "peer", 487, "cancelled"))
    assert house.engine.legs["2.1"].closed
    house.turn_to(house.now + 5)
    assert 9 not in [call for call, _, _ in house.phone.hangups]


def test_nobody_is_told_by_sound_whose_address_may_be_made_up_nor_two_at_once(busy_house):
    house = busy_house
    house.sip(incoming(8, "sip:mon@192.0.2.9", host="192.0.2.9"))
    assert house.phone.hangups[-1] == (8, 486, "")
    house.sip(incoming(9, "sip:101@pbx.example.org", account="pbx"))
    house.sip(incoming(10, "sip:101@pbx.example.org", account="pbx"))
    assert house.phone.hangups[-1] == (10, 486, "")
    assert [call for call, _, _ in house.phone.rings] == [9]


def test_what_a_caller_types_who_is_being_refused_is_not_even_looked_at(busy_house):
    house = busy_house
    house.sip(incoming(9, "sip:101@pbx.example.org", account="pbx"))
    house.type("2.1", "1234")
    assert not house.lock.pulses
    assert not house.kinds(events.DigitReceived)


def test_an_unusable_offer_of_a_caller_leaves_nothing_behind(house):
    house.sip(incoming(9, "sip:101@pbx.example.org", account="pbx", sdp=b"v=0\r\nnonsense"))
    assert house.phone.hangups == [(9, 488, "")]
    assert all(leg.closed for leg in house.engine.legs.values())
    house.station.pressed("flat", "gpio", house.now)
    assert len(house.phone.invites) == 2


def test_another_button_while_one_rings_replaces_it(house):
    house.station.pressed("flat", "gpio", house.now)
    house.station.pressed("office", "gpio", house.now)
    assert [call for call, _, _ in house.phone.hangups] == [1, 2]
    assert house.phone.invites[-1][1] == "sip:201@pbx.example.org"
    house.sip(sip_events.CallEnded(1, "us", 487, ""))
    house.sip(sip_events.CallEnded(2, "us", 487, ""))
    assert house.engine.sounds[-1] == "ringback", "the old visit must not silence the new one"


def test_a_button_without_a_plan_is_a_visible_fault(house):
    house.station.pressed("nobody", "gpio", house.now)
    assert house.kinds(events.Fault)
    assert house.kinds(events.PressEnded)[0].outcome == "failed"
    assert house.engine.sounds == ["out-of-order"], "the visitor is not left in silence"
    house.turn_to(house.now + 5.0)
    assert house.engine.sounds[-1] is None
    assert house.deadline is None


def test_no_free_port_fails_the_leg_and_is_told(house):
    house.engine.broken = True
    house.station.pressed("flat", "gpio", house.now)
    assert [event.outcome for event in house.kinds(events.PressEnded)] == ["failed"]
    assert house.kinds(events.Fault)
    house.engine.broken = False
    house.station.pressed("flat", "gpio", house.now)
    assert len(house.phone.invites) == 2


def test_a_leg_that_fails_in_an_unforeseen_way_does_not_silence_the_others(house):
    opened = house.engine.open_leg

    def without_memory(name, *arguments, **options):
        if name == "1.1":
            raise RuntimeError("can't start new thread")
        return opened(name, *arguments, **options)

    house.engine.open_leg = without_memory
    house.station.pressed("flat", "gpio", house.now)
    assert [invite[1] for invite in house.phone.invites] == ["sip:mon@192.0.2.9:5062"]
    assert [event.leg for event in house.kinds(events.LegFailed)] == ["1.1"]
    assert [event.where for event in house.kinds(events.Fault)] == ["program"]
    house.turn_to(house.now + 21)
    assert house.phone.invites[-1][1] == "sip:102@pbx.example.org", "the next stage rings in its time"


def test_a_target_that_can_be_called_again_is_no_fault_any_more(house):
    def nowhere(_):
        raise ValueError("no address of ours of that family")

    found, house.phone.local_host_towards = house.phone.local_host_towards, nowhere
    house.station.pressed("office", "gpio", house.now)
    assert [event.where for event in house.kinds(events.Fault)] == ["target 201"]
    house.phone.local_host_towards = found
    house.turn_to(house.now + 10)
    house.station.pressed("office", "gpio", house.now)
    assert [event.where for event in house.kinds(events.FaultCleared)] == ["target 201"]


def test_hold_and_keyframe_requests_of_the_peer_are_answered(house):
    house.ring_and_answer()
    held = OfferAnswer(3).create_offer(LocalMedia(host="192.0.2.9", audio_port=50000, audio_direction="sendonly"))
    house.sip(sip_events.Reoffered(1, held))
    assert b"a=recvonly" in house.phone.answers[0][1]
    house.sip(sip_events.InfoReceived(1, "application/media_control+xml", b"<x/>"))
    assert house.engine.legs["1.1"].keyframes == 1
    house.sip(sip_events.InfoReceived(1, "application/dtmf-relay", b"Signal= 5\r\nDuration=160\r\n"))
    assert house.engine.legs["1.1"].digits == ["5"]


def test_a_key_that_went_out_from_the_door_is_told_and_opens_nothing(house):
    house.ring_and_answer()
    house.type("1.1", "123")
    house.engine.legs["1.1"].on_event(media_events.DigitRefused("inband", house.now))
    assert [(event.leg, event.source) for event in house.kinds(events.DigitRefused)] == [("1.1", "inband")]
    house.turn_to(house.now + 10)
    assert not house.lock.pulses


@pytest.mark.parametrize("way", ["auto", "inband"])
def test_keys_are_pressed_at_who_talks_the_way_the_account_says(way):
    house = House(replace(CONFIG, accounts=(replace(CONFIG.accounts[0], keys_out=way),)))
    house.ring_and_answer()
    assert house.station.keys("12#") == {"press": 1, "leg": "1.1", "keys": 3}
    assert house.engine.legs["1.1"].pressed == [("12#", way)]
    assert not house.phone.infos
    assert [event.keys for event in house.kinds(events.KeysSent)] == [3]
    assert "12#" not in repr(house.told)


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("info", ("application/dtmf-relay", b"Signal=7\r\nDuration=160\r\n")),
        ("info-dtmf", ("application/dtmf", b"7")),
    ],
)
def test_keys_are_pressed_by_info_where_the_account_says_so(way, said):
    house = House(replace(CONFIG, accounts=(replace(CONFIG.accounts[0], keys_out=way),)))
    house.ring_and_answer()
    house.station.keys("7")
    assert house.phone.infos == [(1, *said)]
    assert house.engine.legs["1.1"].pressed == [("7", "noted")], "it does not count when it comes back"


def test_keys_that_cannot_be_pressed_are_refused_with_the_reason(house):
    with pytest.raises(ControlError, match="nobody talks"):
        house.station.keys("1")
    house = House(replace(CONFIG, accounts=(replace(CONFIG.accounts[0], keys_out="rtp"),)))
    house.ring_and_answer()
    with pytest.raises(ControlError, match="no telephone-events"):
        house.station.keys("1")
    for keys in ("", "1" * 33):
        with pytest.raises(ControlError, match="1 to 32 keys"):
            house.station.keys(keys)
    assert not house.kinds(events.KeysSent)


ANNA = User(name="anna", password=Secret("anna-secret"), display_name="Anna, 1A")


def a_phone_of_anna(port):
    contact = NameAddr.parse(f"<sip:anna@192.0.2.7:{port}>")
    return Binding("anna", contact, 1600.0, 600, "call-id", 1, "udp", ("192.0.2.7", port), agent="monitor/2.1")


@pytest.fixture
def anna(tmp_path):
    """A house with a user, whom the button rings beside a number at the PBX."""
    config = replace(
        CONFIG,
        users=(ANNA,),
        station=replace(CONFIG.station, state_dir=str(tmp_path)),
        buttons=(Button(name="flat", input="button1", stages=(Stage(ring=("anna", "101"), seconds=20),)),),
        calls=Calls(incoming=Incoming(policy="auto-answer", from_=("anna",))),
    )
    return House(config)


def test_all_phones_of_a_user_ring_in_the_stage_and_beside_them_the_number(anna):
    phones = anna.phone.users["anna"] = (a_phone_of_anna(5060), a_phone_of_anna(5070))
    anna.station.pressed("flat", "gpio", anna.now)
    assert [uri for _, uri, *_ in anna.phone.invites] == [
        "sip:anna@192.0.2.7:5060",
        "sip:anna@192.0.2.7:5070",
        "sip:101@pbx.example.org",
    ]
    assert anna.phone.over == [*phones, None]
    anna.sip(sip_events.CallAnswered(2, "tag", a_peer_answers(anna.phone.invites[1][4])))
    assert [call for call, *_ in anna.phone.hangups] == [1, 3]


def test_a_user_without_a_phone_fails_at_once_and_says_so(anna):
    anna.station.pressed("flat", "gpio", anna.now)
    (failed,) = anna.kinds(events.LegFailed)
    assert failed.reason == "anna is not registered"
    assert [uri for _, uri, *_ in anna.phone.invites] == ["sip:101@pbx.example.org"]


def test_a_text_to_a_user_goes_to_each_of_his_phones(anna):
    phones = anna.phone.users["anna"] = (a_phone_of_anna(5060), a_phone_of_anna(5070))
    anna.station.message("anna", "Parcel")
    assert [(uri, account) for uri, _, account in anna.phone.texts] == [
        ("sip:anna@192.0.2.7:5060", None),
        ("sip:anna@192.0.2.7:5070", None),
    ]
    assert anna.phone.over == [*phones]
    anna.sip(sip_events.TextDelivered(1, 200, "OK"))
    anna.sip(sip_events.TextDelivered(2, 480, ""))
    assert [(told.target, told.status) for told in anna.kinds(events.TextDelivered)] == [
        ("anna", 200),
        ("anna", 480),
    ]


def test_a_text_to_a_user_without_a_phone_is_refused_at_once(anna):
    with pytest.raises(ControlError, match="anna is not registered"):
        anna.station.message("anna", "Parcel")


def test_the_invite_event_names_the_phone_that_rings(anna):
    anna.phone.users["anna"] = (a_phone_of_anna(5060),)
    anna.station.pressed("flat", "gpio", anna.now)
    anna.sip(sip_events.InviteSent(1, BY_UDP))
    (sent,) = anna.kinds(events.InviteSent)
    assert (sent.target, sent.phone, sent.account) == ("anna", "192.0.2.7:5060 (monitor/2.1)", "")


def test_call_by_hand_of_a_user_who_is_not_registered_is_refused(anna):
    with pytest.raises(ControlError, match="anna is not registered"):
        anna.station.call("anna")


def test_a_user_who_proved_himself_may_call_and_one_who_did_not_may_not(anna):
    event = incoming(9, "sip:anna@192.0.2.1")
    anna.sip(event)
    assert anna.phone.hangups == [(9, 403, "")]
    anna.sip(dataclasses.replace(event, user="anna"))
    assert [call for call, _ in anna.phone.accepted] == [9]
    anna.sip(sip_events.CallAcknowledged(9))
    assert "password" in anna.kinds(events.IncomingCall)[0].proven


def test_users_and_their_phones_are_in_the_status_and_in_events(anna):
    binding = a_phone_of_anna(5060)
    anna.phone.users["anna"] = (binding,)
    anna.sip(sip_events.UserRegistered(binding, again=False))
    anna.sip(sip_events.UserRegistered(binding, again=True))
    assert [event.source for event in anna.kinds(events.UserRegistered)] == ["udp:192.0.2.7:5060"]
    (user,) = anna.station.status()["users"]
    assert user["phones"] == (
        {"contact": "sip:anna@192.0.2.7:5060", "source": "udp:192.0.2.7:5060", "agent": "monitor/2.1",
         "expires_s": 600.0},
    )  # fmt: skip
    anna.sip(sip_events.UserUnregistered(binding, "expired"))
    assert [event.reason for event in anna.kinds(events.UserUnregistered)] == ["expired"]


def test_failed_registration_is_a_fault_until_it_works(house):
    house.sip(sip_events.RegistrationChanged("pbx", "failed", 403, "Forbidden", retry_s=600.0))
    assert "password" in house.kinds(events.Fault)[0].remedy
    house.sip(sip_events.RegistrationChanged("pbx", "registered", 200, "OK", expires_s=600.0))
    assert house.kinds(events.FaultCleared)
    assert house.station.status()["accounts"][0]["state"] == "registered"


def unlocked_by_hand(door, answer):
    async def unlock():
        house = House(loop=asyncio.get_running_loop())
        task = asyncio.create_task(house.station.unlock(door, "root"))
        await asyncio.sleep(0)  # it runs up to where it waits for the lock process
        house.station.doors.take(answer)
        return await task, house.lock.pulses[0][2]

    return asyncio.run(unlock())


def test_unlock_by_hand_waits_for_the_lock_process_and_names_who_asked():
    answer = door_client.PulseAccepted(1, "street", 3000, 0.0)
    result, evidence = unlocked_by_hand("", answer)
    assert result == {"door": "street", "pulse_ms": 3000}
    assert evidence["user"] == "root"


def test_unlock_by_hand_tells_why_it_was_refused():
    with pytest.raises(ControlError, match="tamper"):
        unlocked_by_hand("street", door_client.PulseRefused(1, "street", "tamper"))


def test_nobody_answers_and_every_stage_rings_in_its_turn(house):
    house.station.pressed("flat", "gpio", house.now)
    house.turn_to(house.now + 20.0)
    assert house.phone.invites[-1][1] == "sip:102@pbx.example.org"
    for call in (1, 2):
        house.sip(sip_events.CallEnded(call, "us", 487, ""))
    house.turn_to(house.now + 20.0)
    assert [event.outcome for event in house.kinds(events.PressEnded)] == ["unanswered"]
    house.sip(sip_events.CallEnded(3, "us", 487, ""))
    house.turn_to(house.now + 10.0)
    assert house.engine.sounds[-1] is None
    assert house.deadline is None
    assert all(leg.closed for leg in house.engine.legs.values())


def test_commands_for_what_does_not_exist_name_what_does(house):
    with pytest.raises(ControlError, match="flat"):
        house.station.press("flt")
    with pytest.raises(ControlError, match="no call"):
        house.station.hangup()
    with pytest.raises(ControlError, match="cannot be called"):
        house.station.call("sip:")


def test_call_by_hand_rings_the_target_and_status_shows_it(house):
    house.station.call("sip:mon@192.0.2.9:5062")
    house.sip(sip_events.InviteSent(1, BY_UDP))
    assert house.station.status()["calls"][0]["party"] == "sip:mon@192.0.2.9:5062"
