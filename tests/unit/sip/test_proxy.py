"""Users of the house call each other through the station: the proxy's rules by message, and whole calls."""

from dataclasses import replace

import pytest

from firmware.sip.configuration import Account, Configuration
from firmware.sip.events import CallAnswered, CallEnded, CallProgress, IncomingCall
from firmware.sip.message import Request, Response
from firmware.sip.types import Flow
from firmware.sip.uri import Uri
from tests.support.house import DOMAIN, PASSWORDS, Phone, connection, house
from tests.support.sip_link import Bench, Link, Node, reply

SDP = b"v=0\r\n"


class House:
    """anna calls bob, who has one phone or more."""

    def __init__(self, *bobs: Flow) -> None:
        self.bench = Bench(house())
        self.anna = Phone(self.bench, "anna", host="10.0.0.2")
        self.bobs = [Phone(self.bench, "bob", flow=flow, port=flow.remote[1]) for flow in bobs]
        self.anna.register()
        for bob in self.bobs:
            host = bob.flow.remote[0]
            bob.register(f"<sip:bob@{host}:{bob.flow.remote[1]}>")
        self.challenge: Response | None = None

    def invite(self, called: str = "bob", **options: object) -> Request:
        headers = [("Contact", "<sip:anna@10.0.0.2:5060>"), *options.pop("headers", ())]  # type: ignore[misc]
        request = self.anna.request(
            "INVITE", f"sip:{called}@{DOMAIN}", headers, call_id="between-users", body=SDP, **options
        )  # type: ignore[arg-type]
        challenge = self.anna.ask(request)
        assert challenge.status == 407, challenge
        self.bench.receive(self.ack(request, challenge))
        return self.anna.proven(request, challenge)

    @staticmethod
    def ack(invite: Request, response: Response) -> Request:
        ack = Request("ACK", invite.uri, invite.headers.copy())
        ack.headers.set("CSeq", f"{invite.cseq.number} ACK")
        ack.headers.set("To", str(response.to))
        return ack

    def forwarded(self, request: Request) -> list[tuple[Flow, Request]]:
        """The requests that leave for the other side after this one; what goes back to anna is kept."""
        self.bench.receive(request, self.anna.flow)
        return self.out()

    def out(self, method: str = "") -> list[tuple[Flow, Request]]:
        self.back: list[Response] = []
        found = []
        for flow, message in self.bench.sent_on():
            if isinstance(message, Response):
                self.back.append(message)
            elif not method or message.method == method:
                found.append((flow, message))
        return found

    def answer(
        self, flow: Flow, request: Request, status: int, tag: str = "b", **options: object
    ) -> list[Response]:
        """The other side's response; what anna gets."""
        contact = f"<sip:bob@{flow.remote[0]}:{flow.remote[1]}>"
        self.bench.receive(reply(request, status, tag, contact=contact, **options), flow)  # type: ignore[arg-type]
        self.requests = self.out()
        return self.back


UDP = Flow("udp", ("10.0.0.1", 5060), ("10.0.0.3", 5060), ("10.0.0.1", 5060), 1)
UDP2 = Flow("udp", ("10.0.0.1", 5060), ("10.0.0.4", 5060), ("10.0.0.1", 5060), 1)


# --- who may -----------------------------------------------------------------------------------------------


def test_a_call_is_asked_for_credentials_and_carries_none_of_them_on():
    door = House(UDP)
    ((flow, request),) = door.forwarded(door.invite())
    assert flow.remote == ("10.0.0.3", 5060)
    assert str(request.uri) == "sip:bob@10.0.0.3:5060"
    assert "Proxy-Authorization" not in request.headers
    assert request.max_forwards == 69
    assert len(request.vias) == 2
    assert request.record_routes[0].uri.has_parameter("lr")


