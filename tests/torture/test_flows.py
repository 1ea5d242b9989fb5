"""The published call flows of RFC 3665, 3327, 3515, 4916 and 5626, replayed at a core in the door station's roles.

The core plays one user agent of a flow: as callee and notified it hears the documents' own messages and its answers
are compared status by status; as caller and registering client it makes its requests itself, hears the documents'
responses with its own identifiers put in, and its requests are compared method by method, CSeq by CSeq. What only
proxies see between two user agents is left out of each flow; whole files that show nothing else are skipped.
"""

import re
from pathlib import Path

import pytest

from firmware.sip.answers import METHODS
from firmware.sip.configuration import Account, Configuration
from firmware.sip.events import CallAnswered, CallEnded, IncomingCall, RegistrationChanged
from firmware.sip.message import Request, Response, parse_message
from firmware.sip.types import Target
from firmware.sip.uri import Uri
from tests.support.sip_link import Bench
from tests.support.suites import suite

SUITE = suite("callflows-yaml")
SDP = b"v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"

Message = Request | Response


def flow(name: str) -> list[Message]:
    (file,) = SUITE.rglob(f"{name}*.yaml")
    blocks = re.split(r"(?m)^- \|\+\n", file.read_text())[1:]
    texts = ["\n".join(line[2:] for line in block.split("\n") if not line.startswith("#")) for block in blocks]
    return [parse_message(text.replace("\n", "\r\n").encode()) for text in texts]


def bench(*, account: bool = False) -> Bench:
    accounts = ()
    if account:
        accounts = (Account("pbx", Uri.parse("sip:bob@example.test"), username="bob", password="zanzibar"),)
    own = Bench(Configuration(accounts))
    own.names = {"example.test": (Target("udp", "10.0.0.2", 5060),)}
    return own


def as_heard(template: Response, request: Request) -> Response:
    """A document's response to our own request."""
    response = Response(template.status, template.reason_phrase, template.headers.copy(), template.body)
    headers = response.headers
    headers.remove("Via")
    headers.prepend("Via", str(request.top_via))
    headers.set("From", str(request.from_))
    tag = template.to.tag
    headers.set("To", str(request.to.with_tag(tag)) if tag and not request.to.tag else str(request.to))
    headers.set("Call-ID", request.call_id)
    headers.set("CSeq", f"{request.cseq.number} {request.method}")
    for name in ("Record-Route", "Contact"):  # hosts of the documents are nowhere
        headers.remove(name)
    if request.method == "REGISTER" and template.status == 200:
        headers.add("Contact", f"{request.headers.get('Contact')};expires=3600")
    elif request.method == "INVITE":
        headers.add("Contact", "<sip:callee@10.0.0.2>")
    return response


# --- as caller: what comes back to Alice ---

# Flow -> what Alice sends from the INVITE on, what she hears of the document, and how it ends.
CALLED = {
    "3.01": ["INVITE 1", 180, 200, "ACK 1"],
    "3.02": ["INVITE 1", 407, "ACK 1", "INVITE 2", 100, 180, 200, "ACK 2"],
    "3.03": ["INVITE 1", 407, "ACK 1", "INVITE 2", 100, 407, "ACK 2", "INVITE 3", 100, 200, "ACK 3"],
    "3.05": ["INVITE 1", 100, 180, 200, "ACK 1"],
    "3.07": ["INVITE 1", 100, 180, 200, "ACK 1"],
    "3.09": ["INVITE 1", 100, 486, "ACK 1"],
    "3.10": ["INVITE 1", 100, 480, "ACK 1"],
    "3.11": ["INVITE 1", 100, 180, 480, "ACK 1"],
}
SKIPPED = {
    "3.04": "a dead first proxy is tests/unit/sip/test_failover.py's; the document only repeats one INVITE",
    "3.06": "a redirection to another domain is followed by configuration only: tests/unit/sip/test_restarts.py",
    "3.08": "the caller's CANCEL is replayed below",
}


