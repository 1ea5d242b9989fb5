"""Watching the door: the table of notifier.py row by row, who may, what a document says, and what is bounded."""

import re
from dataclasses import replace

import pytest

from firmware.sip import notifier
from firmware.sip.configuration import Account, Configuration
from firmware.sip.dialog_info import DialogState, document, ending
from firmware.sip.events import WatcherChanged
from firmware.sip.message import Request, Response
from firmware.sip.notifier import COME_BACK_S, LONGEST_S, MOST, MOST_EACH
from firmware.sip.uri import Uri
from tests.support.house import DOMAIN, Phone, connection, house
from tests.support.sip_link import Bench, invite, reply, request_of

DOOR = f"sip:door@{DOMAIN}"
MONITOR = Uri.parse("sip:mon@10.0.0.2")


class Watcher:
    """anna's monitor, registered at the house, on the bench of one door."""

    def __init__(self, bench: Bench | None = None, host: str = "10.0.0.3") -> None:
        self.bench = bench or Bench(house())
        self.phone = Phone(self.bench, "anna", host=host)
        self.tag = ""
        self.notified: Request | None = None

    def ask(self, expires: int | None = 600, *, cseq: int = 0, **headers: str) -> Response:
        """SUBSCRIBE, with credentials where they are wanted; keeps the NOTIFY that comes of it."""
        fields = {"Event": "dialog", "Contact": self.phone.contact, **headers}
        if expires is not None:
            fields["Expires"] = str(expires)
        request = self.phone.request(
            "SUBSCRIBE", DOOR, [(name, value) for name, value in fields.items() if value], to_tag=self.tag
        )
        if cseq:
            request.headers.set("CSeq", f"{cseq} SUBSCRIBE")
        response = self._answer(request)
        return self._answer(self.phone.proven(request, response)) if response.status == 401 else response

    def _answer(self, request: Request) -> Response:
        self.bench.receive(request, self.phone.flow)
        (response,) = [message for message in self._heard() if isinstance(message, Response)]
        if response.status == 200:
            self.tag = response.to.tag or ""
        return response

    def _heard(self) -> list[Request | Response]:
        messages = [message for flow, message in self.bench.sent_on() if flow.remote == self.phone.flow.remote]
        for message in messages:
            if isinstance(message, Request) and message.method == "NOTIFY":
                self.notified = message
        return messages

    def notify(self, status: int = 200) -> Request | None:
        """The NOTIFY that waits for an answer, answered; None if there is none."""
        self._heard()
        request, self.notified = self.notified, None
        if request is not None:
            self.bench.receive(reply(request, status, ""), self.phone.flow)
        return request

    def told(self) -> list[str]:
        """All that the NOTIFYs of the next ten seconds say."""
        said = []
        for _ in range(100):
            if (request := self.notify()) is not None:
                said.append(summary(request))
            self.bench.advance(0.1)
        return said


def summary(request: Request) -> str:
    body = request.body.decode()
    kind = re.search(r' state="(\w+)"', body)
    assert kind
    dialogs = re.findall(r'direction="(\w+)"><state([^>]*)>(\w+)<', body)
    state = request.headers.get("Subscription-State") or ""
    return " ".join([state.partition(";expires")[0], kind[1], *(f"{a} {c}{b}" for a, b, c in dialogs)])


def watching(bench: Bench) -> int:
    return bench.core.counts()["subscriptions"]


def subscribed(bench: Bench | None = None) -> Watcher:
    watcher = Watcher(bench)
    assert watcher.ask().status == 200
    assert watcher.notify() is not None
    return watcher


def call(bench: Bench) -> int:
    return bench.core.invite(MONITOR, b"v=0\r\n", bench.now)


def answer_invite(bench: Bench, invite_out: Request, status: int) -> None:
    bench.receive(reply(invite_out, status, sdp=b"v=0\r\n" if 100 < status < 300 else b""))


# --- the table, row by row -----------------------------------------------------------------------------------


def test_a_subscription_gets_200_and_everything_at_once():
    watcher = Watcher()
    response = watcher.ask()
    assert (response.status, response.expires) == (200, 600)
    assert response.contacts[0].uri.host == "10.0.0.1"
    request = watcher.notify()
    assert request is not None
    assert summary(request) == "active full"
    assert request.headers.get("Event") == "dialog"
    assert request.headers.get("Subscription-State") == "active;expires=600"
    assert request.content_type == "application/dialog-info+xml"
    assert f'version="0" state="full" entity="{DOOR}"' in request.body.decode()
    assert request.to.tag == "f"
    assert request.from_.tag == response.to.tag
    assert watcher.told() == []


