"""Keys in offers and answers, by policy: who gets which, when they change, and what is refused."""

import secrets
from dataclasses import replace

import pytest

from firmware.sdp.agreement import AgreedMedia, Agreement, SrtpPolicy
from firmware.sdp.crypto import KEY_OCTETS, Crypto, parse
from firmware.sdp.description import SessionDescription
from firmware.sdp.errors import SdpError
from firmware.sdp.offer_answer import LocalMedia, OfferAnswer
from tests.support.sdp_samples import HEAD, sdp

SUITE = "AES_CM_128_HMAC_SHA1_80"
THEIR_KEY, OTHER_KEY = bytes(range(30)), bytes(range(30, 60))
LOCAL = LocalMedia("192.0.2.1", 4000, 4002)
PLAIN, SECURE = "m=audio 5000 RTP/AVP 8", "m=audio 5000 RTP/SAVP 8"


def local(policy: SrtpPolicy, *, host: str = "192.0.2.1", video: bool = False) -> LocalMedia:
    return replace(LOCAL, srtp=policy, host=host, video_port=4002 if video else None)


def machine_of(session_id: int) -> OfferAnswer:
    return OfferAnswer(session_id, random=secrets.token_bytes)


def line(key: bytes = THEIR_KEY, *, tag: int = 1, suite: str = SUITE) -> str:
    return f"a=crypto:{Crypto(tag, suite, key[: KEY_OCTETS[suite]])}"


def offered(machine: OfferAnswer, policy: SrtpPolicy, **more: object) -> tuple[str, list[Crypto]]:
    """Profile and keys of the sound line that we offer."""
    return ours(machine.create_offer(local(policy, **more)))  # type: ignore[arg-type]


def ours(description: bytes) -> tuple[str, list[Crypto]]:
    media = SessionDescription.parse(description).media[0]
    lines = [parse(value) for value in media.attribute_values("crypto")]
    assert None not in lines
    return media.protocol, lines  # type: ignore[return-value]


def sound(agreement: Agreement | None) -> AgreedMedia:
    assert agreement is not None
    assert agreement.audio is not None
    return agreement.audio


def answer_to(machine: OfferAnswer, policy: SrtpPolicy, *lines: str, **more: object) -> tuple[str, list[Crypto]]:
    machine.receive_offer(sdp(*HEAD, *lines))
    return ours(machine.create_answer(local(policy, **more))[0])  # type: ignore[arg-type]


# --- our offers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "profile", "keys"),
    [("off", "RTP/AVP", 0), ("optional", "RTP/AVP", 1), ("mandatory", "RTP/SAVP", 1)],
)
def test_what_is_offered_follows_the_policy(policy: SrtpPolicy, profile: str, keys: int) -> None:
    protocol, lines = offered(machine_of(7), policy)
    assert protocol == profile
    assert [(each.tag, each.suite) for each in lines] == [(1, SUITE)] * keys


def test_sound_and_picture_have_keys_of_their_own() -> None:
    offer = SessionDescription.parse(machine_of(7).create_offer(local("mandatory", video=True)))
    assert [media.protocol for media in offer.media] == ["RTP/SAVP", "RTP/SAVP"]
    keys = {value for media in offer.media for value in media.attribute_values("crypto")}
    assert len({value.split()[-1] for value in keys}) == 2


@pytest.mark.parametrize("policy", ["optional", "mandatory"])
def test_the_answer_s_choice_is_what_both_encrypt_with(policy: SrtpPolicy) -> None:
    machine = machine_of(7)
    profile, lines = offered(machine, policy)
    media = PLAIN if profile == "RTP/AVP" else SECURE
    keys = sound(machine.receive_answer(sdp(*HEAD, media, line()))).keys
    assert keys is not None
    assert (keys.suite, keys.send, keys.receive) == (SUITE, lines[0].key, THEIR_KEY)


def test_an_answer_with_a_tag_of_its_own_is_understood_by_its_suite() -> None:
    machine = machine_of(7)
    _, lines = offered(machine, "optional")
    keys = sound(machine.receive_answer(sdp(*HEAD, PLAIN, line(tag=9)))).keys
    assert keys is not None
    assert keys.send == lines[0].key


