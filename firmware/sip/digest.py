"""Digest access authentication (RFC 3261 section 22, RFC 7616, RFC 8760): challenges, credentials, both ends.

`DigestClient` is one account's memory of nonces, `DigestExchange` one request and its restarts: it picks the
strongest challenge it can meet, falls back in order, and gives up before it repeats itself. `DigestServer` issues
challenges and checks credentials. Randomness and time are handed in; passwords appear in no repr, log or error.
Not here: userhash, rspauth and nextnonce, which no SIP registrar met so far uses.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

from firmware.sip.abnf import quote, split_list, unquote
from firmware.sip.errors import RemoteProtocolError
from firmware.sip.message import Request, Response
from firmware.sip.uri import Uri

# Strongest first. hashlib takes SHA-512/256 from OpenSSL, which may be built without it.
_HASHES = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}
ALGORITHMS: tuple[str, ...] = tuple(
    name + session for name, hash_name in _HASHES.items() if hash_name in hashlib.algorithms_available
    for session in ("", "-sess")
)  # fmt: skip

_CHALLENGE_FIELDS = {"WWW-Authenticate": "Authorization", "Proxy-Authenticate": "Proxy-Authorization"}
_digest_start = re.compile(r"(?:^|,)\s*digest\s", re.IGNORECASE)
_scheme = re.compile(r"\s*([A-Za-z0-9\-.!%*_+`'~]+)(?:\s+(.*))?", re.DOTALL)


def _read(text: str) -> tuple[str, dict[str, str]]:
    """The scheme (lower case) and the parameters (names in lower case, values unquoted) of a field."""
    match = _scheme.fullmatch(text)
    if match is None:
        raise RemoteProtocolError("authentication field without a scheme")
    parameters: dict[str, str] = {}
    for item in split_list(match[2] or ""):
        name, _, value = item.partition("=")
        parameters.setdefault(name.strip().lower(), unquote(value.strip()))
    return match[1].lower(), parameters


@dataclass(frozen=True, slots=True)
class Challenge:
    """A WWW-Authenticate or Proxy-Authenticate value. `algorithm` is "" where the field names none: MD5."""

    realm: str
    nonce: str
    algorithm: str = ""
    qop: tuple[str, ...] = ()
    opaque: str | None = None
    stale: bool = False

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a field's value; None for a scheme other than Digest; RemoteProtocolError for a broken Digest."""
        scheme, parameters = _read(text)
        if scheme != "digest":
            return None
        if "realm" not in parameters or "nonce" not in parameters:
            raise RemoteProtocolError("Digest challenge without realm or nonce")
        return cls(
            parameters["realm"],
            parameters["nonce"],
            parameters.get("algorithm", ""),
            tuple(item.lower() for item in split_list(parameters.get("qop", ""))),
            parameters.get("opaque"),
            parameters.get("stale", "").lower() == "true",
        )

    def __str__(self) -> str:
        out = f"Digest realm={quote(self.realm)}, nonce={quote(self.nonce)}"
        if self.opaque is not None:
            out += f", opaque={quote(self.opaque)}"
        if self.stale:
            out += ", stale=true"
        if self.algorithm:
            out += f", algorithm={self.algorithm}"
        if self.qop:
            out += f", qop={quote(','.join(self.qop))}"
        return out


@dataclass(frozen=True, slots=True)
class Credentials:
    """An Authorization or Proxy-Authorization value. `nc` is 0 and `cnonce` "" without qop (RFC 2069)."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: str = ""
    qop: str = ""
    nc: int = 0
    cnonce: str = ""
    opaque: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a field's value; None for a scheme other than Digest; RemoteProtocolError for a broken Digest."""
        scheme, parameters = _read(text)
        if scheme != "digest":
            return None
        missing = [n for n in ("username", "realm", "nonce", "uri", "response") if n not in parameters]
        if missing:
            raise RemoteProtocolError(f"Digest credentials without {', '.join(missing)}")
        count = parameters.get("nc", "0")
        if not re.fullmatch(r"[0-9A-Fa-f]{1,8}", count):
            raise RemoteProtocolError("Digest credentials with a bad nc")
        return cls(
            parameters["username"],
            parameters["realm"],
            parameters["nonce"],
            parameters["uri"],
            parameters["response"].lower(),
            parameters.get("algorithm", ""),
            parameters.get("qop", "").lower(),
            int(count, 16),
            parameters.get("cnonce", ""),
            parameters.get("opaque"),
        )

    def __str__(self) -> str:
        # Which values are quoted and which must not be: RFC 7616 section 3.4.
        out = (
            f"Digest username={quote(self.username)}, realm={quote(self.realm)}, nonce={quote(self.nonce)}, "
            f'uri={quote(self.uri)}, response="{self.response}"'
        )
        if self.algorithm:
            out += f", algorithm={self.algorithm}"
        if self.cnonce:
            out += f", cnonce={quote(self.cnonce)}"
        if self.opaque is not None:
            out += f", opaque={quote(self.opaque)}"
        if self.qop:
            out += f", qop={self.qop}, nc={self.nc:08x}"
        return out


