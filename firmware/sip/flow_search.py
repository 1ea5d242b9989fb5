"""From a next hop's URI to an open flow, and to the next one when that fails (RFC 3263 4.2, 4.3; RFC 3261 18.1.1).

    state      | input             | next       | what happens
    -----------|-------------------|------------|----------------------------------------------
    idle       | next              | resolving  | Resolve; a literal address skips to `opening`
    resolving  | targets           | opening    | OpenFlow of the best
    resolving  | none              | exhausted  | on_exhausted
    opening    | flow              | open       | on_flow
    opening    | failure           | opening    | OpenFlow of the next; exhausted without one
    open       | next              | opening    | the same: the flow was no good (timeout, 503, ICMP)
    open       | prefer TCP        | probing    | OpenFlow of the same address by TCP
    probing    | flow              | open       | on_flow with the connection
    probing    | failure, 0.5 s    | open       | on_flow with the datagram flow of before

A request over 1300 bytes must not go by UDP (18.1.1), yet many peers have no TCP at all, and a phone whose
firewall swallows the SYN must not cost the visitor 30 s. Hence the probe; its outcome is remembered an hour.
"""

from collections.abc import Callable
from ipaddress import ip_address

from firmware.sip.stack import Stack
from firmware.sip.timers import Alarm
from firmware.sip.types import DEFAULT_PORT, Flow, Target
from firmware.sip.uri import Uri


class FlowSearch:
    """Finds flows towards `next_hop`, one at a time.

    `hint` is a flow on which the same peer was heard: used at once where it leads to the best target, and last
    of all where nothing else does (a phone behind NAT names an address that nobody can reach).
    """

    def __init__(
        self,
        stack: Stack,
        next_hop: Uri,
        *,
        on_flow: Callable[[Flow, float], None],
        on_exhausted: Callable[[str, float], None],
        hint: Flow | None = None,
    ) -> None:
        self.next_hop = next_hop
        self.error = ""  # what failed last, in words
        self.target: Target | None = None
        self._stack = stack
        self._on_flow = on_flow
        self._on_exhausted = on_exhausted
        self._hint = hint
        self._targets: list[Target] | None = None
        self._token = 0
        self._fallback: Flow | None = None  # the datagram flow, while TCP is tried in its stead
        self._probed: set[Target] = set()
        self._probe: Alarm | None = None

    @property
    def has_next(self) -> bool:
        """Whether `next` may find another flow."""
        return bool(self._fallback or self._targets is None or self._targets or self._hint)

    def next(self, now: float) -> None:
        """Go on to the first, or next, target."""
        self._token = 0
        if self._targets is None:
            if not supported(self.next_hop):
                self.error = f"{self.next_hop}: transport not supported"
                self._targets = []
            elif (literal := literal_target(self.next_hop)) is not None:
                self._targets = [literal]
            else:
                self._token = self._stack.resolve(self.next_hop, self)
                return
        if self._fallback is not None:
            # The connection was made and then lost, or nobody answered on it: the datagram has its turn.
            self._fall_back(now)
            return
        hint = self._hint
        if not self._targets:
            if hint is not None:
                self._hint = None
                self.target = hint.target
                self._on_flow(hint, now)
            else:
                self._on_exhausted(self.error or f"{self.next_hop.host}: no address", now)
            return
        self.target = self._targets.pop(0)
        if hint is not None and hint.target == self.target:
            self._hint = None
            self._on_flow(hint, now)
            return
        self._token = self._stack.open_flow(self.target, self)

    def prefer_tcp(self, flow: Flow, now: float) -> bool:
        """The request is too large for the datagram `flow`. False if TCP is known not to be there."""
        target = flow.target
        tcp = Target("tcp", target.host, target.port)
        if tcp in self._probed or not self._stack.takes_tcp(tcp, now):
            return False
        self._probed.add(tcp)
        self._fallback = flow
        self._probe = self._stack.schedule.set(
            now + self._stack.timers.tcp_probe_s, lambda when: self._fall_back(when)
        )
        self._token = self._stack.open_flow(tcp, self)
        return True

    def cancel(self) -> None:
        """Nobody wants a flow any more."""
        self._token = 0
        if self._probe is not None:
            self._probe.cancel()

    # --- answers of the shell -------------------------------------------------------------------------------

    def resolved(self, token: int, targets: tuple[Target, ...], error: str, now: float) -> None:
        if token == self._token:
            self._targets = list(targets)
            self.error = error and f"{self.next_hop.host}: {error}"
            self.next(now)

    def opened(self, token: int, flow: Flow, now: float) -> None:
        if flow.reliable:
            self._stack.note_tcp(flow.target, True, now)
        if token != self._token:
            return
        self._token = 0
        if self._probe is not None:
            self._probe.cancel()
        self._on_flow(flow, now)

    def not_opened(self, token: int, error: str, now: float) -> None:
        if token != self._token:
            return
        if self._fallback is not None:
            self._fall_back(now)
            return
        self.error = f"{self.target}: {error}"
        self.next(now)

    def _fall_back(self, now: float) -> None:
        flow, self._fallback = self._fallback, None
        assert flow is not None
        if self._probe is not None:
            self._probe.cancel()
        self._token = 0
        self._stack.note_tcp(flow.target, False, now)
        self._on_flow(flow, now)


def supported(uri: Uri) -> bool:
    return uri.scheme == "sip" and uri.transport in (None, "udp", "tcp")


def literal_target(uri: Uri) -> Target | None:
    """The target of a URI whose host is an address, without asking anybody (RFC 3263 4.2); None for a name."""
    host = uri.parameter("maddr") or uri.host
    try:
        ip_address(host)
    except ValueError:
        return None
    return Target("tcp" if uri.transport == "tcp" else "udp", host, uri.port or DEFAULT_PORT)
