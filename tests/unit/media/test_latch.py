"""Symmetric RTP: whom we follow, whom we refuse."""

from firmware.media.latch import FOREIGN_PACKETS, NEAR_PACKETS, Latch

SIGNALLED = ("192.0.2.10", 4000)
OTHER_PORT = ("192.0.2.10", 4444)
BEHIND_NAT = ("198.51.100.7", 61000)
SPOOFER = ("203.0.113.66", 9)


def aimed() -> Latch:
    latch = Latch()
    latch.aim(SIGNALLED)
    return latch


def test_before_a_target_is_known_nobody_is_believed() -> None:
    latch = Latch()
    assert not latch.admit(SIGNALLED)
    assert latch.remote is None
    assert latch.refused == 1


def test_until_a_packet_comes_the_signalled_address_is_sent_to() -> None:
    assert aimed().remote == SIGNALLED


def test_one_packet_from_the_signalled_address_locks() -> None:
    latch = aimed()
    assert latch.admit(SIGNALLED)
    assert latch.locked
    assert not latch.admit(SPOOFER)
    assert not latch.admit(OTHER_PORT)
    assert latch.remote == SIGNALLED
    assert latch.refused == 2


def test_pitfall_25_a_peer_behind_nat_is_followed_and_locked_after_half_a_second() -> None:
    latch = aimed()
    for _ in range(FOREIGN_PACKETS):
        assert not latch.locked
        assert not latch.trusted
        assert latch.admit(BEHIND_NAT)
        assert latch.remote == BEHIND_NAT
    assert latch.locked
    assert latch.trusted
    assert latch.moved
    assert not latch.admit(OTHER_PORT)


def test_pitfall_25_a_spoofer_who_was_first_gives_way_to_the_signalled_host() -> None:
    latch = aimed()
    assert latch.admit(SPOOFER)
    assert latch.admit(OTHER_PORT)
    assert latch.trusted
    assert not latch.admit(SPOOFER)
    assert latch.remote == OTHER_PORT


def test_the_signalled_address_itself_takes_over_even_from_a_lock() -> None:
    latch = aimed()
    for _ in range(NEAR_PACKETS):
        latch.admit(OTHER_PORT)
    assert latch.locked
    assert latch.admit(SIGNALLED)
    assert not latch.admit(OTHER_PORT)
    assert latch.remote == SIGNALLED
    assert not latch.moved


def test_of_two_strangers_the_first_is_followed() -> None:
    latch = aimed()
    assert latch.admit(BEHIND_NAT)
    assert not latch.admit(SPOOFER)
    assert latch.remote == BEHIND_NAT


def test_a_new_target_opens_the_window_again_and_the_same_does_not() -> None:
    latch = aimed()
    latch.admit(SIGNALLED)
    assert not latch.aim(SIGNALLED)
    assert latch.locked
    moved = ("192.0.2.20", 5000)
    assert latch.aim(moved)
    assert latch.remote == moved
    assert not latch.locked
    assert latch.admit(moved)
    assert not latch.admit(SIGNALLED)


def test_a_latch_that_opens_again_follows_whoever_comes_first_and_sends_on_meanwhile() -> None:
    latch = aimed()
    latch.admit(SIGNALLED)
    latch.reopen()
    assert latch.remote == SIGNALLED
    assert latch.admit(BEHIND_NAT)
    assert latch.remote == BEHIND_NAT
    assert latch.admit(SIGNALLED)
    assert latch.locked
