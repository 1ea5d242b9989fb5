"""From a next hop's URI to an open flow, and to the next one when that fails (RFC 3263 4.2, 4.3; RFC 3261 18.1.1).

    state      | input             | next       | what happens
    -----------|-------------------|------------|----------------------------------------------
    idle       | next              | opening    | OpenFlow of `first`: the server we are registered with
    idle       | next, no `first`  | resolving  | Resolve; a literal address skips to `opening`
    resolving  | targets           | opening    | OpenFlow of the best, those that failed of late after the rest
    resolving  | none              | resolving  | the next of `backups`; on_exhausted without one
    opening    | flow              | open       | on_flow
    opening    | failure           | opening    | OpenFlow of the next; exhausted without one
    open       | next              | opening    | the same: the flow was no good (timeout, 503, ICMP)
    open       | prefer TCP        | probing    | OpenFlow of the same address by TCP
    probing    | flow              | open       | on_flow with the connection
    probing    | failure, 0.5 s    | open       | on_flow with the datagram flow of before

A request over 1300 bytes must not go by UDP (18.1.1), yet many peers have no TCP at all, and a phone whose
firewall swallows the SYN must not cost the visitor 30 s. Hence the probe; its outcome is remembered an hour.
Targets that failed within the last half minute (Stack.avoid) are tried after all others: the second request need
not wait for a dead server again.
"""

from collections.abc import Callable, Sequence
from ipaddress import ip_address

from firmware.sip.stack import Stack
from firmware.sip.timers import Alarm
from firmware.sip.types import DEFAULT_PORTS, Flow, Target, Transport
from firmware.sip.uri import Uri


