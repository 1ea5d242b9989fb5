"""Handshakes and ICE in offers and answers: two machines of ours, and lines as browsers and phones write them."""

from dataclasses import replace

import pytest

from firmware.sdp.agreement import AgreedMedia, Agreement, DtlsAgreement, SrtpPolicy
from firmware.sdp.errors import SdpError
from firmware.sdp.keying import Fingerprint, IceDescription
from firmware.sdp.offer_answer import LocalMedia, OfferAnswer
from firmware.sdp.protection import wants_handshake
from tests.support.sdp_samples import HEAD, sdp

OURS, THEIRS = (Fingerprint("sha-256", ":".join([octets] * 32)) for octets in ("AB", "CD"))
DOOR_ICE = IceDescription("door", "d" * 22, ("1 1 udp 2130706431 192.0.2.1 4000 typ host",))
PHONE_ICE = IceDescription("phone", "p" * 22, ("1 1 udp 2130706431 192.0.2.2 5000 typ host",))
DOOR = LocalMedia("192.0.2.1", 4000, 4002, srtp="dtls", fingerprint=OURS, audio_ice=DOOR_ICE, video_ice=DOOR_ICE)
PHONE = LocalMedia(
    "192.0.2.2",
    5000,
    5002,
    srtp="optional",
    fingerprint=THEIRS,
    audio_ice=PHONE_ICE,
    video_ice=PHONE_ICE,
    video_direction="recvonly",
)

PHONE_OFFERS = replace(PHONE, srtp="dtls", video_direction="sendrecv")


def agree(offerer: LocalMedia, answerer: LocalMedia) -> tuple[Agreement, Agreement, str, str]:
    first, second = OfferAnswer(1), OfferAnswer(2)
    offer = first.create_offer(offerer)
    second.receive_offer(offer)
    answer, theirs = second.create_answer(answerer)
    return first.receive_answer(answer), theirs, offer.decode(), answer.decode()


def sound(agreement: Agreement) -> AgreedMedia:
    assert agreement.audio is not None
    return agreement.audio


def test_both_ends_agree_who_begins_and_by_what_the_other_is_known() -> None:
    ours, theirs, offer, answer = agree(DOOR, PHONE)
    for mine, others in ((ours.audio, theirs.audio), (ours.video, theirs.video)):
        assert mine is not None
        assert others is not None
        assert mine.dtls == DtlsAgreement("client", (THEIRS,))
        assert others.dtls == DtlsAgreement("server", (OURS,))
        assert (mine.ice, others.ice) == (PHONE_ICE, DOOR_ICE)
        assert (mine.controlling, others.controlling) == (True, False)
        assert mine.rtcp_mux
        assert others.rtcp_mux
        assert mine.keys is None
    assert offer.count("a=setup:actpass") == answer.count("a=setup:passive") == 2
    assert "m=audio 4000 UDP/TLS/RTP/SAVPF" in offer
    assert "m=audio 5000 UDP/TLS/RTP/SAVPF" in answer
    assert "a=crypto" not in offer + answer


def test_without_ice_at_one_end_media_go_to_the_addresses() -> None:
    ours, theirs, _, answer = agree(DOOR, replace(PHONE, audio_ice=None, video_ice=None))
    assert sound(ours).ice is sound(theirs).ice is None
    assert sound(ours).dtls is not None
    assert "ice-ufrag" not in answer


def test_ice_is_agreed_without_a_handshake_too() -> None:
    ours, theirs, offer, _ = agree(replace(DOOR, srtp="off"), replace(PHONE, srtp="off"))
    assert (sound(ours).ice, sound(theirs).ice) == (PHONE_ICE, DOOR_ICE)
    assert sound(ours).dtls is None
    assert "m=audio 4000 RTP/AVP" in offer
    assert "fingerprint" not in offer


def test_other_names_in_an_offer_of_the_call_are_a_restart() -> None:
    phone, door = OfferAnswer(1), OfferAnswer(2)
    door.receive_offer(phone.create_offer(PHONE_OFFERS))
    assert door.restarts() == frozenset()  # it only begins
    answer, _ = door.create_answer(DOOR)
    phone.receive_answer(answer)
    assert door.restarts() == frozenset()
    door.receive_offer(phone.create_offer(PHONE_OFFERS))
    assert door.restarts() == frozenset()
    door.reject_offer()
    phone.reject_offer()
    anew = replace(PHONE_OFFERS, audio_ice=replace(PHONE_ICE, ufrag="again"))
    door.receive_offer(phone.create_offer(anew))
    assert door.restarts() == {"audio"}


@pytest.mark.parametrize("offers", [False, True])
def test_a_peer_that_has_no_candidates_yet_and_names_no_address_is_not_on_hold(offers: bool) -> None:
    door = OfferAnswer(2)
    bare = replace(PHONE_OFFERS, host="0.0.0.0", audio_ice=replace(PHONE_ICE, candidates=(), more=True))
    if offers:
        door.receive_offer(OfferAnswer(1).create_offer(bare))
        _, agreement = door.create_answer(DOOR)
    else:
        phone = OfferAnswer(1)
        phone.receive_offer(door.create_offer(DOOR))
        agreement = door.receive_answer(phone.create_answer(replace(bare, srtp="optional"))[0])
    assert sound(agreement).direction == "sendrecv"
    plain = OfferAnswer(1).create_offer(LocalMedia("0.0.0.0", 4000))
    held = OfferAnswer(2)
    held.receive_offer(plain)
    assert sound(held.create_answer(replace(DOOR, srtp="off"))[1]).direction == "recvonly"


