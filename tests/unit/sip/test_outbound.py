"""An account with several servers: failover, fail-back, outbound (RFC 5626), Service-Route, GRUU, new networks."""

import pytest

from firmware.sip.configuration import Account, Configuration
from firmware.sip.events import CallEnded, IncomingCall, RegistrationChanged
from firmware.sip.message import Request, Response
from firmware.sip.outbound import share
from firmware.sip.types import Flow, Target
from firmware.sip.uri import Uri
from tests.support.sip_link import Bench, invite, reply, request_of

INSTANCE = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
ONE, TWO = "10.0.0.2", "10.0.0.3"
ADDRESS = Uri.parse("sip:door@pbx.example")
Sent = tuple[Flow, Request]


def configured(**account: object) -> Configuration:
    settings = {"registrar": Uri.parse(f"sip:{ONE}"), "backups": (Uri.parse(f"sip:{TWO}"),), **account}
    return Configuration(accounts=(Account("pbx", ADDRESS, **settings),), instance=INSTANCE)  # type: ignore[arg-type]


def proxied(**account: object) -> Configuration:
    return configured(registrar=None, outbound_proxy=Uri.parse(f"sip:{ONE};lr"), **account)


def requests(bench: Bench, method: str = "REGISTER") -> list[Sent]:
    return [
        (flow, message)
        for flow, message in bench.sent_on()
        if isinstance(message, Request) and message.method == method
    ]


def after(bench: Bench, seconds: float, method: str = "REGISTER") -> list[tuple[float, Flow, Request]]:
    """What was sent in that time, and when."""
    found = []
    until = bench.now + seconds
    while True:
        found += [(bench.now, flow, request) for flow, request in requests(bench, method)]
        deadline = bench.core.next_deadline()
        if deadline is None or deadline > until:
            bench.advance(until - bench.now)
            return found
        bench.advance(max(0.0, deadline - bench.now))


def accept(
    bench: Bench, flow: Flow, request: Request, *headers: tuple[str, str], expires: int = 600, more: str = ""
) -> None:
    contact = f"<{request.contacts[0].uri}>;expires={expires}{more}"
    bench.receive(reply(request, 200, contact=contact, headers=headers), flow)


def changes(bench: Bench) -> list[tuple[str, str]]:
    return [(e.state, e.server) for e in bench.events() if isinstance(e, RegistrationChanged)]


def started(configuration: Configuration) -> tuple[Bench, Sent]:
    bench = Bench(configuration)
    bench.core.start(bench.now)
    (sent,) = requests(bench)
    return bench, sent


def registered(configuration: Configuration, *headers: tuple[str, str]) -> tuple[Bench, Sent]:
    bench, (flow, request) = started(configuration)
    accept(bench, flow, request, *headers)
    return bench, (flow, request)


def dead(bench: Bench, host: str) -> None:
    bench.core.send_failed(bench.flow_to(host), "port unreachable", bench.now)


# --- failover ------------------------------------------------------------------------------------------------


def test_a_dead_registrar_is_stood_in_for_and_named_in_the_request_it_gets() -> None:
    bench, (_, request) = started(configured())
    assert str(request.uri) == f"sip:{ONE}"
    dead(bench, ONE)
    ((flow, again),) = requests(bench)
    assert (flow.remote[0], str(again.uri)) == (TWO, f"sip:{TWO}")
    accept(bench, flow, again)
    assert changes(bench) == [("registering", ""), ("registered", f"{TWO}:5060 (udp)")]


def test_a_silent_registrar_is_stood_in_for_after_four_seconds() -> None:
    bench = Bench(configured())
    bench.core.start(0.0)
    found = after(bench, 4.2)
    assert [(when, flow.remote[0]) for when, flow, _ in found] == [
        (0, ONE),
        (0.5, ONE),
        (1.5, ONE),
        (3.5, ONE),
        (4, TWO),
    ]


def test_calls_stick_to_the_server_that_has_us_and_refreshes_too() -> None:
    bench, _ = started(configured())
    dead(bench, ONE)
    ((flow, request),) = requests(bench)
    accept(bench, flow, request, expires=20)  # refreshed before the best server is tried again
    bench.core.invite(Uri.parse("sip:101@pbx.example"), b"", bench.now, account="pbx")
    ((flow, call),) = requests(bench, "INVITE")
    assert flow.remote[0] == TWO
    bench.receive(reply(call, 404), flow)
    ((when, flow, _),) = after(bench, 17.1)
    assert (round(when), flow.remote[0]) == (17, TWO)


