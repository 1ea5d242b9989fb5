"""REGISTER: refresh, challenges, learned addresses, back-off, un-registration (sip.md pitfalls 18 and 19)."""

import pytest

from firmware.sip.configuration import Account, Backoff, Configuration
from firmware.sip.events import CallEnded, IncomingCall, RegistrationChanged
from firmware.sip.message import Request, Response
from firmware.sip.types import Flow, Target, Transport
from firmware.sip.uri import Uri
from tests.support.sip_link import Bench, invite, reply

ACCOUNT = Account(
    "pbx",
    Uri.parse("sip:door@pbx.example"),
    "Street door",
    registrar=Uri.parse("sip:10.0.0.2"),
    password="secret",
    expires_s=600,
)
CONFIGURATION = Configuration(accounts=(ACCOUNT,))
OURS = "<sip:door@10.0.0.1:5060>"


def started(configuration: Configuration = CONFIGURATION) -> tuple[Bench, Request]:
    bench = Bench(configuration)
    bench.core.start(bench.now)
    return bench, bench.request("REGISTER")


def granted(request: Request, contact: str = f"{OURS};expires=600", **options: object) -> Response:
    return reply(request, 200, contact=contact, **options)


def challenge(nonce: str = "n1", stale: bool = False) -> tuple[tuple[str, str], ...]:
    words = f'Digest realm="pbx", nonce="{nonce}", qop="auth", algorithm=MD5{", stale=true" if stale else ""}'
    return (("WWW-Authenticate", words),)


def registered(configuration: Configuration = CONFIGURATION) -> tuple[Bench, Request]:
    bench, request = started(configuration)
    bench.receive(granted(request))
    bench.events()
    return bench, request


def changes(bench: Bench) -> list[RegistrationChanged]:
    return [event for event in bench.events() if isinstance(event, RegistrationChanged)]


def states(bench: Bench) -> list[str]:
    return [event.state for event in changes(bench)]


def next_register(bench: Bench, limit_s: float = 4000) -> tuple[float, Request]:
    """How long until the next REGISTER, and the REGISTER."""
    began = bench.now
    while bench.now - began < limit_s:
        found = [m for m in bench.sent() if isinstance(m, Request) and m.method == "REGISTER"]
        if found:
            return bench.now - began, found[0]
        deadline = bench.core.next_deadline()
        assert deadline is not None, "nothing is planned any more"
        bench.advance(max(0.0, deadline - bench.now))
    raise AssertionError("no REGISTER came")


# --- the plain way -------------------------------------------------------------------------------------------


def test_the_first_register_leaves_at_once_and_names_address_and_contact() -> None:
    bench, request = started()
    assert str(request.uri) == "sip:10.0.0.2"
    assert str(request.to.uri) == str(request.from_.uri) == "sip:door@pbx.example"
    assert request.from_.tag
    assert request.to.tag is None
    assert [str(contact) for contact in request.contacts] == [OURS]
    assert request.expires == 600
    bench.receive(granted(request))
    assert changes(bench) == [
        RegistrationChanged("pbx", "registering"),
        RegistrationChanged("pbx", "registered", 200, "OK", expires_s=600, server="10.0.0.2:5060 (udp)"),
    ]


def test_the_registrar_defaults_to_the_domain_of_the_address() -> None:
    bench = Bench(Configuration(accounts=(Account("a", Uri.parse("sip:door@pbx.example")),)))
    bench.names["pbx.example"] = (Target("udp", "10.0.0.2", 5060),)
    bench.core.start(0.0)
    request = bench.request("REGISTER")
    assert (str(request.uri), bench.opened) == ("sip:pbx.example", [Target("udp", "10.0.0.2", 5060)])


def test_an_account_that_does_not_register_is_silent() -> None:
    bench = Bench(Configuration(accounts=(Account("a", Uri.parse("sip:a@10.0.0.2"), register=False),)))
    bench.core.start(0.0)
    assert bench.sent() == []
    bench.core.stop(1.0)
    assert bench.core.stopped


# --- pitfall 18 ----------------------------------------------------------------------------------------------


