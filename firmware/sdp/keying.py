"""DTLS and ICE in the session description: fingerprints (RFC 8122), who begins the handshake (RFC 4145, RFC 5763
section 5), and ICE's names and candidates (RFC 8839).

What is of the media line counts before what is of the session. An attribute that makes no sense counts as absent.
Pure; candidates stay text for whoever checks them, bounded in number and length.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from firmware.sdp.description import Attribute, MediaDescription, SessionDescription

Setup = Literal["active", "passive", "actpass"]

# Digest lengths in octets. SHA-1 and MD5 are not among them: a certificate can be made up for those.
_DIGESTS: Final = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
MAX_CANDIDATES: Final = 64
_MOST_LINES: Final = 9
_END: Final = "a=end-of-candidates"

_FINGERPRINT = re.compile(r"([A-Za-z0-9-]{1,20})[ \t]+((?:[0-9A-Fa-f]{2}:)*[0-9A-Fa-f]{2})")
_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PWD = re.compile(r"[A-Za-z0-9+/]{22,256}")
_CANDIDATE = re.compile(
    r"[A-Za-z0-9+/]{1,32} [1-9][0-9]{0,2} [A-Za-z]{3,6} [0-9]{1,10} [!-~]{1,255} [0-9]{1,5} typ [a-z]{1,16}"
    r"(?: [!-~]{1,255}){0,24}"
)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """`algorithm` in lower case, `value` in upper case with colons."""

    algorithm: str
    value: str

    def __str__(self) -> str:
        return f"{self.algorithm} {self.value}"


@dataclass(frozen=True, slots=True)
class IceDescription:
    """One side's part of ICE for one stream. `candidates` are values of a=candidate; `more`: others may follow
    (RFC 8838)."""

    ufrag: str
    pwd: str
    candidates: tuple[str, ...] = ()
    lite: bool = False
    more: bool = False

    def attributes(self) -> list[Attribute]:
        lines: list[Attribute] = [("ice-ufrag", self.ufrag), ("ice-pwd", self.pwd)]
        lines += [("candidate", candidate) for candidate in self.candidates]
        if not self.more:
            lines.append(("end-of-candidates", ""))
        return lines


@dataclass(frozen=True, slots=True)
class DtlsDescription:
    """One side's part of the handshake. `setup` of an answer is never actpass."""

    fingerprints: tuple[Fingerprint, ...]
    setup: Setup

    def attributes(self) -> list[Attribute]:
        return [*(("fingerprint", str(each)) for each in self.fingerprints), ("setup", self.setup)]


def answer_to(setup: Setup) -> Setup:
    """Our role towards that offer: passive where we may choose: peers know more ciphers than they are offered."""
    return "active" if setup == "passive" else "passive"


def read_dtls(session: SessionDescription, media: MediaDescription, *, offer: bool) -> DtlsDescription | None:
    """None where no fingerprint is one that proves something. Without a=setup an offer means actpass (RFC 5763) and
    an answer means active (RFC 4145 section 4)."""
    found = tuple(_fingerprints(media.attributes)) or tuple(_fingerprints(session.attributes))
    if not found:
        return None
    setup = (_value(session, media, "setup") or "").strip().lower()
    if setup == "active":
        return DtlsDescription(found, "active")
    if setup == "passive":
        return DtlsDescription(found, "passive")
    # "holdconn" keeps what there is; between two who have nothing yet it is as good as none.
    return DtlsDescription(found, "actpass" if offer else "active")


def read_ice(session: SessionDescription, media: MediaDescription) -> IceDescription | None:
    ufrag, pwd = _value(session, media, "ice-ufrag"), _value(session, media, "ice-pwd")
    if ufrag is None or pwd is None or not _UFRAG.fullmatch(ufrag) or not _PWD.fullmatch(pwd):
        return None
    options = (_value(session, media, "ice-options") or "").split()
    complete = _value(session, media, "end-of-candidates") is not None
    return IceDescription(
        ufrag,
        pwd,
        candidates(media.attribute_values("candidate")),
        lite="ice-lite" in dict(session.attributes),
        more="trickle" in options and not complete,
    )


def candidates(values: Iterable[str]) -> tuple[str, ...]:
    """Those that look like one, without the blanks and names that some write round them."""
    found = []
    for value in values:
        text = " ".join(value.removeprefix("candidate:").split())
        if _CANDIDATE.fullmatch(text):
            found.append(text)
        if len(found) >= MAX_CANDIDATES:
            break
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Trickle:
    """Candidates that come after the description (RFC 8840), for the stream of that kind."""

    kind: str
    candidates: tuple[str, ...]
    complete: bool


def read_trickle(body: bytes) -> list[Trickle]:
    """An application/trickle-ice-sdpfrag body. What makes no sense is left out; nothing raises."""
    text = body[:16_384].decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    head, *parts = re.split(r"^m=", text, flags=re.MULTILINE)[:_MOST_LINES]
    all_told = _END in head.split("\n")  # an end before the first line is for all of them
    found = []
    for part in parts:
        lines = [line.strip() for line in part.split("\n")]
        values = [line[2:] for line in lines if line.startswith("a=candidate:")]
        found.append(Trickle(lines[0].partition(" ")[0].lower(), candidates(values), all_told or _END in lines))
    return found


def _fingerprints(attributes: Iterable[Attribute]) -> Iterator[Fingerprint]:
    for name, value in attributes:
        match = _FINGERPRINT.fullmatch(value.strip()) if name == "fingerprint" else None
        if match is None:
            continue
        algorithm = match[1].lower()
        if len(match[2]) == 3 * _DIGESTS.get(algorithm, 0) - 1:
            yield Fingerprint(algorithm, match[2].upper())


def _value(session: SessionDescription, media: MediaDescription, name: str) -> str | None:
    value = media.attribute(name)
    return dict(session.attributes).get(name) if value is None else value