def test_the_best_server_is_gone_back_to_within_a_minute_of_its_return() -> None:
    bench, _ = started(configured())
    dead(bench, ONE)
    ((flow, request),) = requests(bench)
    accept(bench, flow, request)
    bench.events()
    found = after(bench, 61)
    when, flow, request = found[0]
    assert 30 <= when <= 60
    assert flow.remote[0] == ONE, "the best is tried first"
    accept(bench, flow, request)
    assert changes(bench) == [("registered", f"{ONE}:5060 (udp)")]
    assert requests(bench) == []
    ((when, flow, _), *_) = after(bench, 510.1)
    assert flow.remote[0] == ONE
    assert when > 540, "from then on as ever"


def test_the_best_server_is_gone_back_to_even_where_bindings_last_no_longer_than_that() -> None:
    bench, _ = started(configured())
    dead(bench, ONE)
    ((flow, request),) = requests(bench)
    for _ in range(10):
        accept(bench, flow, request, expires=15)
        _, flow, request = after(bench, 12.8)[0]  # a refresh every 12.75 s
        if flow.remote[0] == ONE:
            break
    assert flow.remote[0] == ONE
    assert 30 <= bench.now <= 75


def test_a_best_server_that_stays_dead_costs_the_registration_nothing() -> None:
    bench, _ = started(configured())
    dead(bench, ONE)
    ((flow, request),) = requests(bench)
    accept(bench, flow, request)
    bench.events()
    for _ in range(5):
        found = after(bench, 65)
        flow, request = next((flow, request) for _, flow, request in found if flow.remote[0] == TWO)
        accept(bench, flow, request)
    assert changes(bench) == []


def test_a_call_that_finds_the_server_dead_goes_on_and_has_the_account_registered_anew() -> None:
    bench, _ = registered(configured())
    bench.events()
    after(bench, 10)
    bench.core.invite(Uri.parse("sip:101@pbx.example"), b"", bench.now, account="pbx")
    assert [flow.remote[0] for flow, _ in requests(bench, "INVITE")] == [ONE]
    dead(bench, ONE)
    sent = [(flow.remote[0], m.method) for flow, m in bench.sent_on() if isinstance(m, Request)]
    assert sorted(sent) == [(TWO, "INVITE"), (TWO, "REGISTER")]


def test_a_server_that_dies_just_after_it_has_registered_us_is_left_all_the_same() -> None:
    bench, _ = registered(configured())
    bench.events()
    after(bench, 1)
    for _ in range(2):  # calls that come one after the other ask it no more often
        bench.core.invite(Uri.parse("sip:101@pbx.example"), b"", bench.now, account="pbx")
        dead(bench, ONE)
        assert requests(bench) == []
    (when, flow, request), *_ = after(bench, 4.5)
    assert (when, flow.remote[0]) == (5, TWO)
    accept(bench, flow, request)
    assert changes(bench)[-1] == ("registered", f"{TWO}:5060 (udp)")


def test_srv_targets_are_stuck_to_like_servers_that_were_written_down() -> None:
    bench = Bench(Configuration(accounts=(Account("pbx", ADDRESS),)))
    bench.names["pbx.example"] = (Target("udp", ONE, 5060), Target("udp", TWO, 5060))
    bench.core.start(0.0)
    ((flow, _),) = requests(bench)
    dead(bench, flow.remote[0])
    ((flow, request),) = requests(bench)
    accept(bench, flow, request)
    bench.names["pbx.example"] = tuple(reversed(bench.names["pbx.example"]))
    bench.core.invite(Uri.parse("sip:101@pbx.example"), b"", bench.now, account="pbx")
    assert [flow.remote[0] for flow, _ in requests(bench, "INVITE")] == [TWO]


def test_a_call_from_the_server_that_stands_in_belongs_to_the_account() -> None:
    bench, _ = started(configured())
    dead(bench, ONE)
    ((flow, request),) = requests(bench)
    accept(bench, flow, request)
    bench.receive(invite(branch="z9hG4bKone", call_id="one"), bench.flow_to(TWO))
    bench.receive(invite(branch="z9hG4bKtwo", call_id="two"), bench.flow_to("10.0.0.66"))
    assert [event.account for event in bench.events() if isinstance(event, IncomingCall)] == ["pbx", ""]


