"""The basic flows of RFC 3665 between two cores, compared ladder by ladder, and the same over TCP."""

from firmware.sip.configuration import Account, Configuration
from firmware.sip.events import CallAnswered, CallEnded, Event, IncomingCall, RegistrationChanged
from firmware.sip.message import Request, parse_message
from firmware.sip.types import Target
from firmware.sip.uri import Uri
from tests.support.sip_link import Bench, Link, Node, reply

OFFER, ANSWER = b"v=0\r\ns=offer\r\n", b"v=0\r\ns=answer\r\n"


def pair(suffix: str = "") -> tuple[Link, Node, Node, int]:
    """Alice calls Bob, who rings at once."""
    link = Link()
    alice, bob = link.add("alice", "10.0.0.1"), link.add("bob", "10.0.0.2")

    def ring(node: Node, event: Event) -> None:
        if isinstance(event, IncomingCall):
            node.core.ring(event.call, link.now)

    bob.react = ring
    number = alice.core.invite(Uri.parse(f"sip:bob@10.0.0.2{suffix}"), OFFER, link.now)
    link.run(1)
    return link, alice, bob, number


def incoming(node: Node) -> int:
    (event,) = node.of(IncomingCall)
    assert isinstance(event, IncomingCall)
    return event.call


def ladder(link: Link) -> list[str]:
    """Every message as "A INVITE" or "B 180 INVITE"."""
    rows = []
    for _, source, _, data in link.trace:
        message = parse_message(data)
        side = "A" if source == "10.0.0.1" else "B"
        what = message.method if isinstance(message, Request) else f"{message.status} {message.cseq.method}"
        rows.append(f"{side} {what}")
    return rows


def ends(node: Node) -> list[tuple[str, int]]:
    return [(event.by, event.status) for event in node.of(CallEnded) if isinstance(event, CallEnded)]


ESTABLISHED = ["A INVITE", "B 180 INVITE", "B 200 INVITE", "A ACK"]


def test_rfc3665_3_1_successful_session_establishment() -> None:
    link, alice, bob, number = pair()
    bob.core.accept(incoming(bob), ANSWER, link.now)
    link.run(3)
    assert alice.of(CallAnswered)[0].sdp == ANSWER
    bob.core.hangup(incoming(bob), link.now)
    link.run(10)
    assert ladder(link) == [*ESTABLISHED, "B BYE", "A 200 BYE"]
    assert (ends(alice), ends(bob)) == ([("peer", 200)], [("us", 200)])
    assert number == 1


def test_rfc3665_3_1_over_tcp_repeats_nothing_on_one_connection() -> None:
    link, alice, bob, number = pair(";transport=tcp")
    bob.core.accept(incoming(bob), ANSWER, link.now)
    link.run(3)
    alice.core.hangup(number, link.now)
    link.run(10)
    assert ladder(link) == [*ESTABLISHED, "A BYE", "B 200 BYE"]
    assert (ends(alice), ends(bob)) == ([("us", 200)], [("peer", 200)])
    link.run(60)
    assert {name: value for name, value in alice.core.counts().items() if value} == {}
    assert {name: value for name, value in bob.core.counts().items() if value} == {}


def test_rfc3665_3_8_unsuccessful_no_answer() -> None:
    link, alice, bob, number = pair()
    alice.core.hangup(number, link.now)
    link.run(10)
    assert ladder(link) == [
        "A INVITE", "B 180 INVITE", "A CANCEL", "B 200 CANCEL", "B 487 INVITE", "A ACK",
    ]  # fmt: skip
    assert (ends(alice), ends(bob)) == ([("us", 487)], [("peer", 487)])


def test_rfc3665_3_9_unsuccessful_busy() -> None:
    link, alice, bob, _ = pair()
    bob.core.hangup(incoming(bob), link.now, status=486)
    link.run(10)
    assert ladder(link) == ["A INVITE", "B 180 INVITE", "B 486 INVITE", "A ACK"]
    assert (ends(alice), ends(bob)) == ([("peer", 486)], [("us", 486)])


def test_rfc3665_3_10_unsuccessful_no_response() -> None:
    link = Link()
    alice, bob = link.add("alice", "10.0.0.1"), link.add("bob", "10.0.0.2")
    bob.alive = False
    alice.core.invite(Uri.parse("sip:bob@10.0.0.2"), OFFER, link.now)
    link.run(40)
    assert ladder(link) == ["A INVITE"] * 7
    assert ends(alice) == [("network", 408)]


def test_rfc3665_3_11_unsuccessful_temporarily_unavailable() -> None:
    link, alice, bob, _ = pair()
    bob.core.hangup(incoming(bob), link.now, status=480)
    link.run(10)
    assert ends(alice) == [("peer", 480)]


# --- section 2, with a registrar in twenty lines -------------------------------------------------------------


class Registrar:
    """Challenges once, then binds. Speaks by hand, since no core of ours is a registrar yet."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.bindings: dict[str, int] = {}

    def serve(self) -> list[str]:
        rows = []
        for message in self.bench.sent():
            assert isinstance(message, Request)
            if "Authorization" not in message.headers:
                challenge = (
                    ("WWW-Authenticate", 'Digest realm="atlanta", nonce="n", qop="auth", algorithm=SHA-256'),
                )
                self.bench.receive(reply(message, 401, headers=challenge, contact=""))
                rows.append("401")
                continue
            for contact in message.contacts:
                expires = contact.parameter("expires") or str(message.expires or 0)
                self.bindings[str(contact.uri)] = int(expires)
            listed = ", ".join(f"<{uri}>;expires={left}" for uri, left in self.bindings.items() if left)
            self.bench.receive(reply(message, 200, contact=listed))
            rows.append("200")
        return rows


def test_rfc3665_2_registration_refresh_and_cancellation() -> None:
    account = Account("pbx", Uri.parse("sip:bob@10.0.0.2"), password="zanzibar", expires_s=100)
    bench = Bench(Configuration(accounts=(account,)))
    registrar = Registrar(bench)
    bench.core.start(0.0)
    assert [registrar.serve(), registrar.serve()] == [["401"], ["200"]]  # 2.1 new registration
    bench.advance(85.1)
    assert registrar.serve() == ["200"]  # 2.2 update of contact list: the nonce still serves
    assert registrar.bindings == {"sip:bob@10.0.0.1:5060": 100}
    bench.core.stop(bench.now)
    assert registrar.serve() == ["200"]  # 2.4 cancellation of registration
    assert registrar.bindings == {"sip:bob@10.0.0.1:5060": 0}
    assert [event.state for event in bench.of(RegistrationChanged)] == [
        "registering",
        "registered",
        "unregistered",
    ]
    assert set(bench.opened) == {Target("udp", "10.0.0.2", 5060)}