def test_an_agreement_says_under_which_names_of_ours_it_was_made() -> None:
    ours, theirs, _, _ = agree(DOOR, PHONE)
    assert (sound(ours).own_ufrag, sound(theirs).own_ufrag) == ("door", "phone")


def test_a_handshake_that_goes_on_keeps_its_roles_whoever_offers_next() -> None:
    door, phone = OfferAnswer(1), OfferAnswer(2)
    phone.receive_offer(door.create_offer(DOOR))
    answer, _ = phone.create_answer(PHONE)
    assert sound(door.receive_answer(answer)).dtls == DtlsAgreement("client", (THEIRS,))
    door.receive_offer(phone.create_offer(PHONE_OFFERS))
    answer, ours = door.create_answer(DOOR)
    assert sound(ours).dtls == DtlsAgreement("client", (THEIRS,))
    assert answer.count(b"a=setup:active") == 2
    another = replace(PHONE_OFFERS, fingerprint=OURS)  # another phone behind the same PBX
    phone.receive_answer(answer)
    door.receive_offer(phone.create_offer(another))
    _, ours = door.create_answer(DOOR)
    assert sound(ours).dtls == DtlsAgreement("server", (OURS,))


BROWSER = (
    "m=audio 9 UDP/TLS/RTP/SAVPF 8",
    "a=rtcp-mux",
    f"a=fingerprint:sha-256 {THEIRS.value}",
    "a=setup:actpass",
    "a=ice-ufrag:phone",
    f"a=ice-pwd:{'p' * 22}",
    "a=candidate:" + PHONE_ICE.candidates[0],
    "a=end-of-candidates",
)


@pytest.mark.parametrize("policy", ["optional", "mandatory", "dtls"])
def test_a_browser_is_answered(policy: SrtpPolicy) -> None:
    machine = OfferAnswer(1)
    machine.receive_offer(sdp(*HEAD, *BROWSER))
    answer, agreement = machine.create_answer(replace(DOOR, srtp=policy))
    assert sound(agreement).dtls == DtlsAgreement("server", (THEIRS,))
    assert sound(agreement).ice == PHONE_ICE
    assert b"a=setup:passive\r\n" in answer
    assert f"a=fingerprint:{OURS}".encode() in answer


def test_ice_without_multiplexed_rtcp_is_left_out() -> None:
    machine = OfferAnswer(1)
    machine.receive_offer(sdp(*HEAD, *(line for line in BROWSER if line != "a=rtcp-mux")))
    answer, agreement = machine.create_answer(DOOR)
    assert sound(agreement).ice is None
    assert b"ice-ufrag" not in answer


def test_who_wants_us_to_begin_gets_it() -> None:
    machine = OfferAnswer(1)
    machine.receive_offer(sdp(*HEAD, *(line.replace("actpass", "passive") for line in BROWSER)))
    answer, agreement = machine.create_answer(DOOR)
    assert sound(agreement).dtls == DtlsAgreement("client", (THEIRS,))
    assert b"a=setup:active\r\n" in answer


@pytest.mark.parametrize(
    ("local", "lines"),
    [
        (replace(DOOR, srtp="off"), BROWSER),
        (replace(DOOR, fingerprint=None), BROWSER),
        (DOOR, tuple(line for line in BROWSER if "fingerprint" not in line)),
        (DOOR, ("m=audio 5000 RTP/AVP 8",)),
        (DOOR, ("m=audio 5000 RTP/SAVP 8", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40)),
    ],
    ids=["switched off", "no certificate", "no fingerprint", "plain", "keys in the signalling"],
)
def test_what_cannot_be_keyed_as_it_has_to_be_is_refused(local: LocalMedia, lines: tuple[str, ...]) -> None:
    machine = OfferAnswer(1)
    machine.receive_offer(sdp(*HEAD, *lines))
    with pytest.raises(SdpError, match="transport"):
        machine.create_answer(local)


@pytest.mark.parametrize(
    "lines",
    [
        ("m=audio 5000 UDP/TLS/RTP/SAVPF 8",),
        ("m=audio 5000 RTP/AVP 8", f"a=fingerprint:sha-256 {THEIRS.value}"),
        ("m=audio 5000 UDP/TLS/RTP/SAVPF 8", "a=fingerprint:sha-1 " + ":".join(["AB"] * 20)),
    ],
    ids=["no fingerprint", "plain", "sha-1"],
)
def test_an_answer_without_a_handshake_is_no_sound(lines: tuple[str, ...]) -> None:
    machine = OfferAnswer(1)
    machine.create_offer(DOOR)
    assert machine.receive_answer(sdp(*HEAD, *lines)).audio is None


def test_a_refresh_keeps_the_handshake() -> None:
    first, second = OfferAnswer(1), OfferAnswer(2)
    second.receive_offer(first.create_offer(DOOR))
    before = first.receive_answer(second.create_answer(PHONE)[0])
    second.receive_offer(first.create_offer(DOOR))
    after = first.receive_answer(second.create_answer(PHONE)[0])
    assert sound(after) == sound(before)


def test_what_an_offer_wants_is_seen_before_it_is_answered() -> None:
    assert wants_handshake(sdp(*HEAD, *BROWSER)) == (True, True)
    assert wants_handshake(sdp(*HEAD, "m=audio 5000 RTP/AVP 8")) == (False, False)
    assert wants_handshake(b"nonsense") == (False, False)