def test_a_datagram_flow_that_the_shell_gives_up_is_registered_anew_elsewhere() -> None:
    bench, (flow, _) = registered(configured())
    bench.core.flow_closed(flow, "keep-alive unanswered", bench.now)
    ((again, _),) = requests(bench)
    assert again.remote[0] == TWO


def test_the_backup_proxy_is_named_in_the_route_of_what_goes_through_it() -> None:
    bench, (_, request) = started(proxied())
    assert request.headers.get_all("Route") == [f"<sip:{ONE};lr>"]
    assert str(request.uri) == "sip:pbx.example"
    dead(bench, ONE)
    ((flow, request),) = requests(bench)
    assert request.headers.get_all("Route") == [f"<sip:{TWO};lr>"]
    assert str(request.uri) == "sip:pbx.example"
    accept(bench, flow, request)
    bench.core.invite(Uri.parse("sip:101@pbx.example"), b"", bench.now, account="pbx")
    ((flow, call),) = requests(bench, "INVITE")
    assert (flow.remote[0], call.headers.get_all("Route")) == (TWO, [f"<sip:{TWO};lr>"])


def test_stop_unregisters_where_it_is_registered() -> None:
    bench, _ = started(configured())
    dead(bench, ONE)
    ((flow, request),) = requests(bench)
    accept(bench, flow, request)
    bench.core.stop(bench.now)
    ((flow, request),) = requests(bench)
    assert (flow.remote[0], request.expires) == (TWO, 0)
    bench.receive(reply(request, 200, contact=""), flow)
    assert bench.core.stopped


# --- outbound ------------------------------------------------------------------------------------------------

OUTBOUND = ("Require", "outbound")


def test_the_contact_says_which_device_and_which_flow_it_is() -> None:
    _, (_, request) = started(configured())
    contact = request.contacts[0]
    assert contact.parameter("+sip.instance") == f"<{INSTANCE}>"
    assert contact.parameter("reg-id") == "1"
    assert {"path", "outbound"} <= request.supported


def test_an_account_without_outbound_still_says_which_device_it_is() -> None:
    _, (_, request) = started(configured(outbound=False))
    assert request.contacts[0].parameter("+sip.instance") == f"<{INSTANCE}>"
    assert request.contacts[0].parameter("reg-id") is None
    assert "outbound" not in request.supported


def test_two_edges_that_speak_outbound_hold_a_flow_each() -> None:
    bench, (_, first) = registered(proxied(), OUTBOUND)
    ((flow, second),) = requests(bench)
    assert flow.remote[0] == TWO
    assert second.contacts[0].parameter("reg-id") == "2"
    assert second.contacts[0].parameter("+sip.instance") == first.contacts[0].parameter("+sip.instance")
    assert second.call_id != first.call_id
    accept(bench, flow, second, OUTBOUND)
    assert changes(bench) == [("registering", ""), ("registered", f"{ONE}:5060 (udp)")]


def both() -> Bench:
    bench, _ = registered(proxied(), OUTBOUND)
    ((flow, second),) = requests(bench)
    accept(bench, flow, second, OUTBOUND)
    bench.events()
    return bench


def test_one_of_two_flows_may_die_and_calls_go_by_the_other_at_once() -> None:
    bench = both()
    bench.core.flow_closed(bench.flow_to(ONE), "keep-alive unanswered", bench.now)
    after(bench, 1)
    bench.core.invite(Uri.parse("sip:101@pbx.example"), b"", bench.now, account="pbx")
    ((flow, call),) = requests(bench, "INVITE")
    assert flow.remote[0] == TWO
    assert call.headers.get_all("Route") == [f"<sip:{TWO};lr>"]
    bench.receive(reply(call, 404), flow)
    after(bench, 40)
    assert changes(bench) == [], "the account is registered all along"