@pytest.mark.parametrize("called", ["bob", "nobody"])
def test_a_stranger_learns_no_names(called: str):
    door = House(UDP)
    stranger = Phone(door.bench, "mallory", host="10.0.0.66")
    answer = stranger.ask(stranger.request("INVITE", f"sip:{called}@{DOMAIN}", body=SDP))
    assert answer.status == 407


def test_nobody_calls_under_another_name():
    door = House(UDP)
    carl = Phone(door.bench, "anna", host="10.0.0.5", login="carl", password=PASSWORDS["carl"])
    request = carl.request("INVITE", f"sip:bob@{DOMAIN}", body=SDP)
    assert carl.ask(carl.proven(request, carl.ask(request))).status == 403


def test_who_registered_over_a_connection_is_proven_on_it():
    door = House(UDP)
    flow = connection(9, "10.0.0.7")
    carl = Phone(door.bench, "carl", flow=flow)
    carl.register()
    door.bench.receive(carl.request("INVITE", f"sip:bob@{DOMAIN}", [("Contact", carl.contact)], body=SDP), flow)
    assert [request.method for _, request in door.out()] == ["INVITE"]
    door.bench.receive(
        carl.request("INVITE", f"sip:bob@{DOMAIN}", body=SDP, call_id="2"), connection(10, "10.0.0.7")
    )
    door.out()
    assert [response.status for response in door.back] == [407]


def test_an_unregistered_user_is_480_and_an_unknown_one_404():
    door = House(UDP)
    assert door.anna.ask(door.invite("carl")).reason_phrase == "carl is not registered"
    door.anna.call_id = "2"
    request = door.anna.request("INVITE", f"sip:nobody@{DOMAIN}", body=SDP, call_id="2")
    assert door.anna.ask(door.anna.proven(request, door.anna.ask(request))).status == 404


def test_a_pbx_that_pings_a_users_name_is_answered_by_the_station():
    door = House(UDP)
    pbx = Phone(door.bench, "pbx", host="10.0.0.9")
    assert pbx.ask(pbx.request("OPTIONS", f"sip:bob@{DOMAIN}")).status == 200


def test_too_many_hops_and_loops_are_refused():
    door = House(UDP)
    carl = Phone(door.bench, "anna")
    tired = carl.request("INVITE", f"sip:bob@{DOMAIN}", body=SDP)
    tired.headers.set("Max-Forwards", "0")
    assert carl.ask(tired).status == 483
    ((_, request),) = door.forwarded(door.invite())
    request.uri = Uri.parse(f"sip:bob@{DOMAIN}")
    request.headers.prepend("Via", "SIP/2.0/UDP 10.0.0.3:5060;rport;branch=z9hG4bKback")
    door.bench.receive(request, UDP)
    door.out()
    assert [response.status for response in door.back] == [482]


def test_what_insists_on_a_proxys_extension_is_420():
    door = House(UDP)
    request = door.anna.request("INVITE", f"sip:bob@{DOMAIN}", [("Proxy-Require", "sec-agree")], body=SDP)
    assert door.anna.ask(request).headers.get("Unsupported") == "sec-agree"


# --- one call ----------------------------------------------------------------------------------------------


def up(door: House) -> tuple[Flow, Request, Response]:
    """A call that bob has answered: his end of it, the INVITE there, and his 200 as anna saw it."""
    ((flow, request),) = door.forwarded(door.invite())
    (ok,) = [response for response in door.answer(flow, request, 200, sdp=SDP) if response.status == 200]
    return flow, request, ok


def within(door: House, method: str, ok: Response) -> Request:
    """A request of anna's in the call."""
    routes = [("Route", str(route)) for route in reversed(ok.record_routes)]
    request = door.anna.request(
        method, str(ok.contacts[0].uri), routes, to=f"sip:bob@{DOMAIN}", to_tag=ok.to.tag or "", call_id=ok.call_id
    )
    return request


