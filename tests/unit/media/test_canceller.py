"""Echo cancellers at a simulated street door, and how they begin and begin anew."""

import ctypes

import pytest

from firmware.media.canceller import CancellerMissing, NoCanceller, SpeexCanceller, WebrtcCanceller, make_canceller

pytest.importorskip("numpy", reason="numpy is not installed (tools/setup test)")

from tests.support import echo_room
from tests.support.echo_room import RATE_HZ, SCENARIOS, Scenario

PLAIN = [scenario for scenario in SCENARIOS if scenario.plain]
HARD = [scenario for scenario in SCENARIOS if not scenario.plain]


def speex() -> SpeexCanceller:
    try:
        return SpeexCanceller(RATE_HZ)
    except CancellerMissing as missing:
        pytest.skip(str(missing))


def named(scenario: Scenario) -> str:
    return scenario.name


@pytest.mark.parametrize("scenario", PLAIN, ids=named)
def test_webrtc_leaves_no_echo_in_a_plain_room_and_the_visitor_as_loud_as_he_was(scenario: Scenario) -> None:
    result = echo_room.run(scenario, WebrtcCanceller(RATE_HZ).process)
    assert result.erle > 25
    assert result.erle_first > 15
    assert abs(result.near) < 3
    assert -8 < result.near_both < 3
    assert result.echo_both > 12


@pytest.mark.parametrize("scenario", HARD, ids=named)
def test_webrtc_bears_clipping_drift_jumps_and_long_delays(scenario: Scenario) -> None:
    result = echo_room.run(scenario, WebrtcCanceller(RATE_HZ).process)
    assert result.erle > 15
    assert abs(result.near) < 3
    assert -8 < result.near_both < 3


def test_webrtc_works_at_the_rate_of_a_telephone() -> None:
    result = echo_room.run(PLAIN[0], WebrtcCanceller(8000).process, 8000)
    assert result.erle > 25
    assert -8 < result.near_both < 3


def test_speex_learns_a_plain_room_and_takes_nothing_from_the_visitor() -> None:
    result = echo_room.run(PLAIN[0], speex().process)
    assert result.erle > 18  # with the seconds that it takes to learn
    assert abs(result.near) < 3
    assert -3 < result.near_both < 3


def test_without_a_canceller_nothing_is_changed() -> None:
    frame = bytes(range(160)) * 4
    assert NoCanceller().process(frame, bytes(640)) is frame
    assert echo_room.run(PLAIN[0], make_canceller("none", RATE_HZ).process).erle == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize("make", [lambda: WebrtcCanceller(RATE_HZ), speex], ids=["webrtc", "speex"])
def test_a_reset_forgets_the_room(make: type) -> None:
    """After a reset the first second of echo comes through as it did at the beginning."""
    canceller = make()
    frames = list(zip(*echo_room.frames(PLAIN[2], seconds=4), strict=True))

    def heard(count: int) -> bytes:
        return b"".join(canceller.process(captured, reference) for captured, reference in frames[:count])

    first = echo_room.level_db(heard(40))
    heard(200)
    learnt = echo_room.level_db(heard(40))
    canceller.reset()
    anew = echo_room.level_db(heard(40))
    assert anew == pytest.approx(first, abs=4)
    assert learnt < anew - 3


def test_a_canceller_whose_library_is_missing_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with pytest.raises(CancellerMissing, match="libspeexdsp1"):
        make_canceller("speex", RATE_HZ)
    monkeypatch.setitem(__import__("sys").modules, "pywebrtc_audio", None)
    with pytest.raises(CancellerMissing, match="webrtc"):
        make_canceller("webrtc", RATE_HZ)


def test_an_unknown_canceller_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="webrtc, speex, none"):
        make_canceller("anlms", RATE_HZ)