def test_pitfall_18_the_refresh_comes_at_85_percent_of_our_own_binding() -> None:
    bench, request = started()
    others = "<sip:door@10.0.0.77:5060>;expires=60, "
    bench.receive(granted(request, others + f"{OURS};expires=200, <sip:door@10.0.0.78>;expires=30"))
    wait, refresh = next_register(bench)
    assert wait == pytest.approx(170)
    assert refresh.call_id == request.call_id
    assert refresh.cseq.number == request.cseq.number + 1
    assert refresh.from_.tag == request.from_.tag
    bench.receive(granted(refresh))
    assert states(bench) == ["registering", "registered"], "a refresh is no news"


def test_a_binding_without_its_own_expiry_lasts_as_the_expires_header_says() -> None:
    bench, request = started()
    bench.receive(granted(request, OURS, headers=(("Expires", "100"),)))
    assert next_register(bench)[0] == pytest.approx(85)


def test_a_registrar_that_lists_no_binding_is_taken_at_its_word() -> None:
    bench, request = started()
    bench.receive(granted(request, ""))
    assert next_register(bench)[0] == pytest.approx(510)


def test_pitfall_18_a_423_lengthens_the_expiry_for_good() -> None:
    bench, request = started()
    bench.receive(reply(request, 423, headers=(("Min-Expires", "1800"),)))
    again = bench.request("REGISTER")
    assert (again.expires, again.cseq.number, again.call_id) == (1800, 2, request.call_id)
    bench.receive(granted(again, f"{OURS};expires=1800"))
    wait, refresh = next_register(bench)
    assert wait == pytest.approx(1530)
    assert refresh.expires == 1800


def test_a_423_that_asks_for_nothing_new_is_a_failure_and_no_loop() -> None:
    bench, request = started()
    bench.receive(reply(request, 423, headers=(("Min-Expires", "600"),)))
    assert bench.sent() == []
    assert states(bench) == ["registering", "failed"]


def test_pitfall_18_an_address_behind_nat_is_learned_and_the_contact_rewritten_once() -> None:
    bench, request = started()
    request.replace_top_via(request.top_via.with_source("203.0.113.5", 41000))
    bench.receive(granted(request))
    again = bench.request("REGISTER")
    assert [str(contact) for contact in again.contacts] == [
        "<sip:door@203.0.113.5:41000>",
        f"{OURS};expires=0",
    ]
    again.replace_top_via(again.top_via.with_source("203.0.113.5", 41000))
    bench.receive(granted(again, "<sip:door@203.0.113.5:41000>;expires=600"))
    assert bench.sent() == []
    assert states(bench) == ["registering", "registered"]
    call = bench.core.invite(Uri.parse("sip:101@pbx.example"), b"", bench.now, account="pbx")
    sent = bench.request("INVITE")
    assert str(sent.contacts[0].uri) == "sip:door@203.0.113.5:41000"
    bench.core.hangup(call, bench.now)


def test_pitfall_18_a_port_that_flaps_never_makes_a_loop() -> None:
    bench, request = started()
    sent = 1
    for number in range(20):
        request.replace_top_via(request.top_via.with_source("203.0.113.5", 41000 + number))
        bench.receive(granted(request, f"{request.contacts[0]};expires=600"))
        found = [message for message in bench.sent() if isinstance(message, Request)]
        if found:
            sent += 1
            (request,) = found
            continue
        wait, request = next_register(bench)
        sent += 1
        assert wait == pytest.approx(510)
        if len(request.contacts) == 2:
            assert request.contacts[1].parameter("expires") == "0"
    assert bench.now > 18 * 500, f"{sent} REGISTERs in {bench.now} s"


def test_a_new_local_address_replaces_the_old_binding_and_what_was_learned_of_it() -> None:
    bench, request = started()
    request.replace_top_via(request.top_via.with_source("203.0.113.5", 41000))
    bench.receive(granted(request))
    again = bench.request("REGISTER")
    bench.receive(granted(again, f"{again.contacts[0]};expires=600"))
    bench.advance(510)
    (action,) = bench.core.take_actions()
    moved = Flow("udp", ("10.0.0.50", 5060), ("10.0.0.2", 5060), ("10.0.0.50", 5060), 2)
    bench.core.flow_opened(action.token, moved, bench.now)
    assert [str(contact) for contact in bench.request("REGISTER").contacts] == [
        "<sip:door@10.0.0.50:5060>",
        "<sip:door@203.0.113.5:41000>;expires=0",
    ]


