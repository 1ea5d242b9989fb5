"""Whose fault a protocol error is (the split is h11's): ours, a programming error, or the peer's, an answer.

`RemoteProtocolError` is the only exception that anything received from the network may cause in this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firmware.sip.message import Request


class ProtocolError(Exception):
    """Base of both; never raised itself."""


class LocalProtocolError(ProtocolError):
    """The caller asked for what the protocol forbids: a line break in a header, a BYE without a dialog."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what cannot be understood.

    `status` is the response that says so (RFC 3261 section 21.4: 400, 416, 505, 513 ...). `request` is the
    request as far as it could be read, for a stateless answer, or None: then there is nobody to answer.
    """

    def __init__(self, what: str, *, status: int = 400, request: Request | None = None) -> None:
        super().__init__(what)
        self.status = status
        self.request = request
