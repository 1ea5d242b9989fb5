"""Seconds of a call become scores: what is concealed now counts, not what was an hour ago."""

from firmware.media.quality import Quality


def second(quality: Quality, number: int, *, concealed: float = 0.0, lost: int = 0) -> None:
    quality.note(
        played_s=number - concealed,
        concealed_s=concealed,
        lost=lost,
        received=50 * number - lost,
        jitter_ms=2.0,
        buffer_ms=20.0,
        round_trip_ms=10.0,
    )


def test_a_good_call_scores_well_and_a_bad_stretch_is_remembered_as_the_worst() -> None:
    quality = Quality()
    for number in range(1, 11):
        second(quality, number)
    assert quality.mos > 4.2
    for number in range(11, 16):
        second(quality, number, concealed=0.3 * (number - 10), lost=15 * (number - 10))
    assert quality.mos < 2.5
    for number in range(16, 30):
        second(quality, number, concealed=1.5, lost=75)
    assert quality.mos > 4.2
    assert quality.worst < 2.5


def test_the_history_has_a_value_a_second_and_an_end() -> None:
    quality = Quality()
    for number in range(1, 400):
        second(quality, number, lost=5 if number > 390 else 0)
    history = quality.history()
    assert set(history) == {"mos", "loss_percent", "jitter_ms", "depth_ms"}
    assert {len(values) for values in history.values()} == {300}
    assert max(history["loss_percent"]) == 10.0


def test_a_new_codec_begins_anew() -> None:
    quality = Quality()
    second(quality, 100)
    second(quality, 1)
    assert quality.mos > 4.2


def test_nothing_heard_yet_is_no_score_of_nonsense() -> None:
    quality = Quality()
    quality.note(played_s=0, concealed_s=0, lost=0, received=0, jitter_ms=0, buffer_ms=0, round_trip_ms=0)
    assert quality.history()["loss_percent"] == [0.0]