def test_answers_come_back_without_our_via_and_later_requests_go_through_us():
    door = House(UDP)
    ((flow, request),) = door.forwarded(door.invite())
    (ringing,) = [response for response in door.answer(flow, request, 180) if response.status > 100]
    assert (ringing.status, len(ringing.vias)) == (180, 1)
    (ok,) = door.answer(flow, request, 200, sdp=SDP)
    assert (ok.body, ok.record_routes[0].uri.host) == (SDP, "10.0.0.1")
    ((to, ack),) = door.forwarded(within(door, "ACK", ok))
    assert (to.remote, ack.method, ack.headers.get("Route")) == (("10.0.0.3", 5060), "ACK", None)
    ((to, bye),) = door.forwarded(within(door, "BYE", ok))
    assert [response.status for response in door.answer(to, bye, 200)] == [200]
    assert door.bench.core.counts()["user_calls"] == 0


@pytest.mark.parametrize("method", ["INVITE", "INFO", "UPDATE", "PRACK", "REFER", "MESSAGE", "OPTIONS", "NOTIFY"])
def test_whatever_belongs_to_the_call_is_carried(method: str):
    door = House(UDP)
    _, _, ok = up(door)
    ((to, request),) = door.forwarded(within(door, method, ok))
    assert (request.method, str(request.uri), to.remote) == (method, "sip:bob@10.0.0.3:5060", ("10.0.0.3", 5060))


def test_the_other_side_is_carried_back():
    door = House(UDP)
    flow, request, ok = up(door)
    bob = door.bobs[0]
    bye = bob.request("BYE", "sip:anna@10.0.0.2:5060", to_tag="f", from_tag=ok.to.tag or "", call_id=ok.call_id)
    bye.headers.add("Route", str(request.record_routes[0]))
    door.bench.receive(bye, flow)
    ((to, forwarded),) = door.out()
    assert (to.remote, forwarded.method) == (("10.0.0.2", 5060), "BYE")


def test_a_user_watches_another_through_us_and_a_notify_may_come_before_the_200():
    door = House(UDP)
    subscribe = door.anna.request(
        "SUBSCRIBE",
        f"sip:bob@{DOMAIN}",
        [("Event", "dialog"), ("Contact", "<sip:anna@10.0.0.2:5060>")],
        call_id="w",
    )
    ((flow, forwarded),) = door.forwarded(door.anna.proven(subscribe, door.anna.ask(subscribe)))
    assert (forwarded.method, flow.remote) == ("SUBSCRIBE", ("10.0.0.3", 5060))
    for state in ("active;expires=60", "terminated;reason=timeout"):
        notify = door.bobs[0].request(
            "NOTIFY",
            "sip:anna@10.0.0.2:5060",
            [("Subscription-State", state), ("Route", str(forwarded.record_routes[0]))],
            to_tag="f",
            from_tag="b",
            call_id="w",
        )
        door.bench.receive(notify, flow)
        ((to, carried),) = door.out()
        assert (carried.method, to.remote) == ("NOTIFY", ("10.0.0.2", 5060))
        door.bench.receive(reply(carried, 200, ""), to)
        assert [response.status for response in door.bench.sent() if isinstance(response, Response)] == [200]
        if state.startswith("active"):
            assert [response.status for response in door.answer(flow, forwarded, 200)] == [200]
            assert door.bench.core.counts()["user_calls"] == 1
    assert door.bench.core.counts()["user_calls"] == 0


def test_nobody_else_is_carried_within_a_call():
    door = House(UDP)
    _, _, ok = up(door)
    bye = within(door, "BYE", ok)
    door.bench.receive(bye, door.bench.flow_to("10.0.0.66"))
    assert door.out() == []
    assert [response.status for response in door.back] == [481]


def test_a_call_that_we_do_not_know_is_481_wherever_it_points():
    door = House(UDP)
    _, _, ok = up(door)
    bye = within(door, "BYE", ok)
    bye.headers.set("Call-ID", "of-an-earlier-run")
    assert door.anna.ask(bye).status == 481


