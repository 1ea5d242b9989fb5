"""Real messages, damaged: reading raises RemoteProtocolError and nothing else, and what is read can be written.

Forty thousand damaged messages: each example of hypothesis damages a handful, so that its own cost is shared.
"""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.sip.digest import DigestClient, DigestServer
from firmware.sip.errors import RemoteProtocolError
from firmware.sip.message import (
    Message,
    Request,
    Response,
    check_request,
    check_response,
    parse_message,
    response_to,
)
from firmware.sip.stream import Keepalive, StreamFramer
from tests.support.damaged_sip import damaged
from tests.support.door_invite import DOOR_INVITE

SERVER = DigestServer("r", lambda size: bytes(size))
PROPERTIES = [name for name in vars(Message) if isinstance(getattr(Message, name), property)]


def use_all(message: Request | Response) -> None:
    """Ask a message for everything it has; each property may refuse, none may break."""
    for name in PROPERTIES:
        try:
            getattr(message, name)
        except RemoteProtocolError:
            continue
    if isinstance(message, Request):
        SERVER.verify(message, lambda user: "x", 1.0)
        try:
            check_request(message)
        except RemoteProtocolError as error:
            refused = error
        else:
            refused = None
        if refused is not None:
            assert refused.request is message
        else:
            assert str(message.uri)
            rewritten = Request("ACK", message.uri)
            for field in ("from_", "to", "top_via"):
                rewritten.headers.add("X-Typed", str(getattr(message, field)))
            for address in [*message.contacts, *message.routes, *message.record_routes]:
                rewritten.headers.add("X-Address", str(address))
            parse_message(rewritten.serialize())
        answer = response_to(message, 400, to_tag="t")
        assert parse_message(answer.serialize()).status == 400
    else:
        try:
            check_response(message)
        except RemoteProtocolError:
            return
        exchange = DigestClient("u", "p", lambda size: bytes(size)).exchange()
        if exchange.challenged(message):
            request = Request("INVITE", "sip:x@example.org")
            exchange.authorize(request)
            parse_message(request.serialize())


@settings(max_examples=600, deadline=None)
@given(st.integers(0, 2**64))
def test_damaged_datagram_is_read_or_refused(seed):
    chance = random.Random(seed)
    for _ in range(50):
        data = damaged(chance)
        try:
            message = parse_message(data)
        except RemoteProtocolError as error:
            if error.request is not None:
                parse_message(response_to(error.request, error.status).serialize())
            continue
        use_all(message)
        again = parse_message(message.serialize())
        assert again.body == message.body
        assert again.start_line() == message.start_line()
        assert again.serialize() == message.serialize()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**64))
def test_damaged_stream_is_framed_or_broken_the_same_however_it_is_sliced(seed):
    chance = random.Random(seed)
    for _ in range(50):
        data = damaged(chance) + chance.choice([b"", b"\r\n\r\n", DOOR_INVITE])
        size = chance.choice([1 << 20, 1, 7, 400] if len(data) < 2000 else [1 << 20, 400])
        assert framed(data, size) == framed(data, 1 << 20)


def framed(data: bytes, size: int) -> tuple[list[bytes], bool]:
    framer = StreamFramer()
    messages: list[bytes] = []
    try:
        for at in range(0, len(data), size):
            for message in framer.feed(data[at : at + size]):
                if not isinstance(message, Keepalive):
                    messages.append(message.serialize())
    except RemoteProtocolError:
        return messages, True
    return messages, framer.broken is not None


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300))
def test_any_octets_are_read_or_refused(data):
    try:
        parse_message(data)
    except RemoteProtocolError:
        return