@pytest.mark.parametrize("received", ["2001:DB8:0:0::1", "[2001:db8::1]", "not-an-address"])
def test_another_spelling_of_our_own_address_is_no_news(received: str) -> None:
    bench = Bench(CONFIGURATION)
    bench.core.start(0.0)
    (action,) = bench.core.take_actions()
    flow = Flow("udp", ("2001:db8::1", 5060), ("2001:db8::2", 5060), ("2001:db8::1", 5060), 1)
    bench.core.flow_opened(action.token, flow, 0.0)
    request = bench.request("REGISTER")
    assert str(request.contacts[0].uri) == "sip:door@[2001:db8::1]:5060"
    request.replace_top_via(request.top_via.with_parameter("received", received))
    bench.receive(granted(request, f"{request.contacts[0]};expires=600"), flow)
    assert bench.sent() == []
    assert states(bench) == ["registering", "registered"]


def test_pitfall_20_the_port_of_a_tcp_connection_is_not_mistaken_for_our_address() -> None:
    account = Account("pbx", Uri.parse("sip:door@pbx.example"), registrar=Uri.parse("sip:10.0.0.2;transport=tcp"))
    bench = Bench(Configuration(accounts=(account,)))
    bench.core.start(0.0)
    ((flow, request),) = bench.sent_on()
    assert isinstance(request, Request)
    assert str(request.contacts[0].uri) == "sip:door@10.0.0.1:5060;transport=tcp"
    request.replace_top_via(request.top_via.with_source("10.0.0.1", 50123))
    bench.receive(granted(request, "<sip:door@10.0.0.1:5060;transport=tcp>;expires=600"), flow)
    assert bench.sent() == []
    assert states(bench) == ["registering", "registered"]


def test_pitfall_20_a_lost_connection_is_registered_over_again_at_once() -> None:
    account = Account("pbx", Uri.parse("sip:door@pbx.example"), registrar=Uri.parse("sip:10.0.0.2;transport=tcp"))
    bench = Bench(Configuration(accounts=(account,)))
    bench.core.start(0.0)
    ((flow, request),) = bench.sent_on()
    assert isinstance(request, Request)
    bench.receive(granted(request, f"{request.contacts[0]};expires=600"), flow)
    bench.core.flow_closed(flow, "connection reset", bench.now)
    ((other, again),) = bench.sent_on()
    assert isinstance(again, Request)
    assert (again.method, other.number != flow.number) == ("REGISTER", True)


def test_the_back_off_doubles_with_jitter_up_to_its_bound() -> None:
    """RFC 5626 section 4.5: half to the whole of min(longest, base * 2^failures)."""
    bench, _ = started()
    bench.refused[Target("udp", "10.0.0.2", 5060)] = "network unreachable"
    bench.core.send_failed(bench.flow, "port unreachable", bench.now)
    waits = [event.retry_s for event in changes(bench) if event.state == "failed"]
    for _ in range(7):
        bench.advance(waits[-1])
        bench.sent()
        bench.sent()
        waits += [event.retry_s for event in changes(bench) if event.state == "failed"]
    bounds = [5, 10, 20, 40, 80, 120, 120, 120]
    assert len(waits) == len(bounds)
    assert all(bound / 2 <= wait <= bound for wait, bound in zip(waits, bounds, strict=True)), waits
    assert len({round(wait / bound, 3) for wait, bound in zip(waits, bounds, strict=True)}) > 4, "no jitter"


def test_a_registrar_that_is_gone_and_comes_back_is_found_within_one_back_off() -> None:
    bench, _ = registered()
    wait, _ = next_register(bench)
    assert wait == pytest.approx(510)
    bench.advance(33)
    bench.sent()
    (failed,) = changes(bench)
    assert (failed.state, failed.status) == ("failed", 408)
    assert failed.reason == "10.0.0.2:5060 (udp): no answer"
    wait, again = next_register(bench)
    assert wait <= failed.retry_s <= 60
    bench.receive(granted(again))
    assert states(bench) == ["registering", "registered"]


def test_retry_after_is_respected() -> None:
    bench, request = started()
    bench.receive(reply(request, 503, headers=(("Retry-After", "900 (maintenance)"),)))
    (*_, failed) = changes(bench)
    assert (failed.state, failed.status) == ("failed", 503)
    assert 900 <= failed.retry_s <= 990