HOSTILE = [("uri", "sip:victim@203.0.113.9:5060"), ("route", "<sip:203.0.113.9;lr>")]


@pytest.mark.parametrize("method", ["BYE", "INVITE", "MESSAGE", "ACK"])
@pytest.mark.parametrize(("where", "target"), HOSTILE, ids=["request-uri", "route"])
def test_a_request_within_a_call_is_carried_to_its_own_parties_and_nowhere_else(
    method: str, where: str, target: str
):
    """anna, or who learned of her Call-ID on her machine, has the door send what it likes where it likes."""
    door = House(UDP)
    _, _, ok = up(door)
    request = within(door, method, ok)
    if where == "uri":
        request.uri = Uri.parse(target)
    else:
        request.headers.add("Route", target)
    assert door.forwarded(request) == []
    assert [response.status for response in door.back] == ([] if method == "ACK" else [480])
    ((to, _),) = door.forwarded(within(door, "BYE", ok))  # the call itself is none the worse
    assert to.remote == ("10.0.0.3", 5060)


def test_a_request_within_a_call_is_not_carried_to_a_third_user():
    door = House(UDP)
    carl = Phone(door.bench, "carl", host="10.0.0.5")
    carl.register()
    _, _, ok = up(door)
    bye = within(door, "BYE", ok)
    bye.uri = Uri.parse("sip:carl@10.0.0.5:5060")
    assert door.forwarded(bye) == []


def test_proxies_beside_us_stay_in_the_way_of_the_call_both_ways():
    door = House(UDP)
    edge = ("Record-Route", "<sip:edge-a@10.0.0.2:5070;lr>")
    ((flow, request),) = door.forwarded(door.invite(headers=[edge]))
    far = [
        ("Record-Route", "<sip:edge-b@10.0.0.3:5090;lr>"),
        *(("Record-Route", str(r)) for r in request.record_routes),
    ]
    door.bench.receive(reply(request, 200, "b", contact="<sip:bob@172.16.0.9>", sdp=SDP, headers=far), flow)
    door.out()
    (ok,) = door.back
    info = door.anna.request("INFO", "sip:bob@172.16.0.9", to_tag="b", call_id=ok.call_id)
    for route in [*reversed(request.record_routes[:-1]), "<sip:edge-b@10.0.0.3:5090;lr>"]:
        info.headers.add("Route", str(route))
    ((to, carried),) = door.forwarded(info)
    assert to == flow
    assert [route.uri.user for route in carried.routes] == ["edge-b"]
    bye = door.bobs[0].request("BYE", "sip:anna@10.0.0.2:5060", to_tag="f", from_tag="b", call_id=ok.call_id)
    for route in request.record_routes:
        bye.headers.add("Route", str(route))
    door.bench.receive(bye, flow)
    ((to, carried),) = door.out()
    assert to.remote == door.anna.flow.remote
    assert [route.uri.user for route in carried.routes] == ["edge-a"]


def test_requests_within_a_call_fill_no_memory():
    door = House(UDP)
    _, _, ok = up(door)
    most = house().max_transactions
    for _ in range(most + 20):
        info = within(door, "INFO", ok)
        info.uri = Uri.parse("sip:victim@203.0.113.9")
        door.forwarded(info)
    assert door.bench.core.counts()["strangers"] <= most
    assert [response.status for response in door.back] == [503]


def test_who_lost_his_connection_ends_his_call_over_a_new_one():
    door = House(UDP)
    door.anna.flow = connection(8, "10.0.0.2")
    _, _, ok = up(door)
    door.bench.core.flow_closed(door.anna.flow, "reset", door.bench.now)
    door.anna.flow = connection(9, "10.0.0.2")
    ((to, bye),) = door.forwarded(within(door, "BYE", ok))
    assert (to.remote, bye.method) == (("10.0.0.3", 5060), "BYE")


