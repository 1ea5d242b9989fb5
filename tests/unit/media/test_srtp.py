"""SRTP and SRTCP as libsrtp does them for us: known answers, rollover, new keys, what is dropped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.media.srtp import NoKeysYet, Srtp
from firmware.rtp.packet import pack_rtp
from firmware.sdp.crypto import KEY_OCTETS, SrtpKeys

SUITE = "AES_CM_128_HMAC_SHA1_80"
HERE, THERE = bytes(range(30)), bytes(range(100, 130))

# The packet that libsrtp and others check themselves with, under the master key of RFC 3711 B.3.
MASTER = bytes.fromhex("e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6")
PLAIN = bytes.fromhex("800f1234 decafbad cafebabe" + "ab" * 16)
PROTECTED = bytes.fromhex("800f1234 decafbad cafebabe 4e55dc4c e79978d8 8ca4d215 949d2402 b78d6acc 99ea179b 8dbb")


def pair(suite: str = SUITE) -> tuple[Srtp, Srtp]:
    """Two ends of one stream."""
    octets = KEY_OCTETS[suite]
    here, there = bytes(octets), b"\x01" * octets
    return Srtp(SrtpKeys(suite, here, there)), Srtp(SrtpKeys(suite, there, here))


def packet(sequence: int, payload: bytes = b"sound", ssrc: int = 7) -> bytes:
    return pack_rtp(0, False, sequence & 0xFFFF, sequence * 160 & 0xFFFFFFFF, ssrc, payload)


def test_what_we_send_and_take_is_what_other_implementations_do() -> None:
    assert Srtp(SrtpKeys(SUITE, MASTER, THERE)).protect(PLAIN) == PROTECTED
    assert Srtp(SrtpKeys(SUITE, HERE, MASTER)).open(PROTECTED) == PLAIN


@pytest.mark.parametrize("suite", KEY_OCTETS)
def test_each_suite_carries_sound_and_reports_unreadable_on_the_way(suite: str) -> None:
    ours, theirs = pair(suite)
    report = bytes.fromhex("80c90001 00000007")
    for sequence in range(3):
        sent = ours.protect(packet(sequence))
        assert b"sound" not in sent
        assert theirs.open(sent) == packet(sequence)
    sent = ours.protect_rtcp(report)
    assert sent != report
    assert theirs.open_rtcp(sent) == report


def test_pitfall_29_the_rollover_counter_is_kept_over_the_wrap_and_a_loss_at_it() -> None:
    ours, theirs = pair()
    for sequence in (*range(0x7FF0, 0x8010), *range(0xFFF0, 0xFFFE), *range(0x10004, 0x10010)):
        assert theirs.open(ours.protect(packet(sequence))) == packet(sequence)
    assert (theirs.forged, theirs.replayed) == (0, 0)


def test_a_replay_is_dropped_and_counted_whether_of_sound_or_of_a_report() -> None:
    ours, theirs = pair()
    sound, report = ours.protect(packet(1)), ours.protect_rtcp(bytes.fromhex("80c90001 00000007"))
    assert theirs.open(sound)
    assert theirs.open_rtcp(report)
    assert (theirs.open(sound), theirs.open_rtcp(report)) == (b"", b"")
    assert (theirs.forged, theirs.replayed) == (0, 2)


def test_a_packet_of_somebody_without_the_key_is_dropped_and_counted() -> None:
    ours, theirs = pair()
    stranger = Srtp(SrtpKeys(SUITE, b"\x05" * 30, b"\x01" * 30))
    assert theirs.open(ours.protect(packet(1)))
    assert theirs.open(stranger.protect(packet(2))) == b""
    assert theirs.open(packet(3)) == b""  # nor is plain RTP taken
    assert theirs.open(ours.protect(packet(2)))  # it has no effect on what follows
    assert (theirs.forged, theirs.replayed) == (2, 0)


def test_a_peer_that_begins_a_new_stream_under_the_same_key_is_followed() -> None:
    ours, theirs = pair()
    assert theirs.open(ours.protect(packet(60_000, ssrc=1)))
    assert theirs.open(ours.protect(packet(3, ssrc=2)))
    assert theirs.open(ours.protect(packet(60_001, ssrc=1)))


def test_pitfall_29_new_keys_take_over_at_any_sequence_number_and_the_old_ones_soon_are_worth_nothing() -> None:
    ours, theirs = pair()
    for sequence in range(0xFFF0, 0x10010):  # the rollover counter stands at 1
        theirs.open(ours.protect(packet(sequence)))
    under_way, late = ours.protect(packet(0x10010)), ours.protect(packet(0x10100))
    ours.rekey(SrtpKeys(SUITE, HERE, THERE))
    theirs.rekey(SrtpKeys(SUITE, THERE, HERE))
    assert theirs.open(under_way) == packet(0x10010)  # sent before the peer had our answer
    assert theirs.open(under_way) == b""
    for sequence in (0x1FFF0, *range(0x20003, 0x20043)):  # from 0 again, and over the next wrap
        assert theirs.open(ours.protect(packet(sequence))) == packet(sequence)
    assert theirs.open(late) == b""
    assert (theirs.replayed, theirs.forged) == (1, 1)


def test_pitfall_29_a_direction_whose_key_stays_keeps_its_rollover_counter() -> None:
    ours, theirs = pair()
    for sequence in range(0xFFF0, 0x10010):
        theirs.open(ours.protect(packet(sequence)))
    ours.rekey(SrtpKeys(SUITE, ours.keys.send, HERE))
    theirs.rekey(SrtpKeys(SUITE, HERE, theirs.keys.receive))
    assert theirs.open(ours.protect(packet(0x10010))) == packet(0x10010)
    assert ours.open(theirs.protect(packet(5, ssrc=9))) == packet(5, ssrc=9)


def test_a_slice_that_may_not_be_split_is_encrypted_whole_and_what_no_datagram_can_carry_is_not_sent() -> None:
    ours, _ = pair()
    assert len(ours.protect(packet(1, bytes(9000)))) == 12 + 9000 + 10
    assert ours.protect(packet(2, bytes(65_536))) == b""
    assert ours.protect_rtcp(bytes(65_536)) == b""
    assert ours.unsent == 2


def test_before_there_are_keys_nothing_passes() -> None:
    waiting = NoKeysYet()
    for passes in (waiting.protect, waiting.open, waiting.protect_rtcp, waiting.open_rtcp):
        assert passes(PLAIN) == b""


@given(st.binary(max_size=2100), st.booleans())
def test_whatever_comes_is_opened_or_dropped(data: bytes, head: bool) -> None:
    _, theirs = pair()
    data = b"\x80\x00" + data if head else data
    assert (theirs.open(data), theirs.open_rtcp(data)) == (b"", b"")
    assert theirs.forged == 2


@given(st.integers(0, 10_000), st.integers(0, 7), st.booleans())
def test_a_changed_bit_anywhere_is_a_forgery(place: int, bit: int, report: bool) -> None:
    ours, theirs = pair()
    sent = bytearray(ours.protect_rtcp(bytes.fromhex("80c90001 00000007")) if report else ours.protect(packet(9)))
    sent[place % len(sent)] ^= 1 << bit
    assert (theirs.open_rtcp if report else theirs.open)(bytes(sent)) == b""
    assert theirs.forged + theirs.replayed == 1