@pytest.mark.parametrize("media", [PLAIN, SECURE])
def test_an_answer_without_keys_is_plain_or_nothing(media: str) -> None:
    for policy in ("optional", "mandatory"):
        machine = machine_of(7)
        offered(machine, policy)  # type: ignore[arg-type]
        agreement = machine.receive_answer(sdp(*HEAD, media))
        if policy == "optional" and media == PLAIN:
            assert sound(agreement).keys is None
        else:
            assert agreement.audio is None


@pytest.mark.parametrize("key", [line() + "|2^20|1:4", line(suite="AEAD_AES_128_GCM"), "a=crypto:nonsense"])
def test_an_answer_whose_keys_we_cannot_use_agrees_on_nothing(key: str) -> None:
    machine = machine_of(7)
    offered(machine, "optional")
    assert machine.receive_answer(sdp(*HEAD, PLAIN, key)).audio is None


def test_each_fork_has_its_own_keys_and_gets_the_same_of_ours() -> None:
    machine = machine_of(7)
    _, lines = offered(machine, "optional")
    forks = [machine.fork(), machine.fork()]
    keys = [
        sound(fork.receive_answer(sdp(*HEAD, PLAIN, line(key)), provisional=True)).keys
        for fork, key in zip(forks, (THEIR_KEY, OTHER_KEY), strict=True)
    ]
    assert [each.receive for each in keys if each] == [THEIR_KEY, OTHER_KEY]
    assert {each.send for each in keys if each} == {lines[0].key}


# --- a peer's offers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["optional", "mandatory"])
@pytest.mark.parametrize("media", [PLAIN, SECURE])
def test_offered_keys_are_answered_under_the_offer_s_profile_and_tag(policy: SrtpPolicy, media: str) -> None:
    machine = machine_of(7)
    protocol, lines = answer_to(machine, policy, media, line(tag=4))
    assert protocol == media.split()[2]
    assert [(each.tag, each.suite) for each in lines] == [(4, SUITE)]
    keys = sound(machine.agreement).keys
    assert keys is not None
    assert (keys.send, keys.receive) == (lines[0].key, THEIR_KEY)


def test_pitfall_28_lines_that_cannot_be_used_are_skipped_and_the_next_one_taken() -> None:
    machine = machine_of(7)
    _, lines = answer_to(
        machine,
        "optional",
        SECURE,
        "a=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:AAAA",
        line(tag=2) + "|2^20|1:4",
        line(OTHER_KEY, tag=3) + "|2^31",
        line(tag=4),
    )
    assert [each.tag for each in lines] == [3]
    keys = sound(machine.agreement).keys
    assert keys is not None
    assert keys.receive == OTHER_KEY


@pytest.mark.parametrize("suite", KEY_OCTETS)
def test_every_suite_that_libsrtp_has_is_taken(suite: str) -> None:
    machine = machine_of(7)
    key = bytes(range(KEY_OCTETS[suite]))
    _, lines = answer_to(machine, "optional", SECURE, line(key, suite=suite))
    assert [(each.suite, len(each.key)) for each in lines] == [(suite, KEY_OCTETS[suite])]


def test_a_plain_offer_is_answered_plainly_where_encryption_is_optional() -> None:
    machine = machine_of(7)
    assert answer_to(machine, "optional", PLAIN) == ("RTP/AVP", [])
    assert sound(machine.agreement).keys is None


@pytest.mark.parametrize(
    ("policy", "media", "why"),
    [
        ("mandatory", (PLAIN,), "no key is offered, and what is not encrypted is refused"),
        ("mandatory", (PLAIN, "a=crypto:1 AES_192_CM_HMAC_SHA1_80 inline:AAAA"), "no key is offered"),
        ("mandatory", (SECURE,), "without a key that can be used"),
        ("optional", (SECURE,), "without a key that can be used"),
        ("optional", ("m=audio 5000 UDP/TLS/RTP/SAVP 8",), "UDP/TLS/RTP/SAVP is offered"),
        ("off", (SECURE, line()), "encryption is switched off here"),
    ],
)
def test_an_offer_against_the_policy_is_refused_with_its_reason(
    policy: SrtpPolicy, media: tuple[str, ...], why: str
) -> None:
    with pytest.raises(SdpError, match=why):
        answer_to(machine_of(7), policy, *media)