def test_a_registrar_that_grants_nothing_is_a_visible_failure() -> None:
    bench, request = started()
    bench.receive(granted(request, f"{OURS};expires=0"))
    assert states(bench) == ["registering", "failed"]


# --- pitfall 19: digest --------------------------------------------------------------------------------------


def test_a_challenge_is_answered_and_its_nonce_used_again_with_a_rising_count() -> None:
    bench, request = started()
    bench.receive(reply(request, 401, headers=challenge()))
    again = bench.request("REGISTER")
    assert "nc=00000001" in (again.headers.get("Authorization") or "")
    assert (again.cseq.number, again.call_id) == (2, request.call_id)
    bench.receive(granted(again))
    _, refresh = next_register(bench)
    assert "nc=00000002" in (refresh.headers.get("Authorization") or "")
    assert 'nonce="n1"' in (refresh.headers.get("Authorization") or "")


def test_pitfall_19_an_old_nonce_without_stale_gets_one_silent_retry() -> None:
    bench, request = started()
    bench.receive(reply(request, 401, headers=challenge("n1")))
    bench.receive(granted(bench.request("REGISTER")))
    _, refresh = next_register(bench)
    bench.events()
    bench.receive(reply(refresh, 401, headers=challenge("n2")))
    fresh = bench.request("REGISTER")
    assert 'nonce="n2"' in (fresh.headers.get("Authorization") or "")
    bench.receive(granted(fresh))
    assert changes(bench) == [], "nobody need know"


def test_pitfall_19_a_wrong_password_is_a_visible_fault_and_retried_slowly() -> None:
    bench, request = started()
    tries = 1
    for number in range(20):
        bench.receive(reply(request, 401, headers=challenge(f"n{number}")))
        found = [message for message in bench.sent() if isinstance(message, Request)]
        if not found:
            break
        (request,) = found
        tries += 1
    assert tries == 2
    (*_, failed) = changes(bench)
    assert (failed.state, failed.status) == ("failed", 401)
    assert failed.reason == "Unauthorized: credentials refused"
    assert 300 <= failed.retry_s <= 600
    wait, _ = next_register(bench)
    assert wait == pytest.approx(failed.retry_s)


def test_a_challenge_without_a_password_to_answer_says_so() -> None:
    account = Account("pbx", Uri.parse("sip:door@10.0.0.2"))
    bench = Bench(Configuration(accounts=(account,)))
    bench.core.start(0.0)
    bench.receive(reply(bench.request("REGISTER"), 401, headers=challenge()))
    (*_, failed) = changes(bench)
    assert (failed.state, failed.reason) == ("failed", "Unauthorized: credentials wanted, none configured")


# --- the end -------------------------------------------------------------------------------------------------


def test_stop_removes_our_own_binding_and_no_other() -> None:
    bench, _ = registered()
    bench.core.stop(bench.now)
    request = bench.request("REGISTER")
    assert [str(contact) for contact in request.contacts] == [OURS]
    assert request.expires == 0
    assert not bench.core.stopped
    bench.receive(reply(request, 401, headers=challenge()))
    again = bench.request("REGISTER")
    assert again.expires == 0
    bench.receive(reply(again, 200, contact=""))
    assert states(bench) == ["unregistered"]
    assert bench.core.stopped
    bench.advance(4000)
    assert bench.sent() == []


def test_stop_waits_for_an_answer_on_its_way_and_then_unregisters() -> None:
    bench, request = started()
    bench.core.stop(bench.now)
    assert bench.sent() == []
    bench.receive(granted(request))
    assert bench.request("REGISTER").expires == 0


def test_stop_is_over_when_the_registrar_does_not_answer() -> None:
    bench, _ = registered()
    bench.core.stop(bench.now)
    assert bench.request("REGISTER").expires == 0
    bench.advance(33)
    assert bench.core.stopped
    assert states(bench) == ["unregistered"]


def test_stop_after_a_failure_has_nothing_to_remove() -> None:
    bench = Bench(CONFIGURATION)
    bench.refused[Target("udp", "10.0.0.2", 5060)] = "network unreachable"
    bench.core.start(0.0)
    bench.sent()
    bench.core.stop(1.0)
    assert bench.core.stopped
    assert bench.sent() == []


