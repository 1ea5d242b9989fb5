"""a=crypto (RFC 4568): which lines we can use, and that no other does harm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.sdp.crypto import KEY_OCTETS, Crypto, parse, usable

KEY = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"  # of RFC 4568 section 9.1


def line(rest: str = "", *, suite: str = "AES_CM_128_HMAC_SHA1_80", tag: str = "1", key: str = KEY) -> str:
    return f"{tag} {suite} inline:{key}{rest}"


@pytest.mark.parametrize(
    "value",
    [
        line(),
        line("|2^31"),
        line("|2^20"),
        line("|2147483648"),
        line(" KDR=0"),
        line("|2^31 WSH=128"),
        line(" -vendor=7"),
        line().replace(" ", "  "),
        line(suite="aes_cm_128_hmac_sha1_80"),
        line().replace("inline", "INLINE"),
        f" {line()} ",
    ],
)
def test_a_line_as_phones_write_it_is_understood(value: str) -> None:
    found = parse(value)
    assert found is not None
    assert (found.tag, found.suite, len(found.key)) == (1, "AES_CM_128_HMAC_SHA1_80", 30)
    assert str(found) == line()


@pytest.mark.parametrize(
    "value",
    [
        "",
        "1",
        line("|2^20|1:4"),  # a master key identifier
        line("|1:4"),
        line(f"|2^20|1:4;inline:{KEY}|2^20|2:4"),  # several keys
        line(f";inline:{KEY}"),
        line(" KDR=1"),
        line(" UNENCRYPTED_SRTP"),
        line(" UNENCRYPTED_SRTCP"),
        line(" UNAUTHENTICATED_SRTP"),
        line(" FEC_ORDER=FEC_SRTP"),
        line(" NEWER=1"),
        line(suite="AES_256_CM_HMAC_SHA1_80"),
        line(suite="AES_192_CM_HMAC_SHA1_80"),
        line(suite="F8_128_HMAC_SHA1_80"),
        line(suite="AEAD_AES_256_GCM"),  # wants 44 octets
        line(key=KEY[:-4]),
        line(key=KEY + "AAAA"),
        line(key="!" + KEY[1:]),
        line(key=""),
        line(tag="x"),
        line(tag="-1"),
        line(tag="1" * 10),
        line().replace("inline", "uri"),
    ],
)
def test_a_line_that_we_cannot_do_is_left_alone(value: str) -> None:
    assert parse(value) is None


def test_the_next_line_is_taken_where_the_first_cannot_be_used() -> None:
    values = [line(suite="AES_256_CM_HMAC_SHA1_80"), line("|1:1", tag="2"), line(tag="3"), line(tag="4")]
    assert [crypto.tag for crypto in usable(values)] == [3, 4]


@pytest.mark.parametrize("suite", KEY_OCTETS)
def test_what_we_write_is_read_back(suite: str) -> None:
    crypto = Crypto(7, suite, bytes(range(KEY_OCTETS[suite])))
    assert parse(str(crypto)) == crypto


def test_a_key_shows_in_no_log() -> None:
    found = parse(line())
    assert found is not None
    assert "key" not in repr(found)


@given(st.text(max_size=200) | st.text("19 AESCM_inline:|^;=+/", max_size=200).map(line))
def test_any_text_is_a_line_or_none(value: str) -> None:
    found = parse(value)
    assert found is None or len(found.key) == KEY_OCTETS[found.suite]
