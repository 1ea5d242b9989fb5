"""Who is offered keys, over which signalling, and what is said where everybody could read them."""

import secrets
from typing import Literal

import pytest
from msgspec.structs import replace

from firmware.config import Account, Button, MediaSection, Stage
from firmware.sdp.description import SessionDescription
from firmware.sdp.offer_answer import LocalMedia, OfferAnswer
from firmware.sip import events as sip_events
from firmware.sip.types import Flow, Transport
from firmware.station import events
from tests.unit.station.test_calls import CONFIG, PHONE_AT, House, incoming

Policy = Literal["off", "optional", "mandatory"]


def house(policy: Policy, *, registrar: str = "sip:pbx.example", own: Policy | None = None) -> House:
    """One whose calls go over an account; `own` is that account's policy."""
    account = Account(name="pbx", address="sip:door@pbx.example", registrar=registrar, srtp=own)
    button = Button(name="flat", input="button1", stages=(Stage(ring=("101",), seconds=20),))
    return House(replace(CONFIG, accounts=(account,), buttons=(button,), media=MediaSection(srtp=policy)))


def by(transport: Transport) -> Flow:
    return Flow(transport, ("192.0.2.1", 5060), (PHONE_AT, 5060), ("192.0.2.1", 5060), 1)


def profile_and_keys(sdp: bytes) -> tuple[str, bool]:
    media = SessionDescription.parse(sdp).media[0]
    return media.protocol, media.attribute("crypto") is not None


@pytest.mark.parametrize(
    ("policy", "registrar", "offer"),
    [
        ("off", "sip:pbx.example;transport=tls", ("RTP/AVP", False)),
        ("optional", "sip:pbx.example", ("RTP/AVP", False)),
        ("optional", "sip:pbx.example;transport=tls", ("RTP/AVP", True)),
        ("optional", "sip:pbx.example;transport=WSS", ("RTP/AVP", True)),
        ("optional", "sips:pbx.example", ("RTP/AVP", True)),
        ("mandatory", "sip:pbx.example", ("RTP/SAVP", True)),
    ],
)
def test_keys_are_offered_where_nobody_reads_them_or_where_they_have_to_be(
    policy: Policy, registrar: str, offer: tuple[str, bool]
) -> None:
    assert profile_and_keys(house(policy, registrar=registrar).ring()) == offer


def test_an_account_s_own_word_counts_before_that_of_all_calls() -> None:
    assert profile_and_keys(house("off", own="mandatory").ring()) == ("RTP/SAVP", True)
    assert profile_and_keys(house("mandatory", own="off").ring()) == ("RTP/AVP", False)


def test_keys_that_have_to_be_and_can_be_read_are_a_fault_until_the_signalling_is_encrypted() -> None:
    door = house("mandatory")
    door.ring()
    door.sip(sip_events.InviteSent(1, by("udp")))
    (fault,) = door.of(events.Fault)
    assert isinstance(fault, events.Fault)
    assert fault.where == "encryption pbx"
    assert "TLS" in fault.remedy
    door.sip(sip_events.InviteSent(1, by("tls")))
    assert door.of(events.FaultCleared) == [events.FaultCleared(where="encryption pbx")]


def test_a_call_that_need_not_be_encrypted_is_no_fault() -> None:
    door = house("optional")
    door.ring()
    door.sip(sip_events.InviteSent(1, by("udp")))
    assert not door.of(events.Fault)


def test_an_answer_without_keys_ends_a_call_that_has_to_have_some() -> None:
    door = house("mandatory")
    peer = OfferAnswer(1, random=secrets.token_bytes)
    offer = door.ring().replace(b"RTP/SAVP", b"RTP/AVP")
    peer.receive_offer(offer)
    plain, _ = peer.create_answer(LocalMedia(PHONE_AT, 50000))
    door.sip(sip_events.CallAnswered(1, "tag", plain))
    (ended,) = door.of(events.LegFailed)
    assert isinstance(ended, events.LegFailed)
    assert "encrypted" in ended.reason
    assert not door.engine.legs["1.1"].connected


def test_a_caller_with_keys_gets_ours_and_one_without_is_refused_where_they_have_to_be() -> None:
    allowed = replace(CONFIG, accounts=(replace(CONFIG.accounts[0], srtp="mandatory"),))
    caller = OfferAnswer(2, random=secrets.token_bytes)
    secure = caller.create_offer(LocalMedia(PHONE_AT, 50000, srtp="mandatory"))
    plain = OfferAnswer(2).create_offer(LocalMedia(PHONE_AT, 50000))
    door = House(allowed)
    door.sip(incoming(5, secure))
    ((_, answer),) = door.phone.of("accept")
    assert isinstance(answer, bytes)
    assert profile_and_keys(answer) == ("RTP/SAVP", True)
    refusing = House(allowed)
    refusing.sip(incoming(5, plain))
    assert not refusing.phone.of("accept")
    (refused,) = refusing.of(events.IncomingRefused)
    assert isinstance(refused, events.IncomingRefused)
    assert (refused.status, "no key is offered" in refused.reason) == (488, True)


def test_keys_that_came_over_open_signalling_are_kept_in_our_own_offers() -> None:
    door = House()
    secure = OfferAnswer(2, random=secrets.token_bytes).create_offer(LocalMedia(PHONE_AT, 50000, srtp="mandatory"))
    door.sip(incoming(5, secure), sip_events.CallAcknowledged(5, b""))
    door.phone.host = "192.0.2.77"
    door.sip(sip_events.NetworkChanged(5))
    ((_, offer),) = door.phone.of("reoffer")
    assert isinstance(offer, bytes)
    assert profile_and_keys(offer) == ("RTP/SAVP", True)


def test_a_phone_that_insists_on_encryption_is_offered_no_choice_the_second_time() -> None:
    door = house("optional", registrar="sip:pbx.example;transport=tls")
    door.ring()
    secure, silent = door.phone.of("fall_back")[0][1]
    assert profile_and_keys(secure) == ("RTP/SAVP", True)
    assert [media.port for media in SessionDescription.parse(secure).media] == [40000, 40002]
    assert [media.port for media in SessionDescription.parse(silent).media] == [40000]
    door.sip(sip_events.OfferReduced(1, 488))
    peer = OfferAnswer(1, random=secrets.token_bytes)
    peer.receive_offer(secure)
    answer, _ = peer.create_answer(LocalMedia(PHONE_AT, 50000, srtp="mandatory"))
    door.sip(sip_events.CallAnswered(1, "tag", answer))
    (agreed,) = door.engine.legs["1.1"].connected
    assert agreed.audio.keys is not None  # type: ignore[attr-defined]
