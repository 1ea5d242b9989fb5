"""REGISTERs that nobody would send: the registrar answers each, raises nothing, and stays within its bounds."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.sip.configuration import House, User
from firmware.sip.errors import RemoteProtocolError
from firmware.sip.location import Location
from firmware.sip.message import Headers, Request, check_request, parse_message
from firmware.sip.registrar import Registrar
from firmware.sip.types import Flow
from tests.support.damaged_sip import DIRT
from tests.support.house import DOMAIN, Phone, connection, house
from tests.support.sip_link import Bench

HOUSE = House((User("anna", "x"), User("bob", "y")), DOMAIN, max_bindings=3)
HOSTS = ("10.0.0.2", "192.168.1.20", "[2001:db8::1]", "phone.invalid", "10.0.0.1")

flows = st.one_of(
    st.builds(
        lambda host, port: Flow("udp", ("10.0.0.1", 5060), (host, port), ("10.0.0.1", 5060), 1),
        st.sampled_from(("10.0.0.2", "203.0.113.9", "2001:db8::1")),
        st.sampled_from((5060, 31000)),
    ),
    st.builds(connection, st.integers(1, 4)),
)
parameters = st.sampled_from(
    [
        *("", ";expires=0", ";expires=5", ";expires=120", ";expires=99999999999", ";expires=-1", ";expires=x"),
        *(";q=0.5", ";q=2", ";q=x", ";q=", ';+sip.instance="<urn:uuid:1>"', ";ob", ';a="b', ";;;="),
        *(
            ';reg-id=1;+sip.instance="<urn:uuid:1>"',
            ";reg-id=2;+sip.instance=",
            ";reg-id=9999999999;+sip.instance=a",
        ),
    ]
)
contacts = st.one_of(
    st.just("*"),
    st.builds(
        lambda user, host, more, inside: f"<sip:{user}@{host}{inside}>{more}",
        st.sampled_from(("anna", "a%20b", "")),
        st.sampled_from(HOSTS),
        parameters,
        st.sampled_from((":5060", ":0", ";transport=ws", "?Route=x", "")),
    ),
    st.sampled_from(
        ("<mailto:anna@house.test>", "tel:1", "sip:anna@10.0.0.9;expires=100", "<sip:" + "a" * 600 + "@b>")
    ),
)
registers = st.fixed_dictionaries(
    {
        "contacts": st.lists(contacts, max_size=5),
        "expires": st.sampled_from((None, "0", "30", "100", "600", "9" * 30, "soon")),
        "call_id": st.sampled_from(("one", "two")),
        "cseq": st.integers(0, 12),
        "user": st.sampled_from(("anna", "bob")),
        "path": st.sampled_from((None, "<sip:edge;lr>", "<sip:edge;lr;ob>", "<", "nothing")),
        "flow": flows,
        "passed_s": st.sampled_from((0.0, 1.0, 90.0, 4000.0)),
    }
)


class EverybodyIsProven:
    """A gate that is not under test."""

    def prove(self, request: Request, flow: Flow, now: float, *, claimed: str, proxy: bool = False) -> str:
        return claimed


def request_of(values: dict[str, object]) -> Request:
    headers = Headers([("Via", "SIP/2.0/UDP 10.0.0.2;branch=z9hG4bK1"), ("From", "<sip:anna@house.test>;tag=1")])
    headers.add("To", f"<sip:{values['user']}@house.test>")
    headers.add("Call-ID", str(values["call_id"]))
    headers.add("CSeq", f"{values['cseq']} REGISTER")
    for contact in values["contacts"]:  # type: ignore[attr-defined]
        headers.add("Contact", contact)
    for name, key in (("Expires", "expires"), ("Path", "path")):
        if values[key] is not None:
            headers.add(name, str(values[key]))
    return Request("REGISTER", f"sip:{DOMAIN}", headers)


@settings(max_examples=400, deadline=None)
@given(st.lists(registers, max_size=12))
def test_whatever_is_asked_for_the_bindings_stay_few_distinct_and_in_time(script: list[dict[str, object]]) -> None:
    location, told, now = Location(), [], 0.0
    registrar = Registrar(HOUSE, location, EverybodyIsProven(), told.append)  # type: ignore[arg-type]
    for values in script:
        now += values["passed_s"]  # type: ignore[operator]
        request = request_of(values)
        try:
            check_request(request)
        except RemoteProtocolError:  # the core answers these itself
            continue
        before = location.stored("anna"), location.stored("bob")
        response = registrar.receive(request, values["flow"], now)  # type: ignore[arg-type]
        parse_message(bytes(response))
        assert response.status in (200, 400, 403, 423, 439, 500)
        for user, had in zip(("anna", "bob"), before, strict=True):
            live = location.of(user, now)
            assert len(live) <= HOUSE.max_bindings
            assert len({(b.uri.user, b.uri.host, b.uri.port or 5060) for b in live}) == len(live)
            assert all(b.user == user and now < b.expires_at <= now + HOUSE.max_expires_s for b in live)
            if response.status != 200 or user != values["user"]:
                assert location.stored(user) == tuple(b for b in had if b.expires_at > now)
        if response.status == 200:
            assert len(response.contacts) == len(location.of(str(values["user"]), now))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_a_damaged_register_with_good_credentials_harms_nothing(seed: int, edits: int) -> None:
    chance = random.Random(seed)
    door = Bench(house())
    phone = Phone(door)
    extra = [("Contact", phone.contact + ";q=0.5;expires=100"), ("Path", "<sip:edge;lr>"), ("Expires", "600")]
    request = phone.request("REGISTER", f"sip:{DOMAIN}", extra, to=f"sip:anna@{DOMAIN}")
    data = bytearray(bytes(phone.proven(request, phone.ask(request))))
    for _ in range(edits):
        at = chance.randrange(len(data))
        data[at : at + chance.randrange(8)] = chance.choice(DIRT)
    door.receive(bytes(data))
    statuses = door.statuses()
    assert len(statuses) <= 1
    counts = door.core.counts()
    assert counts["bindings"] <= 5  # a comma in the right place makes two Contacts of one
    door.advance(4000)
    assert door.core.counts()["bindings"] == door.core.counts()["transactions"] == 0


def test_thousands_of_sources_leave_nothing_that_grows() -> None:
    door = Bench(house())
    for number in range(3000):
        phone = Phone(door, "anna" if number % 2 else f"user{number}", password="guess", port=1024 + number)
        phone.flow = door.flow_to(f"10.{number // 250}.{number % 250}.9", 5060)
        phone.register()
        door.advance(0.2)
    door.events()
    door.advance(100)
    counts = door.core.counts()
    assert counts["bindings"] == counts["transactions"] == counts["alarms"] == 0
