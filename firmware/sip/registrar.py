"""The registrar of a house without a PBX: RFC 3261 10.3, with Path (RFC 3327) and outbound (RFC 5626).

    step of 10.3                    | what is answered where it fails
    --------------------------------|----------------------------------------------------------------
    1  our domain                   | 404: this registrar serves another one
    2  Require                      | 420 with Unsupported; `path` and `outbound` are met
    3  authentication               | 401 with SHA-256 and MD5; 503 for a source that guesses (gate.py)
    4  authorization                | 403: one user registers himself only
    5  a user of the house          | (an unknown one gets the 401 of step 3 for ever)
    6  Contact: *                   | 400 unless alone and with Expires: 0
    7  each Contact                 | 400 where it is no sip: URI; 423 with Min-Expires; 500 where older than
                                    | what is stored by the same Call-ID; 439 where reg-id came through a proxy
    8  all or nothing, then 200     | every Contact of the user with the time it has left

A Contact replaces the binding with the same URI, or of the same phone (+sip.instance with the same reg-id, or
none): a phone that got another address after a power cut is one phone still. Beyond `max_bindings` the longest
unheard one goes. What comes over a connection lives as long as that (a browser cannot be called back). Pure: a
request, its flow and `now` in, the response and binding events out.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from firmware.sip.abnf import unescape, unsigned
from firmware.sip.configuration import House
from firmware.sip.errors import RemoteProtocolError
from firmware.sip.events import UserRefused, UserRegistered, UserUnregistered
from firmware.sip.gate import Gate, Refusal
from firmware.sip.location import Binding, Location, same_contact
from firmware.sip.message import Request, Response, response_to
from firmware.sip.types import Flow
from firmware.sip.uri import NameAddr, Uri

OPTIONS = frozenset({"path", "outbound"})
LONGEST_CONTACT = 512  # characters; a browser's with GRUU and instance has 200
_ECHOED = ("+sip.instance", "reg-id")
_PATHS_MOST = 8

BindingEvent = UserRegistered | UserUnregistered | UserRefused


class Registrar:
    def __init__(self, house: House, location: Location, gate: Gate, tell: Callable[[BindingEvent], None]) -> None:
        self._house = house
        self._location = location
        self._gate = gate
        self._tell = tell

    def receive(self, request: Request, flow: Flow, now: float) -> Response:
        """The answer to a REGISTER that check_request has passed; without a To tag and Server."""
        self.expire(now)
        try:
            outcome = self._judge(request, flow, now)
        except RemoteProtocolError as error:
            outcome = Refusal(400, str(error)[:100])
        if isinstance(outcome, Refusal):
            response = response_to(request, outcome.status, outcome.reason)
            for name, value in outcome.headers:
                response.headers.add(name, value)
            return response
        return self._listing(request, outcome, now)

    def expire(self, now: float) -> None:
        """Take out what has run out; `Location.next_expiry` says when that is due."""
        self._drop(lambda binding: binding.expires_at <= now, "expired")

    def flow_closed(self, flow: Flow) -> None:
        """A connection is gone, and what was bound to it."""
        if flow.reliable:
            self._drop(
                lambda binding: (
                    binding.flow is not None and binding.flow.reliable and binding.flow.number == flow.number
                ),
                "connection closed",
            )

    def _drop(self, lost: Callable[[Binding], bool], reason: str) -> None:
        gone = [binding for binding in self._location if lost(binding)]
        for user in {binding.user for binding in gone}:
            kept = tuple(binding for binding in self._location.stored(user) if binding not in gone)
            self._location.replace(user, kept)
        for binding in gone:
            self._tell(UserUnregistered(binding, reason))

    # --- REGISTER -------------------------------------------------------------------------------------------

    def _judge(self, request: Request, flow: Flow, now: float) -> str | Refusal:
        """The user whose bindings are as asked for now."""
        address = request.to.uri
        if not serves(self._house, address, flow) or not serves(self._house, request.uri, flow):
            return Refusal(404, f"This registrar serves {self._house.domain or 'sip: addresses'}")
        missing = sorted(request.require - OPTIONS)
        if missing:
            return Refusal(420, "", (("Unsupported", ", ".join(missing)),))
        user = unescape(address.user or "")
        proven = self._gate.prove(request, flow, now, claimed=user)
        if isinstance(proven, Refusal):
            return proven
        if proven != user:
            self._tell(UserRefused(user[:64], flow, "REGISTER", 403, f"{proven} may not register for others", 0.0))
            return Refusal(403, "Only your own address can be registered")
        refusal = self._update(user, request, flow, now)
        if refusal is not None:
            if refusal.status != 423:  # a phone mends that by itself
                self._tell(UserRefused(user, flow, "REGISTER", refusal.status, refusal.phrase, 0.0))
            return refusal
        return user

    def _update(self, user: str, request: Request, flow: Flow, now: float) -> Refusal | None:
        stored = list(self._location.stored(user))
        fresh: list[Binding] = []
        gone: list[tuple[Binding, str]] = []
        if request.contact_star:
            if request.expires != 0 or len(request.headers.get_all("Expires")) != 1:
                return Refusal(400, "Contact: * needs Expires: 0")
            asked: Sequence[tuple[Binding, int]] = ()
            if any(_is_older(request, binding) for binding in stored):
                return Refusal(500, "CSeq out of order")
            gone = [(binding, "unregistered") for binding in stored]
            stored = []
        else:
            contacts = request.contacts
            if len(contacts) > self._house.max_bindings:
                return Refusal(403, f"More than {self._house.max_bindings} Contacts")
            found = [self._read(user, contact, request, flow, now) for contact in contacts]
            for item in found:
                if isinstance(item, Refusal):
                    return item
            asked = [item for item in found if not isinstance(item, Refusal)]
        for binding, expires_s in asked:
            before = [other for other in stored if _is_same(other, binding)]
            if any(_is_older(request, other) for other in before):
                return Refusal(500, "CSeq out of order")
            stored = [other for other in stored if other not in before]
            fresh = [other for other in fresh if not _is_same(other, binding)]
            if expires_s:
                fresh.append(binding)
            gone += [
                (other, "moved" if expires_s else "unregistered")
                for other in before
                if not expires_s or not same_contact(other.uri, binding.uri)
            ]
        surplus = max(0, len(stored) + len(fresh) - self._house.max_bindings)
        stored.sort(key=lambda binding: binding.expires_at - binding.expires_s)  # when it was heard last
        gone += [(binding, "too many phones") for binding in stored[:surplus]]
        kept = stored[surplus:]
        known = self._location.stored(user)
        self._location.replace(user, (*kept, *fresh))
        for other, reason in gone:
            self._tell(UserUnregistered(other, reason))
        for binding in fresh:
            again = any(same_contact(other.uri, binding.uri) and other.source == binding.source for other in known)
            self._tell(UserRegistered(binding, again))
        return None

    def _read(
        self, user: str, contact: NameAddr, request: Request, flow: Flow, now: float
    ) -> tuple[Binding, int] | Refusal:
        """The binding that a Contact asks for, and for how long; 0 takes it out."""
        uri = contact.uri
        if uri.scheme not in ("sip", "sips") or len(str(contact)) > LONGEST_CONTACT:
            return Refusal(400, "Contact is no SIP URI of an usual size")
        expires_s = self._expires(contact, request)
        if 0 < expires_s < self._house.min_expires_s:
            return Refusal(423, "", (("Min-Expires", str(self._house.min_expires_s)),))
        q = _quality(contact.parameter("q"))
        if q is None:
            return Refusal(400, "q of a Contact is no number from 0 to 1")
        reg_id, instance = _reg_id(contact), contact.parameter("+sip.instance") or ""
        if not instance:
            reg_id = 0  # RFC 5626 6: without an instance there is nothing that it numbers
        paths = tuple(NameAddr.parse(value) for value in request.headers.values("Path"))[:_PATHS_MOST]
        if reg_id and len(request.vias) > 1 and not any(path.uri.has_parameter("ob") for path in paths[-1:]):
            if "outbound" in request.require:
                return Refusal(439)
            reg_id = 0
        kept = tuple((name, value) for name, value in contact.parameters if name.lower() not in ("q", "expires"))
        expires_s = min(expires_s, self._house.max_expires_s)
        return (
            Binding(
                user=user,
                contact=NameAddr("", uri.replace(headers=()), kept),
                expires_at=now + expires_s,
                expires_s=expires_s,
                call_id=request.call_id[:256],
                cseq=request.cseq.number,
                transport=flow.transport,
                source=flow.remote,
                flow=flow,
                q=q,
                path=paths,
                instance=instance,
                reg_id=reg_id,
                agent=(request.headers.get("User-Agent") or "")[:80],
            ),
            expires_s,
        )

    def _expires(self, contact: NameAddr, request: Request) -> int:
        """Seconds asked for; what is no number counts as an hour (10.2.1.1)."""
        own = contact.parameter("expires")
        if own is not None:
            seconds = unsigned(own)
            return 3600 if seconds is None else seconds
        return 3600 if request.expires is None else request.expires

    def _listing(self, request: Request, user: str, now: float) -> Response:
        response = response_to(request, 200)
        outbound = False
        for binding in self._location.of(user, now):
            parameters = tuple(
                (name, value) for name, value in binding.contact.parameters if name.lower() in _ECHOED
            )
            left_s = max(1, round(binding.expires_at - now))
            q = (("q", f"{binding.q:g}"),) if binding.q != 1 else ()
            shown = replace(binding.contact, parameters=(*parameters, *q, ("expires", str(left_s))))
            response.headers.add("Contact", str(shown))
            outbound |= bool(binding.reg_id) and binding.call_id == request.call_id
        for path in request.headers.get_all("Path"):
            response.headers.add("Path", path)
        if outbound and "outbound" in request.supported | request.require:
            response.headers.add("Require", "outbound")
        response.headers.add("Supported", ", ".join(sorted(OPTIONS)))
        return response


def serves(house: House, uri: Uri, flow: Flow) -> bool:
    """Whether an address is of our domain: by its name, by an address of ours, or by any name where none is set."""
    if uri.scheme not in ("sip", "sips"):
        return False
    host = uri.host.lower()
    return not house.domain or host in (house.domain.lower(), flow.advertised[0].lower(), flow.local[0].lower())


def _is_same(one: Binding, other: Binding) -> bool:
    """Whether a new binding takes the place of an old one (RFC 3261 10.3 step 7, RFC 5626 6)."""
    if one.instance and one.instance == other.instance:
        return one.reg_id == other.reg_id
    return same_contact(one.uri, other.uri)


def _is_older(request: Request, binding: Binding) -> bool:
    """A request that was overtaken by a later one of the same phone (10.3 steps 6 and 7)."""
    return request.call_id[:256] == binding.call_id and request.cseq.number <= binding.cseq


def _quality(text: str | None) -> float | None:
    if text is None:
        return 1.0
    try:
        q = float(text) if text.isascii() and len(text) <= 8 else -1.0
    except ValueError:
        return None
    return q if 0 <= q <= 1 else None


def _reg_id(contact: NameAddr) -> int:
    text = contact.parameter("reg-id")
    return (unsigned(text, 2**31) or 0) if text else 0