def test_both_flows_are_where_calls_to_us_come_from_and_both_are_unregistered() -> None:
    bench = both()
    for number, host in enumerate((ONE, TWO)):
        bench.receive(invite(branch=f"z9hG4bK{number}", call_id=host), bench.flow_to(host))
    calls = [event for event in bench.events() if isinstance(event, IncomingCall)]
    assert [event.account for event in calls] == ["pbx", "pbx"]
    for call in calls:
        bench.core.hangup(call.call, bench.now)
    bench.sent()
    bench.core.stop(bench.now)
    sent = requests(bench)
    assert {(flow.remote[0], request.expires) for flow, request in sent} == {(ONE, 0), (TWO, 0)}
    for flow, request in sent:
        bench.receive(reply(request, 200, contact=""), flow)
    assert [state for state, _ in changes(bench)] == ["unregistered"]


def test_both_flows_lost_is_the_account_s_failure_told_once() -> None:
    bench = both()
    for host in (ONE, TWO):
        bench.refused[Target("udp", host, 5060)] = "network unreachable"
        bench.core.flow_closed(bench.flow_to(host), "keep-alive unanswered", bench.now)
    after(bench, 3)
    assert [state for state, _ in changes(bench)].count("failed") == 1


def test_servers_that_do_not_speak_outbound_get_one_registration() -> None:
    bench, _ = registered(proxied())
    assert requests(bench) == []


def test_439_has_it_tried_without_outbound() -> None:
    bench, (flow, request) = started(proxied())
    bench.receive(reply(request, 439, contact="", reason="First Hop Lacks Outbound Support"), flow)
    ((flow, again),) = requests(bench)
    assert again.contacts[0].parameter("reg-id") is None
    assert "outbound" not in again.supported
    accept(bench, flow, again)
    assert [state for state, _ in changes(bench)] == ["registering", "registered"]


def test_with_outbound_calls_ask_to_come_back_by_the_flow_and_no_contact_is_rewritten() -> None:
    bench, (flow, request) = started(proxied(backups=()))
    request.replace_top_via(request.top_via.with_source("203.0.113.5", 41000))
    accept(bench, flow, request, OUTBOUND)
    assert requests(bench) == []
    bench.core.invite(Uri.parse("sip:101@pbx.example"), b"", bench.now, account="pbx")
    ((_, call),) = requests(bench, "INVITE")
    assert call.contacts[0].uri.has_parameter("ob")


# --- what the registrar says ---------------------------------------------------------------------------------


def test_the_service_route_is_taken_by_calls_and_not_by_registers() -> None:
    route = ("Service-Route", "<sip:orig@10.0.0.50;lr>, <sip:10.0.0.51;lr>")
    bench, (flow, request) = started(proxied(backups=()))
    accept(bench, flow, request, route, expires=40)
    bench.core.invite(Uri.parse("sip:101@pbx.example"), b"", bench.now, account="pbx")
    ((flow, call),) = requests(bench, "INVITE")
    assert flow.remote[0] == ONE
    assert call.headers.get_all("Route") == [f"<sip:{ONE};lr>", "<sip:orig@10.0.0.50;lr>", "<sip:10.0.0.51;lr>"]
    bench.receive(reply(call, 404), flow)
    ((_, _, refresh),) = after(bench, 34.1)
    assert refresh.headers.get_all("Route") == [f"<sip:{ONE};lr>"]


def test_without_a_proxy_calls_go_to_the_first_of_the_service_route() -> None:
    bench, (flow, request) = started(configured(backups=()))
    accept(bench, flow, request, ("Service-Route", "<sip:10.0.0.50;lr>"))
    bench.core.invite(Uri.parse("sip:101@pbx.example"), b"", bench.now, account="pbx")
    ((flow, call),) = requests(bench, "INVITE")
    assert (flow.remote[0], call.headers.get_all("Route")) == ("10.0.0.50", ["<sip:10.0.0.50;lr>"])


def test_a_proxy_that_is_in_the_service_route_itself_is_not_named_twice() -> None:
    bench, (flow, request) = started(proxied(backups=()))
    accept(bench, flow, request, ("Service-Route", f"<sip:{ONE};lr;token=x>, <sip:10.0.0.51;lr>"))
    bench.core.invite(Uri.parse("sip:101@pbx.example"), b"", bench.now, account="pbx")
    ((_, call),) = requests(bench, "INVITE")
    assert call.headers.get_all("Route") == [f"<sip:{ONE};lr;token=x>", "<sip:10.0.0.51;lr>"]