@pytest.mark.parametrize("name", [*CALLED, *SKIPPED])
def test_flow_of_rfc3665(name: str) -> None:
    if name in SKIPPED:
        pytest.skip(SKIPPED[name])
    own = bench(account=True)
    answers = [
        message for message in flow(name) if isinstance(message, Response) and message.cseq.method == "INVITE"
    ]
    sent: list[Request] = []
    number = own.core.invite(Uri.parse("sip:bob@biloxi.example.com"), SDP, own.now, account="pbx")
    for step in CALLED[name]:
        sent += [m for m in own.sent() if isinstance(m, Request) and m.method != "REGISTER"]
        if isinstance(step, str):
            request = sent.pop(0)
            assert f"{request.method} {request.cseq.number}" == step
            if request.method == "INVITE":
                invite = request
        else:
            # Of a response that travels through proxies, the copy that reaches Alice: it has one Via.
            at = next(i for i, m in enumerate(answers) if m.status == step and len(m.vias) == 1)
            own.receive(as_heard(answers.pop(at), invite))
    assert not sent
    events = own.events()
    last = max(step for step in CALLED[name] if isinstance(step, int))
    if 200 in CALLED[name]:
        assert [event.call for event in events if isinstance(event, CallAnswered)] == [number]
        own.core.hangup(number, own.now)
        assert own.request("BYE").cseq.number > invite.cseq.number
    else:
        (ended,) = [event for event in events if isinstance(event, CallEnded)]
        assert (ended.by, ended.status) == ("peer", last)


def test_flow_of_rfc3665_3_08_as_caller() -> None:
    """Unsuccessful, no answer: CANCEL after the 180, 200 to it, 487, ACK."""
    own = bench()
    answers = [message for message in flow("3.08") if isinstance(message, Response) and len(message.vias) == 1]
    number = own.core.invite(Uri.parse("sip:bob@10.0.0.2"), SDP, own.now)
    invite = own.request("INVITE")
    for status in (100, 180):
        own.receive(as_heard(next(m for m in answers if m.status == status), invite))
    own.core.hangup(number, own.now)
    cancel = own.request("CANCEL")
    own.receive(as_heard(next(m for m in answers if m.status == 200), cancel))
    own.receive(as_heard(next(m for m in answers if m.status == 487), invite))
    assert own.methods() == ["ACK"]
    assert [event.by for event in own.of(CallEnded)] == ["us"]


# --- as callee: what reaches Bob, with the document's own octets ---


def reaching_the_callee(name: str) -> list[Request]:
    """The copies of requests with the longest way behind them."""
    requests = [message for message in flow(name) if isinstance(message, Request)]
    last: dict[tuple[str, int], Request] = {}
    for request in requests:
        last[request.method, request.cseq.number] = request
    return list(last.values())


def hear(own: Bench, request: Request) -> list[int]:
    """Our statuses to a request of the document, 100 left out."""
    own.receive(bytes(request))
    return [status for status in own.statuses() if status != 100]


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("3.01", [180, 200]),
        ("3.02", [180, 200]),
        ("3.03", [200]),
        ("3.05", [180, 200]),
        ("3.07", [180, 200]),
        ("3.08", [180]),
        ("3.09", [486]),
        ("3.11", [180, 480]),
    ],
)
def test_flow_of_rfc3665_as_callee(name: str, statuses: list[int]) -> None:
    own = bench()
    requests = reaching_the_callee(name)
    invite = next(request for request in requests if request.method == "INVITE" and request.to.tag is None)
    assert hear(own, invite) == []
    (coming,) = own.of(IncomingCall)
    assert isinstance(coming, IncomingCall)
    said: list[int] = []
    for status in statuses:
        if status < 200:
            own.core.ring(coming.call, own.now, status=status)
        elif status == 200:
            own.core.accept(coming.call, SDP, own.now)
        else:
            own.core.hangup(coming.call, own.now, status=status)
        responses = [message for message in own.sent() if isinstance(message, Response)]
        said += [response.status for response in responses]
    assert said == statuses
    if name == "3.08":
        cancel = next(request for request in requests if request.method == "CANCEL")
        cancel.headers.set("Via", invite.headers.get_all("Via")[0])  # of the hop that reaches the callee
        assert hear(own, cancel) == [200, 487]
        return
    if 200 not in statuses:
        return
    tag = responses[-1].to.tag
    for method, status in (("ACK", None), ("BYE", 200)):
        request = next((r for r in requests if r.method == method and r.from_.tag == invite.from_.tag), None)
        if request is not None:
            request.headers.set("To", str(request.to.with_tag(tag)))
            assert hear(own, request) == ([] if status is None else [status])


# --- registrations ---


