"""Descriptions that promise more than plain RTP: rtcp-mux, ICE, keys. What is not understood is not echoed."""

from dataclasses import replace

import pytest

from firmware.sdp.description import SessionDescription
from firmware.sdp.errors import SdpError
from firmware.sdp.offer_answer import LocalMedia, OfferAnswer
from tests.support.sdp_samples import HEAD, sdp

LOCAL = LocalMedia("192.0.2.1", 4000, 4002)
KEY = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"


def answer_to(*lines: str) -> tuple[str, OfferAnswer]:
    machine = OfferAnswer(7)
    machine.receive_offer(sdp(*HEAD, *lines))
    answer, _ = machine.create_answer(LOCAL)
    return answer.decode(), machine


def test_pitfall_26_rtcp_mux_is_answered_where_it_is_offered_and_only_there() -> None:
    assert "rtcp-mux" not in OfferAnswer(7).create_offer(LOCAL).decode()
    for attributes, muxed in ((("a=rtcp-mux",), True), ((), False)):
        answer, machine = answer_to("m=audio 54400 RTP/AVP 8", *attributes)
        assert ("rtcp-mux" in answer) is muxed
        assert machine.agreement is not None
        assert machine.agreement.audio is not None
        assert machine.agreement.audio.rtcp_mux is muxed


def test_pitfall_26_where_we_offer_rtcp_mux_the_answer_decides() -> None:
    for attributes, muxed in ((("a=rtcp-mux",), True), ((), False)):
        machine = OfferAnswer(7)
        assert b"a=rtcp-mux" in machine.create_offer(replace(LOCAL, rtcp_mux=True))
        agreement = machine.receive_answer(sdp(*HEAD, "m=audio 54400 RTP/AVP 8", *attributes))
        assert agreement.audio is not None
        assert agreement.audio.rtcp_mux is muxed


def test_pitfall_26_an_answer_that_muxes_unasked_changes_nothing() -> None:
    machine = OfferAnswer(7)
    machine.create_offer(LOCAL)
    agreement = machine.receive_answer(sdp(*HEAD, "m=audio 54400 RTP/AVP 8", "a=rtcp-mux"))
    assert agreement.audio is not None
    assert not agreement.audio.rtcp_mux
    assert agreement.audio.remote_rtcp_port == 54401


def test_pitfall_27_our_address_is_real_and_no_ice_is_offered() -> None:
    offer = SessionDescription.parse(OfferAnswer(7).create_offer(LOCAL))
    assert "c=IN IP4 192.0.2.1" in str(offer)
    assert [media.port for media in offer.media] == [4000, 4002]
    assert "ice-" not in str(offer)
    assert "candidate" not in str(offer)


def test_pitfall_27_a_peer_that_offers_ice_gets_an_answer_without_and_is_reached_at_its_default_address() -> None:
    ice = ("a=ice-ufrag:abcd", "a=ice-pwd:0123456789012345678901", "a=candidate:1 1 UDP 1 198.51.100.1 9 typ host")
    answer, machine = answer_to("m=audio 54400 RTP/AVP 8", *ice)
    assert "ice" not in answer
    assert "candidate" not in answer
    assert machine.agreement is not None
    assert machine.agreement.audio is not None
    assert (machine.agreement.audio.remote_host, machine.agreement.audio.remote_rtp_port) == ("203.0.113.1", 54400)


def test_pitfall_28_a_plain_line_with_a_key_is_answered_plainly() -> None:
    answer, machine = answer_to("m=audio 54400 RTP/AVP 8", KEY)
    assert "crypto" not in answer
    assert "m=audio 4000 RTP/AVP 8" in answer
    assert machine.agreement is not None
    assert machine.agreement.audio is not None


def test_pitfall_28_a_secure_line_alone_is_refused_cleanly() -> None:
    machine = OfferAnswer(7)
    machine.receive_offer(sdp(*HEAD, "m=audio 54400 RTP/SAVP 8", KEY))
    with pytest.raises(SdpError):
        machine.create_answer(LOCAL)


def test_pitfall_28_a_secure_answer_to_a_plain_offer_agrees_on_nothing() -> None:
    machine = OfferAnswer(7)
    machine.create_offer(LOCAL)
    agreement = machine.receive_answer(sdp(*HEAD, "m=audio 54400 RTP/SAVP 8", KEY))
    assert agreement.audio is None
