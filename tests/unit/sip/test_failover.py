"""The next server when the first is dead, slow or out of service (RFC 3263 4.3, sip.md pitfall 31)."""

from firmware.sip.events import CallAnswered, CallEnded, CallProgress, InviteSent
from firmware.sip.message import Request, Response
from firmware.sip.types import Target
from firmware.sip.uri import Uri
from tests.support.sip_link import Bench, reply

ONE, TWO, THREE = (Target("udp", f"10.0.0.{number}", 5060) for number in (2, 3, 4))
SDP = b"v=0\r\n"


def calling(*targets: Target) -> tuple[Bench, int]:
    bench = Bench()
    bench.names["pbx.example"] = targets or (ONE, TWO)
    return bench, bench.core.invite(Uri.parse("sip:101@pbx.example"), SDP, bench.now)


def requests(bench: Bench) -> list[tuple[str, Request]]:
    """(host it went to, request) of each request since the last look."""
    return [(flow.remote[0], message) for flow, message in bench.sent_on() if isinstance(message, Request)]


def sent(bench: Bench) -> list[str]:
    return [f"{host[-1]} {request.method}" for host, request in requests(bench)]


def first_of(bench: Bench, method: str = "INVITE") -> dict[str, Request]:
    """The request of that method that went to each host since the last look."""
    return {host: request for host, request in requests(bench) if request.method == method}


def after(bench: Bench, seconds: float) -> dict[str, list[tuple[float, Request]]]:
    """What went to which host in that time, and when; flows are opened as they are asked for."""
    found: dict[str, list[tuple[float, Request]]] = {}
    until = bench.now + seconds
    while True:
        for host, request in requests(bench):
            found.setdefault(host, []).append((round(bench.now, 3), request))
        deadline = bench.core.next_deadline()
        if deadline is None or deadline > until:
            bench.advance(until - bench.now)
            return found
        bench.advance(deadline - bench.now)


def doubled() -> tuple[Bench, int, dict[str, Request]]:
    """A call that the first server has not answered in time; the INVITE to each of two."""
    bench, call = calling()
    found = after(bench, 4.1)
    return bench, call, {host: rows[0][1] for host, rows in found.items()}


def hear(bench: Bench, response: Response, host: str) -> None:
    bench.receive(response, bench.flow_to(host))


# --- when the next is tried ----------------------------------------------------------------------------------


def test_pitfall_31_a_silent_server_costs_four_seconds_and_not_thirty_two() -> None:
    bench, _ = calling()
    found = after(bench, 5)
    assert [when for when, _ in found["10.0.0.2"]] == [0, 0.5, 1.5, 3.5]
    assert [when for when, _ in found["10.0.0.3"]] == [4, 4.5]


def test_the_only_server_is_asked_for_the_whole_transaction() -> None:
    bench, _ = calling(ONE)
    assert [when for when, _ in after(bench, 33)["10.0.0.2"]] == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    (ended,) = bench.of(CallEnded)
    assert isinstance(ended, CallEnded)
    assert (ended.by, ended.status) == ("network", 408)


def test_pitfall_31_icmp_moves_the_call_on_at_once() -> None:
    bench, _ = calling()
    assert sent(bench) == ["2 INVITE"]
    bench.core.send_failed(bench.flow_to("10.0.0.2"), "port unreachable", bench.now)
    assert sent(bench) == ["3 INVITE"]


def test_pitfall_31_a_503_is_acknowledged_and_the_next_server_asked() -> None:
    bench, _ = calling()
    request = first_of(bench)["10.0.0.2"]
    hear(bench, reply(request, 503), "10.0.0.2")
    assert sent(bench) == ["2 ACK", "3 INVITE"]


def test_a_server_that_cannot_be_connected_to_is_passed_over() -> None:
    tcp = Target("tcp", "10.0.0.9", 5060)
    bench = Bench()
    bench.names["pbx.example"] = (tcp, TWO)
    bench.refused[tcp] = "connection refused"
    bench.core.invite(Uri.parse("sip:101@pbx.example"), SDP, bench.now)
    assert sent(bench) == ["3 INVITE"]


def test_a_provisional_answer_is_an_answer_however_long_it_rings() -> None:
    bench, _ = calling()
    request = first_of(bench)["10.0.0.2"]
    hear(bench, reply(request, 100, tag=""), "10.0.0.2")
    bench.advance(100)
    assert sent(bench) == []


def test_all_servers_silent_end_the_call_once_and_leave_nothing() -> None:
    bench, _ = calling(ONE, TWO, THREE)
    found = after(bench, 100)
    assert {host: rows[0][0] for host, rows in found.items()} == {"10.0.0.2": 0, "10.0.0.3": 4, "10.0.0.4": 8}
    assert len(bench.of(CallEnded)) == 1
    assert not any(bench.core.counts().values())


# --- whoever speaks first ------------------------------------------------------------------------------------


def test_both_attempts_are_one_request_to_a_phone_that_gets_both() -> None:
    _, _, invites = doubled()
    one, two = invites["10.0.0.2"], invites["10.0.0.3"]
    assert (one.call_id, one.cseq, one.from_.tag) == (two.call_id, two.cseq, two.from_.tag)
    assert one.top_via.branch != two.top_via.branch


