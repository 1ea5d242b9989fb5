"""Messages out of a byte stream (RFC 3261 section 18.3), with RFC 5626's CRLF keep-alives between them.

The framer keeps what is not yet a whole message and is bounded by the head's and the body's limits, however the
octets are sliced. A RemoteProtocolError is final: nothing after it can be framed, so the connection is closed.
A message without Content-Length has no body: guessing its end is impossible, waiting for one is worse.
"""

from __future__ import annotations

import enum
import re

from firmware.sip.errors import RemoteProtocolError
from firmware.sip.message import MAX_HEAD, Request, Response, content_length, parse_head

MAX_BODY = 65_536  # octets, as in a datagram; with the head it bounds what a silent peer can make us keep

_end = re.compile(rb"\r?\n\r?\n")


class Keepalive(enum.Enum):
    """What stands between messages: PING (CRLFCRLF) wants PONG (CRLF) back; RFC 5626 section 4.4.1."""

    PING = b"\r\n\r\n"
    PONG = b"\r\n"


class StreamFramer:
    def __init__(self, *, max_body: int = MAX_BODY) -> None:
        self._buffer = bytearray()
        self._max_body = max_body
        self._half_ping = False
        self._searched = 0  # the head's end is not before this offset: no octet is searched twice
        self._head: Request | Response | None = None
        self._body_start = 0
        self._body_length = 0
        self._broken: RemoteProtocolError | None = None

    @property
    def buffered(self) -> int:
        """Octets kept of a message not yet whole."""
        return len(self._buffer)

    @property
    def broken(self) -> RemoteProtocolError | None:
        """The error that ended this stream, if one did."""
        return self._broken

    def feed(self, data: bytes) -> list[Request | Response | Keepalive]:
        """The messages and keep-alives that `data` completes, in order.

        RemoteProtocolError if the stream is beyond repair and nothing was completed before the error; else the
        messages are returned first and `broken` tells, as does the next call.
        """
        if self._broken is not None:
            raise self._broken
        self._buffer += data
        messages: list[Request | Response | Keepalive] = []
        try:
            while (message := self._next()) is not None:
                # One answer is enough for a run of pings, however many megabytes of them there are.
                if not (isinstance(message, Keepalive) and messages and messages[-1] is message):
                    messages.append(message)
        except RemoteProtocolError as error:
            self._broken = error
            self._buffer.clear()
            if not messages:
                raise
        return messages

    def _next(self) -> Request | Response | Keepalive | None:
        if self._head is None:
            while self._buffer.startswith((b"\r", b"\n")):
                keepalive = self._line_end()
                if keepalive is not None or len(self._buffer) == 1:
                    return keepalive
            if not self._read_head():
                return None
        message = self._head
        assert message is not None
        end = self._body_start + self._body_length
        if len(self._buffer) < end:
            return None
        message.body = bytes(self._buffer[self._body_start : end])
        del self._buffer[:end]
        self._head = None
        self._searched = 0
        return message

    def _line_end(self) -> Keepalive | None:
        """Take one line end off the buffer.

        A CRLF is told at once as PONG, for whoever waits for one; if the next two octets are another, it was the
        first half of a PING that was split on the way, and PING is told then.
        """
        buffer = self._buffer
        if buffer[:1] == b"\n":
            del buffer[:1]
            return None
        if buffer[:4] == b"\r\n\r\n":
            del buffer[:4]
            self._half_ping = False
            return Keepalive.PING
        if buffer[:2] == b"\r\n":
            del buffer[:2]
            self._half_ping = not self._half_ping
            return Keepalive.PONG if self._half_ping else Keepalive.PING
        if len(buffer) > 1:
            raise RemoteProtocolError("CR without LF between messages")
        return None

    def _read_head(self) -> bool:
        buffer = self._buffer
        if not buffer:
            return False
        self._half_ping = False
        found = _end.search(buffer, self._searched)
        if found is None:
            self._searched = max(0, len(buffer) - 3)
            if len(buffer) > MAX_HEAD:
                raise RemoteProtocolError(f"no end of the header fields in {len(buffer)} octets", status=513)
            return False
        message, start = parse_head(bytes(buffer[: found.end()]), complete=False)
        length = content_length(message) or 0
        if length > self._max_body:
            raise RemoteProtocolError(
                f"body of {length} octets", status=513, request=message if isinstance(message, Request) else None
            )
        self._head, self._body_start, self._body_length = message, start, length
        return True
