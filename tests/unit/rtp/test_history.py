"""Packets can be had again for a moment, each a few times."""

from firmware.rtp.history import MAX_AGE_S, PACKETS, History


def test_what_was_sent_a_moment_ago_is_had_again_twice_and_no_more() -> None:
    history = History()
    history.sent(65_535, b"a", 1.0)
    history.sent(0, b"b", 1.0)
    assert history.wanted(65_535, 1.1) == b"a"
    assert history.wanted(0, 1.1) == b"b"
    assert history.wanted(0, 1.2) == b"b"
    assert history.wanted(0, 1.3) == b""


def test_what_was_never_sent_what_is_old_and_what_was_pushed_out_is_not_there() -> None:
    history = History()
    assert history.wanted(5, 0.0) == b""
    history.sent(5, b"old", 1.0)
    assert history.wanted(5, 1.1 + MAX_AGE_S) == b""
    history.sent(5 + PACKETS, b"new", 2.0)
    assert history.wanted(5, 2.0) == b""
    assert history.wanted(5 + PACKETS, 2.0) == b"new"


def test_a_number_used_again_is_a_packet_of_its_own() -> None:
    history = History()
    history.sent(7, b"first", 1.0)
    assert [history.wanted(7, 1.0) for _ in range(3)] == [b"first", b"first", b""]
    history.sent(7, b"second", 1.1)
    assert history.wanted(7, 1.1) == b"second"
