"""What the core asks of its shell, in the order in which it must be done.

The shell takes them with `Core.take_actions()` after every call into the core and answers where an answer is
named. Timers are not actions: the core keeps its own and shows the earliest as `next_deadline()`.
"""

from dataclasses import dataclass

from firmware.sip.types import Flow, Target
from firmware.sip.uri import Uri


@dataclass(frozen=True, slots=True)
class Send:
    """Write `data`, one whole message, to the flow. Failure is told by `send_failed` or `flow_closed`."""

    flow: Flow
    data: bytes


@dataclass(frozen=True, slots=True)
class Resolve:
    """Find the targets of a next hop (RFC 3263), best first. Answer: `resolved(token, targets, error, now)`."""

    token: int
    uri: Uri


@dataclass(frozen=True, slots=True)
class OpenFlow:
    """Open a flow, or find the open one. Answer: `flow_opened(token, flow, now)` or `flow_failed(...)`.

    `account` is the account whose authorities, pins and certificate TLS uses; "" is nobody's."""

    token: int
    target: Target
    account: str = ""


@dataclass(frozen=True, slots=True)
class CloseFlow:
    """The peer broke the protocol on this connection."""

    flow: Flow


Action = Send | Resolve | OpenFlow | CloseFlow
