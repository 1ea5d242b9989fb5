"""The ACKs to the 2xx of one INVITE of ours, one per fork: RFC 3261 13.2.2.4.

An ACK to a 2xx goes where the dialog leads, not where the INVITE went, and is made once: every repeat of the 2xx
gets the same bytes again. Whether a fork may live is the call's affair.
"""

from collections.abc import Callable

from firmware.sip.dialog import Dialog
from firmware.sip.flow_search import FlowSearch
from firmware.sip.message import Request
from firmware.sip.sending import our_via
from firmware.sip.stack import Stack
from firmware.sip.types import Flow


class Acknowledgements:
    def __init__(self, stack: Stack, account: str = "") -> None:
        self._stack = stack
        self._account = account
        self._sent: dict[str, tuple[Flow, bytes] | None] = {}  # by remote tag; None while its flow is opened

    def __len__(self) -> int:
        return len(self._sent)

    def again(self, tag: str) -> bool:
        """True if this fork's 2xx was acknowledged before; now it is once more."""
        if tag not in self._sent:
            return False
        sent = self._sent[tag]
        if sent is not None:
            self._stack.send(*sent)
        return True

    def send(
        self,
        dialog: Dialog,
        invite: Request,
        now: float,
        *,
        hint: Flow | None,
        then: Callable[[float], None] = lambda now: None,
        lost: Callable[[str, float], None] = lambda reason, now: None,
    ) -> None:
        """Acknowledge the 2xx to `invite`, the request as it was accepted; then, or lost, is called once."""
        tag = dialog.remote.tag or ""
        ack = dialog.request("ACK", invite.cseq.number)
        for name in ("Authorization", "Proxy-Authorization"):
            for value in invite.headers.get_all(name):
                ack.headers.add(name, value)
        ack.headers.add("User-Agent", self._stack.configuration.user_agent)
        self._sent[tag] = None

        def send(flow: Flow, when: float) -> None:
            ack.headers.prepend("Via", str(our_via(flow, self._stack.branch())))
            data = bytes(ack)
            self._sent[tag] = (flow, data)
            self._stack.send(flow, data)
            then(when)

        FlowSearch(
            self._stack, dialog.next_hop, on_flow=send, on_exhausted=lost, hint=hint, account=self._account
        ).next(now)