def test_pitfall_28_of_a_secure_and_a_plain_line_for_the_same_sound_one_is_taken() -> None:
    for policy, taken in (("optional", [4000, 0]), ("off", [0, 4000])):
        machine = machine_of(7)
        machine.receive_offer(sdp(*HEAD, SECURE, line(), "m=audio 5002 RTP/AVP 8"))
        answer, _ = machine.create_answer(local(policy))  # type: ignore[arg-type]
        assert [media.port for media in SessionDescription.parse(answer).media] == taken


# --- what changes in a call ----------------------------------------------------------------------------------


def agreed_by_offer(policy: SrtpPolicy = "mandatory") -> tuple[OfferAnswer, list[Crypto]]:
    machine = machine_of(7)
    _, lines = offered(machine, policy)
    machine.receive_answer(sdp(*HEAD, SECURE if policy == "mandatory" else PLAIN, line()))
    return machine, lines


def test_pitfall_29_an_offer_in_the_call_repeats_the_key_in_use_while_the_address_stays() -> None:
    machine, lines = agreed_by_offer()
    assert offered(machine, "mandatory") == ("RTP/SAVP", lines)


def test_pitfall_29_another_address_of_ours_has_another_key() -> None:
    machine, lines = agreed_by_offer()
    _, moved = offered(machine, "mandatory", host="192.0.2.77")
    assert not {each.key for each in moved} & {each.key for each in lines}


def test_pitfall_29_a_peer_that_repeats_its_key_gets_ours_again_and_one_with_another_key_another() -> None:
    machine, lines = agreed_by_offer()
    _, again = answer_to(machine, "mandatory", SECURE, line())
    assert again[0].key == lines[0].key
    _, other = answer_to(machine, "mandatory", SECURE, line(OTHER_KEY))
    assert other[0].key != lines[0].key
    keys = sound(machine.agreement).keys
    assert keys is not None
    assert (keys.send, keys.receive) == (other[0].key, OTHER_KEY)


def test_the_suite_in_use_is_offered_again_and_no_other() -> None:
    machine = machine_of(7)
    key = bytes(range(44))
    answer_to(machine, "optional", SECURE, line(key, suite="AEAD_AES_256_GCM"))
    protocol, lines = offered(machine, "optional")
    assert protocol == "RTP/SAVP"  # the line keeps its profile
    assert [each.suite for each in lines] == ["AEAD_AES_256_GCM"]


def test_a_refused_offer_leaves_the_keys_as_they_were() -> None:
    machine, _ = agreed_by_offer()
    before = sound(machine.agreement).keys
    offered(machine, "mandatory", host="192.0.2.77")
    machine.reject_offer()
    assert sound(machine.agreement).keys == before


def test_a_refresh_agrees_on_the_same_keys_and_on_new_ones_of_the_peer() -> None:
    machine, lines = agreed_by_offer()
    machine.repeat_offer(local("mandatory"))
    keys = sound(machine.receive_answer(sdp(*HEAD, SECURE, line(OTHER_KEY)))).keys
    assert keys is not None
    assert (keys.send, keys.receive) == (lines[0].key, OTHER_KEY)


def test_two_stations_agree_crosswise() -> None:
    for policy in ("optional", "mandatory"):
        here, there = machine_of(1), machine_of(2)
        there.receive_offer(here.create_offer(local(policy, video=True)))  # type: ignore[arg-type]
        answer, theirs = there.create_answer(
            replace(local(policy, video=True), video_direction="recvonly")  # type: ignore[arg-type]
        )
        mine = here.receive_answer(answer)
        for one, other in ((mine.audio, theirs.audio), (mine.video, theirs.video)):
            assert one is not None
            assert other is not None
            assert one.keys is not None
            assert other.keys is not None
            assert (one.keys.send, one.keys.receive) == (other.keys.receive, other.keys.send)


def test_without_randomness_nobody_encrypts() -> None:
    with pytest.raises(ValueError, match="randomness"):
        offered(OfferAnswer(7), "mandatory")
