import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.door.protocol import MAX_LINE, Malformed, PulseRequest, StatusRequest, encode, parse_request

GOOD = {
    "op": "pulse",
    "request": 7,
    "door": "street",
    "pulse_ms": 3000,
    "sent_s": 81.25,
    "evidence": {"by": "code"},
}


def line(**changes: object) -> bytes:
    return json.dumps({key: value for key, value in (GOOD | changes).items() if value != "absent"}).encode()


def test_a_pulse_is_read() -> None:
    assert parse_request(line()) == PulseRequest(7, "street", 3000, 81.25, {"by": "code"})
    assert parse_request(line(pulse_ms="absent", evidence="absent")) == PulseRequest(7, "street", None, 81.25, {})


def test_a_status_request_is_read() -> None:
    assert parse_request(b'{"op":"status","request":8}') == StatusRequest(8)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"op": "open"}, 'op is neither "pulse" nor "status"'),
        ({"op": "absent"}, 'op is neither "pulse" nor "status"'),
        ({"door": 5}, "door is not a name"),
        ({"door": "absent"}, "door is not a name"),
        ({"door": "x" * 257}, "door is not a name"),
        ({"pulse_ms": 3000.5}, "pulse_ms is not a whole number"),
        ({"pulse_ms": True}, "pulse_ms is not a whole number"),
        ({"pulse_ms": "3000"}, "pulse_ms is not a whole number"),
        ({"pulse_ms": 10**100}, "pulse_ms is not a whole number"),
        ({"sent_s": "absent"}, "sent_s is not a time"),
        ({"sent_s": None}, "sent_s is not a time"),
        ({"evidence": [1]}, "evidence is not an object of up to 24 names"),
        ({"evidence": {str(n): n for n in range(25)}}, "evidence is not an object of up to 24 names"),
        ({"evidence": {"a": {"deep": 1}}}, "evidence holds more than short texts, numbers, true, false and null"),
        ({"evidence": {"a": "x" * 257}}, "evidence holds more than short texts, numbers, true, false and null"),
        ({"evidence": {"a": 10**30}}, "evidence holds more than short texts, numbers, true, false and null"),
        ({"force": True}, "a key is not one of op, request, door, pulse_ms, sent_s, evidence"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_under_its_number(changes: dict, reason: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_request(line(**changes))
    assert str(caught.value) == reason
    assert caught.value.request == 7


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"7", b"null", b"\xff\xfe", b"[" * 4000, b'{"a":' * 800, b'{"op":"pulse","request":NaN}']
    + [line(request=number) for number in (-1, 1.5, True, None, "7", 10**400)],
)
def test_a_line_without_a_number_is_refused_without_one(data: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        parse_request(data)
    assert caught.value.request is None


@settings(deadline=None)
@given(st.binary(max_size=MAX_LINE))
def test_arbitrary_bytes_raise_nothing_but_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse_request(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(list(GOOD)), JSON))
def test_any_values_in_a_request_are_read_or_malformed_and_what_is_read_can_be_written(changes: dict) -> None:
    try:
        asked = parse_request(json.dumps(GOOD | changes).encode())
    except Malformed:
        return
    if isinstance(asked, PulseRequest):
        assert json.loads(encode({"evidence": asked.evidence}))["evidence"] == asked.evidence


def test_a_message_is_one_line_whatever_it_holds() -> None:
    data = encode({"reason": "two\nlines \u2028 and \ud800"})
    assert data.endswith(b"\n")
    assert data.count(b"\n") == 1
    assert json.loads(data)["reason"] == "two\nlines \u2028 and \ud800"