def test_a_poll_is_answered_once_and_leaves_nothing():
    watcher = Watcher()
    assert watcher.ask(0).expires == 0
    assert watcher.told() == ["terminated;reason=timeout full"]
    assert watching(watcher.bench) == 0
    assert watcher.bench.of(WatcherChanged) == []


def test_no_room_is_503_and_when_to_come_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(notifier, "MOST", 1)
    bench = Bench(house())
    subscribed(bench)
    response = Watcher(bench, "10.0.0.4").ask()
    assert (response.status, response.retry_after) == (503, COME_BACK_S)
    assert watching(bench) == 1


def test_a_refresh_begins_the_time_anew_and_says_everything():
    watcher = subscribed()
    watcher.bench.advance(500)
    assert watcher.ask().status == 200
    request = watcher.notify()
    assert request is not None
    assert summary(request) == "active full"
    assert 'version="1"' in request.body.decode()
    watcher.bench.advance(500)
    assert watching(watcher.bench) == 1


def test_unsubscribing_gets_one_last_notify():
    watcher = subscribed()
    assert watcher.ask(0).expires == 0
    assert watching(watcher.bench) == 0
    assert watcher.told() == ["terminated;reason=timeout full"]


@pytest.mark.parametrize("event", ["presence", "dialog;id=2"])
def test_another_event_in_the_same_dialog_is_489(event: str):
    watcher = subscribed()
    response = watcher.ask(Event=event)
    assert (response.status, response.headers.get("Allow-Events")) == (489, "dialog")
    assert watching(watcher.bench) == 1


def test_an_older_subscribe_is_500():
    watcher = subscribed()
    assert watcher.ask(cseq=1).status == 500


def test_a_call_of_ours_is_seen_from_the_invite_to_its_end():
    watcher = subscribed()
    bench = watcher.bench
    number = call(bench)
    request = bench.request("INVITE")
    assert watcher.told() == ["active partial initiator trying"]
    answer_invite(bench, request, 100)
    assert watcher.told() == ["active partial initiator proceeding"]
    answer_invite(bench, request, 180)
    answer_invite(bench, request, 183)
    assert watcher.told() == ["active partial initiator early"]
    answer_invite(bench, request, 200)
    assert watcher.told() == ["active partial initiator confirmed"]
    bench.core.hangup(number, bench.now)
    assert watcher.told() == ['active partial initiator terminated event="local-bye"']


def test_a_call_to_us_is_seen_once_the_station_takes_it():
    watcher = subscribed()
    bench = watcher.bench
    bench.receive(invite())
    assert watcher.told() == []
    bench.core.ring(1, bench.now)
    assert watcher.told() == ["active partial recipient early"]
    bench.core.accept(1, b"v=0\r\n", bench.now)
    assert watcher.told() == ["active partial recipient confirmed"]


def test_a_stranger_who_is_refused_lights_no_lamp():
    watcher = subscribed()
    watcher.bench.receive(invite())
    watcher.bench.core.hangup(1, watcher.bench.now, status=403)
    assert watcher.told() == []


def test_who_comes_in_the_midst_of_a_call_is_told_of_it_at_once():
    bench = Bench(house())
    call(bench)
    answer_invite(bench, bench.request("INVITE"), 180)
    watcher = Watcher(bench)
    watcher.ask()
    request = watcher.notify()
    assert request is not None
    assert summary(request) == "active full initiator early"


def test_the_answers_of_a_ring_make_one_notify_and_the_rest_comes_a_second_later():
    watcher = subscribed()
    watcher.bench.advance(2)
    for _ in range(3):
        call(watcher.bench)
    watcher.bench.advance(0.19)
    for request in [message for message in watcher.bench.sent() if isinstance(message, Request)]:
        assert request.method == "INVITE"
        answer_invite(watcher.bench, request, 180)
    watcher.bench.advance(0.02)
    assert summary(watcher.notify() or Request("X", "")) == "active partial" + 3 * " initiator early"
    answer_invite(watcher.bench, request, 486)
    watcher.bench.advance(0.9)
    assert watcher.notify() is None
    watcher.bench.advance(0.2)
    assert watcher.notify() is not None