def test_repeated_answers_are_carried_again():
    door = House(UDP)
    ((flow, request),) = door.forwarded(door.invite())
    assert [response.status for response in door.answer(flow, request, 200, sdp=SDP)] == [200]
    assert [response.status for response in door.answer(flow, request, 200, sdp=SDP)] == [200]


def test_a_phone_on_a_connection_is_reached_on_it_in_the_call_too():
    door = House(connection(4, "10.0.0.3"))
    ((flow, request),) = door.forwarded(door.invite())
    assert flow.number == 4
    assert [way.uri.transport for way in request.record_routes] == ["tcp", None]
    response = reply(request, 200, "b", contact="<sip:bob@w8f7.invalid;transport=ws>", sdp=SDP)
    door.bench.receive(response, flow)
    door.out()
    (ok,) = door.back
    ((to, ack),) = door.forwarded(within(door, "ACK", ok))
    assert (to.number, str(ack.uri)) == (4, "sip:bob@w8f7.invalid;transport=ws")
    assert "Route" not in ack.headers


def test_a_phone_whose_connection_was_lost_is_found_by_its_new_one():
    door = House(connection(4, "10.0.0.3"))
    ((flow, request),) = door.forwarded(door.invite())
    contact = "<sip:bob@w8f7.invalid;transport=tcp>"
    door.bench.receive(reply(request, 200, "b", contact=contact, sdp=SDP), flow)
    door.out()
    (ok,) = door.back
    door.bench.core.flow_closed(flow, "reset", door.bench.now)
    again = Phone(door.bench, "bob", flow=connection(5, "10.0.0.3"), port=1)
    again.register(contact)
    ((to, _),) = door.forwarded(within(door, "BYE", ok))
    assert to.number == 5


# --- several phones ----------------------------------------------------------------------------------------


def test_all_phones_of_the_called_ring_and_the_first_that_answers_has_the_call():
    door = House(UDP, UDP2)
    (one, first), (two, second) = door.forwarded(door.invite())
    assert {one.remote[0], two.remote[0]} == {"10.0.0.3", "10.0.0.4"}
    door.answer(one, first, 180, "b1")
    door.answer(two, second, 180, "b2")
    (ok,) = door.answer(two, second, 200, "b2", sdp=SDP)
    assert (ok.status, ok.to.tag) == (200, "b2")
    ((to, cancel),) = door.requests
    assert (to, cancel.method) == (one, "CANCEL")
    assert "completed elsewhere" in cancel.reason
    assert door.answer(one, first, 487, "b1") == []


def test_a_phone_that_has_not_rung_yet_is_cancelled_when_it_does():
    door = House(UDP, UDP2)
    (one, first), (two, second) = door.forwarded(door.invite())
    door.answer(two, second, 200, "b2", sdp=SDP)
    assert door.requests == []
    door.answer(one, first, 180, "b1")
    assert [request.method for _, request in door.requests] == ["CANCEL"]


def test_two_answers_in_the_same_moment_both_reach_the_caller():
    door = House(UDP, UDP2)
    (one, first), (two, second) = door.forwarded(door.invite())
    assert [r.to.tag for r in door.answer(one, first, 200, "b1", sdp=SDP)] == ["b1"]
    assert [r.to.tag for r in door.answer(two, second, 200, "b2", sdp=SDP)] == ["b2"]


def test_the_best_refusal_is_told_once_the_last_phone_refused():
    door = House(UDP, UDP2)
    (one, first), (two, second) = door.forwarded(door.invite())
    assert [r.status for r in door.answer(one, first, 486, "b1")] == []
    assert [r.status for r in door.answer(two, second, 480, "b2")] == [486]
    assert door.bench.core.counts()["forwarded"] == 0