@pytest.mark.parametrize(
    ("name", "state"), [("2.01", "registered"), ("2.02", "registered"), ("2.05", "failed"), ("5.5.1", "registered")]
)
def test_flow_of_rfc3665_and_rfc3327_as_registering_client(name: str, state: str) -> None:
    own = bench(account=True)
    own.core.start(own.now)
    responses = [m for m in flow(name) if isinstance(m, Response) and len(m.vias) == 1]
    for template in responses:
        own.receive(as_heard(template, own.request("REGISTER")))
    last = own.of(RegistrationChanged)[-1]
    assert isinstance(last, RegistrationChanged)
    assert last.state == state


def test_flow_of_rfc3327() -> None:
    """5.5.2: the INVITE that comes down the path is a call like any other."""
    own = bench()
    invite = flow("5.5.2")[-1]
    assert isinstance(invite, Request)
    if not invite.headers.get("Max-Forwards"):
        invite.headers.add("Max-Forwards", "67")
    assert hear(own, invite) == []
    assert len(own.of(IncomingCall)) == 1


@pytest.mark.skip(
    reason="2.03 asks for the list of contacts, which a door station has no use for; 2.04 takes out all"
)
def test_flow_of_rfc3665_2_03() -> None:
    """Asking for bindings, and `Contact: *`: a client that shares an account must not do the latter."""


# --- REFER, connected identity, outbound ---


@pytest.mark.parametrize("name", ["4.1", "4.2"])
def test_flow_of_rfc3515(name: str) -> None:
    """A REFER outside a call is refused: a stranger must not have the door call somebody."""
    own = bench()
    refer = flow(name)[0]
    assert isinstance(refer, Request)
    refer.headers.set("Refer-To", "<sip:somebody@example.com>")  # the document leaves it open
    (status,) = hear(own, refer)
    assert status in (403, 405, 481, 603)


def test_flow_of_rfc4916() -> None:
    """The callee's UPDATE that changes its From is answered 200, its dialog known by tags alone."""
    own = bench()
    first, second = flow("5.1"), flow("5.2")
    for messages in (first, second):
        number = own.core.invite(Uri.parse("sip:bob@10.0.0.2"), SDP, own.now)
        invite = own.request("INVITE")
        answer = next(m for m in messages if isinstance(m, Response) and m.cseq.method == "INVITE")
        own.receive(as_heard(answer, invite))
        assert own.request("ACK").cseq.number == 1
        update = [m for m in messages if isinstance(m, Request) and m.method == "UPDATE"][-1]
        update.headers.remove("Via")
        update.headers.prepend("Via", "SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKupdate" + str(number))
        update.headers.set("From", f"<sip:carol@example.com>;tag={answer.to.tag}")
        update.headers.set("To", str(invite.from_))
        update.headers.set("Call-ID", invite.call_id)
        own.receive(bytes(update))
        assert own.statuses() == [200 if "UPDATE" in METHODS else 405]


def test_flow_of_rfc5626_9_3_incoming_call() -> None:
    """The INVITE that the edge proxy brings down the flow is answered on it."""
    own = bench()
    invite = [m for m in flow("9.3") if isinstance(m, Request) and m.method == "INVITE"][-1]
    for name, value in (("Via", "SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKedge"), ("Max-Forwards", "66")):
        if not invite.headers.get(name):
            invite.headers.prepend(name, value)
    assert hear(own, invite) == []
    (coming,) = own.of(IncomingCall)
    assert isinstance(coming, IncomingCall)
    own.core.accept(coming.call, SDP, own.now)
    assert own.statuses() == [200]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("3.2_single", "a REGISTER alone: tests/unit/sip/test_outbound.py compares ours"),
        ("9.1", "provisioning by SUBSCRIBE is not a door station's way to its configuration"),
        ("9.2", "two flows: tests/unit/sip/test_outbound.py"),
        ("9.4", "a REGISTER alone"),
        ("9.5", "requests alone, without their answers"),
    ],
)
def test_flow_of_rfc5626_left_out(name: str, why: str) -> None:
    assert flow(name)
    pytest.skip(why)


def test_every_file_is_replayed_or_left_out_with_a_reason() -> None:
    text = Path(__file__).read_text()
    for file in SUITE.rglob("rfc*/*.yaml"):
        number = file.name.partition("_")[0]
        assert f'"{number}' in text or f" {number}" in text, file.name