def test_what_changes_while_a_notify_is_under_way_goes_into_the_next():
    watcher = subscribed()
    bench = watcher.bench
    bench.advance(2)
    call(bench)
    request = bench.request("INVITE")
    bench.advance(0.3)
    answer_invite(bench, request, 180)
    call(bench)
    bench.advance(2)
    assert watcher.told() == [
        "active partial initiator trying",
        "active partial initiator early initiator trying",
    ]


@pytest.mark.parametrize("status", [404, 481, 489])
def test_a_notify_refused_for_good_ends_it_without_another_word(status: int):
    watcher = subscribed()
    watcher.bench.of(WatcherChanged)
    call(watcher.bench)
    watcher.bench.advance(1.1)
    watcher.notify(status)
    assert watching(watcher.bench) == 0
    (event,) = watcher.bench.of(WatcherChanged)
    assert (event.active, event.reason.split()[0]) == (False, str(status))
    watcher.bench.core.hangup(1, watcher.bench.now)
    assert watcher.told() == []


def test_after_a_refusal_that_passes_the_next_notify_says_everything():
    watcher = subscribed()
    call(watcher.bench)
    request = watcher.bench.request("INVITE")
    watcher.bench.advance(1.1)
    watcher.notify(500)
    assert watching(watcher.bench) == 1
    answer_invite(watcher.bench, request, 486)
    assert watcher.told() == ["active full"]


def test_a_watcher_who_answers_nothing_is_forgotten():
    watcher = Watcher()
    watcher.ask()
    watcher.bench.advance(33)
    assert watching(watcher.bench) == 0
    assert watcher.bench.core.counts()["alarms"] == 0


def test_it_ends_when_its_time_is_over():
    watcher = Watcher()
    watcher.ask(30)
    watcher.notify()
    watcher.bench.advance(29.9)
    assert watching(watcher.bench) == 1
    watcher.bench.advance(0.2)
    assert watching(watcher.bench) == 0
    assert watcher.told() == ["terminated;reason=timeout full"]
    assert watcher.ask().status == 481


def test_time_that_ends_while_a_notify_is_unanswered_ends_it_all_the_same():
    watcher = Watcher()
    watcher.ask(10)
    watcher._heard()
    watcher.bench.advance(10.1)
    assert watching(watcher.bench) == 0
    assert summary(watcher.notify() or Request("X", "")) == "active full"
    assert watcher.told() == ["terminated;reason=timeout full"]


def test_a_phone_that_forgets_its_subscriptions_pushes_out_its_own_oldest():
    bench = Bench(house())
    other = subscribed(bench)
    for number in range(MOST_EACH + 1):
        watcher = Watcher(bench, "10.0.0.4")
        watcher.phone.call_id = f"start-{number}"
        assert watcher.ask().status == 200
        watcher.notify()
    assert watching(bench) == MOST_EACH + 1
    assert other.ask().status == 200


def test_a_stop_tells_all_when_to_come_back():
    watcher = subscribed()
    call(watcher.bench)
    watcher.bench.advance(1.5)
    watcher.notify()
    watcher.bench.core.stop(watcher.bench.now)
    request = watcher.notify()
    assert request is not None
    assert request.headers.get("Subscription-State") == f"terminated;reason=probation;retry-after={COME_BACK_S}"
    assert watching(watcher.bench) == 0


# --- who may -------------------------------------------------------------------------------------------------


def subscribe(**headers: str) -> Request:
    fields = {"Event": "dialog", "Contact": "<sip:mon@10.0.0.2>", **headers}
    return request_of("SUBSCRIBE", branch="z9hG4bKs", headers=tuple((n, v) for n, v in fields.items() if v))


def test_a_stranger_is_refused_and_told_nothing():
    for configuration in (Configuration(), house()):
        bench = Bench(configuration)
        bench.receive(subscribe())
        assert bench.statuses() == [403]
        assert bench.core.counts()["subscriptions"] == 0


def test_who_claims_to_be_a_user_is_asked_for_the_password():
    bench = Bench(house())
    phone = Phone(bench, "anna", password="wrong")
    request = phone.request("SUBSCRIBE", DOOR, [("Event", "dialog"), ("Contact", phone.contact)])
    challenge = phone.ask(request)
    assert challenge.status == 401
    assert phone.ask(phone.proven(request, challenge)).status == 401