def test_stop_after_a_refused_password_has_nothing_to_remove() -> None:
    bench, request = started()
    bench.receive(reply(request, 401, headers=challenge("n1")))
    bench.receive(reply(bench.request("REGISTER"), 401, headers=challenge("n2")))
    bench.core.stop(bench.now)
    assert bench.core.stopped
    assert bench.sent() == []


# --- what else an account is for -----------------------------------------------------------------------------


def test_a_call_from_the_registrar_belongs_to_the_account_and_one_from_elsewhere_does_not() -> None:
    bench, _ = registered()
    bench.receive(invite(branch="z9hG4bKone", call_id="one"))
    bench.receive(invite(branch="z9hG4bKtwo", call_id="two"), bench.flow_to("10.0.0.66"))
    assert [event.account for event in bench.events() if isinstance(event, IncomingCall)] == ["pbx", ""]


def test_a_call_by_another_connection_or_transport_from_the_registrars_address_is_nobodys() -> None:
    bench, _ = registered()
    for number, transport in enumerate(("tcp", "tls", "ws")):
        other = Flow(transport, ("10.0.0.1", 5060), ("10.0.0.2", 5060), ("10.0.0.1", 5060), 9)
        bench.receive(invite(branch=f"z9hG4bK{number}", call_id=transport), other)
    assert [event.account for event in bench.events() if isinstance(event, IncomingCall)] == ["", "", ""]


@pytest.mark.parametrize("transport", ["tcp", "tls", "wss"])
def test_an_account_on_a_connection_is_called_by_that_very_connection(transport: Transport) -> None:
    bench = Bench(Configuration(accounts=(Account("pbx", Uri.parse("sip:door@pbx.example")),)))
    ours = Flow(transport, ("10.0.0.1", 43210), ("10.0.0.2", 5061), ("10.0.0.1", 5060), 7)
    bench.names["pbx.example"] = (Target(transport, "10.0.0.2", 5061),)
    bench.silent.add(ours.target)
    bench.core.start(bench.now)
    assert bench.sent() == []
    bench.core.flow_opened(bench.waiting[0].token, ours, bench.now)
    request = bench.request("REGISTER")
    bench.receive(granted(request, f"{request.contacts[0]};expires=600"), ours)
    others = (
        Flow(transport, ("10.0.0.1", 5060), ("10.0.0.2", 50000), ("10.0.0.1", 5060), 8),
        Flow("udp", ("10.0.0.1", 5060), ("10.0.0.2", 5061), ("10.0.0.1", 5060), 1),
        Flow("tcp", ("10.0.0.1", 5060), ("10.0.0.2", 5061), ("10.0.0.1", 5060), 9),
    )
    for number, flow in enumerate((ours, *others)):
        bench.receive(invite(branch=f"z9hG4bK{number}", call_id=f"c{number}"), flow)
    calls = [event for event in bench.events() if isinstance(event, IncomingCall)]
    assert [event.account for event in calls] == ["pbx", "", "", ""]


def test_the_called_user_decides_between_two_accounts_at_one_server() -> None:
    accounts = tuple(
        Account(name, Uri.parse(f"sip:{name}@pbx.example"), registrar=Uri.parse("sip:10.0.0.2"))
        for name in ("north", "south")
    )
    bench = Bench(Configuration(accounts=accounts))
    bench.core.start(0.0)
    for request in bench.sent():
        assert isinstance(request, Request)
        bench.receive(granted(request, f"{request.contacts[0]};expires=600"))
    bench.receive(invite(uri="sip:south@10.0.0.1:5060"))
    assert [event.account for event in bench.events() if isinstance(event, IncomingCall)] == ["south"]


def test_no_secret_is_shown_by_an_account_or_an_event() -> None:
    bench, request = started()
    bench.receive(reply(request, 401, headers=challenge()))
    assert "secret" not in repr(CONFIGURATION)
    assert "secret" not in repr(bench.events())
    assert not any(isinstance(event, CallEnded) for event in bench.events())


def test_shorter_waits_can_be_configured() -> None:
    bench = Bench(Configuration(accounts=(ACCOUNT,), backoff=Backoff(base_s=1, longest_s=4, refused_s=8)))
    bench.refused[Target("udp", "10.0.0.2", 5060)] = "network unreachable"
    bench.core.start(0.0)
    bench.sent()
    (*_, failed) = changes(bench)
    assert 1 <= failed.retry_s <= 2