@pytest.mark.parametrize("route", ["nonsense", "<tel:123>", ", ".join(["<sip:10.0.0.50;lr>"] * 9)])
def test_a_service_route_that_leads_nowhere_is_no_route(route: str) -> None:
    bench, (flow, request) = started(configured(backups=()))
    accept(bench, flow, request, ("Service-Route", route))
    bench.core.invite(Uri.parse("sip:101@pbx.example"), b"", bench.now, account="pbx")
    ((_, call),) = requests(bench, "INVITE")
    assert call.headers.get_all("Route") == []


PUBLIC = "sip:door@pbx.example;gr=urn:uuid:1"
GRUU = f';pub-gruu="{PUBLIC}";temp-gruu="sip:tgruu.1@pbx.example;gr"'


def test_a_gruu_is_the_contact_of_calls_where_it_was_asked_for() -> None:
    bench, (flow, request) = started(configured(gruu=True))
    assert "gruu" in request.supported
    accept(bench, flow, request, more=GRUU)
    bench.core.invite(Uri.parse("sip:101@pbx.example"), b"", bench.now, account="pbx")
    ((_, call),) = requests(bench, "INVITE")
    assert str(call.contacts[0].uri) == PUBLIC, "the public one: a door does not hide who it is"
    assert {"gruu", "timer"} <= call.supported


def test_a_gruu_that_nobody_asked_for_is_left_alone() -> None:
    bench, (flow, request) = started(configured())
    assert "gruu" not in request.supported
    accept(bench, flow, request, more=GRUU)
    bench.core.invite(Uri.parse("sip:101@pbx.example"), b"", bench.now, account="pbx")
    ((_, call),) = requests(bench, "INVITE")
    assert call.contacts[0].uri.host == "10.0.0.1"
    assert "gruu" not in call.supported


@pytest.mark.parametrize(
    "given", ["", ';pub-gruu=":::"', ';pub-gruu="tel:101"', f';pub-gruu="{ADDRESS}"', f';pub-gruu="{PUBLIC}?a=b"']
)
def test_a_gruu_is_used_no_longer_than_the_registrar_gives_one_that_can_be_called(given: str) -> None:
    bench, (flow, request) = started(configured(gruu=True))
    accept(bench, flow, request, more=GRUU)
    ((_, flow, refresh),) = after(bench, 510.1)
    assert refresh.contacts[0].uri.host == "10.0.0.1", "a registrar is told our address, not its own name for it"
    accept(bench, flow, refresh, more=given)
    bench.core.invite(Uri.parse("sip:101@pbx.example"), b"", bench.now, account="pbx")
    ((_, call),) = requests(bench, "INVITE")
    assert call.contacts[0].uri.host == "10.0.0.1"


@pytest.mark.parametrize("called", [PUBLIC, "sip:door@10.0.0.1"])
def test_a_call_to_our_gruu_finds_us_and_comes_back_to_it(called: str) -> None:
    """Servers put our Contact in its place (RFC 5627 6.1), or do not."""
    bench, (flow, request) = started(configured(gruu=True))
    accept(bench, flow, request, more=GRUU)
    bench.receive(invite(uri=called), flow)
    (call,) = [event for event in bench.events() if isinstance(event, IncomingCall)]
    assert call.account == "pbx"
    bench.sent()
    bench.core.ring(call.call, bench.now)
    bench.core.accept(call.call, b"v=0\r\n", bench.now)
    for response in bench.sent():
        assert isinstance(response, Response)
        assert str(response.contacts[0].uri) == PUBLIC
        assert {"gruu", "timer"} <= response.supported
    bye = request_of("BYE", branch="z9hG4bKbye", to_tag=response.to.tag or "", cseq=2, uri=called)
    bench.receive(bye, flow)
    assert bench.statuses() == [200]


def test_a_gruu_says_which_of_two_accounts_at_one_server_is_called() -> None:
    """Registrars are known to write the user in lower case (JsSIP issue 844)."""
    two = tuple(
        Account(name, Uri.parse(f"sip:{name}@pbx.example"), registrar=Uri.parse(f"sip:{ONE}"), gruu=True)
        for name in ("Door", "Gate")
    )
    bench = Bench(Configuration(accounts=two, instance=INSTANCE))
    bench.core.start(bench.now)
    for flow, request in requests(bench):
        name = (request.to.uri.user or "").lower()
        accept(bench, flow, request, more=f';pub-gruu="sip:{name}@pbx.example;gr=urn:uuid:1"')
    for name in ("gate", "door"):
        uri = f"sip:{name}@pbx.example;gr=urn:uuid:1"
        bench.receive(invite(uri=uri, branch=f"z9hG4bK{name}", call_id=name), flow)
    assert [event.account for event in bench.events() if isinstance(event, IncomingCall)] == ["Gate", "Door"]