def test_a_user_who_registered_over_a_connection_is_proven_on_it_and_notified_over_it():
    bench = Bench(house())
    phone = Phone(bench, "anna", flow=connection(7, "10.0.0.7"))
    phone.register()
    # As a browser writes it: nobody could reach that name.
    request = phone.request("SUBSCRIBE", DOOR, [("Event", "dialog"), ("Contact", "<sip:anna@x.invalid>")])
    bench.receive(request, phone.flow)
    sent = bench.sent_on()
    assert [flow.number for flow, _ in sent] == [7, 7]
    assert [getattr(message, "status", 0) for _, message in sent] == [200, 0]
    bench.core.flow_closed(phone.flow, "gone", bench.now)
    call(bench)
    bench.advance(60)
    bench.sent()
    assert bench.core.counts()["subscriptions"] == 0


def test_the_server_of_an_account_may_and_is_asked_for_nothing():
    account = Account("pbx", Uri.parse("sip:door@10.0.0.2"))
    bench = Bench(Configuration(accounts=(account,)))
    bench.core.start(0)
    bench.receive(reply(bench.request("REGISTER"), 200, contact="<sip:door@10.0.0.1>;expires=600"))
    bench.receive(subscribe())
    response, request = bench.sent()
    assert isinstance(response, Response)
    assert isinstance(request, Request)
    assert (response.status, request.method, str(request.uri)) == (200, "NOTIFY", "sip:mon@10.0.0.2")
    assert [(event.account, event.user, event.active) for event in bench.of(WatcherChanged)] == [("pbx", "", True)]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Event": "presence"}, 489),
        ({"Event": ""}, 489),
        ({"Accept": "application/pidf+xml"}, 406),
        ({"Contact": ""}, 400),
        ({"Require": "eventlist"}, 420),
    ],
)
def test_what_cannot_be_served_is_refused_before_anybody_is_asked_who_he_is(headers: dict[str, str], status: int):
    bench = Bench(house())
    bench.receive(subscribe(**headers))
    response = bench.one()
    assert isinstance(response, Response)
    assert response.status == status
    assert (response.headers.get("Allow-Events") == "dialog") == (status == 489)


def test_options_names_the_package():
    bench = Bench()
    bench.receive(request_of("OPTIONS", branch="z9hG4bKo"))
    assert bench.one().headers.get("Allow-Events") == "dialog"


def test_nobody_gets_more_than_an_hour_and_who_asks_for_nothing_gets_that():
    for asked in (None, 10 * LONGEST_S):
        assert Watcher().ask(asked).expires == LONGEST_S


def test_subscriptions_are_bounded():
    bench = Bench(house(max_bindings=5))
    for number in range(MOST + 10):
        watcher = Watcher(bench, f"10.0.1.{number}")
        watcher.ask()
        watcher.notify()
    assert watching(bench) == MOST


# --- documents -----------------------------------------------------------------------------------------------


def test_a_document_is_xml_and_says_nothing_of_who_talks():
    from xml.etree import ElementTree

    early = DialogState("7", "initiator", "early")
    over = replace(early, id="8", state="terminated", event="rejected", code=486)
    root = ElementTree.fromstring(document('sip:a&b"<@x', 3, [early, over], full=False))
    space = "{urn:ietf:params:xml:ns:dialog-info}"
    assert root.tag == f"{space}dialog-info"
    assert root.attrib == {"version": "3", "state": "partial", "entity": 'sip:a&b"<@x'}
    first, second = root
    assert first.attrib == {"id": "7", "direction": "initiator"}
    assert [child.tag for child in first] == [f"{space}state"]
    assert second[0].attrib == {"event": "rejected", "code": "486"}
    assert [first[0].text, second[0].text] == ["early", "terminated"]


@pytest.mark.parametrize(
    ("answered", "direction", "by", "status", "event"),
    [
        (False, "initiator", "us", 487, ("cancelled", 0)),
        (False, "initiator", "peer", 486, ("rejected", 486)),
        (False, "recipient", "us", 603, ("rejected", 603)),
        (False, "recipient", "peer", 487, ("cancelled", 0)),
        (True, "initiator", "us", 200, ("local-bye", 0)),
        (True, "recipient", "peer", 200, ("remote-bye", 0)),
        (True, "recipient", "peer", 481, ("error", 0)),
        (False, "initiator", "network", 408, ("timeout", 0)),
        (True, "initiator", "network", 503, ("error", 0)),
    ],
)
def test_every_end_has_its_event(answered, direction, by, status, event):
    assert ending(direction, by, status, answered=answered) == event
