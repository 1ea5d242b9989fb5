"""Framing: however the octets are sliced, the same messages come out, and nothing grows without bound."""

import pytest

from firmware.sip.errors import RemoteProtocolError
from firmware.sip.message import MAX_HEAD
from firmware.sip.stream import MAX_BODY, Keepalive, StreamFramer
from tests.support.door_invite import DOOR_INVITE, SDP
from tests.support.suites import SUITES

RESPONSE = b"SIP/2.0 200 OK\r\nCSeq: 1 BYE\r\nl: 4\r\n\r\nbody"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1283, 10_000])
def test_slices_of_any_size_give_the_same_messages(size):
    wire = DOOR_INVITE + b"\r\n\r\n" + RESPONSE + b"\r\n" + DOOR_INVITE
    framer = StreamFramer()
    found = [m for at in range(0, len(wire), size) for m in framer.feed(wire[at : at + size])]
    messages = [m for m in found if not isinstance(m, Keepalive)]
    assert [m.body for m in messages] == [SDP, b"body", SDP]
    assert Keepalive.PING in found
    assert framer.buffered == 0


@pytest.mark.parametrize("name", ["generic.txt", "lioneagle-sipparser.txt"])
@pytest.mark.parametrize("size", [1, 1000, 1_000_000])
def test_recorded_streams_frame_correctly(name, size):
    path = SUITES / "php-stream" / name
    if not path.is_file():
        pytest.skip("shared/suites/php-stream is not beside the checkout")
    wire = path.read_bytes()
    framer = StreamFramer()
    found = [m for at in range(0, len(wire), size) for m in framer.feed(wire[at : at + size])]
    messages = [m for m in found if not isinstance(m, Keepalive)]
    starts = [line for line in wire.split(b"\r\n") if line.endswith(b" SIP/2.0") or line.startswith(b"SIP/2.0 ")]
    assert [m.start_line().encode() for m in messages] == starts
    assert framer.buffered == 0


def test_ping_and_pong_between_messages():
    framer = StreamFramer()
    assert framer.feed(b"\r\n\r\n") == [Keepalive.PING]
    assert framer.feed(b"\r\n") == [Keepalive.PONG]
    found = framer.feed(RESPONSE + b"\r\n\r\n" + RESPONSE)
    assert found[1] is Keepalive.PING
    assert [m.body for m in (found[0], found[2])] == [b"body", b"body"]


def test_ping_split_on_the_way_is_answered_all_the_same():
    framer = StreamFramer()
    assert Keepalive.PING in framer.feed(b"\r\n") + framer.feed(b"\r") + framer.feed(b"\n")


def test_pongs_on_both_sides_of_a_message_are_no_ping():
    framer = StreamFramer()
    assert framer.feed(b"\r\n") == [Keepalive.PONG]
    framer.feed(RESPONSE)
    assert framer.feed(b"\r\n") == [Keepalive.PONG]


def test_megabyte_of_pings_is_one_answer():
    assert StreamFramer().feed(b"\r\n\r\n" * 250_000) == [Keepalive.PING]


def test_message_before_the_break_is_delivered_and_the_break_is_final():
    framer = StreamFramer()
    assert len(framer.feed(RESPONSE + b"rubbish\r\n\r\n")) == 1
    assert framer.broken is not None
    with pytest.raises(RemoteProtocolError):
        framer.feed(RESPONSE)


@pytest.mark.parametrize(
    "wire",
    [b"GET / HTTP/1.1\r\n\r\n", b"INVITE sip:a SIP/2.0\r\nContent-Length: -5\r\n\r\n", b"\rX",
     b"INVITE sip:a SIP/2.0\r\nl: 5\r\nl: 6\r\n\r\n", b"BYE sip:a SIP/9.0\r\n\r\n", b"\x16\x03\x01\x02\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_sip_breaks_the_stream(wire):
    with pytest.raises(RemoteProtocolError):
        StreamFramer().feed(wire)


def test_endless_head_breaks_the_stream_instead_of_growing():
    framer = StreamFramer()
    slices = [b"a" * 1000] * (MAX_HEAD // 1000)
    for part in slices:
        assert framer.feed(part) == []
    with pytest.raises(RemoteProtocolError) as refused:
        framer.feed(b"a" * 1000)
    assert refused.value.status == 513
    assert framer.buffered == 0


def test_body_that_is_announced_too_long_is_refused_before_it_arrives():
    with pytest.raises(RemoteProtocolError) as refused:
        StreamFramer().feed(f"MESSAGE sip:a SIP/2.0\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n".encode())
    assert refused.value.status == 513
    assert refused.value.request.method == "MESSAGE"


def test_message_longer_than_a_datagram_may_come_by_stream():
    body = b"x" * MAX_BODY
    framer = StreamFramer()
    found = framer.feed(f"MESSAGE sip:a SIP/2.0\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    assert found[0].body == body
