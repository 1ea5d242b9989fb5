"""STUN's codec: vectors of RFC 5769, its own round trips, and damage."""

import contextlib
import random

import pytest

from firmware.net.stun import (
    StunError,
    binding_request,
    binding_response,
    is_stun,
    parse,
    unknown_attributes,
)

TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")

# RFC 5769 sections 2.2 and 2.3: sample responses; their MESSAGE-INTEGRITY is not ours to check.
RESPONSE_4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
)
RESPONSE_6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9faa5d3f179"
    "bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
)


def test_sample_responses_of_rfc_5769_are_read():
    assert parse(RESPONSE_4).mapped == ("192.0.2.1", 32853)
    assert parse(RESPONSE_6).mapped == ("2001:db8:1234:5678:11:2233:4455:6677", 32853)


@pytest.mark.parametrize("seen", [("192.0.2.7", 5060), ("2001:db8::7", 1), ("fe80::1", 65535)])
def test_what_is_written_is_read_again(seen):
    answer = parse(binding_response(TRANSACTION, seen))
    assert (answer.kind, answer.transaction, answer.mapped) == ("response", TRANSACTION, seen)
    request = parse(binding_request(TRANSACTION))
    assert (request.kind, request.mapped, request.unknown) == ("request", None, ())


def test_attribute_that_must_be_understood_is_named_and_refused():
    request = bytearray(binding_request(TRANSACTION)[:20])
    request += (
        b"\x00\x24\x00\x04\0\0\0\1" + b"\x80\x29\x00\x08" + bytes(8)
    )  # PRIORITY; ICE-CONTROLLED may be ignored
    request[3] = len(request) - 20
    message = parse(bytes(request))
    assert message.unknown == (0x0024,)
    refusal = parse(unknown_attributes(TRANSACTION, message.unknown))
    assert (refusal.kind, refusal.error) == ("error", 420)


def test_one_bit_anywhere_is_noticed():
    good = binding_response(TRANSACTION, ("192.0.2.7", 5060))
    for bit in range(len(good) * 8):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        if bit // 8 >= len(good) - 8 and bit // 8 < len(good) - 4:
            continue  # the name or length of FINGERPRINT itself: then there is none
        with pytest.raises(StunError):
            parse(bytes(bad))


def test_noise_raises_nothing_else():
    source = random.Random(5)
    for _ in range(3000):
        data = bytearray(source.randbytes(source.randrange(20, 80)))
        data[0] &= 1
        data[2:4] = (len(data) - 20).to_bytes(2, "big")
        data[4:8] = b"\x21\x12\xa4\x42"
        with contextlib.suppress(StunError):
            parse(bytes(data))


@pytest.mark.parametrize(
    "sip", [b"OPTIONS sip:a@b SIP/2.0\r\n\r\n", b"\r\n\r\n", b"", b"\x00\x01", b"SIP/2.0 200 OK\r\n"]
)
def test_sip_is_no_stun(sip):
    assert not is_stun(sip)