def canonical_algorithm(algorithm: str) -> str | None:
    """The name under which ALGORITHMS has it; None if it is not supported here."""
    wanted = algorithm.upper() or "MD5"
    return next((name for name in ALGORITHMS if name.upper() == wanted), None)


def digest_response(
    password: str, method: str, body: bytes, *, username: str, realm: str, nonce: str, uri: str,
    algorithm: str = "", qop: str = "", nc: int = 0, cnonce: str = "",
) -> str:  # fmt: skip
    """The request digest of RFC 7616 section 3.4.1, in hexadecimal. `algorithm` is one of ALGORITHMS or ""."""
    base = (algorithm or "MD5").removesuffix("-sess")

    def digest(text: bytes) -> str:
        return hashlib.new(_HASHES[base], text, usedforsecurity=False).hexdigest()

    secret = digest(f"{username}:{realm}:{password}".encode("utf-8", "surrogatepass"))
    if algorithm.endswith("-sess"):
        secret = digest(f"{secret}:{nonce}:{cnonce}".encode("utf-8", "surrogatepass"))
    request = f"{method}:{uri}"
    if qop == "auth-int":
        request += f":{digest(body)}"
    what = digest(request.encode("utf-8", "surrogatepass"))
    middle = f"{nonce}:{nc:08x}:{cnonce}:{qop}" if qop else nonce
    return digest(f"{secret}:{middle}:{what}".encode("utf-8", "surrogatepass"))


# --- client ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Nonce:
    """A challenge in use and how often it was answered: nc must never repeat, whoever sends."""

    challenge: Challenge
    algorithm: str
    count: int = 0


_Space = tuple[str, str]  # credentials field, realm: www and proxy are apart even within one realm


