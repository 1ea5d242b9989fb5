"""Keys in INFO: the forms that phones send, those they should not, and what we send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.sip.info_dtmf import KEYS, PLAIN, RELAY, InfoKey, read_key, write_key


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b"Signal=5\r\nDuration=160\r\n", InfoKey("5", 160)),
        (b"Signal=5\r\nDuration=160", InfoKey("5", 160)),
        (b"Signal= 5\r\nDuration= 160\r\n", InfoKey("5", 160)),
        (b"Signal = 5 \r\nDuration = 160 \r\n", InfoKey("5", 160)),
        (b"signal=5\nduration=250\n", InfoKey("5", 250)),
        (b"Signal=5\r", InfoKey("5")),
        (b"Duration=100\r\nSignal=5\r\n", InfoKey("5", 100)),
        (b"\r\n\r\nSignal=5\r\n", InfoKey("5")),
        (b"Signal=*\r\nDuration=160\r\n", InfoKey("*", 160)),
        (b"Signal=#\r\nDuration=160\r\n", InfoKey("#", 160)),
        (b"Signal=10\r\n", InfoKey("*")),
        (b"Signal=11\r\n", InfoKey("#")),
        (b"Signal=12\r\n", InfoKey("A")),
        (b"Signal=15\r\n", InfoKey("D")),
        (b"Signal=d\r\n", InfoKey("D")),
        (b"Signal=5\r\nDuration=soon\r\n", InfoKey("5")),
        (b"Signal=5\r\nDuration=-1\r\n", InfoKey("5")),
        (b"Signal=5\r\nDuration=99999999999999999999\r\n", InfoKey("5", 10_000)),
        (b"Signal=5\r\nSignal=6\r\n", InfoKey("5")),
    ],
)
def test_every_form_of_dtmf_relay_is_the_key_it_means(body: bytes, key: InfoKey) -> None:
    assert read_key(RELAY, body) == key


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b"5", InfoKey("5")),
        (b"5\r\n", InfoKey("5")),
        (b" 5 ", InfoKey("5")),
        (b"*", InfoKey("*")),
        (b"#\n", InfoKey("#")),
        (b"10", InfoKey("*")),
        (b"11", InfoKey("#")),
        (b"Signal=5\r\nDuration=160\r\n", InfoKey("5", 160)),
    ],
)
def test_every_form_of_plain_dtmf_is_the_key_it_means(body: bytes, key: InfoKey) -> None:
    assert read_key(PLAIN, body) == key


@pytest.mark.parametrize(
    "body",
    [b"", b"Signal=", b"Signal=16\r\n", b"Signal=!\r\n", b"Signal=55\r\n", b"5", b"Digit=5\r\n", b"\xff\xfe\x00"],
)
def test_what_is_no_key_is_none(body: bytes) -> None:
    assert read_key(RELAY, body) is None


@pytest.mark.parametrize("body", [b"", b"16", b"123", b"e", b"\xd9\xa5"])
def test_what_is_no_plain_key_is_none(body: bytes) -> None:
    assert read_key(PLAIN, body) is None


def test_a_body_of_another_kind_is_no_key() -> None:
    assert read_key("text/plain", b"5") is None
    assert read_key("application/media_control+xml", b"Signal=5") is None


@pytest.mark.parametrize("form", ["info", "info-dtmf"])
@pytest.mark.parametrize("key", [*KEYS, "a"])
def test_what_we_send_is_the_key_we_meant(key: str, form: str) -> None:
    content_type, body = write_key(key, form)  # type: ignore[arg-type]
    found = read_key(content_type, body)
    assert found is not None
    assert found.key == key.upper()
    assert found.held_ms == (160 if form == "info" else 0)


@pytest.mark.parametrize("key", ["", "12", "E", "\u0665"])
def test_only_keys_are_sent(key: str) -> None:
    with pytest.raises(ValueError, match="keys are"):
        write_key(key)


@given(st.sampled_from([RELAY, PLAIN]), st.binary(max_size=300))
def test_no_body_does_more_than_be_a_key_or_none(content_type: str, body: bytes) -> None:
    found = read_key(content_type, body)
    assert found is None or (found.key in KEYS and 0 <= found.held_ms <= 10_000)
