"""What descriptions say of DTLS and ICE, as browsers and phones write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.sdp.description import SessionDescription
from firmware.sdp.keying import (
    MAX_CANDIDATES,
    DtlsDescription,
    Fingerprint,
    IceDescription,
    Setup,
    answer_to,
    candidates,
    read_dtls,
    read_ice,
    read_trickle,
)
from tests.support.suites import suite

SHA256 = ":".join(["AB"] * 32)
HOST = "1 1 UDP 2130706431 192.0.2.1 5000 typ host"


def described(session: str = "", media: str = "") -> SessionDescription:
    lines = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0", *session.split("\n")]
    lines += ["m=audio 5000 UDP/TLS/RTP/SAVPF 8", *media.split("\n")]
    return SessionDescription.parse("\r\n".join(line for line in lines if line).encode())


def dtls(session: str = "", media: str = "", *, offer: bool = True) -> DtlsDescription | None:
    description = described(session, media)
    return read_dtls(description, description.media[0], offer=offer)


def ice(session: str = "", media: str = "") -> IceDescription | None:
    description = described(session, media)
    return read_ice(description, description.media[0])


@pytest.mark.parametrize(
    ("line", "setup", "ours"),
    [
        ("a=setup:actpass", "actpass", "passive"),
        ("a=setup:passive", "passive", "active"),
        ("a=setup:ACTIVE", "active", "passive"),
        ("a=setup:holdconn", "actpass", "passive"),
        ("", "actpass", "passive"),
    ],
)
def test_who_begins(line: str, setup: Setup, ours: Setup) -> None:
    found = dtls(media=f"a=fingerprint:sha-256 {SHA256}\n{line}")
    assert found == DtlsDescription((Fingerprint("sha-256", SHA256),), setup)
    assert answer_to(setup) == ours


def test_an_answer_without_setup_begins_itself() -> None:
    found = dtls(media=f"a=fingerprint:sha-256 {SHA256}", offer=False)
    assert found is not None
    assert found.setup == "active"


def test_the_line_counts_before_the_session() -> None:
    other = SHA256.replace("AB", "CD")
    session = f"a=fingerprint:SHA-256 {other.lower()}\na=setup:active\na=ice-ufrag:sess\na=ice-pwd:{'s' * 22}"
    only = dtls(session)
    assert only is not None
    assert only.fingerprints == (Fingerprint("sha-256", other),)
    both = dtls(session, f"a=fingerprint:sha-256 {SHA256}")
    assert both == DtlsDescription((Fingerprint("sha-256", SHA256),), "active")
    assert ice(session, f"a=ice-ufrag:line\na=ice-pwd:{'l' * 22}") == IceDescription("line", "l" * 22)
    assert ice(session) == IceDescription("sess", "s" * 22)


@pytest.mark.parametrize(
    "line",
    ["sha-1 " + ":".join(["AB"] * 20), "md5 " + ":".join(["AB"] * 16), f"sha-256 {SHA256}:AB", "sha-256 xyz", ""],
)
def test_what_proves_nothing_counts_as_absent(line: str) -> None:
    assert dtls(media=f"a=fingerprint:{line}\na=setup:active") is None


@pytest.mark.parametrize("text", ["a=ice-ufrag:abcd", "a=ice-ufrag:abc\na=ice-pwd:" + "p" * 22, "a=ice-pwd:x"])
def test_half_of_ice_is_none(text: str) -> None:
    assert ice(media=text) is None


def test_candidates_are_text_that_looks_like_one() -> None:
    good = [
        HOST,
        "candidate:2 1 tcp 1 host.local 9 typ host tcptype active",
        " 3  1 udp 1 2001:db8::1 5 typ srflx ",
    ]
    assert candidates(good) == (HOST, good[1][10:], "3 1 udp 1 2001:db8::1 5 typ srflx")
    assert candidates(["", "x", "1 1 udp 1 host", HOST + "\x00", HOST * 100]) == ()
    assert len(candidates([HOST] * 500)) == MAX_CANDIDATES


def test_more_may_follow_where_trickle_is_spoken_and_no_end_told() -> None:
    names = f"a=ice-ufrag:abcd\na=ice-pwd:{'p' * 22}\na=candidate:{HOST}"
    for more, media in (
        (False, names),
        (True, names + "\na=ice-options:ice2 trickle"),
        (False, names + "\na=ice-options:trickle\na=end-of-candidates"),
    ):
        found = ice(media=media)
        assert found is not None
        assert found.more is more
        assert found.candidates == (HOST,)
    lite = ice("a=ice-lite", names)
    assert lite is not None
    assert lite.lite


def test_what_is_written_is_read_again() -> None:
    mine = IceDescription("abcd", "p" * 22, (HOST,))
    proof = DtlsDescription((Fingerprint("sha-256", SHA256),), "passive")
    lines = "\n".join(f"a={k}:{v}" if v else f"a={k}" for k, v in mine.attributes() + proof.attributes())
    assert ice(media=lines) == mine
    assert dtls(media=lines) == proof


def test_candidates_that_come_later() -> None:
    body = (
        "a=ice-ufrag:abcd\r\na=ice-pwd:pppppppppppppppppppppp\r\nm=audio 9 RTP/AVP 0\r\na=mid:sound\r\n"
        f"a=candidate:{HOST}\r\nm=video 9 RTP/AVP 96\r\na=end-of-candidates\r\n"
    )
    sound, picture = read_trickle(body.encode())
    assert (sound.kind, sound.candidates, sound.complete) == ("audio", (HOST,), False)
    assert (picture.kind, picture.candidates, picture.complete) == ("video", (), True)
    (only,) = read_trickle(b"a=end-of-candidates\nm=audio 9 RTP/AVP 0\n")
    assert only.complete


@given(st.binary(max_size=400))
def test_whatever_a_fragment_holds_is_read(body: bytes) -> None:
    assert len(read_trickle(body)) <= 8


@given(st.text(max_size=300), st.text(max_size=300))
def test_whatever_a_description_holds_is_read(session: str, media: str) -> None:
    try:
        description = described(session, media)
    except ValueError:
        return
    for line in description.media:
        read_ice(description, line)
        read_dtls(description, line, offer=True)


def test_browsers_offers() -> None:
    found = 0
    for path in sorted(suite("webrtc-sdp").glob("*.sdp")):
        try:
            description = SessionDescription.parse(path.read_bytes())
        except ValueError:
            continue
        for line in description.media:
            found += (
                read_ice(description, line) is not None and read_dtls(description, line, offer=True) is not None
            )
    assert found > 10