class DigestClient:
    """One account's user name, password and the last good nonce of each realm."""

    def __init__(self, username: str, password: str, random: Callable[[int], bytes]) -> None:
        self._username = username
        self._password = password
        self._random = random
        self._known: dict[_Space, _Nonce] = {}

    def exchange(self) -> DigestExchange:
        """For one request and its restarts."""
        return DigestExchange(self)

    def _remember(self, space: _Space, nonce: _Nonce) -> None:
        self._known.pop(space, None)
        while len(self._known) >= 16:  # realms of one account; more is a peer making them up
            del self._known[next(iter(self._known))]
        self._known[space] = nonce

    def _credentials(self, nonce: _Nonce, request: Request) -> Credentials:
        challenge = nonce.challenge
        qop = "" if not challenge.qop else "auth" if "auth" in challenge.qop else "auth-int"
        session = nonce.algorithm.endswith("-sess")
        nonce.count += 1
        count = nonce.count if qop else 0
        cnonce = self._random(8).hex() if qop or session else ""
        uri = request.uri_text
        response = digest_response(
            self._password, request.method, request.body,
            username=self._username, realm=challenge.realm, nonce=challenge.nonce, uri=uri,
            algorithm=nonce.algorithm, qop=qop, nc=count, cnonce=cnonce,
        )  # fmt: skip
        return Credentials(
            self._username, challenge.realm, challenge.nonce, uri, response,
            challenge.algorithm, qop, count, cnonce, challenge.opaque,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"DigestClient({self._username!r})"


class DigestExchange:
    """`authorize` each sending, `challenged` each 401 and 407 until it says False; `failure` then tells why."""

    MAX_ATTEMPTS = 6  # per realm: a peer that always has a new excuse gets no more

    def __init__(self, client: DigestClient) -> None:
        self.failure = ""
        self._client = client
        self._use: dict[_Space, _Nonce] = dict(client._known)
        self._remembered = set(self._use)  # spaces answered from memory: a refusal may be of the nonce alone
        self._sent: dict[_Space, list[tuple[str, str]]] = {}  # (nonce, algorithm) of each attempt that was answered
        self._latest: dict[_Space, tuple[str, str]] = {}

    def authorize(self, request: Request) -> None:
        """Write the credentials for every realm known, replacing those of an earlier attempt. Whether it is sent as
        it is, or written again for another way there, is not known yet."""
        for name in _CHALLENGE_FIELDS.values():
            request.headers.remove(name)
        for space, nonce in self._use.items():
            request.headers.add(space[0], str(self._client._credentials(nonce, request)))
            self._latest[space] = (nonce.challenge.nonce, nonce.algorithm)

    def challenged(self, response: Response) -> bool:
        """Take a 401 or 407. True: send again, authorized. False: give up, see `failure`."""
        if not self._client._username:
            self.failure = "credentials wanted, none configured"
            return False
        offered: dict[_Space, list[_Nonce]] = {}
        refused = ""
        for field_name, credentials_name in _CHALLENGE_FIELDS.items():
            for line in response.headers.get_all(field_name):
                for challenge in _challenges(line):
                    nonces = offered.setdefault((credentials_name, challenge.realm), [])
                    algorithm = canonical_algorithm(challenge.algorithm)
                    if algorithm is None or (challenge.qop and not {"auth", "auth-int"} & set(challenge.qop)):
                        refused = refused or challenge.algorithm or "qop"
                        continue
                    nonces.append(_Nonce(challenge, algorithm))
        if not offered:
            self.failure = "no Digest challenge"
            return False
        for space, attempt in self._latest.items():
            self._sent.setdefault(space, []).append(attempt)
        self._latest.clear()
        for space, nonces in offered.items():
            nonces.sort(key=lambda nonce: ALGORITHMS.index(nonce.algorithm))
            chosen = self._choose(space, nonces)
            if chosen is None:
                self._client._known.pop(space, None)
                self.failure = f"algorithm {refused} not supported" if not nonces else "credentials refused"
                return False
            known = self._client._known.get(space)
            if known and known.challenge.nonce == chosen.challenge.nonce:
                chosen.count = known.count
            self._use[space] = chosen
            self._client._remember(space, chosen)
        return True

    def _choose(self, space: _Space, nonces: Sequence[_Nonce]) -> _Nonce | None:
        sent = self._sent.get(space, [])
        if len(sent) >= self.MAX_ATTEMPTS:
            return None
        from_memory = space in self._remembered and len(sent) == 1
        self._remembered.discard(space)
        tried = [nonce for nonce, _ in sent]
        # Algorithms refused on a nonce that was fresh; one tried from memory or called stale was not refused.
        spent = {algorithm for _, algorithm in sent}
        for nonce in nonces:
            challenge = nonce.challenge
            if tried.count(challenge.nonce) >= 2:
                continue
            fresh = challenge.nonce not in tried
            if fresh and (challenge.stale or from_memory):
                return nonce
            if nonce.algorithm not in spent:
                return nonce
        return None


def _challenges(line: str) -> list[Challenge]:
    """The Digest challenges of one field line: usually one, but RFC 7235 peers put several behind commas."""
    starts = [match.start() for match in _digest_start.finditer(line)]
    found = []
    for start, end in zip(starts, [*starts, len(line)][1:], strict=True):
        try:
            challenge = Challenge.parse(line[start:end].lstrip(", \t"))
        except RemoteProtocolError:
            continue  # another one may be sound
        if challenge is not None:
            found.append(challenge)
    return found


# --- server ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """`user` is the proven user name, "" if none was; `stale`: the nonce will not do, another may."""

    user: str = ""
    stale: bool = False
    reason: str = ""


@dataclass(slots=True)
class DigestServer:
    """Issues nonces and checks what comes back. A nonce is its own record, so a flood of requests stores nothing.

    `nonce_life_s` bounds how long an eavesdropper's copy could be worth anything; each (nonce, nc) counts once.
    """

    realm: str
    random: Callable[[int], bytes] = field(repr=False)
    algorithms: tuple[str, ...] = ("SHA-256", "MD5")
    nonce_life_s: float = 300.0
    proxy: bool = False
    _key: bytes = field(init=False, repr=False)
    _counts: OrderedDict[str, int] = field(init=False, repr=False, default_factory=OrderedDict)
    _forgotten_ms: int = field(init=False, repr=False, default=-1)

    MAX_NONCES = 1024  # of proven users only

    def __post_init__(self) -> None:
        self._key = self.random(32)

    @property
    def status(self) -> Literal[401, 407]:
        return 407 if self.proxy else 401

    def challenge(
        self,
        response: Response,
        now: float,
        *,
        stale: bool = False,
        algorithms: tuple[str, ...] | None = None,
        source: str = "",
    ) -> None:
        """Put the challenges, strongest first, into a 401 or 407; `algorithms` are fewer than all. Only `source`,
        an address, can use their nonces: who forges another's never sees them."""
        name = "Proxy-Authenticate" if self.proxy else "WWW-Authenticate"
        for algorithm in algorithms or self.algorithms:
            nonce = self._nonce(now, source)
            response.headers.add(name, str(Challenge(self.realm, nonce, algorithm, ("auth",), None, stale)))

    def verify(
        self, request: Request, password: Callable[[str], str | None], now: float, *, source: str = ""
    ) -> Verdict:
        """Who sent `request`, from `source`. `password` gives a user's password, None for nobody we know. Of
        credentials on a nonce that we did not give, or not lately, nothing is told but that (RFC 7616 3.3)."""
        reason = "no credentials"
        for line in request.headers.get_all("Proxy-Authorization" if self.proxy else "Authorization"):
            try:
                credentials = Credentials.parse(line)
            except RemoteProtocolError as error:
                reason = str(error)
                continue
            if credentials is None or credentials.realm != self.realm:
                continue
            return self._check(credentials, request, password, now, source)
        return Verdict(reason=reason)

    def _check(
        self,
        given: Credentials,
        request: Request,
        password: Callable[[str], str | None],
        now: float,
        source: str,
    ) -> Verdict:
        algorithm = canonical_algorithm(given.algorithm)
        if algorithm is None or algorithm.removesuffix("-sess") not in self.algorithms:
            return Verdict(reason="algorithm not offered")
        if given.qop not in ("", "auth", "auth-int"):
            return Verdict(reason="unknown qop")
        if not _same_uri(given.uri, request):
            return Verdict(reason="credentials for another URI")
        known = password(given.username)
        expected = digest_response(
            known or "", request.method, request.body,
            username=given.username, realm=given.realm, nonce=given.nonce, uri=given.uri,
            algorithm=algorithm, qop=given.qop, nc=given.nc, cnonce=given.cnonce,
        )  # fmt: skip
        issued_ms = self._issued(given.nonce, source)
        if issued_ms is None:  # of an earlier run of ours, most likely
            return Verdict(stale=True, reason="nonce not ours")
        if not issued_ms <= now * 1000 <= issued_ms + self.nonce_life_s * 1000 or issued_ms <= self._forgotten_ms:
            return Verdict(stale=True, reason="nonce expired")
        if not hmac.compare_digest(expected.encode(), given.response.encode()) or known is None:
            return Verdict(reason="wrong user name or password")
        if max(given.nc, 1) <= self._counts.get(given.nonce, 0):
            return Verdict(stale=True, reason="nonce count repeated")
        self._counts[given.nonce] = max(given.nc, 1)
        self._counts.move_to_end(given.nonce)
        while len(self._counts) > self.MAX_NONCES:
            oldest, _ = self._counts.popitem(last=False)
            self._forgotten_ms = max(self._forgotten_ms, _stamped_ms(oldest))
        return Verdict(user=given.username)

    def _nonce(self, now: float, source: str) -> str:
        stamp = f"{int(now * 1000):x}-{self.random(8).hex()}"
        return f"{stamp}-{self._seal(stamp, source)}"

    def _issued(self, nonce: str, source: str) -> int | None:
        """When we made this nonce for `source`, in milliseconds of our clock; None if we did not."""
        stamp, _, seal = nonce.rpartition("-")
        if not hmac.compare_digest(seal.encode("utf-8", "replace"), self._seal(stamp, source).encode()):
            return None
        return _stamped_ms(nonce)

    def _seal(self, stamp: str, source: str) -> str:
        text = f"{stamp} {source}".encode("utf-8", "replace")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:32]


def _stamped_ms(nonce: str) -> int:
    """The time in a nonce that is known to be ours."""
    return int(nonce.partition("-")[0], 16)


def _same_uri(given: str, request: Request) -> bool:
    if given == request.uri_text:
        return True
    try:
        return Uri.parse(given).matches(request.uri)
    except RemoteProtocolError:
        return False