def test_a_slow_server_that_speaks_before_the_next_keeps_the_call() -> None:
    bench, _, invites = doubled()
    hear(bench, reply(invites["10.0.0.2"], 180, tag="slow"), "10.0.0.2")
    hear(bench, reply(invites["10.0.0.2"], 200, tag="slow", contact="<sip:101@10.0.0.2>"), "10.0.0.2")
    assert sent(bench) == ["2 ACK"]
    assert [type(event) for event in bench.events()] == [InviteSent, CallProgress, CallAnswered]
    hear(bench, reply(invites["10.0.0.3"], 482), "10.0.0.3")  # the same phone, by the other way
    assert sent(bench) == ["3 ACK"]
    assert bench.events() == []


def test_a_server_that_rings_late_is_cancelled_and_nobody_hears_of_it() -> None:
    bench, _, invites = doubled()
    hear(bench, reply(invites["10.0.0.3"], 180, tag="quick"), "10.0.0.3")
    hear(bench, reply(invites["10.0.0.2"], 180, tag="late"), "10.0.0.2")
    hear(bench, reply(invites["10.0.0.2"], 180, tag="late"), "10.0.0.2")
    cancels = first_of(bench, "CANCEL")
    assert list(cancels) == ["10.0.0.2"]
    assert cancels["10.0.0.2"].top_via.branch == invites["10.0.0.2"].top_via.branch
    hear(bench, reply(invites["10.0.0.2"], 487, tag="late"), "10.0.0.2")
    told = [event.dialog for event in bench.events() if isinstance(event, CallProgress)]
    assert told == ["quick"]
    assert bench.core.counts()["calls"] == 1


def test_a_late_answer_after_the_answer_is_acknowledged_and_ended() -> None:
    bench, _, invites = doubled()
    hear(bench, reply(invites["10.0.0.3"], 200, tag="quick", contact="<sip:101@10.0.0.3>"), "10.0.0.3")
    hear(bench, reply(invites["10.0.0.2"], 200, tag="late", contact="<sip:101@10.0.0.2>"), "10.0.0.2")
    assert sent(bench) == ["3 ACK", "2 ACK", "2 BYE"]
    assert len(bench.of(CallAnswered)) == 1


def test_an_answer_by_the_slower_server_while_the_other_rings_is_the_answer() -> None:
    bench, _, invites = doubled()
    hear(bench, reply(invites["10.0.0.3"], 180, tag="rings"), "10.0.0.3")
    hear(bench, reply(invites["10.0.0.2"], 200, tag="answers", contact="<sip:101@10.0.0.2>"), "10.0.0.2")
    assert sorted(sent(bench)) == ["2 ACK", "3 CANCEL"]
    hear(bench, reply(invites["10.0.0.3"], 487, tag="rings"), "10.0.0.3")
    (answered,) = bench.of(CallAnswered)
    assert isinstance(answered, CallAnswered)
    assert answered.dialog == "answers"
    assert bench.core.counts()["calls"] == 1


def test_a_next_server_that_is_dead_leaves_the_first_its_time() -> None:
    bench, _ = calling()
    request = first_of(bench)["10.0.0.2"]
    bench.refused[TWO] = "network unreachable"
    after(bench, 10)
    hear(bench, reply(request, 200, tag="slow", contact="<sip:101@10.0.0.2>"), "10.0.0.2")
    assert len(bench.of(CallAnswered)) == 1


def test_hanging_up_between_two_servers_cancels_whoever_rings_after_all() -> None:
    bench, call, invites = doubled()
    bench.core.hangup(call, bench.now)
    for host in ("10.0.0.2", "10.0.0.3"):
        hear(bench, reply(invites[host], 180, tag=host), host)
    assert sorted(sent(bench)) == ["2 CANCEL", "3 CANCEL"]
    for host in ("10.0.0.2", "10.0.0.3"):
        hear(bench, reply(invites[host], 487, tag=host), host)
    assert len(bench.of(CallEnded)) == 1
    after(bench, 100)
    assert not any(bench.core.counts().values())


# --- memory --------------------------------------------------------------------------------------------------


def test_the_second_call_does_not_wait_for_the_dead_server_again() -> None:
    bench, _, _ = doubled()
    bench.core.invite(Uri.parse("sip:102@pbx.example"), SDP, bench.now)
    assert sent(bench) == ["3 INVITE"]
    after(bench, 200)
    bench.core.invite(Uri.parse("sip:103@pbx.example"), SDP, bench.now)
    assert sent(bench) == ["2 INVITE"], "half a minute later the best server is the best again"


def test_a_server_that_was_passed_over_is_still_the_last_resort() -> None:
    bench, _ = calling()
    sent(bench)
    bench.core.send_failed(bench.flow_to("10.0.0.2"), "port unreachable", bench.now)
    sent(bench)
    bench.refused[TWO] = "network unreachable"
    bench.core.invite(Uri.parse("sip:102@pbx.example"), SDP, bench.now)
    assert "2 INVITE" in sent(bench)


def test_a_server_that_takes_a_connection_and_says_nothing_is_left_for_another_server() -> None:
    """A large INVITE by TCP to a process that hangs: its kernel still takes connections."""
    bench = Bench()
    bench.names["pbx.example"] = (ONE, TWO)
    bench.core.invite(Uri.parse("sip:101@pbx.example"), b"v=0\r\n" + b"a=x\r\n" * 300, bench.now)
    found = after(bench, 8.1)
    assert {host: rows[0][0] for host, rows in found.items()} == {"10.0.0.2": 0, "10.0.0.3": 4}
    assert bench.opened[:2] == [ONE, Target("tcp", "10.0.0.2", 5060)]
    found = after(bench, 4)
    assert "10.0.0.2" in found, "its datagrams are the last resort"