def test_a_decline_on_one_phone_ends_the_others():
    door = House(UDP, UDP2)
    (one, first), (two, second) = door.forwarded(door.invite())
    door.answer(two, second, 180, "b2")
    assert door.answer(one, first, 603, "b1") == []
    assert [(to, request.method) for to, request in door.requests] == [(one, "ACK"), (two, "CANCEL")]
    assert [r.status for r in door.answer(two, second, 487, "b2")] == [603]


def test_the_callers_own_phone_is_not_rung_when_he_calls_himself():
    door = House(UDP)
    Phone(door.bench, "anna", host="10.0.0.8").register()
    ((flow, _),) = door.forwarded(door.invite("anna"))
    assert flow.remote[0] == "10.0.0.8"


# --- cancel and silence ------------------------------------------------------------------------------------


def test_cancel_reaches_every_phone_that_rings():
    door = House(UDP)
    invite = door.invite()
    ((flow, request),) = door.forwarded(invite)
    door.answer(flow, request, 180)
    cancel = Request("CANCEL", invite.uri, invite.headers.copy())
    cancel.headers.set("CSeq", f"{invite.cseq.number} CANCEL")
    cancel.headers.remove("Proxy-Authorization")
    ((to, forwarded),) = door.forwarded(cancel)
    assert (to, forwarded.method, forwarded.top_via.branch) == (flow, "CANCEL", request.top_via.branch)
    assert [(r.status, r.cseq.method) for r in door.back] == [(200, "CANCEL")]
    assert [r.status for r in door.answer(flow, request, 487)] == [487]


def test_a_phone_that_says_nothing_is_408_and_leaves_nothing_behind():
    door = House(UDP)
    door.forwarded(door.invite())
    door.bench.advance(40)
    door.out()
    assert 408 in [response.status for response in door.back]
    assert (door.bench.core.counts()["forwarded"], door.bench.core.counts()["user_calls"]) == (0, 0)


def test_a_phone_that_rings_for_three_minutes_is_cancelled():
    door = House(UDP)
    ((flow, request),) = door.forwarded(door.invite())
    door.answer(flow, request, 180)
    door.bench.advance(181)
    assert "CANCEL" in [request.method for _, request in door.out()]
    door.bench.advance(40)
    door.out()
    assert 487 in [response.status for response in door.back]
    assert door.bench.core.counts()["forwarded"] == 0


def test_a_phone_that_is_gone_is_480():
    door = House(connection(4, "10.0.0.3"))
    door.forwarded(door.invite())
    door.bench.core.flow_closed(connection(4, "10.0.0.3"), "reset", door.bench.now)
    door.out()
    assert [response.status for response in door.back] == [480]


def test_a_message_that_nobody_takes_is_never_answered_408():
    door = House(UDP)
    request = door.anna.request("MESSAGE", f"sip:bob@{DOMAIN}", body=b"hello", call_id="text")
    proven = door.anna.proven(request, door.anna.ask(request))
    assert [request.method for _, request in door.forwarded(proven)] == ["MESSAGE"]
    door.bench.advance(40)
    door.out()
    assert [response.status for response in door.back] == [480]


def test_forwarding_is_bounded():
    door = House(UDP)
    statuses = []
    for number in range(70):
        request = door.anna.request("INVITE", f"sip:bob@{DOMAIN}", body=SDP, call_id=f"flood{number}")
        door.bench.receive(door.anna.proven(request, door.anna.ask(request)), door.anna.flow)
        door.out()
        statuses += [response.status for response in door.back]
    assert statuses.count(503) == 6
    door.bench.advance(100)
    door.out()
    counts = door.bench.core.counts()
    assert (counts["forwarded"], counts["user_calls"], counts["transactions"]) == (0, 0, 0)


# --- to the station itself ---------------------------------------------------------------------------------