class FlowSearch:
    """Finds flows towards `next_hop`, then towards `backups`, one at a time.

    `first` is a target, and the hop that it serves, to be tried before anybody is asked where the hops are.
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
        account: str = "",
        backups: Sequence[Uri] = (),
        first: tuple[Uri, Target] | None = None,
    ) -> None:
        self.next_hop = next_hop  # of these the one that `target` belongs to
        self.error = ""  # what failed last, in words
        self.target: Target | None = None
        self._stack = stack
        self._on_flow = on_flow
        self._on_exhausted = on_exhausted
        # sips is never carried on over what is not encrypted (RFC 5630 3.1.3).
        self._hint = hint if hint is None or hint.secure or next_hop.scheme != "sips" else None
        self._account = account
        self._hops = [next_hop, *backups]  # whose targets are not known yet
        self._first = first
        self._ready: list[tuple[Uri, Target]] = []
        self._avoided: list[tuple[Uri, Target]] = []  # the last resort
        self._tried: set[Target] = set()
        self._token = 0
        self._fallback: Flow | None = None  # the datagram flow, while TCP is tried in its stead
        self._probed: set[Target] = set()
        self._probe: Alarm | None = None

    @property
    def has_next(self) -> bool:
        """Whether `next` may find another flow."""
        return self.has_target or self._hint is not None

    @property
    def has_target(self) -> bool:
        """Whether there may be another place to send to, not only another way to the same peer."""
        return bool(self._fallback or self._first or self._ready or self._hops or self._avoided)

    @property
    def at_best(self) -> bool:
        """Whether `target` is the first of all, none passed over."""
        return len(self._tried) == 1 and not self._avoided

    def next(self, now: float) -> None:
        """Go on to the first, or next, target."""
        self._token = 0
        if self._fallback is not None:
            # The connection was made and then lost, or nobody answered on it: the datagram has its turn.
            self._fall_back(now)
            return
        if self._first is not None:
            hop, target = self._first
            self._first = None
            (self._avoided if self._stack.avoided(target, now) else self._ready).append((hop, target))
        while not self._ready:
            if self._hops:
                self.next_hop = self._hops.pop(0)
                if not self._known(now):
                    self._token = self._stack.resolve(self.next_hop, self)
                    return
            elif self._avoided:
                self._ready, self._avoided = self._avoided, []
            elif self._hint is not None:
                last, self._hint = self._hint, None
                self.target = last.target
                self._on_flow(last, now)
                return
            else:
                self._on_exhausted(self.error or f"{self.next_hop.host}: no address", now)
                return
        self.next_hop, self.target = self._ready.pop(0)
        self._tried.add(self.target)
        if self._hint is not None and self._hint.leads_to(self.target):
            hint, self._hint = self._hint, None
            self._on_flow(hint, now)
            return
        self._token = self._stack.open_flow(self.target, self, self._account)

    def next_place(self, now: float) -> None:
        """Go on to another server, if there is one, before the same one's other transport: it took a connection
        and said nothing on it, so its datagrams are not read either."""
        fallback = self._fallback
        if fallback is not None and (self._first or self._ready or self._hops or self._avoided):
            self._stack.avoid(fallback.target, now)
            self._avoided.append((self.next_hop, fallback.target))
            self._fallback = None
        self.next(now)

    def _known(self, now: float) -> bool:
        """Whether nobody need be asked where the hop is."""
        if not supported(self.next_hop):
            self.error = f"{self.next_hop}: transport not supported"
        elif (literal := literal_target(self.next_hop)) is not None:
            self._found((literal,), now)
        elif self.next_hop.host.lower().endswith(".invalid"):
            # a browser: reached on its own connection or not at all (RFC 7118 section 5)
            self.error = f"{self.next_hop.host}: its connection is gone"
        else:
            return False
        return True

    def _found(self, targets: Sequence[Target], now: float) -> None:
        for target in targets:
            if target not in self._tried and all(target != known for _, known in self._avoided):
                avoided = self._stack.avoided(target, now)
                (self._avoided if avoided else self._ready).append((self.next_hop, target))

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
        self._token = self._stack.open_flow(tcp, self, self._account)
        return True

    def cancel(self) -> None:
        """Nobody wants a flow any more."""
        self._token = 0
        if self._probe is not None:
            self._probe.cancel()

    # --- answers of the shell -------------------------------------------------------------------------------

    def resolved(self, token: int, targets: tuple[Target, ...], error: str, now: float) -> None:
        if token == self._token:
            self._found(targets, now)
            if error:
                self.error = f"{self.next_hop.host}: {error}"
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
        if self.target is not None:
            self._stack.avoid(self.target, now)
        self.next(now)

    def _fall_back(self, now: float) -> None:
        flow, self._fallback = self._fallback, None
        assert flow is not None
        if self._probe is not None:
            self._probe.cancel()
        self._token = 0
        self._stack.note_tcp(flow.target, False, now)
        self._on_flow(flow, now)


_SECURED: dict[str | None, Transport] = {None: "tls", "tcp": "tls", "tls": "tls", "ws": "wss", "wss": "wss"}
_PLAIN: dict[str | None, Transport] = {None: "udp", **{each: each for each in DEFAULT_PORTS}}


def supported(uri: Uri) -> bool:
    return uri.scheme in ("sip", "sips") and transport_for(uri) is not None


def transport_for(uri: Uri) -> Transport | None:
    """What a URI asks for, the default where it asks for nothing (RFC 3263 4.1); None for what there is not.

    sips is TLS whatever its parameter says, and sips over UDP does not exist (RFC 3261 26.2.1)."""
    return (_SECURED if uri.scheme == "sips" else _PLAIN).get(uri.transport)


def literal_target(uri: Uri) -> Target | None:
    """The target of a URI whose host is an address, without asking anybody (RFC 3263 4.2); None for a name."""
    host = uri.parameter("maddr") or uri.host
    try:
        ip_address(host)
    except ValueError:
        return None
    transport = transport_for(uri) or "udp"
    return Target(transport, host, uri.port or DEFAULT_PORTS[transport], name=uri.host)