def test_a_reinvite_names_the_same_gruu() -> None:
    bench, (flow, request) = started(configured(gruu=True))
    accept(bench, flow, request, more=GRUU)
    number = bench.core.invite(Uri.parse("sip:101@pbx.example"), b"v=0\r\n", bench.now, account="pbx")
    ((flow, call),) = requests(bench, "INVITE")
    bench.receive(reply(call, 200, sdp=b"v=0\r\n"), flow)
    bench.sent()
    bench.core.reoffer(number, b"v=0\r\n", bench.now)
    again = bench.request("INVITE")
    assert str(again.contacts[0].uri) == PUBLIC
    assert "gruu" in again.supported


# --- another network -----------------------------------------------------------------------------------------


def test_a_changed_network_is_registered_in_at_once() -> None:
    bench, _ = registered(configured())
    bench.events()
    after(bench, 100)
    bench.core.network_changed(bench.now)
    assert len(requests(bench)) == 1
    assert changes(bench) == []


def test_a_changed_network_ends_a_back_off_and_a_request_that_nobody_will_answer() -> None:
    bench, _ = started(configured(backups=()))
    after(bench, 2)
    bench.core.network_changed(bench.now)
    ((flow, fresh),) = requests(bench)
    assert fresh.cseq.number == 2
    accept(bench, flow, fresh)
    assert [state for state, _ in changes(bench)] == ["registering", "registered"]
    assert bench.core.counts()["pending_requests"] == 0


def test_an_answer_to_the_request_of_before_changes_nothing() -> None:
    bench, (flow, request) = started(configured(backups=()))
    bench.core.network_changed(bench.now)
    ((_, fresh),) = requests(bench)
    bench.receive(reply(request, 403, contact=""), flow)
    accept(bench, flow, fresh)
    assert [state for state, _ in changes(bench)] == ["registering", "registered"]


def test_what_failed_in_the_old_network_is_tried_first_again() -> None:
    bench, _ = started(configured())
    dead(bench, ONE)
    ((flow, request),) = requests(bench)
    accept(bench, flow, request)
    bench.core.network_changed(bench.now)
    assert [flow.remote[0] for flow, _ in requests(bench)] == [ONE]


# --- a fleet -------------------------------------------------------------------------------------------------


def test_the_first_register_waits_for_the_station_s_own_share_of_the_spread() -> None:
    configuration = Configuration(
        accounts=(Account("pbx", ADDRESS, registrar=Uri.parse(f"sip:{ONE}")),), instance=INSTANCE, spread_s=100
    )
    bench = Bench(configuration)
    bench.core.start(0.0)
    (when, *_), *_ = after(bench, 100)
    assert when == pytest.approx(100 * share(INSTANCE, "pbx"))


def test_shares_are_evenly_spread_and_always_the_same() -> None:
    shares = sorted(share(f"urn:uuid:{number}", "pbx") for number in range(1000))
    assert all(abs(value - number / 1000) < 0.05 for number, value in enumerate(shares))
    assert share(INSTANCE, "pbx") == share(INSTANCE, "pbx") != share(INSTANCE, "other")


def test_stop_before_the_first_register_sends_nothing() -> None:
    configuration = Configuration(accounts=configured().accounts, instance=INSTANCE, spread_s=100)
    bench = Bench(configuration)
    bench.core.start(0.0)
    bench.core.stop(0.1)
    assert bench.core.stopped
    assert after(bench, 200) == []
    assert not any(isinstance(event, CallEnded) for event in bench.events())


def test_no_answer_of_ours_is_a_response_to_nothing() -> None:
    """Damaged GRUUs and expiries are read for what they are worth."""
    bench, (flow, request) = started(configured(gruu=True))
    response = reply(request, 200, contact=f'<{request.contacts[0].uri}>;expires=abc;pub-gruu=":::"')
    assert isinstance(response, Response)
    bench.receive(response, flow)
    assert [state for state, _ in changes(bench)] == ["registering", "registered"]