def test_a_user_who_calls_the_station_proves_himself_first():
    door = House(UDP)
    request = door.anna.request("INVITE", f"sip:door@{DOMAIN}", [("Contact", door.anna.contact)], body=SDP)
    challenge = door.anna.ask(request)
    assert challenge.status == 401
    assert door.bench.of(IncomingCall) == []
    door.bench.receive(door.anna.proven(request, challenge), door.anna.flow)
    (event,) = door.bench.of(IncomingCall)
    assert event.user == "anna"


def test_a_stranger_who_calls_the_station_is_a_stranger():
    door = House(UDP)
    pbx = Phone(door.bench, "101", host="10.0.0.9")
    request = pbx.request("INVITE", f"sip:door@{DOMAIN}", [("Contact", pbx.contact)], body=SDP)
    request.headers.set("From", "<sip:101@pbx.test>;tag=f")
    door.bench.receive(request, pbx.flow)
    (event,) = door.bench.of(IncomingCall)
    assert event.user == ""


def test_a_pbx_whose_extension_has_a_users_name_is_not_asked_for_his_password():
    account = Account("pbx", Uri.parse("sip:door@pbx.test"), registrar=Uri.parse("sip:10.0.0.9"), password="x")
    bench = Bench(Configuration(accounts=(account,), house=replace(house().house, domain="")))
    bench.core.start(0)
    register = bench.request("REGISTER")
    pbx = bench.flow_to("10.0.0.9")
    bench.receive(reply(register, 200, contact=str(register.contacts[0])), pbx)
    caller = Phone(bench, "anna", flow=pbx)
    request = caller.request("INVITE", "sip:door@10.0.0.1", [("Contact", caller.contact)], body=SDP)
    request.headers.set("From", "<sip:anna@pbx.test>;tag=f")
    bench.receive(request, pbx)
    (event,) = bench.of(IncomingCall)
    assert (event.account, event.user) == ("pbx", "")


# --- whole calls over a lossy link -------------------------------------------------------------------------


def phone_of(link: Link, user: str, host: str, *, tcp: bool = False) -> Node:
    account = Account(
        name="house",
        address=Uri.parse(f"sip:{user}@{DOMAIN}"),
        registrar=Uri.parse("sip:10.0.0.1;transport=tcp" if tcp else "sip:10.0.0.1"),
        outbound_proxy=Uri.parse("sip:10.0.0.1;transport=tcp;lr" if tcp else "sip:10.0.0.1;lr"),
        password=PASSWORDS[user],
    )
    return link.add(user, host, Configuration(accounts=(account,)))


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("seed", range(6))
def test_a_whole_call_between_two_of_our_own_cores_through_the_door(seed: int, tcp: bool):
    link = Link(seed, loss=0.15, duplicates=0.1)
    door = link.add("door", "10.0.0.1", house())
    anna, bob = phone_of(link, "anna", "10.0.0.2"), phone_of(link, "bob", "10.0.0.3", tcp=tcp)

    def lift(node: Node, event: object) -> None:
        if isinstance(event, IncomingCall):
            node.core.ring(event.call, link.now)
            link.at(link.now + 3, lambda: node.core.accept(event.call, SDP, link.now))

    bob.react = lift
    for node in (anna, bob):
        node.core.start(link.now)
    link.run_until(lambda: all(door.core.bindings(user, link.now) for user in ("anna", "bob")), 120)
    call = anna.core.invite(Uri.parse(f"sip:bob@{DOMAIN}"), SDP, link.now, account="house")
    link.run_until(lambda: bool(anna.of(CallAnswered)), link.now + 120)
    assert anna.of(CallProgress)
    link.run(link.now + 5)
    assert not anna.of(CallEnded)
    bob.core.hangup(bob.of(IncomingCall)[0].call, link.now)  # type: ignore[attr-defined]
    link.run_until(lambda: bool(anna.of(CallEnded)), link.now + 60)
    assert anna.of(CallEnded)[0].call == call  # type: ignore[attr-defined]
    link.run(link.now + 100)
    counts = door.core.counts()
    assert (counts["forwarded"], counts["user_calls"]) == (0, 0)
