"""`doorctl call --stats`: what a technician reads of a call's sound and picture."""

from typing import Any

from firmware.api.call_stats import lines, sparkline

STATISTICS: dict[str, Any] = {
    "audio_sent": 500,
    "audio_sent_octets": 80_000,
    "audio_received": 490,
    "audio_received_octets": 40_000,
    "audio_lost": 10,
    "audio_jitter_ms": 3.2,
    "audio_codec": "opus",
    "audio_mos": 4.21,
    "audio_mos_worst": 3.9,
    "audio_depth_ms": 42,
    "audio_concealed_ms": 120,
    "audio_played_ms": 9880,
    "audio_peer_lost": 5,
    "audio_peer_jitter_ms": 1.5,
    "audio_round_trip_ms": 31.0,
    "video_sent": 0,
}


def leg(**changes: Any) -> dict[str, Any]:
    return {
        "leg": "7.1",
        "party": "101",
        "direction": "outgoing",
        "talk": True,
        "statistics": {**STATISTICS, **changes},
        "history": {"mos": [4.4, 4.4, 1.0], "loss_percent": [0.0, 0.0, 50.0]},
    }


def test_a_leg_is_told_in_a_few_lines() -> None:
    assert list(lines({"legs": [leg()]}, None, 0.0, plot=False)) == [
        "leg 7.1  101  talks",
        "  sound   opus, out 80 kB, in 40 kB, lost 2.0 %, jitter 3.2 ms, buffer 42 ms, concealed 1.2 %",
        "  MOS     4.2, at worst 3.9 (of 4.4)",
        "  far end lost 1.0 %, jitter 1.5 ms, round trip 31 ms",
    ]


def test_bit_rates_are_told_between_two_looks() -> None:
    before = {"legs": [leg()]}
    now = {"legs": [leg(audio_sent_octets=88_000, audio_received_octets=44_000)]}
    sound = list(lines(now, before, 1.0, plot=False))[1]
    assert "out 64 kbit/s, in 32 kbit/s" in sound


def test_a_picture_has_its_line() -> None:
    picture = {
        "video_sent": 1000,
        "video_sent_octets": 900_000,
        "video_received_octets": 0,
        "video_keyframes": 4,
        "video_resent": 3,
        "video_peer_lost": 20,
    }
    told = list(lines({"legs": [leg(**picture)]}, None, 0.0, plot=False))
    assert told[-1] == "  picture out 900 kB, 4 keyframes, 3 packets sent again, lost on the way 2.0 %"


def test_the_plot_is_a_row_of_bars_a_number() -> None:
    told = list(lines({"legs": [leg()]}, None, 0.0, plot=True))
    assert told[-2:] == ["  MOS     ██▁  1", "  lost    ▁▁█  50 %"]


def test_no_call_is_said_so_and_a_leg_without_sound_too() -> None:
    assert list(lines({"legs": []}, None, 0.0, plot=True)) == ["no call"]
    silent = leg()
    silent["statistics"] = {"audio_sent": 0, "video_sent": 0}
    silent["history"] = {}
    assert list(lines({"legs": [silent]}, None, 0.0, plot=True))[1] == "  sound   none agreed"


def test_a_flat_line_is_drawn_and_what_is_beyond_the_scale_stays_in_it() -> None:
    assert sparkline([0.0, 0.0], 0.0, 0.0) == "▁▁"
    assert sparkline([-5.0, 2.0, 99.0], 0.0, 4.0) == "▁▅█"
